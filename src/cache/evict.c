/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/evict.h"

#include "arena/arena_clock.h"
#include "arena/counters.h"
#include "base/copy.h"
#include "cache/policy.h"
#include "cache/repack.h"
#include "cache/victim.h"
#include "cache/warm.h"

/* Free segments to keep ahead of writers, beyond the reserve of evictors. */
#define FREE_AHEAD 3u
/* The same of a group, ahead of its limit. */
#define GROUP_AHEAD 2u
/* Segments one call may go through before it gives up: survivors shrink with
 * every pass (frequencies fall), so that a round of all suffices. */
#define ROUNDS 3u
/* Times that others change a segment that is wanted. */
#define TAKE_TRIES 16

/* One evictor at work: a victim it has claimed, and heads it copies to. */
typedef struct eviction {
    forebay_arena *arena;
    uint32_t lane;
    uint32_t victim;
    bool keep;             /* survivors may be copied forward */
    bool keep_all;         /* the policy is not asked: the segment is wanted, not the room */
    uint32_t target;       /* claimed head, or SEGMENT_NONE */
    segment_use target_use;
    uint32_t seen, dropped; /* live entries */
    uint64_t now;
} eviction;

typedef struct survivor {
    entry_view view;
    uint64_t offset;
    uint64_t hash;
    index_match match;
} survivor;

static void count(forebay_arena *arena, uint32_t cache_tag, enum counter which)
{
    if (!fb_cache_tag_is_current(arena, cache_tag))
        return;
    arena_counters *line = fb_counters_shared(arena, cache_tag % CACHE_COUNT_MAX);
    atomic_fetch_add_explicit(&line->counts[which], 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&line->entries, 1, memory_order_relaxed);
}

static void target_release(eviction *e)
{
    if (e->target != SEGMENT_NONE)
        fb_head_release(e->arena, e->target);
    e->target = SEGMENT_NONE;
}

/* Room for `units` in a claimed head of this use. */
static bool target_acquire(eviction *e, segment_use use, uint64_t units)
{
    if (units > fb_segment_units(e->arena))
        return false;
    if (e->target != SEGMENT_NONE) {
        uint32_t tail = atomic_load_explicit(&e->arena->segments[e->target].tail, memory_order_relaxed);
        if (e->target_use == use && units <= fb_segment_units(e->arena) - tail)
            return true;
        target_release(e);
    }
    e->target = fb_head_acquire(e->arena, use, (uint32_t)units, 0, fb_group_limit(e->arena, fb_segment_group(use)));
    e->target_use = use;
    return e->target != SEGMENT_NONE;
}

static void raise_expiry(arena_segment *segment, uint64_t expiry)
{
    uint64_t last = atomic_load_explicit(&segment->last_expiry, memory_order_relaxed);
    uint64_t mine = expiry == 0 ? UINT64_MAX : expiry;
    if (mine > last)
        atomic_store_explicit(&segment->last_expiry, mine, memory_order_relaxed);
}

/* Write the copy at `offset`: the entry's own bytes, or those it was repacked to. */
static void write_copy(const eviction *e, const survivor *s, const policy_decision *decision, const repacked *as, uint64_t offset)
{
    forebay_arena *arena = e->arena;
    if (as->changed) {
        fb_repack_write(arena, &s->view, as, decision->history, arena->base + offset);
        return;
    }
    fb_copy_in(arena->base + offset, arena->base + s->offset, s->view.units * ARENA_ALIGN);
    uint64_t header = (s->view.header & ((UINT64_C(1) << ENTRY_HISTORY_SHIFT) - 1))
                      | (uint64_t)decision->history << ENTRY_HISTORY_SHIFT;
    atomic_store_explicit((_Atomic uint64_t *)(void *)(arena->base + offset), header, memory_order_relaxed);
}

/* Copy the entry into the target and swap its slot over.  The victim is ours,
 * so its place cannot be given out again meanwhile.  False: the slot changed. */
static bool copy_forward(eviction *e, survivor *s, const policy_decision *decision, const repacked *as)
{
    forebay_arena *arena = e->arena;
    arena_segment *to = &arena->segments[e->target];
    uint32_t tail = atomic_load_explicit(&to->tail, memory_order_relaxed);
    uint64_t offset = fb_segment_offset(arena, e->target) + (uint64_t)tail * ARENA_ALIGN;
    write_copy(e, s, decision, as, offset);
    raise_expiry(to, s->view.expiry);
    atomic_store_explicit(&to->tail, tail + (uint32_t)as->units, memory_order_release);
    uint64_t generation = atomic_load_explicit(&to->generation, memory_order_relaxed);
    uint64_t copy = fb_slot_with_frequency(fb_slot_make(offset, generation, s->hash), decision->frequency);
    while (!atomic_compare_exchange_strong(s->match.slot, &s->match.word, copy)) {
        if (((s->match.word ^ fb_slot_make(s->offset, s->view.generation, s->hash)) & SLOT_PLACE_MASK) == 0
            && !fb_slot_tentative(s->match.word))
            continue; /* a hit came between */
        /* deleted, replaced or on the move: nobody saw the copy; take it back */
        atomic_store_explicit(&to->tail, tail, memory_order_release);
        return false;
    }
    atomic_fetch_add_explicit(&arena->segments[e->victim].kept, (uint32_t)s->view.units, memory_order_relaxed);
    if (as->warm)
        fb_warm_note(arena, e->target, as->units);
    return true;
}

static bool drop(eviction *e, survivor *s, enum counter why)
{
    uint64_t place = s->match.word;
    while (!atomic_compare_exchange_strong(s->match.slot, &s->match.word, 0))
        if (((s->match.word ^ place) & SLOT_PLACE_MASK) != 0 || fb_slot_tentative(s->match.word))
            return false;
    e->dropped++;
    count(e->arena, s->view.cache_tag, why);
    return true;
}

static policy_decision decide(eviction *e, const survivor *s)
{
    uint32_t frequency = fb_slot_frequency(s->match.word);
    policy_history history = (policy_history)(s->view.header >> ENTRY_HISTORY_SHIFT);
    uint32_t queue = fb_segment_queue(fb_segment_load(e->arena, e->victim));
    if (e->keep_all)
        return (policy_decision){queue == QUEUE_MAIN ? POLICY_TO_MAIN : POLICY_TO_PROBATION, frequency, history};
    return fb_policy_evict(e->arena, (enum queue)queue, s->hash, (uint32_t)s->view.units, frequency, history);
}

/* Where a survivor goes: to its cache's group as that is now. */
static segment_use use_of_survivor(const eviction *e, const survivor *s, const policy_decision *decision)
{
    uint32_t group = fb_cache_group(e->arena, s->view.cache_tag % CACHE_COUNT_MAX);
    uint32_t class = group != 0 ? 0 : fb_segment_class(fb_segment_load(e->arena, e->victim));
    return fb_segment_use_of(decision->target == POLICY_TO_MAIN ? QUEUE_MAIN : QUEUE_PROBATION, class, group);
}

/* Copy the survivor to a target of its own, packed as is right for it now.
 * `*room`: there was one.  False: the slot changed. */
static bool keep_entry(eviction *e, survivor *s, const policy_decision *decision, bool *room)
{
    uint8_t buffer[PACKED_BUFFER];
    repacked as = {.units = s->view.units, .dictionary = fb_packed_dictionary(&s->view)};
    if (!e->keep_all)
        fb_repack_plan(e->arena, &s->view, fb_slot_frequency(s->match.word), s->hash, buffer, &as);
    *room = target_acquire(e, use_of_survivor(e, s, decision), as.units)
            && fb_dictionary_note_use(e->arena, e->target, as.dictionary);
    bool done = *room && copy_forward(e, s, decision, &as);
    fb_repack_clear(&as);
    return done;
}

/* True if the entry is done with: its slot, if it had one, points elsewhere. */
static bool evict_entry(eviction *e, survivor *s)
{
    forebay_arena *arena = e->arena;
    s->hash = fb_key_hash(arena, s->view.cache_tag, s->view.key, s->view.key_length);
    uint64_t place = fb_slot_make(s->offset, s->view.generation, s->hash);
    for (int t = 0; t < INDEX_TRIES; t++) {
        place_result result = fb_index_find_place(arena, e->lane, s->hash, place, &s->match);
        if (result != PLACE_FOUND)
            return result == PLACE_NONE;
        if (!fb_entry_is_fresh(arena, &s->view, e->now) || !fb_cache_tag_is_current(arena, s->view.cache_tag)) {
            if (drop(e, s, COUNTER_EXPIRATIONS))
                return true;
            continue;
        }
        e->seen += t == 0;
        policy_decision decision = {.target = POLICY_DROP};
        if (e->keep)
            decision = decide(e, s);
        bool room = false;
        if (decision.target != POLICY_DROP && keep_entry(e, s, &decision, &room))
            return true;
        if (!room && drop(e, s, COUNTER_EVICTIONS))
            return true;
    }
    return false;
}

/* Go on with the claimed victim for about `budget` units.  True when all of it
 * is done with. */
static bool evict_entries(eviction *e, uint64_t budget)
{
    forebay_arena *arena = e->arena;
    arena_segment *record = &arena->segments[e->victim];
    uint32_t cursor = atomic_load_explicit(&record->cursor, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&record->tail, memory_order_relaxed);
    uint64_t most = (uint64_t)fb_segment_units(arena) * fb_segment_run(arena, e->victim);
    if (tail > most)
        tail = (uint32_t)most;
    uint64_t done = 0;
    while (cursor < tail && done < budget) {
        survivor s;
        s.offset = fb_segment_offset(arena, e->victim) + (uint64_t)cursor * ARENA_ALIGN;
        s.view.generation = atomic_load_explicit(&record->generation, memory_order_relaxed);
        if (!fb_entry_view_at(arena, e->victim, s.offset, &s.view) || s.view.units > tail - cursor)
            break; /* damaged: the rest cannot be walked; verify() reports it */
        if (!evict_entry(e, &s))
            return false;
        cursor += (uint32_t)s.view.units;
        done += s.view.units + 8;
        atomic_store_explicit(&record->cursor, cursor, memory_order_release);
    }
    return cursor >= tail || done < budget;
}

/* Free the claimed, emptied victim: the bodies of a run last to first, each
 * after the run was shortened, so that a kill loses none. */
static void free_victim(eviction *e)
{
    forebay_arena *arena = e->arena;
    arena_segment *record = &arena->segments[e->victim];
    uint32_t run = fb_segment_run(arena, e->victim), run_before = run;
    uint64_t body = fb_segment_word(SEGMENT_BODY, 0, fb_body_owner(arena, e->victim));
    /* empty before it is shortened: a tail must not lie beyond its end */
    atomic_store(&record->cursor, 0);
    atomic_store(&record->tail, 0);
    while (run > 1) {
        uint64_t expected = body;
        atomic_store(&record->run, --run);
        atomic_compare_exchange_strong(&arena->segments[e->victim + run].word, &expected, 0);
    }
    uint32_t group = fb_segment_group(fb_segment_load(arena, e->victim));
    if (group != 0 && group <= arena->geometry.cache_count)
        atomic_fetch_sub_explicit(&arena->caches[group - 1].segments, run_before, memory_order_relaxed);
    fb_segment_put(arena, e->victim, SEGMENT_FREE, 0);
}

static void end_pass(eviction *e, uint64_t word)
{
    if (e->keep && !e->keep_all)
        fb_policy_segment_done(e->arena, (enum queue)fb_segment_queue(word), e->seen, e->dropped);
}

/* A hot run is not copied: it goes to the end of the main queue as it is. */
static bool requeue_run(eviction *e, uint64_t word)
{
    forebay_arena *arena = e->arena;
    arena_segment *record = &arena->segments[e->victim];
    survivor s = {.offset = fb_segment_offset(arena, e->victim)};
    s.view.generation = atomic_load_explicit(&record->generation, memory_order_relaxed);
    if (!e->keep || atomic_load_explicit(&record->tail, memory_order_relaxed) == 0
        || !fb_entry_view_at(arena, e->victim, s.offset, &s.view))
        return false;
    s.hash = fb_key_hash(arena, s.view.cache_tag, s.view.key, s.view.key_length);
    if (!fb_entry_is_fresh(arena, &s.view, e->now) || !fb_cache_tag_is_current(arena, s.view.cache_tag)
        || fb_index_find_place(arena, e->lane, s.hash, fb_slot_make(s.offset, s.view.generation, s.hash), &s.match)
               != PLACE_FOUND)
        return false;
    policy_decision decision = decide(e, &s);
    if (decision.target == POLICY_DROP)
        return false;
    uint64_t lowered = fb_slot_with_frequency(s.match.word, decision.frequency);
    atomic_compare_exchange_strong(s.match.slot, &s.match.word, lowered);
    atomic_store_explicit(&record->sequence, atomic_fetch_add(&arena->super->sequence, 1), memory_order_relaxed);
    uint32_t queue = decision.target == POLICY_TO_MAIN ? QUEUE_MAIN : QUEUE_PROBATION;
    fb_segment_put(arena, e->victim, SEGMENT_RUN, fb_segment_use_of(queue, fb_segment_class(word), fb_segment_group(word)));
    return true;
}

/* Work on the claimed victim, whose word was `word`.  True if it was freed. */
static bool evict_claimed(eviction *e, uint64_t word, uint64_t budget)
{
    forebay_arena *arena = e->arena;
    e->now = fb_now_ms(arena);
    e->target = SEGMENT_NONE;
    /* what is left in a dead one is not there for its age */
    e->keep_all = e->keep && fb_segment_mostly_dead(arena, e->victim);
    if (fb_segment_state(word) == SEGMENT_RUN) {
        if (requeue_run(e, word))
            return false;
        e->keep = false;
    }
    bool done = evict_entries(e, budget);
    target_release(e);
    if (done) {
        end_pass(e, word);
        free_victim(e);
        atomic_fetch_add_explicit(&arena->super->segments_free, 1, memory_order_relaxed);
        return true;
    }
    enum segment_state rest = fb_segment_state(word) == SEGMENT_RUN ? SEGMENT_RUN : SEGMENT_SEALED;
    fb_segment_put(arena, e->victim, rest, fb_segment_use(word));
    return false;
}

/* Evict in proportion to what is written; `short_of`: segments that are missing. */
static void evict_ahead_in(forebay_arena *arena, uint32_t lane, uint32_t scope, uint32_t enough, uint64_t units, uint32_t short_of)
{
    uint64_t word;
    eviction e = {.arena = arena, .lane = lane, .keep = true};
    if (fb_victim_claim(arena, scope, enough, &e.victim, &word) == VICTIM_CLAIMED)
        evict_claimed(&e, word, (units + 8) * (2 + 2 * (uint64_t)short_of));
}

/* The same for a group that has a limit. */
static void evict_ahead_of_limit(forebay_arena *arena, uint32_t lane, uint32_t group, uint64_t units)
{
    uint32_t most = fb_group_most(arena, group);
    uint32_t has = atomic_load_explicit(&arena->caches[group - 1].segments, memory_order_relaxed);
    if (most != SEGMENTS_UNLIMITED && has > most - GROUP_AHEAD)
        evict_ahead_in(arena, lane, group, most - GROUP_AHEAD, units, GROUP_AHEAD);
}

void fb_evict_ahead(forebay_arena *arena, uint32_t lane, uint32_t group, uint64_t units)
{
    uint32_t low = FREE_AHEAD + SEGMENT_RESERVE;
    uint32_t free_count = atomic_load_explicit(&arena->super->segments_free, memory_order_relaxed);
    if (group != 0)
        evict_ahead_of_limit(arena, lane, group, units);
    if (free_count < low)
        evict_ahead_in(arena, lane, 0, low - 1, units, low - free_count);
}

/* One step of an eviction that must make room: how the search for a victim ended. */
static victim_search evict_step(forebay_arena *arena, uint32_t lane, uint32_t scope, uint32_t enough, bool keep)
{
    uint64_t word;
    eviction e = {.arena = arena, .lane = lane, .keep = keep};
    victim_search found = fb_victim_claim(arena, scope, enough, &e.victim, &word);
    if (found == VICTIM_CLAIMED)
        evict_claimed(&e, word, UINT64_MAX);
    return found;
}

bool fb_evict_one(forebay_arena *arena, uint32_t lane)
{
    fb_segments_sweep(arena);
    for (uint32_t i = 0; i < arena->geometry.segment_count * ROUNDS; i++) {
        if (atomic_load_explicit(&arena->super->segments_free, memory_order_relaxed) > SEGMENT_RESERVE)
            return true;
        /* the last round keeps nothing, so that it must make room */
        bool keep = i < arena->geometry.segment_count * (ROUNDS - 1);
        victim_search found = evict_step(arena, lane, 0, SEGMENT_RESERVE, keep);
        if (found == VICTIM_NOT_NEEDED)
            return true;
        if (found == VICTIM_NONE && fb_rows_sweep(arena) == 0) /* the dead hold nothing back */
            return fb_victims_count_free(arena) > SEGMENT_RESERVE;
    }
    return false;
}

bool fb_evict_within(forebay_arena *arena, uint32_t lane, uint32_t group, uint32_t count)
{
    uint32_t most = fb_group_most(arena, group);
    if (most == SEGMENTS_UNLIMITED)
        return true;
    if (count > most)
        return false;
    for (uint32_t i = 0; i < most * ROUNDS; i++) {
        victim_search found = evict_step(arena, lane, group, most - count, i < most * (ROUNDS - 1));
        if (found == VICTIM_NOT_NEEDED)
            return true;
        if (found == VICTIM_NONE && fb_rows_sweep(arena) == 0)
            return fb_group_segments(arena, group) <= most - count;
    }
    return false;
}

/* The run that `segment` is the body of, or the segment itself. */
static uint32_t first_of(uint32_t segment, uint64_t word)
{
    uint32_t first = (uint32_t)(fb_segment_owner(word) & 0xfff);
    return fb_segment_state(word) == SEGMENT_BODY && first < segment ? first : segment;
}

bool fb_evict_take(forebay_arena *arena, uint32_t lane, uint32_t segment, bool keep)
{
    for (int t = 0; t < TAKE_TRIES; t++) {
        uint64_t word = fb_segment_settle(arena, segment);
        if (fb_segment_state(word) == SEGMENT_BODY && !fb_segment_body_is_covered(arena, segment, word)) {
            atomic_compare_exchange_strong(&arena->segments[segment].word, &word, 0); /* a killed owner's */
            continue;
        }
        uint32_t first = first_of(segment, word);
        word = fb_segment_settle(arena, first);
        enum segment_state state = fb_segment_state(word);
        if (state == SEGMENT_FREE) {
            if (!fb_segment_claim(arena, segment, word, SEGMENT_TAKEN))
                continue;
            if (!fb_segment_held(arena, segment, 1))
                return true;
            fb_segment_put(arena, segment, SEGMENT_FREE, 0);
            return false;
        }
        if (state != SEGMENT_SEALED && state != SEGMENT_OPEN && state != SEGMENT_RUN)
            return false;
        if (!fb_segment_claim(arena, first, word, SEGMENT_EVICTING))
            continue;
        eviction e = {.arena = arena, .lane = lane, .victim = first, .keep = keep && state != SEGMENT_RUN, .keep_all = true,
                      .target = SEGMENT_NONE, .now = fb_now_ms(arena)};
        bool done = evict_entries(&e, UINT64_MAX);
        target_release(&e);
        if (!done) {
            fb_segment_put(arena, first, state == SEGMENT_RUN ? SEGMENT_RUN : SEGMENT_SEALED, fb_segment_use(word));
            return false;
        }
        free_victim(&e);
    }
    return false;
}
