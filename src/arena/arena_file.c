/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/arena_file.h"

#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#include "arena/geometry.h"
#include "base/error.h"
#include "base/hash.h"

forebay_status fb_file_check(const char *name, const struct stat *st, bool trust, bool anonymous,
                             forebay_error *error)
{
    if (S_ISDIR(st->st_mode))
        return fb_error(error, FOREBAY_IO, EISDIR, "%s is a directory: give the path of a file in it", name);
    if (!S_ISREG(st->st_mode))
        return fb_error(error, FOREBAY_INVALID, 0, "%s is not a regular file: give the path of one", name);
    if (trust)
        return FOREBAY_OK;
    if (st->st_uid != geteuid())
        return fb_error(error, FOREBAY_DENIED, 0,
                        "%s belongs to user %u and this process runs as user %u: who owns it could make it give wrong "
                        "values; pass trust if that is meant",
                        name, (unsigned)st->st_uid, (unsigned)geteuid());
    if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0 && !anonymous)
        return fb_error(error, FOREBAY_DENIED, 0,
                        "%s may be written by others (mode %03o): run chmod go-w on it, or pass trust if that is meant",
                        name, (unsigned)(st->st_mode & 07777));
    return FOREBAY_OK;
}

/* pread() of all `length` bytes: 1, 0 if the file is shorter, -1 with errno. */
static int read_exactly(int fd, void *to, size_t length, off_t offset)
{
    size_t used = 0;
    while (used < length) {
        ssize_t got = pread(fd, (char *)to + used, length - used, offset + (off_t)used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return (int)got;
        used += (size_t)got;
    }
    return 1;
}

static forebay_status cannot_read(const char *name, forebay_error *error)
{
    return fb_error(error, FOREBAY_IO, errno, "cannot read %s", name);
}

forebay_status fb_file_content(int fd, const char *name, enum file_content *content_out, forebay_error *error)
{
    struct stat st;
    uint64_t magic = 0;
    /* the length first: a creator marks the file before it gives it one */
    int got = fstat(fd, &st) != 0 ? -1 : read_exactly(fd, &magic, sizeof magic, 0);
    if (got < 0)
        return cannot_read(name, error);
    if (st.st_size == 0)
        *content_out = FILE_EMPTY;
    else if (got > 0 && magic == ARENA_FORMING)
        *content_out = FILE_FORMING;
    else
        *content_out = got > 0 && magic == ARENA_MAGIC ? FILE_ARENA : FILE_FOREIGN;
    return FOREBAY_OK;
}

uint64_t fb_header_checksum(const arena_superblock *header)
{
    size_t begin = offsetof(arena_superblock, version);
    size_t end = offsetof(arena_superblock, geometry) + sizeof header->geometry;
    return fb_hash((const uint8_t *)header + begin, end - begin, 0);
}

static forebay_status damaged(const char *name, forebay_error *error)
{
    return fb_error(error, FOREBAY_CORRUPT, 0, "the first page of %s is damaged: delete it, and a new one is made", name);
}

forebay_status fb_file_read_header(int fd, const char *name, arena_superblock *header_out, forebay_error *error)
{
    struct stat st;
    int got = read_exactly(fd, header_out, sizeof *header_out, 0);
    if (got < 0 || fstat(fd, &st) != 0)
        return cannot_read(name, error);
    if (got == 0)
        return damaged(name, error);
    if (header_out->version != ARENA_FORMAT_VERSION)
        return fb_error(error, FOREBAY_VERSION, 0,
                        "%s has arena format %u and this library knows format %u: use another path, or delete the file "
                        "once no process uses it",
                        name, (unsigned)header_out->version, ARENA_FORMAT_VERSION);
    if (header_out->header_size != sizeof *header_out || header_out->checksum != fb_header_checksum(header_out)
        || !fb_geometry_check(&header_out->geometry))
        return damaged(name, error);
    if ((uint64_t)st.st_size < header_out->geometry.size)
        return fb_error(error, FOREBAY_CORRUPT, 0,
                        "%s was cut to %llu of %llu bytes: delete it, and a new one is made", name,
                        (unsigned long long)st.st_size, (unsigned long long)header_out->geometry.size);
    return FOREBAY_OK;
}
