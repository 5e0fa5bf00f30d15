/* SPDX-License-Identifier: Apache-2.0 */
/* Getting an object from a pool and bringing it back.  Each step that runs Python
 * code leaves the item with exactly one owner: the caller here. */
#include "pool.h"

int pool_need_worker(pool_object *pool)
{
    PyObject *done = PyObject_CallMethod((PyObject *)pool, "_need_worker", NULL);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

void pool_need_worker_later(pool_object *pool)
{
    PyObject *done = PyObject_CallMethod((PyObject *)pool, "_need_worker_later", NULL);
    if (done == NULL)
        PyErr_WriteUnraisable((PyObject *)pool);
    Py_XDECREF(done);
}

void pool_return_unused(pool_object *pool, pool_item *item)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    pool_settle(pool, item);
    if (pool->discarded.count > 0)
        pool_need_worker_later(pool);
    PyErr_Restore(type, value, traceback);
}

PyObject *pool_error(pool_object *pool, core_error error, const char *attribute)
{
    PyObject *found = PyObject_GetAttrString((PyObject *)pool, attribute);
    if (found == NULL)
        PyErr_Clear();
    return found != NULL ? found : Py_NewRef(pool->state->errors[error]);
}

void pool_raise_closed(pool_object *pool)
{
    PyObject *error = pool_error(pool, CORE_POOL_CLOSED_ERROR, "_closed_error");
    PyObject *name = PyObject_GetAttrString((PyObject *)pool, "name");
    if (name != NULL)
        PyErr_Format(error,
                     pool->phase == POOL_NEW ? "the pool %R is not open yet: call open() first, or use it in a with statement"
                                             : "the pool %R is closed: make a new one",
                     name);
    Py_XDECREF(name);
    Py_DECREF(error);
}

bool pool_ns_from_object(PyObject *object, int64_t *ns)
{
    double seconds = PyFloat_AsDouble(object);
    if (seconds == -1 && PyErr_Occurred())
        return false;
    if (seconds != seconds) {
        PyErr_SetString(PyExc_ValueError, "a time in seconds, not nan");
        return false;
    }
    *ns = seconds <= 0 ? 0 : seconds >= 9e9 ? INT64_MAX : (int64_t)(seconds * 1e9);
    return true;
}

/* Is the caller's idle item alive?  false: it was discarded; an exception may be set
 * (KeyboardInterrupt in the hook). */
static bool passes_check(pool_object *pool, pool_item *item)
{
    if (pool->check == NULL || item->is_fresh)
        return true;
    PyObject *answer = PyObject_CallOneArg(pool->check, item->object);
    bool passes = answer != NULL && answer != Py_False;
    Py_XDECREF(answer);
    if (passes)
        return true;
    if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_Exception))
        PyErr_Clear();
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    pool->counters.lost++;
    pool_discard(pool, item);
    (void)pool_need_worker(pool); /* what it raises stays */
    if (type != NULL) {
        PyErr_Clear();
        PyErr_Restore(type, value, traceback);
    }
    return false;
}

/* Wait in Python; the waiter that comes back has an item. */
static pool_item *wait_for_item(pool_object *pool, int64_t left, int64_t order)
{
    PyObject *waiter = PyObject_CallMethod((PyObject *)pool, "_wait_for_object", "dL", (double)left / 1e9, (long long)order);
    if (waiter == NULL)
        return NULL;
    pool_item *item = ((waiter_object *)waiter)->item;
    ((waiter_object *)waiter)->item = NULL;
    Py_DECREF(waiter);
    return item;
}

/* The item used last, or one that is waited for; order as for waiter_new(). */
static pool_item *next_item(pool_object *pool, int64_t end, int64_t order)
{
    pool_item *item = pool_pop_idle(pool);
    if (item != NULL)
        return item;
    int64_t now = pool_now();
    return wait_for_item(pool, end == INT64_MAX ? INT64_MAX : end > now ? end - now : 0, order);
}

pool_item *pool_get(pool_object *pool, int64_t timeout, bool by_getconn)
{
    if (pool->phase != POOL_OPEN) {
        pool->counters.errors++;
        pool_raise_closed(pool);
        return NULL;
    }
    pool->counters.requests++;
    int64_t begun = timeout == 0 ? 0 : pool_now(), order = 0;
    int64_t end = timeout == INT64_MAX ? INT64_MAX : begun + timeout;
    for (;; order = begun) { /* a request whose object was dead does not begin at the end of the queue */
        pool_item *item = next_item(pool, end, order);
        if (item == NULL)
            return NULL;
        if (passes_check(pool, item)) {
            pool_hand_out(pool, item, by_getconn);
            return item;
        }
        if (PyErr_Occurred())
            return NULL;
    }
}

/* Say in the log that reset failed, with the exception that is set. */
static void tell_of_reset(pool_object *pool, pool_item *item)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *told = PyObject_CallMethod((PyObject *)pool, "_note_bad_reset", "OO", item->object, value);
    if (told == NULL)
        PyErr_WriteUnraisable((PyObject *)pool);
    Py_XDECREF(told);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

/* Reset the caller's item; false: it may not be used again.  An exception that is no
 * answer (KeyboardInterrupt) is left. */
static bool passes_reset(pool_object *pool, pool_item *item)
{
    if (pool->reset == NULL || pool->phase != POOL_OPEN)
        return true;
    PyObject *done = PyObject_CallOneArg(pool->reset, item->object);
    bool passes = done != NULL && done != Py_False;
    Py_XDECREF(done);
    if (done == NULL && PyErr_ExceptionMatches(PyExc_Exception))
        tell_of_reset(pool, item);
    return passes;
}

int pool_put(pool_object *pool, pool_item *item, bool is_bad)
{
    if (pool_has_forsaken(pool, item))
        return PyErr_Occurred() ? -1 : 0; /* a parent's */
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    pool_take_back(pool, item);
    uint32_t discarded = pool->discarded.count;
    if (is_bad || !passes_reset(pool, item)) {
        pool->counters.bad++;
        pool_discard(pool, item);
    } else {
        pool_settle(pool, item);
    }
    if (type == NULL) /* KeyboardInterrupt in the hook */
        PyErr_Fetch(&type, &value, &traceback);
    else
        PyErr_Clear();
    int needed = pool->discarded.count > discarded ? pool_need_worker(pool) : 0;
    if (type == NULL)
        return needed;
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    return -1;
}
