/* SPDX-License-Identifier: Apache-2.0 */
/* Each scenario again and again, with the n-th allocation or system call of the
 * library failing, for every n: each time a status, no crash, the descriptors
 * and mappings of before; and the next try, without failures, works.  The
 * linker's --wrap leads the library's calls through here. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <forebay/forebay.h>

#define MOST_CALLS 2000

static long calls_left = -1; /* until the one that fails; -1: none does */
static bool has_failed;
static const char *failed_call = "none";
static char path[64];

static bool fails(const char *name)
{
    if (calls_left < 0 || calls_left-- != 0)
        return false;
    has_failed = true;
    failed_call = name;
    return true;
}

/* A call with fixed arguments. */
#define WRAP(result, name, parameters, arguments, error, failure)  \
    result __real_##name parameters;                               \
    result __wrap_##name parameters;                               \
    result __wrap_##name parameters                                \
    {                                                              \
        if (fails(#name)) {                                        \
            errno = error;                                         \
            return failure;                                        \
        }                                                          \
        return __real_##name arguments;                            \
    }

WRAP(void *, malloc, (size_t size), (size), ENOMEM, NULL)
WRAP(void *, calloc, (size_t count, size_t size), (count, size), ENOMEM, NULL)
WRAP(void *, realloc, (void *old, size_t size), (old, size), ENOMEM, NULL)
WRAP(char *, strdup, (const char *text), (text), ENOMEM, NULL)
WRAP(void *, mmap64, (void *at, size_t size, int protection, int flags, int fd, off64_t offset),
     (at, size, protection, flags, fd, offset), ENOMEM, MAP_FAILED)
WRAP(int, fstat64, (int fd, struct stat64 *out), (fd, out), EIO, -1)
WRAP(int, stat64, (const char *name, struct stat64 *out), (name, out), EACCES, -1)
WRAP(int, ftruncate64, (int fd, off64_t size), (fd, size), EFBIG, -1)
WRAP(int, fallocate64, (int fd, int mode, off64_t offset, off64_t size), (fd, mode, offset, size), ENOSPC, -1)
WRAP(int, posix_fallocate64, (int fd, off64_t offset, off64_t size), (fd, offset, size), ENOSPC, ENOSPC)
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode), EPERM, -1)
WRAP(int, fdatasync, (int fd), (fd), EIO, -1)
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), ENFILE, -1)
WRAP(ssize_t, pread64, (int fd, void *to, size_t size, off64_t offset), (fd, to, size, offset), EIO, -1)
WRAP(ssize_t, pwrite64, (int fd, const void *from, size_t size, off64_t offset), (fd, from, size, offset), EIO, -1)
WRAP(ssize_t, read, (int fd, void *to, size_t size), (fd, to, size), EIO, -1)
WRAP(ssize_t, getrandom, (void *to, size_t size, unsigned flags), (to, size, flags), ENOSYS, -1)
WRAP(FILE *, fopen64, (const char *name, const char *mode), (name, mode), EMFILE, NULL)
WRAP(int, fstatfs64, (int fd, struct statfs64 *out), (fd, out), EIO, -1)
WRAP(int, fstatvfs64, (int fd, struct statvfs64 *out), (fd, out), EIO, -1)
WRAP(int, madvise, (void *at, size_t size, int advice), (at, size, advice), EINVAL, -1)
WRAP(ssize_t, readlink, (const char *name, char *to, size_t size), (name, to, size), EACCES, -1)

int __real_open64(const char *name, int flags, ...);
int __wrap_open64(const char *name, int flags, ...);
int __wrap_open64(const char *name, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    unsigned mode = flags & O_CREAT ? va_arg(arguments, unsigned) : 0;
    va_end(arguments);
    if (fails("open")) {
        errno = EMFILE;
        return -1;
    }
    return __real_open64(name, flags, mode);
}

int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (fails("fcntl")) {
        errno = ENOLCK;
        return -1;
    }
    return __real_fcntl64(fd, command, argument);
}

typedef struct footprint {
    unsigned descriptors, mappings;
} footprint;

static footprint take_footprint(void)
{
    footprint f = {0, 0};
    DIR *folder = opendir("/proc/self/fd");
    while (folder != NULL && readdir(folder) != NULL)
        f.descriptors++;
    closedir(folder);
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
        f.mappings += strstr(line, "forebay") != NULL && strstr(line, "/dev/shm") != NULL;
    fclose(maps);
    return f;
}

/* A limit: made, held, lowered, dropped. */
static bool use_limit(forebay_arena *arena, bool whole)
{
    forebay_limit *limit, *lowered;
    forebay_permit permit;
    forebay_error error;
    forebay_status status = forebay_limit_open(arena, "limit", 3, false, &limit, &error);
    if (status != FOREBAY_OK)
        return !whole && limit == NULL && status < 0;
    bool good = forebay_permit_take(limit, &permit) == FOREBAY_OK;
    good &= forebay_permit_give_back(limit, &permit) == FOREBAY_OK;
    status = forebay_limit_open(arena, "limit", 2, true, &lowered, &error);
    good &= status == FOREBAY_OK ? lowered != NULL : !whole && lowered == NULL && status < 0;
    forebay_limit_close(lowered);
    status = forebay_limit_drop(arena, "limit");
    good &= status == FOREBAY_OK || (!whole && status < 0);
    if (status != FOREBAY_OK) /* the next try begins with 3 again */
        good &= forebay_limit_drop(arena, "limit") == FOREBAY_OK;
    forebay_limit_close(limit);
    return good;
}

/* Open what is named (NULL: anonymous), use it, close it.  `whole`: every step must work. */
static bool use_arena(const char *name, bool whole)
{
    forebay_arena_options options = {.size = FOREBAY_ARENA_MIN_SIZE, .timeout_ms = 50};
    forebay_arena *arena = NULL;
    forebay_cache *cache = NULL;
    forebay_error error;
    char value[100] = "value", back[100];
    size_t length;
    forebay_kind kind;
    int64_t sum;
    forebay_status status = forebay_arena_open(name, &options, &arena, &error);
    if (status != FOREBAY_OK)
        return !whole && arena == NULL && status < 0;
    bool good = true;
    status = forebay_cache_open(arena, "torture", NULL, &cache, &error);
    if (status == FOREBAY_OK) {
        status = forebay_set(cache, "key", 3, value, sizeof value, FOREBAY_KIND_BYTES, FOREBAY_TTL_DEFAULT, FOREBAY_SET);
        good &= status == FOREBAY_OK || !whole;
        status = forebay_get_into(cache, "key", 3, back, sizeof back, &length, &kind);
        good &= status == FOREBAY_OK ? length == sizeof value && memcmp(value, back, length) == 0 : !whole;
        status = forebay_incr(cache, "n", 1, 1, 0, FOREBAY_TTL_DEFAULT, &sum);
        good &= status == FOREBAY_OK || !whole;
        forebay_cache_close(cache);
    } else {
        good = !whole && cache == NULL && status < 0;
    }
    good &= use_limit(arena, whole);
    forebay_arena_info info;
    (void)forebay_arena_get_info(arena, &info);
    forebay_arena_close(arena);
    return good;
}

static bool complain(const char *scenario, long n, const char *what)
{
    printf("FAIL %s, call %ld (%s): %s\n", scenario, n, failed_call, what);
    return false;
}

/* `fresh`: the file is not there before; else it is. */
static bool torture(const char *scenario, const char *name, bool fresh)
{
    bool good = true;
    long n = 0;
    (void)use_arena(name, true); /* what the first use takes for good is taken */
    for (; n < MOST_CALLS; n++) {
        if (fresh)
            unlink(path);
        footprint before = take_footprint();
        has_failed = false;
        calls_left = n;
        bool outcome = use_arena(name, false);
        calls_left = -1;
        if (!has_failed)
            break;
        footprint after = take_footprint();
        if (!outcome)
            good = complain(scenario, n, "a wrong outcome");
        if (after.descriptors != before.descriptors)
            good = complain(scenario, n, "descriptors were left open");
        if (after.mappings != before.mappings)
            good = complain(scenario, n, "mappings were left");
        if (!use_arena(name, true))
            good = complain(scenario, n, "the next try does not work");
    }
    printf("%s %s: %ld calls failed one by one\n", good ? "ok  " : "FAIL", scenario, n);
    return good && n > 5 && n < MOST_CALLS;
}

int main(void)
{
    snprintf(path, sizeof path, "/dev/shm/forebay-torture-%d", (int)getpid());
    bool good = torture("create, use and close", path, true);
    good &= torture("open, use and close", path, false);
    good &= torture("anonymous", NULL, false);
    unlink(path);
    return !good;
}
