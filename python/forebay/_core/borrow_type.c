/* SPDX-License-Identifier: Apache-2.0 */
/* ObjectPool.borrow(): an object for the time of a `with` block. */
#include "object_pool.h"

typedef struct borrow_object {
    PyObject_HEAD object_pool_object *pool; /* owned */
    PyObject *object;                       /* owned, while in the block */
    bool entered;
} borrow_object;

PyObject *borrow_new(object_pool_object *pool)
{
    borrow_object *self = PyObject_GC_New(borrow_object, pool->state->borrow_type);
    if (self == NULL)
        return NULL;
    self->pool = (object_pool_object *)Py_NewRef((PyObject *)pool);
    self->object = NULL;
    self->entered = false;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static int borrow_traverse(PyObject *object, visitproc visit, void *arg)
{
    borrow_object *self = (borrow_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->pool);
    Py_VISIT(self->object);
    return 0;
}

static int borrow_clear(PyObject *object)
{
    Py_CLEAR(((borrow_object *)object)->object);
    return 0;
}

static void borrow_dealloc(PyObject *object)
{
    borrow_object *self = (borrow_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_CLEAR(self->object); /* of a block that nobody left: the pool counts it as lost */
    Py_CLEAR(self->pool);
    type->tp_free(object);
    Py_DECREF(type);
}

PyDoc_STRVAR(enter_doc, "__enter__($self, /)\n--\n\nThe object.");

static PyObject *borrow_enter(PyObject *object, PyObject *unused)
{
    borrow_object *self = (borrow_object *)object;
    if (self->entered) {
        PyErr_SetString(self->pool->state->errors[CORE_POOL_ERROR], "borrow() is for one `with` block: call it again for another");
        return NULL;
    }
    self->entered = true;
    PyObject *taken = object_pool_take(self->pool);
    if (taken == NULL)
        self->entered = false;
    self->object = Py_XNewRef(taken);
    return taken;
}

PyDoc_STRVAR(exit_doc, "__exit__($self, type, value, traceback, /)\n--\n\nGive the object back to the pool.");

static PyObject *borrow_exit(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    borrow_object *self = (borrow_object *)object;
    PyObject *taken = self->object;
    self->object = NULL;
    if (taken == NULL) {
        PyErr_SetString(self->pool->state->errors[CORE_POOL_ERROR], "the `with` block of this borrow() has ended, or did not begin");
        return NULL;
    }
    int outcome = object_pool_give(self->pool, taken, count > 0 && arguments[0] != Py_None);
    Py_DECREF(taken);
    return outcome < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef borrow_methods[] = {
    { "__enter__", borrow_enter, METH_NOARGS, enter_doc },
    { "__exit__", (PyCFunction)(void (*)(void))borrow_exit, METH_FASTCALL, exit_doc },
    { NULL, NULL, 0, NULL },
};

static PyType_Slot borrow_slots[] = {
    { Py_tp_doc, (void *)"What ObjectPool.borrow() returns: a context manager." },
    { Py_tp_dealloc, borrow_dealloc },
    { Py_tp_traverse, borrow_traverse },
    { Py_tp_clear, borrow_clear },
    { Py_tp_methods, borrow_methods },
    { 0, NULL },
};

PyType_Spec borrow_type_spec = {
    .name = "forebay._core.Borrow",
    .basicsize = sizeof(borrow_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = borrow_slots,
};
