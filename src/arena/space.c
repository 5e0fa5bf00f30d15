/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/space.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/small_file.h"

#define TMPFS_TYPE 0x01021994
#define RAMFS_TYPE 0x858458f6
#define HUGETLBFS_TYPE 0x958458f6

#define RESERVE_CHUNK (UINT64_C(64) << 20)     /* bytes: a signal undoes at most one */
#define RESERVE_CHUNK_MIN (UINT64_C(1) << 20)

bool fb_space_on_disk(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0)
        return true; /* the careful answer: entries get checksums */
    uint32_t type = (uint32_t)fs.f_type;
    return type != TMPFS_TYPE && type != RAMFS_TYPE && type != HUGETLBFS_TYPE;
}

static unsigned long long mib(uint64_t bytes)
{
    return (unsigned long long)(bytes >> 20);
}

/* Free bytes of the file system; UINT64_MAX: it has no limit of its own (memfd). */
static uint64_t file_system_room(int fd)
{
    struct statvfs fs;
    if (fstatvfs(fd, &fs) != 0 || fs.f_blocks == 0)
        return UINT64_MAX;
    uint64_t blocks = geteuid() == 0 ? fs.f_bfree : fs.f_bavail;
    return blocks * fs.f_frsize;
}

static forebay_status check_file_system(int fd, const char *name, uint64_t size, bool on_disk, forebay_error *error)
{
    uint64_t room = file_system_room(fd);
    if (room >= size)
        return FOREBAY_OK;
    if (on_disk)
        return fb_error(error, FOREBAY_NOSPACE, ENOSPC,
                        "%s needs %llu MiB and its disk has %llu MiB free: free some, or ask for a smaller size",
                        name, mib(size), mib(room));
    return fb_error(error, FOREBAY_NOSPACE, ENOSPC,
                    "%s needs %llu MiB and its tmpfs has %llu MiB free: ask for a smaller size, or enlarge it "
                    "(Docker: --shm-size; Kubernetes: an emptyDir volume with medium: Memory; else: mount -o remount,size=)",
                    name, mib(size), mib(room));
}

static forebay_status check_memory(const char *name, uint64_t size, const space_sources *sources, forebay_error *error)
{
    uint64_t room = fb_space_cgroup_room(sources);
    if (room < size)
        return fb_error(error, FOREBAY_NOSPACE, ENOMEM,
                        "%s needs %llu MiB and the memory limit of this container or cgroup leaves %llu MiB: "
                        "raise the limit, or ask for a smaller size",
                        name, mib(size), mib(room));
    room = fb_space_machine_room(sources);
    if (room < size)
        return fb_error(error, FOREBAY_NOSPACE, ENOMEM,
                        "%s needs %llu MiB and this machine has %llu MiB of memory left: ask for a smaller size",
                        name, mib(size), mib(room));
    return FOREBAY_OK;
}

/* Going past RLIMIT_FSIZE is a SIGXFSZ, which kills. */
static forebay_status check_limit(const char *name, uint64_t size, forebay_error *error)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= size)
        return FOREBAY_OK;
    return fb_error(error, FOREBAY_NOSPACE, EFBIG,
                    "%s needs %llu MiB and this process may write files of %llu MiB: raise that limit (ulimit -f)",
                    name, mib(size), mib(limit.rlim_cur));
}

forebay_status fb_space_check(int fd, const char *name, uint64_t size, const space_sources *sources,
                              forebay_error *error)
{
    bool on_disk = fb_space_on_disk(fd);
    forebay_status status = check_limit(name, size, error);
    if (status == FOREBAY_OK)
        status = check_file_system(fd, name, size, on_disk, error);
    if (status == FOREBAY_OK && !on_disk)
        status = check_memory(name, size, sources, error);
    return status;
}

/* 0 or an errno. */
static int reserve_chunk(int fd, uint64_t offset, uint64_t length)
{
    if (fallocate(fd, 0, (off_t)offset, (off_t)length) == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return errno;
    return posix_fallocate(fd, (off_t)offset, (off_t)length); /* writes into every block */
}

forebay_status fb_space_reserve(int fd, const char *name, uint64_t size, forebay_error *error)
{
    uint64_t chunk = RESERVE_CHUNK;
    uint64_t offset = 0;
    while (offset < size) {
        uint64_t length = size - offset < chunk ? size - offset : chunk;
        int reason = reserve_chunk(fd, offset, length);
        if (reason == 0) {
            offset += length;
        } else if (reason == EINTR) {
            /* a timer's signals may come faster than a large chunk gets done */
            if (chunk > RESERVE_CHUNK_MIN)
                chunk /= 2;
        } else if (reason == ENOSPC || reason == EDQUOT || reason == EFBIG || reason == ENOMEM) {
            return fb_error(error, FOREBAY_NOSPACE, reason,
                            "%s: space for %llu MiB ran out after %llu MiB: free some, or ask for a smaller size",
                            name, mib(size), mib(offset));
        } else {
            return fb_error(error, FOREBAY_IO, reason,
                            "%s: cannot reserve %llu MiB: use a file system that can, such as /dev/shm or ext4",
                            name, mib(size));
        }
    }
    return FOREBAY_OK;
}
