/* SPDX-License-Identifier: Apache-2.0 */
/* What `forebay stat` says of channels. */
#ifndef FOREBAY_CLI_STAT_CHANNELS_H
#define FOREBAY_CLI_STAT_CHANNELS_H

#include <forebay/forebay.h>

#include "json.h"

#define CHANNELS_SHOWN_MAX 8u /* as many as an arena has */
#define FB_LISTENERS_MAX (sizeof(((forebay_channel_info *)0)->pids) / sizeof(int32_t)) /* of a channel */

typedef struct channels_facts {
    forebay_channel_info channels[CHANNELS_SHOWN_MAX]; /* by name */
    uint32_t count;
} channels_facts;

void fb_channels_gather(forebay_arena *arena, channels_facts *facts);
/* How many processes listen. */
uint32_t fb_channel_listeners(const forebay_channel_info *channel);
/* Nothing if there are none. */
void fb_channels_print(const channels_facts *facts);
/* A field of the object that is being written. */
void fb_channels_write(fb_json *json, const channels_facts *facts);

#endif
