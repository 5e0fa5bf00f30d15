/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers of batches that are gone, for the stream's next ones: touched memory is
 * not given back and faulted in again for each batch.
 *
 * One place for each buffer of each column: what is kept is at most what one batch
 * had.  Any thread may give, with or without the GIL; nobody waits: where another
 * is at it, a buffer is freed instead. */
#ifndef BATCH_SPARES_H
#define BATCH_SPARES_H

#include <stdatomic.h>

#include "batch_buffer.h"

typedef struct batch_spares {
    _Atomic size_t references;
    atomic_flag claim;      /* whoever sets it may touch what follows */
    bool is_open;
    size_t count;
    batch_buffer buffers[]; /* empty: none there */
} batch_spares;

/* NULL if there is no memory, or for NULL. */
batch_spares *batch_spares_new(size_t count);
batch_spares *batch_spares_share(batch_spares *spares);
void batch_spares_drop(batch_spares *spares);
/* Free what is there, and what will be given. */
void batch_spares_close(batch_spares *spares);

/* Take over a buffer, which is empty afterwards. */
void batch_spares_give(batch_spares *spares, size_t place, batch_buffer *buffer);
/* A buffer without content, maybe with capacity. */
batch_buffer batch_spares_take(batch_spares *spares, size_t place);

#endif
