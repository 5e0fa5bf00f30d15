/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "colour.h"
#include "stat_channels.h"

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const forebay_channel_info *)a)->name, ((const forebay_channel_info *)b)->name);
}

void fb_channels_gather(forebay_arena *arena, channels_facts *facts)
{
    facts->count = 0;
    while (facts->count < CHANNELS_SHOWN_MAX && forebay_channel_at(arena, facts->count, &facts->channels[facts->count]))
        facts->count++;
    qsort(facts->channels, facts->count, sizeof(*facts->channels), compare_names);
}

uint32_t fb_channel_listeners(const forebay_channel_info *channel)
{
    uint32_t count = 0;
    for (size_t i = 0; i < FB_LISTENERS_MAX; i++)
        count += channel->pids[i] != 0;
    return count;
}

/* "pid 7, pid 8", or "nobody". */
static void print_listeners(const forebay_channel_info *channel)
{
    const char *between = "";
    for (size_t i = 0; i < FB_LISTENERS_MAX; i++)
        if (channel->pids[i] != 0) {
            printf("%spid %d", between, (int)channel->pids[i]);
            between = ", ";
        }
    puts(*between == '\0' ? "nobody" : "");
}

void fb_channels_print(const channels_facts *facts)
{
    if (facts->count == 0)
        return;
    fb_print_label("channels");
    printf("%u of %u\n", facts->count, CHANNELS_SHOWN_MAX);
    fb_print_coloured(FB_HEADING, "  %-20s %12s  %s", "name", "heard", "listeners");
    putchar('\n');
    for (uint32_t i = 0; i < facts->count; i++) {
        const forebay_channel_info *channel = &facts->channels[i];
        char age[32] = "never";
        if (channel->age_ms != UINT64_MAX)
            snprintf(age, sizeof(age), "%.1f s ago", (double)channel->age_ms / 1000);
        fputs("  ", stdout);
        int columns = fb_print_text(channel->name);
        printf("%*s %12s  ", columns < 20 ? 20 - columns : 0, "", age);
        print_listeners(channel);
    }
}

static void write_channel(fb_json *json, const forebay_channel_info *channel)
{
    fb_json_begin_object(json);
    fb_json_name(json, "name");
    fb_json_string(json, channel->name);
    fb_json_name(json, "age_ms");
    if (channel->age_ms != UINT64_MAX)
        fb_json_unsigned(json, channel->age_ms);
    else
        fb_json_null(json);
    fb_json_name(json, "listeners");
    fb_json_begin_array(json);
    for (size_t i = 0; i < FB_LISTENERS_MAX; i++)
        if (channel->pids[i] != 0)
            fb_json_signed(json, channel->pids[i]);
    fb_json_end_array(json);
    fb_json_end_object(json);
}

void fb_channels_write(fb_json *json, const channels_facts *facts)
{
    fb_json_name(json, "channels");
    fb_json_begin_array(json);
    for (uint32_t i = 0; i < facts->count; i++)
        write_channel(json, &facts->channels[i]);
    fb_json_end_array(json);
}
