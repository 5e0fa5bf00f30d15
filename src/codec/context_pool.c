/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/context_pool.h"

#include <stdint.h>

/* Where a thread looks first: threads that go on at once then seldom meet in a
 * slot, and find the context that is in their cache. */
static unsigned first_slot(void)
{
    static _Thread_local char mine;
    return (unsigned)(((uintptr_t)&mine >> 12) * 0x9E3779B97F4A7C15u >> 61) % FB_CONTEXT_SLOTS;
}

static void *empty_slot(_Atomic(void *) *slot)
{
    if (atomic_load_explicit(slot, memory_order_relaxed) == NULL)
        return NULL;                                                   /* no need to own the cache line */
    return atomic_exchange_explicit(slot, NULL, memory_order_acquire); /* pairs with fill_slot() */
}

static int fill_slot(_Atomic(void *) *slot, void *context)
{
    void *empty = NULL;
    return atomic_load_explicit(slot, memory_order_relaxed) == NULL
           && atomic_compare_exchange_strong_explicit(slot, &empty, context,
                                                      memory_order_release, /* pairs with empty_slot() */
                                                      memory_order_relaxed);
}

void *fb_context_take(fb_context_pool *pool)
{
    unsigned first = first_slot();
    for (unsigned i = 0; i < FB_CONTEXT_SLOTS; i++) {
        void *context = empty_slot(&pool->slots[(first + i) % FB_CONTEXT_SLOTS]);
        if (context != NULL)
            return context;
    }
    return pool->make();
}

void fb_context_give(fb_context_pool *pool, void *context)
{
    if (context == NULL)
        return;
    int keep = pool->memory == NULL || pool->memory(context) <= FB_CONTEXT_MEMORY;
    unsigned first = first_slot();
    for (unsigned i = 0; keep && i < FB_CONTEXT_SLOTS; i++) {
        if (fill_slot(&pool->slots[(first + i) % FB_CONTEXT_SLOTS], context))
            return;
    }
    pool->end(context);
}

void fb_context_pool_clear(fb_context_pool *pool)
{
    for (unsigned i = 0; i < FB_CONTEXT_SLOTS; i++) {
        void *context = empty_slot(&pool->slots[i]);
        if (context != NULL)
            pool->end(context);
    }
}
