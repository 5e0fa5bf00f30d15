/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/displace.h"

#include <forebay/cache.h>

#include "arena/counters.h"
#include "base/copy.h"
#include "cache/packed.h"
#include "cache/quota.h"

/* An entry to be moved: X in `from`, held. */
typedef struct displaced {
    _Atomic uint64_t *from;
    uint64_t word;
    entry_view view;
    uint64_t hash;
    index_look look;
} displaced;

bool fb_abort_others(forebay_arena *arena, uint64_t hash, const index_look *look, const _Atomic uint64_t *mine)
{
    uint64_t tag = fb_slot_tag(hash);
    for (uint32_t b = 0; b < look->count; b++) {
        for (uint32_t i = 0; i < BUCKET_SLOTS; i++) {
            _Atomic uint64_t *slot = &arena->buckets[look->bucket[b]].slots[i];
            uint64_t word = atomic_load(slot);
            if (slot == mine || !fb_slot_tentative(word) || word == SLOT_UNUSED || (word & SLOT_TAG_MASK) != tag)
                continue;
            if (fb_slot_moving(word) && ((look->word & 1) != 0 || fb_index_word(arena) != look->word))
                return false; /* a split moves it: to be helped, not aborted */
            /* of the same key, or one in 32,768 of another: it tries again */
            if (!atomic_compare_exchange_strong(slot, &word, 0))
                return false;
        }
    }
    return true;
}

/* A search for an entry that can be moved. */
typedef struct room_search {
    forebay_arena *arena;
    uint32_t lane;
    uint32_t owned;
    bool any;
} room_search;

/* Does this segment belong to a cache with a quota, and `owned` not to the same? */
static bool is_of_other_quota(const forebay_arena *arena, uint32_t segment, uint32_t owned)
{
    uint32_t group = fb_segment_group(fb_segment_load(arena, segment));
    return group != 0 && group != fb_segment_group(fb_segment_load(arena, owned));
}

/* May the entry in this slot of `bucket` be moved?  A counter is not: between
 * (4) and (5) an increment would begin it anew. */
static bool look_at(const room_search *s, uint32_t bucket, uint32_t i, uint64_t index_word, displaced *d)
{
    forebay_arena *arena = s->arena;
    uint32_t segment, lane = s->lane;
    _Atomic uint64_t *slot = &arena->buckets[bucket].slots[i];
    d->from = slot;
    d->word = atomic_load(slot);
    if (d->word == 0 || fb_slot_tentative(d->word) || !fb_slot_segment(arena, d->word, &segment)
        || (!s->any && is_of_other_quota(arena, segment, s->owned)))
        return false;
    fb_lane_hold(arena, lane, 1, segment);
    if (!fb_slot_same(atomic_load(slot), d->word) || !fb_entry_view_slot(arena, d->word, &d->view))
        return false;
    d->hash = fb_key_hash(arena, d->view.cache_tag, d->view.key, d->view.key_length);
    d->look = fb_index_look_at(arena, d->hash, index_word);
    return d->look.count == 2 && (d->look.bucket[0] == bucket || d->look.bucket[1] == bucket)
           && !fb_index_look_is_split(arena, &d->look) && d->view.kind != FOREBAY_KIND_INT
           && fb_cache_tag_is_current(arena, d->view.cache_tag);
}

static _Atomic uint64_t *empty_slot_beside(forebay_arena *arena, const displaced *d, uint32_t bucket)
{
    uint32_t other = d->look.bucket[0] == bucket ? d->look.bucket[1] : d->look.bucket[0];
    for (uint32_t i = 0; i < BUCKET_SLOTS; i++)
        if (atomic_load_explicit(&arena->buckets[other].slots[i], memory_order_relaxed) == 0)
            return &arena->buckets[other].slots[i];
    return NULL;
}

static bool has_room(const forebay_arena *arena, uint32_t segment, uint64_t units)
{
    uint32_t tail = atomic_load_explicit(&arena->segments[segment].tail, memory_order_relaxed);
    return tail <= fb_segment_units(arena) && units <= fb_segment_units(arena) - tail;
}

/* Append a copy of the entry to a segment with room for it; its slot word. */
static uint64_t append_copy(forebay_arena *arena, const displaced *d, uint32_t owned)
{
    arena_segment *segment = &arena->segments[owned];
    uint32_t tail = atomic_load_explicit(&segment->tail, memory_order_relaxed);
    uint64_t offset = fb_segment_offset(arena, owned) + (uint64_t)tail * ARENA_ALIGN;
    fb_copy_across(arena->base + offset, arena->base + fb_slot_offset(d->word), d->view.units * ARENA_ALIGN);
    uint64_t last = d->view.expiry == 0 ? UINT64_MAX : d->view.expiry;
    if (last > atomic_load_explicit(&segment->last_expiry, memory_order_relaxed))
        atomic_store_explicit(&segment->last_expiry, last, memory_order_relaxed);
    atomic_store_explicit(&segment->tail, tail + (uint32_t)d->view.units, memory_order_release);
    uint64_t generation = atomic_load_explicit(&segment->generation, memory_order_relaxed);
    return fb_slot_with_frequency(fb_slot_make(offset, generation, d->hash), fb_slot_frequency(d->word));
}

static bool remove_original(displaced *d)
{
    uint64_t word = d->word;
    while (fb_slot_same(word, d->word))
        if (atomic_compare_exchange_weak(d->from, &word, 0))
            return true;
    return false;
}

/* docs/internals/concurrency.md, "Making room in a bucket". */
static bool move(forebay_arena *arena, displaced *d, _Atomic uint64_t *to, uint64_t copy)
{
    uint64_t tentative = copy | SLOT_TENTATIVE, expected = 0;
    if (!atomic_compare_exchange_strong(to, &expected, tentative))
        return false;
    atomic_fetch_add(&arena->super->index_moves, 1); /* after (1), before (4): pairs with fb_index_moves() */
    bool ours = fb_abort_others(arena, d->hash, &d->look, to) && fb_cache_tag_is_current(arena, d->view.cache_tag)
                && fb_index_word(arena) == d->look.word && atomic_load(to) == tentative && remove_original(d);
    expected = tentative;
    if (!ours) {
        atomic_compare_exchange_strong(to, &expected, 0);
        return false;
    }
    fb_segment_note_dead(arena, d->view.segment, d->view.units);
    if (!atomic_compare_exchange_strong(to, &expected, copy) && fb_cache_tag_is_current(arena, d->view.cache_tag))
        /* aborted by a set or a delete of its key: gone, as they want it */
        atomic_fetch_sub_explicit(&fb_counters_shared(arena, d->view.cache_tag % CACHE_COUNT_MAX)->entries, 1,
                                  memory_order_relaxed);
    return true;
}

/* Where the copy goes: to the inserter's own segment if that has room and is of
 * the entry's group, else to a head claimed for it; one of the reserve if the
 * entry must not be lost. */
static uint32_t target_for(const room_search *s, const displaced *d)
{
    forebay_arena *arena = s->arena;
    uint32_t owned = s->owned, leave = s->any ? SEGMENT_RESERVE - 1 : SEGMENT_RESERVE;
    uint32_t group = fb_cache_group(arena, d->view.cache_tag % CACHE_COUNT_MAX);
    if (group == fb_segment_group(fb_segment_load(arena, owned)) && has_room(arena, owned, d->view.units))
        return owned;
    if (d->view.units > fb_segment_units(arena))
        return SEGMENT_NONE; /* a run stays where it is */
    uint64_t word = fb_segment_load(arena, d->view.segment);
    segment_use use = fb_segment_use_of(fb_segment_queue(word), group != 0 ? 0 : fb_segment_class(word), group);
    return fb_head_acquire(arena, use, (uint32_t)d->view.units, leave, fb_group_most(arena, group));
}

static bool displace_one(const room_search *s, const index_look *look)
{
    forebay_arena *arena = s->arena;
    for (uint32_t n = 0; n < look->count * BUCKET_SLOTS; n++) {
        uint32_t bucket = look->bucket[n / BUCKET_SLOTS];
        displaced d;
        if (!look_at(s, bucket, n % BUCKET_SLOTS, look->word, &d))
            continue;
        _Atomic uint64_t *to = empty_slot_beside(arena, &d, bucket);
        if (to == NULL)
            continue;
        uint32_t target = target_for(s, &d);
        if (target == SEGMENT_NONE)
            continue;
        bool moved = fb_dictionary_note_use(arena, target, fb_packed_dictionary(&d.view))
                     && move(arena, &d, to, append_copy(arena, &d, target));
        if (target != s->owned)
            fb_head_release(arena, target);
        if (moved)
            return true;
        fb_segment_note_dead(arena, target, d.view.units); /* the copy, if it was made */
    }
    return false;
}

static bool has_empty_slot(const forebay_arena *arena, const index_look *look)
{
    for (uint32_t n = 0; n < look->count * BUCKET_SLOTS; n++)
        if (atomic_load_explicit(&arena->buckets[look->bucket[n / BUCKET_SLOTS]].slots[n % BUCKET_SLOTS],
                                 memory_order_relaxed) == 0)
            return true;
    return false;
}

bool fb_displace(forebay_arena *arena, uint32_t lane, const index_look *look, uint32_t owned, bool any)
{
    room_search s = {arena, lane, owned, any};
    if (displace_one(&s, look))
        return true;
    /* all their other buckets are full as well: make way in one of those, for its entry.  A place made for
     * one that cannot move would be of no use to the insert, which would come back for ever. */
    for (uint32_t n = 0; n < look->count * BUCKET_SLOTS; n++) {
        displaced d;
        if (look_at(&s, look->bucket[n / BUCKET_SLOTS], n % BUCKET_SLOTS, look->word, &d) && displace_one(&s, &d.look)
            && (has_empty_slot(arena, look) || displace_one(&s, look)))
            return true;
    }
    return false;
}
