/* SPDX-License-Identifier: Apache-2.0 */
#include "top_look.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

/* Of the index, at every look: some 25,000 entries, which takes a few milliseconds. */
#define BUCKETS 4096u

double fb_look_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static top_file file_at(const char *path, int fd)
{
    struct stat there, ours;
    if (fstat(fd, &ours) != 0 || stat(path, &there) != 0)
        return TOP_FILE_REMOVED;
    return there.st_dev == ours.st_dev && there.st_ino == ours.st_ino ? TOP_FILE_SAME : TOP_FILE_REPLACED;
}

forebay_status fb_look_take(forebay_arena *arena, const char *path, uint64_t turn, top_look *look)
{
    *look = (top_look){ .seconds = fb_look_clock(), .part = 1, .facts.path = path };
    forebay_status status = fb_arena_facts_gather(arena, true, &look->facts);
    if (status != FOREBAY_OK)
        return status;
    look->file = file_at(path, forebay_arena_fd(arena));
    look->rooms = calloc(look->facts.info.cache_count + 1, sizeof(*look->rooms));
    if (look->rooms == NULL)
        return FOREBAY_NOMEM;
    look->room_count =
        forebay_cache_rooms(arena, turn, BUCKETS, look->rooms, look->facts.info.cache_count, &look->part);
    return FOREBAY_OK;
}

void fb_look_free(top_look *look)
{
    fb_arena_facts_free(&look->facts);
    free(look->rooms);
    *look = (top_look){ 0 };
}
