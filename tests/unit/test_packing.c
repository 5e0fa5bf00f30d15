/* SPDX-License-Identifier: Apache-2.0 */
/* Packed values and their dictionaries: packed.c, packing_side.c, dictionaries.c, samples.c, trainer.c, cache_get_packed.c,
 * repack.c, warm.c, and what reads and writes make of them. */
#include <dirent.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena/recover.h"
#include "base/copy.h"
#include "cache/dictionaries.h"
#include "cache/packing_side.h"
#include "cache_fixture.h"

#define MIB ((uint64_t)1 << 20)

/* ---- values like those of services: alike, and no two the same ---- */

static size_t record_make(char *to, size_t capacity, unsigned long number)
{
    static const char *const cities[] = {"Amsterdam", "Brno", "Cartagena", "Dubrovnik", "Esztergom", "Fukuoka", "Genova"};
    return (size_t)snprintf(to, capacity,
                            "{\"id\": %lu, \"name\": \"customer-%08lx\", \"city\": \"%s\", \"active\": %s, \"balance\": \"%lu.%02lu\", "
                            "\"address\": {\"street\": \"Long Street %lu\", \"postal_code\": \"%05lu\", \"country\": \"NL\"}, "
                            "\"tags\": [\"newsletter\", \"segment-%lu\", \"since-20%02lu\"], \"email\": \"customer%lu@example.org\"}",
                            number, number * 2654435761ul % 0xffffffff, cities[number % 7], number % 3 ? "true" : "false",
                            number * 37 % 10000, number % 100, number % 400, number * 7919 % 100000, number % 12, number % 25,
                            number);
}

static forebay_status set_record(forebay_cache *cache, unsigned long number)
{
    char key[32], value[1024];
    snprintf(key, sizeof key, "key %lu", number);
    size_t length = record_make(value, sizeof value, number);
    return forebay_set(cache, key, strlen(key), value, length, FOREBAY_KIND_MSGPACK, FOREBAY_TTL_DEFAULT, FOREBAY_SET);
}

/* 1: there and right; 0: a miss; fails if it is anything else. */
static int record_is(forebay_cache *cache, unsigned long number)
{
    char key[32], value[1024], expected[1024];
    size_t length, wanted = record_make(expected, sizeof expected, number);
    forebay_kind kind;
    snprintf(key, sizeof key, "key %lu", number);
    forebay_status status = forebay_get_into(cache, key, strlen(key), value, sizeof value, &length, &kind);
    if (status == FOREBAY_MISS)
        return 0;
    assert_int_equal(status, FOREBAY_OK);
    assert_int_equal(kind, FOREBAY_KIND_MSGPACK);
    assert_int_equal(length, wanted);
    assert_memory_equal(value, expected, length);
    return 1;
}

static unsigned long fill(forebay_cache *cache, unsigned long from, unsigned long to)
{
    unsigned long stored = 0;
    for (unsigned long i = from; i < to; i++)
        stored += set_record(cache, i) == FOREBAY_OK;
    return stored;
}

static unsigned long count_right(forebay_cache *cache, unsigned long from, unsigned long to)
{
    unsigned long right = 0;
    for (unsigned long i = from; i < to; i++)
        right += (unsigned long)record_is(cache, i);
    return right;
}

static forebay_cache_stats stats_of(forebay_cache *cache)
{
    forebay_cache_stats stats;
    assert_int_equal(forebay_cache_get_stats(cache, &stats), FOREBAY_OK);
    return stats;
}

static fixture open_packing(uint64_t size, const char *codec)
{
    fixture f;
    forebay_error error = {0};
    forebay_arena_options options = {.size = size};
    assert_int_equal(forebay_arena_open(NULL, &options, &f.arena, &error), FOREBAY_OK);
    if (forebay_cache_open(f.arena, "test", &(forebay_cache_options){.codec = codec}, &f.cache, &error) != FOREBAY_OK)
        fail_msg("%s", error.message);
    return f;
}

static void wait_for_training(const fixture *f)
{
    for (int i = 0; i < 20000 && atomic_load(&f->cache->record->trainer) != 0; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&f->cache->record->trainer), 0);
}

/* ---- the option ---- */

static void options_are_read_and_written(void **state)
{
    (void)state;
    static const struct { const char *given, *text; } good[] = {
        {"auto", "auto"}, {"none", "none"}, {"zstd", "zstd"}, {"zstd:9", "zstd:9"}, {"zstd:3", "zstd"}, {"zstd:-5", "zstd:-5"},
        {"lz4", "lz4"}, {"gzip:9", "gzip:9"}, {"bz2", "bz2"}, {"lzma:1", "lzma:1"},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        fixture f = open_packing(MIB, good[i].given);
        char text[FOREBAY_CODEC_TEXT];
        forebay_cache_codec(f.cache, text);
        assert_string_equal(text, good[i].text);
        fixture_close(&f);
    }
    fixture f = open_packing(MIB, NULL);
    static const char *const bad[] = {"", "zst", "zstd:", "zstd:x", "zstd:99", "zstd:9 ", ":9", "zstd:9:1", "brotli", "auto:1",
                                      "a name that is far too long for a codec"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        forebay_error error = {0};
        forebay_cache *cache;
        assert_int_equal(forebay_cache_open(f.arena, "bad", &(forebay_cache_options){.codec = bad[i]}, &cache, &error),
                         FOREBAY_INVALID);
        assert_non_null(strstr(error.message, "zstd (")); /* says what there is */
    }
    fixture_close(&f);
}

static void another_codec_is_a_conflict(void **state)
{
    (void)state;
    fixture f = open_packing(MIB, "lz4");
    forebay_error error = {0};
    forebay_cache *cache;
    forebay_cache_options other = {.codec = "zstd:9", .ttl_ms = FOREBAY_TTL_STORED};
    assert_int_equal(forebay_cache_open(f.arena, "test", &other, &cache, &error), FOREBAY_CONFLICT);
    assert_non_null(strstr(error.message, "another codec (lz4)"));
    other.update = true;
    fill(f.cache, 0, 300);
    assert_int_equal(forebay_cache_open(f.arena, "test", &other, &cache, &error), FOREBAY_OK);
    fill(cache, 300, 600); /* entries of both codecs side by side, read through either handle */
    assert_int_equal(count_right(f.cache, 0, 600), 600);
    assert_int_equal(count_right(cache, 0, 600), 600);
    forebay_cache_close(cache);
    fixture_close(&f);
}

/* ---- reads and writes ---- */

static void every_codec_stores_and_gives_back(void **state)
{
    (void)state;
    static const char *const codecs[] = {"none", "zstd", "zstd:9", "lz4", "gzip", "bz2", "lzma", "auto"};
    for (size_t c = 0; c < sizeof codecs / sizeof *codecs; c++) {
        fixture f = open_packing(4 * MIB, codecs[c]);
        static char value[300000], back[300000];
        for (size_t length = 0; length < sizeof value; length = length * 3 / 2 + 1) {
            for (size_t i = 0; i < length; i++)
                value[i] = (char)("abcdefgh"[i * i / 7 % 8]);
            assert_int_equal(put(&f, "key", value, length), FOREBAY_OK);
            assert_int_equal(take(&f, "key", back, sizeof back), (long)length);
            assert_memory_equal(value, back, length);
        }
        fill(f.cache, 0, 1000);
        assert_int_equal(count_right(f.cache, 0, 1000), 1000);
        forebay_cache_stats stats = stats_of(f.cache);
        assert_int_equal(stats.value_bytes == 0, c == 0);
        if (strcmp(codecs[c], "auto") != 0 && c != 0)
            assert_true(stats.stored_bytes < stats.value_bytes);
        fixture_close(&f);
    }
}

static void what_gains_nothing_is_stored_as_it_is(void **state)
{
    (void)state;
    static const char *const codecs[] = {"zstd", "lz4", "auto"};
    for (size_t c = 0; c < sizeof codecs / sizeof *codecs; c++) {
        fixture f = open_packing(4 * MIB, codecs[c]);
        uint64_t random = 88172645463325252u;
        uint8_t value[2000], back[2000];
        for (int n = 0; n < 200; n++) {
            char key[16];
            for (size_t i = 0; i < sizeof value; i++) {
                random ^= random << 13, random ^= random >> 7, random ^= random << 17;
                value[i] = (uint8_t)random;
            }
            snprintf(key, sizeof key, "key %d", n);
            assert_int_equal(put(&f, key, value, sizeof value), FOREBAY_OK);
            assert_int_equal(take(&f, key, back, sizeof back), sizeof back);
            assert_memory_equal(value, back, sizeof back);
        }
        forebay_cache_stats stats = stats_of(f.cache);
        assert_int_equal(stats.stored_bytes, stats.value_bytes);
        assert_int_equal(stats.packed_hits, 0);
        fixture_close(&f);
    }
}

static void all_operations_know_packed_entries(void **state)
{
    (void)state;
    fixture f = open_packing(4 * MIB, "zstd");
    char expected[1024], back[1024];
    size_t length = record_make(expected, sizeof expected, 7);
    assert_int_equal(set_record(f.cache, 7), FOREBAY_OK);
    assert_true(stats_of(f.cache).stored_bytes < length * 7 / 8 + 1);
    /* touch keeps the packed bytes */
    assert_int_equal(forebay_touch(f.cache, "key 7", 5, 100000), FOREBAY_OK);
    assert_int_equal(record_is(f.cache, 7), 1);
    /* cas sees the value */
    uint64_t token = forebay_token(f.cache, expected, length, FOREBAY_KIND_MSGPACK);
    forebay_set_options options = {.mode = FOREBAY_SET};
    assert_int_equal(forebay_cas(f.cache, "key 7", 5, token + 1, expected, length, FOREBAY_KIND_MSGPACK, &options), FOREBAY_EXISTS);
    assert_int_equal(forebay_cas(f.cache, "key 7", 5, token, expected, length, FOREBAY_KIND_MSGPACK, &options), FOREBAY_OK);
    /* a view is a private copy, and says so */
    forebay_view view;
    assert_int_equal(forebay_view_open(f.cache, "key 7", 5, &view), FOREBAY_OK);
    assert_false(view.zero_copy);
    assert_int_equal(view.length, length);
    assert_memory_equal(view.data, expected, length);
    forebay_view_close(&view);
    /* get_many */
    forebay_status status[3];
    forebay_key keys[3] = {{"key 7", 5}, {"none", 4}, {"key 7", 5}};
    struct { char bytes[3][1024]; } rooms;
    extern void *room_of_three(void *context, size_t item, size_t size, forebay_kind kind);
    assert_int_equal(forebay_get_many(f.cache, keys, 3, &(forebay_sink){room_of_three, &rooms}, status), FOREBAY_OK);
    assert_int_equal(status[0], FOREBAY_OK);
    assert_int_equal(status[1], FOREBAY_MISS);
    assert_memory_equal(rooms.bytes[0], expected, length);
    assert_memory_equal(rooms.bytes[2], expected, length);
    /* an int stays one */
    int64_t number;
    assert_int_equal(forebay_incr(f.cache, "n", 1, 5, 0, FOREBAY_TTL_DEFAULT, &number), FOREBAY_OK);
    assert_int_equal(forebay_incr(f.cache, "key 7", 5, 5, 0, FOREBAY_TTL_DEFAULT, &number), FOREBAY_TYPE);
    /* pop */
    struct { char bytes[3][1024]; } popped;
    assert_int_equal(forebay_pop(f.cache, "key 7", 5, &(forebay_sink){room_of_three, &popped}), FOREBAY_OK);
    assert_memory_equal(popped.bytes[0], expected, length);
    assert_int_equal(take(&f, "key 7", back, sizeof back), -1);
    fixture_close(&f);
}

void *room_of_three(void *context, size_t item, size_t size, forebay_kind kind);
void *room_of_three(void *context, size_t item, size_t size, forebay_kind kind)
{
    (void)kind;
    return size <= 1024 ? (char *)context + 1024 * item : NULL;
}

static void a_value_too_large_to_read_is_refused_however_small_it_packs(void **state)
{
    (void)state;
    fixture f = open_packing(MIB, "zstd");
    static char zeros[MIB / 4];
    forebay_set_options options = {.mode = FOREBAY_SET};
    assert_int_equal(put(&f, "key", "old", 3), FOREBAY_OK);
    assert_int_equal(forebay_cas(f.cache, "key", 3, forebay_token(f.cache, "old", 3, FOREBAY_KIND_BYTES), zeros, sizeof zeros,
                                 FOREBAY_KIND_BYTES, &options), FOREBAY_TOOBIG);
    assert_int_equal(put(&f, "key", zeros, sizeof zeros), FOREBAY_TOOBIG);
    assert_false(has(&f, "key")); /* no stale value is left */
    assert_int_equal(put(&f, "key", zeros, sizeof zeros / 3), FOREBAY_OK);
    assert_true(has(&f, "key"));
    fixture_close(&f);
}

/* ---- dictionaries ---- */

static void a_dictionary_is_trained_in_the_background(void **state)
{
    (void)state;
    static const char *const codecs[] = {"auto", "lz4"};
    for (size_t c = 0; c < 2; c++) {
        fixture f = open_packing(8 * MIB, codecs[c]);
        unsigned long n = 0;
        while (stats_of(f.cache).dictionary == 0 && n < 100000) {
            fill(f.cache, n, n + 500);
            n += 500;
            wait_for_training(&f);
        }
        forebay_cache_stats before = stats_of(f.cache);
        assert_true(before.dictionary != 0);
        print_message("%s: a dictionary after %lu records, ratio %u / 1000\n", codecs[c], n, before.dictionary_ratio);
        fill(f.cache, n, n + 2000);
        wait_for_training(&f);
        forebay_cache_stats after = stats_of(f.cache);
        double ratio = (double)(after.value_bytes - before.value_bytes) / (double)(after.stored_bytes - before.stored_bytes);
        print_message("%s: ratio %.2f\n", codecs[c], ratio);
        assert_true(ratio > 2);
        assert_true(count_right(f.cache, 0, n + 2000) > 2000);
        assert_true(stats_of(f.cache).packed_hits > 0);
        fixture_close(&f);
    }
}

static void a_dictionary_that_was_trained_is_told_once(void **state)
{
    (void)state;
    fixture f = open_packing(4 * MIB, "zstd");
    forebay_cache *other, *again;
    forebay_trained told = {0};
    assert_int_equal(forebay_cache_open(f.arena, "other", NULL, &other, NULL), FOREBAY_OK);
    assert_int_equal(forebay_cache_open(f.arena, "test", NULL, &again, NULL), FOREBAY_OK);
    assert_false(forebay_cache_trained(f.cache, &told));
    fill(f.cache, 0, 5000); /* in the background */
    wait_for_training(&f);
    assert_false(forebay_cache_trained(other, &told));
    assert_true(forebay_cache_trained(again, &told));
    forebay_cache_stats stats = stats_of(f.cache);
    assert_int_equal(told.dictionary, stats.dictionary);
    assert_int_equal(told.ratio, stats.dictionary_ratio);
    assert_true(told.ratio > 1000);
    assert_false(forebay_cache_trained(f.cache, &told));
    packing_side *side = atomic_load(&f.arena->packing);
    uint64_t word = fb_row_owner(f.arena) << 32 | stats.dictionary;
    atomic_store(&side->trained[f.cache->number], word + ((uint64_t)1 << 32)); /* a parent's */
    assert_false(forebay_cache_trained(f.cache, &told));
    assert_int_equal(atomic_load(&side->trained[f.cache->number]), 0);
    atomic_store(&side->trained[other->number], word); /* of a cache that had this number before */
    assert_false(forebay_cache_trained(other, &told));
    atomic_store(&side->trained[f.cache->number], word + DICTIONARY_SLOTS); /* gone */
    assert_false(forebay_cache_trained(f.cache, &told));
    forebay_cache_close(again);
    forebay_cache_close(other);
    fixture_close(&f);
}

static void training_says_what_it_cannot_do(void **state)
{
    (void)state;
    fixture f = open_packing(4 * MIB, "gzip");
    assert_int_equal(forebay_cache_train(f.cache), FOREBAY_INVALID);
    fixture_close(&f);
    f = open_packing(4 * MIB, "zstd");
    assert_int_equal(forebay_cache_train(f.cache), FOREBAY_MISS);
    fill(f.cache, 0, 5);
    assert_int_equal(forebay_cache_train(f.cache), FOREBAY_MISS); /* too few */
    fill(f.cache, 0, 2000);
    wait_for_training(&f);
    atomic_store(&f.cache->record->trainer, fb_row_owner(f.arena) << 16 | 1); /* somebody alive is at it */
    assert_int_equal(forebay_cache_train(f.cache), FOREBAY_BUSY);
    atomic_store(&f.cache->record->trainer, (fb_row_owner(f.arena) + (1u << 12)) << 16 | 1); /* somebody dead */
    forebay_status status = forebay_cache_train(f.cache);
    assert_true(status == FOREBAY_OK || status == FOREBAY_MISS);
    assert_int_equal(atomic_load(&f.cache->record->trainer), 0);
    assert_true(stats_of(f.cache).dictionary != 0);
    fixture_close(&f);
}

/* Publish any bytes for the cache. */
static uint32_t publish(const fixture *f, const char *text)
{
    dictionary_facts facts = {.cache = f->cache->number, .life = f->cache->life, .codec = FOREBAY_CODEC_ZSTD, .ratio = 2000};
    return fb_dictionary_publish(f->arena, &facts, text, strlen(text));
}

static void a_dictionary_stays_as_long_as_an_entry_needs_it(void **state)
{
    (void)state;
    fixture f = open_packing(MIB, "zstd");
    uint32_t slots = f.arena->geometry.dictionary_count;
    char bytes[600];
    dictionary_facts facts;
    record_make(bytes, sizeof bytes, 1);
    uint32_t first = publish(&f, bytes);
    assert_true(first != DICTIONARY_NONE);
    assert_int_equal(set_record(f.cache, 1), FOREBAY_OK);
    assert_true(stats_of(f.cache).stored_bytes < 150); /* it was used */
    /* many more, none of them used: their slots are used again, the first one's is not */
    uint32_t last = first;
    for (uint32_t i = 0; i < 5 * slots; i++) {
        record_make(bytes, sizeof bytes, i);
        uint32_t id = publish(&f, bytes);
        assert_true(id != DICTIONARY_NONE && id != last && id != first);
        last = id;
    }
    assert_true(fb_dictionary_look_up(f.arena, first, &facts));
    assert_int_equal(record_is(f.cache, 1), 1);
    /* its segment is evicted: it goes */
    assert_int_equal(forebay_delete(f.cache, "key 1", 5), FOREBAY_OK);
    static char filler[3000];
    for (int i = 0; i < 2000; i++) {
        char key[16];
        for (size_t b = 0; b < sizeof filler; b++)
            filler[b] = (char)(b * b + (size_t)i * 77 + b * (size_t)i);
        snprintf(key, sizeof key, "f%d", i);
        assert_int_equal(forebay_set(f.cache, key, strlen(key), filler, sizeof filler, (forebay_kind)5, 0, FOREBAY_SET),
                         FOREBAY_OK);
    }
    fb_dictionaries_reclaim(f.arena);
    for (uint32_t i = 0; i < slots; i++)
        publish(&f, bytes);
    assert_false(fb_dictionary_look_up(f.arena, first, &facts));
    fixture_close(&f);
}

static void no_more_dictionaries_than_room(void **state)
{
    (void)state;
    fixture f = open_packing(MIB, "zstd");
    uint32_t slots = f.arena->geometry.dictionary_count;
    char bytes[600];
    for (uint32_t i = 0; i < slots; i++) {
        record_make(bytes, sizeof bytes, i);
        assert_true(publish(&f, bytes) != DICTIONARY_NONE);
        assert_int_equal(set_record(f.cache, i), FOREBAY_OK); /* keeps it */
    }
    assert_int_equal(publish(&f, "one too many"), DICTIONARY_NONE);
    assert_int_equal(count_right(f.cache, 0, slots), slots);
    fixture_close(&f);
}

static void the_claims_of_the_dead_are_undone(void **state)
{
    (void)state;
    fixture f = open_packing(MIB, "zstd");
    char bytes[600];
    record_make(bytes, sizeof bytes, 3);
    uint32_t id = publish(&f, bytes);
    assert_int_equal(set_record(f.cache, 3), FOREBAY_OK);
    arena_dictionary *record = &f.arena->dictionaries[fb_dictionary_slot(id)];
    uint64_t dead = fb_row_owner(f.arena) + (UINT64_C(1) << 12); /* a generation that never was */
    atomic_store(&record->word, DICTIONARY_RETIRING | dead << 16);
    assert_int_equal(record_is(f.cache, 3), 1); /* readers do not mind */
    fb_dictionaries_reclaim(f.arena);
    assert_int_equal(atomic_load(&record->word) & 0xf, DICTIONARY_READY);
    assert_int_equal(set_record(f.cache, 4), FOREBAY_OK);
    assert_int_equal(record_is(f.cache, 3) + record_is(f.cache, 4), 2);
    for (uint32_t i = 0; i < f.arena->geometry.dictionary_count; i++)
        if (&f.arena->dictionaries[i] != record)
            atomic_store(&f.arena->dictionaries[i].word, DICTIONARY_WRITING | dead << 16);
    assert_true(publish(&f, bytes) != DICTIONARY_NONE);
    fixture_close(&f);
}

/* Who looks whether a dictionary may go is stopped: those who need it go on, and it stays. */
static void a_stopped_reclaimer_is_overtaken(void **state)
{
    (void)state;
    fixture f = open_packing(MIB, "zstd");
    char bytes[600];
    record_make(bytes, sizeof bytes, 3);
    uint32_t id = publish(&f, bytes);
    assert_int_equal(set_record(f.cache, 3), FOREBAY_OK);
    arena_dictionary *record = &f.arena->dictionaries[fb_dictionary_slot(id)];
    uint64_t claim = (atomic_load(&record->word) & 0xfff0) | DICTIONARY_RETIRING | fb_row_owner(f.arena) << 16; /* alive */
    atomic_store(&record->word, claim);
    assert_int_equal(forebay_touch(f.cache, "key 3", 5, 100000), FOREBAY_OK);
    uint64_t word = atomic_load(&record->word);
    assert_int_equal(word & 0xf, DICTIONARY_READY);
    assert_int_not_equal(word & 0xfff0, claim & 0xfff0); /* what the stopped one wants to store is refused */
    assert_true(fb_dictionary_is_kept(f.arena, id));
    assert_int_equal(record_is(f.cache, 3), 1);
    fixture_close(&f);
}

static void a_dictionary_of_another_codec_or_cache_is_not_used(void **state)
{
    (void)state;
    fixture f = open_packing(MIB, "zstd");
    char bytes[600];
    record_make(bytes, sizeof bytes, 3);
    uint32_t id = publish(&f, bytes);
    assert_int_equal(fb_dictionary_current(f.arena, f.cache->number, FOREBAY_CODEC_ZSTD), id);
    assert_int_equal(fb_dictionary_current(f.arena, f.cache->number, FOREBAY_CODEC_LZ4), DICTIONARY_NONE);
    forebay_cache *lz4;
    forebay_cache_options options = {.codec = "lz4", .update = true};
    assert_int_equal(forebay_cache_open(f.arena, "test", &options, &lz4, NULL), FOREBAY_OK);
    fill(f.cache, 0, 1000); /* the handle of before */
    assert_int_equal(forebay_cache_train(f.cache), FOREBAY_BUSY); /* trains no more */
    assert_int_equal(atomic_load(&lz4->record->misfits), 0);
    fill(lz4, 1000, 2000);
    assert_int_equal(count_right(lz4, 0, 1000) > 0 && count_right(f.cache, 1000, 2000) > 0, true);
    forebay_cache_close(lz4);
    fixture_close(&f);
}

static void the_dictionaries_of_a_dropped_cache_go(void **state)
{
    (void)state;
    fixture f = open_packing(MIB, "zstd");
    char bytes[600];
    record_make(bytes, sizeof bytes, 3);
    for (uint32_t i = 0; i < f.arena->geometry.dictionary_count; i++) {
        char name[16];
        snprintf(name, sizeof name, "cache %u", i % 100);
        fixture other = {.arena = f.arena};
        assert_int_equal(forebay_cache_open(f.arena, name, &(forebay_cache_options){.codec = "zstd"}, &other.cache, NULL), FOREBAY_OK);
        assert_true(publish(&other, bytes) != DICTIONARY_NONE);
        forebay_cache_close(other.cache);
    }
    assert_int_equal(publish(&f, bytes), DICTIONARY_NONE); /* each is the current one of a living cache */
    assert_int_equal(forebay_cache_drop(f.arena, "cache 1"), FOREBAY_OK);
    assert_true(publish(&f, bytes) != DICTIONARY_NONE);
    fixture_close(&f);
}

static void a_missing_or_damaged_dictionary_is_a_miss(void **state)
{
    (void)state;
    fixture f = open_packing(MIB, "zstd");
    char bytes[600];
    record_make(bytes, sizeof bytes, 3);
    uint32_t id = publish(&f, bytes);
    assert_int_equal(set_record(f.cache, 3), FOREBAY_OK);
    arena_dictionary *record = &f.arena->dictionaries[fb_dictionary_slot(id)];
    fb_dictionaries_forget(f.arena); /* as another process */
    atomic_fetch_add(&record->checksum, 1);
    assert_int_equal(record_is(f.cache, 3), 0);
    atomic_fetch_sub(&record->checksum, 1);
    assert_int_equal(record_is(f.cache, 3), 1);
    fb_dictionaries_forget(f.arena);
    uint32_t length = atomic_exchange(&record->length, UINT32_MAX);
    assert_int_equal(record_is(f.cache, 3), 0);
    atomic_store(&record->length, length);
    atomic_store(&record->id, id + DICTIONARY_SLOTS);
    assert_int_equal(record_is(f.cache, 3), 0);
    atomic_store(&record->id, id);
    assert_int_equal(record_is(f.cache, 3), 1);
    fixture_close(&f);
}

static void recovery_keeps_what_can_be_read(void **state)
{
    (void)state;
    fixture f = open_packing(MIB, "zstd");
    char bytes[600];
    record_make(bytes, sizeof bytes, 3);
    uint32_t first = publish(&f, bytes);
    assert_int_equal(set_record(f.cache, 3), FOREBAY_OK);
    uint32_t second = publish(&f, bytes);
    assert_int_equal(set_record(f.cache, 4), FOREBAY_OK);
    arena_dictionary *gone = &f.arena->dictionaries[fb_dictionary_slot(first)];
    atomic_fetch_add(&gone->checksum, 1); /* torn */
    atomic_store(&gone->uses, 0);         /* and older than its use */
    for (uint32_t s = 0; s < f.arena->geometry.segment_count; s++)
        atomic_store(&f.arena->segments[s].dictionaries, 0); /* that too */
    fb_dictionaries_forget(f.arena);
    assert_int_equal(fb_arena_recover(f.arena), FOREBAY_OK);
    assert_int_equal(record_is(f.cache, 3), 0);
    assert_int_equal(record_is(f.cache, 4), 1);
    for (uint32_t i = 0; i < f.arena->geometry.dictionary_count; i++) {
        uint32_t id = publish(&f, bytes);
        assert_true(id != first && id != second); /* no id is given again */
    }
    fixture_close(&f);
}

static void digests_are_replaced_and_freed(void **state)
{
    (void)state;
    fixture f = open_packing(MIB, "zstd");
    char bytes[600];
    for (int i = 0; i < 200; i++) {
        record_make(bytes, sizeof bytes, (unsigned long)i);
        uint32_t id = publish(&f, bytes);
        assert_non_null(fb_dictionary_acquire(f.arena, id));
        fb_dictionary_release(f.arena, id);
    }
    packing_side *side = fb_packing_side(f.arena);
    for (uint32_t i = 0; i < DICTIONARY_SLOTS; i++) {
        assert_int_equal(atomic_load(&side->digests[i].uses), 0);
        assert_null(atomic_load(&side->digests[i].retired));
    }
    fixture_close(&f);
}

/* ---- by temperature ---- */

static void what_is_hit_often_is_kept_unpacked(void **state)
{
    (void)state;
    fixture f = open_packing(8 * MIB, "zstd");
    fill(f.cache, 0, 1000);
    for (int round = 0; round < 400; round++)
        assert_int_equal(record_is(f.cache, 5), 1);
    forebay_cache_stats stats = stats_of(f.cache);
    assert_true(stats.warmed >= 1);
    assert_true(stats.packed_hits < 200);
    assert_int_equal(stats.entries, 1000);
    assert_int_equal(count_right(f.cache, 0, 1000), 1000);
    fixture_close(&f);
}

static void unpacked_entries_keep_to_their_share(void **state)
{
    (void)state;
    fixture f = open_packing(MIB, "zstd");
    fill(f.cache, 0, 30000);
    for (int round = 0; round < 20; round++) {
        count_right(f.cache, 29000, 30000);
        fill(f.cache, 30000, 30200);
    }
    uint64_t warm = 0, all = (uint64_t)f.arena->geometry.segment_count * fb_segment_units(f.arena);
    for (uint32_t s = 0; s < f.arena->geometry.segment_count; s++)
        if (fb_segment_state(fb_segment_load(f.arena, s)) != SEGMENT_FREE)
            warm += atomic_load(&f.arena->segments[s].warm);
    print_message("%.3f of the room is for entries kept unpacked, %lu stored so\n", (double)warm / (double)all,
                  (unsigned long)stats_of(f.cache).warmed);
    assert_true(stats_of(f.cache).warmed > 0);
    assert_true(warm < all / 16);
    fixture_close(&f);
}

/* A cache that is at its limit would pay for unpacked entries with its own. */
static void a_full_cache_with_a_limit_keeps_its_entries_packed(void **state)
{
    (void)state;
    fixture f = {0};
    forebay_arena_options options = {.size = 16 * MIB};
    assert_int_equal(forebay_arena_open(NULL, &options, &f.arena, NULL), FOREBAY_OK);
    assert_int_equal(forebay_cache_open(f.arena, "limited", &(forebay_cache_options){.codec = "zstd", .limit = MIB}, &f.cache, NULL),
                     FOREBAY_OK);
    char bytes[600];
    record_make(bytes, sizeof bytes, 3);
    publish(&f, bytes);
    fill(f.cache, 0, 6000);
    unsigned long before = count_right(f.cache, 0, 6000);
    for (int round = 0; round < 8; round++)
        count_right(f.cache, 0, 6000);
    unsigned long after = count_right(f.cache, 0, 6000);
    print_message("%lu entries, %lu after they were hit\n", before, after);
    assert_true(after > before * 9 / 10);
    fixture_close(&f);
}

static void eviction_packs_what_came_before_the_dictionary(void **state)
{
    (void)state;
    fixture f = open_packing(2 * MIB, "auto");
    fill(f.cache, 0, 100000);
    wait_for_training(&f);
    fill(f.cache, 100000, 200000);
    unsigned long packed = count_right(f.cache, 100000, 200000);
    fixture_close(&f);
    f = open_packing(2 * MIB, "none");
    fill(f.cache, 0, 100000);
    unsigned long raw = count_right(f.cache, 0, 100000);
    print_message("%lu records packed, %lu as they are\n", packed, raw);
    assert_true(packed > 2 * raw);
    fixture_close(&f);
}

/* ---- many at once, fork, close ---- */

static atomic_bool stop_threads;

static void *work(void *context)
{
    fixture *f = context;
    for (unsigned long n = 0; !atomic_load(&stop_threads); n++) {
        unsigned long number = n * 7919 % 3000;
        if (n % 4 == 0)
            set_record(f->cache, number);
        else
            record_is(f->cache, number);
    }
    return NULL;
}

static void threads_train_and_use_dictionaries(void **state)
{
    (void)state;
    fixture f = open_packing(MIB, "zstd");
    pthread_t threads[3];
    char bytes[600];
    fill(f.cache, 0, 100);
    atomic_store(&stop_threads, false);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &f), 0);
    for (int i = 0; i < 60; i++) {
        record_make(bytes, sizeof bytes, (unsigned long)i);
        publish(&f, bytes);
        if (i % 10 == 0)
            (void)!forebay_cache_train(f.cache);
        usleep(2000);
    }
    atomic_store(&stop_threads, true);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    wait_for_training(&f);
    count_right(f.cache, 0, 3000);
    fixture_close(&f);
}

#ifdef __SANITIZE_ADDRESS__
/* Wait until no other thread is left: one that has done its work still frees what it had. */
static void wait_for_other_threads(void)
{
    size_t threads = 0;
    for (int i = 0; i < 20000 && threads != 1; i++) {
        DIR *tasks = opendir("/proc/self/task");
        assert_non_null(tasks);
        threads = 0;
        for (const struct dirent *task; (task = readdir(tasks)) != NULL;)
            threads += task->d_name[0] != '.';
        (void)closedir(tasks);
        usleep(1000);
    }
    assert_int_equal(threads, 1);
}
#endif

static void a_child_goes_on(void **state)
{
    (void)state;
#ifdef FB_TSAN
    print_message("left out: ThreadSanitizer takes a child's copies for its parent's memory; the other builds do this\n");
    return;
#endif
    fixture f = open_packing(4 * MIB, "zstd");
    fill(f.cache, 0, 3000); /* a training may be under way: the child has none of it */
#ifdef __SANITIZE_ADDRESS__
    wait_for_training(&f);
    wait_for_other_threads(); /* its allocator is not to be used in a child forked while a thread allocates or frees */
#endif
    pid_t child = fork();
    if (child == 0) {
        bool good = count_right(f.cache, 0, 3000) == 3000;
        fill(f.cache, 3000, 9000);
        good = good && count_right(f.cache, 3000, 9000) == 6000;
        forebay_cache_close(f.cache);
        good = good && forebay_arena_close(f.arena) == FOREBAY_OK;
        _exit(good ? 0 : 1);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how, 0);
    wait_for_training(&f);
    assert_int_equal(count_right(f.cache, 0, 9000), 9000);
    fixture_close(&f);
}

static void closing_does_not_wait_for_a_training(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        fixture f = open_packing(8 * MIB, "auto");
        fill(f.cache, 0, 600 + 50 * (unsigned long)i);
        forebay_cache_close(f.cache);
        assert_int_equal(forebay_arena_close(f.arena), FOREBAY_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_read_and_written),
        cmocka_unit_test(another_codec_is_a_conflict),
        cmocka_unit_test(every_codec_stores_and_gives_back),
        cmocka_unit_test(what_gains_nothing_is_stored_as_it_is),
        cmocka_unit_test(all_operations_know_packed_entries),
        cmocka_unit_test(a_value_too_large_to_read_is_refused_however_small_it_packs),
        cmocka_unit_test(a_dictionary_is_trained_in_the_background),
        cmocka_unit_test(a_dictionary_that_was_trained_is_told_once),
        cmocka_unit_test(training_says_what_it_cannot_do),
        cmocka_unit_test(a_dictionary_stays_as_long_as_an_entry_needs_it),
        cmocka_unit_test(no_more_dictionaries_than_room),
        cmocka_unit_test(the_claims_of_the_dead_are_undone),
        cmocka_unit_test(a_stopped_reclaimer_is_overtaken),
        cmocka_unit_test(a_dictionary_of_another_codec_or_cache_is_not_used),
        cmocka_unit_test(the_dictionaries_of_a_dropped_cache_go),
        cmocka_unit_test(a_missing_or_damaged_dictionary_is_a_miss),
        cmocka_unit_test(recovery_keeps_what_can_be_read),
        cmocka_unit_test(digests_are_replaced_and_freed),
        cmocka_unit_test(what_is_hit_often_is_kept_unpacked),
        cmocka_unit_test(unpacked_entries_keep_to_their_share),
        cmocka_unit_test(a_full_cache_with_a_limit_keeps_its_entries_packed),
        cmocka_unit_test(eviction_packs_what_came_before_the_dictionary),
        cmocka_unit_test(threads_train_and_use_dictionaries),
        cmocka_unit_test(a_child_goes_on),
        cmocka_unit_test(closing_does_not_wait_for_a_training),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
