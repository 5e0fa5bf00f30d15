/* SPDX-License-Identifier: Apache-2.0 */
#include "output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

static void release(fb_output *output)
{
    if (output->out != NULL && output->out != stdout)
        fclose(output->out);
    free(output->target);
    free(output->temporary);
    *output = (fb_output){ 0 };
}

static int refuse(fb_output *output, const char *what)
{
    int code = fb_fail("cannot %s %s: %s", what, output->path, strerror(errno));
    fb_output_abandon(output);
    return code;
}

/* A new file in the folder of the target, which a link leads to perhaps. */
static int open_beside(fb_output *output)
{
    output->target = realpath(output->path, NULL);
    if (output->target == NULL)
        output->target = strdup(output->path);
    if (output->target == NULL || asprintf(&output->temporary, "%s.XXXXXX", output->target) < 0) {
        output->temporary = NULL;
        release(output);
        return fb_fail("out of memory");
    }
    int fd = mkostemp(output->temporary, O_CLOEXEC);
    if (fd < 0) {
        free(output->temporary);
        output->temporary = NULL;
        return refuse(output, "write");
    }
    output->out = fdopen(fd, "wb");
    if (output->out != NULL)
        return FB_EXIT_OK;
    close(fd);
    return refuse(output, "write");
}

int fb_output_open(fb_output *output, const char *path)
{
    *output = (fb_output){ .out = stdout };
    if (path == NULL || strcmp(path, "-") == 0)
        return FB_EXIT_OK;
    output->path = path;
    output->out = NULL;
    struct stat facts;
    bool is_there = stat(path, &facts) == 0;
    if (is_there && S_ISDIR(facts.st_mode)) {
        errno = EISDIR;
        return refuse(output, "write");
    }
    if (!is_there || S_ISREG(facts.st_mode))
        return open_beside(output);
    output->out = fopen(path, "wbe");
    return output->out != NULL ? FB_EXIT_OK : refuse(output, "write");
}

int fb_output_commit(fb_output *output)
{
    if (output->out == stdout)
        return FB_EXIT_OK; /* flushed and judged by fb_finish_output() */
    errno = 0;
    if (fflush(output->out) != 0 || ferror(output->out)) {
        errno = errno != 0 ? errno : EIO;
        return refuse(output, "write");
    }
    if (output->temporary != NULL) {
        if (fsync(fileno(output->out)) != 0) /* before the name: a crash must not leave it without its bytes */
            return refuse(output, "write");
        if (rename(output->temporary, output->target) != 0)
            return refuse(output, "put in place");
    }
    release(output);
    return FB_EXIT_OK;
}

void fb_output_abandon(fb_output *output)
{
    if (output->temporary != NULL)
        unlink(output->temporary);
    release(output);
}
