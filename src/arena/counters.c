/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/counters.h"

#include "arena/rows.h"

#define WORD_COUNTS UINT64_C(1)
#define WORD_OWNER_SHIFT 24
#define GENERATION_MASK UINT64_C(0xfffffff)

static uint64_t cache_part(const forebay_arena *arena, uint32_t cache_index)
{
    uint64_t word = atomic_load_explicit(&arena->caches[cache_index].word, memory_order_relaxed);
    return WORD_COUNTS | (uint64_t)cache_index << 1 | (word >> 8 & 0xffff) << 8;
}

static uint64_t owner_part(uint32_t row, uint32_t generation)
{
    return (uint64_t)(row + 1) << WORD_OWNER_SHIFT | (generation & GENERATION_MASK) << 36;
}

static uint64_t owner_of(uint64_t word)
{
    return word >> WORD_OWNER_SHIFT << WORD_OWNER_SHIFT;
}

static uint64_t cache_of(uint64_t word)
{
    return word & ((UINT64_C(1) << WORD_OWNER_SHIFT) - 1);
}

static void empty_numbers(arena_counters *line)
{
    atomic_store_explicit(&line->entries, 0, memory_order_relaxed);
    for (int i = 0; i < COUNTER_COUNT; i++)
        atomic_store_explicit(&line->counts[i], 0, memory_order_relaxed);
}

/* May a row with this owner part take the line, and lose nothing by it? */
static bool is_for_the_taking(const forebay_arena *arena, uint64_t word, uint64_t owner)
{
    uint64_t holder = owner_of(word);
    if (holder != 0 && holder != owner)
        return false;
    if ((word & WORD_COUNTS) == 0)
        return true;
    uint32_t cache_index = (uint32_t)(word >> 1 & 0x7f);
    return cache_index >= arena->geometry.cache_count || cache_of(word) != cache_part(arena, cache_index);
}

/* Empty a line and make it `wanted`; killed in between, it counts for nobody. */
static bool take_line(arena_counters *line, uint64_t word, uint64_t wanted)
{
    uint64_t busy = owner_of(wanted);
    if (!atomic_compare_exchange_strong(&line->owner_and_cache, &word, busy))
        return false;
    empty_numbers(line);
    /* release; pairs with the acquire in fb_counters_sum().  A compare-and-swap:
     * another thread of this row may have taken the busy line as well */
    return atomic_compare_exchange_strong(&line->owner_and_cache, &busy, wanted);
}

static uint32_t own_lines(const forebay_arena *arena)
{
    return arena->geometry.counter_count - arena->geometry.cache_count;
}

/* The i-th line in this cache's and row's order of search. */
static arena_counters *line_at(const forebay_arena *arena, uint32_t start, uint32_t i)
{
    uint32_t n = own_lines(arena);
    return &arena->counters[arena->geometry.cache_count + (start + i) % n];
}

static uint64_t load_word(const arena_counters *line)
{
    return atomic_load_explicit(&line->owner_and_cache, memory_order_acquire);
}

static arena_counters *find_line(const forebay_arena *arena, uint32_t start, uint64_t wanted)
{
    for (uint32_t i = 0; i < own_lines(arena); i++) {
        arena_counters *line = line_at(arena, start, i);
        if (load_word(line) == wanted)
            return line;
    }
    return NULL;
}

static arena_counters *adopt_line(const forebay_arena *arena, uint32_t start, uint64_t wanted)
{
    for (uint32_t i = 0; i < own_lines(arena); i++) {
        arena_counters *line = line_at(arena, start, i);
        uint64_t orphan = cache_of(wanted);
        if (load_word(line) == orphan && atomic_compare_exchange_strong(&line->owner_and_cache, &orphan, wanted))
            return line;
    }
    return NULL;
}

static arena_counters *take_unused_line(const forebay_arena *arena, uint32_t start, uint64_t wanted)
{
    for (uint32_t i = 0; i < own_lines(arena); i++) {
        arena_counters *line = line_at(arena, start, i);
        uint64_t word = load_word(line);
        if (is_for_the_taking(arena, word, owner_of(wanted)) && take_line(line, word, wanted))
            return line;
    }
    return NULL;
}

arena_counters *fb_counters_shared(const forebay_arena *arena, uint32_t cache_index)
{
    arena_counters *line = &arena->counters[cache_index];
    uint64_t wanted = cache_part(arena, cache_index);
    uint64_t word = load_word(line);
    if (word != wanted && atomic_compare_exchange_strong(&line->owner_and_cache, &word, wanted))
        empty_numbers(line); /* of a former life; what others add meanwhile may be lost */
    return line;
}

arena_counters *fb_counters_line(forebay_arena *arena, uint32_t cache_index)
{
    uint32_t row = atomic_load_explicit(&arena->row, memory_order_relaxed);
    uint32_t generation = atomic_load_explicit(&arena->row_generation, memory_order_relaxed);
    uint64_t wanted = cache_part(arena, cache_index) | owner_part(row, generation);
    uint32_t start = 2 * row + cache_index;
    arena_counters *line = find_line(arena, start, wanted);
    if (line == NULL)
        line = adopt_line(arena, start, wanted);
    if (line == NULL)
        line = take_unused_line(arena, start, wanted);
    return line != NULL ? line : fb_counters_shared(arena, cache_index);
}

static void add_line(const arena_counters *line, counter_sums *sums)
{
    sums->entries += atomic_load_explicit(&line->entries, memory_order_relaxed);
    for (int i = 0; i < COUNTER_COUNT; i++)
        sums->counts[i] += atomic_load_explicit(&line->counts[i], memory_order_relaxed);
}

void fb_counters_sum(const forebay_arena *arena, uint32_t cache_index, counter_sums *sums_out)
{
    uint64_t wanted = cache_part(arena, cache_index);
    *sums_out = (counter_sums){ 0 };
    for (uint32_t i = 0; i < arena->geometry.counter_count; i++) {
        if (cache_of(load_word(&arena->counters[i])) == wanted)
            add_line(&arena->counters[i], sums_out);
    }
}

void fb_counters_forget(forebay_arena *arena, uint32_t cache_index)
{
    arena_counters *line = &arena->counters[cache_index];
    atomic_store(&line->owner_and_cache, 0);
    empty_numbers(line);
}

void fb_counters_orphan(forebay_arena *arena, uint32_t row, uint32_t generation)
{
    uint64_t owner = owner_part(row, generation);
    for (uint32_t i = arena->geometry.cache_count; i < arena->geometry.counter_count; i++) {
        arena_counters *line = &arena->counters[i];
        uint64_t word = load_word(line);
        if (owner_of(word) == owner)
            /* fails only if the owner, alive, is taking the line in another thread */
            (void)atomic_compare_exchange_strong(&line->owner_and_cache, &word, cache_of(word));
    }
}
