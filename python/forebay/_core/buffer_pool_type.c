/* SPDX-License-Identifier: Apache-2.0 */
/* BufferPool: <forebay/buffers.h> for Python. */
#include "buffer_pool.h"

#include <stddef.h>
#include <structmember.h> /* T_PYSSIZET: 3.11 has no Py_ names for it */
#include <time.h>

#include "arguments.h"

#define USUAL_MAX_BYTES ((uint64_t)64 << 20)
#define USUAL_MIN_BUFFER 4096u
#define USUAL_TIMEOUT_MS 30000u
#define USUAL_MAX_IDLE_MS 60000u
#define LOOK_EVERY_MS 50u /* for a signal that came just before the sleep */

/* ---- making one ---- */

/* As they were given; NULL: omitted. */
typedef struct pool_arguments {
    PyObject *max_bytes, *min_buffer, *max_buffer, *timeout, *max_idle; /* borrowed */
    int clear;
} pool_arguments;

static int size_or(PyObject *given, const char *what, uint64_t usual, uint64_t *size)
{
    *size = usual;
    return given == NULL || given == Py_None ? 0 : size_from_object(given, what, size);
}

static int wait_or(core_state *state, PyObject *given, const char *what, uint64_t usual, uint64_t *wait_ms)
{
    *wait_ms = usual;
    return given == NULL || given == Py_Ellipsis ? 0 : wait_from_object(state, given, what, wait_ms);
}

/* An eighth of all: some of the largest fit at once, and few need to be named. */
static uint64_t usual_max_buffer(uint64_t max_bytes, uint64_t min_buffer)
{
    uint64_t eighth = max_bytes / 8;
    return eighth > min_buffer ? eighth : min_buffer;
}

static int parse_options(core_state *state, const pool_arguments *given, forebay_buffers_options *options, uint64_t *timeout_ms)
{
    uint64_t max_bytes, min_buffer, max_buffer;
    if (size_or(given->max_bytes, "max_bytes", USUAL_MAX_BYTES, &max_bytes) < 0
        || size_or(given->min_buffer, "min_buffer", USUAL_MIN_BUFFER, &min_buffer) < 0
        || size_or(given->max_buffer, "max_buffer", usual_max_buffer(max_bytes, min_buffer), &max_buffer) < 0
        || wait_or(state, given->timeout, "timeout", USUAL_TIMEOUT_MS, timeout_ms) < 0
        || wait_or(state, given->max_idle, "max_idle", USUAL_MAX_IDLE_MS, &options->max_idle_ms) < 0)
        return -1;
    options->max_bytes = max_bytes;
    options->min_buffer = min_buffer;
    options->max_buffer = max_buffer;
    options->out_of_dumps = given->clear != 0;
    return 0;
}

static int open_buffers(buffer_pool_object *self, const forebay_buffers_options *options)
{
    forebay_status status = forebay_buffers_open(options, &self->buffers);
    if (status == FOREBAY_NOMEM) {
        PyErr_NoMemory();
    } else if (status != FOREBAY_OK) {
        PyErr_Format(PyExc_ValueError,
                     "min_buffer (%zu) may not be more than max_buffer (%zu), nor that, rounded up to pages, more than "
                     "max_bytes (%zu)",
                     options->min_buffer, options->max_buffer, options->max_bytes);
    }
    return status == FOREBAY_OK ? 0 : -1;
}

static PyObject *buffer_pool_make(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = { "max_bytes", "min_buffer", "max_buffer", "timeout", "max_idle", "clear", NULL };
    pool_arguments given = { .max_bytes = NULL };
    forebay_buffers_options options;
    uint64_t timeout_ms;
    core_state *state = PyType_GetModuleState(type); /* no subclasses */
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|O$OOOOp:BufferPool", names, &given.max_bytes, &given.min_buffer,
                                     &given.max_buffer, &given.timeout, &given.max_idle, &given.clear)
        || parse_options(state, &given, &options, &timeout_ms) < 0)
        return NULL;
    buffer_pool_object *self = (buffer_pool_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->state = state;
    self->timeout_ms = timeout_ms;
    self->clear = given.clear != 0;
    if (open_buffers(self, &options) == 0)
        return (PyObject *)self;
    Py_DECREF(self);
    return NULL;
}

static void buffer_pool_dealloc(PyObject *object)
{
    buffer_pool_object *self = (buffer_pool_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(object);
    forebay_buffers_free(self->buffers); /* buffers hold the pool: there is none */
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- taking a buffer ---- */

static PyObject *raise_closed(buffer_pool_object *self)
{
    PyErr_SetString(self->state->errors[CORE_POOL_CLOSED_ERROR], "the buffer pool was closed");
    return NULL;
}

static uint64_t buffers_in_use(const forebay_buffers_stats *stats)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < stats->class_count; i++)
        count += stats->classes[i].in_use;
    return count;
}

static void raise_timeout(buffer_pool_object *self, size_t size, uint64_t timeout_ms)
{
    forebay_buffers_stats stats;
    forebay_buffers_get_stats(self->buffers, &stats);
    PyErr_Format(self->state->errors[CORE_POOL_TIMEOUT_ERROR],
                 "no buffer of %zu bytes within %llu ms: %zu of %zu bytes are in use, by %llu buffers (%zd of them released, but "
                 "memoryviews of them are alive), and %llu others wait; release buffers earlier, or raise max_bytes",
                 size, (unsigned long long)timeout_ms, stats.in_use_bytes, stats.max_bytes,
                 (unsigned long long)buffers_in_use(&stats), atomic_load(&self->viewed), (unsigned long long)stats.waiting);
}

static void raise_status(buffer_pool_object *self, forebay_status status, size_t size)
{
    if (status == FOREBAY_TOOBIG)
        PyErr_Format(PyExc_ValueError, "a buffer of this pool has at most %zu bytes, not %zu: make the pool with max_buffer=",
                     forebay_buffers_largest(self->buffers), size);
    else if (status == FOREBAY_CLOSED)
        (void)raise_closed(self);
    else if (!PyErr_Occurred())
        PyErr_NoMemory();
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* One sleep of a queued waiter.  FOREBAY_TIMEOUT: go on waiting.  FOREBAY_INTERRUPTED: a signal handler raised. */
static forebay_status sleep_once(buffer_pool_object *self, forebay_buffer_waiter *waiter, uint64_t left_ms, forebay_buffer **memory)
{
    forebay_status status;
    uint32_t ms = left_ms < LOOK_EVERY_MS ? (uint32_t)left_ms : LOOK_EVERY_MS;
    Py_BEGIN_ALLOW_THREADS
    status = forebay_buffers_wait(self->buffers, waiter, ms, memory);
    Py_END_ALLOW_THREADS
    if (status != FOREBAY_TIMEOUT && status != FOREBAY_INTERRUPTED)
        return status;
    return PyErr_CheckSignals() < 0 ? FOREBAY_INTERRUPTED : FOREBAY_TIMEOUT;
}

/* Off the queue at the end of the time or by an exception: what it was given at that moment counts. */
static forebay_status leave_queue(buffer_pool_object *self, forebay_buffer_waiter *waiter, forebay_status why, forebay_buffer **memory)
{
    *memory = forebay_buffers_leave(self->buffers, waiter);
    if (*memory == NULL)
        return why;
    if (why == FOREBAY_TIMEOUT)
        return FOREBAY_OK;
    forebay_buffers_give(self->buffers, *memory);
    return why;
}

/* Until it is off the queue.  FOREBAY_BUSY: to be taken again. */
static forebay_status wait_queued(buffer_pool_object *self, forebay_buffer_waiter *waiter, uint64_t end_ms, forebay_buffer **memory)
{
    forebay_status status;
    uint64_t left;
    do {
        uint64_t now = now_ms();
        left = end_ms > now ? end_ms - now : 0;
        status = sleep_once(self, waiter, left, memory);
    } while (status == FOREBAY_TIMEOUT && left > 0);
    if (status == FOREBAY_TIMEOUT || status == FOREBAY_INTERRUPTED)
        return leave_queue(self, waiter, status, memory);
    return status;
}

/* FOREBAY_TIMEOUT or an outcome of forebay_buffers_take(); FOREBAY_INTERRUPTED with an exception. */
static forebay_status take_waiting(buffer_pool_object *self, size_t size, uint64_t timeout_ms, forebay_buffer **memory)
{
    uint64_t end_ms = timeout_ms == WAIT_FOR_EVER ? UINT64_MAX : now_ms() + timeout_ms;
    forebay_buffer_waiter *waiter;
    forebay_status status;
    do {
        status = forebay_buffers_take(self->buffers, size, &waiter, memory);
        if (status == FOREBAY_BUSY)
            status = wait_queued(self, waiter, end_ms, memory);
    } while (status == FOREBAY_BUSY);
    return status;
}

static PyObject *take_buffer(buffer_pool_object *self, size_t size, PyObject *timeout)
{
    forebay_buffer *memory;
    forebay_status status = forebay_buffers_take(self->buffers, size, NULL, &memory);
    if (status == FOREBAY_BUSY) {
        uint64_t timeout_ms;
        if (wait_or(self->state, timeout, "timeout", self->timeout_ms, &timeout_ms) < 0)
            return NULL;
        status = timeout_ms == 0 ? FOREBAY_TIMEOUT : take_waiting(self, size, timeout_ms, &memory);
        if (status == FOREBAY_TIMEOUT) {
            raise_timeout(self, size, timeout_ms);
            return NULL;
        }
    }
    if (status == FOREBAY_OK)
        return pooled_buffer_new(self, memory, (Py_ssize_t)size);
    raise_status(self, status, size);
    return NULL;
}

static int length_from_object(PyObject *object, size_t *size)
{
    uint64_t parsed;
    if (PyLong_CheckExact(object)) {
        Py_ssize_t number = PyLong_AsSsize_t(object);
        if (number > 0) {
            *size = (size_t)number;
            return 0;
        }
        PyErr_Clear(); /* the other way says what is wrong */
    }
    if (size_from_object(object, "size", &parsed) < 0)
        return -1;
    *size = (size_t)parsed;
    return 0;
}

#define BUFFER_TEXT                                                                            \
    "A PooledBuffer of size bytes (an int, or a str such as \"64KiB\"), best used with\n"      \
    "`with`.  Where too much is in use it waits its turn, first come, first served:\n"         \
    "timeout= seconds or a timedelta, 0 not at all, None without end, omitted as the\n"        \
    "pool has it.  PoolTimeoutError; PoolClosedError; ValueError for more than\n"              \
    "max_buffer; MemoryError.  Ctrl-C ends the wait."

PyDoc_STRVAR(buffer_doc, "buffer($self, size, /, *, timeout=...)\n--\n\n" BUFFER_TEXT);
PyDoc_STRVAR(acquire_doc, "acquire($self, size, /, *, timeout=...)\n--\n\n" BUFFER_TEXT "\nThe same as buffer(), for where no `with` fits.");

static PyObject *take_named(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names, const char *name)
{
    PyObject *timeout = NULL;
    size_t size;
    if (check_positional(name, count, 1, 1) < 0
        || (names != NULL && keyword_from_vector(arguments, count, names, name, "timeout", &timeout) < 0)
        || length_from_object(arguments[0], &size) < 0)
        return NULL;
    return take_buffer((buffer_pool_object *)object, size, timeout);
}

static PyObject *buffer_pool_buffer(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    return take_named(object, arguments, count, names, "buffer");
}

static PyObject *buffer_pool_acquire(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    return take_named(object, arguments, count, names, "acquire");
}

/* ---- figures ---- */

static PyObject *class_stats(const forebay_buffer_class_stats *class)
{
    return Py_BuildValue("{sKsKsKsK}", "in_use", (unsigned long long)class->in_use, "idle", (unsigned long long)class->idle,
                         "hits", (unsigned long long)class->hits, "misses", (unsigned long long)class->misses);
}

/* {capacity: figures}, of those that were ever asked for. */
static PyObject *stats_by_class(const forebay_buffers_stats *stats)
{
    PyObject *all = PyDict_New();
    for (uint32_t i = 0; all != NULL && i < stats->class_count; i++) {
        const forebay_buffer_class_stats *class = &stats->classes[i];
        if (class->hits + class->misses + class->idle == 0)
            continue;
        PyObject *capacity = PyLong_FromSize_t(class->capacity), *figures = class_stats(class);
        if (capacity == NULL || figures == NULL || PyDict_SetItem(all, capacity, figures) < 0)
            Py_CLEAR(all);
        Py_XDECREF(capacity);
        Py_XDECREF(figures);
    }
    return all;
}

PyDoc_STRVAR(stats_doc,
             "stats($self, /)\n--\n\n"
             "A dict: max_bytes; bytes (that buffers take now, in use or idle), in_use_bytes;\n"
             "in_use, idle (buffers), viewed (those in use that were released while memoryviews\n"
             "of them were alive); waiting (requests, now); hits (requests that got idle\n"
             "memory), misses (fresh memory), waits, given_up (idle buffers that lost theirs to\n"
             "others, to max_idle or to trim()); classes: {capacity: figures}.");

static PyObject *buffer_pool_stats(PyObject *object, PyObject *unused)
{
    buffer_pool_object *self = (buffer_pool_object *)object;
    forebay_buffers_stats stats;
    forebay_buffers_get_stats(self->buffers, &stats);
    unsigned long long idle = 0, hits = 0, misses = 0;
    for (uint32_t i = 0; i < stats.class_count; i++) {
        idle += stats.classes[i].idle;
        hits += stats.classes[i].hits;
        misses += stats.classes[i].misses;
    }
    PyObject *classes = stats_by_class(&stats);
    Py_ssize_t viewed = atomic_load(&self->viewed);
    if (classes == NULL)
        return NULL;
    return Py_BuildValue("{snsnsnsKsKsnsKsKsKsKsKsN}", "max_bytes", (Py_ssize_t)stats.max_bytes, "bytes",
                         (Py_ssize_t)stats.bytes, "in_use_bytes", (Py_ssize_t)stats.in_use_bytes, "in_use",
                         (unsigned long long)buffers_in_use(&stats), "idle", idle, "viewed", viewed > 0 ? viewed : 0,
                         "waiting", (unsigned long long)stats.waiting, "hits", hits, "misses", misses, "waits",
                         (unsigned long long)stats.waits, "given_up", (unsigned long long)stats.given_up, "classes", classes);
}

PyDoc_STRVAR(trim_doc,
             "trim($self, /, *, max_idle=0)\n--\n\n"
             "Give the memory of buffers that have been idle for max_idle seconds (all idle\n"
             "ones) back to the system; returns how many bytes that are.");

static PyObject *buffer_pool_trim(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    buffer_pool_object *self = (buffer_pool_object *)object;
    PyObject *max_idle = NULL;
    uint64_t idle_ms;
    if (check_positional("trim", count, 0, 0) < 0
        || keyword_from_vector(arguments, count, names, "trim", "max_idle", &max_idle) < 0
        || wait_or(self->state, max_idle, "max_idle", 0, &idle_ms) < 0)
        return NULL;
    return PyLong_FromSize_t(forebay_buffers_trim(self->buffers, idle_ms));
}

/* ---- the end ---- */

PyDoc_STRVAR(close_doc,
             "close($self, /)\n--\n\n"
             "Give all idle memory back to the system.  Whoever waits for a buffer or asks for\n"
             "one later gets PoolClosedError; buffers in use stay valid until they are\n"
             "released.  Closing again does nothing.");

static PyObject *buffer_pool_close(PyObject *object, PyObject *unused)
{
    buffer_pool_object *self = (buffer_pool_object *)object;
    atomic_store(&self->closed, true);
    forebay_buffers_close(self->buffers);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(enter_doc, "__enter__($self, /)\n--\n\nThe pool itself; it is closed at the end of the block.");

static PyObject *buffer_pool_enter(PyObject *object, PyObject *unused)
{
    buffer_pool_object *self = (buffer_pool_object *)object;
    return atomic_load(&self->closed) ? raise_closed(self) : Py_NewRef(object);
}

PyDoc_STRVAR(exit_doc, "__exit__($self, type, value, traceback, /)\n--\n\nClose the pool.");

static PyObject *buffer_pool_exit(PyObject *object, PyObject *arguments)
{
    return buffer_pool_close(object, NULL);
}

static PyObject *buffer_pool_get_closed(PyObject *object, void *unused)
{
    return PyBool_FromLong(atomic_load(&((buffer_pool_object *)object)->closed));
}

static PyObject *buffer_pool_get_max_buffer(PyObject *object, void *unused)
{
    return PyLong_FromSize_t(forebay_buffers_largest(((buffer_pool_object *)object)->buffers));
}

static PyObject *buffer_pool_get_max_bytes(PyObject *object, void *unused)
{
    forebay_buffers_stats stats;
    forebay_buffers_get_stats(((buffer_pool_object *)object)->buffers, &stats);
    return PyLong_FromSize_t(stats.max_bytes);
}

static PyObject *buffer_pool_repr(PyObject *object)
{
    buffer_pool_object *self = (buffer_pool_object *)object;
    forebay_buffers_stats stats;
    forebay_buffers_get_stats(self->buffers, &stats);
    return PyUnicode_FromFormat("<forebay.BufferPool of %zu bytes%s: %zu in use, %zu idle>", stats.max_bytes,
                                atomic_load(&self->closed) ? ", closed" : "", stats.in_use_bytes, stats.bytes - stats.in_use_bytes);
}

static PyMethodDef buffer_pool_methods[] = {
    { "buffer", (PyCFunction)(void (*)(void))buffer_pool_buffer, METH_FASTCALL | METH_KEYWORDS, buffer_doc },
    { "acquire", (PyCFunction)(void (*)(void))buffer_pool_acquire, METH_FASTCALL | METH_KEYWORDS, acquire_doc },
    { "stats", buffer_pool_stats, METH_NOARGS, stats_doc },
    { "trim", (PyCFunction)(void (*)(void))buffer_pool_trim, METH_FASTCALL | METH_KEYWORDS, trim_doc },
    { "close", buffer_pool_close, METH_NOARGS, close_doc },
    { "__enter__", buffer_pool_enter, METH_NOARGS, enter_doc },
    { "__exit__", buffer_pool_exit, METH_VARARGS, exit_doc },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef buffer_pool_properties[] = {
    { "closed", buffer_pool_get_closed, NULL, "True after close().", NULL },
    { "max_bytes", buffer_pool_get_max_bytes, NULL, "What all buffers together may take.", NULL },
    { "max_buffer", buffer_pool_get_max_buffer, NULL, "The largest size that buffer() takes: max_buffer=, rounded up to pages.", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyMemberDef buffer_pool_members[] = {
    { "__weaklistoffset__", T_PYSSIZET, offsetof(buffer_pool_object, weakrefs), READONLY, NULL },
    { NULL, 0, 0, 0, NULL },
};

PyDoc_STRVAR(buffer_pool_doc,
             "BufferPool(max_bytes=\"64MiB\", *, min_buffer=4096, max_buffer=None, timeout=30.0, max_idle=60.0, clear=False)\n--\n\n"
             "Writable buffers to use again and again, bounded, off the heap: for recv_into(),\n"
             "readinto() and the like.\n\n"
             "    with pool.buffer(65536) as buf:\n"
             "        n = sock.recv_into(buf)\n"
             "        parse(buf[:n])\n\n"
             "A fresh bytearray costs a page fault for each 4 KiB; a buffer that was used keeps\n"
             "its pages and goes to whoever asks next.  Sizes are rounded up to a power of two,\n"
             "min_buffer at least; a request may have max_buffer bytes (an eighth of max_bytes).\n"
             "All buffers, in use or idle, take at most max_bytes: idle ones of other sizes,\n"
             "the longest idle first, lose their memory to a new one.  Sizes are ints, or strs\n"
             "such as \"64MiB\".\n\n"
             "timeout: seconds (or a timedelta) that buffer() waits where too much is in use;\n"
             "None: without end.  max_idle: buffers that nobody wanted for so many seconds give\n"
             "their memory back, while the pool is used; None: never.  clear=True: memory is\n"
             "zeroed before it goes to the next one, and is left out of core dumps.\n\n"
             "Any thread may use it.  No thread of its own, no descriptors.  A child of fork()\n"
             "has its own pool: what was in use stays valid there and is not counted.");

static PyType_Slot buffer_pool_slots[] = {
    { Py_tp_doc, (void *)buffer_pool_doc },
    { Py_tp_new, buffer_pool_make },
    { Py_tp_dealloc, buffer_pool_dealloc },
    { Py_tp_repr, buffer_pool_repr },
    { Py_tp_methods, buffer_pool_methods },
    { Py_tp_getset, buffer_pool_properties },
    { Py_tp_members, buffer_pool_members },
    { 0, NULL },
};

PyType_Spec buffer_pool_type_spec = {
    .name = "forebay.BufferPool",
    .basicsize = sizeof(buffer_pool_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = buffer_pool_slots,
};
