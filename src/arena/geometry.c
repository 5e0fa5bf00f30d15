/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/geometry.h"

#include <string.h>

#include <forebay/arena.h>

#define PAGE UINT64_C(4096)
#define MIB (UINT64_C(1) << 20)
#define SUPERBLOCK_SIZE UINT64_C(4096)
#define SEGMENTS_WANTED 512u             /* and what rounding to a power of two makes of it: up to twice as many */
#define BYTES_PER_TAG 8192u              /* a thousandth of the arena */
#define TAGS_MIN 128u
#define DICTIONARIES_PART 128u           /* of the arena, for the bytes of dictionaries */
#define DICTIONARY_SIZE_MIN 2048u
#define DICTIONARY_SIZE_MAX 112640u      /* more gains next to nothing: docs/internals/measurements.md */
#define DICTIONARIES_WANTED 8u
#define BYTES_PER_LEASE 16384u           /* half a percent of the arena */
#define LEASES_MIN 64u
#define LEASES_MAX 8192u                 /* keys being loaded at once */
#define LEASES_PER_NOTE 16u
#define BYTES_PER_PERMIT 65536u          /* of each limit */
#define PERMITS_MIN 64u
#define PERMITS_MAX 2048u
#define PLACES_MIN 16u
#define PLACES_MAX 64u                   /* a bit each in a word */
#define SEGMENT_SIZE_MAX (UINT64_C(1) << 30)
#define BYTES_PER_INITIAL_BUCKET 8192u   /* the index grows; entries of 1 KiB start it right */
#define INDEX_INITIAL_MIN 64u
#define ENTRY_OVERHEAD 64u               /* header, extensions, padding: at most 36; tags, 129 more, fit as runs may be twice as long */

static const struct size_class {
    uint64_t below; /* bytes of arena */
    uint32_t rows;
    uint32_t caches;
    uint32_t limits;
} size_classes[] = {
    { 4 * MIB, 32, 16, 4 },
    { 16 * MIB, 64, 16, 8 },
    { 64 * MIB, 128, 32, 16 },
    { 1024 * MIB, 256, 64, 16 },
    { UINT64_MAX, 1024, CACHE_COUNT_MAX, 16 },
};

static const struct size_class *class_of(uint64_t size)
{
    const struct size_class *c = size_classes;
    while (size >= c->below)
        c++;
    return c;
}

static uint64_t power_of_two_at_most(uint64_t n)
{
    return UINT64_C(1) << (63 - __builtin_clzll(n));
}

static uint64_t clamp(uint64_t n, uint64_t low, uint64_t high)
{
    return n < low ? low : n > high ? high : n;
}

static uint64_t size_of_leases(const arena_geometry *g)
{
    return g->lease_count * (sizeof(uint64_t) + sizeof(arena_lease)) + g->lease_note_count * sizeof(arena_lease_note);
}

static uint64_t size_of_limits(const arena_geometry *g)
{
    return g->limit_count
           * (sizeof(arena_limit) + g->permit_count * sizeof(uint64_t) + g->place_count * sizeof(arena_place));
}

static void lay_out(arena_geometry *g)
{
    uint64_t taken;
    g->rows_offset = SUPERBLOCK_SIZE;
    g->caches_offset = g->rows_offset + g->row_count * sizeof(arena_row);
    g->counters_offset = g->caches_offset + g->cache_count * sizeof(arena_cache);
    g->tags_offset = g->counters_offset + g->counter_count * sizeof(arena_counters);
    g->segments_offset = g->tags_offset + g->tag_count * sizeof(uint64_t);
    uint64_t dictionaries = g->dictionary_count * (sizeof(arena_dictionary) + (uint64_t)g->dictionary_size);
    taken = g->segments_offset + g->policy_size + dictionaries + size_of_leases(g) + size_of_limits(g)
            + g->index_initial * sizeof(arena_bucket);
    g->segment_count = (uint32_t)((g->size - taken) / (g->segment_size + sizeof(arena_segment)));
    g->policy_offset = g->segments_offset + g->segment_count * sizeof(arena_segment);
    g->dictionaries_offset = g->policy_offset + g->policy_size;
    g->leases_offset = g->dictionaries_offset + dictionaries;
    g->limits_offset = g->leases_offset + size_of_leases(g);
    g->index_offset = g->limits_offset + size_of_limits(g);
    g->data_offset = g->index_offset + g->index_initial * sizeof(arena_bucket);
}

bool fb_geometry_compute(uint64_t size, arena_geometry *geometry_out)
{
    if (size < FOREBAY_ARENA_MIN_SIZE || size > FOREBAY_ARENA_MAX_SIZE)
        return false;
    size -= size % PAGE;
    const struct size_class *c = class_of(size);
    arena_geometry g = { .size = size };
    g.row_count = c->rows;
    g.cache_count = c->caches;
    g.counter_count = c->caches + 2 * c->rows; /* see counters.h */
    g.segment_size = (uint32_t)clamp(power_of_two_at_most(size / SEGMENTS_WANTED), PAGE, SEGMENT_SIZE_MAX);
    g.index_initial = (uint32_t)clamp(power_of_two_at_most(size / BYTES_PER_INITIAL_BUCKET),
                                      INDEX_INITIAL_MIN, UINT32_MAX);
    g.tag_count = (uint32_t)clamp(power_of_two_at_most(size / BYTES_PER_TAG), TAGS_MIN, UINT64_C(1) << TAG_NUMBER_BITS);
    g.policy_size = size / 100 * 3 / PAGE * PAGE;
    g.dictionary_size = (uint32_t)clamp(size / DICTIONARIES_PART / DICTIONARIES_WANTED / 64 * 64, DICTIONARY_SIZE_MIN,
                                        DICTIONARY_SIZE_MAX);
    g.dictionary_count = (uint32_t)clamp(size / DICTIONARIES_PART / g.dictionary_size, 1, DICTIONARY_SLOTS);
    g.lease_count = (uint32_t)clamp(power_of_two_at_most(size / BYTES_PER_LEASE), LEASES_MIN, LEASES_MAX);
    g.lease_note_count = g.lease_count / LEASES_PER_NOTE;
    g.limit_count = c->limits;
    g.permit_count = (uint32_t)clamp(power_of_two_at_most(size / BYTES_PER_PERMIT), PERMITS_MIN, PERMITS_MAX);
    g.place_count = (uint32_t)clamp(g.permit_count / 4, PLACES_MIN, PLACES_MAX);
    lay_out(&g);
    *geometry_out = g;
    return true;
}

bool fb_geometry_check(const arena_geometry *geometry)
{
    arena_geometry expected;
    return geometry->size % PAGE == 0 && fb_geometry_compute(geometry->size, &expected)
           && memcmp(geometry, &expected, sizeof expected) == 0; /* no padding: see the assert on its size */
}

uint64_t fb_geometry_max_entry(const arena_geometry *geometry)
{
    uint64_t data = (uint64_t)geometry->segment_count * geometry->segment_size;
    uint64_t eighth = geometry->size / 8;
    return (eighth < data / 2 ? eighth : data / 2) - ENTRY_OVERHEAD;
}
