/* SPDX-License-Identifier: Apache-2.0 */
/* What `forebay stat` says of limits. */
#ifndef FOREBAY_CLI_STAT_LIMITS_H
#define FOREBAY_CLI_STAT_LIMITS_H

#include <forebay/forebay.h>

#include "json.h"

typedef struct limit_facts {
    forebay_limit_info info;
    forebay_limit_share *shares; /* by pid */
    uint32_t share_count;
} limit_facts;

typedef struct limits_facts {
    limit_facts *limits; /* by name */
    uint32_t count, most; /* there are; there can be */
} limits_facts;

/* Gather them; also on failure the caller ends it with fb_limits_free(). */
forebay_status fb_limits_gather(forebay_arena *arena, const forebay_arena_info *info, limits_facts *facts);
void fb_limits_free(limits_facts *facts);

void fb_limits_print(const limits_facts *facts);
/* Fields of the object that is being written. */
void fb_limits_write(fb_json *json, const limits_facts *facts);

#endif
