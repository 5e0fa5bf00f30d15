/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/policy.h"

#include "cache/ghosts.h"
#include "cache/miniature.h"
#include "cache/policy_constants.h"
#include "cache/policy_region.h"

static const policy_constants *active_constants(const policy_region *region)
{
    return fb_policy_constants(POLICY_LOAD(region->active));
}

uint32_t fb_policy_frequency_max(const forebay_arena *arena)
{
    return active_constants(fb_policy_region(arena))->frequency_max;
}

static ghost_table ghosts_of(const forebay_arena *arena)
{
    policy_region *region = fb_policy_region(arena);
    uint64_t offset = fb_policy_ghosts_offset(arena->geometry.policy_size);
    uint64_t most = (arena->geometry.policy_size - offset) / sizeof(ghost_bucket);
    uint32_t count = POLICY_LOAD(region->ghost_buckets);
    return (ghost_table){ (ghost_bucket *)(arena->policy + offset), count < most ? count : (uint32_t)most,
                          (uint32_t)(POLICY_LOAD(region->clock) >> 16) };
}

static uint32_t aged_score(const policy_region *region, uint32_t score, uint32_t epoch)
{
    return score >> ((POLICY_LOAD(region->epoch) - epoch) & 15);
}

static policy_history history_of(const policy_region *region, uint32_t score)
{
    return score | (POLICY_LOAD(region->epoch) & 15) << 6;
}

/* A running average of the sizes of what the evictor sees; until it runs, of what comes in. */
static void note_units(policy_region *region, uint64_t hash, uint32_t units)
{
    uint32_t average = POLICY_LOAD(region->units);
    uint64_t sample = (uint64_t)(units < 1u << 20 ? units : 1u << 20) << 8;
    if (average == 0)
        POLICY_STORE(region->units, (uint32_t)sample);
    else if ((hash & 7) == 0 || POLICY_LOAD(region->capacity) == 0) /* one in 8: all writers share the line */
        POLICY_STORE(region->units, (uint32_t)((average * UINT64_C(127) + sample + 64) / 128));
}

bool fb_policy_sampled(const forebay_arena *arena, uint64_t hash)
{
    return hash < POLICY_LOAD(fb_policy_region(arena)->sample_limit);
}

/* False: the ring is full.  Two threads may take the same place: a sample is lost. */
static bool put_sample(forebay_arena *arena, uint64_t hash, uint32_t size_code, bool hit)
{
    arena_row *row = &arena->rows[POLICY_LOAD(arena->row)];
    uint64_t written = POLICY_LOAD(row->samples_written);
    if (written - POLICY_LOAD(row->samples_read) >= ROW_SAMPLES)
        return false;
    uint64_t sample = hash << SAMPLE_SHIFT | (uint64_t)size_code << SAMPLE_SIZE_SHIFT | (hit ? SAMPLE_HIT : 0);
    POLICY_STORE(row->samples[written % ROW_SAMPLES], sample);
    POLICY_STORE(row->samples_written, written + 1);
    return true;
}

enum queue fb_policy_admit(forebay_arena *arena, uint64_t hash, uint32_t units, policy_history *history)
{
    policy_region *region = fb_policy_region(arena);
    const policy_constants *constants = active_constants(region);
    if (POLICY_LOAD(region->capacity) == 0)
        note_units(region, hash, units);
    if (fb_policy_sampled(arena, hash))
        (void)put_sample(arena, hash, fb_size_code(units ? units : 1), false);
    ghost found = fb_ghost_take(ghosts_of(arena), hash);
    uint32_t score = found.origin == GHOST_NONE ? 0 : aged_score(region, found.score, found.epoch);
    *history = history_of(region, score < SCORE_MAX ? score + 1 : SCORE_MAX);
    return fb_policy_queue(constants, found.origin, found.age);
}

static score_threshold thresholds(const policy_region *region, const policy_constants *constants, uint64_t hash)
{
    uint32_t capacity = POLICY_LOAD(region->capacity);
    uint64_t segments = POLICY_LOAD(region->segments);
    uint32_t threshold = fb_policy_drift(POLICY_LOAD(region->threshold), 0, 0);
    uint32_t chance = (uint32_t)((hash ^ POLICY_LOAD(region->clock)) * UINT64_C(0x9e3779b97f4a7c15) >> 48);
    return (score_threshold){
        .admit = threshold / THRESHOLD_ONE,
        .keep = (uint32_t)((threshold + fb_policy_guard(POLICY_LOAD(region->fruitless), capacity) + chance) / THRESHOLD_ONE),
        .main_has_room = !fb_policy_main_over(constants, (segments >> 32) + 1, POLICY_LOAD(region->available)),
    };
}

policy_decision fb_policy_evict(forebay_arena *arena, enum queue queue, uint64_t hash, uint32_t units,
                                uint32_t frequency, policy_history history)
{
    policy_region *region = fb_policy_region(arena);
    const policy_constants *constants = active_constants(region);
    note_units(region, hash, units);
    uint32_t score = aged_score(region, history & SCORE_MAX, history >> 6);
    int weight = fb_policy_weight(units, POLICY_LOAD(region->units));
    score_threshold threshold = {0};
    if (constants->kind == KIND_FREQUENCY)
        threshold = thresholds(region, constants, hash);
    policy_verdict verdict = fb_policy_judge(constants, threshold, queue, weight, frequency, score);
    if (verdict.target == POLICY_DROP)
        fb_ghost_put(ghosts_of(arena), hash, verdict.ghost, verdict.score, POLICY_LOAD(region->epoch));
    return (policy_decision){ verdict.target, verdict.frequency, history_of(region, verdict.score) };
}

enum queue fb_policy_choose(forebay_arena *arena, uint32_t probation, uint32_t main, uint32_t available)
{
    policy_region *region = fb_policy_region(arena);
    uint64_t segments = (uint64_t)main << 32 | probation;
    if (POLICY_LOAD(region->segments) != segments)
        POLICY_STORE(region->segments, segments);
    if (POLICY_LOAD(region->available) != available)
        POLICY_STORE(region->available, available);
    return fb_policy_pick(arena, probation, main, available);
}

enum queue fb_policy_pick(const forebay_arena *arena, uint32_t probation, uint32_t main, uint32_t available)
{
    const policy_region *region = fb_policy_region(arena);
    if (main == 0)
        return QUEUE_PROBATION;
    if (probation == 0 || POLICY_LOAD(region->drain) > 0 || fb_policy_main_over(active_constants(region), main, available))
        return QUEUE_MAIN;
    return QUEUE_PROBATION;
}

static uint32_t estimate_capacity(const forebay_arena *arena, uint32_t available, uint32_t average)
{
    if (average == 0)
        return 0;
    uint64_t units = (uint64_t)available * (arena->geometry.segment_size / ARENA_ALIGN) << 8;
    uint64_t capacity = units / average;
    return (uint32_t)(capacity < 16 ? 16 : capacity < CAPACITY_MAX ? capacity : CAPACITY_MAX);
}

/* Four cachefuls of ghosts; changed only when far off, as a change loses most of them. */
static void size_ghosts(policy_region *region, uint32_t capacity)
{
    uint32_t wanted = capacity / (GHOST_BUCKET / 4) + 1;
    uint32_t count = POLICY_LOAD(region->ghost_buckets);
    if (count < wanted / 2 || count > wanted + wanted / 2)
        POLICY_STORE(region->ghost_buckets, wanted);
}

/* So many keys are sampled that a miniature's share of the capacity is `room`
 * entries, a quarter to spare, as it may hold small ones; moved only when off by that much. */
static void size_samples(policy_region *region, uint32_t capacity, uint32_t room)
{
    uint32_t wanted_entries = room - room / 4;
    uint64_t wanted = capacity <= wanted_entries ? UINT64_MAX : UINT64_MAX / capacity * wanted_entries;
    uint64_t limit = POLICY_LOAD(region->sample_limit);
    if (room > 0 && (limit < wanted - wanted / 16 || (limit > wanted && limit - wanted > wanted / 16)))
        POLICY_STORE(region->sample_limit, wanted);
}

static void watch_progress(policy_region *region, enum queue queue, uint32_t entries, uint32_t dropped, uint32_t capacity)
{
    uint32_t available = POLICY_LOAD(region->available);
    uint64_t sum = (uint64_t)POLICY_LOAD(region->dropped) + dropped;
    if (sum >= capacity / (available ? available : 1)) {
        POLICY_STORE(region->dropped, 0);
        POLICY_STORE(region->fruitless, 0);
        return;
    }
    POLICY_STORE(region->dropped, (uint32_t)sum);
    if (queue == QUEUE_MAIN) {
        uint64_t fruitless = (uint64_t)POLICY_LOAD(region->fruitless) + entries;
        POLICY_STORE(region->fruitless, (uint32_t)(fruitless < CAPACITY_MAX ? fruitless : CAPACITY_MAX));
    }
}

void fb_policy_segment_done(forebay_arena *arena, enum queue queue, uint32_t entries, uint32_t dropped)
{
    policy_region *region = fb_policy_region(arena);
    uint32_t capacity = estimate_capacity(arena, POLICY_LOAD(region->available), POLICY_LOAD(region->units));
    if (capacity == 0)
        return;
    POLICY_STORE(region->capacity, capacity);
    size_ghosts(region, capacity);
    size_samples(region, capacity, fb_policy_miniature_room(arena->geometry.policy_size));
    uint64_t ticks = ((uint64_t)dropped * CAPACITY_TICKS << 24) / capacity;
    atomic_fetch_add_explicit(&region->clock, ticks, memory_order_relaxed);
    watch_progress(region, queue, entries, dropped, capacity);
    if (queue != QUEUE_MAIN)
        return;
    uint32_t drain = POLICY_LOAD(region->drain);
    if (drain > 0)
        POLICY_STORE(region->drain, drain - 1 < arena->geometry.segment_count ? drain - 1 : 0);
    if (active_constants(region)->kind == KIND_FREQUENCY)
        POLICY_STORE(region->threshold, fb_policy_drift(POLICY_LOAD(region->threshold), entries, dropped));
}

void fb_policy_record(forebay_arena *arena, uint64_t hash, uint32_t units, bool hit)
{
    uint32_t size_code = hit ? fb_size_code(units) : 0;
    if (put_sample(arena, hash, size_code, hit))
        return;
    fb_policy_run(arena);
    (void)put_sample(arena, hash, size_code, hit); /* full: others are at it, this one is lost */
}
