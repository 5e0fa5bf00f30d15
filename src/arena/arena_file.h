/* SPDX-License-Identifier: Apache-2.0 */
/* What kind of file it is, and whether to trust it: before anything is mapped. */
#ifndef FB_ARENA_FILE_H
#define FB_ARENA_FILE_H

#include <sys/stat.h>

#include "arena/arena_state.h"

enum file_content {
    FILE_EMPTY,
    FILE_FORMING, /* being formatted, or its creator died */
    FILE_ARENA,   /* has the magic; nothing else was checked */
    FILE_FOREIGN, /* somebody's bytes: never overwritten */
};

/* FOREBAY_OK: a regular file, of this user, that nobody else may write to (or
 * `trust`, or `anonymous`: a memfd, reached by nobody but who was handed it). */
forebay_status fb_file_check(const char *name, const struct stat *st, bool trust, bool anonymous,
                             forebay_error *error);

/* FOREBAY_IO if it can't be read. */
forebay_status fb_file_content(int fd, const char *name, enum file_content *content_out, forebay_error *error);

/* Read and check the superblock of a FILE_ARENA: version, checksum, geometry, and
 * that the file is as long as that says.  What FOREBAY_OK gives is safe to map. */
forebay_status fb_file_read_header(int fd, const char *name, arena_superblock *header_out, forebay_error *error);

/* The checksum of a superblock's fixed part. */
uint64_t fb_header_checksum(const arena_superblock *header);

#endif
