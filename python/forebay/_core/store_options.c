/* SPDX-License-Identifier: Apache-2.0 */
#include "store_options.h"

static int append_tag(store_options *options, core_state *state, PyObject *tag, size_t ends[])
{
    size_t count = options->library.tag_count;
    if (count == FOREBAY_TAGS_MAX) {
        PyErr_Format(PyExc_ValueError, "an entry has at most %u tags", FOREBAY_TAGS_MAX);
        return -1;
    }
    if (core_key_append(&state->types, tag, &options->writer) < 0)
        return -1;
    ends[count] = core_writer_length(&options->writer);
    options->library.tag_count++;
    return 0;
}

static int take_tags(store_options *options, core_state *state, PyObject *tags)
{
    size_t ends[FOREBAY_TAGS_MAX];
    if (PyUnicode_Check(tags) || PyBytes_Check(tags)) {
        PyErr_Format(PyExc_TypeError, "tags must be an iterable of tags, not one %.100s: tags=[...]",
                     Py_TYPE(tags)->tp_name);
        return -1;
    }
    PyObject *sequence = PySequence_Fast(tags, "tags must be an iterable of tags");
    if (sequence == NULL)
        return -1;
    int outcome = 0;
    for (Py_ssize_t i = 0; outcome == 0 && i < PySequence_Fast_GET_SIZE(sequence); i++)
        outcome = append_tag(options, state, PySequence_Fast_GET_ITEM(sequence, i), ends);
    Py_DECREF(sequence);
    const uint8_t *data = core_writer_data(&options->writer);
    size_t start = 0;
    for (size_t i = 0; i < options->library.tag_count; i++) {
        options->tags[i] = (forebay_key){ data + start, ends[i] - start };
        start = ends[i];
    }
    return outcome;
}

int store_options_init(store_options *options, core_state *state, PyObject *ttl, PyObject *tags, forebay_set_mode mode)
{
    options->library = (forebay_set_options){ .ttl_ms = FOREBAY_TTL_DEFAULT, .mode = mode };
    if (ttl != NULL && ttl_from_object(state, ttl, &options->library.ttl_ms) < 0)
        return -1;
    if (tags == NULL || tags == Py_None)
        return 0;
    options->library.tags = options->tags;
    core_writer_init(&options->writer, options->memory, sizeof(options->memory), SIZE_MAX);
    if (take_tags(options, state, tags) == 0 && options->library.tag_count != 0)
        return 0;
    core_writer_clear(&options->writer);
    return options->library.tag_count == 0 && !PyErr_Occurred() ? 0 : -1;
}

void store_options_mark(store_options *options, const forebay_cache *cache)
{
    for (size_t i = 0; i < options->library.tag_count; i++)
        options->marks[i] = forebay_tag_mark(cache, options->tags[i].data, options->tags[i].length);
    options->library.tag_marks = options->marks;
}
