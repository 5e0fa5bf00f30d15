/* SPDX-License-Identifier: Apache-2.0 */
/* Growing the index: docs/internals/concurrency.md, "Splitting a bucket". */
#include "cache/evict.h"
#include "cache/index.h"

/* The index grows while inserts see it fuller than this: slots per bucket, 16.16.
 * They see the fuller buckets more often: it is about three quarters of all slots,
 * 10.7 bytes of index per entry.  Buckets not yet split in a round of linear hashing
 * are fuller than the others, up to all full: inserts into two of them displace an
 * entry (displace.h). */
#define GROW_ABOVE (((uint32_t)BUCKET_SLOTS << 16) * 80 / 100)

/* Above this part of the segments free, an entry is not dropped for its place in
 * the index: the index grows until there is one. */
#define PLENTY 16u

typedef struct split {
    forebay_arena *arena;
    uint32_t lane;
    uint64_t n;
    arena_bucket *from, *to;
    uint32_t source;
} split;

static bool swap(_Atomic uint64_t *slot, uint64_t from, uint64_t to)
{
    return atomic_compare_exchange_strong(slot, &from, to);
}

/* Will the key of committed `word` still look in the source bucket when there
 * are n + 1?  Its segment is held.  An unreadable entry stays: nobody can match it. */
static bool key_stays(const split *s, uint64_t word)
{
    entry_view view;
    if (!fb_entry_view_slot(s->arena, word, &view))
        return true;
    uint64_t hash = fb_key_hash(s->arena, view.cache_tag, view.key, view.key_length);
    index_look look = fb_index_look_at(s->arena, hash, (s->n + 1) << 1);
    return look.bucket[0] == s->source || look.bucket[1] == s->source;
}

static bool split_is_over(const split *s)
{
    return fb_index_word(s->arena) != (s->n << 1 | 1);
}

/* One step for a committed `x` whose key moves, given what stands in its place. */
static void move_committed(const split *s, uint32_t i, uint64_t x, uint64_t target)
{
    /* frequency 0 marks the M of the source, 1 or more that of the target: a bucket
     * is first one, then, when the index has doubled, the other */
    uint32_t frequency = fb_slot_frequency(x);
    uint64_t copy = fb_slot_with_frequency(x, frequency != 0 ? frequency : 1) | SLOT_MOVING;
    if (target == SLOT_UNUSED || (fb_slot_tentative(target) && !fb_slot_same(target, copy)))
        swap(&s->to->slots[i], target, copy);
    else if (fb_slot_tentative(target))
        swap(&s->from->slots[i], x, fb_slot_with_frequency(x, 0) | SLOT_MOVING);
    else
        swap(&s->from->slots[i], x, 0); /* cannot happen; an entry is lost rather than doubled */
}

/* One step for pair i; true when nothing is left to do for it. */
static bool step_pair(const split *s, uint32_t i)
{
    uint64_t x = atomic_load(&s->from->slots[i]);
    uint64_t target = atomic_load(&s->to->slots[i]);
    uint32_t segment;
    if (x != 0 && fb_slot_segment(s->arena, x, &segment))
        fb_lane_hold(s->arena, s->lane, 1, segment);
    if (atomic_load(&s->from->slots[i]) != x || split_is_over(s))
        return false; /* over: what was read may be of after the split */
    bool stays = x == 0 || (!fb_slot_tentative(x) && key_stays(s, x));
    if (atomic_load(&s->from->slots[i]) != x)
        return false; /* what was read of the entry may be another's: the later segments of a run are not held */
    bool unused = target == SLOT_UNUSED;
    bool moved_on = fb_slot_moving(x) && fb_slot_moving(target) && fb_slot_same(x, target);
    if (stays) {
        if (!fb_slot_tentative(target) || unused)
            return true;
        swap(&s->to->slots[i], target, 0);
    } else if (!fb_slot_tentative(x)) {
        move_committed(s, i, x, target);
    } else if (moved_on) {
        swap(&s->to->slots[i], target, target & ~SLOT_MOVING);
    } else {
        swap(&s->from->slots[i], x, 0);
    }
    return false;
}

static bool pass(const split *s)
{
    bool done = true;
    for (uint32_t i = 0; i < BUCKET_SLOTS; i++)
        for (int t = 0; t < INDEX_TRIES && !split_is_over(s) && !step_pair(s, i); t++)
            done = false;
    return done;
}

void fb_index_help(forebay_arena *arena, uint32_t lane)
{
    uint64_t word = fb_index_word(arena);
    uint64_t n = word >> 1;
    if ((word & 1) == 0 || n < arena->geometry.index_initial || n + 1 >= fb_index_bucket_limit(arena))
        return;
    uint32_t source = (uint32_t)(n & ~(UINT64_C(1) << (63 - __builtin_clzll(n))));
    split s = {arena, lane, n, &arena->buckets[source], &arena->buckets[n], source};
    for (int t = 0; t < INDEX_TRIES && !split_is_over(&s); t++) {
        if (!pass(&s))
            continue;
        bool cleared = true;
        for (uint32_t i = 0; i < BUCKET_SLOTS; i++)
            cleared &= !swap(&s.to->slots[i], SLOT_UNUSED, 0);
        if (cleared)
            swap(&arena->super->index_word, word, (n + 1) << 1);
    }
    fb_lane_release(arena, lane, 1);
}

/* Give the segment after the index to it.  The claim keeps others off while it
 * is filled with U. */
static bool convert_segment(forebay_arena *arena, uint32_t lane, uint64_t capacity)
{
    uint64_t per_segment = arena->geometry.segment_size / sizeof(arena_bucket);
    uint64_t next = (capacity - arena->geometry.index_initial) / per_segment;
    if (next >= arena->geometry.segment_count / 2)
        return false;
    uint32_t segment = (uint32_t)next;
    if (fb_segment_state(fb_segment_load(arena, segment)) != SEGMENT_INDEX) {
        if (!fb_evict_take(arena, lane, segment, true))
            return false;
        fb_segment_begin(arena, segment, 1);
        _Atomic uint64_t *slots = (_Atomic uint64_t *)(void *)(arena->base + fb_segment_offset(arena, segment));
        for (uint64_t i = 0; i < per_segment * BUCKET_SLOTS; i++)
            atomic_store_explicit(&slots[i], SLOT_UNUSED, memory_order_relaxed);
        fb_segment_put(arena, segment, SEGMENT_INDEX, 0);
    }
    return swap(&arena->super->index_capacity, capacity, capacity + per_segment);
}

static void grow(forebay_arena *arena, uint32_t lane)
{
    fb_index_help(arena, lane);
    uint64_t word = fb_index_word(arena);
    uint64_t capacity = atomic_load_explicit(&arena->super->index_capacity, memory_order_acquire);
    if ((word & 1) != 0 || capacity < arena->geometry.index_initial || capacity >= fb_index_bucket_limit(arena))
        return;
    if (word >> 1 >= capacity) {
        convert_segment(arena, lane, capacity);
        return;
    }
    if (swap(&arena->super->index_word, word, word | 1))
        fb_index_help(arena, lane);
}

void fb_index_maybe_grow(forebay_arena *arena, uint32_t lane)
{
    if (atomic_load_explicit(&arena->load_average, memory_order_relaxed) > GROW_ABOVE)
        grow(arena, lane);
}

bool fb_index_grow_for_room(forebay_arena *arena, uint32_t lane, bool must_stay)
{
    uint32_t free_count = atomic_load_explicit(&arena->super->segments_free, memory_order_relaxed);
    if (!must_stay && free_count < arena->geometry.segment_count / PLENTY)
        return false;
    grow(arena, lane);
    return true;
}
