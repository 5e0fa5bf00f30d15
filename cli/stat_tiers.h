/* SPDX-License-Identifier: Apache-2.0 */
/* What `forebay stat` says of tiers. */
#ifndef FOREBAY_CLI_STAT_TIERS_H
#define FOREBAY_CLI_STAT_TIERS_H

#include <forebay/forebay.h>

#include "json.h"

typedef struct tier_facts {
    forebay_tier_info info;
    forebay_tier_user *users; /* by pid */
    uint32_t user_count;
} tier_facts;

typedef struct tiers_facts {
    tier_facts tiers[FOREBAY_TIERS_MAX]; /* by name */
    uint32_t count;
} tiers_facts;

/* Gather them; also on failure the caller ends it with fb_tiers_free(). */
forebay_status fb_tiers_gather(forebay_arena *arena, const forebay_arena_info *info, tiers_facts *facts);
void fb_tiers_free(tiers_facts *facts);

/* Nothing if there are none. */
void fb_tiers_print(const tiers_facts *facts);
/* A field of the object that is being written. */
void fb_tiers_write(fb_json *json, const tiers_facts *facts);

#endif
