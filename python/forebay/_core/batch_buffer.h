/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of a batch: it grows at its end, off Python's heap.
 *
 * Large ones are mappings of their own: they grow without being copied, take real
 * memory only where something was written, and go back to the system when cleared.
 * Needs no GIL; one thread at a time. */
#ifndef BATCH_BUFFER_H
#define BATCH_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BATCH_BUFFER_ALIGNMENT 64u /* what Arrow recommends; the capacity is a multiple of it, too */

typedef struct batch_buffer {
    uint8_t *data; /* NULL: empty */
    size_t length, capacity;
    size_t touched; /* of a mapping that was used before: bytes that take real memory; else 0 */
    bool is_mapped;
} batch_buffer;

/* Make room for `need` bytes after the end; false if there is no memory, with
 * nothing changed. */
bool batch_buffer_grow(batch_buffer *buffer, size_t need);

/* `need` bytes more, to be written by the caller; NULL if there is no memory. */
static inline uint8_t *batch_buffer_room(batch_buffer *buffer, size_t need)
{
    if (need > buffer->capacity - buffer->length && !batch_buffer_grow(buffer, need))
        return NULL;
    uint8_t *at = buffer->data + buffer->length;
    buffer->length += need;
    return at;
}
/* The same, zeroed. */
uint8_t *batch_buffer_zeros(batch_buffer *buffer, size_t need);

/* Give back the real memory of a used mapping that lies beyond the end. */
void batch_buffer_trim(batch_buffer *buffer);

/* Free it; an empty one again. */
void batch_buffer_clear(batch_buffer *buffer);

#endif
