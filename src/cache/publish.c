/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/publish.h"

#include "arena/counters.h"
#include "cache/cache_state.h"
#include "cache/displace.h"
#include "cache/quota.h"

static bool swap(_Atomic uint64_t *slot, uint64_t from, uint64_t to)
{
    return atomic_compare_exchange_strong(slot, &from, to);
}

bool fb_publish_over(forebay_arena *arena, index_match *match, uint64_t fresh)
{
    uint64_t word = match->word;
    do {
        if (!fb_slot_same(word, match->word))
            return false;
    } while (!atomic_compare_exchange_weak(match->slot, &word,
                                           fb_slot_with_frequency(fresh, fb_slot_frequency(word))));
    fb_segment_note_dead(arena, match->view.segment, match->view.units);
    return true;
}

/* An empty slot in the emptier candidate bucket; NULL if both are full. */
static _Atomic uint64_t *empty_slot(forebay_arena *arena, const index_look *look)
{
    _Atomic uint64_t *best = NULL;
    uint32_t used_in_best = BUCKET_SLOTS, used_in_all = 0;
    for (uint32_t b = 0; b < look->count; b++) {
        arena_bucket *bucket = &arena->buckets[look->bucket[b]];
        _Atomic uint64_t *empty = NULL;
        uint32_t used = 0;
        for (uint32_t i = BUCKET_SLOTS; i-- > 0;) {
            if (atomic_load_explicit(&bucket->slots[i], memory_order_relaxed) == 0)
                empty = &bucket->slots[i];
            else
                used++;
        }
        used_in_all += used;
        if (used < used_in_best) {
            used_in_best = used;
            best = empty;
        }
    }
    fb_index_note_load(arena, used_in_all, look->count * BUCKET_SLOTS);
    return best;
}

/* Is the segment of another group than `owned`, whose entries are not for that
 * one's to drop: it has a quota, or the other has a limit and makes its own room? */
static bool need_not_give_way(const forebay_arena *arena, uint32_t segment, uint32_t owned)
{
    uint32_t group = fb_segment_group(fb_segment_load(arena, segment));
    uint32_t mine = fb_segment_group(fb_segment_load(arena, owned));
    return group != mine && (group != 0 || fb_group_limit(arena, mine) != SEGMENTS_UNLIMITED);
}

/* How dear an entry in a full bucket is: tentative ones, which a dead writer may
 * have left, before all; those that do not have to give way to this insert last. */
#define RANK_OF_OTHERS (1 + SLOT_FREQUENCY_MAX + 1)
static uint32_t rank(const forebay_arena *arena, uint64_t word, uint32_t owned)
{
    uint32_t segment;
    if (fb_slot_tentative(word))
        return 0;
    bool other = fb_slot_segment(arena, word, &segment) && need_not_give_way(arena, segment, owned);
    return (other ? RANK_OF_OTHERS : 1) + fb_slot_frequency(word);
}

/* When the entry's segment was begun; 0: nobody knows. */
static uint64_t begun_at(const forebay_arena *arena, uint64_t word)
{
    uint32_t segment;
    return fb_slot_segment(arena, word, &segment)
               ? atomic_load_explicit(&arena->segments[segment].sequence, memory_order_relaxed)
               : 0;
}

/* The entry in two full buckets that is the least dear, of equals the oldest. */
typedef struct least_entry {
    _Atomic uint64_t *slot; /* NULL: no need to look for one, try again */
    uint64_t word;
    uint32_t rank;
    uint64_t begun;
} least_entry;

static least_entry find_least(forebay_arena *arena, const index_look *look, uint32_t owned)
{
    least_entry least = {.rank = UINT32_MAX};
    for (uint32_t b = 0; b < look->count; b++) {
        for (uint32_t i = 0; i < BUCKET_SLOTS; i++) {
            _Atomic uint64_t *slot = &arena->buckets[look->bucket[b]].slots[i];
            uint64_t word = atomic_load(slot);
            bool moves = fb_slot_moving(word) && (fb_index_word(arena) & 1) != 0; /* a split is at it */
            if (word == 0 || moves)
                return (least_entry){0};
            least_entry it = {slot, word, rank(arena, word, owned), begun_at(arena, word)};
            if (it.rank < least.rank || (it.rank == least.rank && it.begun < least.begun))
                least = it;
        }
    }
    return least;
}

static void clear_entry(forebay_arena *arena, const least_entry *least)
{
    entry_view view;
    bool known = !fb_slot_tentative(least->word) && fb_entry_view_slot(arena, least->word, &view)
                 && fb_cache_tag_is_current(arena, view.cache_tag);
    if (!swap(least->slot, least->word, 0) || !known || !fb_entry_stable(arena, &view))
        return;
    fb_segment_note_dead(arena, view.segment, view.units);
    arena_counters *line = fb_counters_shared(arena, view.cache_tag % CACHE_COUNT_MAX);
    atomic_fetch_add_explicit(&line->counts[COUNTER_EVICTIONS], 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&line->entries, 1, memory_order_relaxed);
}

/* Both buckets of an insert are full. */
static void make_way(forebay_arena *arena, uint32_t lane, const index_look *look, uint32_t owned, bool may_grow)
{
    if (fb_displace(arena, lane, look, owned, false) || (may_grow && fb_index_grow_for_room(arena, lane, false)))
        return;
    least_entry least = find_least(arena, look, owned);
    if (least.slot == NULL
        || (least.rank >= RANK_OF_OTHERS
            && (fb_displace(arena, lane, look, owned, true) || (may_grow && fb_index_grow_for_room(arena, lane, true)))))
        return;
    clear_entry(arena, &least);
}

/* Step (2) of an insert: abort other inserts of this key.  False if the key has
 * a committed slot, or may have. */
static bool alone(forebay_arena *arena, uint32_t lane, const index_key *key, const index_look *look,
                  const _Atomic uint64_t *mine)
{
    index_match other;
    return fb_abort_others(arena, key->hash, look, mine) && !fb_index_find_held(arena, lane, key, look, &other);
}

/* Asked while what is to be published is tentative, or what it replaces is held:
 * who takes the lease away does so before a look at the slots.  A clear does not take
 * it away, and of the 512th the entry would have the tag; those purge tentative slots. */
static bool is_allowed(const forebay_arena *arena, const lease_ref *lease)
{
    return lease == NULL
           || (fb_cache_generation(atomic_load(lease->cache_word)) == lease->generation && fb_lease_there(arena, lease));
}

__attribute__((always_inline)) static inline bool insert(forebay_arena *arena, uint32_t lane, const index_key *key, const index_look *look, uint64_t fresh,
                   uint32_t owned, bool may_grow, const lease_ref *lease)
{
    _Atomic uint64_t *slot = empty_slot(arena, look);
    if (slot == NULL) {
        make_way(arena, lane, look, owned, may_grow);
        return false;
    }
    uint64_t tentative = fresh | SLOT_TENTATIVE;
    if (!swap(slot, 0, tentative))
        return false;
    if (!alone(arena, lane, key, look, slot) || !fb_cache_tag_is_current(arena, key->cache_tag)
        || fb_index_word(arena) != look->word || !is_allowed(arena, lease)) {
        swap(slot, tentative, 0);
        return false;
    }
    return swap(slot, tentative, fresh);
}

/* The key's cache was cleared or dropped meanwhile: the set came before that. */
static bool was_cleared(const forebay_arena *arena, const index_key *key)
{
    return !fb_cache_tag_is_current(arena, key->cache_tag);
}

/* Inlined twice: sets, which are many, have no lease. */
__attribute__((always_inline)) static inline publish_outcome
publish(forebay_arena *arena, uint32_t lane, const index_key *key, uint64_t fresh, uint32_t owned, forebay_set_mode mode,
        uint64_t now, const lease_ref *lease)
{
    for (int t = 0; t < INDEX_TRIES; t++) {
        uint64_t moves = fb_index_moves(arena);
        index_look look = fb_index_look_settled(arena, lane, key->hash);
        index_match match;
        if (fb_index_look_is_split(arena, &look))
            continue;
        bool found = fb_index_find_held(arena, lane, key, &look, &match);
        if (!is_allowed(arena, lease))
            return PUBLISH_REVOKED;
        if (found) {
            bool counts = fb_index_counts(arena, key, &match.view, now);
            if (mode == FOREBAY_ADD && counts)
                return PUBLISH_EXISTS;
            if (mode == FOREBAY_REPLACE && !counts)
                return PUBLISH_ABSENT;
            if (fb_publish_over(arena, &match, fresh))
                return PUBLISH_REPLACED;
        } else if (was_cleared(arena, key)) {
            return PUBLISH_CLEARED;
        } else if (mode == FOREBAY_REPLACE) {
            if (fb_index_word(arena) == look.word && fb_index_moves(arena) == moves)
                return PUBLISH_ABSENT;
        } else if (insert(arena, lane, key, &look, fresh, owned, t < INDEX_TRIES - INDEX_TRIES / 8, lease)) {
            return PUBLISH_INSERTED;
        }
    }
    return PUBLISH_LOST;
}

publish_outcome fb_publish(forebay_arena *arena, uint32_t lane, const index_key *key, uint64_t fresh, uint32_t owned,
                           forebay_set_mode mode, uint64_t now)
{
    return publish(arena, lane, key, fresh, owned, mode, now, NULL);
}

__attribute__((cold)) publish_outcome fb_publish_leased(forebay_arena *arena, uint32_t lane, const index_key *key, uint64_t fresh,
                                                        uint32_t owned, uint64_t now, const lease_ref *lease)
{
    return publish(arena, lane, key, fresh, owned, FOREBAY_SET, now, lease);
}

/* Abort tentative slots with the key's tag.  False if there was one. */
static bool abort_tentative(forebay_arena *arena, const index_key *key, const index_look *look)
{
    bool clean = true;
    uint64_t tag = fb_slot_tag(key->hash);
    for (uint32_t b = 0; b < look->count; b++) {
        for (uint32_t i = 0; i < BUCKET_SLOTS; i++) {
            _Atomic uint64_t *slot = &arena->buckets[look->bucket[b]].slots[i];
            uint64_t word = atomic_load(slot);
            if (!fb_slot_tentative(word) || word == SLOT_UNUSED || (word & SLOT_TAG_MASK) != tag)
                continue;
            clean = false;
            /* one on the move is helped by the next look, unless no split is under way: then it is rubbish */
            if (!fb_slot_moving(word) || ((look->word & 1) == 0 && fb_index_word(arena) == look->word))
                swap(slot, word, 0);
        }
    }
    return clean;
}

/* One pass of a delete over a look; true if nothing was left to remove.
 * Tentative slots first: an entry displaced meanwhile is then seen in one place
 * or the other, or index_moves was raised. */
static bool unpublish_pass(forebay_arena *arena, uint32_t lane, const index_key *key, const index_look *look,
                           uint64_t now, bool *was_live, bool *removed)
{
    bool clean = abort_tentative(arena, key, look);
    index_match match;
    while (fb_index_find_held(arena, lane, key, look, &match)) {
        uint64_t word = match.word;
        clean = false;
        bool gone = false;
        while (!gone && fb_slot_same(word, match.word))
            gone = atomic_compare_exchange_weak(match.slot, &word, 0);
        if (gone) {
            fb_segment_note_dead(arena, match.view.segment, match.view.units);
            *removed = true;
            *was_live |= fb_index_counts(arena, key, &match.view, now);
        }
    }
    return clean;
}

bool fb_unpublish(forebay_arena *arena, uint32_t lane, const index_key *key, uint64_t now, bool *removed)
{
    bool was_live = false;
    *removed = false;
    for (;;) {
        uint64_t moves = fb_index_moves(arena);
        index_look look = fb_index_look_settled(arena, lane, key->hash);
        if (fb_index_look_is_split(arena, &look))
            continue;
        if (unpublish_pass(arena, lane, key, &look, now, &was_live, removed) && fb_index_word(arena) == look.word
            && fb_index_moves(arena) == moves)
            return was_live;
    }
}
