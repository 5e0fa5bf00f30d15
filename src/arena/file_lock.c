/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/file_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "arena/registry.h"
#include "arena/rows.h"

#define POLL_FIRST_MS 1u
#define POLL_MAX_MS 10u

bool fb_fd_is_arena(const forebay_arena *arena, int fd)
{
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == arena->inode && st.st_dev == arena->device;
}

void fb_fd_close(const forebay_arena *arena, int fd)
{
    struct stat st;
    /* a stat that fails for another reason must not leak the lock */
    bool ours = fd >= 0 && (fstat(fd, &st) != 0 ? errno != EBADF : st.st_ino == arena->inode && st.st_dev == arena->device);
    if (ours)
        close(fd);
}

static int open_if_arena(const forebay_arena *arena, const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd >= 0 && !fb_fd_is_arena(arena, fd)) {
        close(fd);
        errno = ENOENT;
        return -1;
    }
    return fd;
}

int fb_fd_reopen(const forebay_arena *arena)
{
    char path[64];
    int fd = -1, denied = 0;
    if (fb_fd_is_arena(arena, arena->fd)) {
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", arena->fd);
        fd = open_if_arena(arena, path);
        denied = fd < 0 && errno == EACCES;
    }
    if (fd < 0 && arena->path[0] != '\0')
        fd = open_if_arena(arena, arena->path);
    if (fd < 0 && !denied) { /* only with CAP_CHECKPOINT_RESTORE */
        uintptr_t base = (uintptr_t)arena->base;
        (void)snprintf(path, sizeof path, "/proc/self/map_files/%jx-%jx", (uintmax_t)base,
                       (uintmax_t)(base + arena->geometry.size));
        int saved = errno;
        fd = open_if_arena(arena, path);
        if (fd < 0)
            errno = saved;
    }
    if (fd < 0 && denied)
        errno = EACCES;
    return fd;
}

static struct flock whole_byte(int64_t offset, short type)
{
    return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = offset, .l_len = 1 };
}

bool fb_fd_lock(int fd, int64_t offset)
{
    struct flock lock = whole_byte(offset, F_WRLCK);
    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

bool fb_fd_unlock(int fd, int64_t offset)
{
    struct flock lock = whole_byte(offset, F_UNLCK);
    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

int fb_fd_locked(int fd, int64_t offset)
{
    struct flock lock = whole_byte(offset, F_WRLCK);
    if (fcntl(fd, F_OFD_GETLK, &lock) != 0)
        return -1;
    return lock.l_type != F_UNLCK;
}

uint64_t fb_monotonic_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

forebay_status fb_fd_lock_until(int fd, int64_t offset, uint64_t deadline_ms)
{
    uint64_t wait_ms = POLL_FIRST_MS;
    while (!fb_fd_lock(fd, offset)) {
        if (errno != EAGAIN && errno != EACCES && errno != EINTR)
            return FOREBAY_IO;
        if (fb_monotonic_ms() >= deadline_ms)
            return FOREBAY_TIMEOUT;
        struct timespec pause = { .tv_nsec = (long)wait_ms * 1000000 };
        nanosleep(&pause, NULL); /* cut short by a signal: tries sooner */
        if (wait_ms < POLL_MAX_MS)
            wait_ms++;
    }
    return FOREBAY_OK;
}

int fb_file_lock(forebay_arena *arena, int64_t offset, uint32_t timeout_ms, forebay_status *status_out)
{
    int fd = fb_transient_open(arena);
    *status_out = fd < 0 ? FOREBAY_IO : fb_fd_lock_until(fd, offset, fb_monotonic_ms() + timeout_ms);
    if (*status_out == FOREBAY_OK)
        return fd;
    int saved = errno;
    fb_transient_close(fd);
    errno = saved;
    return -1;
}
