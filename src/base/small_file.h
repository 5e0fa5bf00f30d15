/* SPDX-License-Identifier: Apache-2.0 */
/* Small text files of the kernel: /proc, /sys. */
#ifndef FB_SMALL_FILE_H
#define FB_SMALL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Read at most capacity - 1 bytes and end them with a zero; returns how many,
 * or -1 with errno set. */
long fb_small_file_read(const char *path, char *text, size_t capacity);

/* The number at the start of `path`'s text.  False: no such file, or no number
 * there (cgroup v2 says "max"). */
bool fb_small_file_number(const char *path, uint64_t *number_out);

/* The number after the line start `name` ("MemAvailable:", "inactive_file "). */
bool fb_text_field(const char *text, const char *name, uint64_t *number_out);

#endif
