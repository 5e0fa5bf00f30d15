/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/row_liveness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena/file_lock.h"
#include "arena/rows.h"
#include "base/small_file.h"

#define STAT_CAPACITY 1024u
#define LINE_CAPACITY 8192u /* an address, and a path of up to 4096 bytes, some of them escaped */

/* Of /proc/PID/stat, after the name, which may hold anything: field 3 on. */
typedef struct process_stat {
    char state;
    uint64_t threads;
    uint64_t start_time;
} process_stat;

static bool read_stat(int32_t pid, process_stat *stat_out)
{
    char path[64], text[STAT_CAPACITY];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (fb_small_file_read(path, text, sizeof text) <= 0)
        return false;
    const char *after_name = strrchr(text, ')');
    unsigned long long threads, start_time;
    if (after_name == NULL
        || sscanf(after_name + 1,
                  " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %llu %*d %llu",
                  &stat_out->state, &threads, &start_time) != 3)
        return false;
    stat_out->threads = threads;
    stat_out->start_time = start_time;
    return true;
}

/* /proc may be mounted from another PID namespace: its numbers are not ours then. */
static bool proc_is_ours(void)
{
    char text[32];
    ssize_t length = readlink("/proc/self", text, sizeof text - 1);
    if (length <= 0)
        return false;
    text[length] = '\0';
    return strtol(text, NULL, 10) == (long)getpid();
}

static process_identity ask_who_this_is(void)
{
    process_identity self = { .pid = (int32_t)getpid() };
    process_stat st;
    struct stat ns;
    if (proc_is_ours() && read_stat(self.pid, &st))
        self.start_time = st.start_time;
    if (stat("/proc/self/ns/pid", &ns) == 0)
        self.pid_namespace = ns.st_ino;
    return self;
}

/* The last word says that the others are there. */
typedef struct kept_identity {
    _Atomic uint64_t start_time, pid_namespace;
    _Atomic int32_t pid;
    _Atomic uint32_t known; /* release; pairs with the acquire in fb_process_self() */
} kept_identity;
static_assert(sizeof(kept_identity) == IDENTITY_WORDS * 4, "as the header says");

process_identity fb_process_self(const forebay_arena *arena)
{
    kept_identity *kept = (kept_identity *)(void *)(arena->attached + IDENTITY_WORD);
    process_identity self;
    if (atomic_load_explicit(&kept->known, memory_order_acquire) != 0) {
        self.start_time = atomic_load_explicit(&kept->start_time, memory_order_relaxed);
        self.pid_namespace = atomic_load_explicit(&kept->pid_namespace, memory_order_relaxed);
        self.pid = atomic_load_explicit(&kept->pid, memory_order_relaxed);
        return self;
    }
    self = ask_who_this_is(); /* two threads at once get the same answer */
    atomic_store_explicit(&kept->start_time, self.start_time, memory_order_relaxed);
    atomic_store_explicit(&kept->pid_namespace, self.pid_namespace, memory_order_relaxed);
    atomic_store_explicit(&kept->pid, self.pid, memory_order_relaxed);
    atomic_store_explicit(&kept->known, 1, memory_order_release);
    return self;
}

/* A mapped file as /proc/PID/maps tells it: not always what stat() says
 * (overlayfs, btrfs), so it is learnt from our own mapping. */
typedef struct mapped_file {
    unsigned int major, minor;
    unsigned long long inode;
} mapped_file;

static bool parse_maps_line(const char *line, unsigned long long *begin_out, mapped_file *file_out)
{
    return sscanf(line, "%llx-%*x %*s %*x %x:%x %llu", begin_out, &file_out->major, &file_out->minor,
                  &file_out->inode) == 4;
}

/* Does a mapping of `wanted` exist in the process?  Or, with `begin` not 0: what
 * is mapped there, into `wanted`.  1, 0, or -1: not allowed to look. */
static int find_mapping(int32_t pid, unsigned long long begin, mapped_file *wanted)
{
    char path[64], *line = malloc(LINE_CAPACITY);
    (void)snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *maps = line != NULL ? fopen(path, "re") : NULL;
    int found = maps != NULL ? 0 : -1;
    while (found == 0 && fgets(line, LINE_CAPACITY, maps) != NULL) {
        unsigned long long start;
        mapped_file file;
        if (!parse_maps_line(line, &start, &file))
            continue;
        if (begin != 0 && start == begin) {
            *wanted = file;
            found = 1;
        } else if (begin == 0 && file.inode == wanted->inode && file.major == wanted->major
                   && file.minor == wanted->minor) {
            found = 1;
        }
    }
    if (found == 0 && ferror(maps))
        found = -1;
    if (maps != NULL)
        fclose(maps);
    free(line);
    return found;
}

static bool is_of_our_namespace(const process_identity *identity, const process_identity *self)
{
    return self->pid_namespace != 0 && identity->pid_namespace == self->pid_namespace && identity->pid > 0;
}

static bool pid_exists(int32_t pid)
{
    return kill(pid, 0) == 0 || errno != ESRCH;
}

/* Its first thread may have ended while others go on. */
static bool all_threads_ended(const process_stat *st)
{
    return (st->state == 'Z' || st->state == 'X') && st->threads <= 1;
}

bool fb_process_maps(const forebay_arena *arena, const process_identity *identity)
{
    process_identity self = fb_process_self(arena);
    process_stat st;
    mapped_file ours = { 0 };
    if (!is_of_our_namespace(identity, &self) || !pid_exists(identity->pid))
        return false;
    if (self.start_time == 0 || identity->start_time == 0 || !read_stat(identity->pid, &st))
        return true; /* it exists, and /proc doesn't say more (hidepid) */
    if (st.start_time != identity->start_time || all_threads_ended(&st))
        return false;
    if (st.state == 'Z') /* /proc shows no mappings for the others' sake */
        return true;
    if (find_mapping(self.pid, (unsigned long long)(uintptr_t)arena->base, &ours) != 1)
        return true;
    return find_mapping(identity->pid, 0, &ours) != 0;
}

bool fb_process_ended(const forebay_arena *arena, const process_identity *identity)
{
    process_identity self = fb_process_self(arena);
    process_stat st;
    if (!is_of_our_namespace(identity, &self))
        return false;
    if (!pid_exists(identity->pid))
        return true;
    /* not by start time: in another time namespace it reads otherwise */
    return self.start_time != 0 && read_stat(identity->pid, &st) && all_threads_ended(&st);
}

static process_identity identity_of(const arena_row *row)
{
    return (process_identity){
        .start_time = atomic_load_explicit(&row->start_time, memory_order_relaxed),
        .pid_namespace = atomic_load_explicit(&row->pid_namespace, memory_order_relaxed),
        .pid = atomic_load_explicit(&row->pid, memory_order_relaxed),
    };
}

/* 1, 0, or -1: can't be told. */
static int byte_is_locked(const forebay_arena *arena, uint32_t row)
{
    if (fb_fd_is_arena(arena, arena->fd))
        return fb_fd_locked(arena->fd, ROW_LOCK_BASE + row);
    int fd = fb_fd_reopen(arena); /* closed behind our back; holds no lock, so fork needs not know */
    if (fd < 0)
        return -1;
    int locked = fb_fd_locked(fd, ROW_LOCK_BASE + row);
    close(fd);
    return locked;
}

bool fb_row_may_live(const forebay_arena *arena, uint32_t row)
{
    const arena_row *r = &arena->rows[row];
    process_identity identity = identity_of(r);
    /* locked, but perhaps by a child that was stopped before it could let go of
     * its parent's description */
    if (byte_is_locked(arena, row) != 0)
        return !fb_process_ended(arena, &identity);
    if (fb_process_maps(arena, &identity))
        return true;
    /* without a lock, only its own PID namespace can tell */
    return atomic_load_explicit(&r->unlocked, memory_order_relaxed) != 0
           && identity.pid_namespace != fb_process_self(arena).pid_namespace;
}
