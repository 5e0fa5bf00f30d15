/* SPDX-License-Identifier: Apache-2.0 */
/* Room for a new arena: looked for before it is taken, because a reservation
 * beyond what the machine or the container has is an OOM kill, not an error. */
#ifndef FB_SPACE_H
#define FB_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include <forebay/status.h>

/* Where the kernel tells about memory; tests give their own files. */
typedef struct space_sources {
    const char *self_cgroup;    /* /proc/self/cgroup */
    const char *v2_roots[2];    /* where the unified hierarchy is mounted */
    const char *v1_memory_root; /* where the v1 memory controller is mounted */
    const char *meminfo;        /* /proc/meminfo */
} space_sources;
extern const space_sources fb_space_kernel;

/* Bytes that this process's cgroups, the nearest and every ancestor, leave;
 * UINT64_MAX: no limit.  Page cache that could be dropped counts as room. */
uint64_t fb_space_cgroup_room(const space_sources *sources);
/* Bytes that the machine has left, swap included; UINT64_MAX: not known. */
uint64_t fb_space_machine_room(const space_sources *sources);

/* Does the file system of `fd` outlive a reboot?  tmpfs, memfd and the like do not. */
bool fb_space_on_disk(int fd);

/* FOREBAY_NOSPACE, in words that say what to do, if `size` bytes for `fd` (empty
 * so far, called `name`) are more than there is. */
forebay_status fb_space_check(int fd, const char *name, uint64_t size, const space_sources *sources,
                              forebay_error *error);

/* Make `fd` `size` bytes long, all of them zero and allocated: writing to them
 * can't fail for lack of space.  On failure the file may hold some of it. */
forebay_status fb_space_reserve(int fd, const char *name, uint64_t size, forebay_error *error);

#endif
