/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/victim.h"

#include <string.h>

#include "arena/arena_clock.h"
#include "cache/policy.h"

/* Victims that others took from under us before we say there is none. */
#define CLAIM_TRIES 16

/* The oldest segment of a kind: its number and place in the queue. */
typedef struct oldest_segment {
    uint32_t segment; /* SEGMENT_NONE: there is none */
    uint64_t sequence;
} oldest_segment;
#define NO_SEGMENT {SEGMENT_NONE, UINT64_MAX}

/* What a look over all segments found, of the groups that it was to look at. */
typedef struct census {
    uint64_t sequence; /* of the next segment to be begun, when it started */
    uint32_t free, in_use, in_queue[QUEUE_COUNT];
    uint32_t segments;                  /* with `spare`: that hold or may hold entries, of runs each */
    oldest_segment sealed[QUEUE_COUNT]; /* sealed or a run */
    oldest_segment open[QUEUE_COUNT];   /* open: a head, or what a killed writer left */
    uint32_t expired;                   /* sealed, and all in it has expired */
    uint32_t dead;                      /* sealed, and mostly dead */
    group_counts groups;                /* of all groups */
} census;

/* Groups not to be evicted from. */
typedef struct spared_groups {
    bool spared[GROUPS_MAX];
} spared_groups;

static uint64_t segment_sequence(const forebay_arena *arena, uint32_t segment)
{
    /* never that many: a damaged one must not look like none */
    return atomic_load_explicit(&arena->segments[segment].sequence, memory_order_relaxed) & INT64_MAX;
}

static void take_if_older(oldest_segment *oldest, uint32_t segment, uint64_t sequence)
{
    if (sequence < oldest->sequence)
        *oldest = (oldest_segment){segment, sequence};
}

static bool is_sealed(enum segment_state state)
{
    return state == SEGMENT_SEALED || state == SEGMENT_RUN;
}

/* A segment that an evictor has begun on is as good as gone: it must not count
 * when the next one is chosen. */
static void count_group(const forebay_arena *arena, uint32_t segment, uint64_t word, group_counts *counts)
{
    enum segment_state state = fb_segment_state(word);
    bool stays = state == SEGMENT_OPEN || state == SEGMENT_WRITING || is_sealed(state);
    if (stays && atomic_load_explicit(&arena->segments[segment].cursor, memory_order_relaxed) == 0)
        counts->staying[fb_segment_group(word)] += (uint16_t)fb_segment_run(arena, segment);
}

void fb_groups_count(forebay_arena *arena, group_counts *counts)
{
    *counts = (group_counts){0};
    for (uint32_t i = 0; i < arena->geometry.segment_count; i++)
        count_group(arena, i, fb_segment_settle(arena, i), counts);
    counts->staying[0] = 0; /* of no interest */
}

uint32_t fb_group_slack(const forebay_arena *arena, uint32_t group, uint32_t staying)
{
    uint32_t share = fb_group_share(arena, group);
    return staying > share ? staying - share : 0;
}

/* What a victim may be chosen from; `spare`: NULL, or groups that are left out. */
static void take_census(forebay_arena *arena, const spared_groups *spare, census *out)
{
    census c = {.sealed = {NO_SEGMENT, NO_SEGMENT}, .open = {NO_SEGMENT, NO_SEGMENT}, .expired = SEGMENT_NONE,
                .dead = SEGMENT_NONE};
    uint32_t count = arena->geometry.segment_count, index = 0;
    c.sequence = atomic_load_explicit(&arena->super->sequence, memory_order_relaxed);
    held_segments held;
    uint64_t warm = 0;
    fb_segments_held(arena, &held);
    uint64_t now = fb_now_ms(arena);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t word = fb_segment_settle(arena, i), sequence = segment_sequence(arena, i);
        enum segment_state state = fb_segment_state(word);
        uint32_t queue = fb_segment_queue(word), group = fb_segment_group(word);
        if (group != 0)
            count_group(arena, i, word, &c.groups);
        if (state != SEGMENT_FREE)
            warm += atomic_load_explicit(&arena->segments[i].warm, memory_order_relaxed);
        if (spare != NULL && state != SEGMENT_FREE) {
            if (spare->spared[group]) {
                index++; /* not in use, as far as this look goes */
                continue;
            }
            c.segments += state == SEGMENT_BODY || state == SEGMENT_INDEX ? 0 : fb_segment_run(arena, i);
        }
        if (is_sealed(state)) {
            c.in_queue[queue]++;
            take_if_older(&c.sealed[queue], i, sequence);
            if (atomic_load_explicit(&arena->segments[i].last_expiry, memory_order_relaxed) <= now)
                c.expired = i;
            if (fb_segment_mostly_dead(arena, i))
                c.dead = i;
        } else if (state == SEGMENT_FREE) {
            c.free += !fb_segment_in(&held, i);
        } else if (state == SEGMENT_INDEX) {
            index++;
        } else if (state == SEGMENT_OPEN || state == SEGMENT_WRITING || state == SEGMENT_EVICTING) {
            c.in_queue[queue]++;
            if (state == SEGMENT_OPEN)
                take_if_older(&c.open[queue], i, sequence);
        }
    }
    c.in_use = count - index;
    *out = c;
    atomic_store_explicit(&arena->super->segments_free, c.free, memory_order_relaxed);
    atomic_store_explicit(&arena->super->warm, warm, memory_order_relaxed);
}

uint32_t fb_victims_count_free(forebay_arena *arena)
{
    census c;
    take_census(arena, NULL, &c);
    return c.free;
}

/* The oldest of the queue that is to give, of the other if that has none. */
static uint32_t oldest_of(const census *c, enum queue queue)
{
    for (int i = 0; i < 2; i++, queue ^= 1) {
        const oldest_segment *sealed = &c->sealed[queue], *open = &c->open[queue];
        if (sealed->sequence < open->sequence)
            return sealed->segment;
        if (open->segment != SEGMENT_NONE && (i == 1 || sealed->segment != SEGMENT_NONE))
            return open->segment;
    }
    return c->open[queue].segment;
}

/* A segment that goes before the oldest, whoever's it is: nothing live in it is evicted. */
static bool is_dispensable(const census *c)
{
    return c->expired != SEGMENT_NONE || c->dead != SEGMENT_NONE;
}

static uint32_t dispensable(const census *c)
{
    return c->expired != SEGMENT_NONE ? c->expired : c->dead;
}

/* The groups that have no more than their share. */
static bool spare_the_quiet(const forebay_arena *arena, const census *c, spared_groups *spare)
{
    bool any = false;
    *spare = (spared_groups){0};
    for (uint32_t group = 1; group <= arena->geometry.cache_count; group++) {
        uint32_t staying = c->groups.staying[group];
        spare->spared[group] = staying != 0 && fb_group_slack(arena, group, staying) == 0;
        any |= spare->spared[group];
    }
    return any;
}

/* After a census of all; it becomes one of those chosen from. */
static uint32_t choose_from_all(forebay_arena *arena, census *c)
{
    if (is_dispensable(c))
        return dispensable(c);
    enum queue queue = fb_policy_choose(arena, c->in_queue[QUEUE_PROBATION], c->in_queue[QUEUE_MAIN], c->in_use);
    uint32_t of_all = oldest_of(c, queue);
    spared_groups spare;
    if (!spare_the_quiet(arena, c, &spare))
        return of_all;
    take_census(arena, &spare, c);
    queue = fb_policy_pick(arena, c->in_queue[QUEUE_PROBATION], c->in_queue[QUEUE_MAIN], c->in_use);
    uint32_t victim = oldest_of(c, queue);
    return victim != SEGMENT_NONE ? victim : of_all; /* the index took what the shares left */
}

static void take_census_of(forebay_arena *arena, uint32_t group, census *c)
{
    spared_groups spare;
    memset(&spare, 1, sizeof spare);
    spare.spared[group] = false;
    take_census(arena, &spare, c);
}

static uint32_t choose_from_group(const forebay_arena *arena, const census *c)
{
    if (is_dispensable(c))
        return dispensable(c);
    return oldest_of(c, fb_policy_pick(arena, c->in_queue[QUEUE_PROBATION], c->in_queue[QUEUE_MAIN], c->in_use));
}

/* Undo a claim for eviction, nothing done: the segment was not what it was taken for. */
static void unclaim(forebay_arena *arena, uint32_t segment, uint64_t word)
{
    fb_segment_put(arena, segment, fb_segment_state(word), fb_segment_use(word));
}

static _Atomic uint32_t *begun_hint(forebay_arena *arena, uint32_t scope)
{
    return scope == 0 ? &arena->super->victim[0] : &arena->caches[scope - 1].victim;
}

/* The victim that work has begun on, claimed; or SEGMENT_NONE. */
static uint32_t claim_begun(forebay_arena *arena, uint32_t scope, uint64_t *word)
{
    uint32_t begun = atomic_load_explicit(begun_hint(arena, scope), memory_order_relaxed);
    if (begun == 0 || begun > arena->geometry.segment_count)
        return SEGMENT_NONE;
    *word = fb_segment_settle(arena, begun - 1);
    /* not begun in this life: it was freed, reused, and is the youngest now */
    const _Atomic uint32_t *cursor = &arena->segments[begun - 1].cursor;
    if (fb_segment_state(*word) != SEGMENT_SEALED || atomic_load_explicit(cursor, memory_order_relaxed) == 0
        || (scope != 0 && fb_segment_group(*word) != scope)
        || !fb_segment_claim(arena, begun - 1, *word, SEGMENT_EVICTING))
        return SEGMENT_NONE;
    if (atomic_load_explicit(cursor, memory_order_relaxed) != 0)
        return begun - 1;
    unclaim(arena, begun - 1, *word);
    return SEGMENT_NONE;
}

/* The segment, claimed, was begun anew after the census: this process was held
 * up meanwhile, and what was the oldest is the youngest now. */
static bool begun_since(const forebay_arena *arena, uint32_t segment, uint64_t census_sequence)
{
    uint64_t sequence = segment_sequence(arena, segment);
    return sequence >= census_sequence
           && sequence < atomic_load_explicit(&arena->super->sequence, memory_order_relaxed); /* else it is damaged */
}

/* No need of a victim; else the next is chosen. */
static bool choose(forebay_arena *arena, uint32_t scope, uint32_t enough, census *c, uint32_t *victim)
{
    if (scope != 0) {
        take_census_of(arena, scope, c);
        atomic_store_explicit(&arena->caches[scope - 1].segments, c->segments, memory_order_relaxed);
        if (c->segments <= enough)
            return false;
        *victim = choose_from_group(arena, c);
        return true;
    }
    take_census(arena, NULL, c);
    if (c->free > enough)
        return false;
    *victim = choose_from_all(arena, c);
    return true;
}

victim_search fb_victim_claim(forebay_arena *arena, uint32_t scope, uint32_t enough, uint32_t *victim_out, uint64_t *word_out)
{
    *victim_out = claim_begun(arena, scope, word_out);
    if (*victim_out != SEGMENT_NONE)
        return VICTIM_CLAIMED;
    for (int t = 0; t < CLAIM_TRIES; t++) {
        census c;
        uint32_t victim;
        if (!choose(arena, scope, enough, &c, &victim))
            return VICTIM_NOT_NEEDED;
        if (victim == SEGMENT_NONE)
            return VICTIM_NONE;
        uint64_t word = fb_segment_load(arena, victim);
        enum segment_state state = fb_segment_state(word);
        if ((!is_sealed(state) && state != SEGMENT_OPEN) || (scope != 0 && fb_segment_group(word) != scope)
            || !fb_segment_claim(arena, victim, word, SEGMENT_EVICTING))
            continue;
        if (begun_since(arena, victim, c.sequence)) {
            unclaim(arena, victim, word);
            continue;
        }
        atomic_store_explicit(begun_hint(arena, scope), victim + 1, memory_order_relaxed);
        *victim_out = victim;
        *word_out = word;
        return VICTIM_CLAIMED;
    }
    return VICTIM_NONE;
}
