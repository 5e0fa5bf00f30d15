/* SPDX-License-Identifier: Apache-2.0 */
/* Batches as Arrow's structs.  What is exported shares the columns and holds no
 * Python object, so it may be released after the interpreter is gone. */
#include "batch_arrow.h"

#include <stdlib.h>
#include <string.h>

#define FORMAT_MAX (16 + BATCH_ZONE_NAME)

static int no_memory(void)
{
    PyErr_NoMemory();
    return -1;
}

/* ---- schemas --------------------------------------------------------------- */

/* A child's strings, in one block with it. */
typedef struct schema_texts {
    char format[FORMAT_MAX];
    char name[];
} schema_texts;

/* Metadata of a UUID: two pairs, each length in 32 bits of this machine's order. */
typedef struct __attribute__((packed)) uuid_metadata {
    int32_t pairs;
    int32_t name_length;
    char name[20];
    int32_t value_length;
    char value[10];
    int32_t extra_length;
    char extra[24];
    int32_t nothing;
} uuid_metadata;

static const uuid_metadata UUID_METADATA = {
    2, 20, "ARROW:extension:name", 10, "arrow.uuid", 24, "ARROW:extension:metadata", 0,
};

static void release_leaf_schema(struct ArrowSchema *schema)
{
    free(schema->private_data);
    schema->release = NULL;
}

static void release_schema(struct ArrowSchema *schema)
{
    for (int64_t i = 0; i < schema->n_children; i++) {
        struct ArrowSchema *child = schema->children[i];
        if (child != NULL && child->release != NULL)
            child->release(child);
        free(child);
    }
    free(schema->children);
    schema->release = NULL;
}

static int write_format(const batch_column *column, char *format)
{
    static const char *const formats[BATCH_KINDS] = {
        [BATCH_NULL] = "n",   [BATCH_BOOL] = "b",   [BATCH_INT64] = "l",    [BATCH_DOUBLE] = "g", [BATCH_TEXT] = "u",
        [BATCH_BINARY] = "z", [BATCH_DATE] = "tdD", [BATCH_TIME] = "ttu",   [BATCH_DURATION] = "tDu",
        [BATCH_UUID] = "w:16",
    };
    if (column->kind == BATCH_DECIMAL) {
        PyOS_snprintf(format, FORMAT_MAX, "d:%d,%d", column->precision, column->scale);
    } else if (column->kind == BATCH_TIMESTAMP) {
        PyOS_snprintf(format, FORMAT_MAX, "tsu:%s", column->zone_name);
    } else if (formats[column->kind] != NULL) {
        strcpy(format, formats[column->kind]);
    } else {
        PyErr_SetString(PyExc_ValueError, "a packed column has no type in Arrow");
        return -1;
    }
    return 0;
}

static int export_leaf_schema(const batch_column *column, PyObject *name, struct ArrowSchema *out)
{
    Py_ssize_t length;
    const char *text = PyUnicode_AsUTF8AndSize(name, &length);
    if (text == NULL)
        return -1;
    schema_texts *texts = malloc(sizeof *texts + (size_t)length + 1);
    if (texts == NULL)
        return no_memory();
    if (write_format(column, texts->format) < 0) {
        free(texts);
        return -1;
    }
    memcpy(texts->name, text, (size_t)length + 1);
    *out = (struct ArrowSchema){
        .format = texts->format,
        .name = texts->name,
        .metadata = column->kind == BATCH_UUID ? (const char *)&UUID_METADATA : NULL,
        .flags = ARROW_FLAG_NULLABLE,
        .release = release_leaf_schema,
        .private_data = texts,
    };
    return 0;
}

int batch_export_schema(batch_object *batch, struct ArrowSchema *out)
{
    *out = (struct ArrowSchema){ .format = "+s", .name = "", .release = release_schema };
    out->children = calloc((size_t)batch->count + 1, sizeof *out->children);
    int outcome = out->children != NULL ? 0 : no_memory();
    for (Py_ssize_t i = 0; outcome == 0 && i < batch->count; i++) {
        out->children[i] = calloc(1, sizeof **out->children);
        outcome = out->children[i] == NULL ? no_memory()
                                           : export_leaf_schema(batch->parts[i].column, PyTuple_GET_ITEM(batch->names, i),
                                                                out->children[i]);
        out->n_children = i + 1;
    }
    if (outcome < 0)
        release_schema(out);
    return outcome;
}

/* ---- arrays ---------------------------------------------------------------- */

typedef struct leaf {
    batch_column *column; /* shared */
    const void *buffers[3];
} leaf;

static const uint64_t NOTHING[BATCH_BUFFER_ALIGNMENT / 8]; /* the data of a buffer that is empty; offsets of no rows */

static const void *data_of(const batch_buffer *buffer)
{
    return buffer->data != NULL ? buffer->data : (const void *)NOTHING;
}

static void release_leaf(struct ArrowArray *array)
{
    leaf *kept = array->private_data;
    batch_column_drop(kept->column);
    free(kept);
    array->release = NULL;
}

static void release_array(struct ArrowArray *array)
{
    for (int64_t i = 0; i < array->n_children; i++) {
        struct ArrowArray *child = array->children[i];
        if (child != NULL && child->release != NULL)
            child->release(child);
        free(child);
    }
    free(array->children);
    free(array->buffers);
    array->release = NULL;
}

static int export_leaf(batch_column *column, struct ArrowArray *out)
{
    leaf *kept = malloc(sizeof *kept);
    if (kept == NULL)
        return no_memory();
    bool varies = batch_kind_varies(column->kind);
    kept->column = batch_column_share(column);
    kept->buffers[0] = column->null_count != 0 ? column->validity.data : NULL;
    kept->buffers[1] = varies ? data_of(&column->offsets) : data_of(&column->values);
    kept->buffers[2] = varies ? data_of(&column->values) : NULL;
    *out = (struct ArrowArray){
        .length = (int64_t)column->rows,
        .null_count = (int64_t)column->null_count,
        .n_buffers = column->kind == BATCH_NULL ? 0 : varies ? 3 : 2,
        .buffers = kept->buffers,
        .release = release_leaf,
        .private_data = kept,
    };
    return 0;
}

int batch_export_array(batch_object *batch, struct ArrowArray *out)
{
    *out = (struct ArrowArray){ .length = batch->rows, .n_buffers = 1, .release = release_array };
    out->buffers = calloc(1, sizeof *out->buffers);
    out->children = calloc((size_t)batch->count + 1, sizeof *out->children);
    int outcome = out->buffers != NULL && out->children != NULL ? 0 : no_memory();
    for (Py_ssize_t i = 0; outcome == 0 && i < batch->count; i++) {
        out->children[i] = calloc(1, sizeof **out->children);
        outcome = out->children[i] == NULL ? no_memory() : export_leaf(batch->parts[i].column, out->children[i]);
        out->n_children = i + 1;
    }
    if (outcome < 0)
        release_array(out);
    return outcome;
}

/* ---- capsules -------------------------------------------------------------- */

static void schema_capsule_end(PyObject *capsule)
{
    struct ArrowSchema *schema = PyCapsule_GetPointer(capsule, "arrow_schema");
    if (schema->release != NULL)
        schema->release(schema);
    free(schema);
}

static void array_capsule_end(PyObject *capsule)
{
    struct ArrowArray *array = PyCapsule_GetPointer(capsule, "arrow_array");
    if (array->release != NULL)
        array->release(array);
    free(array);
}

PyObject *batch_arrow_schema(batch_object *batch)
{
    struct ArrowSchema *schema = calloc(1, sizeof *schema);
    if (schema == NULL)
        return PyErr_NoMemory();
    if (batch_export_schema(batch, schema) < 0) {
        free(schema);
        return NULL;
    }
    PyObject *capsule = PyCapsule_New(schema, "arrow_schema", schema_capsule_end);
    if (capsule == NULL) {
        schema->release(schema);
        free(schema);
    }
    return capsule;
}

static PyObject *array_capsule(batch_object *batch)
{
    struct ArrowArray *array = calloc(1, sizeof *array);
    if (array == NULL)
        return PyErr_NoMemory();
    if (batch_export_array(batch, array) < 0) {
        free(array);
        return NULL;
    }
    PyObject *capsule = PyCapsule_New(array, "arrow_array", array_capsule_end);
    if (capsule == NULL) {
        array->release(array);
        free(array);
    }
    return capsule;
}

PyObject *batch_arrow_array(batch_object *batch)
{
    PyObject *schema = batch_arrow_schema(batch);
    PyObject *array = schema == NULL ? NULL : array_capsule(batch);
    PyObject *both = array == NULL ? NULL : PyTuple_Pack(2, schema, array);
    Py_XDECREF(schema);
    Py_XDECREF(array);
    return both;
}
