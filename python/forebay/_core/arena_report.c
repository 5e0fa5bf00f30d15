/* SPDX-License-Identifier: Apache-2.0 */
#include "arena_methods.h"

#include <stdlib.h>
#include <string.h>

/* Put `value` (taken over, may be NULL after a failure) into `dict`. */
static int put_figure(PyObject *dict, const char *name, PyObject *value)
{
    if (value == NULL)
        return -1;
    int outcome = PyDict_SetItemString(dict, name, value);
    Py_DECREF(value);
    return outcome;
}

typedef struct figure {
    const char *name;
    uint64_t value;
    bool is_flag;
} figure;

static PyObject *dict_of_figures(const figure *figures, size_t count)
{
    PyObject *dict = PyDict_New();
    if (dict == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        PyObject *value = figures[i].is_flag ? PyBool_FromLong((long)figures[i].value)
                                             : PyLong_FromUnsignedLongLong(figures[i].value);
        if (put_figure(dict, figures[i].name, value) < 0) {
            Py_DECREF(dict);
            return NULL;
        }
    }
    return dict;
}

#define FIGURE(from, field)                                                                                  \
    {                                                                                                        \
#field, (from).field, false                                                                          \
    }
#define FLAG(from, field)                                                                                    \
    {                                                                                                        \
#field, (from).field, true                                                                           \
    }
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static PyObject *dict_of_info(forebay_arena_info info)
{
    const figure figures[] = {
        FIGURE(info, size),           FIGURE(info, format_version), FIGURE(info, segment_size),
        FIGURE(info, segment_count),  FIGURE(info, segments_free),  FIGURE(info, segments_index),
        FIGURE(info, row_count),      FIGURE(info, rows_used),      FIGURE(info, cache_count),
        FIGURE(info, caches_used),    FIGURE(info, index_buckets),  FIGURE(info, index_slots_used),
        FIGURE(info, metadata_bytes), FIGURE(info, entry_bytes),    FIGURE(info, now_ms),
        FIGURE(info, limit_count),    FIGURE(info, leases),         FIGURE(info, leases_held),
        FLAG(info, replaced),         FLAG(info, huge_pages),       FLAG(info, on_disk),
    };
    PyObject *dict = dict_of_figures(figures, COUNT_OF(figures));
    if (dict != NULL && put_figure(dict, "uuid", PyBytes_FromStringAndSize((const char *)info.uuid, sizeof info.uuid)) < 0)
        Py_CLEAR(dict);
    return dict;
}

int report_add(PyObject *dict, const char *name, PyObject *value)
{
    PyObject *text = value == NULL ? NULL : PyUnicode_DecodeUTF8(name, (Py_ssize_t)strlen(name), "replace");
    int outcome = text == NULL ? -1 : PyDict_SetItem(dict, text, value);
    Py_XDECREF(text);
    Py_XDECREF(value);
    return outcome;
}

PyObject *arena_info(PyObject *object, PyObject *unused)
{
    arena_object *self = (arena_object *)object;
    forebay_arena *arena = self->arena;
    if (arena == NULL)
        return arena_raise_closed(self);
    forebay_arena_info info = { 0 };
    forebay_status status;
    arena_enter(self);
    Py_BEGIN_ALLOW_THREADS status = forebay_arena_get_info(arena, &info);
    Py_END_ALLOW_THREADS arena_leave(self);
    if (status != FOREBAY_OK)
        return core_raise(self->state, status, NULL, self->path);
    return dict_of_info(info);
}

static PyObject *list_of_rows(const forebay_row_info *rows, uint32_t count)
{
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; list != NULL && i < count; i++) {
        PyObject *row =
            Py_BuildValue("{s:I,s:I,s:i,s:N}", "row", rows[i].row, "generation", rows[i].generation, "pid",
                          (int)rows[i].pid, "alive", PyBool_FromLong(rows[i].alive));
        if (row == NULL || PyList_Append(list, row) < 0)
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}

PyObject *arena_rows(PyObject *object, PyObject *unused)
{
    arena_object *self = (arena_object *)object;
    forebay_arena *arena = self->arena;
    if (arena == NULL)
        return arena_raise_closed(self);
    forebay_arena_info info = { 0 };
    forebay_row_info *rows = NULL;
    uint32_t count = 0;
    arena_enter(self);
    Py_BEGIN_ALLOW_THREADS if (forebay_arena_get_info(arena, &info) == FOREBAY_OK) rows =
        malloc(sizeof(*rows) * (info.row_count > 0 ? info.row_count : 1));
    if (rows != NULL)
        count = forebay_arena_rows(arena, rows, info.row_count);
    Py_END_ALLOW_THREADS arena_leave(self);
    if (rows == NULL)
        return PyErr_NoMemory();
    PyObject *list = list_of_rows(rows, count < info.row_count ? count : info.row_count);
    free(rows);
    return list;
}

/* A figure that is None for caches without quotas. */
static int put_quota(PyObject *dict, const char *name, bool is_there, uint64_t value)
{
    return put_figure(dict, name, is_there ? PyLong_FromUnsignedLongLong(value) : Py_NewRef(Py_None));
}

/* What there is to know of a cache that packs. */
static int put_packing(PyObject *dict, const forebay_cache_stats *stats)
{
    bool has_dictionary = stats->dictionary != 0;
    bool packs = strcmp(stats->codec, "none") != 0;
    if (put_figure(dict, "codec", packs ? PyUnicode_FromString(stats->codec) : Py_NewRef(Py_None)) < 0
        || put_figure(dict, "ratio",
                      stats->stored_bytes != 0
                          ? PyFloat_FromDouble((double)stats->value_bytes / (double)stats->stored_bytes)
                          : Py_NewRef(Py_None)) < 0
        || put_quota(dict, "dictionary", has_dictionary, stats->dictionary) < 0)
        return -1;
    return put_figure(dict, "dictionary_age",
                      has_dictionary ? PyFloat_FromDouble((double)stats->dictionary_age_ms / 1000)
                                     : Py_NewRef(Py_None));
}

PyObject *dict_of_stats(forebay_cache_stats stats)
{
    const figure figures[] = {
        FIGURE(stats, hits),      FIGURE(stats, misses),      FIGURE(stats, sets),    FIGURE(stats, deletes),
        FIGURE(stats, evictions), FIGURE(stats, expirations), FIGURE(stats, entries),
        FIGURE(stats, packed_hits), FIGURE(stats, value_bytes), FIGURE(stats, stored_bytes), FIGURE(stats, warmed),
    };
    PyObject *dict = dict_of_figures(figures, COUNT_OF(figures));
    bool has_quota = (stats.share | stats.limit) != 0;
    if (dict == NULL || put_quota(dict, "share", stats.share != 0, stats.share) < 0
        || put_quota(dict, "limit", stats.limit != 0, stats.limit) < 0
        || put_quota(dict, "bytes", has_quota, stats.bytes) < 0 || put_packing(dict, &stats) < 0)
        Py_CLEAR(dict);
    return dict;
}

/* Add the statistics of the cache `name` to `dict`, unless it was just dropped. */
static int add_cache_stats(arena_object *self, forebay_arena *arena, const char *name, PyObject *dict)
{
    forebay_cache *cache = NULL;
    forebay_cache_stats stats = { 0 };
    forebay_error error = { 0 };
    forebay_status status = forebay_cache_open(arena, name, NULL, &cache, &error);
    if (status == FOREBAY_OK)
        status = forebay_cache_get_stats(cache, &stats);
    forebay_cache_close(cache);
    if (status == FOREBAY_OK)
        return put_figure(dict, name, dict_of_stats(stats));
    if (status == FOREBAY_CLOSED)
        return 0;
    core_raise(self->state, status, &error, self->path);
    return -1;
}

PyObject *arena_stats(PyObject *object, PyObject *unused)
{
    arena_object *self = (arena_object *)object;
    forebay_arena *arena = self->arena;
    if (arena == NULL)
        return arena_raise_closed(self);
    PyObject *dict = PyDict_New();
    if (dict == NULL)
        return NULL;
    char name[FOREBAY_NAME_MAX + 1];
    arena_enter(self);
    for (uint32_t i = 0; dict != NULL && forebay_cache_name_at(arena, i, name); i++) {
        if (add_cache_stats(self, arena, name, dict) < 0)
            Py_CLEAR(dict);
    }
    arena_leave(self);
    return dict;
}

#define REPORT_MAX 100

typedef struct verify_report {
    char *messages[REPORT_MAX]; /* owned, from strdup() */
    size_t count;
    bool out_of_memory;
} verify_report;

/* Runs without the GIL. */
static void note_violation(void *context, const char *message)
{
    verify_report *report = context;
    if (report->count == REPORT_MAX)
        return;
    char *copy = strdup(message);
    if (copy == NULL)
        report->out_of_memory = true;
    else
        report->messages[report->count++] = copy;
}

/* The messages as a list; frees them. */
static PyObject *list_of_report(verify_report *report)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; i < report->count; i++) {
        PyObject *text =
            PyUnicode_DecodeUTF8(report->messages[i], (Py_ssize_t)strlen(report->messages[i]), "replace");
        if (list != NULL && (text == NULL || PyList_Append(list, text) < 0))
            Py_CLEAR(list);
        Py_XDECREF(text);
        free(report->messages[i]);
    }
    return list;
}

PyObject *arena_verify(PyObject *object, PyObject *unused)
{
    arena_object *self = (arena_object *)object;
    forebay_arena *arena = self->arena;
    if (arena == NULL)
        return arena_raise_closed(self);
    verify_report report = { .count = 0 };
    forebay_status status;
    arena_enter(self);
    Py_BEGIN_ALLOW_THREADS status = forebay_arena_verify(arena, note_violation, &report);
    Py_END_ALLOW_THREADS arena_leave(self);
    PyObject *list = list_of_report(&report);
    if (list == NULL)
        return NULL;
    bool told = status == FOREBAY_OK || (status == FOREBAY_CORRUPT && report.count > 0);
    if (told && !report.out_of_memory)
        return list;
    Py_DECREF(list);
    return core_raise(self->state, report.out_of_memory ? FOREBAY_NOMEM : status, NULL, self->path);
}
