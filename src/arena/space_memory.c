/* SPDX-License-Identifier: Apache-2.0 */
/* What cgroups and the machine leave of memory. */
#include <stdio.h>
#include <string.h>

#include "arena/space.h"
#include "base/small_file.h"

#define PATH_CAPACITY 4096u
#define TEXT_CAPACITY 8192u

const space_sources fb_space_kernel = {
    .self_cgroup = "/proc/self/cgroup",
    .v2_roots = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" },
    .v1_memory_root = "/sys/fs/cgroup/memory",
    .meminfo = "/proc/meminfo",
};

/* The files of one cgroup version. */
static const struct cgroup_files {
    const char *limit, *usage;
    const char *droppable[2]; /* lines of memory.stat */
} version_1 = { "memory.limit_in_bytes", "memory.usage_in_bytes", { "total_inactive_file ", "total_active_file " } },
  version_2 = { "memory.max", "memory.current", { "inactive_file ", "active_file " } };

static bool number_in(const char *folder, const char *file, uint64_t *number_out)
{
    char path[PATH_CAPACITY + 32];
    (void)snprintf(path, sizeof path, "%s/%s", folder, file);
    return fb_small_file_number(path, number_out);
}

/* Page cache: the kernel drops it before it kills.  shmem is not part of it. */
static uint64_t droppable_bytes(const char *folder, const struct cgroup_files *files)
{
    char path[PATH_CAPACITY + 32], text[TEXT_CAPACITY];
    uint64_t sum = 0;
    (void)snprintf(path, sizeof path, "%s/memory.stat", folder);
    if (fb_small_file_read(path, text, sizeof text) < 0)
        return 0;
    for (int i = 0; i < 2; i++) {
        uint64_t bytes;
        if (fb_text_field(text, files->droppable[i], &bytes))
            sum += bytes;
    }
    return sum;
}

static uint64_t room_of(const char *folder, const struct cgroup_files *files)
{
    uint64_t limit, usage, droppable;
    if (!number_in(folder, files->limit, &limit) || !number_in(folder, files->usage, &usage))
        return UINT64_MAX; /* no such cgroup here, or no limit */
    droppable = droppable_bytes(folder, files);
    usage = usage > droppable ? usage - droppable : 0;
    return limit > usage ? limit - usage : 0;
}

/* The least room from `cgroup` up to `root`.  A container may see its limits at
 * the root only, whatever /proc says its path is: what is absent is skipped. */
static uint64_t room_upwards(const char *root, const char *cgroup, const struct cgroup_files *files)
{
    char folder[PATH_CAPACITY];
    uint64_t least = UINT64_MAX;
    size_t root_length = strlen(root);
    int length = snprintf(folder, sizeof folder, "%s%s", root, cgroup);
    if (length < 0 || (size_t)length >= sizeof folder)
        (void)snprintf(folder, sizeof folder, "%s", root);
    for (;;) {
        uint64_t room = room_of(folder, files);
        if (room < least)
            least = room;
        char *slash = strrchr(folder, '/');
        if (slash == NULL || (size_t)(slash - folder) < root_length)
            return least;
        *slash = '\0';
    }
}

/* Does the comma-separated list (its end is `end`) name the memory controller? */
static bool names_memory(const char *list, const char *end)
{
    static const char word[] = "memory";
    while (list < end) {
        const char *comma = memchr(list, ',', (size_t)(end - list));
        const char *stop = comma != NULL ? comma : end;
        if ((size_t)(stop - list) == sizeof word - 1 && memcmp(list, word, sizeof word - 1) == 0)
            return true;
        list = stop + 1;
    }
    return false;
}

/* `line` is "hierarchy:controllers:path" of /proc/self/cgroup. */
static uint64_t room_of_line(const space_sources *sources, const char *line)
{
    const char *controllers = strchr(line, ':');
    const char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (path == NULL)
        return UINT64_MAX;
    if (names_memory(controllers + 1, path))
        return room_upwards(sources->v1_memory_root, path + 1, &version_1);
    if (strncmp(line, "0::", 3) != 0)
        return UINT64_MAX;
    uint64_t first = room_upwards(sources->v2_roots[0], path + 1, &version_2);
    uint64_t second = room_upwards(sources->v2_roots[1], path + 1, &version_2);
    return first < second ? first : second;
}

uint64_t fb_space_cgroup_room(const space_sources *sources)
{
    char text[TEXT_CAPACITY];
    uint64_t least = UINT64_MAX;
    char *rest = text;
    if (fb_small_file_read(sources->self_cgroup, text, sizeof text) < 0)
        return UINT64_MAX;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        uint64_t room = room_of_line(sources, line);
        if (room < least)
            least = room;
    }
    return least;
}

uint64_t fb_space_machine_room(const space_sources *sources)
{
    char text[TEXT_CAPACITY];
    uint64_t available, swap = 0;
    if (fb_small_file_read(sources->meminfo, text, sizeof text) < 0
        || !fb_text_field(text, "MemAvailable:", &available))
        return UINT64_MAX;
    (void)fb_text_field(text, "SwapFree:", &swap);
    return (available + swap) * 1024; /* the file counts in KiB */
}
