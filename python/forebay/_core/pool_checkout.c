/* SPDX-License-Identifier: Apache-2.0 */
/* Held: an item of a pool and who brings it back: the context of `with
 * pool.connection()`, and what AsyncPool holds between two awaits.  Dropped, it does
 * what has to be done: an item that nobody had goes back, any other is closed. */
#include "pool.h"

void pool_item_leave_holder(pool_item *item)
{
    if (item->holder != NULL)
        item->holder->item = NULL;
    item->holder = NULL;
}

static void hold(held_object *self, pool_item *item)
{
    pool_item_leave_holder(item);
    item->holder = self;
    self->item = item;
}

PyObject *held_new(pool_object *pool, pool_item *item, bool is_out)
{
    held_object *held = PyObject_New(held_object, pool->state->held_type);
    if (held == NULL)
        return NULL;
    held->pool = (pool_object *)Py_NewRef((PyObject *)pool);
    held->item = NULL;
    if (item != NULL)
        hold(held, item);
    held->is_out = is_out;
    held->is_suspect = is_out;
    held->is_entering = held->is_leaving = false;
    held->timeout = pool->timeout;
    return (PyObject *)held;
}

bool pool_timeout_from_arguments(const pool_object *pool, const char *function, PyObject *const *arguments, Py_ssize_t count,
                                 PyObject *names, int64_t *timeout)
{
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    *timeout = pool->timeout;
    if (count + named > 1)
        PyErr_Format(PyExc_TypeError, "%s() takes one argument, timeout (%zd given)", function, count + named);
    else if (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "timeout") != 0)
        PyErr_Format(PyExc_TypeError, "%s() has no argument %R; it takes timeout", function, PyTuple_GET_ITEM(names, 0));
    else
        return count + named == 0 || arguments[0] == Py_None || pool_ns_from_object(arguments[0], timeout);
    return false;
}

PyObject *pool_connection(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    pool_object *pool = (pool_object *)object;
    int64_t timeout;
    if (!pool_timeout_from_arguments(pool, "connection", arguments, count, names, &timeout))
        return NULL;
    PyObject *held = held_new(pool, NULL, false);
    if (held != NULL)
        ((held_object *)held)->timeout = timeout;
    return held;
}

/* The item, and the caller's from now on. */
static pool_item *take_item(held_object *self)
{
    pool_item *item = self->item;
    pool_item_leave_holder(item);
    return item;
}

/* Nobody brought it back: a generator or a coroutine that was dropped. */
static void let_go(held_object *self)
{
    PyObject *type, *value, *traceback;
    pool_object *pool = self->pool;
    bool is_out = self->is_out, is_suspect = self->is_suspect;
    pool_item *item = take_item(self);
    if (!is_out && !is_suspect) {
        pool_return_unused(pool, item);
        return;
    }
    PyErr_Fetch(&type, &value, &traceback);
    if (is_out && !pool_has_forsaken(pool, item)) {
        pool_take_back(pool, item);
        pool->counters.bad++;
    }
    pool_discard(pool, item);
    pool_need_worker_later(pool);
    PyErr_Restore(type, value, traceback);
}

static void held_dealloc(PyObject *object)
{
    held_object *self = (held_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->item != NULL)
        let_go(self);
    Py_DECREF(self->pool);
    PyObject_Free(object);
    Py_DECREF(type);
}

/* ---- with ---- */

static PyObject *held_enter(PyObject *object, PyObject *unused)
{
    held_object *self = (held_object *)object;
    if (self->item != NULL || self->is_entering) {
        PyErr_SetString(self->pool->state->errors[CORE_POOL_ERROR],
                        "this connection() was entered already: call pool.connection() for each with statement");
        return NULL;
    }
    self->is_entering = true;
    pool_item *item = pool_get(self->pool, self->timeout, false);
    self->is_entering = false;
    if (item == NULL)
        return NULL;
    hold(self, item);
    self->is_out = self->is_suspect = true;
    return Py_NewRef(item->object);
}

/* end(object, error); false: it failed, and its exception is to reach the caller
 * unless the block had one. */
static bool run_end(pool_object *pool, pool_item *item, PyObject *error)
{
    if (pool->end == NULL)
        return true;
    PyObject *object = Py_NewRef(item->object); /* the hook may bring it back itself */
    PyObject *done = PyObject_CallFunctionObjArgs(pool->end, object, error, NULL);
    Py_DECREF(object);
    Py_XDECREF(done);
    if (done != NULL)
        return true;
    if (error != Py_None && PyErr_ExceptionMatches(PyExc_Exception))
        PyErr_Clear();
    return false;
}

static PyObject *held_exit(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    held_object *self = (held_object *)object;
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "__exit__() takes 3 arguments (%zd given)", count);
    if (self->item == NULL || self->is_leaving)
        Py_RETURN_FALSE;
    self->is_leaving = true; /* end() may call anything */
    bool is_bad = !pool_has_forsaken(self->pool, self->item) && !run_end(self->pool, self->item, arguments[1]);
    self->is_leaving = false;
    if (self->item == NULL ? PyErr_Occurred() != NULL : pool_put(self->pool, take_item(self), is_bad) < 0)
        return NULL;
    Py_RETURN_FALSE;
}

/* ---- for AsyncPool, which calls the hooks itself ---- */

/* -1 with PoolError: its object is out, or is not, as it should not be. */
static int require(const held_object *self, bool is_out)
{
    if (self->item == NULL || self->is_out == is_out)
        return 0;
    PyErr_SetString(self->pool->state->errors[CORE_POOL_ERROR], is_out ? "the object is not out" : "the object is out");
    return -1;
}

PyDoc_STRVAR(held_hand_out_doc, "hand_out($self, by_getconn, /)\n--\n\n"
                                "Count it as out; the object.  by_getconn: putconn() brings it back, not this.");

static PyObject *held_hand_out(PyObject *object, PyObject *flag)
{
    held_object *self = (held_object *)object;
    int by_getconn = PyObject_IsTrue(flag);
    if (by_getconn < 0 || require(self, false) < 0)
        return NULL;
    pool_item *item = self->item;
    if (item == NULL)
        Py_RETURN_NONE;
    pool_hand_out(self->pool, item, by_getconn != 0);
    self->is_out = self->is_suspect = true;
    if (by_getconn)
        (void)take_item(self);
    return Py_NewRef(item->object);
}

PyDoc_STRVAR(held_take_back_doc, "take_back($self, /)\n--\n\n"
                                 "Count it as out no more; False: it was a parent's, before a fork, or another\n"
                                 "brought it back.");

static PyObject *held_take_back(PyObject *object, PyObject *unused)
{
    held_object *self = (held_object *)object;
    if (self->item == NULL)
        Py_RETURN_FALSE;
    if (require(self, true) < 0)
        return NULL;
    if (pool_has_forsaken(self->pool, self->item)) {
        (void)take_item(self);
        Py_RETURN_FALSE;
    }
    self->is_out = false;
    pool_take_back(self->pool, self->item);
    Py_RETURN_TRUE;
}

PyDoc_STRVAR(held_abandon_doc, "abandon($self, /)\n--\n\n"
                               "What happens, too, when it is dropped, but an exception's traceback may keep it.");

static PyObject *held_abandon(PyObject *object, PyObject *unused)
{
    held_object *self = (held_object *)object;
    if (self->item != NULL)
        let_go(self);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(held_settle_doc, "settle($self, /)\n--\n\nIt is sound: for the next one.");

static PyObject *held_settle(PyObject *object, PyObject *unused)
{
    held_object *self = (held_object *)object;
    if (require(self, false) < 0)
        return NULL;
    if (self->item != NULL)
        pool_settle(self->pool, take_item(self));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(held_discard_doc, "discard($self, was_lost, /)\n--\n\n"
                               "It is to be closed: a check found it dead (was_lost), or it came back unusable.");

static PyObject *held_discard(PyObject *object, PyObject *flag)
{
    held_object *self = (held_object *)object;
    int was_lost = PyObject_IsTrue(flag);
    if (was_lost < 0 || require(self, false) < 0)
        return NULL;
    if (self->item == NULL)
        Py_RETURN_NONE;
    *(was_lost ? &self->pool->counters.lost : &self->pool->counters.bad) += 1;
    pool_discard(self->pool, take_item(self));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(held_suspect_doc, "suspect($self, is_suspect, /)\n--\n\n"
                               "A hook is at it: if this is dropped meanwhile, the object is closed.");

static PyObject *held_suspect(PyObject *object, PyObject *flag)
{
    int is_suspect = PyObject_IsTrue(flag);
    if (is_suspect < 0)
        return NULL;
    ((held_object *)object)->is_suspect = is_suspect != 0;
    Py_RETURN_NONE;
}

static PyObject *held_get_object(PyObject *object, void *unused)
{
    pool_item *item = ((held_object *)object)->item;
    return Py_NewRef(item != NULL ? item->object : Py_None);
}

static PyObject *held_get_fresh(PyObject *object, void *unused)
{
    pool_item *item = ((held_object *)object)->item;
    return PyBool_FromLong(item != NULL && item->is_fresh);
}

static PyMethodDef held_methods[] = {
    { "__enter__", held_enter, METH_NOARGS, "__enter__($self, /)\n--\n\nAn object of the pool." },
    { "__exit__", (PyCFunction)(void (*)(void))held_exit, METH_FASTCALL,
      "__exit__($self, type, value, traceback, /)\n--\n\nBring it back." },
    { "hand_out", held_hand_out, METH_O, held_hand_out_doc },
    { "take_back", held_take_back, METH_NOARGS, held_take_back_doc },
    { "abandon", held_abandon, METH_NOARGS, held_abandon_doc },
    { "settle", held_settle, METH_NOARGS, held_settle_doc },
    { "discard", held_discard, METH_O, held_discard_doc },
    { "suspect", held_suspect, METH_O, held_suspect_doc },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef held_properties[] = {
    { "object", held_get_object, NULL, "What is pooled.", NULL },
    { "fresh", held_get_fresh, NULL, "It was just made: no check is needed.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot held_slots[] = {
    { Py_tp_doc, (void *)"What Pool.connection() returns: a context that brings the object back." },
    { Py_tp_dealloc, held_dealloc },
    { Py_tp_methods, held_methods },
    { Py_tp_getset, held_properties },
    { 0, NULL },
};

PyType_Spec held_type_spec = {
    .name = "forebay._core.Held",
    .basicsize = sizeof(held_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = held_slots,
};
