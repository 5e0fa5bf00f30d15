/* SPDX-License-Identifier: Apache-2.0 */
/* Real records through a cache that packs: look up; on a miss, insert.
 *
 *   packing_run RECORDS SIZE CODEC WARM_PART < u32 indices of records
 *
 * WARM_PART: of the segments, one in so many may be taken by entries kept
 * unpacked; 0: the usual part.  An index is a key; its value is that of the record
 * of that number, modulo how many there are.  The first half of the indices warms
 * the cache up.  Prints JSON: of the second half, times per get or set. */
#include "arena/arena_state.h"
#include "bench_file.h"

#define ROOM (1u << 20)

static forebay_cache *open_cache(const char *size, const char *codec, uint32_t warm_part, forebay_arena **arena)
{
    forebay_error error = { 0 };
    forebay_cache *cache;
    const forebay_arena_options options = { .size = strtoull(size, NULL, 10) };
    const forebay_cache_options how = { .codec = codec };
    if (forebay_arena_open(NULL, &options, arena, &error) != FOREBAY_OK)
        bench_fail("open", error.message);
    (*arena)->warm_part = warm_part;
    if (forebay_cache_open(*arena, "packing", &how, &cache, &error) != FOREBAY_OK)
        bench_fail("cache", error.message);
    return cache;
}

typedef struct outcome {
    uint64_t gets, hits;
    double get_seconds, set_seconds;
} outcome;

static void go_through(forebay_cache *cache, const bench_record *records, size_t count, const uint32_t *indices, size_t from,
                       size_t to, outcome *out)
{
    static char room[ROOM];
    *out = (outcome){ 0 };
    for (size_t i = from; i < to; i++) {
        const bench_record *record = &records[indices[i] % count];
        char key[16];
        size_t length, key_length = (size_t)snprintf(key, sizeof key, "%u", indices[i]);
        forebay_kind kind;
        double began = bench_seconds();
        forebay_status status = forebay_get_into(cache, key, key_length, room, ROOM, &length, &kind);
        double got = bench_seconds();
        out->gets++;
        if (status == FOREBAY_OK) {
            if (length != record->value_length || memcmp(room, record->value, length) != 0)
                bench_fail("get", "another value");
            out->hits++;
            out->get_seconds += got - began;
            continue;
        }
        bench_check("set", forebay_set(cache, key, key_length, record->value, record->value_length, FOREBAY_KIND_MSGPACK,
                                       FOREBAY_TTL_FOREVER, FOREBAY_SET));
        out->set_seconds += bench_seconds() - got;
    }
}

/* Seconds of a get, as far as they are the clock's own. */
static double clock_cost(void)
{
    double began = bench_seconds();
    for (int i = 0; i < 100000; i++)
        (void)bench_seconds();
    return (bench_seconds() - began) / 100000;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        bench_fail("usage", "packing_run RECORDS SIZE CODEC WARM_PART");
    size_t count, room = 1 << 20, length = 0;
    const bench_record *records = bench_records(argv[1], &count);
    uint32_t *indices = bench_allocate(room * sizeof *indices);
    for (size_t got; (got = fread(indices + length, sizeof *indices, room - length, stdin)) > 0;) {
        length += got;
        if (length == room)
            indices = realloc(indices, (room *= 2) * sizeof *indices);
    }
    forebay_arena *arena;
    forebay_cache *cache = open_cache(argv[2], argv[3], (uint32_t)atoi(argv[4]), &arena);
    outcome out;
    forebay_cache_stats before, after;
    go_through(cache, records, count, indices, 0, length / 4, &out);
    while (forebay_cache_train(cache) == FOREBAY_BUSY) /* in the background: at the same point in every run */
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    go_through(cache, records, count, indices, length / 4, length / 2, &out);
    bench_check("stats", forebay_cache_get_stats(cache, &before));
    go_through(cache, records, count, indices, length / 2, length, &out);
    bench_check("stats", forebay_cache_get_stats(cache, &after));
    double clock = clock_cost();
    printf("{\"gets\": %llu, \"hits\": %llu, \"packed_hits\": %llu, \"warmed\": %llu, \"entries\": %llu, \"ratio\": %.4f, "
           "\"get_ns\": %.1f, \"set_ns\": %.1f}\n",
           (unsigned long long)out.gets, (unsigned long long)out.hits, (unsigned long long)(after.packed_hits - before.packed_hits),
           (unsigned long long)(after.warmed - before.warmed), (unsigned long long)after.entries,
           (double)(after.value_bytes - before.value_bytes + 1) / (double)(after.stored_bytes - before.stored_bytes + 1),
           out.hits ? (out.get_seconds / (double)out.hits - clock) * 1e9 : 0,
           out.gets - out.hits ? (out.set_seconds / (double)(out.gets - out.hits) - clock) * 1e9 : 0);
    forebay_cache_close(cache);
    forebay_arena_close(arena);
    return 0;
}
