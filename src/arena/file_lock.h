/* SPDX-License-Identifier: Apache-2.0 */
/* Byte locks on the arena's file that belong to an open file description, not to
 * a process (F_OFD_SETLK): two handles in one process exclude each other, and
 * the kernel frees the lock when the last copy of the descriptor is gone. */
#ifndef FB_FILE_LOCK_H
#define FB_FILE_LOCK_H

#include "arena/arena_state.h"

/* Is `fd` still open on the arena's file?  A daemon may have closed it, and the
 * number may be another file by now.  Async-signal-safe. */
bool fb_fd_is_arena(const forebay_arena *arena, int fd);
/* close(), if fb_fd_is_arena(). */
void fb_fd_close(const forebay_arena *arena, int fd);

/* A new description of the arena's file, however it can be had: through the
 * descriptor, the path, or the mapping.  -1 with errno: EACCES if this process
 * gave up the right to open the file since. */
int fb_fd_reopen(const forebay_arena *arena);

/* Take the exclusive lock on the byte; false with errno (EAGAIN: another
 * description has it).  Never waits. */
bool fb_fd_lock(int fd, int64_t offset);
bool fb_fd_unlock(int fd, int64_t offset);
/* Does another description than `fd` hold the byte?  1, 0, or -1 with errno. */
int fb_fd_locked(int fd, int64_t offset);

/* fb_fd_lock(), tried until `deadline_ms` of fb_monotonic_ms(): FOREBAY_OK,
 * FOREBAY_TIMEOUT, or FOREBAY_IO with errno. */
forebay_status fb_fd_lock_until(int fd, int64_t offset, uint64_t deadline_ms);

uint64_t fb_monotonic_ms(void);

#endif
