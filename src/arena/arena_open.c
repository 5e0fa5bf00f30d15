/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena/arena_create.h"
#include "arena/arena_file.h"
#include "arena/arena_map.h"
#include "arena/file_lock.h"
#include "arena/guard.h"
#include "arena/registry.h"
#include "arena/rows.h"
#include "base/error.h"

#define TIMEOUT_DEFAULT_MS 10000u
#define MODE_DEFAULT 0600u
/* A path whose file vanishes or is replaced again and again: then give up. */
#define TRIES_MAX 100

/* One call of open. */
typedef struct opening {
    const char *path;
    forebay_arena_options options; /* nothing left at "0 means" */
    uint64_t deadline_ms;
    forebay_error *error;
    forebay_arena *arena;
    bool created; /* the file at the path is of our making */
} opening;

/* --- the file ------------------------------------------------------------ */

static forebay_status explain_open(const opening *o, int reason)
{
    const char *path = o->path;
    switch (reason) {
    case EISDIR:
        return fb_error(o->error, FOREBAY_IO, reason, "%s is a directory: give the path of a file in it", path);
    case ENOENT:
        return fb_error(o->error, FOREBAY_IO, reason,
                        o->options.size == 0 ? "there is no arena at %s: create it by giving a size"
                                             : "the folder of %s does not exist, or it is a link to nowhere: make the folder",
                        path);
    case ENOTDIR:
        return fb_error(o->error, FOREBAY_IO, reason, "%s goes through a file that is no folder: correct the path", path);
    case EACCES:
    case EPERM:
        return fb_error(o->error, FOREBAY_IO, reason,
                        "user %u may not read and write %s: give it the permission, or use another path",
                        (unsigned)geteuid(), path);
    case EROFS:
        return fb_error(o->error, FOREBAY_IO, reason, "%s is on a read-only file system: use another path", path);
    case ENXIO:
        return fb_error(o->error, FOREBAY_INVALID, 0, "%s is not a regular file: give the path of one", path);
    case ENOSPC:
    case EDQUOT:
        return fb_error(o->error, FOREBAY_NOSPACE, reason, "there is no room to create %s: free some", path);
    case EMFILE:
    case ENFILE:
        return fb_error(o->error, FOREBAY_IO, reason, "cannot open %s: raise the limit on open files (ulimit -n)", path);
    default:
        return fb_error(o->error, FOREBAY_IO, reason, "cannot open %s", path);
    }
}

static forebay_status adopt_fd(opening *o, int fd, struct stat *st)
{
    o->arena->fd = fd;
    if (fstat(fd, st) != 0) {
        int reason = errno;
        fb_transient_close(fd); /* here: without its inode it is not known to be ours later */
        o->arena->fd = -1;
        return fb_error(o->error, FOREBAY_IO, reason, "cannot look at %s", fb_arena_name(o->arena));
    }
    o->arena->device = st->st_dev;
    o->arena->inode = st->st_ino;
    return FOREBAY_OK;
}

/* Give up the descriptor, for good or for another try. */
static void let_go(opening *o)
{
    fb_transient_close(o->arena->fd);
    o->arena->fd = -1;
}

/* open() with fork blocked: the description may come to hold the creation lock. */
static int open_transient(const char *path, int flags, mode_t mode)
{
    fb_fork_block();
    int fd = open(path, flags | O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, mode);
    if (fd >= 0)
        fb_transient_add_held(fd);
    fb_fork_unblock();
    return fd;
}

/* FOREBAY_OK with fd -1: it came and went, try again. */
static forebay_status open_or_create(opening *o, bool last_try)
{
    struct stat st;
    int fd = open_transient(o->path, 0, 0);
    o->created = false;
    if (fd < 0 && errno == ENOENT && o->options.size != 0) {
        fd = open_transient(o->path, O_CREAT | O_EXCL, MODE_DEFAULT);
        o->created = fd >= 0;
        if (fd < 0 && errno == EEXIST && !last_try)
            return FOREBAY_OK;
        if (fd < 0 && errno == EEXIST)
            errno = ENOENT; /* a link to nowhere: there for O_EXCL, absent for all else */
    }
    if (fd < 0)
        return explain_open(o, errno);
    forebay_status status = adopt_fd(o, fd, &st);
    if (status == FOREBAY_OK && !o->created)
        status = fb_file_check(o->path, &st, o->options.trust, false, o->error);
    if (o->created && o->options.mode != MODE_DEFAULT)
        (void)fchmod(fd, o->options.mode); /* whatever the umask; refused by file systems without modes */
    return status;
}

static bool path_leads_here(const opening *o)
{
    struct stat st;
    return stat(o->path, &st) == 0 && st.st_ino == o->arena->inode && st.st_dev == o->arena->device;
}

static forebay_status guard(const opening *o)
{
    forebay_status status = o->options.guard ? fb_guard_add(o->arena) : FOREBAY_OK;
    if (status == FOREBAY_OK)
        return FOREBAY_OK;
    return fb_error(o->error, status, 0, "%s cannot be guarded against truncation: a process guards at most 64 arenas, "
                    "and needs a handler of SIGBUS", fb_arena_name(o->arena));
}

/* --- an arena that exists -------------------------------------------------- */

static forebay_status open_existing(opening *o)
{
    forebay_arena *arena = o->arena;
    arena_superblock header;
    if (o->options.create_only)
        return fb_error(o->error, FOREBAY_EXISTS, 0, "%s is an arena already", fb_arena_name(arena));
    forebay_status status = fb_file_read_header(arena->fd, fb_arena_name(arena), &header, o->error);
    if (status == FOREBAY_OK)
        status = fb_arena_map(arena, &header.geometry, o->error);
    if (status != FOREBAY_OK)
        return status;
    arena->hash_seed = header.hash_seed;
    arena->checksums = header.on_disk != 0;
    status = guard(o); /* before the first touch of the mapping */
    if (status == FOREBAY_OK)
        status = fb_arena_enter_boot(arena, o->options.timeout_ms, o->error);
    if (status == FOREBAY_OK)
        status = fb_row_attach(arena, o->error);
    return status;
}

/* --- a new one ------------------------------------------------------------- */

/* Our half-made file must not stay; somebody's empty one is made empty again. */
static void withdraw(opening *o)
{
    fb_row_detach(o->arena);
    if (o->created && path_leads_here(o))
        (void)unlink(o->path);
    else
        (void)!ftruncate(o->arena->fd, 0); /* nothing to be done if that fails as well */
}

static forebay_status lock_for_creation(opening *o)
{
    forebay_status status = fb_fd_lock_until(o->arena->fd, CREATION_LOCK, o->deadline_ms);
    if (status == FOREBAY_TIMEOUT)
        return fb_error(o->error, status, 0,
                        "another process has been creating %s for %u ms: wait for it, or end it and try again", o->path,
                        (unsigned)o->options.timeout_ms);
    if (status != FOREBAY_OK)
        return fb_error(o->error, status, errno, "cannot lock %s: use a file system with locks, such as /dev/shm", o->path);
    return FOREBAY_OK;
}

static forebay_status refuse_foreign(const opening *o)
{
    return fb_error(o->error, FOREBAY_CORRUPT, 0,
                    "%s is not an arena and not empty: use another path, or delete it if nobody needs it",
                    fb_arena_name(o->arena));
}

/* With the creation lock: what the file is can't change any more. */
static forebay_status create_locked(opening *o)
{
    enum file_content content;
    forebay_status status = fb_file_content(o->arena->fd, o->path, &content, o->error);
    if (status != FOREBAY_OK)
        return status;
    if (content == FILE_FOREIGN)
        return refuse_foreign(o);
    if (content == FILE_ARENA) {
        (void)fb_fd_unlock(o->arena->fd, CREATION_LOCK); /* opening may need it itself, after a reboot */
        return open_existing(o);
    }
    if (o->options.size == 0)
        return explain_open(o, ENOENT);
    o->created = o->created || content == FILE_FORMING; /* what its creator would have taken away */
    status = fb_arena_format(o->arena, o->options.size, o->error);
    if (status == FOREBAY_OK)
        status = guard(o);
    if (status != FOREBAY_OK)
        withdraw(o);
    (void)fb_fd_unlock(o->arena->fd, CREATION_LOCK);
    return status;
}

/* FOREBAY_OK with fd -1: the path leads to another file by now, try again. */
static forebay_status open_or_format(opening *o)
{
    enum file_content content;
    forebay_status status = fb_file_content(o->arena->fd, o->path, &content, o->error);
    if (status != FOREBAY_OK)
        return status;
    if (content == FILE_FOREIGN)
        return refuse_foreign(o);
    if (content == FILE_ARENA)
        return open_existing(o);
    status = lock_for_creation(o);
    if (status == FOREBAY_OK && path_leads_here(o))
        return create_locked(o);
    if (status == FOREBAY_OK)
        let_go(o);
    return status;
}

/* --- the three ways in ----------------------------------------------------- */

static forebay_status open_path(opening *o)
{
    forebay_status status = FOREBAY_OK;
    for (int i = 0; i < TRIES_MAX && status == FOREBAY_OK && o->arena->fd < 0; i++) {
        status = open_or_create(o, i == TRIES_MAX - 1);
        if (status == FOREBAY_OK && o->arena->fd >= 0)
            status = open_or_format(o);
    }
    if (status == FOREBAY_OK && o->arena->fd < 0)
        return fb_error(o->error, FOREBAY_IO, EAGAIN, "%s is being replaced again and again: stop whoever does that", o->path);
    return status;
}

static forebay_status open_anonymous(opening *o)
{
    struct stat st;
    if (o->options.size == 0)
        return fb_error(o->error, FOREBAY_INVALID, 0, "an anonymous arena needs a size");
    int fd = memfd_create("forebay", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return fb_error(o->error, FOREBAY_IO, errno, "the kernel gives no anonymous file");
    forebay_status status = adopt_fd(o, fd, &st);
    if (status == FOREBAY_OK)
        status = fb_arena_format(o->arena, o->options.size, o->error);
    if (status == FOREBAY_OK && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        status = fb_error(o->error, FOREBAY_IO, errno, "cannot seal the anonymous arena against truncation");
    return status;
}

/* A memfd, or a file that no path leads to any more. */
static bool is_anonymous(int fd, const struct stat *st)
{
    return st->st_nlink == 0 && fcntl(fd, F_GET_SEALS) >= 0;
}

static forebay_status open_fd(opening *o, int given)
{
    struct stat st;
    enum file_content content;
    int flags = fcntl(given, F_GETFL);
    int fd = flags < 0 ? -1 : fcntl(given, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return fb_error(o->error, FOREBAY_INVALID, errno, "cannot use descriptor %d", given);
    forebay_status status = adopt_fd(o, fd, &st);
    if (status == FOREBAY_OK && (flags & O_ACCMODE) != O_RDWR)
        return fb_error(o->error, FOREBAY_INVALID, 0, "descriptor %d is not open for reading and writing", given);
    if (status == FOREBAY_OK)
        status = fb_file_check(fb_arena_name(o->arena), &st, o->options.trust, is_anonymous(fd, &st), o->error);
    if (status == FOREBAY_OK)
        status = fb_file_content(fd, fb_arena_name(o->arena), &content, o->error);
    if (status != FOREBAY_OK)
        return status;
    if (content != FILE_ARENA)
        return fb_error(o->error, FOREBAY_CORRUPT, 0, "descriptor %d is not of an arena: pass one that "
                        "forebay_arena_fd() gave", given);
    (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW); /* no memfd, or sealed already: as it is */
    return open_existing(o);
}

static forebay_status take_options(opening *o, const forebay_arena_options *options)
{
    if (options != NULL)
        o->options = *options;
    if (o->options.timeout_ms == 0)
        o->options.timeout_ms = TIMEOUT_DEFAULT_MS;
    o->options.mode = o->options.mode == 0 ? MODE_DEFAULT : o->options.mode & 0777;
    o->deadline_ms = fb_monotonic_ms() + o->options.timeout_ms;
    uint64_t size = o->options.size;
    if (size != 0 && (size < FOREBAY_ARENA_MIN_SIZE || size > FOREBAY_ARENA_MAX_SIZE))
        return fb_error(o->error, FOREBAY_INVALID, 0, "the size of an arena is between 1 MiB and 128 GiB, not %llu bytes",
                        (unsigned long long)size);
    return FOREBAY_OK;
}

static forebay_status open_arena(opening *o, const forebay_arena_options *options, int fd, forebay_arena **arena_out)
{
    *arena_out = NULL;
    forebay_status status = take_options(o, options);
    if (status != FOREBAY_OK)
        return status;
    o->arena = fb_arena_new(o->path);
    if (o->arena == NULL)
        return fb_error(o->error, FOREBAY_NOMEM, 0, "out of memory");
    if (fd >= 0)
        status = open_fd(o, fd);
    else
        status = o->path != NULL ? open_path(o) : open_anonymous(o);
    fb_transient_forget(o->arena->fd); /* holds no lock any more: children may keep it */
    if (status != FOREBAY_OK) {
        forebay_arena_close(o->arena);
        return status;
    }
    *arena_out = o->arena;
    return FOREBAY_OK;
}

forebay_status forebay_arena_open(const char *path, const forebay_arena_options *options,
                                  forebay_arena **arena_out, forebay_error *error)
{
    opening o = { .path = path, .error = error };
    if (path != NULL && path[0] == '\0') {
        *arena_out = NULL;
        return fb_error(error, FOREBAY_INVALID, 0, "the path of an arena is empty: give one, or none for an anonymous arena");
    }
    return open_arena(&o, options, -1, arena_out);
}

forebay_status forebay_arena_open_fd(int fd, const forebay_arena_options *options,
                                     forebay_arena **arena_out, forebay_error *error)
{
    opening o = { .path = NULL, .error = error };
    if (fd < 0) {
        *arena_out = NULL;
        return fb_error(error, FOREBAY_INVALID, 0, "descriptor %d is not of an arena", fd);
    }
    return open_arena(&o, options, fd, arena_out);
}

uint32_t forebay_arena_views(const forebay_arena *arena)
{
    return atomic_load(&arena->views);
}

forebay_status forebay_arena_close(forebay_arena *arena)
{
    if (arena == NULL)
        return FOREBAY_OK;
    if (atomic_load(&arena->views) != 0)
        return FOREBAY_BUSY;
    void (*end_packing)(forebay_arena *) = atomic_load(&arena->end_packing);
    if (end_packing != NULL)
        end_packing(arena);
    if (arena->base != NULL)
        fb_row_detach(arena);
    fb_registry_remove(arena);
    fb_guard_remove(arena);
    fb_arena_free(arena);
    return FOREBAY_OK;
}
