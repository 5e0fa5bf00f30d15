/* SPDX-License-Identifier: Apache-2.0 */
#include "batch_column.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

typedef struct kind_row {
    const char *name;
    size_t width;
    bool varies;
} kind_row;

static const kind_row KIND_ROWS[BATCH_KINDS] = {
    [BATCH_NULL] = { "null", 0, false },           [BATCH_BOOL] = { "bool", 0, false },
    [BATCH_INT64] = { "int64", 8, false },         [BATCH_DOUBLE] = { "float64", 8, false },
    [BATCH_TEXT] = { "text", 0, true },            [BATCH_BINARY] = { "binary", 0, true },
    [BATCH_DATE] = { "date", 4, false },           [BATCH_TIME] = { "time", 8, false },
    [BATCH_TIMESTAMP] = { "timestamp", 8, false }, [BATCH_DURATION] = { "duration", 8, false },
    [BATCH_DECIMAL] = { "decimal", 16, false },    [BATCH_UUID] = { "uuid", 16, false },
    [BATCH_PACKED] = { "packed", 0, true },
};

size_t batch_kind_width(batch_kind kind)
{
    return KIND_ROWS[kind].width;
}

bool batch_kind_varies(batch_kind kind)
{
    return KIND_ROWS[kind].varies;
}

const char *batch_kind_name(batch_kind kind)
{
    return KIND_ROWS[kind].name;
}

static void check(const batch_column *column)
{
    size_t width = batch_kind_width(column->kind);
    assert(width == 0 || column->values.length == column->rows * width);
    assert(!batch_kind_varies(column->kind) || column->offsets.length == (column->rows + 1) * sizeof(int32_t));
    assert(column->null_count <= column->rows);
    assert(column->validity.length == 0 || column->validity.length == (column->rows + 7) / 8);
    (void)column, (void)width;
}

batch_column *batch_column_new(batch_spares *spares, size_t number)
{
    batch_column *column = calloc(1, sizeof *column);
    if (column == NULL)
        return NULL;
    column->references = 1;
    column->spares = batch_spares_share(spares);
    column->place = number * BATCH_COLUMN_BUFFERS;
    column->validity = batch_spares_take(spares, column->place);
    column->values = batch_spares_take(spares, column->place + 1);
    column->offsets = batch_spares_take(spares, column->place + 2);
    return column;
}

batch_column *batch_column_share(batch_column *column)
{
    atomic_fetch_add_explicit(&column->references, 1, memory_order_relaxed);
    return column;
}

void batch_column_drop(batch_column *column)
{
    /* release and acquire: what others read of it comes before it is freed */
    if (column == NULL || atomic_fetch_sub_explicit(&column->references, 1, memory_order_acq_rel) != 1)
        return;
    batch_spares_give(column->spares, column->place, &column->validity);
    batch_spares_give(column->spares, column->place + 1, &column->values);
    batch_spares_give(column->spares, column->place + 2, &column->offsets);
    batch_spares_drop(column->spares);
    free(column);
}

void batch_column_finish(batch_column *column)
{
    batch_buffer_trim(&column->validity);
    batch_buffer_trim(&column->values);
    batch_buffer_trim(&column->offsets);
}

/* ---- NULLs ----------------------------------------------------------------- */

/* Append the bit of row `column->rows`. */
static bool put_valid_bit(batch_column *column, bool valid)
{
    size_t row = column->rows;
    if (row % 8 == 0 && batch_buffer_zeros(&column->validity, 1) == NULL)
        return false;
    uint8_t *at = &column->validity.data[row / 8], bit = (uint8_t)(1u << row % 8);
    *at = (uint8_t)(valid ? *at | bit : *at & ~bit);
    return true;
}

/* The bitmap for the first NULL: all rows before it are valid. */
static bool begin_validity(batch_column *column)
{
    if (column->null_count != 0)
        return true;
    column->validity.length = 0; /* may be one of rows that were truncated */
    size_t bytes = (column->rows + 7) / 8;
    uint8_t *bits = batch_buffer_room(&column->validity, bytes);
    if (bits == NULL && bytes != 0)
        return false;
    if (bytes != 0)
        memset(bits, 0xff, bytes);
    return true;
}

bool batch_column_mark_valid(batch_column *column)
{
    if (!put_valid_bit(column, true)) {
        batch_column_truncate(column, column->rows);
        return false;
    }
    column->rows++;
    return true;
}

static bool put_empty_value(batch_column *column)
{
    size_t width = batch_kind_width(column->kind);
    if (width != 0)
        return batch_buffer_zeros(&column->values, width) != NULL;
    if (column->kind == BATCH_BOOL)
        return column->rows % 8 != 0 || batch_buffer_zeros(&column->values, 1) != NULL;
    int32_t end = (int32_t)column->values.length;
    uint8_t *at = batch_buffer_room(&column->offsets, sizeof end);
    if (at != NULL)
        memcpy(at, &end, sizeof end);
    return at != NULL;
}

bool batch_column_put_null(batch_column *column)
{
    if (column->kind == BATCH_NULL) {
        column->rows++;
        column->null_count++;
        return true;
    }
    if (!begin_validity(column) || !put_valid_bit(column, false) || !put_empty_value(column)) {
        batch_column_truncate(column, column->rows);
        return false;
    }
    column->rows++;
    column->null_count++;
    return true;
}

/* ---- values ---------------------------------------------------------------- */

bool batch_column_put_bool(batch_column *column, bool value)
{
    size_t row = column->rows;
    if (row % 8 == 0 && batch_buffer_zeros(&column->values, 1) == NULL)
        return false;
    uint8_t *at = &column->values.data[row / 8], bit = (uint8_t)(1u << row % 8);
    *at = (uint8_t)(value ? *at | bit : *at & ~bit); /* a truncated row may have left its bit */
    if (column->null_count != 0)
        return batch_column_mark_valid(column);
    column->rows++;
    return true;
}

uint8_t *batch_column_room(batch_column *column, size_t length)
{
    size_t begin = column->values.length;
    if (length > (size_t)INT32_MAX - begin)
        return NULL;
    uint8_t *at = batch_buffer_room(&column->values, length);
    uint8_t *offset = at != NULL || length == 0 ? batch_buffer_room(&column->offsets, sizeof(int32_t)) : NULL;
    if (offset == NULL) {
        column->values.length = begin;
        return NULL;
    }
    int32_t end = (int32_t)(begin + length);
    memcpy(offset, &end, sizeof end);
    if (column->null_count != 0) {
        if (!batch_column_mark_valid(column))
            return NULL;
    } else {
        column->rows++;
    }
    return at != NULL ? at : offset; /* of no bytes, any place but NULL */
}

bool batch_column_put_bytes(batch_column *column, const void *data, size_t length)
{
    uint8_t *at = batch_column_room(column, length);
    if (at == NULL)
        return false;
    if (length != 0)
        memcpy(at, data, length);
    return true;
}

/* ---- the whole column ------------------------------------------------------ */

static bool begin_buffers(batch_column *column)
{
    size_t rows = column->rows, width = batch_kind_width(column->kind);
    size_t bytes = column->kind == BATCH_BOOL ? (rows + 7) / 8 : rows * width;
    if (bytes != 0 && batch_buffer_zeros(&column->values, bytes) == NULL)
        return false;
    if (batch_kind_varies(column->kind)
        && batch_buffer_zeros(&column->offsets, (rows + 1) * sizeof(int32_t)) == NULL)
        return false;
    return rows == 0 || batch_buffer_zeros(&column->validity, (rows + 7) / 8) != NULL;
}

bool batch_column_begin(batch_column *column, batch_kind kind)
{
    assert(column->kind == BATCH_NULL);
    column->kind = kind;
    if (begin_buffers(column)) {
        check(column);
        return true;
    }
    column->validity.length = column->values.length = column->offsets.length = 0;
    column->kind = BATCH_NULL;
    return false;
}

static size_t count_nulls(const batch_column *column, size_t from, size_t to)
{
    size_t nulls = 0;
    for (size_t row = from; row < to; row++)
        nulls += !batch_bit(column->validity.data, row);
    return nulls;
}

static void truncate_values(batch_column *column, size_t rows)
{
    if (batch_kind_varies(column->kind)) {
        column->offsets.length = (rows + 1) * sizeof(int32_t);
        column->values.length = (size_t)((const int32_t *)(const void *)column->offsets.data)[rows];
    } else if (column->kind == BATCH_BOOL) {
        column->values.length = (rows + 7) / 8;
    } else {
        column->values.length = rows * batch_kind_width(column->kind);
    }
}

void batch_column_truncate(batch_column *column, size_t rows)
{
    if (column->kind == BATCH_NULL) {
        column->rows = column->null_count = rows;
        return;
    }
    if (column->null_count != 0)
        column->null_count -= count_nulls(column, rows, column->rows);
    column->validity.length = column->null_count != 0 ? (rows + 7) / 8 : 0;
    column->rows = rows;
    truncate_values(column, rows);
    check(column);
}

size_t batch_column_nbytes(const batch_column *column)
{
    return column->validity.length + column->values.length + column->offsets.length;
}
