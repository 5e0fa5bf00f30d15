/* SPDX-License-Identifier: Apache-2.0 */
/* Views: read in place, the segment pinned; where that cannot be, a copy. */
#include <stdlib.h>

#include "arena/arena_clock.h"
#include "arena/pins.h"
#include "cache/hit.h"

#define VIEW_TRIES 8

/* Pin what the slot leads to; PIN_NONE with `*again`: it was another entry by then. */
static uint32_t pin_match(forebay_arena *arena, const index_match *match, bool *again)
{
    uint32_t units = fb_segment_units(arena);
    uint32_t count = (uint32_t)((match->view.units + units - 1) / units);
    uint32_t pin = fb_pin(arena, match->view.segment, count);
    *again = false;
    if (pin == PIN_NONE || fb_slot_same(atomic_load(match->slot), match->word))
        return pin;
    fb_unpin(arena, pin);
    *again = true;
    return PIN_NONE;
}

/* A view without a copy; false: it takes one, or there is no entry. */
static bool view_pinned(forebay_cache *cache, const index_key *key, uint32_t lane, forebay_view *view)
{
    forebay_arena *arena = cache->arena;
    uint64_t now = fb_now_ms(arena);
    bool again = !fb_cache_is_behind(cache, key, now);
    for (int t = 0; t < VIEW_TRIES && again; t++) {
        index_match match;
        index_look look = fb_index_look_settled(arena, lane, key->hash);
        if (!fb_index_find_held(arena, lane, key, &look, &match) || !fb_index_readable(arena, key, &match.view, now)
            || (match.view.header & ENTRY_PACKED))
            return false;
        view->pin = pin_match(arena, &match, &again);
        if (view->pin == PIN_NONE)
            continue;
        view->data = match.view.value;
        view->length = match.view.value_length;
        view->kind = (forebay_kind)match.view.kind;
        fb_note_hit(cache, key, match.slot, match.word, match.view.units);
        return true;
    }
    return false;
}

static void *room_for_copy(void *context, size_t item, size_t length, forebay_kind kind)
{
    forebay_view *view = context;
    (void)item;
    void *room = realloc(view->copy, length != 0 ? length : 1);
    if (room == NULL)
        return NULL;
    view->data = view->copy = room;
    view->length = length;
    view->kind = kind;
    return room;
}

forebay_status forebay_view_open(forebay_cache *cache, const void *data, size_t length, forebay_view *view)
{
    index_key key;
    *view = (forebay_view){0};
    forebay_status status = fb_cache_begin(cache, data, length, &key);
    if (status != FOREBAY_OK)
        return status;
    forebay_arena *arena = cache->arena;
    uint32_t lane = fb_lane_enter(arena);
    view->zero_copy = view_pinned(cache, &key, lane, view);
    fb_lane_leave(arena, lane);
    if (!view->zero_copy)
        status = forebay_get(cache, data, length, &(forebay_sink){room_for_copy, view});
    if (status != FOREBAY_OK) {
        free(view->copy);
        *view = (forebay_view){0};
        return status;
    }
    view->arena = arena;
    atomic_fetch_add(&arena->views, 1);
    return FOREBAY_OK;
}

void forebay_view_close(forebay_view *view)
{
    if (view->arena == NULL)
        return;
    if (view->zero_copy)
        fb_unpin(view->arena, view->pin);
    free(view->copy);
    atomic_fetch_sub(&view->arena->views, 1);
    *view = (forebay_view){0};
}
