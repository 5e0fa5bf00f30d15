/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a miniature of each policy on the sampled requests and gives the cache
 * the constants of the best one. */
#include "arena/rows.h"
#include "cache/miniature.h"
#include "cache/policy_region.h"

#define HALF_LIFE 32u         /* of misses counted: cachefuls of requests */
#define DECISIONS 4u          /* a cacheful of requests */
/* times 2^(-1/128), once a decision: half after HALF_LIFE * DECISIONS of them */
#define DECAY(count) ((count) - ((count) >> 8) - ((count) >> 8) * 99 / 256)
#define MARGIN 200u           /* another policy must be better by 1/200 */
#define UNSTICK_WAIT 4u       /* cachefuls of requests between attempts to unstick the cache */
#define EPOCH_LENGTH 30u      /* cachefuls of requests */
#define QUIET_LIMIT 4u        /* cachefuls of requests without eviction: no need to sample */
#define MISS_ONE UINT64_C(65536)

static uint64_t miniatures_size(uint32_t room)
{
    uint64_t size = 0;
    for (uint32_t i = 0; i < POLICY_COUNT; i++)
        size += fb_miniature_size(i, room);
    return size;
}

uint32_t fb_policy_miniature_room(uint64_t region_size)
{
    uint64_t space = fb_policy_ghosts_offset(region_size);
    uint64_t each = miniatures_size(1024) / 1024 + 1, fixed = sizeof(policy_region) + miniatures_size(0) + POLICY_COUNT * 128;
    if (space < fixed + 16 * each)
        return 0;
    uint64_t room = (space - fixed) / each;
    return room < MINIATURE_MAX ? (uint32_t)room : MINIATURE_MAX;
}

typedef struct selection {
    policy_region *region;
    uint32_t capacity;       /* of a miniature, now */
    miniature minis[POLICY_COUNT];
} selection;

static bool open_selector(selection *selector, const forebay_arena *arena)
{
    policy_region *region = fb_policy_region(arena);
    uint64_t size = arena->geometry.policy_size;
    uint32_t room = fb_policy_miniature_room(size);
    uint64_t real = POLICY_LOAD(region->capacity), limit = POLICY_LOAD(region->sample_limit);
    real = real < CAPACITY_MAX ? real : CAPACITY_MAX;
    if (room == 0 || limit == 0 || real == 0 || POLICY_LOAD(region->units) == 0)
        return false;
    uint64_t capacity = (limit >> 32) * real >> 32;
    capacity = capacity < 16 ? 16 : capacity < room ? capacity : room;
    uint64_t ghosts = (size - fb_policy_ghosts_offset(size)) / sizeof(uint32_t) * capacity / real;
    uint8_t *base = arena->policy + sizeof(policy_region);
    selector->region = region;
    selector->capacity = (uint32_t)capacity;
    for (uint32_t i = 0; i < POLICY_COUNT; i++) {
        selector->minis[i] = fb_miniature_at(base, i, room, (uint32_t)capacity, (uint32_t)(ghosts < room * 8 ? ghosts : room * 8));
        selector->minis[i].epoch = POLICY_LOAD(region->epoch);
        selector->minis[i].average = POLICY_LOAD(region->units);
        base += fb_miniature_size(i, room);
    }
    return true;
}

/* Stuck: the cache misses far more than its policy's miniature does.  Either
 * main is full of what died under another policy: go through it once.  Or all
 * scores are alike and keep displacing each other: halving them lets what is in
 * main win (a loop of 1.5 cachefuls: 0.35 of requests miss instead of 0.80). */
static void unstick(selection *selector, uint64_t expected)
{
    policy_region *region = selector->region;
    uint64_t misses = region->real_misses / MISS_ONE;
    expected /= MISS_ONE;
    uint64_t bound = expected + expected / 10;
    if (misses <= bound || (misses - bound) * (misses - bound) <= 9 * expected)
        return; /* within a tenth and three standard deviations */
    if (region->unstick_wait > 0 && region->unstick_wait <= UNSTICK_WAIT * selector->capacity)
        return;
    region->unstick_wait = UNSTICK_WAIT * selector->capacity;
    region->real_misses = expected * MISS_ONE; /* what comes next is judged afresh */
    if (fb_policy_constants(POLICY_LOAD(region->active))->kind == KIND_FREQUENCY)
        POLICY_STORE(region->epoch, POLICY_LOAD(region->epoch) + 1);
    else
        POLICY_STORE(region->drain, (uint32_t)(POLICY_LOAD(region->segments) >> 32));
}

static void decide(selection *selector)
{
    policy_region *region = selector->region;
    uint32_t active = POLICY_LOAD(region->active), best = 0;
    active = active < POLICY_COUNT ? active : 0;
    for (uint32_t i = 1; i < POLICY_COUNT; i++)
        if (selector->minis[i].state->misses < selector->minis[best].state->misses)
            best = i;
    uint64_t current = selector->minis[active].state->misses;
    if (current - selector->minis[best].state->misses > current / MARGIN)
        POLICY_STORE(region->active, best);
    unstick(selector, current);
    for (uint32_t i = 0; i < POLICY_COUNT; i++)
        selector->minis[i].state->misses = DECAY(selector->minis[i].state->misses);
    region->real_misses = DECAY(region->real_misses);
}

/* Counts down `*left`; true when it gets to 0, and starts it again from `all`. */
static bool due(uint32_t *left, uint32_t all)
{
    if (*left > 1 && *left <= all) {
        --*left;
        return false;
    }
    bool first = *left == 0;
    *left = all;
    return !first;
}

static void feed_request(selection *selector, uint64_t hash, uint32_t size_code, bool hit)
{
    policy_region *region = selector->region;
    if (!hit)
        region->real_misses += MISS_ONE;
    for (uint32_t i = 0; i < POLICY_COUNT; i++)
        if (!fb_miniature_request(&selector->minis[i], hash, size_code))
            selector->minis[i].state->misses += MISS_ONE;
    if (region->unstick_wait > 0)
        region->unstick_wait--;
    if (region->quiet < UINT32_MAX)
        region->quiet++;
    if (due(&region->until_epoch, EPOCH_LENGTH * selector->capacity))
        POLICY_STORE(region->epoch, POLICY_LOAD(region->epoch) + 1);
    if (due(&region->until_decision, selector->capacity / DECISIONS))
        decide(selector);
}

static void feed(selection *selector, uint64_t sample)
{
    uint64_t hash = sample >> SAMPLE_SHIFT;
    uint32_t size_code = sample >> SAMPLE_SIZE_SHIFT & 127;
    bool hit = sample & SAMPLE_HIT;
    if (hit || size_code == 0) {
        feed_request(selector, hash, size_code, hit);
        return;
    }
    for (uint32_t i = 0; i < POLICY_COUNT; i++)
        fb_miniature_resize(&selector->minis[i], hash, size_code);
}

/* While nothing is dropped there is nothing to decide; the next eviction
 * turns sampling on again. */
static void rest_if_quiet(selection *selector)
{
    policy_region *region = selector->region;
    uint64_t clock = POLICY_LOAD(region->clock);
    if (clock != region->clock_seen) {
        region->clock_seen = clock;
        region->quiet = 0;
    } else if (region->quiet > QUIET_LIMIT * selector->capacity) {
        region->quiet = 0;
        POLICY_STORE(region->sample_limit, 0);
    }
}

static void drain_ring(selection *selector, arena_row *row)
{
    uint64_t written = POLICY_LOAD(row->samples_written), read = POLICY_LOAD(row->samples_read);
    if (written - read > ROW_SAMPLES)
        read = written - ROW_SAMPLES;
    for (; read != written; read++)
        feed(selector, POLICY_LOAD(row->samples[read % ROW_SAMPLES]));
    POLICY_STORE(row->samples_read, written);
}

/* Never waits.  `*inherited`: from a dead process, which may have left a step half done. */
static bool take_claim(forebay_arena *arena, uint64_t mine, bool *inherited)
{
    policy_region *region = fb_policy_region(arena);
    uint64_t holder = atomic_load_explicit(&region->claim, memory_order_acquire);
    *inherited = false;
    if (holder != 0) {
        if (holder == mine || !fb_row_is_dead(arena, holder >> 1))
            return false;
        *inherited = true;
    }
    return atomic_compare_exchange_strong_explicit(&region->claim, &holder, mine, memory_order_acquire, memory_order_relaxed);
}

void fb_policy_run(forebay_arena *arena)
{
    uint64_t mine = fb_row_owner(arena) << 1 | 1;
    bool inherited;
    if (!take_claim(arena, mine, &inherited))
        return;
    selection selector;
    if (open_selector(&selector, arena)) {
        for (uint32_t i = 0; i < POLICY_COUNT && inherited; i++)
            fb_miniature_reset(&selector.minis[i]);
        drain_ring(&selector, &arena->rows[POLICY_LOAD(arena->row)]);
        rest_if_quiet(&selector);
    }
    atomic_compare_exchange_strong_explicit(&fb_policy_region(arena)->claim, &mine, 0, memory_order_release, memory_order_relaxed);
}
