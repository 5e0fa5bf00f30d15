/* SPDX-License-Identifier: Apache-2.0 */
/* Where buffers are: addresses are mapped many at a time and kept; memory comes
 * at the first touch and goes buffer by buffer, which splits no mapping. */
#include <stdlib.h>
#include <sys/mman.h>

#include "pool/buffers_state.h"

#define SLAB_BYTES ((size_t)1 << 20)

/* How many buffers a slab of the class gets: no more than may ever be in use. */
static size_t slab_count(const forebay_buffers *buffers, size_t capacity)
{
    size_t most = buffers->max_bytes / capacity;
    size_t count = SLAB_BYTES / capacity;
    return count == 0 ? 1 : count < most ? count : most;
}

static void add_bare(buffer_class *class, buffer_slot *slot)
{
    slot->older = class->bare;
    class->bare = slot;
}

bool fb_slab_add_held(forebay_buffers *buffers, uint32_t class_index)
{
    buffer_class *class = &buffers->classes[class_index];
    size_t count = slab_count(buffers, class->capacity);
    buffer_slab *slab = calloc(1, sizeof *slab + count * sizeof slab->slots[0]);
    if (slab == NULL)
        return false;
    slab->bytes = count * class->capacity;
    slab->base = mmap(NULL, slab->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (slab->base == MAP_FAILED) {
        free(slab);
        return false;
    }
    if (buffers->out_of_dumps)
        (void)madvise(slab->base, slab->bytes, MADV_DONTDUMP); /* best effort: no promise hangs on it */
    for (size_t i = count; i-- > 0;) { /* the first ends up on top: neighbours are used together */
        slab->slots[i] = (buffer_slot){
            .shown = {(uint8_t *)slab->base + i * class->capacity, class->capacity},
            .class_index = class_index,
        };
        add_bare(class, &slab->slots[i]);
    }
    slab->next = buffers->slabs;
    buffers->slabs = slab;
    return true;
}

bool fb_slab_drop_memory(const buffer_slot *slot)
{
    return madvise(slot->shown.data, slot->shown.capacity, MADV_DONTNEED) == 0;
}

void fb_slabs_unmap(forebay_buffers *buffers)
{
    while (buffers->slabs != NULL) {
        buffer_slab *slab = buffers->slabs;
        buffers->slabs = slab->next;
        munmap(slab->base, slab->bytes);
        free(slab);
    }
}
