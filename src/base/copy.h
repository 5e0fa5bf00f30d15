/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of memory that another process may be writing: the caller checks
 * afterwards that nothing was (a sequence lock: Boehm, "Can seqlocks get along
 * with programming language memory models?", MSPC 2012).  ThreadSanitizer does
 * not model fences, so under it every byte is an acquire load. */
#ifndef FB_COPY_H
#define FB_COPY_H

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define FB_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FB_TSAN 1
#endif
#endif

static inline void fb_copy_out(void *to, const void *from, size_t length)
{
#ifdef FB_TSAN
    for (size_t i = 0; i < length; i++)
        ((uint8_t *)to)[i] = __atomic_load_n((const uint8_t *)from + i, __ATOMIC_ACQUIRE);
#else
    memcpy(to, from, length);
#endif
}

static inline void fb_copy_in(void *to, const void *from, size_t length)
{
#ifdef FB_TSAN
    for (size_t i = 0; i < length; i++)
        __atomic_store_n((uint8_t *)to + i, ((const uint8_t *)from)[i], __ATOMIC_RELEASE);
#else
    memcpy(to, from, length);
#endif
}

/* From shared memory that others may be writing to shared memory of one's own. */
static inline void fb_copy_across(void *to, const void *from, size_t length)
{
#ifdef FB_TSAN
    for (size_t i = 0; i < length; i++)
        __atomic_store_n((uint8_t *)to + i, __atomic_load_n((const uint8_t *)from + i, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
#else
    memcpy(to, from, length);
#endif
}

static inline int fb_equal(const void *shared, const void *own, size_t length)
{
#ifdef FB_TSAN
    for (size_t i = 0; i < length; i++)
        if (__atomic_load_n((const uint8_t *)shared + i, __ATOMIC_ACQUIRE) != ((const uint8_t *)own)[i])
            return 0;
    return 1;
#else
    return memcmp(shared, own, length) == 0;
#endif
}

/* After a copy: no load of it may be satisfied after what follows. */
static inline void fb_copy_fence(void)
{
#ifndef FB_TSAN
    atomic_thread_fence(memory_order_acquire);
#endif
}

#endif
