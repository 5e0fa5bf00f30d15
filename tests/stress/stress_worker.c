/* SPDX-License-Identifier: Apache-2.0 */
#include "stress_worker.h"

#include <stdio.h>
#include <time.h>

#include "cache/cache_state.h"
#include "cache/dictionaries.h"
#include "self_value.h"
#include "stolen.h"

#define LONG_VALUE 20000u
#define LONG_US 10000.0       /* CPU time of a call from which on what was stolen is taken off */
#define LOOK_EVERY_US 20000.0

typedef struct worker {
    forebay_cache *cache;
    stress_board *board;
    uint64_t state;
    double began_cpu, began_wall;
    double stolen, looked; /* the last look at what was stolen, and when */
} worker;

static double clock_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void raise_to(_Atomic uint64_t *longest, double us)
{
    uint64_t old = atomic_load_explicit(longest, memory_order_relaxed);
    while ((double)old < us && !atomic_compare_exchange_weak(longest, &old, (uint64_t)us))
        ;
}

static void begin_call(worker *w)
{
    double now = clock_us(CLOCK_MONOTONIC);
    if (now - w->looked > LOOK_EVERY_US) {
        w->stolen = stolen_us(-1);
        w->looked = now;
    }
    w->began_wall = clock_us(CLOCK_MONOTONIC);
    w->began_cpu = clock_us(CLOCK_THREAD_CPUTIME_ID);
}

static void end_call(worker *w)
{
    double cpu = clock_us(CLOCK_THREAD_CPUTIME_ID) - w->began_cpu;
    if (cpu > LONG_US)
        cpu -= stolen_us(-1) - w->stolen;
    raise_to(&w->board->longest_cpu_us, cpu);
    raise_to(&w->board->longest_wall_us, clock_us(CLOCK_MONOTONIC) - w->began_wall);
    atomic_fetch_add_explicit(&w->board->calls, 1, memory_order_relaxed);
}

static uint64_t next_random(worker *w)
{
    w->state += UINT64_C(0x9e3779b97f4a7c15);
    return self_value_mix(w->state);
}

static void wrong(worker *w, const char *what, uint64_t key, forebay_status status)
{
    atomic_fetch_add(&w->board->wrong, 1);
    printf("%s: key %llu: status %d (%s)\n", what, (unsigned long long)key, status, forebay_status_text(status));
    fflush(stdout);
}

/* Few keys are hot, as in life. */
static uint64_t any_key(worker *w)
{
    uint64_t r = next_random(w);
    return (r & 3) != 0 ? r / 4 % 100 : r / 4 % STRESS_KEYS;
}

static void work_set(worker *w, forebay_set_mode mode)
{
    static _Thread_local uint8_t value[LONG_VALUE + 2000];
    uint64_t key = any_key(w), r = next_random(w);
    size_t length = SELF_VALUE_MIN + (r % 200 == 0 ? LONG_VALUE : r % 600);
    char text[24];
    self_value_make(value, key, r, length);
    begin_call(w);
    forebay_status status = forebay_set(w->cache, text, self_value_key(text, key), value, length, FOREBAY_KIND_BYTES,
                                        r % 5 == 0 ? 50 : FOREBAY_TTL_DEFAULT, mode);
    end_call(w);
    if (status == FOREBAY_FULL)
        atomic_fetch_add(&w->board->failed_sets, 1);
    else if (status != FOREBAY_OK && !(mode == FOREBAY_ADD && status == FOREBAY_EXISTS)
             && !(mode == FOREBAY_REPLACE && status == FOREBAY_MISS))
        wrong(w, "set", key, status);
}

static void work_get(worker *w)
{
    static _Thread_local uint8_t value[LONG_VALUE + 2000];
    char text[24];
    uint64_t key = any_key(w), sequence;
    size_t length = 0;
    forebay_kind kind;
    size_t key_length = self_value_key(text, key);
    begin_call(w);
    forebay_status status = forebay_get_into(w->cache, text, key_length, value, sizeof value, &length, &kind);
    end_call(w);
    if (status == FOREBAY_OK && self_value_check(value, length, key, &sequence))
        atomic_fetch_add_explicit(&w->board->hits, 1, memory_order_relaxed);
    else if (status != FOREBAY_MISS)
        wrong(w, "get gave a wrong value", key, status);
}

typedef struct batch {
    uint8_t bytes[16][LONG_VALUE + 2000];
    size_t lengths[16];
} batch;

static void *batch_room(void *context, size_t item, size_t length, forebay_kind kind)
{
    batch *b = context;
    (void)kind;
    b->lengths[item] = length;
    return length <= sizeof b->bytes[0] ? b->bytes[item] : NULL;
}

static void work_get_many(worker *w)
{
    static _Thread_local batch b;
    char texts[16][24];
    uint64_t numbers[16], sequence;
    forebay_key keys[16];
    forebay_status status[16];
    for (size_t i = 0; i < 16; i++) {
        numbers[i] = any_key(w);
        keys[i] = (forebay_key){texts[i], self_value_key(texts[i], numbers[i])};
    }
    forebay_sink sink = {batch_room, &b};
    begin_call(w);
    forebay_status all = forebay_get_many(w->cache, keys, 16, &sink, status);
    end_call(w);
    if (all != FOREBAY_OK) {
        wrong(w, "get_many", 0, all);
        return;
    }
    for (size_t i = 0; i < 16; i++)
        if (status[i] != FOREBAY_MISS
            && (status[i] != FOREBAY_OK || !self_value_check(b.bytes[i], b.lengths[i], numbers[i], &sequence)))
            wrong(w, "get_many gave a wrong value", numbers[i], status[i]);
}

static void work_delete(worker *w)
{
    char text[24];
    uint64_t key = any_key(w);
    size_t length = self_value_key(text, key);
    begin_call(w);
    forebay_status status = forebay_delete(w->cache, text, length);
    end_call(w);
    if (status < FOREBAY_OK)
        wrong(w, "delete", key, status);
}

static void work_incr(worker *w)
{
    int64_t sum = 0;
    char text[24];
    uint64_t key = STRESS_KEYS + next_random(w) % 20;
    size_t length = self_value_key(text, key);
    begin_call(w);
    forebay_status status = forebay_incr(w->cache, text, length, 1, 0, FOREBAY_TTL_DEFAULT, &sum);
    end_call(w);
    if ((status != FOREBAY_OK && status != FOREBAY_FULL) || (status == FOREBAY_OK && sum < 1))
        wrong(w, "incr", key, status);
}

/* Value and token, then compare and set: every third time on what it just read. */
static void work_cas(worker *w)
{
    static _Thread_local uint8_t value[LONG_VALUE + 2000];
    char text[24];
    uint64_t key = any_key(w), sequence;
    size_t length = 0, key_length = self_value_key(text, key);
    forebay_kind kind;
    if (forebay_get_into(w->cache, text, key_length, value, sizeof value, &length, &kind) != FOREBAY_OK)
        return;
    if (!self_value_check(value, length, key, &sequence))
        wrong(w, "get before cas gave a wrong value", key, FOREBAY_OK);
    uint64_t token = forebay_token(w->cache, value, length, kind);
    length = SELF_VALUE_MIN + next_random(w) % 600;
    self_value_make(value, key, next_random(w), length);
    begin_call(w);
    forebay_status status = forebay_cas(w->cache, text, key_length, token, value, length, FOREBAY_KIND_BYTES,
                                        &(forebay_set_options){0});
    end_call(w);
    if (status != FOREBAY_OK && status != FOREBAY_EXISTS && status != FOREBAY_MISS && status != FOREBAY_FULL)
        wrong(w, "cas", key, status);
}

static void work_touch(worker *w)
{
    char text[24];
    uint64_t key = any_key(w);
    size_t key_length = self_value_key(text, key);
    begin_call(w);
    forebay_status status = forebay_touch(w->cache, text, key_length, 1 + next_random(w) % 1000);
    end_call(w);
    if (status != FOREBAY_OK && status != FOREBAY_MISS && status != FOREBAY_FULL)
        wrong(w, "touch", key, status);
}

static void work_pop(worker *w)
{
    static _Thread_local batch b;
    char text[24];
    uint64_t key = any_key(w), sequence;
    size_t key_length = self_value_key(text, key);
    begin_call(w);
    forebay_status status = forebay_pop(w->cache, text, key_length, &(forebay_sink){batch_room, &b});
    end_call(w);
    if (status != FOREBAY_MISS && (status != FOREBAY_OK || !self_value_check(b.bytes[0], b.lengths[0], key, &sequence)))
        wrong(w, "pop gave a wrong value", key, status);
}

#define TAGS 20u

/* One worker's set with a tag, or its invalidation. */
static void work_tag(worker *w)
{
    static _Thread_local uint8_t value[1000];
    uint64_t key = any_key(w), r = next_random(w);
    char text[24], tag_text[24];
    size_t length = SELF_VALUE_MIN + r % 600, key_length = self_value_key(text, key);
    forebay_key tag = {tag_text, self_value_key(tag_text, r / 8 % TAGS)};
    forebay_set_options options = {.tags = &tag, .tag_count = 1};
    self_value_make(value, key, r, length);
    begin_call(w);
    forebay_status status = r % 4 == 0 ? forebay_invalidate_tag(w->cache, tag.data, tag.length)
                                       : forebay_set_with(w->cache, text, key_length, value, length, FOREBAY_KIND_BYTES, &options);
    end_call(w);
    if (status != FOREBAY_OK && status != FOREBAY_FULL)
        wrong(w, "tagged set", key, status);
}

static bool count_key(void *context, const void *key, size_t length)
{
    (void)key;
    *(size_t *)context += length;
    return true;
}

/* A dictionary of a value's bytes, or one that is trained. */
static void work_dictionary(worker *w)
{
    static _Thread_local uint8_t value[1000];
    const forebay_cache *cache = w->cache;
    uint64_t r = next_random(w);
    if (r % 8 == 0) {
        atomic_fetch_add(&w->board->dictionaries, forebay_cache_train(w->cache) == FOREBAY_OK);
        return;
    }
    dictionary_facts facts = {.cache = cache->number, .life = cache->life, .codec = cache->packing.codec, .ratio = 2000};
    self_value_make(value, any_key(w), r, sizeof value);
    begin_call(w);
    uint32_t id = fb_dictionary_publish(cache->arena, &facts, value, sizeof value);
    end_call(w);
    atomic_fetch_add(&w->board->dictionaries, id != DICTIONARY_NONE);
}

static void work_rarely(worker *w, forebay_arena *arena)
{
    if (atomic_load(&w->board->packs) && next_random(w) % 2 == 0) {
        work_dictionary(w);
        return;
    }
    forebay_arena_info info;
    begin_call(w);
    uint64_t cursor = 0;
    size_t bytes = 0;
    if (next_random(w) % 4 == 0)
        (void)forebay_clear(w->cache);
    else if (next_random(w) % 4 == 0)
        (void)!forebay_scan(w->cache, &cursor, 64, count_key, &bytes);
    else
        (void)forebay_len(w->cache), (void)forebay_arena_get_info(arena, &info);
    end_call(w);
}

void stress_work(forebay_arena *arena, forebay_cache *cache, stress_board *board, uint32_t seed, uint64_t calls)
{
    worker w = {.cache = cache, .board = board, .state = seed};
    for (uint64_t i = 0; !atomic_load_explicit(&board->over, memory_order_relaxed) && (calls == 0 || i < calls); i++) {
        uint64_t r = next_random(&w) % 1000;
        if (r < 450)
            work_get(&w);
        else if (r < 500)
            work_get_many(&w);
        else if (r < 720)
            work_set(&w, FOREBAY_SET);
        else if (r < 740)
            work_cas(&w);
        else if (r < 760)
            work_touch(&w);
        else if (r < 770)
            work_pop(&w);
        else if (r < 800)
            work_tag(&w);
        else if (r < 850)
            work_set(&w, FOREBAY_ADD);
        else if (r < 900)
            work_set(&w, FOREBAY_REPLACE);
        else if (r < 950)
            work_delete(&w);
        else if (r < 999)
            work_incr(&w);
        else
            work_rarely(&w, arena);
    }
}

/* Views that stay open, and whose they are. */
typedef struct open_views {
    forebay_view views[100];
    uint64_t keys[100];
} open_views;

static void close_view(worker *w, open_views *open, size_t i, _Atomic uint32_t *held)
{
    uint64_t sequence;
    if (open->views[i].arena == NULL)
        return;
    if (!self_value_check(open->views[i].data, open->views[i].length, open->keys[i], &sequence))
        wrong(w, "a view changed", open->keys[i], FOREBAY_OK);
    forebay_view_close(&open->views[i]);
    atomic_fetch_sub(held, 1);
}

static void open_view(worker *w, open_views *open, size_t i, _Atomic uint32_t *held)
{
    char text[24];
    uint64_t key = any_key(w);
    size_t length = self_value_key(text, key);
    begin_call(w);
    forebay_status status = forebay_view_open(w->cache, text, length, &open->views[i]);
    end_call(w);
    open->keys[i] = key;
    if (status == FOREBAY_OK) {
        atomic_fetch_add(held, 1);
        atomic_fetch_add(&w->board->views, 1);
        atomic_fetch_add(&w->board->views_in_place, open->views[i].zero_copy);
    } else if (status != FOREBAY_MISS) {
        wrong(w, "view", key, status);
    }
}

void stress_view(forebay_cache *cache, stress_board *board, uint32_t worker_number, uint64_t calls)
{
    worker w = {.cache = cache, .board = board, .state = worker_number};
    _Atomic uint32_t *held = &board->held[worker_number];
    open_views open = {0};
    size_t count = sizeof open.views / sizeof *open.views;
    atomic_store(held, 0);
    for (uint64_t i = 0; !atomic_load_explicit(&board->over, memory_order_relaxed) && (calls == 0 || i < calls); i++) {
        size_t at = next_random(&w) % count;
        work_set(&w, FOREBAY_SET);
        work_set(&w, FOREBAY_SET);
        if (i % 8 == 0)
            work_delete(&w);
        close_view(&w, &open, at, held);
        open_view(&w, &open, at, held);
    }
    for (size_t i = 0; i < count; i++)
        close_view(&w, &open, i, held);
}

static size_t counter_key(char text[24], uint32_t counter)
{
    return self_value_key(text, 900000 + counter);
}

void stress_count(forebay_cache *cache, stress_board *board, uint32_t worker_number, uint64_t calls)
{
    worker w = {.cache = cache, .board = board, .state = worker_number};
    for (uint64_t i = 0; !atomic_load_explicit(&board->over, memory_order_relaxed) && (calls == 0 || i < calls); i++) {
        char text[24];
        int64_t sum;
        uint32_t counter = (uint32_t)(next_random(&w) % STRESS_COUNTERS);
        size_t length = counter_key(text, counter);
        atomic_fetch_add(&board->attempted[worker_number][counter], 1);
        begin_call(&w);
        forebay_status status = forebay_incr(cache, text, length, 1, 0, FOREBAY_TTL_DEFAULT, &sum);
        end_call(&w);
        if (status == FOREBAY_OK)
            atomic_fetch_add(&board->acknowledged[worker_number][counter], 1);
        else
            wrong(&w, "incr", counter, status);
    }
}

int64_t stress_counter_value(forebay_cache *cache, uint32_t counter)
{
    char text[24];
    int64_t value = -1;
    size_t length;
    forebay_kind kind;
    if (forebay_get_into(cache, text, counter_key(text, counter), &value, sizeof value, &length, &kind) != FOREBAY_OK)
        return -1;
    return value;
}
