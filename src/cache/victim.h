/* SPDX-License-Identifier: Apache-2.0 */
/* Which segment to evict from next. */
#ifndef FB_VICTIM_H
#define FB_VICTIM_H

#include "cache/quota.h"

typedef enum victim_search { VICTIM_CLAIMED, VICTIM_NOT_NEEDED, VICTIM_NONE } victim_search;

/* Claim (EVICTING) the next victim, `*victim_out`, whose word was `*word_out`:
 * of all groups that have more than their share, or, with a `scope`, of that
 * group.  VICTIM_NOT_NEEDED: more than `enough` segments are free; with a scope:
 * its group has no more than `enough`. */
victim_search fb_victim_claim(forebay_arena *arena, uint32_t scope, uint32_t enough, uint32_t *victim_out, uint64_t *word_out);

/* How many segments could be taken now; notes it in the superblock. */
uint32_t fb_victims_count_free(forebay_arena *arena);

/* How many segments each group has that no evictor has begun on. */
typedef struct group_counts {
    uint16_t staying[GROUPS_MAX];
} group_counts;
void fb_groups_count(forebay_arena *arena, group_counts *counts);
/* Segments of the group that may be evicted for others, of `staying` that it has. */
uint32_t fb_group_slack(const forebay_arena *arena, uint32_t group, uint32_t staying);

#endif
