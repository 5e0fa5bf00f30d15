/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "colour.h"
#include "stat_limits.h"

#define SHOWN_MAX 8u /* processes of one limit in the text; as JSON all */

static int compare_pids(const void *a, const void *b)
{
    int32_t left = ((const forebay_limit_share *)a)->pid, right = ((const forebay_limit_share *)b)->pid;
    return (left > right) - (left < right);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const limit_facts *)a)->info.name, ((const limit_facts *)b)->info.name);
}

/* What is held and waited for is added up from the shares: of one moment. */
static bool gather_shares(forebay_arena *arena, uint32_t most, limit_facts *limit)
{
    limit->shares = calloc(most, sizeof(*limit->shares));
    if (limit->shares == NULL)
        return false;
    uint32_t count = forebay_limit_shares(arena, limit->info.name, limit->shares, most);
    limit->share_count = count < most ? count : most;
    qsort(limit->shares, limit->share_count, sizeof(*limit->shares), compare_pids);
    limit->info.held = limit->info.waiting = 0;
    for (uint32_t i = 0; i < limit->share_count; i++) {
        limit->info.held += limit->shares[i].held;
        limit->info.waiting += limit->shares[i].waiting;
    }
    return true;
}

forebay_status fb_limits_gather(forebay_arena *arena, const forebay_arena_info *info, limits_facts *facts)
{
    *facts = (limits_facts){ .most = info->limit_count };
    facts->limits = calloc(facts->most + 1, sizeof(*facts->limits));
    if (facts->limits == NULL)
        return FOREBAY_NOMEM;
    while (facts->count < facts->most && forebay_limit_at(arena, facts->count, &facts->limits[facts->count].info))
        if (!gather_shares(arena, info->row_count, &facts->limits[facts->count++]))
            return FOREBAY_NOMEM;
    qsort(facts->limits, facts->count, sizeof(*facts->limits), compare_names);
    return FOREBAY_OK;
}

void fb_limits_free(limits_facts *facts)
{
    for (uint32_t i = 0; facts->limits != NULL && i < facts->count; i++)
        free(facts->limits[i].shares);
    free(facts->limits);
}

/* "pid 7 holds 2; pid 8 holds 1, waits for 1". */
static void print_shares(const limit_facts *limit)
{
    const char *between = "";
    uint32_t shown = 0;
    for (uint32_t i = 0; i < limit->share_count; i++) {
        const forebay_limit_share *share = &limit->shares[i];
        if (shown++ >= SHOWN_MAX)
            continue;
        printf("%spid %d", between, (int)share->pid);
        if (share->held != 0)
            printf(" holds %u", share->held);
        if (share->waiting != 0)
            printf("%s %u", share->held != 0 ? ", waits for" : " waits for", share->waiting);
        between = "; ";
    }
    if (shown > SHOWN_MAX)
        printf("; and %u more: --json has them all", shown - SHOWN_MAX);
}

void fb_limits_print(const limits_facts *facts)
{
    fb_print_label("limits");
    printf("%u of %u\n", facts->count, facts->most);
    if (facts->count == 0)
        return;
    fb_print_coloured(FB_HEADING, "  %-20s %10s %12s %12s  %s", "name", "most", "held", "waiting", "processes");
    putchar('\n');
    for (uint32_t i = 0; i < facts->count; i++) {
        const limit_facts *limit = &facts->limits[i];
        fputs("  ", stdout);
        int columns = fb_print_text(limit->info.name);
        printf("%*s %10u %12u %12u  ", columns < 20 ? 20 - columns : 0, "", limit->info.most, limit->info.held,
               limit->info.waiting);
        print_shares(limit);
        putchar('\n');
    }
}

static void number(fb_json *json, const char *name, uint64_t value)
{
    fb_json_name(json, name);
    fb_json_unsigned(json, value);
}

static void write_limit(fb_json *json, const limit_facts *limit)
{
    fb_json_begin_object(json);
    fb_json_name(json, "name");
    fb_json_string(json, limit->info.name);
    number(json, "most", limit->info.most);
    number(json, "held", limit->info.held);
    number(json, "waiting", limit->info.waiting);
    fb_json_name(json, "processes");
    fb_json_begin_array(json);
    for (uint32_t i = 0; i < limit->share_count; i++) {
        fb_json_begin_object(json);
        fb_json_name(json, "pid");
        fb_json_signed(json, limit->shares[i].pid);
        number(json, "held", limit->shares[i].held);
        number(json, "waiting", limit->shares[i].waiting);
        fb_json_end_object(json);
    }
    fb_json_end_array(json);
    fb_json_end_object(json);
}

void fb_limits_write(fb_json *json, const limits_facts *facts)
{
    number(json, "limit_count", facts->most);
    fb_json_name(json, "limits");
    fb_json_begin_array(json);
    for (uint32_t i = 0; i < facts->count; i++)
        write_limit(json, &facts->limits[i]);
    fb_json_end_array(json);
}
