/* SPDX-License-Identifier: Apache-2.0 */
/* Places: cache_place.c. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/policy.h"
#include "cache/slot.h"
#include "base/copy.h"
#include "cache_fixture.h"

#define SIZE ((uint64_t)1 << 20)

typedef struct received {
    char bytes[256];
    size_t length;
} received;

static void *receive(void *context, size_t item, size_t length, forebay_kind kind)
{
    received *to = context;
    (void)item;
    (void)kind;
    to->length = length;
    return length <= sizeof to->bytes ? to->bytes : NULL;
}

static void *give_buffer(void *context, size_t item, size_t length, forebay_kind kind)
{
    (void)item, (void)length, (void)kind;
    return context;
}

/* Get a key of this handle with its place; it must be there and have one. */
static forebay_place placed_by(forebay_cache *cache, const char *key)
{
    forebay_place place;
    received got;
    assert_int_equal(forebay_get_placed(cache, key, strlen(key), &(forebay_sink){ receive, &got }, &place), FOREBAY_OK);
    assert_non_null(place.slot);
    assert_true(forebay_place_holds(cache, &place));
    return place;
}

static forebay_place placed(fixture *f, const char *key) { return placed_by(f->cache, key); }

static uint64_t hits(fixture *f)
{
    forebay_cache_stats stats;
    assert_int_equal(forebay_cache_get_stats(f->cache, &stats), FOREBAY_OK);
    return stats.hits;
}

static void a_place_holds_while_the_entry_is_the_same_and_counts_as_a_hit(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 0);
    assert_int_equal(put(&f, "key", "value", 5), FOREBAY_OK);
    forebay_place place = placed(&f, "key");
    uint64_t before = hits(&f);
    for (int i = 0; i < 20; i++)
        assert_true(forebay_place_holds(f.cache, &place));
    assert_int_equal(hits(&f), before + 20);
    uint64_t word = atomic_load((_Atomic uint64_t *)place.slot);
    assert_true(fb_slot_same(word, place.word) && fb_slot_frequency(word) > 0);
    fixture_close(&f);
}

static void what_is_not_there_has_no_place(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 0);
    forebay_place place;
    received got;
    forebay_sink sink = { receive, &got };
    assert_int_equal(forebay_get_placed(f.cache, "key", 3, &sink, &place), FOREBAY_MISS);
    assert_null(place.slot);
    assert_false(forebay_place_holds(f.cache, &place));
    char large[300] = { 0 };
    assert_int_equal(put(&f, "large", large, sizeof large), FOREBAY_OK);
    assert_int_equal(forebay_get_placed(f.cache, "large", 5, &sink, &place), FOREBAY_NOMEM);
    assert_null(place.slot);
    assert_int_equal(forebay_get_placed(f.cache, "", 0, &sink, &place), FOREBAY_INVALID);
    assert_null(place.slot);
    fixture_close(&f);
}

static void it_ends_when_the_entry_is_replaced_deleted_touched_or_counted_up(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 0);
    received got;
    int64_t number;
    assert_int_equal(put(&f, "key", "value", 5), FOREBAY_OK);
    forebay_place place = placed(&f, "key");
    assert_int_equal(put(&f, "key", "value", 5), FOREBAY_OK); /* the same bytes are another entry */
    assert_false(forebay_place_holds(f.cache, &place));
    place = placed(&f, "key");
    assert_int_equal(forebay_touch(f.cache, "key", 3, 1000), FOREBAY_OK);
    assert_false(forebay_place_holds(f.cache, &place));
    place = placed(&f, "key");
    assert_int_equal(forebay_delete(f.cache, "key", 3), FOREBAY_OK);
    assert_false(forebay_place_holds(f.cache, &place));
    assert_int_equal(put(&f, "key", "value", 5), FOREBAY_OK);
    assert_false(forebay_place_holds(f.cache, &place));
    place = placed(&f, "key");
    assert_int_equal(forebay_pop(f.cache, "key", 3, &(forebay_sink){ receive, &got }), FOREBAY_OK);
    assert_false(forebay_place_holds(f.cache, &place));
    assert_int_equal(forebay_incr(f.cache, "n", 1, 1, 0, FOREBAY_TTL_DEFAULT, &number), FOREBAY_OK);
    place = placed(&f, "n");
    assert_int_equal(forebay_incr(f.cache, "n", 1, 1, 0, FOREBAY_TTL_DEFAULT, &number), FOREBAY_OK);
    assert_false(forebay_place_holds(f.cache, &place));
    fixture_close(&f);
}

static void it_ends_when_the_cache_is_cleared_or_dropped(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 0);
    assert_int_equal(put(&f, "key", "value", 5), FOREBAY_OK);
    forebay_place place = placed(&f, "key");
    for (int i = 0; i < 600; i++) { /* the generation in an entry's tag has 9 bits */
        assert_int_equal(forebay_clear(f.cache), FOREBAY_OK);
        assert_false(forebay_place_holds(f.cache, &place));
    }
    assert_int_equal(put(&f, "key", "value", 5), FOREBAY_OK);
    place = placed(&f, "key");
    assert_int_equal(forebay_cache_drop(f.arena, "test"), FOREBAY_OK);
    assert_false(forebay_place_holds(f.cache, &place));
    forebay_cache *again;
    assert_int_equal(forebay_cache_open(f.arena, "test", NULL, &again, NULL), FOREBAY_OK);
    assert_false(forebay_place_holds(f.cache, &place));
    assert_false(forebay_place_holds(again, &place));
    assert_int_equal(forebay_set(again, "key", 3, "value", 5, FOREBAY_KIND_BYTES, 0, FOREBAY_SET), FOREBAY_OK);
    place = placed_by(again, "key");
    assert_false(forebay_place_holds(f.cache, &place)); /* the old life's handle gets nothing, either */
    forebay_cache_close(again);
    fixture_close(&f);
}

static void it_ends_when_the_entry_expires(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 1000);
    assert_int_equal(put(&f, "key", "value", 5), FOREBAY_OK);
    forebay_place place = placed(&f, "key");
    assert_int_equal(forebay_arena_advance_clock(f.arena, 500), FOREBAY_OK);
    assert_true(forebay_place_holds(f.cache, &place));
    assert_int_equal(forebay_arena_advance_clock(f.arena, 600), FOREBAY_OK);
    assert_false(forebay_place_holds(f.cache, &place));
    assert_false(has(&f, "key"));
    fixture_close(&f);
}

static void set_tagged(fixture *f, const char *key, uint32_t count)
{
    static const char *const names[] = { "a", "b", "c", "d", "e" };
    forebay_key tags[5];
    for (uint32_t i = 0; i < count; i++)
        tags[i] = (forebay_key){ names[i], 1 };
    forebay_set_options options = { .tags = tags, .tag_count = count };
    assert_int_equal(forebay_set_with(f->cache, key, strlen(key), "v", 1, FOREBAY_KIND_BYTES, &options), FOREBAY_OK);
}

static void it_ends_when_any_tag_is_invalidated(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 0);
    static const char *const names[] = { "a", "b", "c", "d" };
    for (int i = 0; i < 4; i++) {
        set_tagged(&f, "key", 4);
        forebay_place place = placed(&f, "key");
        assert_int_equal(forebay_invalidate_tag(f.cache, names[i], 1), FOREBAY_OK);
        assert_false(forebay_place_holds(f.cache, &place));
    }
    fixture_close(&f);
}

static void an_entry_with_too_many_tags_has_none(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 0);
    forebay_place place;
    received got;
    set_tagged(&f, "key", FOREBAY_PLACE_TAGS + 1);
    assert_int_equal(forebay_get_placed(f.cache, "key", 3, &(forebay_sink){ receive, &got }, &place), FOREBAY_OK);
    assert_null(place.slot);
    fixture_close(&f);
}

static void it_is_of_one_version(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 0);
    forebay_cache *other;
    forebay_cache_options options = { .ttl_ms = FOREBAY_TTL_STORED, .version = 2 };
    assert_int_equal(forebay_cache_open(f.arena, "test", &options, &other, NULL), FOREBAY_OK);
    assert_int_equal(put(&f, "key", "value", 5), FOREBAY_OK);
    forebay_place place = placed(&f, "key");
    assert_false(forebay_place_holds(other, &place));
    assert_int_equal(forebay_set(other, "key", 3, "new", 3, FOREBAY_KIND_BYTES, 0, FOREBAY_SET), FOREBAY_OK);
    assert_false(forebay_place_holds(f.cache, &place));
    place = placed_by(other, "key");
    assert_false(forebay_place_holds(f.cache, &place));
    forebay_cache_close(other);
    fixture_close(&f);
}

/* Fill the arena with other entries until this one is gone, without a hit on it. */
static void evict(fixture *f, const forebay_place *place, unsigned *number)
{
    char name[24], value[600] = { 0 };
    while (fb_slot_same(atomic_load((_Atomic uint64_t *)place->slot), place->word)) {
        (void)snprintf(name, sizeof name, "other-%u", (*number)++);
        assert_int_equal(put(f, name, value, sizeof value), FOREBAY_OK);
    }
}

static void it_ends_when_the_entry_is_evicted(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 0);
    unsigned number = 0;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(put(&f, "key", "value", 5), FOREBAY_OK);
        forebay_place place = placed(&f, "key");
        evict(&f, &place, &number);
        assert_false(forebay_place_holds(f.cache, &place));
    }
    fixture_close(&f);
}

/* A slot's incarnation has 10 bits: in another life of its segment the same word may
 * stand in the same slot.  Made by hand, for chance would take too long. */
static void the_same_word_in_another_life_of_its_segment_is_another_entry(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 0);
    assert_int_equal(put(&f, "key", "value", 5), FOREBAY_OK);
    forebay_place place = placed(&f, "key");
    _Atomic uint64_t *generation = &f.arena->segments[place.segment].generation;
    atomic_fetch_add(generation, SLOT_INCARNATIONS);
    assert_true(has(&f, "key")); /* to a get it is one, and a good one */
    assert_false(forebay_place_holds(f.cache, &place));
    forebay_place again = placed(&f, "key");
    assert_int_equal(again.word & ~SLOT_FREQUENCY_MASK, place.word & ~SLOT_FREQUENCY_MASK);
    fixture_close(&f);
}

/* Where every byte that is copied is checked, fewer: one thread alone has no races. */
#ifdef FB_TSAN
enum { LIVES = 5, LONG_LIVES = 1 };
#else
enum { LIVES = 50, LONG_LIVES = 10 };
#endif

static void lives_that_wrap_the_incarnation_are_told_apart(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 0);
    unsigned number = 0;
    static forebay_place old[LIVES];
    static uint64_t generations[LIVES];
    for (int i = 0; i < LIVES; i++) {
        assert_int_equal(put(&f, "key", "value", 5), FOREBAY_OK);
        old[i] = placed(&f, "key");
        generations[i] = old[i].generation;
        evict(&f, &old[i], &number);
        /* as if the segments had lived through 1024 lives more: the same words again, soon */
        for (uint32_t s = 0; s < f.arena->geometry.segment_count; s++)
            atomic_fetch_add(&f.arena->segments[s].generation, SLOT_INCARNATIONS);
        for (int k = 0; k <= i; k++)
            assert_false(forebay_place_holds(f.cache, &old[k]));
    }
    assert_true(generations[LIVES - 1] > SLOT_INCARNATIONS);
    fixture_close(&f);
}

static void an_entry_of_several_segments_has_a_place(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 0);
    char value[20000] = { 0 };
    unsigned number = 0;
    for (int i = 0; i < LONG_LIVES; i++) {
        forebay_place place;
        char got[sizeof value];
        assert_int_equal(put(&f, "long", value, sizeof value), FOREBAY_OK);
        assert_int_equal(forebay_get_placed(f.cache, "long", 4, &(forebay_sink){ give_buffer, got }, &place), FOREBAY_OK);
        assert_true(place.slot != NULL && place.units > fb_segment_units(f.arena));
        assert_true(forebay_place_holds(f.cache, &place));
        evict(&f, &place, &number);
        assert_false(forebay_place_holds(f.cache, &place));
    }
    fixture_close(&f);
}

static void it_goes_with_an_entry_that_the_index_moves(void **state)
{
    (void)state;
    fixture f = fixture_open(4 * SIZE, 0);
    static forebay_place places[300];
    char key[24];
    for (unsigned i = 0; i < 300; i++) {
        (void)snprintf(key, sizeof key, "key-%u", i);
        assert_int_equal(put(&f, key, &i, sizeof i), FOREBAY_OK);
        places[i] = placed(&f, key);
    }
    uint64_t before = fb_index_word(f.arena);
    for (unsigned i = 0; i < 30000; i++) {
        (void)snprintf(key, sizeof key, "more-%u", i);
        assert_int_equal(put(&f, key, &i, sizeof i), FOREBAY_OK);
    }
    assert_true(fb_index_word(f.arena) > before);
    unsigned held = 0;
    for (unsigned i = 0; i < 300; i++) {
        received got = { .length = 0 };
        (void)snprintf(key, sizeof key, "key-%u", i);
        bool holds = forebay_place_holds(f.cache, &places[i]);
        long length = take(&f, key, got.bytes, sizeof got.bytes);
        assert_true(length == sizeof i || (length == -1 && !holds));
        held += holds;
    }
    assert_true(held < 300); /* false says nothing, true all */
    fixture_close(&f);
}

static forebay_cache_stats stats_of(forebay_cache *cache)
{
    forebay_cache_stats stats;
    assert_int_equal(forebay_cache_get_stats(cache, &stats), FOREBAY_OK);
    return stats;
}

/* A cache that packs, with a value under "key". */
static forebay_cache *open_packing(fixture *f, char value[200])
{
    forebay_cache *packed;
    forebay_cache_options options = { .ttl_ms = 0, .codec = "zstd" };
    assert_int_equal(forebay_cache_open(f->arena, "packed", &options, &packed, NULL), FOREBAY_OK);
    for (size_t i = 0; i < 200; i++)
        value[i] = "tea, milk, rum; "[i % 16];
    assert_int_equal(forebay_set(packed, "key", 3, value, 200, FOREBAY_KIND_BYTES, FOREBAY_TTL_DEFAULT, FOREBAY_SET), FOREBAY_OK);
    forebay_cache_stats stats = stats_of(packed);
    assert_true(stats.stored_bytes < stats.value_bytes);
    return packed;
}

static void a_packed_entry_has_a_place_that_saves_the_unpacking(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 0);
    char value[200];
    forebay_cache *packed = open_packing(&f, value);
    forebay_place place;
    received got;
    forebay_sink sink = { receive, &got };
    assert_int_equal(forebay_get_placed(packed, "key", 3, &sink, &place), FOREBAY_OK);
    assert_non_null(place.slot);
    assert_true(got.length == sizeof value && memcmp(got.bytes, value, sizeof value) == 0);
    assert_true((uint64_t)place.units * ARENA_ALIGN < sizeof value); /* those of the entry as it is stored */
    forebay_cache_stats before = stats_of(packed);
    for (int i = 0; i < 20; i++)
        assert_true(forebay_place_holds(packed, &place));
    forebay_cache_stats after = stats_of(packed);
    assert_int_equal(after.hits, before.hits + 20);
    assert_int_equal(after.packed_hits, before.packed_hits); /* nothing was unpacked */
    uint64_t word = atomic_load((_Atomic uint64_t *)place.slot);
    assert_true(fb_slot_same(word, place.word));
    assert_int_equal(fb_slot_frequency(word), fb_policy_frequency_max(f.arena));
    assert_int_equal(forebay_set(packed, "key", 3, value, sizeof value, FOREBAY_KIND_BYTES, FOREBAY_TTL_DEFAULT, FOREBAY_SET),
                     FOREBAY_OK);
    assert_false(forebay_place_holds(packed, &place));
    forebay_cache_close(packed);
    fixture_close(&f);
}

static void a_get_that_stores_the_entry_unpacked_gives_no_place(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 0);
    char value[200];
    forebay_cache *packed = open_packing(&f, value);
    forebay_place place = { .slot = NULL }, last;
    received got;
    forebay_sink sink = { receive, &got };
    for (int i = 0; stats_of(packed).warmed == 0; i++) {
        assert_true(i < 100);
        last = place;
        assert_int_equal(forebay_get_placed(packed, "key", 3, &sink, &place), FOREBAY_OK);
        assert_true(got.length == sizeof value && memcmp(got.bytes, value, sizeof value) == 0);
        assert_true((place.slot == NULL) == (stats_of(packed).warmed != 0));
    }
    assert_non_null(last.slot);
    assert_false(forebay_place_holds(packed, &last));
    assert_int_equal(forebay_get_placed(packed, "key", 3, &sink, &place), FOREBAY_OK);
    assert_true(place.units > last.units);
    assert_true(forebay_place_holds(packed, &place));
    forebay_cache_close(packed);
    fixture_close(&f);
}

static void a_child_goes_on_with_its_parents_places(void **state)
{
    (void)state;
    fixture f = fixture_open(SIZE, 0);
    assert_int_equal(put(&f, "key", "value", 5), FOREBAY_OK);
    forebay_place place = placed(&f, "key");
    uint64_t before = hits(&f);
    for (int round = 0; round < 2; round++) {
        pid_t child = fork();
        if (child == 0) {
            bool good = forebay_place_holds(f.cache, &place);
            if (round == 1)
                good = good && put(&f, "key", "other", 5) == FOREBAY_OK && !forebay_place_holds(f.cache, &place);
            _exit(good ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_int_equal(hits(&f), before + 1u + (unsigned)round);
    }
    assert_false(forebay_place_holds(f.cache, &place));
    fixture_close(&f);
}

#define ROUNDS 20000

typedef struct race {
    fixture f;
    _Atomic uint64_t finished; /* the last number whose set, or removal, is over */
    atomic_bool over;
    _Atomic uint64_t held;
} race;

/* Writes numbers, now and then clears, expires by tag, deletes; and other entries, so that segments are reused. */
static void *write_numbers(void *argument)
{
    race *r = argument;
    forebay_key tag = { "t", 1 };
    forebay_set_options options = { .tags = &tag, .tag_count = 1 };
    for (uint64_t n = 1; n <= ROUNDS; n++) {
        char other[24];
        if (forebay_set_with(r->f.cache, "key", 3, &n, sizeof n, FOREBAY_KIND_BYTES, &options) != FOREBAY_OK)
            abort();
        atomic_store(&r->finished, n);
        (void)snprintf(other, sizeof other, "other-%u", (unsigned)(n % 2000));
        if (put(&r->f, other, other, sizeof other) != FOREBAY_OK)
            abort();
        if (n % 16 == 1)
            (void)forebay_delete(r->f.cache, "key", 3);
        else if (n % 16 == 5)
            (void)forebay_invalidate_tag(r->f.cache, "t", 1);
        else if (n % 64 == 9)
            (void)forebay_clear(r->f.cache);
        else
            continue;
        atomic_store(&r->finished, n + 1); /* number n may not be seen any more */
    }
    atomic_store(&r->over, true);
    return NULL;
}

static void *read_numbers(void *argument)
{
    race *r = argument;
    received got;
    forebay_place place = { .slot = NULL };
    uint64_t number = 0;
    while (!atomic_load(&r->over)) {
        uint64_t finished = atomic_load(&r->finished);
        if (forebay_place_holds(r->f.cache, &place)) {
            atomic_fetch_add(&r->held, 1);
        } else {
            if (forebay_get_placed(r->f.cache, "key", 3, &(forebay_sink){ receive, &got }, &place) != FOREBAY_OK) {
                place.slot = NULL;
                continue;
            }
            memcpy(&number, got.bytes, sizeof number);
        }
        if (number < finished)
            abort();
    }
    return NULL;
}

static void nobody_sees_by_a_place_what_is_older_than_a_finished_write(void **state)
{
    (void)state;
    race r = { .f = fixture_open(SIZE, 0) };
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i == 0 ? write_numbers : read_numbers, &r), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(atomic_load(&r.held) != 0);
    fixture_close(&r.f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_holds_while_the_entry_is_the_same_and_counts_as_a_hit),
        cmocka_unit_test(what_is_not_there_has_no_place),
        cmocka_unit_test(it_ends_when_the_entry_is_replaced_deleted_touched_or_counted_up),
        cmocka_unit_test(it_ends_when_the_cache_is_cleared_or_dropped),
        cmocka_unit_test(it_ends_when_the_entry_expires),
        cmocka_unit_test(it_ends_when_any_tag_is_invalidated),
        cmocka_unit_test(an_entry_with_too_many_tags_has_none),
        cmocka_unit_test(it_is_of_one_version),
        cmocka_unit_test(it_ends_when_the_entry_is_evicted),
        cmocka_unit_test(the_same_word_in_another_life_of_its_segment_is_another_entry),
        cmocka_unit_test(lives_that_wrap_the_incarnation_are_told_apart),
        cmocka_unit_test(an_entry_of_several_segments_has_a_place),
        cmocka_unit_test(it_goes_with_an_entry_that_the_index_moves),
        cmocka_unit_test(a_packed_entry_has_a_place_that_saves_the_unpacking),
        cmocka_unit_test(a_get_that_stores_the_entry_unpacked_gives_no_place),
        cmocka_unit_test(nobody_sees_by_a_place_what_is_older_than_a_finished_write),
        cmocka_unit_test(a_child_goes_on_with_its_parents_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
