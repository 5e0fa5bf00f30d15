/* SPDX-License-Identifier: Apache-2.0 */
#include "arena_fixture.h"

#include "arena/geometry.h"

static const uint64_t sizes[] = {
    MIB, MIB + 4095, MIB + 4096, 4 * MIB - 4096, 4 * MIB, 16 * MIB, 64 * MIB - 1, 64 * MIB, 100 * MIB + 12345,
    256 * MIB, 1024 * MIB - 4096, 1024 * MIB, 3000 * MIB, 16384 * MIB, 102400 * MIB, FOREBAY_ARENA_MAX_SIZE,
};
#define SIZE_COUNT (sizeof sizes / sizeof *sizes)

static void parts_follow_each_other_and_fit_at_every_size(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZE_COUNT; i++) {
        arena_geometry g;
        assert_true(fb_geometry_compute(sizes[i], &g));
        assert_int_equal(g.size, sizes[i] / 4096 * 4096);
        assert_true(g.rows_offset >= sizeof(arena_superblock));
        assert_true(g.caches_offset >= g.rows_offset + g.row_count * sizeof(arena_row));
        assert_true(g.counters_offset >= g.caches_offset + g.cache_count * sizeof(arena_cache));
        assert_true(g.segments_offset >= g.counters_offset + g.counter_count * sizeof(arena_counters));
        assert_true(g.policy_offset >= g.segments_offset + g.segment_count * sizeof(arena_segment));
        assert_true(g.index_offset >= g.policy_offset + g.policy_size);
        assert_int_equal(g.data_offset, g.index_offset + 64 * (uint64_t)g.index_initial);
        uint64_t end = g.data_offset + (uint64_t)g.segment_count * g.segment_size;
        assert_true(end <= g.size);
        assert_true(g.size - end < g.segment_size + 2 * sizeof(arena_segment)); /* no segment more would fit */
    }
}

static void every_part_begins_at_a_cache_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZE_COUNT; i++) {
        arena_geometry g;
        assert_true(fb_geometry_compute(sizes[i], &g));
        assert_int_equal((g.rows_offset | g.caches_offset | g.counters_offset | g.segments_offset | g.policy_offset
                          | g.index_offset | g.data_offset) % 64, 0);
    }
}

static void segments_are_powers_of_two_and_enough(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZE_COUNT; i++) {
        arena_geometry g;
        assert_true(fb_geometry_compute(sizes[i], &g));
        assert_int_equal(g.segment_size & (g.segment_size - 1), 0);
        assert_true(g.segment_size >= 4096);
        assert_true(g.segment_count >= 200);  /* 128 cost 0.5% of misses */
        assert_true(g.segment_count <= 1024);
        assert_int_equal(g.index_initial & (g.index_initial - 1), 0);
    }
}

static void rows_and_caches_grow_with_the_size(void **state)
{
    static const struct { uint64_t size; uint32_t rows, caches; } expected[] = {
        { MIB, 32, 16 }, { 4 * MIB - 4096, 32, 16 }, { 4 * MIB, 64, 16 }, { 16 * MIB, 128, 32 },
        { 64 * MIB, 256, 64 }, { 1024 * MIB - 1, 256, 64 }, { 1024 * MIB, 1024, 128 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        arena_geometry g;
        assert_true(fb_geometry_compute(expected[i].size, &g));
        assert_int_equal(g.row_count, expected[i].rows);
        assert_int_equal(g.cache_count, expected[i].caches);
        assert_int_equal(g.counter_count, g.cache_count + 2 * g.row_count);
    }
}

static void the_policy_takes_at_most_three_percent(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZE_COUNT; i++) {
        arena_geometry g;
        assert_true(fb_geometry_compute(sizes[i], &g));
        assert_true(g.policy_size * 100 <= g.size * 3);
        assert_true(g.policy_size * 100 >= g.size * 3 - 100 * 4096 - 300);
    }
}

static void sizes_out_of_range_are_refused(void **state)
{
    arena_geometry g;
    (void)state;
    assert_false(fb_geometry_compute(0, &g));
    assert_false(fb_geometry_compute(MIB - 1, &g));
    assert_false(fb_geometry_compute(FOREBAY_ARENA_MAX_SIZE + 1, &g));
    assert_false(fb_geometry_compute(UINT64_MAX, &g));
}

/* A size a page larger may have the same parts: then it is valid as a whole, and
 * the file's checksum and length tell. */
static void a_geometry_with_any_bit_of_its_parts_changed_is_refused(void **state)
{
    arena_geometry g;
    (void)state;
    assert_true(fb_geometry_compute(64 * MIB, &g));
    assert_true(fb_geometry_check(&g));
    for (size_t bit = 0; bit < sizeof g * 8; bit++) {
        if (bit >= 12 && bit < 64)
            continue; /* of the size, in pages */
        arena_geometry changed = g;
        ((uint8_t *)&changed)[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(fb_geometry_check(&changed));
    }
}

static void the_largest_entry_is_an_eighth_and_fits_half_of_the_segments(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZE_COUNT; i++) {
        arena_geometry g;
        assert_true(fb_geometry_compute(sizes[i], &g));
        uint64_t max = fb_geometry_max_entry(&g);
        assert_true(max >= g.size / 8 - 64);
        assert_true(max + 64 <= (uint64_t)g.segment_count * g.segment_size / 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_follow_each_other_and_fit_at_every_size),
        cmocka_unit_test(every_part_begins_at_a_cache_line),
        cmocka_unit_test(segments_are_powers_of_two_and_enough),
        cmocka_unit_test(rows_and_caches_grow_with_the_size),
        cmocka_unit_test(the_policy_takes_at_most_three_percent),
        cmocka_unit_test(sizes_out_of_range_are_refused),
        cmocka_unit_test(a_geometry_with_any_bit_of_its_parts_changed_is_refused),
        cmocka_unit_test(the_largest_entry_is_an_eighth_and_fits_half_of_the_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
