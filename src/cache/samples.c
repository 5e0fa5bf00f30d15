/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/samples.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/copy.h"

#define SAMPLE_MAX ((size_t)64 << 10) /* bytes of a value; longer ones gain little from a dictionary */

typedef struct sampling {
    forebay_arena *arena;
    uint32_t cache_tag, lane;
    size_t wanted, per_segment;
    value_samples *train, *tried;
} sampling;

/* Memory that goes back to the kernel, all of it, when it is freed: the allocator
 * would keep ten megabytes for good. */
static void *map_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static bool make_samples(value_samples *s, size_t wanted)
{
    s->room = wanted + SAMPLE_MAX;
    s->count_room = s->room / PACK_MIN + 1;
    s->bytes = map_memory(s->room);
    s->lengths = map_memory(s->count_room * sizeof *s->lengths);
    return s->bytes != NULL && s->lengths != NULL;
}

/* Add the value of an entry whose segment is held. */
static void add(sampling *s, const entry_view *view)
{
    unpacked_value raw = {0};
    size_t length = view->value_length;
    if (view->header & ENTRY_PACKED) {
        if (fb_packed_read(s->arena, view, &raw) != FOREBAY_OK)
            return;
        length = raw.length;
    }
    if (length >= PACK_MIN && length <= SAMPLE_MAX) {
        bool is_tried = (s->train->count + s->tried->count) % SAMPLES_TRIED_EVERY == 0;
        value_samples *to = is_tried ? s->tried : s->train;
        if (length <= to->room - to->total && to->count < to->count_room) {
            fb_copy_out(to->bytes + to->total, raw.data != NULL ? raw.data : view->value, length);
            to->lengths[to->count++] = length;
            to->total += length;
        }
    }
    free(raw.data);
}

static size_t taken(const sampling *s) { return s->train->total + s->tried->total; }

/* The entries of a segment: what is held is not reused, so that what lies before
 * the tail stays as it is. */
static void walk(sampling *s, uint32_t segment)
{
    forebay_arena *arena = s->arena;
    const arena_segment *record = &arena->segments[segment];
    uint64_t generation = atomic_load(&record->generation);
    fb_lane_hold(arena, s->lane, 0, segment);
    enum segment_state state = fb_segment_state(fb_segment_load(arena, segment));
    if (state == SEGMENT_FREE || state == SEGMENT_TAKEN || state == SEGMENT_INDEX || state == SEGMENT_BODY
        || atomic_load(&record->generation) != generation)
        return;
    uint32_t tail = atomic_load_explicit(&record->tail, memory_order_acquire), at = 0;
    size_t until = taken(s) + s->per_segment;
    if (tail > fb_segment_units(arena)) /* a run's value is too long */
        return;
    while (at < tail && taken(s) < until) {
        entry_view view;
        if (!fb_entry_view_at(arena, segment, fb_segment_offset(arena, segment) + (uint64_t)at * ARENA_ALIGN, &view)
            || view.units > tail - at)
            return;
        if (view.cache_tag == s->cache_tag && view.kind <= FOREBAY_KIND_MSGPACK && view.value_length != 0)
            add(s, &view);
        at += (uint32_t)view.units;
    }
}

static bool is_cancelled(const _Atomic bool *cancelled)
{
    return cancelled != NULL && atomic_load_explicit(cancelled, memory_order_relaxed);
}

bool fb_samples_take(forebay_arena *arena, uint32_t cache_tag, size_t wanted, const _Atomic bool *cancelled, value_samples *train,
                     value_samples *tried)
{
    uint32_t count = arena->geometry.segment_count;
    *train = *tried = (value_samples){0};
    if (!make_samples(train, wanted) || !make_samples(tried, wanted / SAMPLES_TRIED_EVERY * 2))
        return false;
    sampling s = {.arena = arena, .cache_tag = cache_tag, .wanted = wanted, .train = train, .tried = tried, .lane = fb_lane_enter(arena)};
    /* a little of every segment first, then more of those that have more */
    for (s.per_segment = wanted / count + 1024; taken(&s) < wanted && !is_cancelled(cancelled); s.per_segment *= 16) {
        train->total = train->count = tried->total = tried->count = 0; /* (from the beginning) */
        for (uint32_t i = 0; i < count && taken(&s) < wanted && !is_cancelled(cancelled); i++)
            walk(&s, (uint32_t)(((uint64_t)i * 2654435761u + 1) % count)); /* not in order of age */
        if (s.per_segment >= wanted)
            break;
    }
    fb_lane_release(arena, s.lane, 0);
    fb_lane_leave(arena, s.lane);
    return true;
}

void fb_samples_clear(value_samples *samples)
{
    if (samples->bytes != NULL)
        munmap(samples->bytes, samples->room);
    if (samples->lengths != NULL)
        munmap(samples->lengths, samples->count_room * sizeof *samples->lengths);
    *samples = (value_samples){0};
}
