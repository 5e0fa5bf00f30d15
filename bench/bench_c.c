/* SPDX-License-Identifier: Apache-2.0 */
/* The C library alone, one thread: hot keys, and zipfian over the whole set.
 *
 *   bench_c --records FILE --indices FILE --arena PATH [--rounds N] [--seconds S]
 *
 * FILE of indices: u32 each, which record to use next.  Rounds are interleaved;
 * each figure of each round is printed as JSON. */
#include "bench_file.h"

#define HOT_KEYS 200u
#define BATCH 100u
#define VALUE_ROOM 1024u /* bytes; values have at most 900 */
#define TURN 1000u       /* calls between two looks at the clock */

typedef struct bench {
    forebay_cache *cache;
    forebay_cache *written; /* of another arena: sets would evict what the gets read */
    const bench_record *records;
    size_t record_count;
    const uint32_t *indices;
    size_t index_count;
    uint32_t hot[HOT_KEYS];
    double seconds;
    uint64_t misses;
    char values[BATCH][VALUE_ROOM];
} bench;

typedef size_t (*operation)(bench *, size_t turn); /* does some calls; returns how many */

static void get_one(bench *b, uint32_t index)
{
    const bench_record *record = &b->records[index];
    size_t length;
    forebay_kind kind;
    forebay_status status = forebay_get_into(b->cache, record->key, record->key_length, b->values[0],
                                             VALUE_ROOM, &length, &kind);
    if (status == FOREBAY_MISS) {
        b->misses++;
        return;
    }
    bench_check("get", status);
    if (length != record->value_length)
        bench_fail("get", "another value's length");
}

static void set_in(forebay_cache *cache, const bench *b, uint32_t index)
{
    const bench_record *record = &b->records[index];
    bench_check("set", forebay_set(cache, record->key, record->key_length, record->value,
                                   record->value_length, FOREBAY_KIND_BYTES, FOREBAY_TTL_FOREVER, FOREBAY_SET));
}

static size_t get_hot(bench *b, size_t turn)
{
    (void)turn;
    for (size_t i = 0; i < TURN; i++)
        get_one(b, b->hot[i % HOT_KEYS]);
    return TURN;
}

static size_t set_hot(bench *b, size_t turn)
{
    (void)turn;
    for (size_t i = 0; i < TURN; i++)
        set_in(b->written, b, b->hot[i % HOT_KEYS]);
    return TURN;
}

static uint32_t index_at(const bench *b, size_t place)
{
    return b->indices[place % b->index_count];
}

static size_t get_whole(bench *b, size_t turn)
{
    for (size_t i = 0; i < TURN; i++)
        get_one(b, index_at(b, turn * TURN + i));
    return TURN;
}

static size_t set_whole(bench *b, size_t turn)
{
    for (size_t i = 0; i < TURN; i++)
        set_in(b->written, b, index_at(b, turn * TURN + i));
    return TURN;
}

static void *give_room(void *context, size_t item, size_t length, forebay_kind kind)
{
    bench *b = context;
    (void)kind;
    return length <= VALUE_ROOM ? b->values[item] : NULL;
}

static size_t get_many_whole(bench *b, size_t turn)
{
    forebay_key keys[BATCH];
    forebay_status status[BATCH];
    const forebay_sink sink = { .room = give_room, .context = b };
    for (size_t i = 0; i < BATCH; i++) {
        const bench_record *record = &b->records[index_at(b, turn * BATCH + i)];
        keys[i] = (forebay_key){ .data = record->key, .length = record->key_length };
    }
    bench_check("get_many", forebay_get_many(b->cache, keys, BATCH, &sink, status));
    for (size_t i = 0; i < BATCH; i++)
        b->misses += status[i] == FOREBAY_MISS;
    return BATCH;
}

static const struct {
    const char *name;
    operation run;
} OPERATIONS[] = {
    { "get, hot", get_hot },
    { "set, hot", set_hot },
    { "get, whole set", get_whole },
    { "get_many, whole set, per key", get_many_whole },
    { "set, whole set", set_whole },
};
#define OPERATION_COUNT (sizeof OPERATIONS / sizeof OPERATIONS[0])

static double rate(bench *b, operation run, size_t first_turn)
{
    size_t calls = 0, turn = first_turn;
    double begin = bench_seconds(), now;
    do {
        for (int i = 0; i < 10; i++) /* a look at the clock per 1,000 calls or more */
            calls += run(b, turn++);
        now = bench_seconds();
    } while (now - begin < b->seconds);
    return (double)calls / (now - begin);
}

/* Which records the hot loops use: the first different ones of the sequence. */
static void choose_hot(bench *b)
{
    size_t chosen = 0;
    for (size_t place = 0; chosen < HOT_KEYS && place < b->index_count; place++) {
        size_t i = 0;
        while (i < chosen && b->hot[i] != b->indices[place])
            i++;
        if (i == chosen)
            b->hot[chosen++] = b->indices[place];
    }
    if (chosen < HOT_KEYS)
        bench_fail("--indices", "too few different ones");
}

/* Returns how many of the records the arena holds; reads all, which maps them. */
static uint64_t fill(bench *b)
{
    for (size_t i = 0; i < b->record_count; i++)
        set_in(b->cache, b, (uint32_t)i);
    for (size_t i = 0; i < b->record_count; i++)
        set_in(b->written, b, (uint32_t)i);
    for (size_t i = 0; i < b->record_count; i++)
        get_one(b, (uint32_t)i);
    uint64_t held = b->record_count - b->misses;
    b->misses = 0;
    return held;
}

static void print_figures(double (*figures)[OPERATION_COUNT], size_t rounds, uint64_t held, uint64_t misses)
{
    printf("{\"held\": %lu, \"misses\": %lu, \"rows\": [", (unsigned long)held, (unsigned long)misses);
    for (size_t o = 0; o < OPERATION_COUNT; o++) {
        printf("%s\n {\"name\": \"%s\", \"per_second\": [", o ? "," : "", OPERATIONS[o].name);
        for (size_t round = 0; round < rounds; round++)
            printf("%s%.0f", round ? ", " : "", figures[round][o]);
        printf("]}");
    }
    printf("\n]}\n");
}

static forebay_arena *open_arena(const char *path, uint64_t size, forebay_cache **cache)
{
    forebay_error error = { 0 };
    forebay_arena *arena;
    const forebay_arena_options options = { .size = size };
    if (forebay_arena_open(path, &options, &arena, &error) != FOREBAY_OK)
        bench_fail("open", error.message);
    if (forebay_cache_open(arena, "bench", &(forebay_cache_options){ .ttl_ms = FOREBAY_TTL_STORED, .codec = "none" }, cache, &error) != FOREBAY_OK)
        bench_fail("cache", error.message);
    return arena;
}

static uint64_t total_bytes(const bench_record *records, size_t count)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += records[i].key_length + records[i].value_length;
    return bytes;
}

int main(int count, char **words)
{
    bench *b = bench_allocate(sizeof *b);
    *b = (bench){ .cache = NULL };
    size_t bytes, rounds = bench_number(count, words, "--rounds", 5);
    b->seconds = atof(bench_option(count, words, "--seconds") ? bench_option(count, words, "--seconds") : "0.3");
    b->records = bench_records(bench_need(count, words, "--records"), &b->record_count);
    b->indices = (const uint32_t *)(void *)bench_read(bench_need(count, words, "--indices"), &bytes);
    b->index_count = bytes / sizeof *b->indices;
    choose_hot(b);
    const char *path = bench_need(count, words, "--arena");
    char written_path[4096];
    snprintf(written_path, sizeof written_path, "%s-set", path);
    uint64_t size = 2 * total_bytes(b->records, b->record_count);
    forebay_arena *arena = open_arena(path, size, &b->cache);
    forebay_arena *written = open_arena(written_path, size, &b->written);
    uint64_t held = fill(b);

    double(*figures)[OPERATION_COUNT] = bench_allocate(rounds * sizeof *figures);
    for (size_t round = 0; round < rounds; round++)
        for (size_t o = 0; o < OPERATION_COUNT; o++)
            figures[round][o] = rate(b, OPERATIONS[o].run, round * 997);
    print_figures(figures, rounds, held, b->misses);
    forebay_cache_close(b->cache);
    forebay_cache_close(b->written);
    forebay_arena_close(arena);
    forebay_arena_close(written);
    remove(path);
    remove(written_path);
    return 0;
}
