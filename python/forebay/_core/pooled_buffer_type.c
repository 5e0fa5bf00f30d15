/* SPDX-License-Identifier: Apache-2.0 */
/* PooledBuffer: memory of a BufferPool, as a writable buffer.
 *
 * Who releases and who still looks are one word: whoever makes it RELEASED with
 * nobody looking gives the memory back, and that happens once. */
#include "buffer_pool.h"

#include <string.h>

#define RELEASED (UINT32_C(1) << 31) /* the other bits: how many buffers are exported */

typedef struct pooled_buffer_object {
    PyObject_HEAD buffer_pool_object *pool; /* owned */
    forebay_buffer *memory;                      /* owned until the end of use */
    _Atomic Py_ssize_t size;                /* at most the capacity */
    _Atomic Py_ssize_t touched;             /* the largest size so far: what has to be cleared */
    _Atomic uint32_t use;                   /* RELEASED and exports */
} pooled_buffer_object;

PyObject *pooled_buffer_new(buffer_pool_object *pool, forebay_buffer *memory, Py_ssize_t size)
{
    pooled_buffer_object *self = PyObject_New(pooled_buffer_object, pool->state->pooled_buffer_type);
    if (self == NULL) {
        forebay_buffers_give(pool->buffers, memory);
        return NULL;
    }
    self->pool = (buffer_pool_object *)Py_NewRef((PyObject *)pool);
    self->memory = memory;
    atomic_init(&self->size, size);
    atomic_init(&self->touched, size);
    atomic_init(&self->use, 0);
    return (PyObject *)self;
}

static void give_back(pooled_buffer_object *self)
{
    if (self->pool->clear)
        memset(self->memory->data, 0, (size_t)self->touched);
    forebay_buffers_give(self->pool->buffers, self->memory);
}

static void pooled_buffer_dealloc(PyObject *object)
{
    pooled_buffer_object *self = (pooled_buffer_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (atomic_load(&self->use) == 0) /* exported buffers hold the object: there is none */
        give_back(self);
    Py_DECREF(self->pool);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *pooled_buffer_refuse_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyErr_SetString(PyExc_TypeError, "BufferPool.buffer() makes buffers; PooledBuffer cannot be called");
    return NULL;
}

static bool is_released(pooled_buffer_object *self)
{
    return (atomic_load(&self->use) & RELEASED) != 0;
}

static void raise_released(void)
{
    PyErr_SetString(PyExc_ValueError, "the buffer was released: take another from the pool");
}

static bool refuse_released(pooled_buffer_object *self)
{
    if (is_released(self))
        raise_released();
    return is_released(self);
}

/* ---- the buffer protocol ---- */

static void end_export(pooled_buffer_object *self)
{
    if (atomic_fetch_sub(&self->use, 1) - 1 != RELEASED)
        return;
    atomic_fetch_sub(&self->pool->viewed, 1);
    give_back(self);
}

static int pooled_buffer_get_buffer(PyObject *object, Py_buffer *buffer, int flags)
{
    pooled_buffer_object *self = (pooled_buffer_object *)object;
    buffer->obj = NULL;
    uint32_t use = atomic_load(&self->use);
    do {
        if ((use & RELEASED) != 0) {
            raise_released();
            return -1;
        }
    } while (!atomic_compare_exchange_weak(&self->use, &use, use + 1));
    int outcome = PyBuffer_FillInfo(buffer, object, self->memory->data, atomic_load(&self->size), 0, flags);
    if (outcome < 0)
        end_export(self);
    return outcome;
}

static void pooled_buffer_release_buffer(PyObject *object, Py_buffer *buffer)
{
    end_export((pooled_buffer_object *)object);
}

/* ---- methods ---- */

PyDoc_STRVAR(release_doc,
             "release($self, /)\n--\n\n"
             "Give the memory back to the pool; the buffer cannot be used any more.  Where\n"
             "memoryviews of it are alive, they stay valid, and the memory goes back when the\n"
             "last of them ends.  Releasing again does nothing.");

static PyObject *pooled_buffer_release(PyObject *object, PyObject *unused)
{
    pooled_buffer_object *self = (pooled_buffer_object *)object;
    uint32_t use = atomic_fetch_or(&self->use, RELEASED);
    if (use == 0)
        give_back(self);
    else if ((use & RELEASED) == 0)
        atomic_fetch_add(&self->pool->viewed, 1); /* after end_export() took it off again, perhaps */
    Py_RETURN_NONE;
}

PyDoc_STRVAR(resize_doc,
             "resize($self, size, /)\n--\n\n"
             "Change the length to size bytes, 0 to capacity: nothing is copied or moved.  What\n"
             "was beyond the old end has any content.  Memoryviews made before keep their\n"
             "length.  ValueError for more than the capacity.");

static PyObject *pooled_buffer_resize(PyObject *object, PyObject *size_object)
{
    pooled_buffer_object *self = (pooled_buffer_object *)object;
    Py_ssize_t size = PyNumber_AsSsize_t(size_object, PyExc_OverflowError);
    if ((size == -1 && PyErr_Occurred()) || refuse_released(self))
        return NULL;
    if (size < 0 || (size_t)size > self->memory->capacity)
        return PyErr_Format(PyExc_ValueError, "size must be from 0 to the capacity, %zu bytes, not %zd: take a larger buffer",
                            self->memory->capacity, size);
    atomic_store(&self->size, size);
    if (size > atomic_load(&self->touched))
        atomic_store(&self->touched, size);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(tobytes_doc, "tobytes($self, /)\n--\n\nA copy of the bytes.");

static PyObject *pooled_buffer_tobytes(PyObject *object, PyObject *unused)
{
    return PyBytes_FromObject(object);
}

PyDoc_STRVAR(enter_doc, "__enter__($self, /)\n--\n\nThe buffer itself; it is released at the end of the block.");

static PyObject *pooled_buffer_enter(PyObject *object, PyObject *unused)
{
    return refuse_released((pooled_buffer_object *)object) ? NULL : Py_NewRef(object);
}

PyDoc_STRVAR(exit_doc, "__exit__($self, type, value, traceback, /)\n--\n\nRelease the buffer.");

static PyObject *pooled_buffer_exit(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    return pooled_buffer_release(object, NULL);
}

static Py_ssize_t pooled_buffer_length(PyObject *object)
{
    pooled_buffer_object *self = (pooled_buffer_object *)object;
    return refuse_released(self) ? -1 : atomic_load(&self->size);
}

/* An int of an index, a memoryview of a slice. */
static PyObject *pooled_buffer_subscript(PyObject *object, PyObject *index)
{
    PyObject *memory = PyMemoryView_FromObject(object);
    PyObject *item = memory == NULL ? NULL : PyObject_GetItem(memory, index);
    Py_XDECREF(memory);
    return item;
}

static int pooled_buffer_assign(PyObject *object, PyObject *index, PyObject *value)
{
    PyObject *memory = PyMemoryView_FromObject(object);
    int outcome = -1;
    if (memory != NULL && value == NULL)
        PyErr_SetString(PyExc_TypeError, "bytes of a buffer cannot be deleted; resize() makes it shorter");
    else if (memory != NULL)
        outcome = PyObject_SetItem(memory, index, value);
    Py_XDECREF(memory);
    return outcome;
}

static PyObject *pooled_buffer_compare(PyObject *object, PyObject *other, int operation)
{
    if (is_released((pooled_buffer_object *)object))
        return PyBool_FromLong((object == other) == (operation == Py_EQ)); /* as a memoryview */
    PyObject *memory = PyMemoryView_FromObject(object);
    PyObject *result = memory == NULL ? NULL : PyObject_RichCompare(memory, other, operation);
    Py_XDECREF(memory);
    return result;
}

static PyObject *pooled_buffer_get_capacity(PyObject *object, void *unused)
{
    pooled_buffer_object *self = (pooled_buffer_object *)object;
    return refuse_released(self) ? NULL : PyLong_FromSize_t(self->memory->capacity);
}

static PyObject *pooled_buffer_get_nbytes(PyObject *object, void *unused)
{
    Py_ssize_t length = pooled_buffer_length(object);
    return length < 0 ? NULL : PyLong_FromSsize_t(length);
}

static PyObject *pooled_buffer_get_released(PyObject *object, void *unused)
{
    return PyBool_FromLong(is_released((pooled_buffer_object *)object));
}

static PyObject *pooled_buffer_repr(PyObject *object)
{
    pooled_buffer_object *self = (pooled_buffer_object *)object;
    if (is_released(self))
        return PyUnicode_FromString("<forebay.PooledBuffer, released>");
    return PyUnicode_FromFormat("<forebay.PooledBuffer of %zd bytes, room for %zu>", atomic_load(&self->size),
                                self->memory->capacity);
}

static PyMethodDef pooled_buffer_methods[] = {
    { "release", pooled_buffer_release, METH_NOARGS, release_doc },
    { "resize", pooled_buffer_resize, METH_O, resize_doc },
    { "tobytes", pooled_buffer_tobytes, METH_NOARGS, tobytes_doc },
    { "__enter__", pooled_buffer_enter, METH_NOARGS, enter_doc },
    { "__exit__", (PyCFunction)(void (*)(void))pooled_buffer_exit, METH_FASTCALL, exit_doc },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef pooled_buffer_properties[] = {
    { "capacity", pooled_buffer_get_capacity, NULL, "How many bytes resize() may make it, at most.", NULL },
    { "nbytes", pooled_buffer_get_nbytes, NULL, "How many bytes there are: its length.", NULL },
    { "released", pooled_buffer_get_released, NULL, "True after release().", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

PyDoc_STRVAR(pooled_buffer_doc,
             "Memory of a BufferPool: a writable buffer of bytes.\n\n"
             "BufferPool.buffer() makes it.  socket.recv_into(), file.readinto(), memoryview(),\n"
             "struct.unpack_from(), numpy.frombuffer() and whatever takes a writable bytes-like\n"
             "object use it in place.  An index gives or sets an int; a slice gives a\n"
             "memoryview, and sets bytes of its own length.  The content at first is whatever\n"
             "was there, unless the pool has clear=True.\n\n"
             "A context manager: leaving the block releases it.  So does the end of the object.\n"
             "After release() it raises ValueError.  The memory is nobody else's before the last\n"
             "memoryview of it has ended.\n\n"
             "Any thread may use and release it; what two of them write at once is theirs to\n"
             "order.  A child of fork() has a copy.");

static PyType_Slot pooled_buffer_slots[] = {
    { Py_tp_doc, (void *)pooled_buffer_doc },
    { Py_tp_new, pooled_buffer_refuse_new },
    { Py_tp_dealloc, pooled_buffer_dealloc },
    { Py_tp_repr, pooled_buffer_repr },
    { Py_tp_methods, pooled_buffer_methods },
    { Py_tp_getset, pooled_buffer_properties },
    { Py_tp_richcompare, pooled_buffer_compare },
    { Py_tp_hash, PyObject_HashNotImplemented },
    { Py_sq_length, pooled_buffer_length },
    { Py_mp_length, pooled_buffer_length },
    { Py_mp_subscript, pooled_buffer_subscript },
    { Py_mp_ass_subscript, pooled_buffer_assign },
    { Py_bf_getbuffer, pooled_buffer_get_buffer },
    { Py_bf_releasebuffer, pooled_buffer_release_buffer },
    { 0, NULL },
};

PyType_Spec pooled_buffer_type_spec = {
    .name = "forebay.PooledBuffer",
    .basicsize = sizeof(pooled_buffer_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = pooled_buffer_slots,
};
