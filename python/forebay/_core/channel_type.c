/* SPDX-License-Identifier: Apache-2.0 */
/* Channel: how much was heard of what other machines say; forebay._listening uses it. */
#include "arena_methods.h"
#include "channel_object.h"

typedef struct channel_object {
    PyObject_HEAD forebay_channel *channel; /* owned; until the object ends */
    bool is_open;
    arena_object *arena;                    /* owned; entered while it is open: its handle lives on after Arena.close() */
} channel_object;

PyObject *arena_channel_open(PyObject *object, PyObject *name)
{
    arena_object *self = (arena_object *)object;
    const char *text = PyUnicode_AsUTF8(name);
    forebay_error error = { 0 };
    if (text == NULL)
        return NULL;
    if (self->arena == NULL)
        return arena_raise_closed(self);
    channel_object *channel = PyObject_New(channel_object, self->state->channel_type);
    if (channel == NULL)
        return NULL;
    channel->channel = NULL;
    channel->is_open = false;
    channel->arena = (arena_object *)Py_NewRef((PyObject *)self);
    forebay_arena *arena = self->arena;
    forebay_status status;
    arena_enter(self);
    Py_BEGIN_ALLOW_THREADS status = forebay_channel_open(arena, text, &channel->channel, &error);
    Py_END_ALLOW_THREADS channel->is_open = status == FOREBAY_OK;
    if (channel->is_open)
        return (PyObject *)channel;
    arena_leave(self);
    Py_DECREF(channel);
    return core_raise(self->state, status, &error, self->path);
}

static void channel_shut(channel_object *self)
{
    if (!self->is_open)
        return;
    self->is_open = false;
    arena_leave(self->arena);
}

static void channel_dealloc(PyObject *object)
{
    channel_object *self = (channel_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    channel_shut(self);
    forebay_channel_close(self->channel);
    Py_DECREF(self->arena);
    PyObject_Free(object);
    Py_DECREF(type);
}

forebay_channel *channel_handle(PyObject *object)
{
    channel_object *self = (channel_object *)object;
    if (self->is_open)
        return self->channel;
    PyErr_SetString(self->arena->state->errors[CORE_CLOSED_ERROR], "the channel was closed");
    return NULL;
}

/* The handle, and the listener that claim() gave. */
static forebay_channel *handle_and_listener(PyObject *object, PyObject *bytes, forebay_listener *listener)
{
    if (PyBytes_CheckExact(bytes) && PyBytes_GET_SIZE(bytes) == (Py_ssize_t)sizeof *listener) {
        memcpy(listener, PyBytes_AS_STRING(bytes), sizeof *listener);
        return channel_handle(object);
    }
    PyErr_SetString(PyExc_TypeError, "a listener is what claim() gave");
    return NULL;
}

static PyObject *channel_raise(PyObject *object, forebay_status status)
{
    channel_object *self = (channel_object *)object;
    forebay_error error = { .message = "the channel was dropped: open its caches again" };
    return core_raise(self->arena->state, status, status == FOREBAY_CLOSED ? &error : NULL, self->arena->path);
}

PyDoc_STRVAR(channel_now_doc, "now($self, /)\n--\n\nThe arena's time, in milliseconds.");

static PyObject *channel_now(PyObject *object, PyObject *unused)
{
    forebay_channel *channel = channel_handle(object);
    return channel == NULL ? NULL : PyLong_FromUnsignedLongLong(forebay_channel_now(channel));
}

PyDoc_STRVAR(channel_age_doc, "age($self, /)\n--\n\n"
                              "Milliseconds since the moment up to which everything was heard; None: nothing was.");

static PyObject *channel_age(PyObject *object, PyObject *unused)
{
    forebay_channel *channel = channel_handle(object);
    if (channel == NULL)
        return NULL;
    uint64_t age = forebay_channel_age(channel);
    return age == UINT64_MAX ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(age);
}

PyDoc_STRVAR(channel_claim_doc, "claim($self, quiet_ms, /)\n--\n\n"
                                "Become one of the two who listen: a listener, as bytes; None: there are two.");

static PyObject *channel_claim(PyObject *object, PyObject *argument)
{
    forebay_listener listener;
    unsigned long long quiet_ms = PyLong_AsUnsignedLongLong(argument);
    if (quiet_ms == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    forebay_channel *channel = channel_handle(object);
    if (channel == NULL)
        return NULL;
    forebay_status status = forebay_channel_claim(channel, quiet_ms, &listener);
    if (status == FOREBAY_EXISTS)
        Py_RETURN_NONE;
    if (status != FOREBAY_OK)
        return channel_raise(object, status);
    return PyBytes_FromStringAndSize((const char *)&listener, sizeof listener);
}

PyDoc_STRVAR(channel_join_doc, "join($self, listener, since_ms, /)\n--\n\n"
                               "Go on from what the other one heard: True; False: not heard since; None: no listener any more.");

static PyObject *channel_join(PyObject *object, PyObject *arguments)
{
    PyObject *bytes;
    unsigned long long since_ms;
    forebay_listener listener;
    if (!PyArg_ParseTuple(arguments, "OK:join", &bytes, &since_ms))
        return NULL;
    forebay_channel *channel = handle_and_listener(object, bytes, &listener);
    if (channel == NULL)
        return NULL;
    forebay_status status = forebay_channel_join(channel, &listener, since_ms);
    return status == FOREBAY_MISS ? Py_NewRef(Py_None) : PyBool_FromLong(status == FOREBAY_OK);
}

PyDoc_STRVAR(channel_is_shared_doc, "is_shared($self, listener, /)\n--\n\nDoes another live process listen, too?");

static PyObject *channel_is_shared(PyObject *object, PyObject *bytes)
{
    forebay_listener listener;
    forebay_channel *channel = handle_and_listener(object, bytes, &listener);
    return channel == NULL ? NULL : PyBool_FromLong(forebay_channel_is_shared(channel, &listener));
}

PyDoc_STRVAR(channel_begin_doc, "begin($self, listener, /)\n--\n\n"
                                "Caches that follow forget what they hold; False: no listener any more.");

static PyObject *channel_begin(PyObject *object, PyObject *bytes)
{
    forebay_listener listener;
    forebay_channel *channel = handle_and_listener(object, bytes, &listener);
    return channel == NULL ? NULL : PyBool_FromLong(forebay_channel_begin(channel, &listener) == FOREBAY_OK);
}

PyDoc_STRVAR(channel_beat_doc, "beat($self, listener, sent_ms, /)\n--\n\n"
                               "All said before then was heard, and done; False: no listener any more.");

static PyObject *channel_beat(PyObject *object, PyObject *arguments)
{
    PyObject *bytes;
    unsigned long long sent_ms;
    forebay_listener listener;
    if (!PyArg_ParseTuple(arguments, "OK:beat", &bytes, &sent_ms))
        return NULL;
    forebay_channel *channel = handle_and_listener(object, bytes, &listener);
    return channel == NULL ? NULL : PyBool_FromLong(forebay_channel_beat(channel, &listener, sent_ms) == FOREBAY_OK);
}

PyDoc_STRVAR(channel_leave_doc, "leave($self, listener, /)\n--\n\nListen no longer.");

static PyObject *channel_leave(PyObject *object, PyObject *bytes)
{
    forebay_listener listener;
    forebay_channel *channel = handle_and_listener(object, bytes, &listener);
    if (channel == NULL)
        return NULL;
    forebay_channel_leave(channel, &listener);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(channel_followers_doc, "followers($self, /)\n--\n\nThe names of the caches that follow.");

static PyObject *channel_followers(PyObject *object, PyObject *unused)
{
    forebay_channel *channel = channel_handle(object);
    PyObject *list = channel == NULL ? NULL : PyList_New(0);
    char name[FOREBAY_NAME_MAX + 1];
    for (uint32_t i = 0; list != NULL && forebay_channel_follower(channel, i, name); i++) {
        PyObject *text = PyUnicode_DecodeUTF8(name, (Py_ssize_t)strlen(name), "replace");
        if (text == NULL || PyList_Append(list, text) < 0)
            Py_CLEAR(list);
        Py_XDECREF(text);
    }
    return list;
}

PyDoc_STRVAR(channel_close_doc, "close($self, /)\n--\n\nForget the handle; leave() before.  Again: nothing happens.");

static PyObject *channel_close(PyObject *object, PyObject *unused)
{
    channel_shut((channel_object *)object);
    Py_RETURN_NONE;
}

static PyMethodDef channel_methods[] = {
    { "now", channel_now, METH_NOARGS, channel_now_doc },
    { "age", channel_age, METH_NOARGS, channel_age_doc },
    { "claim", channel_claim, METH_O, channel_claim_doc },
    { "join", channel_join, METH_VARARGS, channel_join_doc },
    { "is_shared", channel_is_shared, METH_O, channel_is_shared_doc },
    { "begin", channel_begin, METH_O, channel_begin_doc },
    { "beat", channel_beat, METH_VARARGS, channel_beat_doc },
    { "followers", channel_followers, METH_NOARGS, channel_followers_doc },
    { "leave", channel_leave, METH_O, channel_leave_doc },
    { "close", channel_close, METH_NOARGS, channel_close_doc },
    { NULL, NULL, 0, NULL },
};

static PyType_Slot channel_slots[] = {
    { Py_tp_doc, (void *)"How much was heard of what other machines say; tiers use it." },
    { Py_tp_dealloc, channel_dealloc },
    { Py_tp_methods, channel_methods },
    { 0, NULL },
};

PyType_Spec channel_type_spec = {
    .name = "forebay._core.Channel",
    .basicsize = sizeof(channel_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = channel_slots,
};

/* ---- what Arena says of channels ---- */

static PyObject *dict_of_channel(const forebay_channel_info *info)
{
    PyObject *age = info->age_ms == UINT64_MAX ? Py_NewRef(Py_None) : PyFloat_FromDouble((double)info->age_ms / 1000);
    PyObject *pids = PyList_New(0);
    for (int i = 0; pids != NULL && i < 2; i++) {
        PyObject *pid = info->pids[i] == 0 ? NULL : PyLong_FromLong(info->pids[i]);
        if (pid != NULL && PyList_Append(pids, pid) < 0)
            Py_CLEAR(pids);
        Py_XDECREF(pid);
    }
    return Py_BuildValue("{s:N,s:N}", "age", age, "listeners", pids);
}

PyObject *arena_channels(PyObject *object, PyObject *unused)
{
    arena_object *self = (arena_object *)object;
    if (self->arena == NULL)
        return arena_raise_closed(self);
    forebay_arena *arena = self->arena;
    forebay_channel_info info;
    arena_enter(self); /* a finalizer that the collector runs meanwhile may close it */
    PyObject *dict = PyDict_New();
    for (uint32_t i = 0; dict != NULL && forebay_channel_at(arena, i, &info); i++)
        if (report_add(dict, info.name, dict_of_channel(&info)) < 0)
            Py_CLEAR(dict);
    arena_leave(self);
    return dict;
}
