/* SPDX-License-Identifier: Apache-2.0 */
/* Who a row's owner is, and whether it lives. */
#ifndef FB_ROW_LIVENESS_H
#define FB_ROW_LIVENESS_H

#include "arena/arena_state.h"

/* What tells one process from another on this machine. */
typedef struct process_identity {
    uint64_t start_time;    /* clock ticks since boot; 0: not known */
    uint64_t pid_namespace; /* inode; 0: not known */
    int32_t pid;            /* 0: not known */
} process_identity;

/* This process.  Asks the kernel once: the answer is kept in the page that is
 * emptied at fork. */
process_identity fb_process_self(const forebay_arena *arena);
/* Where in that page, in words, and how many; rows.c uses the words before. */
#define IDENTITY_WORD 16u
#define IDENTITY_WORDS 6u

/* Does this process, if it is one of our PID namespace, map the arena?  True
 * also where that can't be told; false at once for another namespace. */
bool fb_process_maps(const forebay_arena *arena, const process_identity *identity);

/* Is it certain that this process of our PID namespace has ended? */
bool fb_process_ended(const forebay_arena *arena, const process_identity *identity);

/* May the owner of a row that is in use be living?  Asks the kernel.  False:
 * whoever owned the row when its word was read before the call is dead. */
bool fb_row_may_live(const forebay_arena *arena, uint32_t row);

#endif
