/* SPDX-License-Identifier: Apache-2.0 */
/* All open handles of this process, so that fork() can be told to them.
 *
 * One spin lock guards everything here.  It is held across fork(), so that a
 * child never gets a copy of a description with a byte lock that it can't find:
 * such a copy would keep the lock of a dead parent. */
#ifndef FB_REGISTRY_H
#define FB_REGISTRY_H

#include "arena/arena_state.h"

/* From now until fb_registry_remove() children give up the parent's row.
 * FOREBAY_NOMEM if the fork handlers can't be installed. */
forebay_status fb_registry_add(forebay_arena *arena);
void fb_registry_remove(forebay_arena *arena);

/* Between the two no fork() of this process happens.  For a few system calls at
 * most: everything else that needs the lock spins. */
void fb_fork_block(void);
void fb_fork_unblock(void);

/* fb_fd_reopen() of a descriptor that is to hold a byte lock for a while and is
 * not an arena's row: a child made meanwhile closes its copy.  End it with
 * fb_transient_close(). */
int fb_transient_open(const forebay_arena *arena);
/* The same for a descriptor that exists; with fb_fork_block() held. */
void fb_transient_add_held(int fd);
void fb_transient_forget(int fd);
void fb_transient_close(int fd);

#endif
