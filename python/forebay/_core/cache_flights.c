/* SPDX-License-Identifier: Apache-2.0 */
/* Cache: the leases of many keys in one call, for forebay._loading_flights.
 *
 * A flight is any object with the attributes `key` and `lease`.  A lease that is taken
 * is in its flight before the interpreter can run anything else: an interrupt loses none. */
#include "cache_methods.h"
#include "leased_store.h"

/* ---- taking ---- */

typedef struct taking {
    cache_object *self;
    uint64_t timeout_ms;
    bool absence; /* an entry that says that there is no value counts */
    store_options options;
    PyObject *key_name, *lease_name;
} taking;

/* Is there an entry by now, which somebody stored between the miss and the lease?  -1 with an exception. */
static int is_there(const taking *t, const core_key *key)
{
    forebay_kind kind;
    int found = cache_peek_kind(t->self, key->data, key->length, &kind);
    return found == 1 && kind == FOREBAY_KIND_ABSENT ? t->absence : found;
}

/* Give the flight its lease; False if it ended at once, for there is an entry. */
static PyObject *keep_lease(const taking *t, PyObject *flight, const core_key *key, const forebay_lease *lease, PyObject *bytes)
{
    int there = PyObject_SetAttr(flight, t->lease_name, bytes) < 0 ? -1 : is_there(t, key);
    if (there != 0 && t->self->cache != NULL)
        forebay_lease_end(t->self->cache, lease);
    return there < 0 ? NULL : PyBool_FromLong(!there);
}

static PyObject *take_for_key(taking *t, PyObject *flight, const core_key *key)
{
    lease_bytes taken;
    forebay_status status = lease_take(t->self, key, t->timeout_ms, &t->options, &taken);
    if (status == FOREBAY_FULL)
        Py_RETURN_NONE;
    if (status != FOREBAY_OK && status != FOREBAY_EXISTS)
        return NULL;
    PyObject *bytes = lease_to_object(&taken, t->options.library.tag_count);
    if (status == FOREBAY_EXISTS)
        return bytes;
    if (bytes == NULL) {
        forebay_lease_end(t->self->cache, &taken.lease);
        return NULL;
    }
    PyObject *outcome = keep_lease(t, flight, key, &taken.lease, bytes);
    Py_DECREF(bytes);
    return outcome;
}

static PyObject *take_for(taking *t, PyObject *flight)
{
    core_key encoded;
    PyObject *outcome = NULL;
    PyObject *key = PyObject_GetAttr(flight, t->key_name);
    if (key != NULL && core_key_encode(&t->self->state->types, key, &encoded) == 0) {
        outcome = take_for_key(t, flight, &encoded);
        core_key_clear(&encoded);
    }
    Py_XDECREF(key);
    return outcome;
}

/* 1: go on; 0: there are no more leases; -1: exception. */
static int take_next(taking *t, PyObject *flights, Py_ssize_t i, PyObject *outcomes)
{
    PyObject *flight = Py_NewRef(PyList_GET_ITEM(flights, i));
    PyObject *outcome = take_for(t, flight);
    int went = outcome == NULL ? -1 : outcome == Py_None ? 0 : PyList_Append(outcomes, outcome) < 0 ? -1 : 1;
    Py_XDECREF(outcome);
    Py_DECREF(flight);
    return went;
}

PyObject *cache_leases_take(PyObject *object, PyObject *arguments)
{
    PyObject *flights, *tags;
    unsigned long long timeout_ms;
    int absence;
    taking t = { .self = (cache_object *)object };
    if (!PyArg_ParseTuple(arguments, "O!KpO:_leases_take", &PyList_Type, &flights, &timeout_ms, &absence, &tags)
        || store_options_init(&t.options, t.self->state, NULL, tags, FOREBAY_SET) < 0)
        return NULL;
    t.timeout_ms = timeout_ms;
    t.absence = absence != 0;
    t.key_name = PyUnicode_InternFromString("key");
    t.lease_name = PyUnicode_InternFromString("lease");
    PyObject *outcomes = PyList_New(0);
    int went = t.key_name == NULL || t.lease_name == NULL || outcomes == NULL ? -1 : 1;
    for (Py_ssize_t i = 0; went == 1 && i < PyList_GET_SIZE(flights); i++)
        went = take_next(&t, flights, i, outcomes);
    Py_XDECREF(t.key_name);
    Py_XDECREF(t.lease_name);
    store_options_clear(&t.options);
    if (went < 0)
        Py_CLEAR(outcomes);
    return outcomes;
}

/* ---- storing ---- */

typedef struct storing {
    cache_object *self;
    int (*store)(const leased_store *s, PyObject *item);
    PyObject *key_name, *lease_name;
} storing;

/* The exception that is set, taken; NULL: it is one that ends programs, and stays. */
static PyObject *take_exception(void)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return NULL;
    PyObject *type, *exception, *traceback;
    PyErr_Fetch(&type, &exception, &traceback);
    PyErr_NormalizeException(&type, &exception, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(exception, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return exception;
}

/* 1: stored; 0: the lease was taken away; -1: exception. */
static int store_under(const storing *st, PyObject *key, PyObject *lease_object, PyObject *item, PyObject *ttl)
{
    lease_bytes lease;
    size_t marks;
    store_options options;
    leased_store s = { st->self, key, &lease.lease, &options.library };
    if (lease_from_object(lease_object, &lease, &marks) < 0)
        return -1;
    if (store_options_init(&options, st->self->state, ttl, NULL, FOREBAY_SET) < 0) {
        leased_store_failed(&s);
        return -1;
    }
    return st->store(&s, item);
}

/* True, False, or the exception; NULL with one that ends programs. */
static PyObject *store_for(const storing *st, PyObject *flight, PyObject *item, PyObject *ttl)
{
    PyObject *key = PyObject_GetAttr(flight, st->key_name);
    PyObject *lease = key == NULL ? NULL : PyObject_GetAttr(flight, st->lease_name);
    int stored = lease == NULL ? -1 : store_under(st, key, lease, item, ttl);
    Py_XDECREF(key);
    Py_XDECREF(lease);
    return stored < 0 ? take_exception() : PyBool_FromLong(stored);
}

static int store_next(const storing *st, PyObject *const lists[3], Py_ssize_t i, PyObject *outcomes)
{
    PyObject *items[3]; /* owned: storing may run Python code, which may change the lists */
    for (int k = 0; k < 3; k++)
        items[k] = Py_NewRef(PyList_GET_ITEM(lists[k], i));
    PyObject *outcome = store_for(st, items[0], items[1], items[2]);
    int went = outcome == NULL ? -1 : PyList_Append(outcomes, outcome);
    Py_XDECREF(outcome);
    for (int k = 0; k < 3; k++)
        Py_DECREF(items[k]);
    return went;
}

static bool all_have(PyObject *const lists[3], Py_ssize_t i)
{
    return i < PyList_GET_SIZE(lists[0]) && i < PyList_GET_SIZE(lists[1]) && i < PyList_GET_SIZE(lists[2]);
}

static PyObject *store_all(PyObject *object, PyObject *arguments, const char *format,
                           int (*store)(const leased_store *s, PyObject *item))
{
    storing st = { .self = (cache_object *)object, .store = store };
    PyObject *lists[3]; /* flights, what is stored, for how long */
    if (!PyArg_ParseTuple(arguments, format, &PyList_Type, &lists[0], &PyList_Type, &lists[1], &PyList_Type, &lists[2]))
        return NULL;
    st.key_name = PyUnicode_InternFromString("key");
    st.lease_name = PyUnicode_InternFromString("lease");
    PyObject *outcomes = PyList_New(0);
    int went = st.key_name == NULL || st.lease_name == NULL || outcomes == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; went == 0 && all_have(lists, i); i++)
        went = store_next(&st, lists, i, outcomes);
    Py_XDECREF(st.key_name);
    Py_XDECREF(st.lease_name);
    if (went < 0)
        Py_CLEAR(outcomes);
    return outcomes;
}

PyObject *cache_leases_store(PyObject *object, PyObject *arguments)
{
    return store_all(object, arguments, "O!O!O!:_leases_store", leased_store_value);
}

PyObject *cache_leases_store_payloads(PyObject *object, PyObject *arguments)
{
    return store_all(object, arguments, "O!O!O!:_leases_store_payloads", leased_store_payload);
}
