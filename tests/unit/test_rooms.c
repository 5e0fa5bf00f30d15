/* SPDX-License-Identifier: Apache-2.0 */
/* What entries take, by cache: rooms.c; caches as who only looks sees them: forebay_cache_at();
 * the arena's info in brief: arena_info.c. */
#include "cache_fixture.h"

#define MIB ((uint64_t)1 << 20)
#define ALL UINT64_MAX /* buckets: the whole index */

static forebay_cache *open_cache(forebay_arena *arena, const char *name, const char *codec)
{
    forebay_cache *cache;
    forebay_cache_options options = {.codec = codec};
    assert_int_equal(forebay_cache_open(arena, name, &options, &cache, NULL), FOREBAY_OK);
    return cache;
}

static void fill(forebay_cache *cache, int count, size_t length, uint64_t ttl_ms)
{
    char value[4096], key[16];
    memset(value, 'v', sizeof value); /* packs well */
    for (int i = 0; i < count; i++) {
        size_t key_length = (size_t)snprintf(key, sizeof key, "%06d", i);
        assert_int_equal(forebay_set(cache, key, key_length, value, length, FOREBAY_KIND_BYTES, ttl_ms, FOREBAY_SET), FOREBAY_OK);
    }
}

/* Of the cache of this name; fails if it is not among them. */
static forebay_cache_room room_of(forebay_arena *arena, const char *name, uint64_t turn, uint64_t buckets, double *part)
{
    forebay_cache_room rooms[8];
    uint32_t count = forebay_cache_rooms(arena, turn, buckets, rooms, 8, part);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(rooms[i].name, name) == 0)
            return rooms[i];
    fail_msg("no room of the cache '%s'", name);
    return (forebay_cache_room){0};
}

static void entries_are_added_up_by_cache(void **state)
{
    (void)state;
    double part;
    fixture f = fixture_open(4 * MIB, 0);
    forebay_cache *other = open_cache(f.arena, "other", "none");
    fill(f.cache, 500, 100, FOREBAY_TTL_DEFAULT);
    fill(other, 20, 1000, FOREBAY_TTL_DEFAULT);
    forebay_cache_room room = room_of(f.arena, "test", 0, ALL, &part);
    assert_true(part == 1.0);
    assert_int_equal(room.entries, 500);
    assert_int_equal(room.raw_bytes, 500 * 120); /* header 8, key 6, value 100, to the next 8 */
    assert_int_equal(room.packed_bytes | room.unpacked_bytes, 0);
    assert_int_equal(room_of(f.arena, "other", 0, ALL, &part).raw_bytes, 20 * 1016);
    forebay_cache_close(other);
    fixture_close(&f);
}

static void packed_entries_say_what_they_would_take_unpacked(void **state)
{
    (void)state;
    double part;
    fixture f = fixture_open(4 * MIB, 0);
    forebay_cache *packed = open_cache(f.arena, "packed", "lz4");
    fill(packed, 10, 4000, FOREBAY_TTL_DEFAULT);
    forebay_cache_room room = room_of(f.arena, "packed", 0, ALL, &part);
    assert_int_equal(room.entries, 10);
    assert_int_equal(room.raw_bytes, 0);
    assert_in_range(room.packed_bytes, 10 * 16, 10 * 400);
    assert_in_range(room.unpacked_bytes, 10 * 4000, 10 * 4024);
    forebay_cache_close(packed);
    fixture_close(&f);
}

static void what_no_get_would_find_does_not_count(void **state)
{
    (void)state;
    double part;
    fixture f = fixture_open(4 * MIB, 0);
    fill(f.cache, 30, 100, 1000);
    assert_int_equal(forebay_arena_advance_clock(f.arena, 2000), FOREBAY_OK);
    assert_int_equal(room_of(f.arena, "test", 0, ALL, &part).entries, 0);
    fill(f.cache, 30, 100, FOREBAY_TTL_DEFAULT);
    assert_int_equal(room_of(f.arena, "test", 0, ALL, &part).entries, 30);
    assert_int_equal(forebay_clear(f.cache), FOREBAY_OK);
    assert_int_equal(room_of(f.arena, "test", 0, ALL, &part).entries, 0);
    fixture_close(&f);
}

static void a_sample_is_an_even_part_and_turns_go_over_all_of_it(void **state)
{
    (void)state;
    fixture f = fixture_open(16 * MIB, 0);
    fill(f.cache, 60000, 60, FOREBAY_TTL_DEFAULT);
    double part, parts = 0;
    uint64_t seen = 0, all = room_of(f.arena, "test", 0, ALL, &part).entries;
    assert_int_equal(all, 60000);
    for (uint64_t turn = 0; parts < 0.999; turn++) {
        forebay_cache_room room = room_of(f.arena, "test", turn, 1024, &part);
        assert_true(part > 0 && part < 0.2);
        assert_in_range((uint64_t)((double)room.entries / part), 48000, 72000);
        seen += room.entries;
        parts += part;
    }
    assert_in_range((uint64_t)((double)seen / parts), 57000, 63000);
    fixture_close(&f);
}

/* Entries that are asked for again are moved to the second queue. */
static void all_that_lives_was_appended_in_either_queue(void **state)
{
    (void)state;
    double part;
    fixture f = fixture_open(2 * MIB, 0);
    for (int round = 0; round < 30; round++) {
        char value[128];
        fill(f.cache, 8000, 100, FOREBAY_TTL_DEFAULT);
        for (int i = 0; i < 8000; i++) {
            char key[16];
            snprintf(key, sizeof key, "%06d", i);
            (void)take(&f, key, value, sizeof value);
        }
    }
    forebay_cache_room room = room_of(f.arena, "test", 0, ALL, &part);
    forebay_arena_info info;
    assert_int_equal(forebay_arena_get_info(f.arena, &info), FOREBAY_OK);
    assert_true(room.raw_bytes > MIB / 2);
    assert_true(room.raw_bytes <= info.entry_bytes);
    fixture_close(&f);
}

static void brief_info_is_the_same_but_for_what_takes_long(void **state)
{
    (void)state;
    fixture f = fixture_open(4 * MIB, 0);
    fill(f.cache, 500, 100, FOREBAY_TTL_DEFAULT);
    forebay_arena_info info, brief;
    assert_int_equal(forebay_arena_get_info(f.arena, &info), FOREBAY_OK);
    assert_int_equal(forebay_arena_get_brief_info(f.arena, &brief), FOREBAY_OK);
    assert_int_equal(info.index_slots_used, 500);
    info.index_slots_used = 0;
    info.huge_pages = false;
    brief.now_ms = info.now_ms;
    assert_memory_equal(&brief, &info, sizeof info);
    fixture_close(&f);
}

static void a_look_at_an_empty_arena_finds_its_caches(void **state)
{
    (void)state;
    double part;
    fixture f = fixture_open(4 * MIB, 0);
    assert_int_equal(room_of(f.arena, "test", 7, 1, &part).entries, 0);
    forebay_cache_room none;
    assert_int_equal(forebay_cache_rooms(f.arena, 0, ALL, &none, 0, &part), 0);
    fixture_close(&f);
}

static void a_cache_is_described_without_being_opened(void **state)
{
    (void)state;
    fixture f = fixture_open(4 * MIB, 5000);
    fill(f.cache, 3, 10, FOREBAY_TTL_DEFAULT);
    char value[16];
    assert_int_equal(take(&f, "000001", value, sizeof value), 10);
    assert_int_equal(take(&f, "none", value, sizeof value), -1);
    forebay_cache_info info;
    assert_true(forebay_cache_at(f.arena, 0, &info));
    assert_string_equal(info.name, "test");
    assert_int_equal(info.ttl_ms, 5000);
    assert_int_equal(info.stats.entries, 3);
    assert_int_equal(info.stats.hits, 1);
    assert_int_equal(info.stats.misses, 1);
    assert_string_equal(info.stats.codec, "none");
    assert_false(forebay_cache_at(f.arena, 1, &info));
    fixture_close(&f);
}

static void a_dropped_cache_is_no_more_among_them(void **state)
{
    (void)state;
    fixture f = fixture_open(4 * MIB, 0);
    forebay_cache_close(open_cache(f.arena, "other", "none"));
    assert_int_equal(forebay_cache_drop(f.arena, "test"), FOREBAY_OK);
    forebay_cache_info info;
    assert_true(forebay_cache_at(f.arena, 0, &info));
    assert_string_equal(info.name, "other");
    assert_int_equal(info.ttl_ms, 0);
    assert_false(forebay_cache_at(f.arena, 1, &info));
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_added_up_by_cache),
        cmocka_unit_test(packed_entries_say_what_they_would_take_unpacked),
        cmocka_unit_test(what_no_get_would_find_does_not_count),
        cmocka_unit_test(a_sample_is_an_even_part_and_turns_go_over_all_of_it),
        cmocka_unit_test(all_that_lives_was_appended_in_either_queue),
        cmocka_unit_test(brief_info_is_the_same_but_for_what_takes_long),
        cmocka_unit_test(a_look_at_an_empty_arena_finds_its_caches),
        cmocka_unit_test(a_cache_is_described_without_being_opened),
        cmocka_unit_test(a_dropped_cache_is_no_more_among_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
