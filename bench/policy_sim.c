/* SPDX-License-Identifier: Apache-2.0 */
/* For developing the policy: runs the policy code itself on a plain engine of
 * segments in one thread, without index, values or clock.  Reads trace records
 * (u32 time, u64 key, u32 size, u32 ttl, packed) from stdin and prints the miss
 * ratio.  What counts in the end is measured with the cache itself.
 *
 *   cc -O2 -Iinclude -Isrc bench/policy_sim.c src/cache/policy.c src/cache/policy_constants.c \
 *      src/cache/ghosts.c src/cache/miniature.c src/cache/selector.c -o policy_sim
 *   zstd -dc NAME.trc.zst | policy_sim CAPACITY [options]
 *     -u      CAPACITY is in bytes, entries have the sizes of the trace
 *     -b N    bytes an entry takes (else 1000): how much policy region there is
 *     -s N    segments (256)
 *     -f K    only the constants K, no selector
 *     -S N    another hash seed: other keys are sampled
 *     -v      show the selector's choices */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "arena/rows.h"
#include "cache/policy.h"
#include "cache/policy_region.h"

/* One row, never dead: what the policy asks of rows.c. */
bool fb_row_is_dead(forebay_arena *arena, row_owner owner)
{
    (void)arena;
    (void)owner;
    return false;
}

struct options {
    uint64_t capacity, bytes_per_entry, seed;
    uint32_t segments;
    int forced; /* constants; -1: the selector's choice */
    bool by_bytes, verbose;
};

struct __attribute__((packed)) record {
    uint32_t time;
    uint64_t key;
    uint32_t size, ttl;
};

struct entry {
    uint64_t hash;
    uint32_t units;
    uint32_t segment; /* + 1; 0: not cached */
    uint32_t frequency;
    policy_history history;
};

struct segment {
    uint32_t *entries;
    uint32_t count, room, used; /* units used */
    struct segment *next;
};

struct engine {
    forebay_arena arena;
    struct entry *entries;
    struct segment *segments;
    uint32_t segment_count, segment_units, free_count;
    struct segment *free;
    struct segment *head[2], *oldest[2], *youngest[2];
    uint32_t sealed[2];
    uint64_t copies, misses, requests;
    bool by_bytes; /* one segment more in reserve: entries do not fill segments */
};

static void push(struct engine *engine, enum queue queue, struct segment *segment)
{
    segment->next = NULL;
    if (engine->youngest[queue])
        engine->youngest[queue]->next = segment;
    else
        engine->oldest[queue] = segment;
    engine->youngest[queue] = segment;
    engine->sealed[queue]++;
}

static void append(struct engine *engine, enum queue queue, uint32_t id);

static void make_room(struct engine *engine)
{
    enum queue queue = fb_policy_choose(&engine->arena, engine->sealed[0], engine->sealed[1], engine->segment_count);
    struct segment *victim = engine->oldest[queue];
    engine->oldest[queue] = victim->next;
    if (!victim->next)
        engine->youngest[queue] = NULL;
    engine->sealed[queue]--;
    uint32_t dropped = 0;
    for (uint32_t i = 0; i < victim->count; i++) {
        struct entry *entry = &engine->entries[victim->entries[i]];
        policy_decision decision = fb_policy_evict(&engine->arena, queue, entry->hash, entry->units,
                                                   entry->frequency, entry->history);
        entry->frequency = decision.frequency;
        entry->history = decision.history;
        if (decision.target == POLICY_DROP) {
            entry->segment = 0;
            dropped++;
        } else {
            engine->copies++;
            append(engine, decision.target == POLICY_TO_MAIN ? QUEUE_MAIN : QUEUE_PROBATION, victim->entries[i]);
        }
    }
    fb_policy_segment_done(&engine->arena, queue, victim->count, dropped);
    victim->count = victim->used = 0;
    victim->next = engine->free;
    engine->free = victim;
    engine->free_count++;
}

static void append(struct engine *engine, enum queue queue, uint32_t id)
{
    struct entry *entry = &engine->entries[id];
    struct segment *head = engine->head[queue];
    if (!head || head->used + entry->units > engine->segment_units) {
        if (head)
            push(engine, queue, head);
        head = engine->free;
        if (!head)
            abort();
        engine->free = head->next;
        engine->free_count--;
        engine->head[queue] = head;
    }
    if (head->count == head->room) {
        head->room = head->room ? head->room * 2 : 16;
        head->entries = realloc(head->entries, head->room * sizeof *head->entries);
    }
    head->entries[head->count++] = id;
    head->used += entry->units;
    entry->segment = 1;
}

static void insert(struct engine *engine, uint32_t id)
{
    struct entry *entry = &engine->entries[id];
    entry->frequency = 0;
    enum queue queue = fb_policy_admit(&engine->arena, entry->hash, entry->units, &entry->history);
    struct segment *head;
    while ((!(head = engine->head[queue]) || head->used + entry->units > engine->segment_units) && engine->free_count <= (engine->by_bytes ? 2u : 1u))
        make_room(engine);
    append(engine, queue, id);
}

static void request(struct engine *engine, uint32_t id)
{
    struct entry *entry = &engine->entries[id];
    bool hit = entry->segment != 0;
    engine->requests++;
    if (hit && entry->frequency < fb_policy_frequency_max(&engine->arena))
        entry->frequency++;
    if (fb_policy_sampled(&engine->arena, entry->hash))
        fb_policy_record(&engine->arena, entry->hash, entry->units, hit);
    if (hit)
        return;
    engine->misses++;
    if (entry->units <= engine->segment_units)
        insert(engine, id);
}

/* Key -> place in `entries`, open addressing. */
static uint32_t find(uint64_t *keys, uint32_t *ids, uint32_t mask, uint64_t key, uint32_t *next)
{
    uint32_t i = (uint32_t)XXH3_64bits_withSeed(&key, 8, 7) & mask;
    while (ids[i] && keys[i] != key)
        i = (i + 1) & mask;
    if (!ids[i]) {
        keys[i] = key;
        ids[i] = ++*next;
    }
    return ids[i] - 1;
}

static bool read_options(int argc, char **argv, struct options *options)
{
    *options = (struct options){ .bytes_per_entry = 1000, .seed = 42, .segments = 256, .forced = -1 };
    int option;
    while ((option = getopt(argc, argv, "ub:s:f:vS:")) >= 0) {
        switch (option) {
        case 'u': options->by_bytes = true; break;
        case 'b': options->bytes_per_entry = strtoull(optarg, NULL, 10); break;
        case 's': options->segments = (uint32_t)atoi(optarg); break;
        case 'f': options->forced = atoi(optarg); break;
        case 'S': options->seed = strtoull(optarg, NULL, 10); break;
        case 'v': options->verbose = true; break;
        default: return false;
        }
    }
    if (optind >= argc)
        return false;
    options->capacity = strtoull(argv[optind], NULL, 10);
    return true;
}

static struct record *read_trace(size_t *count)
{
    struct record *records = NULL;
    size_t room = 0, got;
    *count = 0;
    do {
        if (*count == room)
            records = realloc(records, (room = room ? room * 2 : 1 << 16) * sizeof *records);
        got = fread(records + *count, sizeof *records, room - *count, stdin);
        *count += got;
    } while (got > 0);
    return records;
}

static uint32_t units_of(const struct options *options, const struct record *record)
{
    uint32_t units = options->by_bytes ? (record->size + 7) / 8 : (uint32_t)(options->bytes_per_entry / 8);
    return units ? units : 1;
}

/* Make the entries; returns the place in them of each record's key. */
static uint32_t *number_keys(struct engine *engine, const struct options *options, const struct record *records, size_t count)
{
    uint32_t mask = 1, next = 0;
    while (mask < count * 2)
        mask = mask * 2 + 1;
    uint64_t *keys = calloc((size_t)mask + 1, sizeof *keys);
    uint32_t *ids = calloc((size_t)mask + 1, sizeof *ids);
    uint32_t *order = malloc(count * sizeof *order);
    engine->entries = calloc(count + 1, sizeof *engine->entries);
    for (size_t i = 0; i < count; i++) {
        uint64_t key = records[i].key;
        order[i] = find(keys, ids, mask, key, &next);
        struct entry *entry = &engine->entries[order[i]];
        entry->hash = XXH3_64bits_withSeed(&key, 8, options->seed);
        entry->units = units_of(options, &records[i]);
    }
    free(ids);
    free(keys);
    return order;
}

/* Returns the bytes of an arena with room for as much. */
static uint64_t size_segments(struct engine *engine, const struct options *options)
{
    uint64_t capacity = options->capacity, bytes_per_entry = options->bytes_per_entry;
    uint32_t segments = options->segments;
    engine->by_bytes = options->by_bytes;
    if (options->by_bytes) {
        engine->segment_units = (uint32_t)(capacity / 8 / segments);
        engine->segment_count = segments;
        return capacity;
    }
    uint32_t each = (uint32_t)(capacity / segments ? capacity / segments : 1);
    engine->segment_units = each * (uint32_t)(bytes_per_entry / 8);
    engine->segment_count = (uint32_t)(capacity / each);
    return capacity * bytes_per_entry;
}

static void make_segments(struct engine *engine)
{
    engine->segments = calloc(engine->segment_count + 1, sizeof *engine->segments);
    for (uint32_t i = 0; i < engine->segment_count; i++) {
        engine->segments[i].next = engine->free;
        engine->free = &engine->segments[i];
        engine->free_count++;
    }
}

/* As much of an arena as the policy looks at. */
static void make_arena(struct engine *engine, uint64_t size)
{
    forebay_arena *arena = &engine->arena;
    arena->geometry.segment_size = engine->segment_units * 8;
    arena->geometry.segment_count = engine->segment_count;
    arena->geometry.row_count = 2;
    arena->geometry.policy_size = (size > 1 << 20 ? size : 1 << 20) * 3 / 100 & ~UINT64_C(63);
    arena->rows = aligned_alloc(64, 2 * sizeof(arena_row));
    memset(arena->rows, 0, 2 * sizeof(arena_row));
    arena->policy = aligned_alloc(64, arena->geometry.policy_size);
    memset(arena->policy, 0, arena->geometry.policy_size);
    atomic_store(&arena->rows[0].word, 3);
    atomic_store(&arena->row_generation, 1);
}

/* After request `i`: the last fortieth of the trace, and the constants if they are others now. */
static void report(struct engine *engine, size_t i, size_t count)
{
    static uint64_t last;
    static uint32_t before;
    policy_region *region = fb_policy_region(&engine->arena);
    size_t part = count >= 40 ? count / 40 : 1;
    if ((i + 1) % part == 0) {
        fprintf(stderr, "  %zu: miss %.4f main %u threshold %.2f fruitless %u epoch %u drain %u\n", i + 1,
                (double)(engine->misses - last) / (double)part, engine->sealed[1],
                atomic_load(&region->threshold) / 65536.0, atomic_load(&region->fruitless), atomic_load(&region->epoch), atomic_load(&region->drain));
        last = engine->misses;
    }
    if (atomic_load(&region->active) != before) {
        before = atomic_load(&region->active);
        fprintf(stderr, "%zu: %s\n", i, fb_policy_constants(before)->name);
    }
}

static void run(struct engine *engine, const struct options *options, const uint32_t *order, size_t count)
{
    policy_region *region = fb_policy_region(&engine->arena);
    for (size_t i = 0; i < count; i++) {
        if (options->forced >= 0)
            atomic_store(&region->active, (uint32_t)options->forced);
        request(engine, order[i]);
        if (options->verbose)
            report(engine, i, count);
    }
}

int main(int argc, char **argv)
{
    static struct engine engine;
    struct options options;
    if (!read_options(argc, argv, &options))
        return 2;
    size_t count;
    struct record *records = read_trace(&count);
    uint32_t *order = number_keys(&engine, &options, records, count);
    uint64_t arena_size = size_segments(&engine, &options);
    make_segments(&engine);
    make_arena(&engine, arena_size);
    run(&engine, &options, order, count);
    printf("%.4f copies/miss %.2f capacity %u\n", (double)engine.misses / (double)count,
           (double)engine.copies / (double)engine.misses, atomic_load(&fb_policy_region(&engine.arena)->capacity));
    return 0;
}
