/* SPDX-License-Identifier: Apache-2.0 */
/* ObjectPool: Python objects that are costly to make, to use again. */
#include "object_pool.h"

#include <stddef.h>
#include <structmember.h> /* T_PYSSIZET: 3.11 has no Py_ names for it */

#include "arguments.h"

#define USUAL_MAX_SIZE 8

/* ---- hooks ---- */

/* The exception that is set goes to the log, and is over. */
static void log_error(object_pool_object *self, const char *hook, PyObject *object)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    self->hook_errors++;
    PyObject *module = PyImport_ImportModule("forebay._pool_log");
    PyObject *done = module == NULL ? NULL : PyObject_CallMethod(module, "hook_failed", "sOO", hook, object, value);
    if (done == NULL)
        PyErr_WriteUnraisable((PyObject *)self);
    Py_XDECREF(done);
    Py_XDECREF(module);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

/* -1: it failed; an exception is set if it is none to be logged, such as KeyboardInterrupt. */
static int call_hook(object_pool_object *self, PyObject *hook, const char *name, PyObject *object)
{
    PyObject *done = hook == NULL ? Py_NewRef(Py_None) : PyObject_CallOneArg(hook, object);
    Py_XDECREF(done);
    if (done == NULL && PyErr_ExceptionMatches(PyExc_Exception))
        log_error(self, name, object);
    return done == NULL ? -1 : 0;
}

/* Ends the reference.  An exception that is set stays. */
static void drop(object_pool_object *self, PyObject *object)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    self->dropped++;
    (void)call_hook(self, self->close, "close", object);
    Py_DECREF(object);
    if (type != NULL) {
        PyErr_Clear();
        PyErr_Restore(type, value, traceback);
    }
}

/* -1: a hook raised what is no Exception. */
static int drop_list(object_pool_object *self, object_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        drop(self, list->entries[i].object);
    PyMem_RawFree(list->entries);
    return PyErr_Occurred() != NULL ? -1 : 0;
}

/* ---- taking ---- */

static PyObject *raise_closed(object_pool_object *self)
{
    PyErr_SetString(self->state->errors[CORE_POOL_CLOSED_ERROR], "the object pool was closed");
    return NULL;
}

typedef enum take_outcome { TAKEN, NONE_IDLE, POOL_CLOSED, KNOWN, NO_MEMORY } take_outcome;

static bool is_idle(const object_pool_object *self, const PyObject *object)
{
    size_t i = 0;
    while (i < self->idle_count && self->idle[i].object != object)
        i++;
    return i < self->idle_count;
}

/* Hand an idle one out, or `created` if it is not NULL. */
static take_outcome hand_out(object_pool_object *self, PyObject *created, PyObject **object, object_list *lost)
{
    *lost = (object_list){ NULL, 0 };
    if (self->closed)
        return POOL_CLOSED;
    if (created == NULL && self->idle_count == 0)
        return NONE_IDLE;
    if (created != NULL && (object_table_has(&self->in_use, created) || is_idle(self, created)))
        return KNOWN;
    if (!object_table_reserve(&self->in_use, lost))
        return NO_MEMORY;
    object_entry entry = { created, 0 };
    if (created == NULL)
        entry = self->idle[--self->idle_count];
    else
        Py_INCREF(created);
    entry.uses++;
    object_table_add(&self->in_use, entry);
    self->created += created != NULL;
    self->reused += created == NULL;
    self->lost += lost->count;
    *object = Py_NewRef(entry.object);
    return TAKEN;
}

static take_outcome hand_out_locked(object_pool_object *self, PyObject *created, PyObject **object, object_list *lost)
{
    take_outcome outcome;
    OBJECT_POOL_LOCK(self)
    outcome = hand_out(self, created, object, lost);
    OBJECT_POOL_UNLOCK
    return outcome;
}

static PyObject *raise_outcome(object_pool_object *self, take_outcome outcome)
{
    if (outcome == POOL_CLOSED)
        return raise_closed(self);
    if (outcome == NO_MEMORY)
        return PyErr_NoMemory();
    PyErr_SetString(self->state->errors[CORE_POOL_ERROR],
                    "create() returned an object that the pool has already: it must make a new one each time");
    return NULL;
}

/* An object was taken; what was found lost meanwhile ends. */
static PyObject *after_taking(object_pool_object *self, PyObject *object, object_list *lost)
{
    if (lost->entries == NULL || drop_list(self, lost) == 0)
        return object;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    (void)object_pool_give(self, object, false);
    Py_DECREF(object);
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    return NULL;
}

static PyObject *take_created(object_pool_object *self)
{
    PyObject *created = PyObject_CallNoArgs(self->create), *object = NULL;
    object_list lost;
    if (created == NULL)
        return NULL;
    take_outcome outcome = hand_out_locked(self, created, &object, &lost);
    if (outcome != TAKEN && outcome != KNOWN)
        drop(self, Py_NewRef(created));
    Py_DECREF(created);
    if (PyErr_Occurred()) /* of the close hook */
        return NULL;
    return outcome == TAKEN ? after_taking(self, object, &lost) : raise_outcome(self, outcome);
}

PyObject *object_pool_take(object_pool_object *self)
{
    PyObject *object = NULL;
    object_list lost;
    take_outcome outcome = hand_out_locked(self, NULL, &object, &lost);
    if (outcome == NONE_IDLE)
        return take_created(self);
    return outcome == TAKEN ? after_taking(self, object, &lost) : raise_outcome(self, outcome);
}

/* ---- giving back ---- */

static int raise_not_in_use(object_pool_object *self, PyObject *object)
{
    PyObject *error = self->state->errors[CORE_POOL_ERROR];
    bool idle;
    OBJECT_POOL_LOCK(self)
    idle = is_idle(self, object);
    OBJECT_POOL_UNLOCK
    if (idle)
        PyErr_Format(error, "the %.100s was returned to the pool already", Py_TYPE(object)->tp_name);
    else
        PyErr_Format(error, "the %.100s is not in use: it is not of this pool, or was returned already and dropped",
                     Py_TYPE(object)->tp_name);
    return -1;
}

static bool reserve_idle(object_pool_object *self)
{
    if (self->idle_count < self->idle_room)
        return true;
    size_t room = self->idle_room == 0 ? USUAL_MAX_SIZE : self->idle_room * 2;
    object_entry *idle = PyMem_RawRealloc(self->idle, room * sizeof *idle);
    if (idle == NULL)
        return false;
    self->idle = idle;
    self->idle_room = room;
    return true;
}

/* Moves the reference if true. */
static bool keep_idle(object_pool_object *self, object_entry entry)
{
    bool kept = false;
    OBJECT_POOL_LOCK(self)
    if (!self->closed && self->idle_count < self->max_size && reserve_idle(self)) {
        self->idle[self->idle_count++] = entry;
        kept = true;
    }
    OBJECT_POOL_UNLOCK
    return kept;
}

static bool may_be_kept(const object_pool_object *self, const object_entry *entry, bool failed)
{
    if (self->closed || (failed && !self->keep_after_error))
        return false;
    return self->max_uses == 0 || entry->uses < self->max_uses;
}

int object_pool_give(object_pool_object *self, PyObject *object, bool failed)
{
    object_entry entry;
    bool found;
    OBJECT_POOL_LOCK(self)
    found = object_table_remove(&self->in_use, object, &entry);
    OBJECT_POOL_UNLOCK
    if (!found)
        return raise_not_in_use(self, object);
    bool keep = may_be_kept(self, &entry, failed) && call_hook(self, self->reset, "reset", object) == 0;
    if (!keep || !keep_idle(self, entry))
        drop(self, entry.object);
    return PyErr_Occurred() != NULL ? -1 : 0;
}

/* ---- making one ---- */

static int hook_from_object(PyObject *given, const char *what, PyObject **hook)
{
    if (given == NULL || given == Py_None)
        return 0;
    if (!PyCallable_Check(given)) {
        PyErr_Format(PyExc_TypeError, "%s must be callable or None, not %.100s", what, Py_TYPE(given)->tp_name);
        return -1;
    }
    *hook = Py_NewRef(given);
    return 0;
}

static int count_from_object(PyObject *given, const char *what, long least, uint64_t *count)
{
    if (PyBool_Check(given) || !PyLong_Check(given)) {
        PyErr_Format(PyExc_TypeError, "%s must be an int, not %.100s", what, Py_TYPE(given)->tp_name);
        return -1;
    }
    Py_ssize_t number = PyLong_AsSsize_t(given);
    if (number == -1 && PyErr_Occurred()) {
        PyErr_Format(PyExc_ValueError, "%s is too large or too small: %R", what, given);
        return -1;
    }
    if (number < least) {
        PyErr_Format(PyExc_ValueError, "%s must be at least %ld, not %zd", what, least, number);
        return -1;
    }
    *count = (uint64_t)number;
    return 0;
}

/* As they were given; NULL: omitted. */
typedef struct object_pool_arguments {
    PyObject *create, *reset, *close, *max_size, *max_uses; /* borrowed */
    int keep_after_error;
} object_pool_arguments;

static int fill_pool(object_pool_object *self, const object_pool_arguments *given)
{
    self->max_size = USUAL_MAX_SIZE;
    self->keep_after_error = given->keep_after_error != 0;
    if (!PyCallable_Check(given->create)) {
        PyErr_Format(PyExc_TypeError, "create must be callable, not %.100s", Py_TYPE(given->create)->tp_name);
        return -1;
    }
    self->create = Py_NewRef(given->create);
    if (hook_from_object(given->reset, "reset", &self->reset) < 0 || hook_from_object(given->close, "close", &self->close) < 0)
        return -1;
    if (given->max_size != NULL && count_from_object(given->max_size, "max_size", 0, &self->max_size) < 0)
        return -1;
    if (given->max_uses == NULL || given->max_uses == Py_None)
        return 0;
    return count_from_object(given->max_uses, "max_uses", 1, &self->max_uses);
}

static PyObject *object_pool_make(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = { "create", "reset", "close", "max_size", "max_uses", "keep_after_error", NULL };
    object_pool_arguments given = { .create = NULL };
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O|$OOOOp:ObjectPool", names, &given.create, &given.reset, &given.close,
                                     &given.max_size, &given.max_uses, &given.keep_after_error))
        return NULL;
    object_pool_object *self = (object_pool_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->state = PyType_GetModuleState(type); /* no subclasses */
    if (fill_pool(self, &given) == 0)
        return (PyObject *)self;
    Py_DECREF(self);
    return NULL;
}

/* ---- methods ---- */

PyDoc_STRVAR(borrow_doc,
             "borrow($self, /)\n--\n\n"
             "A context manager: an object for the time of one `with` block.  A block that ends\n"
             "with an exception drops the object, unless the pool has keep_after_error=True.");

static PyObject *object_pool_borrow(PyObject *object, PyObject *unused)
{
    return borrow_new((object_pool_object *)object);
}

PyDoc_STRVAR(acquire_doc,
             "acquire($self, /)\n--\n\n"
             "The object that was given back last; a new one, made in this thread, where none\n"
             "is idle.  Never waits for another thread.  Give it back with release().");

static PyObject *object_pool_acquire(PyObject *object, PyObject *unused)
{
    return object_pool_take((object_pool_object *)object);
}

PyDoc_STRVAR(release_doc,
             "release($self, object, /)\n--\n\n"
             "Give back what acquire() returned.  PoolError if it is not in use: returned\n"
             "already, or of another pool.");

static PyObject *object_pool_release(PyObject *object, PyObject *returned)
{
    return object_pool_give((object_pool_object *)object, returned, false) < 0 ? NULL : Py_NewRef(Py_None);
}

static int drop_idle(object_pool_object *self, bool close)
{
    object_list idle;
    OBJECT_POOL_LOCK(self)
    idle = (object_list){ self->idle, self->idle_count };
    self->idle = NULL;
    self->idle_count = self->idle_room = 0;
    self->closed |= close;
    OBJECT_POOL_UNLOCK
    return drop_list(self, &idle);
}

PyDoc_STRVAR(clear_doc, "clear($self, /)\n--\n\nDrop the idle objects.");

static PyObject *object_pool_clear_idle(PyObject *object, PyObject *unused)
{
    return drop_idle((object_pool_object *)object, false) < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(close_doc,
             "close($self, /)\n--\n\n"
             "Drop the idle objects; those in use are dropped when they are given back.  Later\n"
             "requests get PoolClosedError.  Closing again does nothing.");

static PyObject *object_pool_close(PyObject *object, PyObject *unused)
{
    return drop_idle((object_pool_object *)object, true) < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(stats_doc,
             "stats($self, /)\n--\n\n"
             "A dict: max_size; in_use, idle (objects, now); created, reused (what requests\n"
             "got); dropped (objects), lost (dropped because nobody had them any more, and they\n"
             "were not returned), hook_errors (exceptions of reset and close).");

static PyObject *object_pool_stats(PyObject *object, PyObject *unused)
{
    object_pool_object *self = (object_pool_object *)object;
    return Py_BuildValue("{sKsnsnsKsKsKsKsK}", "max_size", (unsigned long long)self->max_size, "in_use",
                         (Py_ssize_t)self->in_use.count, "idle", (Py_ssize_t)self->idle_count, "created",
                         (unsigned long long)self->created, "reused", (unsigned long long)self->reused, "dropped",
                         (unsigned long long)self->dropped, "lost", (unsigned long long)self->lost, "hook_errors",
                         (unsigned long long)self->hook_errors);
}

PyDoc_STRVAR(enter_doc, "__enter__($self, /)\n--\n\nThe pool itself; it is closed at the end of the block.");

static PyObject *object_pool_enter(PyObject *object, PyObject *unused)
{
    object_pool_object *self = (object_pool_object *)object;
    return self->closed ? raise_closed(self) : Py_NewRef(object);
}

PyDoc_STRVAR(exit_doc, "__exit__($self, type, value, traceback, /)\n--\n\nClose the pool.");

static PyObject *object_pool_exit(PyObject *object, PyObject *arguments)
{
    return object_pool_close(object, NULL);
}

static PyObject *object_pool_get_closed(PyObject *object, void *unused)
{
    return PyBool_FromLong(((object_pool_object *)object)->closed);
}

static PyObject *object_pool_repr(PyObject *object)
{
    object_pool_object *self = (object_pool_object *)object;
    return PyUnicode_FromFormat("<forebay.ObjectPool of %R%s: %zu in use, %zu idle>", self->create != NULL ? self->create : Py_None,
                                self->closed ? ", closed" : "", self->in_use.count, self->idle_count);
}

/* ---- collection ---- */

static int object_pool_traverse(PyObject *object, visitproc visit, void *arg)
{
    object_pool_object *self = (object_pool_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->create);
    Py_VISIT(self->reset);
    Py_VISIT(self->close);
    for (size_t i = 0; i < self->idle_count; i++)
        Py_VISIT(self->idle[i].object);
    for (size_t i = 0; i < self->in_use.room; i++)
        Py_VISIT(self->in_use.entries[i].object);
    return 0;
}

static int object_pool_clear(PyObject *object)
{
    object_pool_object *self = (object_pool_object *)object;
    object_table in_use = self->in_use;
    object_list idle = { self->idle, self->idle_count };
    self->in_use = (object_table){ NULL, 0, 0 };
    self->idle = NULL;
    self->idle_count = self->idle_room = 0;
    self->closed = true;
    for (size_t i = 0; i < idle.count; i++)
        Py_DECREF(idle.entries[i].object);
    for (size_t i = 0; i < in_use.room; i++)
        Py_XDECREF(in_use.entries[i].object);
    PyMem_RawFree(idle.entries);
    PyMem_RawFree(in_use.entries);
    Py_CLEAR(self->create); /* a closed pool never calls it */
    Py_CLEAR(self->reset);
    Py_CLEAR(self->close);
    return 0;
}

/* A pool that nobody closed. */
static void object_pool_finalize(PyObject *object)
{
    object_pool_object *self = (object_pool_object *)object;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (self->close != NULL && drop_idle(self, true) < 0)
        PyErr_WriteUnraisable(object);
    PyErr_Restore(type, value, traceback);
}

static void object_pool_dealloc(PyObject *object)
{
    object_pool_object *self = (object_pool_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (PyObject_CallFinalizerFromDealloc(object) < 0)
        return; /* a hook kept it */
    PyObject_GC_UnTrack(object);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(object);
    object_pool_clear(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef object_pool_methods[] = {
    { "borrow", object_pool_borrow, METH_NOARGS, borrow_doc },
    { "acquire", object_pool_acquire, METH_NOARGS, acquire_doc },
    { "release", object_pool_release, METH_O, release_doc },
    { "clear", object_pool_clear_idle, METH_NOARGS, clear_doc },
    { "close", object_pool_close, METH_NOARGS, close_doc },
    { "stats", object_pool_stats, METH_NOARGS, stats_doc },
    { "__enter__", object_pool_enter, METH_NOARGS, enter_doc },
    { "__exit__", object_pool_exit, METH_VARARGS, exit_doc },
    { "__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "__class_getitem__($type, item, /)\n--\n\nObjectPool[T], for annotations." },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef object_pool_properties[] = {
    { "closed", object_pool_get_closed, NULL, "True after close().", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyMemberDef object_pool_members[] = {
    { "__weaklistoffset__", T_PYSSIZET, offsetof(object_pool_object, weakrefs), READONLY, NULL },
    { NULL, 0, 0, 0, NULL },
};

PyDoc_STRVAR(object_pool_doc,
             "ObjectPool(create, *, reset=None, close=None, max_size=8, max_uses=None, keep_after_error=False)\n--\n\n"
             "Objects that are costly to make (parsers, compressors), to use again.\n\n"
             "    with pool.borrow() as parser:\n"
             "        parser.parse(text)\n\n"
             "Nobody waits: where none is idle, create() makes one in the calling thread.  At\n"
             "most max_size are kept idle; the one given back last goes first.\n\n"
             "reset(object) makes one ready for the next user when it is given back; if it\n"
             "raises, the object is dropped, and that is logged (logger \"forebay.pool\"), not\n"
             "raised: the work is done by then.  close(object) is called when one is dropped;\n"
             "what it raises is logged.  Without it a dropped object is just let go.\n\n"
             "An object is dropped after max_uses uses, and when its `with` block ends with an\n"
             "exception: who knows what state it is in.  keep_after_error=True leaves that to\n"
             "reset.\n\n"
             "Any thread may use the pool; hooks run in the thread that calls.  A child of\n"
             "fork() has copies of the idle objects: not for what talks to others, such as\n"
             "connections.");

static PyType_Slot object_pool_slots[] = {
    { Py_tp_doc, (void *)object_pool_doc },
    { Py_tp_new, object_pool_make },
    { Py_tp_dealloc, object_pool_dealloc },
    { Py_tp_finalize, object_pool_finalize },
    { Py_tp_traverse, object_pool_traverse },
    { Py_tp_clear, object_pool_clear },
    { Py_tp_repr, object_pool_repr },
    { Py_tp_methods, object_pool_methods },
    { Py_tp_getset, object_pool_properties },
    { Py_tp_members, object_pool_members },
    { 0, NULL },
};

PyType_Spec object_pool_type_spec = {
    .name = "forebay.ObjectPool",
    .basicsize = sizeof(object_pool_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = object_pool_slots,
};
