/* SPDX-License-Identifier: Apache-2.0 */
#include "codec_functions.h"

#define DICTIONARY_NAME "forebay._core.dictionary" /* of the capsules */

PyObject *codec_names(PyObject *module, PyObject *unused)
{
    PyObject *names = PyList_New(0);
    const forebay_codec_info *info;
    for (int number = 1; names != NULL && (info = forebay_codec_get(number)) != NULL; number++) {
        PyObject *name = PyUnicode_FromString(info->name);
        if (name == NULL || PyList_Append(names, name) < 0)
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    PyObject *tuple = names != NULL ? PyList_AsTuple(names) : NULL;
    Py_XDECREF(names);
    return tuple;
}

static int raise_unknown(PyObject *name)
{
    PyObject *names = codec_names(NULL, NULL);
    PyObject *comma = PyUnicode_FromString(", ");
    PyObject *list = names != NULL && comma != NULL ? PyUnicode_Join(comma, names) : NULL;
    if (list != NULL)
        PyErr_Format(PyExc_ValueError, "there is no codec %R; there are %U", name, list);
    Py_XDECREF(names);
    Py_XDECREF(comma);
    Py_XDECREF(list);
    return -1;
}

static int codec_of(PyObject *name)
{
    if (!PyUnicode_Check(name)) {
        PyErr_Format(PyExc_TypeError, "codec must be a str, not %.100s", Py_TYPE(name)->tp_name);
        return -1;
    }
    Py_ssize_t length;
    const char *text = PyUnicode_AsUTF8AndSize(name, &length);
    if (text == NULL)
        return -1;
    int number = (size_t)length == strlen(text) ? forebay_codec_find(text) : -1;
    return number >= 0 ? number : raise_unknown(name);
}

static int level_of(PyObject *level, int *level_out)
{
    *level_out = FOREBAY_CODEC_USUAL_LEVEL;
    if (level == Py_None)
        return 0;
    if (!PyLong_Check(level) || PyBool_Check(level)) {
        PyErr_Format(PyExc_TypeError, "level must be an int or None, not %.100s", Py_TYPE(level)->tp_name);
        return -1;
    }
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(level, &overflow);
    if (overflow != 0)
        number = overflow > 0 ? INT_MAX : INT_MIN;
    /* what is out of the range of int is refused all the same; INT_MIN means the usual level */
    *level_out = number > INT_MAX ? INT_MAX : number <= INT_MIN ? INT_MIN + 1 : (int)number;
    return 0;
}

/* None: NULL. */
static int dictionary_of(PyObject *capsule, forebay_codec_dictionary **dictionary)
{
    *dictionary = capsule != Py_None ? PyCapsule_GetPointer(capsule, DICTIONARY_NAME) : NULL;
    return capsule != Py_None && *dictionary == NULL ? -1 : 0;
}

PyObject *codec_recognise(PyObject *module, PyObject *data)
{
    Py_buffer bytes;
    if (PyObject_GetBuffer(data, &bytes, PyBUF_SIMPLE) < 0)
        return NULL;
    int number = forebay_codec_recognise(bytes.buf, (size_t)bytes.len);
    PyBuffer_Release(&bytes);
    if (number >= 0)
        return PyUnicode_FromString(forebay_codec_get(number)->name);
    forebay_error error = { .message = "the data begins like that of no codec; if you know it, pass codec=" };
    return core_raise(core_state_of(module), FOREBAY_CORRUPT, &error, NULL);
}

static void free_dictionary(PyObject *capsule)
{
    forebay_codec_dictionary_free(PyCapsule_GetPointer(capsule, DICTIONARY_NAME));
}

PyObject *codec_dictionary(PyObject *module, PyObject *arguments)
{
    PyObject *name, *level_object;
    Py_buffer bytes;
    if (!PyArg_ParseTuple(arguments, "OOy*:_codec_dictionary", &name, &level_object, &bytes))
        return NULL;
    PyObject *capsule = NULL;
    int level, number = codec_of(name);
    if (number >= 0 && level_of(level_object, &level) == 0) {
        forebay_codec_dictionary *made;
        forebay_error error = { 0 };
        forebay_status status =
            forebay_codec_dictionary_new(number, level, bytes.buf, (size_t)bytes.len, &made, &error);
        if (status != FOREBAY_OK)
            core_raise(core_state_of(module), status, &error, NULL);
        else if ((capsule = PyCapsule_New(made, DICTIONARY_NAME, free_dictionary)) == NULL)
            forebay_codec_dictionary_free(made);
    }
    PyBuffer_Release(&bytes);
    return capsule;
}

static PyObject *compress_bytes(core_state *state, int number, int level, forebay_codec_dictionary *dictionary,
                                const Py_buffer *from)
{
    size_t bound = forebay_codec_bound(number, (size_t)from->len), made;
    if (bound == 0 || bound > PY_SSIZE_T_MAX)
        return PyErr_NoMemory();
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)bound);
    if (bytes == NULL)
        return NULL;
    forebay_error error = { 0 };
    forebay_status status;
    Py_BEGIN_ALLOW_THREADS
    status = forebay_codec_compress(number, level, dictionary, PyBytes_AS_STRING(bytes), bound, &made, from->buf,
                                    (size_t)from->len, &error);
    Py_END_ALLOW_THREADS
    if (status != FOREBAY_OK) {
        Py_DECREF(bytes);
        return core_raise(state, status, &error, NULL);
    }
    (void)_PyBytes_Resize(&bytes, (Py_ssize_t)made); /* sets NULL and the exception where it fails */
    return bytes;
}

PyObject *codec_compress(PyObject *module, PyObject *arguments)
{
    PyObject *name, *level_object, *capsule;
    Py_buffer from;
    if (!PyArg_ParseTuple(arguments, "y*OOO:_codec_compress", &from, &name, &level_object, &capsule))
        return NULL;
    PyObject *bytes = NULL;
    forebay_codec_dictionary *dictionary;
    int level, number = codec_of(name);
    if (number >= 0 && level_of(level_object, &level) == 0 && dictionary_of(capsule, &dictionary) == 0)
        bytes = compress_bytes(core_state_of(module), number, level, dictionary, &from);
    PyBuffer_Release(&from);
    return bytes;
}

static PyObject *decompress_bytes(core_state *state, int number, forebay_codec_dictionary *dictionary,
                                  size_t max_size, const Py_buffer *from)
{
    void *data;
    size_t length;
    forebay_error error = { 0 };
    forebay_status status;
    Py_BEGIN_ALLOW_THREADS
    status = forebay_codec_decompress(number, dictionary, from->buf, (size_t)from->len, max_size, &data, &length,
                                      &error);
    Py_END_ALLOW_THREADS
    if (status != FOREBAY_OK)
        return core_raise(state, status, &error, NULL);
    PyObject *bytes = PyBytes_FromStringAndSize(data, (Py_ssize_t)length);
    free(data);
    return bytes;
}

PyObject *codec_decompress(PyObject *module, PyObject *arguments)
{
    PyObject *name, *capsule;
    Py_buffer from;
    Py_ssize_t max_size;
    if (!PyArg_ParseTuple(arguments, "y*OnO:_codec_decompress", &from, &name, &max_size, &capsule))
        return NULL;
    PyObject *bytes = NULL;
    forebay_codec_dictionary *dictionary;
    int number = codec_of(name);
    if (number >= 0 && dictionary_of(capsule, &dictionary) == 0)
        bytes = decompress_bytes(core_state_of(module), number, dictionary, (size_t)max_size, &from);
    PyBuffer_Release(&from);
    return bytes;
}

/* The samples one after another, in memory of ours: their owners may change them
 * while the training lets other threads run. */
typedef struct sample_list {
    char *bytes;
    size_t *lengths;
    size_t count;
    size_t total;
    size_t room; /* for bytes */
} sample_list;

static void sample_list_clear(sample_list *list)
{
    PyMem_RawFree(list->bytes);
    PyMem_RawFree(list->lengths);
}

static int append_bytes(sample_list *list, const Py_buffer *sample)
{
    size_t length = (size_t)sample->len;
    if (list->room - list->total < length) {
        size_t room = 2 * (list->total + length);
        char *moved = PyMem_RawRealloc(list->bytes, room);
        if (moved == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        list->bytes = moved;
        list->room = room;
    }
    if (length != 0)
        memcpy(list->bytes + list->total, sample->buf, length);
    list->total += length;
    list->lengths[list->count++] = length;
    return 0;
}

static int take_samples(sample_list *list, PyObject *sequence)
{
    size_t most = (size_t)PySequence_Fast_GET_SIZE(sequence);
    list->lengths = PyMem_RawCalloc(most + 1, sizeof *list->lengths);
    if (list->lengths == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    /* An exporter is Python code since 3.12 and may change the list. */
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(sequence) && list->count < most; i++) {
        Py_buffer sample;
        PyObject *item = Py_NewRef(PySequence_Fast_GET_ITEM(sequence, i));
        int outcome = PyObject_GetBuffer(item, &sample, PyBUF_SIMPLE);
        if (outcome == 0) {
            outcome = append_bytes(list, &sample);
            PyBuffer_Release(&sample);
        }
        Py_DECREF(item);
        if (outcome < 0)
            return -1;
    }
    return 0;
}

static PyObject *train(core_state *state, const sample_list *list, Py_ssize_t size)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
    if (bytes == NULL)
        return NULL;
    size_t made;
    forebay_error error = { 0 };
    forebay_status status;
    Py_BEGIN_ALLOW_THREADS
    status = forebay_codec_train(PyBytes_AS_STRING(bytes), (size_t)size, &made, list->bytes, list->lengths,
                                 list->count, &error);
    Py_END_ALLOW_THREADS
    if (status != FOREBAY_OK) {
        Py_DECREF(bytes);
        return core_raise(state, status, &error, NULL);
    }
    (void)_PyBytes_Resize(&bytes, (Py_ssize_t)made); /* sets NULL and the exception where it fails */
    return bytes;
}

PyObject *codec_train(PyObject *module, PyObject *arguments)
{
    PyObject *samples;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(arguments, "On:_codec_train", &samples, &size))
        return NULL;
    if (size < 0 || size > FOREBAY_DICTIONARY_MAX_SIZE)
        size = FOREBAY_DICTIONARY_MAX_SIZE + 1; /* the library says what is wrong with it */
    PyObject *sequence = PySequence_Fast(samples, "samples must be an iterable of bytes-like objects");
    if (sequence == NULL)
        return NULL;
    PyObject *bytes = NULL;
    sample_list list = { 0 };
    if (take_samples(&list, sequence) == 0)
        bytes = train(core_state_of(module), &list, size);
    sample_list_clear(&list);
    Py_DECREF(sequence);
    return bytes;
}
