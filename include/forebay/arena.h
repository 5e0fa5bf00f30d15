/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_ARENA_H
#define FOREBAY_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <forebay/export.h>
#include <forebay/status.h>

FOREBAY_BEGIN

/* An open arena: this process's handle on the shared memory.
 *
 * Threads: every call may be made from any thread at any time, except that
 * forebay_arena_close() must be the last one.
 * Processes: after fork() the child may go on using the handle; it takes a row
 * of its own at its first call.  vfork() children must not touch it. */
typedef struct forebay_arena forebay_arena;

#define FOREBAY_ARENA_MIN_SIZE ((uint64_t)1 << 20)
#define FOREBAY_ARENA_MAX_SIZE ((uint64_t)1 << 37) /* 128 GiB: 34 bits of 8-byte units */

typedef struct forebay_arena_options {
    uint64_t size;       /* bytes, all of it; 0: open what exists, never create */
    mode_t mode;         /* permissions of a new file; 0 means 0600 */
    bool trust;          /* accept another owner's file, or one others may write */
    bool guard;          /* survive truncation of the mapped file (SIGBUS handler) */
    bool create_only;    /* fail with EXISTS if the file is an arena already */
    uint32_t timeout_ms; /* wait for another process's creation; 0 means 10,000 */
} forebay_arena_options;

/* Map the arena file at `path`, creating it with `options->size` bytes if it is
 * absent or empty; with `path` NULL make an anonymous one (a sealed memfd) that
 * children of fork() share, and whoever is handed forebay_arena_fd().
 *
 * An arena that exists keeps its size whatever `options->size` says; compare
 * forebay_arena_size() where that matters.
 *
 * On FOREBAY_OK the caller owns `*arena_out` and ends it with
 * forebay_arena_close().  On any other status `*arena_out` is NULL, nothing is
 * left open and no half-made file is left behind.  `options` may be NULL: all
 * zero.  Two processes may race to create the same file; exactly one formats
 * it.  Space is reserved before FOREBAY_OK: later writes cannot fail for lack
 * of it. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_arena_open(const char *path, const forebay_arena_options *options,
                   forebay_arena **arena_out, forebay_error *error);

/* The same for an open descriptor of an arena (a memfd received from another
 * process, say).  `fd` stays the caller's; the arena keeps a duplicate. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_arena_open_fd(int fd, const forebay_arena_options *options,
                      forebay_arena **arena_out, forebay_error *error);

/* Give up this process's row and unmap.  NULL is ignored.  Caches opened from
 * the arena must be closed first.  Entries stay.  FOREBAY_BUSY: views are open
 * (forebay_arena_views() many); nothing was done. */
FOREBAY_API forebay_status forebay_arena_close(forebay_arena *arena);
/* Views that are open through this handle. */
FOREBAY_API uint32_t forebay_arena_views(const forebay_arena *arena);

FOREBAY_API uint64_t forebay_arena_size(const forebay_arena *arena);
/* The path it was opened by; "" for an anonymous arena.  Owned by the arena. */
FOREBAY_API const char *forebay_arena_path(const forebay_arena *arena);

/* For tests: make the arena's time go ahead by `ms`, for all processes, so that
 * entries expire without a wait.  FOREBAY_INVALID: more than 17 years. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status forebay_arena_advance_clock(forebay_arena *arena, uint64_t ms);
/* A descriptor of the arena, owned by the arena; for passing on. */
FOREBAY_API int forebay_arena_fd(const forebay_arena *arena);
/* The largest key plus value, in bytes, that set() takes. */
FOREBAY_API uint64_t forebay_arena_max_entry(const forebay_arena *arena);

typedef struct forebay_arena_info {
    uint64_t size;            /* bytes of the whole arena */
    uint32_t format_version;
    uint32_t segment_size;    /* bytes */
    uint32_t segment_count;
    uint32_t segments_free;   /* free or emptied */
    uint32_t segments_index;  /* given over to the index */
    uint32_t row_count;
    uint32_t rows_used;
    uint32_t cache_count;     /* most caches it can hold */
    uint32_t caches_used;
    uint32_t limit_count;     /* most limits it can hold */
    uint32_t leases;          /* most keys that can be loaded at once, about */
    uint32_t leases_held;     /* by the living, and by the dead until somebody wants the key */
    uint64_t index_buckets;   /* 64 bytes each */
    uint64_t index_slots_used;
    uint64_t metadata_bytes;  /* all but segments that hold entries */
    uint64_t entry_bytes;     /* bytes appended to segments in use, dead ones included */
    uint64_t now_ms;          /* the arena's clock */
    bool replaced;            /* the file at the path is not this one any more */
    bool huge_pages;          /* the kernel backs some of it by huge pages */
    bool on_disk;             /* a file system that outlives a reboot */
    uint8_t uuid[16];         /* random, as long as the arena is there; a copy of its file has the same */
} forebay_arena_info;
FOREBAY_API forebay_status forebay_arena_get_info(forebay_arena *arena, forebay_arena_info *info);
/* The same without what takes 40 ms in an arena of 1 GiB, for who looks often: `index_slots_used` is 0,
 * `huge_pages` false. */
FOREBAY_API forebay_status forebay_arena_get_brief_info(forebay_arena *arena, forebay_arena_info *info);

/* One open handle, live or dead and not yet swept. */
typedef struct forebay_row_info {
    uint32_t row;
    uint32_t generation;
    int32_t pid;
    bool alive;
} forebay_row_info;
/* Write up to `capacity` rows; returns how many are in use. */
FOREBAY_API uint32_t forebay_arena_rows(forebay_arena *arena, forebay_row_info *rows, uint32_t capacity);

/* Check every invariant docs/internals/arena-format.md lists.  Calls `report(context,
 * message)` for each violation (at most 100 of them).  Returns FOREBAY_OK if
 * there is none, FOREBAY_CORRUPT otherwise.  On a live arena, what is in
 * motion is looked at again before it is called a violation. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_arena_verify(forebay_arena *arena, void (*report)(void *context, const char *message), void *context);

FOREBAY_END
#endif
