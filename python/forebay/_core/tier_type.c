/* SPDX-License-Identifier: Apache-2.0 */
/* TierRecord: what processes of the machine had from a tier; forebay.tiers counts in it. */
#include "arena_methods.h"
#include "objects.h"

#define USERS_MAX 1024u /* rows that an arena has at most */

/* Its calls keep the GIL and ask whether the arena is open: it is not kept open for this. */
typedef struct record_object {
    PyObject_HEAD forebay_tier *tier; /* owned */
    arena_object *arena;              /* owned */
} record_object;

PyObject *arena_tier(PyObject *object, PyObject *name)
{
    arena_object *self = (arena_object *)object;
    const char *text = PyUnicode_AsUTF8(name);
    forebay_error error = { 0 };
    if (text == NULL)
        return NULL;
    if (self->arena == NULL)
        return arena_raise_closed(self);
    record_object *record = PyObject_New(record_object, self->state->tier_record_type);
    if (record == NULL)
        return NULL;
    record->tier = NULL;
    record->arena = (arena_object *)Py_NewRef((PyObject *)self);
    forebay_arena *arena = self->arena;
    forebay_status status;
    arena_enter(self);
    Py_BEGIN_ALLOW_THREADS status = forebay_tier_open(arena, text, &record->tier, &error);
    Py_END_ALLOW_THREADS arena_leave(self);
    if (status == FOREBAY_OK)
        return (PyObject *)record;
    Py_DECREF(record);
    return core_raise(self->state, status, &error, self->path);
}

static void record_dealloc(PyObject *object)
{
    record_object *self = (record_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->tier != NULL && self->arena->arena != NULL)
        (void)forebay_tier_say(self->tier, 0);
    forebay_tier_close(self->tier);
    Py_DECREF(self->arena);
    PyObject_Free(object);
    Py_DECREF(type);
}

/* What could not be noted, as the arena is closed or damaged, is for whoever uses the arena to find. */
static PyObject *was_noted(forebay_status status)
{
    return PyBool_FromLong(status != FOREBAY_CLOSED);
}

PyDoc_STRVAR(record_add_doc, "add($self, count, number, /)\n--\n\n"
                             "Count more hits, misses, stored, errors, skipped or opened; False: open the tier again.");

static PyObject *record_add(PyObject *object, PyObject *arguments)
{
    record_object *self = (record_object *)object;
    const char *name;
    unsigned long long number;
    if (!PyArg_ParseTuple(arguments, "sK:add", &name, &number))
        return NULL;
    for (uint32_t i = 0; i < FOREBAY_TIER_COUNTS; i++)
        if (strcmp(name, forebay_tier_count_name((forebay_tier_count)i)) == 0)
            return was_noted(self->arena->arena == NULL ? FOREBAY_OK
                                                        : forebay_tier_add(self->tier, (forebay_tier_count)i, number));
    return PyErr_Format(PyExc_ValueError, "nothing of a tier is counted as %s", name);
}

PyDoc_STRVAR(record_say_doc, "say($self, left_out, not_stored, /)\n--\n\n"
                             "How this process uses the tier from now on; False: open the tier again.");

static PyObject *record_say(PyObject *object, PyObject *arguments)
{
    record_object *self = (record_object *)object;
    int left_out, not_stored;
    if (!PyArg_ParseTuple(arguments, "pp:say", &left_out, &not_stored))
        return NULL;
    uint32_t use = FOREBAY_TIER_USED | (left_out ? FOREBAY_TIER_LEFT_OUT : 0u) | (not_stored ? FOREBAY_TIER_NOT_STORED : 0u);
    return was_noted(self->arena->arena == NULL ? FOREBAY_OK : forebay_tier_say(self->tier, use));
}

static PyMethodDef record_methods[] = {
    { "add", record_add, METH_VARARGS, record_add_doc },
    { "say", record_say, METH_VARARGS, record_say_doc },
    { NULL, NULL, 0, NULL },
};

static PyType_Slot record_slots[] = {
    { Py_tp_doc, (void *)"What processes of the machine had from a tier; tiers count in it." },
    { Py_tp_dealloc, record_dealloc },
    { Py_tp_methods, record_methods },
    { 0, NULL },
};

PyType_Spec tier_record_type_spec = {
    .name = "forebay._core.TierRecord",
    .basicsize = sizeof(record_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = record_slots,
};

/* ---- what Arena says of tiers ---- */

static PyObject *dict_of_user(const forebay_tier_user *user)
{
    return Py_BuildValue("{s:i,s:O,s:O}", "pid", (int)user->pid,
                         "left_out", (user->use & FOREBAY_TIER_LEFT_OUT) != 0 ? Py_True : Py_False,
                         "not_stored", (user->use & FOREBAY_TIER_NOT_STORED) != 0 ? Py_True : Py_False);
}

static PyObject *list_of_users(forebay_arena *arena, const char *name)
{
    forebay_tier_user *users = PyMem_Calloc(USERS_MAX, sizeof *users);
    if (users == NULL)
        return PyErr_NoMemory();
    uint32_t count = forebay_tier_users(arena, name, users, USERS_MAX);
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; list != NULL && i < count && i < USERS_MAX; i++) {
        PyObject *user = dict_of_user(&users[i]);
        if (user == NULL || PyList_Append(list, user) < 0)
            Py_CLEAR(list);
        Py_XDECREF(user);
    }
    PyMem_Free(users);
    return list;
}

static PyObject *dict_of_tier(forebay_arena *arena, const forebay_tier_info *info)
{
    PyObject *since = info->left_out_ms == UINT64_MAX ? Py_NewRef(Py_None) : PyFloat_FromDouble((double)info->left_out_ms / 1000);
    PyObject *dict = Py_BuildValue("{s:N,s:N}", "last_left_out", since, "processes", list_of_users(arena, info->name));
    for (uint32_t i = 0; dict != NULL && i < FOREBAY_TIER_COUNTS; i++) {
        PyObject *count = PyLong_FromUnsignedLongLong(info->counts[i]);
        if (count == NULL || PyDict_SetItemString(dict, forebay_tier_count_name((forebay_tier_count)i), count) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(count);
    }
    return dict;
}

PyObject *arena_tiers(PyObject *object, PyObject *unused)
{
    arena_object *self = (arena_object *)object;
    if (self->arena == NULL)
        return arena_raise_closed(self);
    forebay_arena *arena = self->arena;
    forebay_tier_info info;
    arena_enter(self); /* a finalizer that the collector runs meanwhile may close it */
    PyObject *dict = PyDict_New();
    for (uint32_t i = 0; dict != NULL && forebay_tier_at(arena, i, &info); i++)
        if (report_add(dict, info.name, dict_of_tier(arena, &info)) < 0)
            Py_CLEAR(dict);
    arena_leave(self);
    return dict;
}
