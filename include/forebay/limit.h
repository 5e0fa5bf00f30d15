/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_LIMIT_H
#define FOREBAY_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <forebay/arena.h>
#include <forebay/cache.h>

FOREBAY_BEGIN

/* A limit: all processes of the machine together hold at most so many permits of
 * it, whichever of them is killed, stopped or forked at whatever instruction.  It is
 * for what a server takes few of, as database connections: take a permit, connect,
 * close, give it back.
 *
 *     forebay_permit permit;
 *     if (forebay_permit_take(limit, &permit) == FOREBAY_MISS) {
 *         forebay_turn turn;
 *         forebay_permit_queue(limit, &turn);
 *         status = forebay_permit_wait(limit, &turn, 1000, &permit);
 *         forebay_permit_leave(limit, &turn);
 *     }
 *
 * Permits belong to the process that took them, and are free again when it is dead
 * or has closed the arena; a child of a fork has none of its parent's.  Who waits
 * has its turn in the order of coming; who does not take its turn within 10 ms
 * (it may be stopped) is passed over, and who has not looked for half a second is not
 * counted until it looks again.
 *
 * Any thread may use a handle.  Nothing here waits for another process but
 * forebay_permit_wait() and forebay_limit_watch(). */
typedef struct forebay_limit forebay_limit;

/* A permit that was taken; a turn in the queue.  Plain values. */
typedef struct forebay_permit {
    uint64_t reserved[2]; /* private */
} forebay_permit;
typedef struct forebay_turn {
    uint64_t reserved[3]; /* private */
} forebay_turn;

/* Open the limit of this name (1 to FOREBAY_NAME_MAX bytes), creating it with `most`
 * permits if there is none.  FOREBAY_CONFLICT: it has another number of them, and
 * `update` is not set; with it the number changes for all (more that are held already
 * stay until they are given back; none is given out before fewer are held).  `most` 0: as it is; FOREBAY_MISS if there is none.
 * FOREBAY_INVALID: more than forebay_limit_max().  FOREBAY_FULL: the arena holds as
 * many limits as it can.  On FOREBAY_OK the caller owns `*limit_out`, to be closed
 * before the arena is; else it is NULL. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_limit_open(forebay_arena *arena, const char *name, uint32_t most, bool update, forebay_limit **limit_out,
                   forebay_error *error);
/* Forget the handle, not its permits.  NULL is fine. */
FOREBAY_API void forebay_limit_close(forebay_limit *limit);
FOREBAY_API const char *forebay_limit_name(const forebay_limit *limit);
/* The most permits that a limit of this arena can have: one per 64 KiB, 64 to 2048. */
FOREBAY_API uint32_t forebay_limit_max(const forebay_arena *arena);
/* Forget the limit of this name.  FOREBAY_BUSY: a live process holds a permit of it,
 * or waits.  FOREBAY_MISS: there is none. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status forebay_limit_drop(forebay_arena *arena, const char *name);

/* FOREBAY_OK: it is the caller's.  FOREBAY_MISS: none is free, or those that are
 * free are for others, who wait.  FOREBAY_CLOSED: the limit was dropped. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status forebay_permit_take(forebay_limit *limit, forebay_permit *permit);
/* FOREBAY_OK: it is free again.  FOREBAY_MISS: it was not this process's. */
FOREBAY_API forebay_status forebay_permit_give_back(forebay_limit *limit, const forebay_permit *permit);

/* Take a place at the end of the queue, to be left in any case.  (There are 16 to 64 of
 * them.  Where all are taken, forebay_permit_wait() takes one, in the order of coming
 * still, when one is free; until then others who come may go first.) */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status forebay_permit_queue(forebay_limit *limit, forebay_turn *turn);
/* Wait for a permit: FOREBAY_OK, FOREBAY_TIMEOUT, FOREBAY_INTERRUPTED (by a signal),
 * FOREBAY_CLOSED.  The permits of a process that died are found within
 * 10 ms, and can be had 20 ms later, when the kernel has closed what it had open. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_permit_wait(forebay_limit *limit, const forebay_turn *turn, uint32_t timeout_ms, forebay_permit *permit);
FOREBAY_API void forebay_permit_leave(forebay_limit *limit, const forebay_turn *turn);

/* Does anybody wait for a permit?  One load. */
FOREBAY_API bool forebay_limit_wanted(const forebay_limit *limit);
/* Should this process give one of its permits up, for another process that waits?
 * `idle`: what it is for is not needed here now: yes.  Else only for one that holds
 * at least two fewer, or that holds none and has waited for 50 ms.  So processes
 * that are all busy come to equal shares and keep them.  True is said once for each
 * that waits, and again after 100 ms. */
FOREBAY_API bool forebay_limit_should_yield(forebay_limit *limit, bool idle);
/* Wait until somebody begins to wait for a permit: *seen, 0 at first, changes, and
 * FOREBAY_OK.  FOREBAY_TIMEOUT, FOREBAY_INTERRUPTED, FOREBAY_CLOSED. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_limit_watch(forebay_limit *limit, uint32_t *seen, uint32_t timeout_ms);

typedef struct forebay_limit_info {
    char name[FOREBAY_NAME_MAX + 1];
    uint32_t most;
    uint32_t held;      /* by live processes */
    uint32_t holders;   /* handles of the arena that hold them */
    uint32_t waiting;   /* places taken in the queue */
} forebay_limit_info;
/* The i-th limit; false: there are not so many. */
FOREBAY_API bool forebay_limit_at(forebay_arena *arena, uint32_t i, forebay_limit_info *info);

/* What one handle of the arena has of a limit. */
typedef struct forebay_limit_share {
    int32_t pid;
    uint32_t held;
    uint32_t waiting;
} forebay_limit_share;
/* Write up to `capacity` of those that hold or wait; returns how many there are. */
FOREBAY_API uint32_t forebay_limit_shares(forebay_arena *arena, const char *name, forebay_limit_share *shares, uint32_t capacity);

FOREBAY_END
#endif
