/* SPDX-License-Identifier: Apache-2.0 */
/* Waiter: a place in a pool's queue.  Whoever drops it has left the queue, and what
 * it was given meanwhile goes to the next. */
#include "pool.h"

/* Most come last: a search from the end would ask all for one that has its place again. */
static waiter_object *next_of(const pool_object *pool, int64_t order)
{
    waiter_object *next = order == INT64_MAX ? NULL : pool->first;
    while (next != NULL && next->order <= order)
        next = next->next;
    return next;
}

static void enqueue_before(waiter_object *waiter, waiter_object *next)
{
    pool_object *pool = waiter->pool;
    waiter->next = next;
    waiter->previous = next != NULL ? next->previous : pool->last;
    *(waiter->previous != NULL ? &waiter->previous->next : &pool->first) = waiter;
    *(next != NULL ? &next->previous : &pool->last) = waiter;
    pool->waiting++;
}

void waiter_leave(waiter_object *waiter)
{
    pool_object *pool = waiter->pool;
    if (waiter->phase != WAITER_QUEUED)
        return;
    *(waiter->previous != NULL ? &waiter->previous->next : &pool->first) = waiter->next;
    *(waiter->next != NULL ? &waiter->next->previous : &pool->last) = waiter->previous;
    waiter->previous = waiter->next = NULL;
    waiter->phase = WAITER_LEFT;
    pool->waiting--;
}

waiter_object *waiter_new(pool_object *pool, PyObject *wake, int64_t order)
{
    waiter_object *waiter = PyObject_New(waiter_object, pool->state->waiter_type);
    if (waiter == NULL)
        return NULL;
    waiter->pool = (pool_object *)Py_NewRef((PyObject *)pool);
    waiter->wake = Py_NewRef(wake);
    waiter->item = NULL;
    waiter->phase = WAITER_QUEUED;
    waiter->since = pool_now();
    waiter->order = order != 0 ? order : waiter->since;
    enqueue_before(waiter, next_of(pool, order != 0 ? order : INT64_MAX));
    return waiter;
}

void waiter_wake(waiter_object *waiter)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    Py_INCREF(waiter);
    PyObject *done = PyObject_CallNoArgs(waiter->wake);
    if (done == NULL)
        PyErr_WriteUnraisable(waiter->wake);
    Py_XDECREF(done);
    Py_DECREF(waiter);
    PyErr_Restore(type, value, traceback);
}

/* Leave, and pass on what it was given. */
static void abandon(waiter_object *self)
{
    pool_item *item = self->item;
    self->item = NULL;
    waiter_leave(self);
    if (item != NULL)
        pool_return_unused(self->pool, item);
}

static void waiter_dealloc(PyObject *object)
{
    waiter_object *self = (waiter_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    abandon(self);
    Py_DECREF(self->wake);
    Py_DECREF(self->pool);
    PyObject_Free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(waiter_withdraw_doc, "withdraw($self, /)\n--\n\nLeave the queue; True: it was given an object before.");

static PyObject *waiter_withdraw(PyObject *object, PyObject *unused)
{
    waiter_object *self = (waiter_object *)object;
    waiter_leave(self);
    return PyBool_FromLong(self->phase == WAITER_GIVEN);
}

PyDoc_STRVAR(waiter_abandon_doc, "abandon($self, /)\n--\n\n"
                                 "Leave the queue, and pass on what it was given: what happens, too, when it is dropped,\n"
                                 "but an exception's traceback may keep it.");

static PyObject *waiter_abandon(PyObject *object, PyObject *unused)
{
    abandon((waiter_object *)object);
    Py_RETURN_NONE;
}

static PyObject *waiter_is_refused(PyObject *object, void *unused)
{
    return PyBool_FromLong(((waiter_object *)object)->phase == WAITER_REFUSED);
}

static PyObject *waiter_is_given(PyObject *object, void *unused)
{
    return PyBool_FromLong(((waiter_object *)object)->phase == WAITER_GIVEN);
}

static PyMethodDef waiter_methods[] = {
    { "withdraw", waiter_withdraw, METH_NOARGS, waiter_withdraw_doc },
    { "abandon", waiter_abandon, METH_NOARGS, waiter_abandon_doc },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef waiter_properties[] = {
    { "given", waiter_is_given, NULL, "An object is there for it.", NULL },
    { "refused", waiter_is_refused, NULL, "The pool was closed.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot waiter_slots[] = {
    { Py_tp_doc, (void *)"A place in a pool's queue; left when it is dropped." },
    { Py_tp_dealloc, waiter_dealloc },
    { Py_tp_methods, waiter_methods },
    { Py_tp_getset, waiter_properties },
    { 0, NULL },
};

PyType_Spec waiter_type_spec = {
    .name = "forebay._core.Waiter",
    .basicsize = sizeof(waiter_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = waiter_slots,
};
