/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/runs.h"

#include "cache/evict.h"
#include "cache/victim.h"

#define RUN_TRIES 16
#define SEGMENTS_MAX (1u << 12) /* segment numbers have 12 bits */

#define COST_IMPOSSIBLE (UINT64_MAX >> 16)

/* A search for neighbours. */
typedef struct window_search {
    forebay_arena *arena;
    uint32_t group; /* that they are for */
    uint32_t count;
    uint64_t newest;
    bool spared[GROUPS_MAX];     /* others' groups that cannot give that many: their entries must stay */
    uint8_t avoid[SEGMENTS_MAX]; /* segments that were claimed or held a moment ago */
    held_segments held;
} window_search;

static void spare_groups(window_search *s)
{
    group_counts counts;
    fb_groups_count(s->arena, &counts);
    for (uint32_t g = 0; g < GROUPS_MAX; g++)
        s->spared[g] = g != s->group && counts.staying[g] != 0 && fb_group_share(s->arena, g) != 0
                       && fb_group_slack(s->arena, g, counts.staying[g]) < s->count;
}

/* The group whose entries are in the segment. */
static uint32_t group_in(const forebay_arena *arena, uint32_t segment, uint64_t word)
{
    uint32_t first = (uint32_t)(fb_segment_owner(word) & 0xfff);
    bool is_body = fb_segment_state(word) == SEGMENT_BODY && first < segment;
    return fb_segment_group(is_body ? fb_segment_load(arena, first) : word);
}

/* Is it of a run that somebody writes, empties or holds?  Nobody gets a part of that, however old it is. */
static bool is_of_busy_run(const window_search *s, uint32_t segment, uint64_t word)
{
    uint32_t first = (uint32_t)(fb_segment_owner(word) & 0xfff);
    if (first >= segment)
        return false;
    bool busy = fb_segment_state(fb_segment_settle(s->arena, first)) != SEGMENT_RUN || fb_segment_in(&s->held, first);
    return busy && fb_segment_body_is_covered(s->arena, segment, word);
}

/* What it would cost to have this segment: the later in its queue, the more. */
static uint64_t segment_cost(const window_search *s, uint32_t segment)
{
    uint64_t word = fb_segment_settle(s->arena, segment);
    uint64_t age = s->newest - atomic_load_explicit(&s->arena->segments[segment].sequence, memory_order_relaxed);
    uint64_t young = age < s->newest ? s->newest - age : 1;
    bool spared = s->spared[group_in(s->arena, segment, word)];
    switch (fb_segment_state(word)) {
    case SEGMENT_FREE:
        return 0;
    case SEGMENT_SEALED:
        return spared ? 1 + 2 * s->newest : 1 + young; /* those of a spared group are copied away */
    case SEGMENT_BODY:
        if (is_of_busy_run(s, segment, word))
            return COST_IMPOSSIBLE;
        return spared ? COST_IMPOSSIBLE : 1 + young;
    case SEGMENT_RUN:
        return spared ? COST_IMPOSSIBLE : 1 + young;
    case SEGMENT_OPEN:
        return 1 + (spared ? 2 : 1) * s->newest;
    default:
        return COST_IMPOSSIBLE; /* claimed, or the index's */
    }
}

/* The neighbours that cost least; of equals those farthest from where the index
 * grows. */
static uint32_t choose_window(window_search *s)
{
    s->newest = atomic_load_explicit(&s->arena->super->sequence, memory_order_relaxed) + 1;
    uint32_t total = s->arena->geometry.segment_count, best = SEGMENT_NONE;
    uint64_t best_cost = COST_IMPOSSIBLE - 1, cost = 0;
    uint64_t costs[SEGMENTS_MAX];
    spare_groups(s);
    fb_segments_held(s->arena, &s->held);
    for (uint32_t i = 0; i < total; i++) {
        costs[i] = s->avoid[i] || fb_segment_in(&s->held, i) ? COST_IMPOSSIBLE : segment_cost(s, i);
        cost += costs[i];
        if (i + 1 > s->count)
            cost -= costs[i - s->count];
        if (i + 1 >= s->count && cost <= best_cost) {
            best_cost = cost;
            best = i + 1 - s->count;
        }
    }
    return best;
}

static void give_back(forebay_arena *arena, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        fb_segment_put(arena, first + i, SEGMENT_FREE, 0);
}

/* Take one of the window: what must stay is copied to where there is room. */
static bool take_segment(const window_search *s, uint32_t lane, uint32_t segment)
{
    bool keep = s->spared[fb_segment_group(fb_segment_load(s->arena, segment))];
    if (keep && !fb_evict_one(s->arena, lane))
        return false;
    return fb_evict_take(s->arena, lane, segment, keep);
}

/* How many of the window were taken before one could not be: all is success. */
static uint32_t take_window(const window_search *s, uint32_t lane, uint32_t first)
{
    for (uint32_t i = 0; i < s->count; i++) {
        if (!take_segment(s, lane, first + i)) {
            give_back(s->arena, first, i);
            return i;
        }
    }
    return s->count;
}

/* The window, claimed, becomes a run of this use that its owner writes to; false:
 * its group would be beyond its limit. */
static bool begin_run(forebay_arena *arena, segment_use use, uint32_t first, uint32_t count)
{
    uint32_t group = fb_segment_group(use);
    row_owner self = fb_row_owner(arena);
    for (uint32_t i = 1; i < count; i++) /* their readers must see new lives too */
        fb_segment_begin(arena, first + i, 1);
    fb_segment_begin(arena, first, count);
    if (group != 0) { /* counted from here on, and then looked at */
        atomic_store(&arena->segments[first].word, fb_segment_word(SEGMENT_TAKEN, use, self));
        if (!fb_group_allows(arena, group, first, fb_group_limit(arena, group)))
            return false;
    }
    uint64_t body = fb_segment_word(SEGMENT_BODY, 0, fb_body_owner(arena, first));
    for (uint32_t i = 1; i < count; i++)
        atomic_store_explicit(&arena->segments[first + i].word, body, memory_order_release);
    atomic_store_explicit(&arena->segments[first].word, fb_segment_word(SEGMENT_WRITING, use, self), memory_order_release);
    return true;
}

uint32_t fb_run_acquire(forebay_arena *arena, uint32_t lane, segment_use use, uint64_t units)
{
    uint64_t count = (units + fb_segment_units(arena) - 1) / fb_segment_units(arena);
    if (count > arena->geometry.segment_count / 4)
        return SEGMENT_NONE;
    window_search s = {.arena = arena, .group = fb_segment_group(use), .count = (uint32_t)count};
    for (int t = 0; t < RUN_TRIES; t++) {
        if (!fb_evict_within(arena, lane, s.group, s.count))
            return SEGMENT_NONE;
        uint32_t first = choose_window(&s);
        if (first == SEGMENT_NONE)
            return SEGMENT_NONE;
        uint32_t taken = take_window(&s, lane, first);
        if (taken != count) {
            s.avoid[first + taken] = 1;
            continue;
        }
        if (begin_run(arena, use, first, s.count))
            return first;
        give_back(arena, first, s.count);
    }
    return SEGMENT_NONE;
}

void fb_run_release(forebay_arena *arena, uint32_t first)
{
    /* without an entry it is the next thing evicted: its last expiry is past */
    fb_segment_put(arena, first, SEGMENT_RUN, fb_segment_use(fb_segment_load(arena, first)));
}
