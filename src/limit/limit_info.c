/* SPDX-License-Identifier: Apache-2.0 */
/* Limits, for people: who holds how many. */
#include <string.h>

#include "limit/limits.h"

/* Does the row, as it is now, hold permits or wait? */
static bool share_of(const forebay_limit *limit, uint32_t row, forebay_limit_share *share)
{
    uint64_t there = atomic_load(&limit->arena->rows[row].word);
    if ((there & 1) == 0)
        return false;
    row_owner owner = (row_owner)row | (row_owner)(uint32_t)(there >> 1) << 12;
    *share = (forebay_limit_share){
        .pid = atomic_load(&limit->arena->rows[row].pid),
        .held = fb_permits_of(limit, owner),
    };
    for (uint32_t i = 0; i < limit->arena->geometry.place_count; i++)
        share->waiting += atomic_load(&limit->places[i].word) == (owner | PLACE_TAKEN);
    return (share->held != 0 || share->waiting != 0) && !fb_row_is_dead(limit->arena, owner);
}

uint32_t forebay_limit_shares(forebay_arena *arena, const char *name, forebay_limit_share *shares, uint32_t capacity)
{
    uint32_t found = 0;
    if (fb_arena_enter(arena) != FOREBAY_OK)
        return 0;
    int number = fb_limit_find(arena, name);
    if (number < 0)
        return 0;
    forebay_limit limit = fb_limit_handle(arena, (uint32_t)number);
    for (uint32_t row = 0; row < fb_rows_used(arena); row++) {
        forebay_limit_share share;
        if (!share_of(&limit, row, &share))
            continue;
        if (found < capacity)
            shares[found] = share;
        found++;
    }
    return found;
}

static void fill_info(const forebay_limit *limit, forebay_limit_info *info)
{
    *info = (forebay_limit_info){.most = fb_limit_most(limit)};
    memcpy(info->name, limit->record->name, FOREBAY_NAME_MAX);
    for (uint32_t row = 0; row < fb_rows_used(limit->arena); row++) {
        forebay_limit_share share;
        if (!share_of(limit, row, &share))
            continue;
        info->held += share.held;
        info->holders += share.held != 0;
        info->waiting += share.waiting;
    }
}

bool forebay_limit_at(forebay_arena *arena, uint32_t i, forebay_limit_info *info)
{
    if (fb_arena_enter(arena) != FOREBAY_OK)
        return false;
    for (uint32_t n = 0; n < arena->geometry.limit_count; n++) {
        forebay_limit limit = fb_limit_handle(arena, n);
        if (!fb_limit_is_live(limit.word) || i-- != 0)
            continue;
        fill_info(&limit, info);
        return true;
    }
    return false;
}

const char *fb_limits_inspect(const forebay_arena *arena)
{
    const arena_geometry *g = &arena->geometry;
    for (uint32_t i = 0; i < g->limit_count; i++) {
        const arena_limit *record = &arena->limits[i];
        uint64_t word = atomic_load(&record->word);
        if ((word & 3) > LIMIT_LIVE)
            return "a limit has no state";
        if (fb_limit_is_live(word)
            && (record->name[0] == 0 || record->name[sizeof record->name - 1] != 0 || atomic_load(&record->most) == 0
                || atomic_load(&record->most) > g->permit_count))
            return "a limit has no name, or a number of permits that there cannot be";
    }
    for (uint32_t i = 0; i < g->limit_count * g->permit_count; i++) {
        uint64_t word = atomic_load(&arena->permits[i]);
        if (fb_permit_is_held(word) && fb_permit_row(word) >= g->row_count)
            return "a permit has an owner that there cannot be";
    }
    for (uint32_t i = 0; i < g->limit_count * g->place_count; i++) {
        uint64_t word = atomic_load(&arena->places[i].word);
        if (word != 0 && ((word & PLACE_TAKEN) == 0 || (word & 0xfff) >= g->row_count))
            return "a place in a queue has an owner that there cannot be";
    }
    return NULL;
}
