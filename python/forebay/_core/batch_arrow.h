/* SPDX-License-Identifier: Apache-2.0 */
/* The structs of the Arrow C data interface
 * (https://arrow.apache.org/docs/format/CDataInterface.html and CStreamInterface.html):
 * an ABI that never changes.  Whoever gets one calls its `release`, once, from any
 * thread. */
#ifndef BATCH_ARROW_H
#define BATCH_ARROW_H

#include <stdint.h>

#include "batch_objects.h"

#define ARROW_FLAG_NULLABLE 2

struct ArrowSchema {
    const char *format, *name, *metadata;
    int64_t flags, n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;
    void (*release)(struct ArrowSchema *schema);
    void *private_data;
};

struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *array);
    void *private_data;
};

struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream *stream, struct ArrowSchema *out);
    int (*get_next)(struct ArrowArrayStream *stream, struct ArrowArray *out);
    const char *(*get_last_error)(struct ArrowArrayStream *stream);
    void (*release)(struct ArrowArrayStream *stream);
    void *private_data;
};

/* Fill `out`; -1 with an exception, `out->release` then is NULL. */
int batch_export_schema(batch_object *batch, struct ArrowSchema *out);
int batch_export_array(batch_object *batch, struct ArrowArray *out);

#endif
