/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <time.h>

#include "arena/pins.h"
#include "cache/channels.h"
#include "cache/dictionaries.h"
#include "cache/inspect.h"
#include "cache/leases.h"
#include "limit/limits.h"
#include "tier/tiers.h"

#define REPORTS_MAX 100u
/* Looks at what seems wrong in a live arena, a millisecond apart; one, once so much
 * was wrong that more of it makes no difference. */
#define LOOKS 20
static int looks_for(uint32_t found) { return found < REPORTS_MAX ? LOOKS : 1; }

typedef struct verification {
    forebay_arena *arena;
    void (*report)(void *context, const char *message);
    void *context;
    uint32_t found;
} verification;

static void found(verification *v, const char *what, const char *where, uint64_t at, uint64_t part)
{
    char message[200];
    snprintf(message, sizeof message, "%s (%s %llu.%llu)", what, where, (unsigned long long)at, (unsigned long long)part);
    if (v->found++ < REPORTS_MAX && v->report != NULL)
        v->report(v->context, message);
}

static void rest(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void verify_segment(verification *v, uint32_t segment)
{
    const char *what = NULL;
    int looks = looks_for(v->found);
    for (int i = 0; i < looks; i++) {
        if (i != 0)
            rest();
        uint64_t word = fb_segment_settle(v->arena, segment);
        what = fb_inspect_segment(v->arena, segment);
        if (what == NULL || (fb_segment_claimed(word) && i + 1 == looks))
            return; /* what a live owner has in hand is its own */
    }
    found(v, what, "segment", segment, 0);
}

static void verify_slot(verification *v, uint64_t bucket, uint32_t i)
{
    const char *what = fb_inspect_slot(v->arena, bucket, i);
    for (int t = 1; what != NULL && t < looks_for(v->found); t++) {
        rest();
        what = fb_inspect_slot(v->arena, bucket, i);
    }
    if (what != NULL)
        found(v, what, "bucket", bucket, i);
}

static bool pin_is_wrong(const verification *v, const arena_row *row, uint32_t i)
{
    uint64_t pin = atomic_load(&row->pins[i]);
    bool outside = (pin & UINT32_MAX) + (pin >> 32) > (uint64_t)v->arena->geometry.segment_count + 1;
    return pin != 0 && (outside || i >= fb_row_pins_used(row) || (atomic_load(&row->word) & 1) == 0);
}

static void verify_pins(verification *v, uint32_t r)
{
    const arena_row *row = &v->arena->rows[r];
    if (atomic_load(&row->pins_used) > ROW_PINS)
        found(v, "a row has more pins than there are", "row", r, 0);
    for (uint32_t i = 0; i < ROW_PINS; i++) {
        for (int t = 0; t < LOOKS && pin_is_wrong(v, row, i); t++) {
            rest();
            if (t + 1 == LOOKS)
                found(v, "a row nobody uses has a pin, or one of a segment that does not exist", "row", r, i);
        }
    }
}

static void verify_rows(verification *v)
{
    for (uint32_t r = 0; r < v->arena->geometry.row_count; r++) {
        const arena_row *row = &v->arena->rows[r];
        if ((atomic_load(&row->word) & 1) != 0 && r >= fb_rows_used(v->arena))
            found(v, "a row is in use that is counted as never used", "row", r, 0);
        for (uint32_t i = 0; i < ROW_LANES * LANE_HAZARDS; i++) {
            uint32_t held = atomic_load(&row->hazards[i / LANE_HAZARDS][i % LANE_HAZARDS]);
            bool in_use = atomic_load(&row->word) & 1;
            if (held > v->arena->geometry.segment_count || (held != 0 && !in_use && !(atomic_load(&row->word) & 1)
                && atomic_load(&row->hazards[i / LANE_HAZARDS][i % LANE_HAZARDS]) != 0))
                found(v, "a row nobody uses holds a segment, or one that does not exist", "row", r, i);
        }
        verify_pins(v, r);
    }
}

static void verify_table(verification *v, const char *(*inspect)(const forebay_arena *arena), const char *where)
{
    const char *what = inspect(v->arena);
    for (int t = 1; what != NULL && t < LOOKS; t++) {
        rest();
        what = inspect(v->arena);
    }
    if (what != NULL)
        found(v, what, where, 0, 0);
}

forebay_status forebay_arena_verify(forebay_arena *arena, void (*report)(void *context, const char *message), void *context)
{
    forebay_status status = fb_arena_enter(arena);
    if (status != FOREBAY_OK)
        return status;
    verification v = {arena, report, context, 0};
    fb_rows_sweep(arena);
    fb_segments_sweep(arena);
    const char *what = fb_inspect_geometry(arena);
    for (int t = 1; what != NULL && t < LOOKS; t++) {
        rest();
        what = fb_inspect_geometry(arena);
    }
    if (what != NULL) {
        found(&v, what, "index", fb_index_word(arena) >> 1, 0);
        return FOREBAY_CORRUPT; /* nothing else can be looked up */
    }
    verify_table(&v, fb_dictionaries_inspect, "dictionaries");
    verify_table(&v, fb_leases_inspect, "leases");
    verify_table(&v, fb_limits_inspect, "limits");
    verify_table(&v, fb_channels_inspect, "channels");
    verify_table(&v, fb_tiers_inspect, "tiers");
    for (uint32_t i = 0; i < arena->geometry.segment_count; i++)
        verify_segment(&v, i);
    uint64_t word = fb_index_word(arena);
    for (uint64_t b = 0; b < (word >> 1) + (word & 1); b++)
        for (uint32_t i = 0; i < BUCKET_SLOTS; i++)
            verify_slot(&v, b, i);
    verify_rows(&v);
    return v.found == 0 ? FOREBAY_OK : FOREBAY_CORRUPT;
}
