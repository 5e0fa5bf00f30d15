/* SPDX-License-Identifier: Apache-2.0 */
#include "arena_methods.h"
#include "batch_objects.h"
#include "codec_functions.h"
#include "codec_hooks.h"
#include "core.h"
#include "memoize.h"
#include "record.h"

#include <stddef.h>

core_state *core_state_of(PyObject *module)
{
    return PyModule_GetState(module);
}

static PyMethodDef core_methods[] = {
    { "open_arena", (PyCFunction)open_arena, METH_VARARGS, OPEN_ARENA_DOC },
    { "open_arena_fd", (PyCFunction)open_arena_fd, METH_VARARGS, OPEN_ARENA_FD_DOC },
    { "_memoized", core_memoized, METH_VARARGS, CORE_MEMOIZED_DOC },
    { "plain", core_plain, METH_O, PLAIN_DOC },
    { "_record", core_record_from_bytes, METH_O, RECORD_FROM_BYTES_DOC },
    { "_arrow_stream", batch_arrow_stream, METH_O, BATCH_ARROW_STREAM_DOC },
    { "_measure", batch_measure, METH_O, BATCH_MEASURE_DOC },
    { "_codec_names", codec_names, METH_NOARGS, CODEC_NAMES_DOC },
    { "_codec_recognise", codec_recognise, METH_O, CODEC_RECOGNISE_DOC },
    { "_codec_dictionary", codec_dictionary, METH_VARARGS, CODEC_DICTIONARY_DOC },
    { "_codec_compress", codec_compress, METH_VARARGS, CODEC_COMPRESS_DOC },
    { "_codec_decompress", codec_decompress, METH_VARARGS, CODEC_DECOMPRESS_DOC },
    { "_codec_train", codec_train, METH_VARARGS, CODEC_TRAIN_DOC },
    { "_encode", hook_encode, METH_O, HOOK_ENCODE_DOC },
    { "_decode", hook_decode, METH_O, HOOK_DECODE_DOC },
    { "_encode_key", hook_encode_key, METH_O, HOOK_ENCODE_KEY_DOC },
    { "_decode_key", hook_decode_key, METH_O, HOOK_DECODE_KEY_DOC },
    { NULL, NULL, 0, NULL },
};

/* The types, and where the state keeps them. */
static const struct type_entry {
    PyType_Spec *spec;
    size_t place;
} type_entries[] = {
    { &arena_type_spec, offsetof(core_state, arena_type) },
    { &cache_type_spec, offsetof(core_state, cache_type) },
    { &keys_type_spec, offsetof(core_state, keys_type) },
    { &memoized_type_spec, offsetof(core_state, memoized_type) },
    { &sentinel_type_spec, offsetof(core_state, sentinel_type) },
    { &view_type_spec, offsetof(core_state, view_type) },
    { &limit_type_spec, offsetof(core_state, limit_type) },
    { &channel_type_spec, offsetof(core_state, channel_type) },
    { &tier_record_type_spec, offsetof(core_state, tier_record_type) },
    { &pool_type_spec, offsetof(core_state, pool_type) },
    { &held_type_spec, offsetof(core_state, held_type) },
    { &waiter_type_spec, offsetof(core_state, waiter_type) },
    { &record_map_spec, offsetof(core_state, record_type) },
    { &record_list_spec, offsetof(core_state, record_list_type) },
    { &record_tuple_spec, offsetof(core_state, record_tuple_type) },
    { &record_iterator_spec, offsetof(core_state, record_iterator_type) },
    { &buffer_pool_type_spec, offsetof(core_state, buffer_pool_type) },
    { &pooled_buffer_type_spec, offsetof(core_state, pooled_buffer_type) },
    { &object_pool_type_spec, offsetof(core_state, object_pool_type) },
    { &borrow_type_spec, offsetof(core_state, borrow_type) },
    { &batch_type_spec, offsetof(core_state, batch_type) },
    { &batch_row_spec, offsetof(core_state, batch_row_type) },
    { &batch_column_spec, offsetof(core_state, batch_column_type) },
    { &batch_builder_spec, offsetof(core_state, batch_builder_type) },
};
#define TYPE_COUNT (sizeof type_entries / sizeof *type_entries)

static PyTypeObject **type_at(core_state *state, size_t i)
{
    return (PyTypeObject **)(void *)((char *)state + type_entries[i].place);
}

static int add_types(core_state *state, PyObject *module)
{
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, type_entries[i].spec, NULL);
        *type_at(state, i) = type;
        if (type == NULL || PyModule_AddType(module, type) < 0)
            return -1;
    }
    return 0;
}

static int add_timedelta(core_state *state)
{
    PyObject *datetime = PyImport_ImportModule("datetime");
    if (datetime == NULL)
        return -1;
    state->timedelta_type = (PyTypeObject *)PyObject_GetAttrString(datetime, "timedelta");
    Py_DECREF(datetime);
    return state->timedelta_type == NULL ? -1 : 0;
}

static int add_sentinels(core_state *state, PyObject *module)
{
    state->absent = sentinel_new(state, "ABSENT");
    state->missing = sentinel_new(state, "MISSING");
    if (state->absent == NULL || state->missing == NULL || PyModule_AddObjectRef(module, "ABSENT", state->absent) < 0)
        return -1;
    return PyModule_AddObjectRef(module, "MISSING", state->missing);
}

static int core_exec(PyObject *module)
{
    core_state *state = core_state_of(module);
    if (core_types_init(&state->types) < 0 || add_timedelta(state) < 0 || errors_init(state, module) < 0
        || add_types(state, module) < 0 || add_sentinels(state, module) < 0)
        return -1;
    return PyModule_AddStringConstant(module, "__version__", forebay_version());
}

static int core_traverse(PyObject *module, visitproc visit, void *arg)
{
    core_state *state = core_state_of(module);
    for (size_t i = 0; i < TYPE_COUNT; i++)
        Py_VISIT(*type_at(state, i));
    Py_VISIT(state->timedelta_type);
    Py_VISIT(state->size_warning);
    for (int i = 0; i < CORE_ERROR_COUNT; i++)
        Py_VISIT(state->errors[i]);
    return core_types_traverse(&state->types, visit, arg);
}

static int core_clear(PyObject *module)
{
    core_state *state = core_state_of(module);
    for (size_t i = 0; i < TYPE_COUNT; i++)
        Py_CLEAR(*type_at(state, i));
    Py_CLEAR(state->absent);
    Py_CLEAR(state->missing);
    Py_CLEAR(state->timedelta_type);
    Py_CLEAR(state->size_warning);
    for (int i = 0; i < CORE_ERROR_COUNT; i++)
        Py_CLEAR(state->errors[i]);
    core_types_clear(&state->types);
    return 0;
}

static void core_free(void *module)
{
    core_clear(module);
}

static PyModuleDef_Slot core_slots[] = {
    { Py_mod_exec, core_exec },
#ifdef Py_mod_multiple_interpreters
    { Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED },
#endif
    { 0, NULL },
};

PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "forebay._core",
    .m_doc = "The extension under the package forebay; import that one.",
    .m_size = sizeof(core_state),
    .m_methods = core_methods,
    .m_slots = core_slots,
    .m_traverse = core_traverse,
    .m_clear = core_clear,
    .m_free = core_free,
};

PyMODINIT_FUNC PyInit__core(void);
PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
