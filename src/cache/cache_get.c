/* SPDX-License-Identifier: Apache-2.0 */
/* Reads: copy out, then check that nothing moved.  docs/internals/concurrency.md. */
#include "arena/arena_clock.h"
#include "base/copy.h"
#include "cache/hit.h"
#include "cache/reading.h"

#define GET_TRIES 16
/* Keys of a batch whose memory is asked for at once: about the number of cache
 * lines a core can wait for. */
#define BATCH 16
/* Lines of 64 bytes to ask for before a length is known; the rest is streamed by
 * the hardware. */
#define GET_LINES 4
#define BATCH_LINES 8

typedef enum look_result { LOOK_FOUND, LOOK_NONE, LOOK_AGAIN } look_result;

/* Ask for the first lines of an entry at once: a cold one costs a wait for memory
 * a line otherwise.  (A wrong guess of the length costs bandwidth only.) */
static inline void ask_for_entry(const forebay_arena *arena, uint64_t slot, unsigned lines)
{
    const uint8_t *entry = arena->base + fb_slot_offset(slot);
    for (unsigned line = 0; line < lines; line++)
        __builtin_prefetch(entry + 64 * line);
}

static look_result find(forebay_arena *arena, const index_key *key, const index_look *look, read_match *match)
{
    uint64_t tag = fb_slot_tag(key->hash);
    __builtin_prefetch(&arena->buckets[look->bucket[1]]);
    for (uint32_t b = 0; b < look->count; b++) {
        arena_bucket *bucket = &arena->buckets[look->bucket[b]];
        for (uint32_t i = 0; i < BUCKET_SLOTS; i++) {
            match->slot = &bucket->slots[i];
            match->word = atomic_load_explicit(match->slot, memory_order_acquire);
            if (!fb_slot_matches(match->word, tag))
                continue;
            ask_for_entry(arena, match->word, GET_LINES);
            if (fb_entry_view_reading(arena, match->slot, match->word, &match->view) && fb_index_key_equal(key, &match->view))
                return LOOK_FOUND;
            fb_copy_fence();
            if (!fb_slot_unchanged(match))
                return LOOK_AGAIN; /* what was compared may be another life's bytes */
        }
    }
    return LOOK_NONE;
}

static forebay_status copy_out(forebay_cache *cache, read_match *match, const forebay_sink *sink, size_t item, bool *torn)
{
    forebay_arena *arena = cache->arena;
    entry_view *view = &match->view;
    *torn = true;
    if (!fb_entry_stable(arena, view)) /* before a length is believed */
        return FOREBAY_OK;
    void *room = sink->room(sink->context, item, view->value_length, (forebay_kind)view->kind);
    if (room == NULL)
        return FOREBAY_NOMEM;
    fb_copy_out(room, view->value, view->value_length);
    /* later segments of a run have lives of their own: the entry was whole if it is still there */
    bool is_run = view->units > fb_segment_units(arena);
    *torn = !fb_entry_stable(arena, view) || (is_run && !fb_slot_unchanged(match));
    return FOREBAY_OK;
}

__attribute__((noinline)) static forebay_status copy_out_held(forebay_cache *cache, read_match *match, const forebay_sink *sink, size_t item, bool *torn)
{
    forebay_arena *arena = cache->arena;
    uint32_t lane = fb_lane_enter(arena);
    fb_lane_hold(arena, lane, 0, match->view.segment);
    forebay_status status = copy_out(cache, match, sink, item, torn);
    fb_lane_release(arena, lane, 0);
    fb_lane_leave(arena, lane);
    return status;
}

/* A miss while the bucket is being split may be an entry on the move: finish it. */
__attribute__((noinline)) static void help_split(forebay_arena *arena)
{
    uint32_t lane = fb_lane_enter(arena);
    fb_index_help(arena, lane);
    fb_lane_leave(arena, lane);
}

/* Copy out what was found.  SERVE_AGAIN: it changed meanwhile; SERVED: with *status. */
__attribute__((always_inline)) static inline serve_result serve(forebay_cache *cache, const index_key *key,
                                                                read_match *match, const forebay_sink *sink,
                                                                size_t item, uint64_t now, forebay_status *status)
{
    forebay_arena *arena = cache->arena;
    if (!fb_index_readable(arena, key, &match->view, now))
        return fb_entry_stable(arena, &match->view) ? SERVE_EXPIRED : SERVE_AGAIN;
    if (__builtin_expect((match->view.header & ENTRY_PACKED) != 0, 0))
        return fb_serve_packed(cache, key, match, sink, item, now, status);
    bool torn;
    *status = match->view.value_length > HOLD_ABOVE ? copy_out_held(cache, match, sink, item, &torn)
                                                    : copy_out(cache, match, sink, item, &torn);
    if (*status != FOREBAY_OK)
        return SERVED;
    if (torn)
        return SERVE_AGAIN;
    fb_note_hit(cache, key, match->slot, match->word, match->view.units);
    return SERVED;
}

/* Flattened: the calls of a hit cost as much as its work. */
__attribute__((flatten)) static forebay_status get_one(forebay_cache *cache, const index_key *key, const forebay_sink *sink, size_t item, uint64_t now)
{
    forebay_arena *arena = cache->arena;
    read_match match;
    forebay_status status;
    for (int t = 0; t < GET_TRIES && !fb_cache_is_behind(cache, key, now); t++) {
        uint64_t moves = fb_index_moves(arena);
        index_look look = fb_index_look(arena, key->hash);
        look_result result = find(arena, key, &look, &match);
        if (result == LOOK_AGAIN)
            continue;
        if (result == LOOK_NONE) {
            if (__builtin_expect(fb_index_look_is_split(arena, &look), 0))
                help_split(arena);
            else if (__builtin_expect(fb_index_word(arena) == look.word && fb_index_moves(arena) == moves, 1))
                break;
            continue;
        }
        serve_result served = serve(cache, key, &match, sink, item, now, &status);
        if (served == SERVED)
            return status;
        if (served == SERVE_EXPIRED)
            break;
    }
    if (fb_policy_sampled(arena, key->hash))
        fb_policy_record(arena, key->hash, 0, false);
    fb_cache_count(cache, COUNTER_MISSES);
    return FOREBAY_MISS;
}

forebay_status forebay_get(forebay_cache *cache, const void *key, size_t key_length, const forebay_sink *sink)
{
    index_key k;
    forebay_status status = fb_cache_begin(cache, key, key_length, &k);
    if (status != FOREBAY_OK)
        return status;
    return get_one(cache, &k, sink, 0, fb_time_of_get(cache->arena));
}

typedef struct buffer_sink {
    void *buffer;
    size_t capacity, length;
    forebay_kind kind;
    bool too_small;
} buffer_sink;

static void *buffer_room(void *context, size_t item, size_t length, forebay_kind kind)
{
    (void)item;
    buffer_sink *sink = context;
    sink->length = length;
    sink->kind = kind;
    sink->too_small = length > sink->capacity;
    return sink->too_small ? NULL : sink->buffer;
}

forebay_status forebay_get_into(forebay_cache *cache, const void *key, size_t key_length, void *buffer,
                                size_t capacity, size_t *length_out, forebay_kind *kind_out)
{
    static char nothing;
    buffer_sink sink = {.buffer = buffer != NULL ? buffer : &nothing, .capacity = buffer != NULL ? capacity : 0};
    forebay_status status = forebay_get(cache, key, key_length, &(forebay_sink){buffer_room, &sink});
    if (status == FOREBAY_NOMEM && sink.too_small)
        status = FOREBAY_TOOBIG;
    if (length_out != NULL)
        *length_out = sink.length;
    if (kind_out != NULL)
        *kind_out = sink.kind;
    return status;
}

/* A bucket's first slot with this tag; NULL: none. */
static _Atomic uint64_t *likely_slot(arena_bucket *bucket, uint64_t tag)
{
    for (uint32_t s = 0; s < BUCKET_SLOTS; s++)
        if (fb_slot_matches(atomic_load_explicit(&bucket->slots[s], memory_order_relaxed), tag))
            return &bucket->slots[s];
    return NULL;
}

/* Ask for the buckets of all keys, then for the entries their slots point to,
 * so that the waits for memory overlap.  Where each key is likely to be found
 * goes to `likely`, NULL where it is not in sight. */
static void prefetch(forebay_arena *arena, const index_key *keys, const forebay_status *usable, size_t count,
                     _Atomic uint64_t **likely)
{
    index_look looks[BATCH];
    for (size_t i = 0; i < count; i++) {
        if (usable[i] != FOREBAY_OK)
            continue;
        looks[i] = fb_index_look(arena, keys[i].hash);
        __builtin_prefetch(&arena->buckets[looks[i].bucket[0]]);
        __builtin_prefetch(&arena->buckets[looks[i].bucket[1]]);
    }
    for (size_t i = 0; i < count; i++) {
        likely[i] = NULL;
        if (usable[i] != FOREBAY_OK)
            continue;
        uint64_t tag = fb_slot_tag(keys[i].hash);
        likely[i] = likely_slot(&arena->buckets[looks[i].bucket[0]], tag);
        if (likely[i] == NULL)
            likely[i] = likely_slot(&arena->buckets[looks[i].bucket[1]], tag);
        uint32_t segment;
        uint64_t word = likely[i] == NULL ? 0 : atomic_load_explicit(likely[i], memory_order_relaxed);
        if (!fb_slot_segment(arena, word, &segment))
            continue;
        __builtin_prefetch(&arena->segments[segment].generation);
        ask_for_entry(arena, word, BATCH_LINES);
    }
}

/* Get from the slot where the key is likely to be found: a hit there is as good
 * as any.  False: it is to be looked for. */
static bool get_likely(forebay_cache *cache, const index_key *key, _Atomic uint64_t *slot, const forebay_sink *sink,
                       size_t item, uint64_t now, forebay_status *status)
{
    forebay_arena *arena = cache->arena;
    read_match match = {.slot = slot};
    if (slot == NULL || fb_cache_is_behind(cache, key, now))
        return false;
    match.word = atomic_load_explicit(slot, memory_order_acquire);
    return fb_slot_matches(match.word, fb_slot_tag(key->hash))
           && fb_entry_view_reading(arena, slot, match.word, &match.view) && fb_index_key_equal(key, &match.view)
           && serve(cache, key, &match, sink, item, now, status) == SERVED;
}

forebay_status forebay_get_many(forebay_cache *cache, const forebay_key *keys, size_t count, const forebay_sink *sink,
                                forebay_status *status)
{
    uint64_t now = fb_time_of_get(cache->arena);
    for (size_t done = 0; done < count; done += BATCH) {
        size_t batch = count - done < BATCH ? count - done : BATCH;
        index_key found[BATCH];
        for (size_t i = 0; i < batch; i++)
            status[done + i] = fb_cache_begin(cache, keys[done + i].data, keys[done + i].length, &found[i]);
        _Atomic uint64_t *likely[BATCH];
        prefetch(cache->arena, found, status + done, batch, likely);
        for (size_t i = 0; i < batch; i++) {
            if (status[done + i] == FOREBAY_OK
                && !get_likely(cache, &found[i], likely[i], sink, done + i, now, &status[done + i]))
                status[done + i] = get_one(cache, &found[i], sink, done + i, now);
            if (status[done + i] < 0)
                return status[done + i];
        }
    }
    return FOREBAY_OK;
}
