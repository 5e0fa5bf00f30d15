/* SPDX-License-Identifier: Apache-2.0 */
#include "stat_tiers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "colour.h"

#define SHOWN_MAX 8u /* processes of one tier in the text; as JSON all */

static int compare_pids(const void *a, const void *b)
{
    int32_t left = ((const forebay_tier_user *)a)->pid, right = ((const forebay_tier_user *)b)->pid;
    return (left > right) - (left < right);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const tier_facts *)a)->info.name, ((const tier_facts *)b)->info.name);
}

/* Who uses it is counted from the list: of one moment. */
static bool gather_users(forebay_arena *arena, uint32_t most, tier_facts *tier)
{
    tier->users = calloc(most, sizeof(*tier->users));
    if (tier->users == NULL)
        return false;
    uint32_t count = forebay_tier_users(arena, tier->info.name, tier->users, most);
    tier->user_count = count < most ? count : most;
    qsort(tier->users, tier->user_count, sizeof(*tier->users), compare_pids);
    tier->info.users = tier->user_count;
    tier->info.left_out = tier->info.not_stored = 0;
    for (uint32_t i = 0; i < tier->user_count; i++) {
        bool is_left_out = (tier->users[i].use & FOREBAY_TIER_LEFT_OUT) != 0;
        tier->info.left_out += is_left_out;
        tier->info.not_stored += !is_left_out && (tier->users[i].use & FOREBAY_TIER_NOT_STORED) != 0;
    }
    return true;
}

/* Met before: while others come and go one may be met twice. */
static bool is_known(const tiers_facts *facts, const char *name)
{
    for (uint32_t i = 0; i < facts->count; i++)
        if (strcmp(facts->tiers[i].info.name, name) == 0)
            return true;
    return false;
}

forebay_status fb_tiers_gather(forebay_arena *arena, const forebay_arena_info *info, tiers_facts *facts)
{
    *facts = (tiers_facts){ .count = 0 };
    for (uint32_t i = 0; i < FOREBAY_TIERS_MAX && forebay_tier_at(arena, i, &facts->tiers[facts->count].info); i++) {
        if (is_known(facts, facts->tiers[facts->count].info.name))
            continue;
        if (!gather_users(arena, info->row_count, &facts->tiers[facts->count++]))
            return FOREBAY_NOMEM;
    }
    qsort(facts->tiers, facts->count, sizeof(*facts->tiers), compare_names);
    return FOREBAY_OK;
}

void fb_tiers_free(tiers_facts *facts)
{
    for (uint32_t i = 0; i < facts->count; i++)
        free(facts->tiers[i].users);
}

/* "used by 4", "left out by 1 of 4", "only read by 1 of 4": nothing is stored in it. */
static const char *state_of(const forebay_tier_info *info, char *text, size_t size)
{
    if (info->users == 0)
        snprintf(text, size, "nobody uses it");
    else if (info->left_out != 0)
        snprintf(text, size, "left out by %u of %u", info->left_out, info->users);
    else if (info->not_stored != 0)
        snprintf(text, size, "only read by %u of %u", info->not_stored, info->users);
    else
        snprintf(text, size, "used by %u", info->users);
    return text;
}

/* ": pid 7, pid 8", of those who leave it out, or store nothing in it. */
static void print_who(const tier_facts *tier)
{
    const char *between = ": ";
    uint32_t use = tier->info.left_out != 0 ? FOREBAY_TIER_LEFT_OUT : FOREBAY_TIER_NOT_STORED, shown = 0;
    for (uint32_t i = 0; i < tier->user_count; i++) {
        if ((tier->users[i].use & use) == 0 || shown++ >= SHOWN_MAX)
            continue;
        printf("%spid %d", between, (int)tier->users[i].pid);
        between = ", ";
    }
    if (shown > SHOWN_MAX)
        printf(", and %u more: --json has them all", shown - SHOWN_MAX);
}

void fb_tiers_print(const tiers_facts *facts)
{
    if (facts->count == 0)
        return;
    char text[48];
    fb_print_label("tiers");
    printf("%u of %u\n", facts->count, FOREBAY_TIERS_MAX);
    fb_print_coloured(FB_HEADING, "  %-28s %10s %10s %10s %8s %8s  %s", "name", "hits", "misses", "stored", "errors", "skipped",
                      "processes");
    putchar('\n');
    for (uint32_t i = 0; i < facts->count; i++) {
        const tier_facts *tier = &facts->tiers[i];
        const uint64_t *counts = tier->info.counts;
        fputs("  ", stdout);
        int columns = fb_print_text(tier->info.name);
        printf("%*s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %8" PRIu64 " %8" PRIu64 "  ", columns < 28 ? 28 - columns : 0, "",
               counts[FOREBAY_TIER_HITS], counts[FOREBAY_TIER_MISSES], counts[FOREBAY_TIER_STORED],
               counts[FOREBAY_TIER_ERRORS], counts[FOREBAY_TIER_SKIPPED]);
        fb_print_coloured(tier->info.left_out != 0 ? FB_BAD : tier->info.not_stored != 0 ? FB_WARNING : FB_GOOD, "%s",
                          state_of(&tier->info, text, sizeof(text)));
        print_who(tier);
        putchar('\n');
    }
}

static void write_user(fb_json *json, const forebay_tier_user *user)
{
    fb_json_begin_object(json);
    fb_json_name(json, "pid");
    fb_json_signed(json, user->pid);
    fb_json_name(json, "left_out");
    fb_json_bool(json, (user->use & FOREBAY_TIER_LEFT_OUT) != 0);
    fb_json_name(json, "not_stored");
    fb_json_bool(json, (user->use & FOREBAY_TIER_NOT_STORED) != 0);
    fb_json_end_object(json);
}

static void write_counts(fb_json *json, const forebay_tier_info *info)
{
    for (uint32_t i = 0; i < FOREBAY_TIER_COUNTS; i++) {
        fb_json_name(json, forebay_tier_count_name((forebay_tier_count)i));
        fb_json_unsigned(json, info->counts[i]);
    }
}

static void write_tier(fb_json *json, const tier_facts *tier)
{
    fb_json_begin_object(json);
    fb_json_name(json, "name");
    fb_json_string(json, tier->info.name);
    write_counts(json, &tier->info);
    fb_json_name(json, "last_left_out_ms");
    if (tier->info.left_out_ms != UINT64_MAX)
        fb_json_unsigned(json, tier->info.left_out_ms);
    else
        fb_json_null(json);
    fb_json_name(json, "processes");
    fb_json_begin_array(json);
    for (uint32_t i = 0; i < tier->user_count; i++)
        write_user(json, &tier->users[i]);
    fb_json_end_array(json);
    fb_json_end_object(json);
}

void fb_tiers_write(fb_json *json, const tiers_facts *facts)
{
    fb_json_name(json, "tiers");
    fb_json_begin_array(json);
    for (uint32_t i = 0; i < facts->count; i++)
        write_tier(json, &facts->tiers[i]);
    fb_json_end_array(json);
}
