/* SPDX-License-Identifier: Apache-2.0 */
#include "batch_spares.h"

#include <stdlib.h>

static bool claim(batch_spares *spares)
{
    return !atomic_flag_test_and_set_explicit(&spares->claim, memory_order_acquire); /* pairs with give_up() */
}

static void give_up(batch_spares *spares)
{
    atomic_flag_clear_explicit(&spares->claim, memory_order_release);
}

static void free_all(batch_spares *spares)
{
    for (size_t i = 0; i < spares->count; i++)
        batch_buffer_clear(&spares->buffers[i]);
}

batch_spares *batch_spares_new(size_t count)
{
    batch_spares *spares = calloc(1, sizeof *spares + count * sizeof spares->buffers[0]);
    if (spares == NULL)
        return NULL;
    spares->references = 1;
    spares->is_open = true;
    spares->count = count;
    atomic_flag_clear(&spares->claim);
    return spares;
}

batch_spares *batch_spares_share(batch_spares *spares)
{
    if (spares != NULL)
        atomic_fetch_add_explicit(&spares->references, 1, memory_order_relaxed);
    return spares;
}

void batch_spares_drop(batch_spares *spares)
{
    if (spares == NULL || atomic_fetch_sub_explicit(&spares->references, 1, memory_order_acq_rel) != 1)
        return;
    free_all(spares);
    free(spares);
}

/* Whoever is at it meanwhile gives back a moment later; the last drop frees all. */
void batch_spares_close(batch_spares *spares)
{
    if (!claim(spares))
        return;
    spares->is_open = false;
    free_all(spares);
    give_up(spares);
}

void batch_spares_give(batch_spares *spares, size_t place, batch_buffer *buffer)
{
    if (spares != NULL && buffer->is_mapped && claim(spares)) {
        if (spares->is_open && spares->buffers[place].data == NULL) {
            spares->buffers[place] = *buffer;
            spares->buffers[place].touched = buffer->length;
            *buffer = (batch_buffer){ .data = NULL };
        }
        give_up(spares);
    }
    batch_buffer_clear(buffer);
}

batch_buffer batch_spares_take(batch_spares *spares, size_t place)
{
    batch_buffer buffer = { .data = NULL };
    if (spares != NULL && claim(spares)) {
        buffer = spares->buffers[place];
        spares->buffers[place] = (batch_buffer){ .data = NULL };
        give_up(spares);
    }
    buffer.length = 0;
    return buffer;
}
