/* SPDX-License-Identifier: Apache-2.0 */
#include "base/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

long fb_small_file_read(const char *path, char *text, size_t capacity)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    size_t used = 0;
    while (used < capacity - 1) {
        ssize_t got = read(fd, text + used, capacity - 1 - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int saved = errno;
            close(fd);
            errno = saved;
            return -1;
        }
        if (got == 0)
            break;
        used += (size_t)got;
    }
    close(fd);
    text[used] = '\0';
    return (long)used;
}

static bool parse_number(const char *text, uint64_t *number_out)
{
    while (*text == ' ' || *text == '\t')
        text++;
    if (*text < '0' || *text > '9')
        return false;
    *number_out = strtoull(text, NULL, 10);
    return true;
}

bool fb_small_file_number(const char *path, uint64_t *number_out)
{
    char text[64];
    return fb_small_file_read(path, text, sizeof text) > 0 && parse_number(text, number_out);
}

bool fb_text_field(const char *text, const char *name, uint64_t *number_out)
{
    size_t length = strlen(name);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0)
            return parse_number(line + length, number_out);
    }
    return false;
}
