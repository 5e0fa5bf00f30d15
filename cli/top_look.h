/* SPDX-License-Identifier: Apache-2.0 */
/* One look of `forebay top` at an arena. */
#ifndef FOREBAY_CLI_TOP_LOOK_H
#define FOREBAY_CLI_TOP_LOOK_H

#include <forebay/forebay.h>

#include "stat_facts.h"

/* Where the path leads that the arena was opened by. */
typedef enum top_file {
    TOP_FILE_SAME,
    TOP_FILE_REMOVED,  /* nowhere */
    TOP_FILE_REPLACED, /* to another file */
} top_file;

typedef struct top_look {
    double seconds; /* of fb_look_clock() */
    top_file file;
    arena_facts facts;
    forebay_cache_room *rooms; /* of the part of the entries that was looked at */
    uint32_t room_count;
    double part;
} top_look;

/* Seconds of a clock that only goes on. */
double fb_look_clock(void);

/* Look at the arena: no lock, nothing is written to it, and gets are not counted.  Of the entries a sample is
 * looked at, another one at every `turn`.  `path` is kept.  Also on failure the caller ends it with fb_look_free(). */
forebay_status fb_look_take(forebay_arena *arena, const char *path, uint64_t turn, top_look *look);
/* A zeroed one is fine. */
void fb_look_free(top_look *look);

#endif
