/* SPDX-License-Identifier: Apache-2.0 */
/* Limit: permits that the processes of a machine share; forebay._pool_limit uses it. */
#include "arena_methods.h"
#include "limit_object.h"

#include <math.h>

typedef struct limit_object {
    PyObject_HEAD forebay_limit *limit; /* owned; until the object ends: another thread may wait on it */
    bool is_open;
    arena_object *arena;                /* owned; entered while it is open: its row lives on after Arena.close() */
    uint32_t seen;                      /* by watch() */
} limit_object;

#define SLICE_MS 100u /* of a wait; then a look at signals */

PyObject *arena_limit(PyObject *object, PyObject *arguments)
{
    arena_object *self = (arena_object *)object;
    const char *name;
    unsigned int most;
    int update;
    forebay_error error = { 0 };
    if (!PyArg_ParseTuple(arguments, "sIp:_limit", &name, &most, &update))
        return NULL;
    if (self->arena == NULL)
        return arena_raise_closed(self);
    limit_object *limit = PyObject_New(limit_object, self->state->limit_type);
    if (limit == NULL)
        return NULL;
    limit->limit = NULL;
    limit->is_open = false;
    limit->seen = 0;
    limit->arena = (arena_object *)Py_NewRef((PyObject *)self);
    forebay_arena *arena = self->arena;
    forebay_status status;
    arena_enter(self);
    Py_BEGIN_ALLOW_THREADS status = forebay_limit_open(arena, name, most, update != 0, &limit->limit, &error);
    Py_END_ALLOW_THREADS limit->is_open = status == FOREBAY_OK;
    if (limit->is_open)
        return (PyObject *)limit;
    arena_leave(self);
    Py_DECREF(limit);
    return core_raise(self->state, status, &error, self->path);
}

static void limit_shut(limit_object *self)
{
    if (!self->is_open)
        return;
    self->is_open = false;
    arena_leave(self->arena);
}

static void limit_dealloc(PyObject *object)
{
    limit_object *self = (limit_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    limit_shut(self);
    forebay_limit_close(self->limit);
    Py_DECREF(self->arena);
    PyObject_Free(object);
    Py_DECREF(type);
}

/* The handle; NULL with ClosedError. */
static forebay_limit *limit_handle(limit_object *self)
{
    if (self->is_open)
        return self->limit;
    PyErr_SetString(self->arena->state->errors[CORE_CLOSED_ERROR], "the limit was closed");
    return NULL;
}

static PyObject *limit_raise(limit_object *self, forebay_status status)
{
    forebay_error error = { .message = "the limit was dropped: no permits are to be had from it" };
    return core_raise(self->arena->state, status, status == FOREBAY_CLOSED ? &error : NULL, self->arena->path);
}

static PyObject *bytes_of(const void *value, size_t size)
{
    return PyBytes_FromStringAndSize(value, (Py_ssize_t)size);
}

/* Copy what queue() or take() gave; -1 with TypeError. */
static int from_bytes(PyObject *bytes, void *value, size_t size)
{
    if (PyBytes_Check(bytes) && PyBytes_GET_SIZE(bytes) == (Py_ssize_t)size) {
        memcpy(value, PyBytes_AS_STRING(bytes), size);
        return 0;
    }
    PyErr_SetString(PyExc_TypeError, "a turn is what queue() gave, a permit what take() or wait() gave");
    return -1;
}

PyDoc_STRVAR(limit_take_doc, "take($self, /)\n--\n\nA permit, as bytes; None: none is free for who does not wait.");

static PyObject *limit_take(PyObject *object, PyObject *unused)
{
    limit_object *self = (limit_object *)object;
    forebay_permit permit;
    if (limit_handle(self) == NULL)
        return NULL;
    forebay_status status = forebay_permit_take(self->limit, &permit);
    if (status == FOREBAY_MISS)
        Py_RETURN_NONE;
    return status == FOREBAY_OK ? bytes_of(&permit, sizeof permit) : limit_raise(self, status);
}

PyDoc_STRVAR(limit_give_back_doc, "give_back($self, permit, /)\n--\n\n"
                                  "False: it was not this process's (or was given back before).");

static PyObject *limit_give_back(PyObject *object, PyObject *bytes)
{
    limit_object *self = (limit_object *)object;
    forebay_permit permit;
    if (limit_handle(self) == NULL || from_bytes(bytes, &permit, sizeof permit) < 0)
        return NULL;
    forebay_status status = forebay_permit_give_back(self->limit, &permit);
    return status < FOREBAY_OK ? limit_raise(self, status) : PyBool_FromLong(status == FOREBAY_OK);
}

PyDoc_STRVAR(limit_queue_doc, "queue($self, /)\n--\n\nTake a turn at the end of the queue, as bytes; to be left by leave().");

static PyObject *limit_queue(PyObject *object, PyObject *unused)
{
    limit_object *self = (limit_object *)object;
    forebay_turn turn;
    if (limit_handle(self) == NULL)
        return NULL;
    forebay_status status = forebay_permit_queue(self->limit, &turn);
    return status == FOREBAY_OK ? bytes_of(&turn, sizeof turn) : limit_raise(self, status);
}

PyDoc_STRVAR(limit_leave_doc, "leave($self, turn, /)\n--\n\nGive up a turn in the queue.");

static PyObject *limit_leave(PyObject *object, PyObject *bytes)
{
    limit_object *self = (limit_object *)object;
    forebay_turn turn;
    if (limit_handle(self) == NULL || from_bytes(bytes, &turn, sizeof turn) < 0)
        return NULL;
    forebay_permit_leave(self->limit, &turn);
    Py_RETURN_NONE;
}

static int milliseconds_from(PyObject *object, uint32_t *ms)
{
    double seconds = PyFloat_AsDouble(object);
    if (seconds == -1 && PyErr_Occurred())
        return -1;
    *ms = !(seconds > 0) ? 0 : seconds > 4e6 ? UINT32_MAX : (uint32_t)ceil(seconds * 1000);
    return 0;
}

/* What one slice of a wait does. */
typedef forebay_status (*slice_function)(limit_object *self, void *context, uint32_t ms);

/* Wait in slices, without the GIL; signals are handled between them.  False with an
 * exception. */
static bool wait_in_slices(limit_object *self, slice_function slice, void *context, uint32_t ms, forebay_status *status)
{
    arena_object *arena = self->arena;
    do {
        if (limit_handle(self) == NULL)
            return false;
        uint32_t part = ms < SLICE_MS ? ms : SLICE_MS;
        Py_INCREF(self);
        arena_enter(arena);
        Py_BEGIN_ALLOW_THREADS *status = slice(self, context, part);
        Py_END_ALLOW_THREADS arena_leave(arena);
        Py_DECREF(self);
        ms -= part;
        if (*status != FOREBAY_OK && PyErr_CheckSignals() < 0)
            return false;
    } while ((*status == FOREBAY_TIMEOUT && ms != 0) || (*status == FOREBAY_INTERRUPTED && ms != 0));
    return true;
}

typedef struct permit_wait {
    forebay_turn turn;
    forebay_permit permit;
} permit_wait;

static forebay_status wait_for_permit(limit_object *self, void *context, uint32_t ms)
{
    permit_wait *wait = context;
    return forebay_permit_wait(self->limit, &wait->turn, ms, &wait->permit);
}

static forebay_status watch_once(limit_object *self, void *context, uint32_t ms)
{
    (void)context;
    return forebay_limit_watch(self->limit, &self->seen, ms);
}

PyDoc_STRVAR(limit_wait_doc, "wait($self, turn, timeout, /)\n--\n\n"
                             "Wait up to so many seconds for the turn; a permit, as bytes, or None.");

static PyObject *limit_wait(PyObject *object, PyObject *arguments)
{
    limit_object *self = (limit_object *)object;
    permit_wait wait = { .turn = { { 0 } } };
    PyObject *bytes, *timeout;
    uint32_t ms;
    forebay_status status;
    if (!PyArg_ParseTuple(arguments, "OO:wait", &bytes, &timeout) || from_bytes(bytes, &wait.turn, sizeof wait.turn) < 0
        || milliseconds_from(timeout, &ms) < 0 || !wait_in_slices(self, wait_for_permit, &wait, ms, &status))
        return NULL;
    if (status == FOREBAY_TIMEOUT || status == FOREBAY_INTERRUPTED)
        Py_RETURN_NONE;
    return status == FOREBAY_OK ? bytes_of(&wait.permit, sizeof wait.permit) : limit_raise(self, status);
}

PyDoc_STRVAR(limit_watch_doc, "watch($self, timeout, /)\n--\n\n"
                              "Wait up to so many seconds until somebody begins to wait for a permit, since the\n"
                              "last call; whether one did.  For one thread.");

static PyObject *limit_watch(PyObject *object, PyObject *timeout)
{
    limit_object *self = (limit_object *)object;
    uint32_t ms;
    forebay_status status;
    if (milliseconds_from(timeout, &ms) < 0 || !wait_in_slices(self, watch_once, NULL, ms, &status))
        return NULL;
    if (status == FOREBAY_CLOSED)
        return limit_raise(self, status);
    return PyBool_FromLong(status == FOREBAY_OK);
}

PyDoc_STRVAR(limit_wanted_doc, "wanted($self, /)\n--\n\nDoes anybody wait for a permit?");

static PyObject *limit_wanted(PyObject *object, PyObject *unused)
{
    forebay_limit *limit = limit_handle((limit_object *)object);
    return limit == NULL ? NULL : PyBool_FromLong(forebay_limit_wanted(limit));
}

PyDoc_STRVAR(limit_should_yield_doc, "should_yield($self, idle, /)\n--\n\n"
                                     "Should this process give a permit up for another one?  idle: it needs it not now.");

static PyObject *limit_ask_yield(PyObject *object, PyObject *idle)
{
    forebay_limit *limit = limit_handle((limit_object *)object);
    int is_idle = PyObject_IsTrue(idle);
    return limit == NULL || is_idle < 0 ? NULL : PyBool_FromLong(forebay_limit_should_yield(limit, is_idle != 0));
}

bool limit_should_yield(PyObject *object, bool idle)
{
    limit_object *self = (limit_object *)object;
    return self->is_open && forebay_limit_should_yield(self->limit, idle);
}

void limit_return(PyObject *object, PyObject *bytes)
{
    limit_object *self = (limit_object *)object;
    forebay_permit permit;
    if (!self->is_open)
        return;
    memcpy(&permit, PyBytes_AS_STRING(bytes), sizeof permit);
    (void)forebay_permit_give_back(self->limit, &permit);
}

PyDoc_STRVAR(limit_close_doc, "close($self, /)\n--\n\n"
                              "Forget the handle, not the permits: give them back before.  Again: nothing happens.");

static PyObject *limit_close(PyObject *object, PyObject *unused)
{
    limit_shut((limit_object *)object);
    Py_RETURN_NONE;
}

static PyMethodDef limit_methods[] = {
    { "take", limit_take, METH_NOARGS, limit_take_doc },
    { "give_back", limit_give_back, METH_O, limit_give_back_doc },
    { "queue", limit_queue, METH_NOARGS, limit_queue_doc },
    { "wait", limit_wait, METH_VARARGS, limit_wait_doc },
    { "leave", limit_leave, METH_O, limit_leave_doc },
    { "wanted", limit_wanted, METH_NOARGS, limit_wanted_doc },
    { "should_yield", limit_ask_yield, METH_O, limit_should_yield_doc },
    { "watch", limit_watch, METH_O, limit_watch_doc },
    { "close", limit_close, METH_NOARGS, limit_close_doc },
    { NULL, NULL, 0, NULL },
};

static PyType_Slot limit_slots[] = {
    { Py_tp_doc, (void *)"Permits that all processes of the machine share; forebay.Pool uses them." },
    { Py_tp_dealloc, limit_dealloc },
    { Py_tp_methods, limit_methods },
    { 0, NULL },
};

PyType_Spec limit_type_spec = {
    .name = "forebay._core.Limit",
    .basicsize = sizeof(limit_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = limit_slots,
};

/* ---- what Arena says of limits ---- */

static PyObject *list_of_shares(const forebay_limit_share *shares, uint32_t count)
{
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; list != NULL && i < count; i++) {
        PyObject *share = Py_BuildValue("{s:i,s:I,s:I}", "pid", (int)shares[i].pid, "held", shares[i].held, "waiting",
                                        shares[i].waiting);
        if (share == NULL || PyList_Append(list, share) < 0)
            Py_CLEAR(list);
        Py_XDECREF(share);
    }
    return list;
}

#define SHARES_MAX 1024u /* as many rows as an arena can have */

static PyObject *dict_of_limit(forebay_arena *arena, const forebay_limit_info *info)
{
    forebay_limit_share *shares = PyMem_Calloc(SHARES_MAX, sizeof *shares);
    if (shares == NULL)
        return PyErr_NoMemory();
    uint32_t count = forebay_limit_shares(arena, info->name, shares, SHARES_MAX);
    PyObject *list = list_of_shares(shares, count < SHARES_MAX ? count : SHARES_MAX);
    PyMem_Free(shares);
    return list == NULL ? NULL : Py_BuildValue("{s:I,s:I,s:I,s:N}", "most", info->most, "held", info->held, "waiting",
                                               info->waiting, "processes", list);
}

PyObject *arena_limits(PyObject *object, PyObject *unused)
{
    arena_object *self = (arena_object *)object;
    if (self->arena == NULL)
        return arena_raise_closed(self);
    forebay_arena *arena = self->arena;
    forebay_limit_info info;
    arena_enter(self); /* a finalizer that the collector runs meanwhile may close it */
    PyObject *dict = PyDict_New();
    for (uint32_t i = 0; dict != NULL && forebay_limit_at(arena, i, &info); i++)
        if (report_add(dict, info.name, dict_of_limit(arena, &info)) < 0)
            Py_CLEAR(dict);
    arena_leave(self);
    return dict;
}

PyObject *arena_drop_limit(PyObject *object, PyObject *name)
{
    arena_object *self = (arena_object *)object;
    const char *text = PyUnicode_AsUTF8(name);
    forebay_arena *arena = self->arena;
    if (text == NULL)
        return NULL;
    if (arena == NULL)
        return arena_raise_closed(self);
    forebay_status status;
    arena_enter(self);
    Py_BEGIN_ALLOW_THREADS status = forebay_limit_drop(arena, text);
    Py_END_ALLOW_THREADS arena_leave(self);
    forebay_error error = { .message = "the limit is in use: a live process holds permits of it, or waits; see Arena.limits()" };
    if (status < FOREBAY_OK)
        return core_raise(self->state, status, status == FOREBAY_BUSY ? &error : NULL, self->path);
    return PyBool_FromLong(status == FOREBAY_OK);
}
