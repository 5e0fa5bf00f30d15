/* SPDX-License-Identifier: Apache-2.0 */
#include <forebay/buffers.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pool/buffers_state.h"

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void check_held(const forebay_buffers *buffers) /* debug builds */
{
#ifndef NDEBUG
    size_t bytes = 0, idle_bytes = 0;
    for (uint32_t i = 0; i < buffers->class_count; i++) {
        const buffer_class *class = &buffers->classes[i];
        assert((class->newest == NULL) == (class->idle == 0) && (class->oldest == NULL) == (class->idle == 0));
        bytes += (class->idle + class->in_use) * class->capacity;
        idle_bytes += class->idle * class->capacity;
    }
    assert(bytes == buffers->bytes && idle_bytes == buffers->idle_bytes);
    assert(bytes <= buffers->max_bytes);
    assert((buffers->first == NULL) == (buffers->waiting == 0));
#else
    (void)buffers;
#endif
}

/* ---- idle buffers of a class ---- */

static void idle_push(forebay_buffers *buffers, buffer_slot *slot)
{
    buffer_class *class = &buffers->classes[slot->class_index];
    slot->idle_since = now_ms();
    slot->newer = NULL;
    slot->older = class->newest;
    if (class->newest != NULL)
        class->newest->newer = slot;
    else
        class->oldest = slot;
    class->newest = slot;
    class->idle++;
    buffers->idle_bytes += class->capacity;
}

static void idle_remove(forebay_buffers *buffers, buffer_slot *slot)
{
    buffer_class *class = &buffers->classes[slot->class_index];
    *(slot->newer != NULL ? &slot->newer->older : &class->newest) = slot->older;
    *(slot->older != NULL ? &slot->older->newer : &class->oldest) = slot->newer;
    class->idle--;
    buffers->idle_bytes -= class->capacity;
}

static void become_bare(forebay_buffers *buffers, buffer_slot *slot)
{
    buffer_class *class = &buffers->classes[slot->class_index];
    slot->older = class->bare;
    class->bare = slot;
}

static bool give_up(forebay_buffers *buffers, buffer_slot *slot)
{
    if (!fb_slab_drop_memory(slot))
        return false;
    idle_remove(buffers, slot);
    become_bare(buffers, slot);
    buffers->bytes -= slot->shown.capacity;
    buffers->given_up++;
    return true;
}

/* ---- room ---- */

static buffer_slot *longest_idle(const forebay_buffers *buffers)
{
    buffer_slot *found = NULL;
    for (uint32_t i = 0; i < buffers->class_count; i++) {
        buffer_slot *oldest = buffers->classes[i].oldest;
        if (oldest != NULL && (found == NULL || oldest->idle_since < found->idle_since))
            found = oldest;
    }
    return found;
}

static bool make_room(forebay_buffers *buffers, size_t capacity)
{
    if (buffers->bytes - buffers->idle_bytes + capacity > buffers->max_bytes)
        return false; /* not even with all that is idle: keep it */
    while (buffers->bytes + capacity > buffers->max_bytes)
        if (!give_up(buffers, longest_idle(buffers)))
            return false;
    return true;
}

/* Each call looks at one class, so that none does much. */
static void sweep(forebay_buffers *buffers)
{
    if (buffers->max_idle_ms == FOREBAY_IDLE_FOR_EVER)
        return;
    buffers->swept = buffers->swept + 1 < buffers->class_count ? buffers->swept + 1 : 0;
    buffer_slot *oldest = buffers->classes[buffers->swept].oldest;
    if (oldest != NULL && now_ms() - oldest->idle_since >= buffers->max_idle_ms)
        (void)give_up(buffers, oldest); /* if not now, then at another call */
}

/* ---- taking and giving ---- */

forebay_status fb_buffers_take_held(forebay_buffers *buffers, uint32_t class_index, buffer_slot **slot_out)
{
    buffer_class *class = &buffers->classes[class_index];
    buffer_slot *slot = class->newest;
    if (slot != NULL) {
        idle_remove(buffers, slot);
        class->hits++;
    } else {
        if (!make_room(buffers, class->capacity))
            return FOREBAY_BUSY;
        if (class->bare == NULL && !fb_slab_add_held(buffers, class_index))
            return FOREBAY_NOMEM;
        slot = class->bare;
        class->bare = slot->older;
        buffers->bytes += class->capacity;
        class->misses++;
    }
    class->in_use++;
    slot->generation = buffers->generation;
    *slot_out = slot;
    check_held(buffers);
    return FOREBAY_OK;
}

static uint32_t class_of(const forebay_buffers *buffers, size_t size)
{
    size_t least = buffers->classes[0].capacity;
    if (size <= least)
        return 0;
    uint32_t index = (uint32_t)(64 - __builtin_clzl(size - 1)) - (uint32_t)__builtin_ctzl(least);
    assert(index < buffers->class_count && size <= buffers->classes[index].capacity);
    return index;
}

size_t forebay_buffers_largest(const forebay_buffers *buffers)
{
    return buffers->classes[buffers->class_count - 1].capacity;
}

forebay_status forebay_buffers_take(forebay_buffers *buffers, size_t size, forebay_buffer_waiter **waiter_out,
                                    forebay_buffer **buffer_out)
{
    buffer_slot *slot = NULL;
    *buffer_out = NULL;
    if (size > forebay_buffers_largest(buffers))
        return FOREBAY_TOOBIG;
    uint32_t class_index = class_of(buffers, size);
    buffers_lock(buffers);
    forebay_status status = buffers->closed ? FOREBAY_CLOSED : FOREBAY_BUSY;
    if (status == FOREBAY_BUSY && buffers->first == NULL)
        status = fb_buffers_take_held(buffers, class_index, &slot);
    if (status == FOREBAY_BUSY && waiter_out != NULL) {
        *waiter_out = fb_queue_join_held(buffers, class_index);
        if (*waiter_out == NULL)
            status = FOREBAY_NOMEM;
    }
    buffers_unlock(buffers);
    if (status == FOREBAY_OK)
        *buffer_out = &slot->shown;
    return status;
}

/* What a child of fork() got from its parent is not in any figure. */
static void drop_inherited(forebay_buffers *buffers, buffer_slot *slot)
{
    if (fb_slab_drop_memory(slot))
        become_bare(buffers, slot); /* else never used again */
}

static void take_back(forebay_buffers *buffers, buffer_slot *slot)
{
    buffers->classes[slot->class_index].in_use--;
    idle_push(buffers, slot);
    if (buffers->closed)
        (void)give_up(buffers, slot); /* else forebay_buffers_free() does */
    else if (buffers->first != NULL)
        fb_queue_serve_held(buffers);
    else
        sweep(buffers);
}

void forebay_buffers_give(forebay_buffers *buffers, forebay_buffer *buffer)
{
    buffer_slot *slot = (buffer_slot *)(void *)buffer; /* its first field */
    buffers_lock(buffers);
    if (slot->generation == buffers->generation)
        take_back(buffers, slot);
    else
        drop_inherited(buffers, slot);
    check_held(buffers);
    buffers_unlock(buffers);
}

size_t forebay_buffers_trim(forebay_buffers *buffers, uint64_t idle_ms)
{
    size_t bytes = 0;
    buffers_lock(buffers);
    uint64_t now = now_ms();
    for (uint32_t i = 0; i < buffers->class_count; i++) {
        buffer_class *class = &buffers->classes[i];
        while (class->oldest != NULL && now - class->oldest->idle_since >= idle_ms && give_up(buffers, class->oldest))
            bytes += class->capacity;
    }
    check_held(buffers);
    buffers_unlock(buffers);
    return bytes;
}

void forebay_buffers_get_stats(forebay_buffers *buffers, forebay_buffers_stats *stats)
{
    buffers_lock(buffers);
    *stats = (forebay_buffers_stats){
        .max_bytes = buffers->max_bytes,
        .bytes = buffers->bytes,
        .in_use_bytes = buffers->bytes - buffers->idle_bytes,
        .waiting = buffers->waiting,
        .waits = buffers->waits,
        .given_up = buffers->given_up,
        .class_count = buffers->class_count,
    };
    for (uint32_t i = 0; i < buffers->class_count; i++) {
        const buffer_class *class = &buffers->classes[i];
        stats->classes[i] = (forebay_buffer_class_stats){class->capacity, class->in_use, class->idle, class->hits, class->misses};
    }
    buffers_unlock(buffers);
}

/* ---- the pool ---- */

static size_t power_of_two_from(size_t size)
{
    return size <= 1 ? 1 : (size_t)1 << (64 - __builtin_clzl(size - 1));
}

static forebay_status make_classes(forebay_buffers *buffers, const forebay_buffers_options *options)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t most = (size_t)1 << 46; /* 64 TiB: what FOREBAY_BUFFER_CLASSES can have */
    if (options->max_buffer == 0 || options->max_buffer > most || options->min_buffer > options->max_buffer)
        return FOREBAY_INVALID;
    size_t last = (options->max_buffer + page - 1) / page * page;
    size_t capacity = power_of_two_from(options->min_buffer > page ? options->min_buffer : page);
    if (last > options->max_bytes)
        return FOREBAY_INVALID;
    while (capacity < last) {
        buffers->classes[buffers->class_count++].capacity = capacity;
        capacity *= 2;
    }
    buffers->classes[buffers->class_count++].capacity = last;
    return FOREBAY_OK;
}

forebay_status forebay_buffers_open(const forebay_buffers_options *options, forebay_buffers **buffers_out)
{
    *buffers_out = NULL;
    forebay_buffers *buffers = calloc(1, sizeof *buffers);
    if (buffers == NULL)
        return FOREBAY_NOMEM;
    buffers->max_bytes = options->max_bytes;
    buffers->max_idle_ms = options->max_idle_ms;
    buffers->out_of_dumps = options->out_of_dumps;
    forebay_status status = make_classes(buffers, options);
    if (status == FOREBAY_OK && pthread_mutex_init(&buffers->lock, NULL) != 0)
        status = FOREBAY_NOMEM;
    if (status == FOREBAY_OK)
        status = fb_buffers_register(buffers);
    if (status != FOREBAY_OK) {
        free(buffers);
        return status;
    }
    *buffers_out = buffers;
    return FOREBAY_OK;
}

void forebay_buffers_close(forebay_buffers *buffers)
{
    buffers_lock(buffers);
    buffers->closed = true;
    fb_queue_close_held(buffers);
    buffers_unlock(buffers);
    (void)forebay_buffers_trim(buffers, 0);
}

void forebay_buffers_free(forebay_buffers *buffers)
{
    if (buffers == NULL)
        return;
    fb_buffers_unregister(buffers);
    fb_slabs_unmap(buffers);
    (void)pthread_mutex_destroy(&buffers->lock);
    free(buffers);
}
