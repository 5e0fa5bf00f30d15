/* SPDX-License-Identifier: Apache-2.0 */
#include "batch_out.h"

void batch_out_init(batch_out *out, size_t count)
{
    out->count = count;
    out->blocks = NULL;
    out->free_at = out->first;
    out->free_end = out->first + sizeof(out->first);
    for (size_t i = 0; i < count; i++)
        out->values[i].bytes = NULL;
}

static unsigned char *new_block(batch_out *out, size_t size)
{
    batch_block *block = PyMem_Malloc(sizeof(*block) + size);
    if (block == NULL)
        return NULL;
    block->next = out->blocks;
    out->blocks = block;
    return block->data;
}

/* Room that stays where it is until batch_out_drop(). */
static void *block_room(batch_out *out, size_t length)
{
    size_t size = (length + 7) & ~(size_t)7;
    if (size > BATCH_BLOCK / 4)
        return new_block(out, size);
    if (size > (size_t)(out->free_end - out->free_at)) {
        unsigned char *data = new_block(out, BATCH_BLOCK);
        if (data == NULL)
            return NULL;
        out->free_at = data;
        out->free_end = data + BATCH_BLOCK;
    }
    unsigned char *room = out->free_at;
    out->free_at += size;
    return room;
}

void *batch_out_room(void *context, size_t item, size_t length, forebay_kind kind)
{
    batch_out *out = context;
    batch_value *value = &out->values[item];
    value->length = length;
    value->kind = kind;
    Py_CLEAR(value->bytes); /* of a try that did not hold */
    if (kind != FOREBAY_KIND_BYTES)
        return (void *)(value->data = block_room(out, length));
    value->bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);
    return value->bytes == NULL ? NULL : PyBytes_AS_STRING(value->bytes);
}

PyObject *batch_out_take(core_state *state, batch_out *out, size_t item)
{
    batch_value *value = &out->values[item];
    if (value->kind != FOREBAY_KIND_BYTES)
        return value_decode(state, value->kind, value->data, value->length);
    PyObject *bytes = value->bytes;
    value->bytes = NULL;
    return bytes;
}

void batch_out_drop(batch_out *out)
{
    for (size_t i = 0; i < out->count; i++)
        Py_CLEAR(out->values[i].bytes);
    while (out->blocks != NULL) {
        batch_block *next = out->blocks->next;
        PyMem_Free(out->blocks);
        out->blocks = next;
    }
}
