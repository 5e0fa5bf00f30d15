/* SPDX-License-Identifier: Apache-2.0 */
#include "arena_methods.h"
#include "batch_objects.h"
#include "codec_functions.h"
#include "codec_hooks.h"
#include "core.h"
#include "memoize.h"
#include "record.h"

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

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type_out)
{
    *type_out = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (*type_out == NULL)
        return -1;
    return PyModule_AddType(module, *type_out);
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
    if (core_types_init(&state->types) < 0 || add_timedelta(state) < 0 || errors_init(state, module) < 0)
        return -1;
    if (add_type(module, &arena_type_spec, &state->arena_type) < 0)
        return -1;
    if (add_type(module, &cache_type_spec, &state->cache_type) < 0)
        return -1;
    if (add_type(module, &keys_type_spec, &state->keys_type) < 0)
        return -1;
    if (add_type(module, &memoized_type_spec, &state->memoized_type) < 0)
        return -1;
    if (add_type(module, &sentinel_type_spec, &state->sentinel_type) < 0 || add_sentinels(state, module) < 0)
        return -1;
    if (add_type(module, &view_type_spec, &state->view_type) < 0)
        return -1;
    if (add_type(module, &record_map_spec, &state->record_type) < 0)
        return -1;
    if (add_type(module, &record_list_spec, &state->record_list_type) < 0)
        return -1;
    if (add_type(module, &record_tuple_spec, &state->record_tuple_type) < 0)
        return -1;
    if (add_type(module, &record_iterator_spec, &state->record_iterator_type) < 0)
        return -1;
    if (add_type(module, &batch_type_spec, &state->batch_type) < 0)
        return -1;
    if (add_type(module, &batch_row_spec, &state->batch_row_type) < 0)
        return -1;
    if (add_type(module, &batch_column_spec, &state->batch_column_type) < 0)
        return -1;
    if (add_type(module, &batch_builder_spec, &state->batch_builder_type) < 0)
        return -1;
    return PyModule_AddStringConstant(module, "__version__", FB_VERSION);
}

static int core_traverse(PyObject *module, visitproc visit, void *arg)
{
    core_state *state = core_state_of(module);
    Py_VISIT(state->arena_type);
    Py_VISIT(state->cache_type);
    Py_VISIT(state->keys_type);
    Py_VISIT(state->memoized_type);
    Py_VISIT(state->view_type);
    Py_VISIT(state->sentinel_type);
    Py_VISIT(state->record_type);
    Py_VISIT(state->record_list_type);
    Py_VISIT(state->record_tuple_type);
    Py_VISIT(state->record_iterator_type);
    Py_VISIT(state->batch_type);
    Py_VISIT(state->batch_row_type);
    Py_VISIT(state->batch_column_type);
    Py_VISIT(state->batch_builder_type);
    Py_VISIT(state->timedelta_type);
    Py_VISIT(state->size_warning);
    for (int i = 0; i < CORE_ERROR_COUNT; i++)
        Py_VISIT(state->errors[i]);
    return core_types_traverse(&state->types, visit, arg);
}

static int core_clear(PyObject *module)
{
    core_state *state = core_state_of(module);
    Py_CLEAR(state->arena_type);
    Py_CLEAR(state->cache_type);
    Py_CLEAR(state->keys_type);
    Py_CLEAR(state->memoized_type);
    Py_CLEAR(state->view_type);
    Py_CLEAR(state->sentinel_type);
    Py_CLEAR(state->absent);
    Py_CLEAR(state->missing);
    Py_CLEAR(state->record_type);
    Py_CLEAR(state->record_list_type);
    Py_CLEAR(state->record_tuple_type);
    Py_CLEAR(state->record_iterator_type);
    Py_CLEAR(state->batch_type);
    Py_CLEAR(state->batch_row_type);
    Py_CLEAR(state->batch_column_type);
    Py_CLEAR(state->batch_builder_type);
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

static PyModuleDef core_module = {
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
