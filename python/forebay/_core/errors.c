/* SPDX-License-Identifier: Apache-2.0 */
#include "core.h"

#include <errno.h>

typedef struct error_spec {
    const char *name;
    int parent;         /* an earlier row of the table; -1: none of ours */
    PyObject **builtin; /* the built-in that fits as well; NULL: none */
    const char *doc;
} error_spec;

/* Parents come before children: errors_init() makes them in this order. */
static const error_spec ERROR_SPECS[CORE_ERROR_COUNT] = {
    [CORE_ERROR] = { "forebay.Error", -1, &PyExc_Exception,
                     "Whatever Forebay raises, but for wrong arguments (plain TypeError, ValueError)." },
    [CORE_ARENA_ERROR] = { "forebay.ArenaError", CORE_ERROR, &PyExc_OSError,
                           "The arena could not be opened or created; errno and filename say more." },
    [CORE_NOT_FOUND_ERROR] = { "forebay.NotFoundError", CORE_ARENA_ERROR, &PyExc_FileNotFoundError,
                               "There is no arena at the path, and no size= to create one with; or\n"
                               "the folder does not exist." },
    [CORE_DENIED_ERROR] = { "forebay.DeniedError", CORE_ARENA_ERROR, &PyExc_PermissionError,
                            "No permission; or the file belongs to another user or could be written by\n"
                            "others, and trust=True was not passed." },
    [CORE_NO_SPACE_ERROR] = { "forebay.NoSpaceError", CORE_ARENA_ERROR, NULL,
                              "The file system or the memory limit has no room to reserve the arena." },
    [CORE_BUSY_ERROR] = { "forebay.BusyError", CORE_ARENA_ERROR, NULL,
                          "Too many processes have this arena open." },
    [CORE_TIMEOUT_ERROR] = { "forebay.TimeoutError", CORE_ARENA_ERROR, &PyExc_TimeoutError,
                             "Another process began to create the arena and did not finish in time; or a\n"
                             "fetch() had no value by its timeout." },
    [CORE_CORRUPT_ERROR] = { "forebay.CorruptError", CORE_ERROR, &PyExc_ValueError,
                             "The file is damaged or is not an arena; or compressed data is damaged." },
    [CORE_VERSION_ERROR] = { "forebay.VersionError", CORE_ERROR, &PyExc_ValueError,
                             "The arena has another format version." },
    [CORE_INVALID_ERROR] = { "forebay.InvalidError", CORE_ERROR, &PyExc_ValueError,
                             "The library refused an argument." },
    [CORE_CLOSED_ERROR] = { "forebay.ClosedError", CORE_ERROR, &PyExc_ValueError,
                            "The arena was closed, or the cache was dropped." },
    [CORE_CONFLICT_ERROR] = { "forebay.ConflictError", CORE_ERROR, &PyExc_ValueError,
                              "The cache exists with another ttl; options belong to its creator." },
    [CORE_FULL_ERROR] = { "forebay.FullError", CORE_ERROR, &PyExc_MemoryError,
                          "No space left in the arena: nothing could be evicted for the value, or\n"
                          "there is no room for one more cache." },
    [CORE_TOO_BIG_ERROR] = { "forebay.TooBigError", CORE_ERROR, &PyExc_ValueError,
                             "The key, or key and value together, are larger than this arena takes;\n"
                             "see Arena.max_entry.  Or more would be decompressed than max_size." },
    [CORE_TYPE_MISMATCH_ERROR] = { "forebay.TypeMismatchError", CORE_ERROR, &PyExc_TypeError,
                                   "incr or decr met a value that is not an int of 64 bits." },
    [CORE_OVERFLOW_ERROR] = { "forebay.OverflowError", CORE_ERROR, &PyExc_OverflowError,
                              "The result of incr or decr does not fit 64 bits; nothing changed." },
    [CORE_MISS_ERROR] = { "forebay.MissError", CORE_ERROR, &PyExc_KeyError,
                          "cache[key] or del cache[key] found no entry, or drop(name) no cache." },
    [CORE_VIEW_ERROR] = { "forebay.ViewError", CORE_ERROR, &PyExc_BufferError,
                          "The arena cannot be closed: views of it are open." },
    [CORE_LOAD_ERROR] = { "forebay.LoadError", CORE_ERROR, &PyExc_RuntimeError,
                          "Another process was loading the value, and its loader failed." },
    [CORE_RECURSIVE_LOAD_ERROR] = { "forebay.RecursiveLoadError", CORE_ERROR, &PyExc_RuntimeError,
                                    "A loader fetches the very key that it is to load." },
    [CORE_POOL_ERROR] = { "forebay.PoolError", CORE_ERROR, &PyExc_RuntimeError,
                          "A pool was given back what is not out of it; or the base of what follows." },
    [CORE_POOL_TIMEOUT_ERROR] = { "forebay.PoolTimeoutError", CORE_POOL_ERROR, &PyExc_TimeoutError,
                                  "Nothing of the pool got free in time; __cause__ is why none could be made." },
    [CORE_POOL_CLOSED_ERROR] = { "forebay.PoolClosedError", CORE_POOL_ERROR, NULL,
                                 "The pool is not open yet, or was closed." },
    [CORE_TOO_MANY_REQUESTS_ERROR] = { "forebay.TooManyRequestsError", CORE_POOL_ERROR, NULL,
                                       "As many requests wait for an object of the pool as max_waiting allows." },
};

static PyObject *bases_of(core_state *state, const error_spec *spec)
{
    if (spec->parent < 0)
        return PyTuple_Pack(1, *spec->builtin);
    PyObject *parent = state->errors[spec->parent];
    if (spec->builtin == NULL)
        return PyTuple_Pack(1, parent);
    return PyTuple_Pack(2, parent, *spec->builtin);
}

static PyObject *make_error(core_state *state, const error_spec *spec)
{
    PyObject *bases = bases_of(state, spec);
    if (bases == NULL)
        return NULL;
    PyObject *type = PyErr_NewExceptionWithDoc(spec->name, spec->doc, bases, NULL);
    Py_DECREF(bases);
    return type;
}

static const char *short_name(const char *name)
{
    return strchr(name, '.') + 1;
}

int errors_init(core_state *state, PyObject *module)
{
    for (int i = 0; i < CORE_ERROR_COUNT; i++) {
        state->errors[i] = make_error(state, &ERROR_SPECS[i]);
        if (state->errors[i] == NULL)
            return -1;
        if (PyModule_AddObjectRef(module, short_name(ERROR_SPECS[i].name), state->errors[i]) < 0)
            return -1;
    }
    state->size_warning = PyErr_NewExceptionWithDoc(
        "forebay.SizeWarning", "An arena was opened that has another size than the one asked for.",
        PyExc_RuntimeWarning, NULL);
    return PyModule_AddObjectRef(module, "SizeWarning", state->size_warning);
}

static core_error error_of_errno(int os_error)
{
    switch (os_error) {
    case ENOENT:
        return CORE_NOT_FOUND_ERROR;
    case EACCES:
    case EPERM:
    case EROFS:
        return CORE_DENIED_ERROR;
    case ENOSPC:
    case EDQUOT:
        return CORE_NO_SPACE_ERROR;
    default:
        return CORE_ARENA_ERROR;
    }
}

/* The only place where an outcome of the library gets its exception. */
static core_error error_of_status(forebay_status status, int os_error)
{
    switch (status) {
    case FOREBAY_IO:
        return error_of_errno(os_error);
    case FOREBAY_NOSPACE:
        return CORE_NO_SPACE_ERROR;
    case FOREBAY_DENIED:
        return CORE_DENIED_ERROR;
    case FOREBAY_BUSY:
        return CORE_BUSY_ERROR;
    case FOREBAY_TIMEOUT:
        return CORE_TIMEOUT_ERROR;
    case FOREBAY_CORRUPT:
        return CORE_CORRUPT_ERROR;
    case FOREBAY_VERSION:
        return CORE_VERSION_ERROR;
    case FOREBAY_INVALID:
        return CORE_INVALID_ERROR;
    case FOREBAY_CLOSED:
        return CORE_CLOSED_ERROR;
    case FOREBAY_CONFLICT:
        return CORE_CONFLICT_ERROR;
    case FOREBAY_FULL:
        return CORE_FULL_ERROR;
    case FOREBAY_TOOBIG:
        return CORE_TOO_BIG_ERROR;
    case FOREBAY_TYPE:
        return CORE_TYPE_MISMATCH_ERROR;
    case FOREBAY_OVERFLOW:
        return CORE_OVERFLOW_ERROR;
    case FOREBAY_MISS:
        return CORE_MISS_ERROR;
    default:
        return CORE_ERROR;
    }
}

/* What OSError wants: the number, so that callers may compare it. */
static int errno_of_status(forebay_status status, int os_error)
{
    if (os_error != 0)
        return os_error;
    switch (status) {
    case FOREBAY_NOSPACE:
        return ENOSPC;
    case FOREBAY_DENIED:
        return EACCES;
    case FOREBAY_BUSY:
        return EBUSY;
    case FOREBAY_TIMEOUT:
        return ETIMEDOUT;
    default:
        return EIO;
    }
}

static PyObject *raise_os_error(PyObject *type, int os_error, const char *message, PyObject *path)
{
    PyObject *arguments = path != NULL && path != Py_None ? Py_BuildValue("(isO)", os_error, message, path)
                                                          : Py_BuildValue("(is)", os_error, message);
    if (arguments != NULL) {
        PyErr_SetObject(type, arguments);
        Py_DECREF(arguments);
    }
    return NULL;
}

PyObject *core_raise(core_state *state, forebay_status status, const forebay_error *error, PyObject *path)
{
    if (PyErr_Occurred())
        return NULL; /* a callback of ours failed first and knows better */
    if (status == FOREBAY_NOMEM)
        return PyErr_NoMemory();
    int os_error = error != NULL ? error->os_error : 0;
    const char *message =
        error != NULL && error->message[0] != '\0' ? error->message : forebay_status_text(status);
    PyObject *type = state->errors[error_of_status(status, os_error)];
    if (PyType_IsSubtype((PyTypeObject *)type, (PyTypeObject *)PyExc_OSError))
        return raise_os_error(type, errno_of_status(status, os_error), message, path);
    PyErr_SetString(type, message);
    return NULL;
}

PyObject *core_raise_miss(core_state *state, PyObject *key)
{
    PyObject *arguments = PyTuple_Pack(1, key); /* a tuple key must not become the arguments */
    if (arguments != NULL) {
        PyErr_SetObject(state->errors[CORE_MISS_ERROR], arguments);
        Py_DECREF(arguments);
    }
    return NULL;
}
