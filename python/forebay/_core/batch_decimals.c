/* SPDX-License-Identifier: Apache-2.0 */
/* Decimals in columns: by way of their text, which is exact. */
#include "batch_values.h"

#include <string.h>

#define TEXT_MAX 128 /* of a number that may fit: sign, digits, point, exponent */

typedef struct decimal_parts {
    batch_uint128 digits;
    int count;    /* of digits, without leading zeros */
    int exponent;
    bool is_negative;
} decimal_parts;

/* The exponent after the E; false if it is far from anything that fits. */
static bool read_exponent(const char *text, int *exponent)
{
    bool is_negative = *text == '-';
    int number = 0;
    for (text += *text == '-' || *text == '+'; *text >= '0' && *text <= '9'; text++) {
        number = number * 10 + (*text - '0');
        if (number > 1000)
            return false;
    }
    *exponent += is_negative ? -number : number;
    return *text == '\0';
}

/* What str() of a Decimal says; false: not finite, or of too many digits. */
static bool read_parts(const char *text, decimal_parts *parts)
{
    bool after_point = false;
    *parts = (decimal_parts){ .is_negative = *text == '-' };
    for (text += *text == '-'; *text != '\0'; text++) {
        if (*text == '.') {
            after_point = true;
            continue;
        }
        if (*text == 'E')
            return read_exponent(text + 1, &parts->exponent);
        if (*text < '0' || *text > '9')
            return false;
        parts->count += parts->count != 0 || *text != '0';
        if (parts->count > BATCH_DECIMAL_DIGITS)
            return false;
        parts->digits = parts->digits * 10 + (unsigned)(*text - '0');
        parts->exponent -= after_point;
    }
    return true;
}

/* false, maybe with an exception: no such number. */
static bool parts_of(PyObject *value, decimal_parts *parts)
{
    PyObject *text = PyObject_Str(value);
    if (text == NULL)
        return false;
    bool done = PyUnicode_IS_COMPACT_ASCII(text) && PyUnicode_GET_LENGTH(text) < TEXT_MAX
                && read_parts((const char *)PyUnicode_1BYTE_DATA(text), parts);
    Py_DECREF(text);
    return done && !(parts->is_negative && parts->digits == 0); /* Arrow has no -0 */
}

bool batch_decimal_scale(PyObject *value, uint8_t *scale)
{
    decimal_parts parts;
    bool suits = parts_of(value, &parts) && parts.exponent <= 0 && parts.exponent >= -BATCH_DECIMAL_DIGITS;
    if (suits)
        *scale = (uint8_t)-parts.exponent;
    PyErr_Clear();
    return suits;
}

/* To the exponent -scale; false if it cannot be, or has more digits than there may be. */
static bool rescale(decimal_parts *parts, const batch_column *column)
{
    int exponent = -(int)column->scale;
    if (parts->digits == 0 && parts->exponent > exponent)
        parts->exponent = exponent;
    while (parts->exponent > exponent && parts->count < column->precision) {
        parts->digits *= 10;
        parts->count++;
        parts->exponent--;
    }
    return parts->exponent == exponent && parts->count <= column->precision;
}

batch_put batch_put_decimal(core_state *state, batch_part *part, PyObject *value)
{
    batch_column *column = part->column;
    decimal_parts parts;
    if (!Py_IS_TYPE(value, state->types.decimal))
        return BATCH_PUT_MISFIT;
    if (!parts_of(value, &parts))
        return PyErr_Occurred() ? BATCH_PUT_FAILED : BATCH_PUT_MISFIT;
    bool fits = column->is_declared ? rescale(&parts, column) : parts.exponent == -(int)column->scale;
    if (!fits)
        return BATCH_PUT_MISFIT;
    batch_int128 number = parts.is_negative ? -(batch_int128)parts.digits : (batch_int128)parts.digits;
    if (batch_column_put_fixed(column, &number, sizeof number))
        return BATCH_PUT_DONE;
    PyErr_NoMemory();
    return BATCH_PUT_FAILED;
}

/* All digits, and as many after the point as the scale says: the Decimal has that exponent again. */
static size_t write_text(char *end, batch_uint128 digits, int scale, bool is_negative)
{
    char *at = end;
    for (int written = 0; digits != 0 || written <= scale; written++) {
        if (written == scale && scale != 0)
            *--at = '.';
        *--at = (char)('0' + (int)(digits % 10));
        digits /= 10;
    }
    if (is_negative)
        *--at = '-';
    return (size_t)(end - at);
}

PyObject *batch_decimal_value(core_state *state, const batch_part *part, size_t row)
{
    char text[TEXT_MAX];
    batch_int128 number;
    memcpy(&number, part->column->values.data + row * sizeof number, sizeof number);
    batch_uint128 size = number < 0 ? -(batch_uint128)number : (batch_uint128)number;
    size_t length = write_text(text + sizeof text, size, part->column->scale, number < 0);
    PyObject *string = PyUnicode_FromStringAndSize(text + sizeof text - length, (Py_ssize_t)length);
    PyObject *value = string == NULL ? NULL : PyObject_CallOneArg((PyObject *)state->types.decimal, string);
    Py_XDECREF(string);
    return value;
}
