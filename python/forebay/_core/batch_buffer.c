/* SPDX-License-Identifier: Apache-2.0 */
#include "batch_buffer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SMALL_MAX 65536u /* bytes; more are mapped */
#define FIRST 256u       /* bytes */
#define PAGE ((size_t)4096)

static size_t capacity_for(const batch_buffer *buffer, size_t need)
{
    if (need > SIZE_MAX / 4 - buffer->length)
        return 0;
    size_t least = buffer->length + need, twice = buffer->capacity * 2;
    size_t capacity = least > twice ? least : twice;
    size_t unit = capacity > SMALL_MAX ? PAGE : capacity < FIRST ? FIRST : BATCH_BUFFER_ALIGNMENT;
    return (capacity + unit - 1) / unit * unit;
}

/* Huge pages would make what is not written yet real. */
static uint8_t *map(size_t capacity)
{
    void *data = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return NULL;
    madvise(data, capacity, MADV_NOHUGEPAGE); /* it is only advice */
    return data;
}

static uint8_t *grown_mapping(const batch_buffer *buffer, size_t capacity)
{
    void *data = mremap(buffer->data, buffer->capacity, capacity, MREMAP_MAYMOVE);
    return data == MAP_FAILED ? NULL : data;
}

bool batch_buffer_grow(batch_buffer *buffer, size_t need)
{
    size_t capacity = capacity_for(buffer, need);
    if (capacity == 0)
        return false;
    bool is_mapped = capacity > SMALL_MAX;
    uint8_t *data = buffer->is_mapped ? grown_mapping(buffer, capacity)
                    : is_mapped       ? map(capacity)
                                      : aligned_alloc(BATCH_BUFFER_ALIGNMENT, capacity);
    if (data == NULL)
        return false;
    if (!buffer->is_mapped) {
        if (buffer->length != 0)
            memcpy(data, buffer->data, buffer->length);
        free(buffer->data);
    }
    buffer->data = data;
    buffer->capacity = capacity;
    buffer->is_mapped = is_mapped;
    return true;
}

uint8_t *batch_buffer_zeros(batch_buffer *buffer, size_t need)
{
    uint8_t *at = batch_buffer_room(buffer, need);
    if (at != NULL)
        memset(at, 0, need);
    return at;
}

void batch_buffer_trim(batch_buffer *buffer)
{
    size_t end = (buffer->length + PAGE - 1) / PAGE * PAGE;
    if (buffer->touched > end)
        madvise(buffer->data + end, buffer->touched - end, MADV_DONTNEED); /* it is only advice */
    buffer->touched = 0;
}

void batch_buffer_clear(batch_buffer *buffer)
{
    if (buffer->is_mapped)
        munmap(buffer->data, buffer->capacity);
    else
        free(buffer->data);
    *buffer = (batch_buffer){ .data = NULL };
}
