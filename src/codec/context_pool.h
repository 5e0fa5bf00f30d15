/* SPDX-License-Identifier: Apache-2.0 */
/* Idle contexts of a compression library, kept because making one costs more
 * than compressing a small value.  There is no lock: a context is in a slot, or
 * whoever took it has it alone.
 *
 * A zstd context for small values with a dictionary takes 32 KiB to compress, 93 KiB
 * to decompress; for values of 1 MiB at level 3 it grows to 1.3 MiB.
 *
 * Threads: any.  Processes: a child of fork() has copies of the idle ones; what
 * another thread had taken at that moment is lost to the child. */
#ifndef FB_CONTEXT_POOL_H
#define FB_CONTEXT_POOL_H

#include <stdatomic.h>
#include <stddef.h>

#define FB_CONTEXT_SLOTS 8u                 /* more users at once make their own and end them */
#define FB_CONTEXT_MEMORY ((size_t)4 << 20) /* bytes; a larger context is not kept */

typedef struct fb_context_pool {
    void *(*make)(void); /* NULL: out of memory */
    void (*end)(void *context);
    size_t (*memory)(const void *context);   /* bytes it takes; NULL: few */
    _Atomic(void *) slots[FB_CONTEXT_SLOTS]; /* NULL: empty; taken by acquire, given by release */
} fb_context_pool;

/* An idle context, or a new one; NULL: out of memory. */
void *fb_context_take(fb_context_pool *pool);
/* Give it back, ready for the next user; a NULL `context` is ignored. */
void fb_context_give(fb_context_pool *pool, void *context);
/* End the idle ones. */
void fb_context_pool_clear(fb_context_pool *pool);

#endif
