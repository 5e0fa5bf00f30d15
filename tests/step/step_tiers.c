/* SPDX-License-Identifier: Apache-2.0 */
#include "step_tiers.h"

#include <stdio.h>
#include <string.h>

#define NAME "redis://127.0.0.1:6379/0"
#define LEFT_OUT (FOREBAY_TIER_USED | FOREBAY_TIER_LEFT_OUT)

static forebay_tier *mine; /* the victim's */

static bool complain(const char *what, const char *name, uint64_t found)
{
    printf("tier %s: %s (%llu)\n", name, what, (unsigned long long)found);
    return false;
}

static bool find(forebay_arena *arena, const char *name, forebay_tier_info *info)
{
    for (uint32_t i = 0; forebay_tier_at(arena, i, info); i++)
        if (strcmp(info->name, name) == 0)
            return true;
    return complain("is not there", name, 0);
}

static forebay_tier *use_tier(forebay_arena *arena, const char *name)
{
    forebay_tier *tier = NULL;
    forebay_error error = {0};
    if (forebay_tier_open(arena, name, &tier, &error) != FOREBAY_OK)
        printf("tier %s: %s\n", name, error.message);
    return tier;
}

/* ---- before ---- */

bool step_tier_is_open(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    mine = use_tier(arena, NAME);
    return mine != NULL;
}

bool step_tiers_are_left(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    forebay_arena *another;
    char name[] = "left 0";
    if (forebay_arena_open_fd(forebay_arena_fd(arena), NULL, &another, NULL) != FOREBAY_OK)
        return false;
    bool good = true;
    for (; name[5] < '0' + (char)FOREBAY_TIERS_MAX; name[5]++) {
        forebay_tier *tier = use_tier(another, name);
        good = good && tier != NULL && forebay_tier_add(tier, FOREBAY_TIER_HITS, 5) == FOREBAY_OK;
        forebay_tier_close(tier);
    }
    return forebay_arena_close(another) == FOREBAY_OK && good;
}

/* ---- operations ---- */

bool step_do_use_tier(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    return use_tier(arena, NAME) != NULL;
}

bool step_do_leave_tier_out(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    (void)cache;
    return forebay_tier_say(mine, LEFT_OUT) == FOREBAY_OK;
}

bool step_do_count_in_tier(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena;
    (void)cache;
    return forebay_tier_add(mine, FOREBAY_TIER_HITS, 1) == FOREBAY_OK;
}

/* ---- after ---- */

static bool can_be_used(forebay_arena *arena, const char *name)
{
    forebay_tier_info info;
    forebay_tier *tier = use_tier(arena, name);
    if (tier == NULL)
        return false;
    bool said = forebay_tier_say(tier, LEFT_OUT) == FOREBAY_OK && forebay_tier_add(tier, FOREBAY_TIER_HITS, 1) == FOREBAY_OK;
    forebay_tier_close(tier);
    if (!said || !find(arena, name, &info))
        return complain("cannot be used", name, said);
    if (info.users != 1 || info.left_out != 1)
        return complain("has users that there are not", name, info.users);
    return info.counts[FOREBAY_TIER_HITS] == 1 || complain("counts what another tier had", name, info.counts[FOREBAY_TIER_HITS]);
}

bool step_tiers_live_on(forebay_arena *arena)
{
    char name[] = "new 0";
    forebay_tier_info info;
    for (uint32_t i = 0; forebay_tier_at(arena, i, &info); i++)
        if (info.name[0] == 0)
            return complain("has no name", "?", i);
    for (; name[4] < '0' + (char)FOREBAY_TIERS_MAX; name[4]++)
        if (!can_be_used(arena, name))
            return false;
    return true;
}
