/* SPDX-License-Identifier: Apache-2.0 */
/* A pool of buffers with the n-th allocation or system call failing, for every n:
 * each time a status, no crash, and what was allocated and mapped is let go.  The
 * linker's --wrap leads the library's calls through here. */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <forebay/buffers.h>

#define MOST_CALLS 500

static long calls_left = -1; /* until the one that fails; -1: none does */
static bool has_failed;
static const char *failed_call = "none";
static long blocks, mappings; /* that live */

static bool fails(const char *name)
{
    if (calls_left < 0 || calls_left-- != 0)
        return false;
    has_failed = true;
    failed_call = name;
    return true;
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
    void *block = fails("calloc") ? NULL : __real_calloc(count, size);
    blocks += block != NULL;
    return block;
}

void __real_free(void *block);
void __wrap_free(void *block);
void __wrap_free(void *block)
{
    blocks -= block != NULL;
    __real_free(block);
}

void *__real_mmap64(void *at, size_t size, int protection, int flags, int fd, off64_t offset);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off64_t offset);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off64_t offset)
{
    void *base = fails("mmap") ? MAP_FAILED : __real_mmap64(at, size, protection, flags, fd, offset);
    mappings += base != MAP_FAILED;
    return base;
}

int __real_munmap(void *at, size_t size);
int __wrap_munmap(void *at, size_t size);
int __wrap_munmap(void *at, size_t size)
{
    mappings--;
    return __real_munmap(at, size);
}

int __real_madvise(void *at, size_t size, int advice);
int __wrap_madvise(void *at, size_t size, int advice);
int __wrap_madvise(void *at, size_t size, int advice)
{
    if (!fails("madvise"))
        return __real_madvise(at, size, advice);
    errno = EAGAIN;
    return -1;
}

int __real_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *options);
int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *options);
int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *options)
{
    return fails("pthread_mutex_init") ? EAGAIN : __real_pthread_mutex_init(mutex, options);
}

int __real_pthread_atfork(void (*before)(void), void (*parent)(void), void (*child)(void));
int __wrap_pthread_atfork(void (*before)(void), void (*parent)(void), void (*child)(void));
int __wrap_pthread_atfork(void (*before)(void), void (*parent)(void), void (*child)(void))
{
    return fails("pthread_atfork") ? ENOMEM : __real_pthread_atfork(before, parent, child);
}

/* A buffer, or no memory, or none to be had while idle memory can't be given up. */
static bool take(forebay_buffers *buffers, size_t size, forebay_buffer **buffer, bool whole)
{
    forebay_status status = forebay_buffers_take(buffers, size, NULL, buffer);
    if (status != FOREBAY_OK)
        return !whole && *buffer == NULL && (status == FOREBAY_NOMEM || status == FOREBAY_BUSY);
    memset((*buffer)->data, 1, (*buffer)->capacity);
    return true;
}

static void give(forebay_buffers *buffers, forebay_buffer *buffer)
{
    if (buffer != NULL)
        forebay_buffers_give(buffers, buffer);
}

/* A queue that is served when the large one comes back. */
static bool wait_for_one(forebay_buffers *buffers, forebay_buffer *large, bool whole)
{
    forebay_buffer_waiter *waiter;
    forebay_buffer *small = NULL;
    forebay_status status = forebay_buffers_take(buffers, 4096, &waiter, &small);
    give(buffers, large);
    if (status == FOREBAY_BUSY)
        status = forebay_buffers_wait(buffers, waiter, 0, &small);
    if (status == FOREBAY_TIMEOUT)
        small = forebay_buffers_leave(buffers, waiter);
    give(buffers, small);
    return small != NULL || !whole;
}

static bool use_buffers(bool whole)
{
    forebay_buffers_options options = { 32768, 4096, 32768, 0, true };
    forebay_buffers *buffers;
    forebay_buffer *small = NULL, *large = NULL;
    forebay_status status = forebay_buffers_open(&options, &buffers);
    if (status != FOREBAY_OK)
        return !whole && buffers == NULL && status == FOREBAY_NOMEM;
    bool good = take(buffers, 4096, &small, whole);
    give(buffers, small);
    good &= take(buffers, 32768, &large, whole);
    good &= wait_for_one(buffers, large, whole);
    (void)forebay_buffers_trim(buffers, 0);
    forebay_buffers_stats stats;
    forebay_buffers_get_stats(buffers, &stats);
    good &= stats.in_use_bytes == 0 && (stats.bytes == 0 || !whole);
    forebay_buffers_close(buffers);
    forebay_buffers_free(buffers);
    return good;
}

static bool complain(long n, const char *what)
{
    printf("FAIL call %ld (%s): %s\n", n, failed_call, what);
    return false;
}

int main(void)
{
    bool good = true;
    long n = 0;
    for (; n < MOST_CALLS; n++) {
        has_failed = false;
        calls_left = n;
        bool outcome = use_buffers(false);
        calls_left = -1;
        if (!has_failed)
            break;
        if (!outcome)
            good = complain(n, "a wrong outcome");
        if (blocks != 0 || mappings != 0)
            good = complain(n, "memory was left");
        if (!use_buffers(true))
            good = complain(n, "the next try does not work");
    }
    printf("%s %ld calls failed one by one\n", good ? "ok  " : "FAIL", n);
    return !(good && n > 8 && n < MOST_CALLS);
}
