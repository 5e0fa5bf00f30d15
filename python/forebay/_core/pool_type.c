/* SPDX-License-Identifier: Apache-2.0 */
/* PoolCore: the type that forebay.Pool and forebay.AsyncPool derive from. */
#include "pool.h"

#include <stddef.h>
#include <string.h>
#include <structmember.h> /* T_PYSSIZET: 3.11 has no Py_ names for them */

static pool_object *pool_of(PyObject *object)
{
    return (pool_object *)object;
}

static PyObject *pool_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    pool_object *self = (pool_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    PyObject *module = PyType_GetModuleByDef(type, &core_module);
    if (module == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    self->state = core_state_of(module);
    return (PyObject *)self;
}

/* A hook; None is none. */
static void set_hook(PyObject **hook, PyObject *value)
{
    Py_XSETREF(*hook, value == Py_None ? NULL : Py_NewRef(value));
}

PyDoc_STRVAR(pool_configure_doc, "_configure($self, check, reset, end, timeout, lifetime, max_idle, max_waiting, own_code, /)\n--\n\n"
                                 "Hooks, or None; seconds; 0: any number may wait; how names of files begin that are no place\n"
                                 "of a checkout.");

static PyObject *pool_configure(PyObject *object, PyObject *arguments)
{
    pool_object *self = pool_of(object);
    PyObject *check, *reset, *end, *timeout, *lifetime, *max_idle, *own_code;
    unsigned int max_waiting;
    if (!PyArg_ParseTuple(arguments, "OOOOOOIO!:_configure", &check, &reset, &end, &timeout, &lifetime, &max_idle, &max_waiting,
                          &PyTuple_Type, &own_code)
        || !pool_ns_from_object(timeout, &self->timeout) || !pool_ns_from_object(lifetime, &self->lifetime)
        || !pool_ns_from_object(max_idle, &self->max_idle))
        return NULL;
    self->max_waiting = max_waiting;
    set_hook(&self->check, check);
    set_hook(&self->reset, reset);
    set_hook(&self->end, end);
    Py_XSETREF(self->own_code, Py_NewRef(own_code));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pool_set_limit_doc, "_set_limit($self, limit, /)\n--\n\nThe machine's, or None.");

static PyObject *pool_set_limit(PyObject *object, PyObject *limit)
{
    pool_object *self = pool_of(object);
    if (limit != Py_None && !Py_IS_TYPE(limit, self->state->limit_type)) {
        PyErr_SetString(PyExc_TypeError, "a limit is what Arena._limit() gives");
        return NULL;
    }
    set_hook(&self->limit, limit);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pool_set_size_doc, "_set_size($self, min_size, max_size, /)\n--\n\nWhat is too many is to be closed.");

static PyObject *pool_set_size(PyObject *object, PyObject *arguments)
{
    pool_object *self = pool_of(object);
    if (!PyArg_ParseTuple(arguments, "II:_set_size", &self->min_size, &self->max_size))
        return NULL;
    pool_discard_stale(self);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pool_begin_doc, "_begin($self, /)\n--\n\nOpen it; False: it is open.  PoolClosedError: it was closed.");

static PyObject *pool_begin(PyObject *object, PyObject *unused)
{
    pool_object *self = pool_of(object);
    if (self->phase == POOL_CLOSED) {
        pool_raise_closed(self);
        return NULL;
    }
    bool was_new = self->phase == POOL_NEW;
    self->phase = POOL_OPEN;
    return PyBool_FromLong(was_new);
}

PyDoc_STRVAR(pool_finish_doc, "_finish($self, /)\n--\n\n"
                              "Close it: who waits is refused, what is idle is to be closed.  False: it was closed.");

static PyObject *pool_finish(PyObject *object, PyObject *unused)
{
    pool_object *self = pool_of(object);
    bool was_closed = self->phase == POOL_CLOSED;
    self->phase = POOL_CLOSED;
    while (self->idle.count > 0)
        pool_discard(self, self->idle.items[--self->idle.count]);
    while (self->first != NULL) {
        waiter_object *waiter = self->first;
        waiter_leave(waiter);
        waiter->phase = WAITER_REFUSED;
        waiter_wake(waiter);
    }
    return PyBool_FromLong(!was_closed);
}

PyDoc_STRVAR(pool_drain_doc, "_drain($self, /)\n--\n\nNothing there now is used again: close what is idle, the rest on return.");

static PyObject *pool_drain(PyObject *object, PyObject *unused)
{
    pool_object *self = pool_of(object);
    self->drain++;
    pool_discard_stale(self);
    Py_RETURN_NONE;
}

/* ---- waiting ---- */

PyDoc_STRVAR(pool_enqueue_doc, "_enqueue($self, wake, order, /)\n--\n\n"
                               "A place in the queue; wake() is called when the wait is over.  order: 0, or for who was\n"
                               "there before when it came (time.monotonic_ns()).  PoolClosedError, TooManyRequestsError.");

static PyObject *pool_enqueue(PyObject *object, PyObject *arguments)
{
    pool_object *self = pool_of(object);
    PyObject *wake;
    long long order;
    if (!PyArg_ParseTuple(arguments, "OL:_enqueue", &wake, &order))
        return NULL;
    if (self->phase != POOL_OPEN) {
        self->counters.errors++;
        pool_raise_closed(self);
        return NULL;
    }
    if (order == 0 && self->max_waiting != 0 && self->waiting >= self->max_waiting) {
        self->counters.errors++;
        PyObject *error = pool_error(self, CORE_TOO_MANY_REQUESTS_ERROR, "_too_many_error");
        PyErr_Format(error, "%u requests wait for an object already, as many as max_waiting allows", self->waiting);
        Py_DECREF(error);
        return NULL;
    }
    self->counters.queued++;
    return (PyObject *)waiter_new(self, wake, order);
}

PyDoc_STRVAR(pool_count_error_doc, "_count_error($self, /)\n--\n\nA request ended without an object.");

static PyObject *pool_count_error(PyObject *object, PyObject *unused)
{
    pool_of(object)->counters.errors++;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pool_take_idle_doc, "_take_idle($self, /)\n--\n\n"
                                 "Held of the object used last, as a request; None: none is idle, or others wait.");

static PyObject *pool_take_idle(PyObject *object, PyObject *unused)
{
    pool_object *self = pool_of(object);
    pool_item *item = pool_pop_idle(self);
    if (item == NULL)
        Py_RETURN_NONE;
    PyObject *held = held_new(self, item, false);
    if (held == NULL)
        pool_settle(self, item);
    return held;
}

PyDoc_STRVAR(pool_held_by_doc, "_held_by($self, waiter, /)\n--\n\nHeld of what the waiter was given.");

static PyObject *pool_held_by(PyObject *object, PyObject *waiter)
{
    pool_object *self = pool_of(object);
    if (!Py_IS_TYPE(waiter, self->state->waiter_type) || ((waiter_object *)waiter)->item == NULL) {
        PyErr_SetString(PyExc_TypeError, "a waiter that was given something");
        return NULL;
    }
    PyObject *held = held_new(self, ((waiter_object *)waiter)->item, false);
    if (held != NULL)
        ((waiter_object *)waiter)->item = NULL;
    return held;
}

PyDoc_STRVAR(pool_count_request_doc, "_count_request($self, /)\n--\n\nPoolClosedError if it is not open.");

static PyObject *pool_count_request(PyObject *object, PyObject *unused)
{
    pool_object *self = pool_of(object);
    if (self->phase != POOL_OPEN) {
        self->counters.errors++;
        pool_raise_closed(self);
        return NULL;
    }
    self->counters.requests++;
    Py_RETURN_NONE;
}

/* ---- getconn, putconn ---- */

PyDoc_STRVAR(pool_getconn_doc, "getconn($self, /, timeout=None)\n--\n\n"
                               "An object of the pool, to be given back by putconn(); connection() is better.");

static PyObject *pool_getconn(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    pool_object *self = pool_of(object);
    int64_t timeout;
    if (!pool_timeout_from_arguments(self, "getconn", arguments, count, names, &timeout))
        return NULL;
    pool_item *item = pool_get(self, timeout, true);
    return item == NULL ? NULL : Py_NewRef(item->object);
}

/* The item that has this object; NULL with PoolError, or, of a parent's, without. */
static pool_item *find_returned(pool_object *self, PyObject *object)
{
    pool_item *item = pool_find_used(self, object);
    if (item != NULL)
        return item;
    PyObject *forsaken = PyObject_CallMethod((PyObject *)self, "_is_forsaken", "O", object);
    bool is_parents = forsaken == Py_True;
    Py_XDECREF(forsaken);
    if (forsaken != NULL && !is_parents)
        PyErr_Format(self->state->errors[CORE_POOL_ERROR],
                     pool_is_idle(self, object) ? "%R was returned to the pool before" : "%R is not of this pool, or was returned before",
                     object);
    return NULL;
}

PyDoc_STRVAR(pool_putconn_doc, "putconn($self, object, /)\n--\n\n"
                               "Give back what getconn() gave.  PoolError: it is not out of this pool.");

static PyObject *pool_putconn(PyObject *object, PyObject *returned)
{
    pool_object *self = pool_of(object);
    pool_item *item = find_returned(self, returned);
    if (item == NULL && PyErr_Occurred())
        return NULL;
    if (item != NULL)
        pool_item_leave_holder(item);
    if (item != NULL && pool_put(self, item, false) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pool_held_of_doc, "_held_of($self, object, /)\n--\n\nHeld of an object that is out; None: it is a parent's.");

static PyObject *pool_held_of(PyObject *object, PyObject *returned)
{
    pool_object *self = pool_of(object);
    pool_item *item = find_returned(self, returned);
    if (item == NULL && PyErr_Occurred())
        return NULL;
    if (item == NULL)
        Py_RETURN_NONE;
    return held_new(self, item, true);
}

/* ---- workers ---- */

PyDoc_STRVAR(pool_next_job_doc,
             "_next_job($self, may_create, /)\n--\n\n"
             "What a worker is to do: (object, permit) to close, and _closed() after it; True: to\n"
             "create one, and _created() or _create_failed() after it; None: nothing.");

static bool has_room(const pool_object *self)
{
    return self->phase == POOL_OPEN && pool_size_of_all(self) < self->max_size;
}

static bool one_is_waited_for(const pool_object *self)
{
    return has_room(self) && self->waiting > self->creating;
}

static bool one_is_wanted(const pool_object *self)
{
    return one_is_waited_for(self) || (has_room(self) && pool_size(self) < self->min_size);
}

static PyObject *pool_next_job(PyObject *object, PyObject *may_create)
{
    pool_object *self = pool_of(object);
    int may = PyObject_IsTrue(may_create);
    if (may < 0)
        return NULL;
    if (self->phase == POOL_OPEN)
        pool_discard_stale(self);
    if (self->discarded.count > 0) {
        pool_item *item = self->discarded.items[self->discarded.count - 1];
        PyObject *job = PyTuple_Pack(2, item->object, item->permit != NULL ? item->permit : Py_None);
        if (job == NULL)
            return NULL;
        self->discarded.count--;
        self->closing++;
        pool_item_free(self, item);
        return job;
    }
    if (!may || !one_is_wanted(self))
        Py_RETURN_NONE;
    self->creating++;
    Py_RETURN_TRUE;
}

PyDoc_STRVAR(pool_begin_create_doc, "_begin_create($self, /)\n--\n\n"
                                    "True: an object is wanted that nobody creates; the caller is to, as after _next_job().");

static PyObject *pool_begin_create(PyObject *object, PyObject *unused)
{
    pool_object *self = pool_of(object);
    bool is_wanted = one_is_wanted(self);
    self->creating += is_wanted;
    return PyBool_FromLong(is_wanted);
}

static PyObject *pool_get_waited_for(PyObject *object, void *unused)
{
    return PyBool_FromLong(one_is_waited_for(pool_of(object)));
}

static PyObject *pool_get_wanted(PyObject *object, void *unused)
{
    return PyBool_FromLong(one_is_wanted(pool_of(object)));
}

PyDoc_STRVAR(pool_closed_doc, "_closed($self, /)\n--\n\nA worker has closed what _next_job() gave it.");

static PyObject *pool_closed(PyObject *object, PyObject *unused)
{
    pool_of(object)->closing--;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pool_created_doc, "_created($self, object, permit, seconds, /)\n--\n\nA worker has made one.  If this fails, _create_failed() is to be called.");

static PyObject *pool_created(PyObject *object, PyObject *arguments)
{
    pool_object *self = pool_of(object);
    PyObject *made, *permit;
    double seconds;
    if (!PyArg_ParseTuple(arguments, "OOd:_created", &made, &permit, &seconds))
        return NULL;
    self->creating--;
    self->counters.made++;
    self->counters.make_ns += (uint64_t)(seconds * 1e9);
    if (pool_add(self, Py_NewRef(made), permit == Py_None ? NULL : Py_NewRef(permit)) < 0) {
        self->creating++;
        self->counters.made--;
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pool_create_failed_doc, "_create_failed($self, is_error, /)\n--\n\nA worker has not made one.");

static PyObject *pool_create_failed(PyObject *object, PyObject *flag)
{
    pool_object *self = pool_of(object);
    int is_error = PyObject_IsTrue(flag);
    if (is_error < 0)
        return NULL;
    self->creating--;
    self->counters.made += is_error != 0;
    self->counters.make_errors += is_error != 0;
    Py_RETURN_NONE;
}

static int64_t sooner(int64_t a, int64_t b, int64_t c)
{
    int64_t least = a < b ? a : b;
    return least < c ? least : c;
}

PyDoc_STRVAR(pool_due_doc, "_due($self, /)\n--\n\nSeconds until something idle is too old; inf: never.");

static PyObject *pool_due(PyObject *object, PyObject *unused)
{
    pool_object *self = pool_of(object);
    int64_t now = pool_now(), due = INT64_MAX;
    bool may_shrink = pool_size(self) > self->min_size && self->max_idle != INT64_MAX;
    for (uint32_t i = 0; i < self->idle.count; i++)
        due = sooner(due, self->idle.items[i]->expires, may_shrink ? self->idle.items[i]->since + self->max_idle : INT64_MAX);
    for (uint32_t i = 0; i < self->used.count; i++) /* if they came back now; an old one is closed when it does */
        due = sooner(due, self->used.items[i]->expires > now ? self->used.items[i]->expires : INT64_MAX,
                     may_shrink ? now + self->max_idle : INT64_MAX);
    return PyFloat_FromDouble(due == INT64_MAX ? Py_HUGE_VAL : due > now ? (double)(due - now) / 1e9 : 0.0);
}

static pool_item *pop_oldest(pool_object *self)
{
    pool_item *item = self->idle.items[0];
    memmove(self->idle.items, self->idle.items + 1, --self->idle.count * sizeof *self->idle.items);
    return item;
}

PyDoc_STRVAR(pool_yield_idle_doc, "_yield_idle($self, /)\n--\n\n"
                                  "What was idle for longest is to be closed, for another process; False: none is idle.");

static PyObject *pool_yield_idle(PyObject *object, PyObject *unused)
{
    pool_object *self = pool_of(object);
    if (self->idle.count == 0)
        Py_RETURN_FALSE;
    pool_discard(self, pop_oldest(self));
    Py_RETURN_TRUE;
}

PyDoc_STRVAR(pool_take_oldest_doc, "_take_oldest($self, /)\n--\n\nHeld of what was idle for longest, for check(); None.");

static PyObject *pool_take_oldest(PyObject *object, PyObject *unused)
{
    pool_object *self = pool_of(object);
    if (self->idle.count == 0 || self->waiting != 0)
        Py_RETURN_NONE;
    pool_item *item = pop_oldest(self);
    PyObject *held = held_new(self, item, false);
    if (held == NULL)
        pool_settle(self, item);
    return held;
}

PyDoc_STRVAR(pool_forsake_doc, "_forsake($self, objects, /)\n--\n\n"
                               "In the child of a fork: forget all; the parent's objects are appended to the list.");

static PyObject *pool_forsake_all(PyObject *object, PyObject *list)
{
    if (!PyList_Check(list)) {
        PyErr_SetString(PyExc_TypeError, "a list");
        return NULL;
    }
    if (pool_forsake(pool_of(object), list) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- what is out ---- */

static PyObject *place_of(const pool_item *item)
{
    if (item->code == NULL)
        return Py_BuildValue("(si)", "?", 0);
    PyCodeObject *code = (PyCodeObject *)item->code;
    return Py_BuildValue("(Oi)", code->co_filename, PyCode_Addr2Line(code, item->lasti));
}

static int append_out(PyObject *list, const pool_item *item, int64_t now)
{
    PyObject *place = place_of(item);
    PyObject *entry = place == NULL ? NULL : Py_BuildValue("(ONdi)", item->object, place, (double)(now - item->since) / 1e9, item->is_told);
    int outcome = entry == NULL ? -1 : PyList_Append(list, entry);
    Py_XDECREF(entry);
    return outcome;
}

PyDoc_STRVAR(pool_out_doc, "_out($self, /)\n--\n\nWhat is out: tuples of object, (file, line), seconds, told.");

static PyObject *pool_out(PyObject *object, PyObject *unused)
{
    pool_object *self = pool_of(object);
    PyObject *list = PyList_New(0);
    int64_t now = pool_now();
    for (uint32_t i = 0; list != NULL && i < self->used.count; i++) {
        if (append_out(list, self->used.items[i], now) < 0)
            Py_CLEAR(list);
    }
    return list;
}

PyDoc_STRVAR(pool_idle_doc, "_idle($self, /)\n--\n\nThe objects that are idle, the one used last at the end.");

static PyObject *pool_idle(PyObject *object, PyObject *unused)
{
    const item_list *idle = &pool_of(object)->idle;
    PyObject *list = PyList_New(idle->count); /* may collect garbage, and with it use the pool */
    if (list == NULL || PyList_GET_SIZE(list) != idle->count) {
        Py_XDECREF(list);
        return list == NULL ? NULL : pool_idle(object, unused);
    }
    for (uint32_t i = 0; i < idle->count; i++)
        PyList_SET_ITEM(list, i, Py_NewRef(idle->items[i]->object));
    return list;
}

PyDoc_STRVAR(pool_told_doc, "_tell($self, object, /)\n--\n\nIt was said that it is out for long; False: it is not out, or that was said.");

static PyObject *pool_tell(PyObject *object, PyObject *out)
{
    pool_item *item = pool_find_used(pool_of(object), out);
    bool was_told = item == NULL || item->is_told;
    if (item != NULL)
        item->is_told = true;
    return PyBool_FromLong(!was_told);
}

PyDoc_STRVAR(pool_reclaim_doc, "_reclaim($self, /)\n--\n\n"
                               "Objects from getconn() that nobody has any more cannot come back: they are to be\n"
                               "closed.  The places where they were taken.");

static PyObject *pool_reclaim(PyObject *object, PyObject *unused)
{
    pool_object *self = pool_of(object);
    PyObject *places = PyList_New(0);
    for (uint32_t i = self->used.count; places != NULL && i-- > 0;) {
        pool_item *item = self->used.items[i];
        if (!item->by_getconn || item->holder != NULL || Py_REFCNT(item->object) != 1)
            continue;
        PyObject *place = place_of(item);
        if (place == NULL || PyList_Append(places, place) < 0)
            Py_CLEAR(places);
        Py_XDECREF(place);
        if (places == NULL)
            break;
        pool_take_back(self, item);
        self->counters.bad++;
        pool_discard(self, item);
    }
    return places;
}

/* ---- figures ---- */

PyDoc_STRVAR(pool_stats_doc, "_stats($self, pop, /)\n--\n\nThe figures of get_stats(); pop: counters begin at 0 again.");

static PyObject *pool_stats(PyObject *object, PyObject *flag)
{
    pool_object *self = pool_of(object);
    int pop = PyObject_IsTrue(flag);
    const pool_counters *c = &self->counters;
    if (pop < 0)
        return NULL;
    PyObject *stats = Py_BuildValue(
        "{s:I,s:I,s:I,s:I,s:I,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K}",
        "pool_min", self->min_size, "pool_max", self->max_size, "pool_size", pool_size(self),
        "pool_available", self->idle.count, "requests_waiting", self->waiting,
        "usage_ms", c->usage_ns / 1000000, "requests_num", c->requests, "requests_queued", c->queued,
        "requests_wait_ms", c->wait_ns / 1000000, "requests_errors", c->errors, "returns_bad", c->bad,
        "connections_num", c->made, "connections_ms", c->make_ns / 1000000, "connections_errors", c->make_errors,
        "connections_lost", c->lost);
    if (stats != NULL && pop)
        self->counters = (pool_counters){ 0 };
    return stats;
}

static PyObject *pool_get_closed(PyObject *object, void *unused)
{
    return PyBool_FromLong(pool_of(object)->phase != POOL_OPEN);
}

static PyObject *pool_get_min_size(PyObject *object, void *unused)
{
    return PyLong_FromUnsignedLong(pool_of(object)->min_size);
}

static PyObject *pool_get_max_size(PyObject *object, void *unused)
{
    return PyLong_FromUnsignedLong(pool_of(object)->max_size);
}

/* Idle, out, to be closed, being closed. */
static PyObject *pool_get_counts(PyObject *object, void *unused)
{
    const pool_object *self = pool_of(object);
    return Py_BuildValue("(IIII)", self->idle.count, self->used.count, self->discarded.count, self->closing);
}

/* ---- the type ---- */

static int pool_traverse_list(const item_list *list, visitproc visit, void *arg)
{
    for (uint32_t i = 0; i < list->count; i++)
        Py_VISIT(list->items[i]->object);
    return 0;
}

static int pool_traverse(PyObject *object, visitproc visit, void *arg)
{
    pool_object *self = pool_of(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->check);
    Py_VISIT(self->reset);
    Py_VISIT(self->end);
    int outcome = pool_traverse_list(&self->idle, visit, arg);
    if (outcome == 0)
        outcome = pool_traverse_list(&self->used, visit, arg);
    return outcome != 0 ? outcome : pool_traverse_list(&self->discarded, visit, arg);
}

static int pool_clear(PyObject *object)
{
    pool_object *self = pool_of(object);
    Py_CLEAR(self->check);
    Py_CLEAR(self->reset);
    Py_CLEAR(self->end);
    return 0;
}

static void pool_dealloc(PyObject *object)
{
    pool_object *self = pool_of(object);
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(object);
    (void)pool_clear(object);
    pool_free_items(self);
    Py_CLEAR(self->limit);
    Py_CLEAR(self->own_code);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(pool_connection_doc, "connection($self, /, timeout=None)\n--\n\n"
                                  "A context: an object of the pool, brought back at the end of the block.\n\n"
                                  "timeout: seconds to wait for one, instead of the pool's; 0: do not wait.\n"
                                  "PoolTimeoutError, TooManyRequestsError, PoolClosedError.");

static PyMethodDef pool_methods[] = {
    { "_connection", (PyCFunction)(void (*)(void))pool_connection, METH_FASTCALL | METH_KEYWORDS, pool_connection_doc },
    { "_configure", pool_configure, METH_VARARGS, pool_configure_doc },
    { "_set_limit", pool_set_limit, METH_O, pool_set_limit_doc },
    { "_set_size", pool_set_size, METH_VARARGS, pool_set_size_doc },
    { "_begin", pool_begin, METH_NOARGS, pool_begin_doc },
    { "_finish", pool_finish, METH_NOARGS, pool_finish_doc },
    { "_drain", pool_drain, METH_NOARGS, pool_drain_doc },
    { "_enqueue", pool_enqueue, METH_VARARGS, pool_enqueue_doc },
    { "_count_error", pool_count_error, METH_NOARGS, pool_count_error_doc },
    { "_count_request", pool_count_request, METH_NOARGS, pool_count_request_doc },
    { "_take_idle", pool_take_idle, METH_NOARGS, pool_take_idle_doc },
    { "_take_oldest", pool_take_oldest, METH_NOARGS, pool_take_oldest_doc },
    { "_held_by", pool_held_by, METH_O, pool_held_by_doc },
    { "_held_of", pool_held_of, METH_O, pool_held_of_doc },
    { "_getconn", (PyCFunction)(void (*)(void))pool_getconn, METH_FASTCALL | METH_KEYWORDS, pool_getconn_doc },
    { "_putconn", pool_putconn, METH_O, pool_putconn_doc },
    { "_next_job", pool_next_job, METH_O, pool_next_job_doc },
    { "_begin_create", pool_begin_create, METH_NOARGS, pool_begin_create_doc },
    { "_closed", pool_closed, METH_NOARGS, pool_closed_doc },
    { "_created", pool_created, METH_VARARGS, pool_created_doc },
    { "_create_failed", pool_create_failed, METH_O, pool_create_failed_doc },
    { "_due", pool_due, METH_NOARGS, pool_due_doc },
    { "_yield_idle", pool_yield_idle, METH_NOARGS, pool_yield_idle_doc },
    { "_forsake", pool_forsake_all, METH_O, pool_forsake_doc },
    { "_out", pool_out, METH_NOARGS, pool_out_doc },
    { "_idle", pool_idle, METH_NOARGS, pool_idle_doc },
    { "_tell", pool_tell, METH_O, pool_told_doc },
    { "_reclaim", pool_reclaim, METH_NOARGS, pool_reclaim_doc },
    { "_stats", pool_stats, METH_O, pool_stats_doc },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef pool_properties[] = {
    { "closed", pool_get_closed, NULL, "True before open() and after close().", NULL },
    { "min_size", pool_get_min_size, NULL, "Objects that are kept, used or not.", NULL },
    { "max_size", pool_get_max_size, NULL, "The most objects there are at a time.", NULL },
    { "_waited_for", pool_get_waited_for, NULL, "Somebody waits for an object that nobody creates.", NULL },
    { "_wanted", pool_get_wanted, NULL, "The same, or there are fewer than min_size.", NULL },
    { "_counts", pool_get_counts, NULL, "Objects idle, out, to be closed, being closed.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyMemberDef pool_members[] = {
    { "__weaklistoffset__", T_PYSSIZET, offsetof(pool_object, weakrefs), READONLY, NULL },
    { NULL, 0, 0, 0, NULL },
};

static PyType_Slot pool_slots[] = {
    { Py_tp_doc, (void *)"What Pool and AsyncPool share." },
    { Py_tp_new, pool_new },
    { Py_tp_dealloc, pool_dealloc },
    { Py_tp_traverse, pool_traverse },
    { Py_tp_clear, pool_clear },
    { Py_tp_methods, pool_methods },
    { Py_tp_getset, pool_properties },
    { Py_tp_members, pool_members },
    { 0, NULL },
};

PyType_Spec pool_type_spec = {
    .name = "forebay._core.PoolCore",
    .basicsize = sizeof(pool_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = pool_slots,
};
