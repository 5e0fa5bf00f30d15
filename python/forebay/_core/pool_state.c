/* SPDX-License-Identifier: Apache-2.0 */
/* Which objects of a pool are where. */
#include <string.h>
#include <time.h>

#include "limit_object.h"
#include "pool.h"

int64_t pool_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

uint32_t pool_size(const pool_object *pool)
{
    return pool->objects + pool->creating;
}

uint32_t pool_size_of_all(const pool_object *pool)
{
    return pool_size(pool) + pool->discarded.count + pool->closing;
}

/* Room for one more in each list, so that moving between them cannot fail. */
static int reserve(pool_object *pool)
{
    uint32_t needed = pool->objects + pool->discarded.count + 1;
    if (needed <= pool->capacity)
        return 0;
    item_list *lists[] = { &pool->idle, &pool->used, &pool->discarded };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        pool_item **grown = PyMem_Realloc(lists[i]->items, 2 * needed * sizeof *grown);
        if (grown == NULL)
            return -1;
        lists[i]->items = grown;
    }
    pool->capacity = 2 * needed;
    return 0;
}

static void push(item_list *list, pool_item *item)
{
    list->items[list->count++] = item;
}

static void forget_place(pool_item *item)
{
    Py_CLEAR(item->code);
}

static void link_item(pool_object *pool, pool_item *item)
{
    item->next = pool->all;
    if (pool->all != NULL)
        pool->all->previous = item;
    pool->all = item;
}

void pool_item_free(pool_object *pool, pool_item *item)
{
    *(item->previous != NULL ? &item->previous->next : &pool->all) = item->next;
    if (item->next != NULL)
        item->next->previous = item->previous;
    forget_place(item);
    Py_XDECREF(item->permit);
    Py_XDECREF(item->object);
    PyMem_Free(item);
}

/* Whoever has the object still holds what the permit is for: it stays with this
 * process then. */
static void end_item(pool_object *pool, pool_item *item)
{
    PyObject *permit = Py_REFCNT(item->object) == 1 ? item->permit : NULL;
    if (permit != NULL)
        item->permit = NULL;
    pool_item_free(pool, item);
    if (permit != NULL && pool->limit != NULL)
        limit_return(pool->limit, permit);
    Py_XDECREF(permit);
}

void pool_free_items(pool_object *pool)
{
    item_list *lists[] = { &pool->idle, &pool->used, &pool->discarded };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        while (lists[i]->count > 0)
            end_item(pool, lists[i]->items[--lists[i]->count]);
        PyMem_Free(lists[i]->items);
        lists[i]->items = NULL;
    }
}

/* Lifetimes end up to a twentieth early, so that what was made together does not end
 * together. */
static int64_t choose_expiry(const pool_object *pool, int64_t now)
{
    if (pool->lifetime == INT64_MAX)
        return INT64_MAX;
    uint64_t mixed = ((uint64_t)now ^ (uint64_t)now >> 31) * UINT64_C(0x9e3779b97f4a7c15);
    double early = (double)(mixed >> 11) / 9007199254740992.0 / 20; /* 53 bits: [0, 1/20) */
    return now + (int64_t)((double)pool->lifetime * (1 - early));
}

int pool_add(pool_object *pool, PyObject *object, PyObject *permit)
{
    pool_item *item = reserve(pool) < 0 ? NULL : PyMem_Calloc(1, sizeof *item);
    if (item == NULL) {
        Py_DECREF(object);
        Py_XDECREF(permit);
        PyErr_NoMemory();
        return -1;
    }
    int64_t now = pool_now();
    item->object = object;
    item->permit = permit;
    item->is_fresh = true;
    item->drain = pool->drain;
    item->generation = pool->generation;
    pool->objects++;
    link_item(pool, item);
    item->expires = choose_expiry(pool, now);
    pool_settle(pool, item);
    return 0;
}

pool_item *pool_pop_idle(pool_object *pool)
{
    if (pool->waiting != 0)
        return NULL;
    while (pool->idle.count > 0) {
        pool_item *item = pool->idle.items[--pool->idle.count];
        if (item->expires == INT64_MAX || pool_now() < item->expires)
            return item;
        pool_discard(pool, item);
    }
    return NULL;
}

/* Code of Forebay's own, as AsyncPool's: not the place that a user looks for. */
static bool is_ours(const pool_object *pool, PyCodeObject *code)
{
    Py_ssize_t count = pool->own_code == NULL ? 0 : PyTuple_GET_SIZE(pool->own_code);
    for (Py_ssize_t i = 0; i < count; i++)
        if (PyUnicode_Tailmatch(code->co_filename, PyTuple_GET_ITEM(pool->own_code, i), 0, PY_SSIZE_T_MAX, -1) == 1)
            return true;
    return false;
}

/* The caller's code and instruction: a line is looked up only if it is asked for. */
static void note_place(const pool_object *pool, pool_item *item)
{
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    while (frame != NULL) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        PyFrameObject *outer = is_ours(pool, code) ? PyFrame_GetBack(frame) : NULL;
        Py_XSETREF(item->code, (PyObject *)code);
        item->lasti = PyFrame_GetLasti(frame);
        Py_SETREF(frame, outer);
    }
}

void pool_hand_out(pool_object *pool, pool_item *item, bool by_getconn)
{
    note_place(pool, item); /* while nobody else can find the item */
    item->by_getconn = by_getconn;
    item->is_fresh = false;
    item->is_told = false;
    item->since = pool_now();
    item->index = pool->used.count;
    push(&pool->used, item);
}

void pool_take_back(pool_object *pool, pool_item *item)
{
    pool->counters.usage_ns += (uint64_t)(pool_now() - item->since);
    pool_item *last = pool->used.items[--pool->used.count];
    pool->used.items[item->index] = last;
    last->index = item->index;
    forget_place(item);
}

void pool_discard(pool_object *pool, pool_item *item)
{
    if (pool_has_forsaken(pool, item))
        return;
    pool->objects--;
    push(&pool->discarded, item);
}

static bool may_be_used_again(const pool_object *pool, const pool_item *item, int64_t now)
{
    return pool->phase == POOL_OPEN && now < item->expires && item->drain == pool->drain && pool->objects <= pool->max_size;
}

/* Others on the machine wait for a permit, and this one is theirs. */
static bool should_yield(const pool_object *pool, const pool_item *item)
{
    return pool->limit != NULL && item->permit != NULL && limit_should_yield(pool->limit, pool->first == NULL);
}

void pool_settle(pool_object *pool, pool_item *item)
{
    int64_t now = pool_now();
    waiter_object *first = pool->first;
    if (pool_has_forsaken(pool, item))
        return;
    if (!may_be_used_again(pool, item, now) || (!item->is_fresh && should_yield(pool, item))) {
        pool_discard(pool, item);
    } else if (first != NULL) {
        waiter_leave(first);
        first->phase = WAITER_GIVEN;
        first->item = item;
        pool->counters.wait_ns += (uint64_t)(now - first->since);
        waiter_wake(first);
    } else {
        item->since = now;
        item->is_fresh = false; /* from here on it may die unseen */
        push(&pool->idle, item);
    }
}

/* Below min_size an object is kept however long it was idle. */
static bool is_stale(const pool_object *pool, const pool_item *item, int64_t now, uint32_t size)
{
    bool idle_too_long = pool->max_idle != INT64_MAX && now - item->since >= pool->max_idle;
    return now >= item->expires || item->drain != pool->drain || size > pool->max_size
           || (idle_too_long && size > pool->min_size);
}

void pool_discard_stale(pool_object *pool)
{
    int64_t now = pool_now();
    uint32_t size = pool_size(pool), kept = 0;
    for (uint32_t i = 0; i < pool->idle.count; i++) {
        pool_item *item = pool->idle.items[i];
        if (is_stale(pool, item, now, size)) {
            pool_discard(pool, item);
            size--;
        } else {
            pool->idle.items[kept++] = item;
        }
    }
    pool->idle.count = kept;
}

pool_item *pool_find_used(const pool_object *pool, PyObject *object)
{
    for (uint32_t i = 0; i < pool->used.count; i++)
        if (pool->used.items[i]->object == object)
            return pool->used.items[i];
    return NULL;
}

bool pool_is_idle(const pool_object *pool, PyObject *object)
{
    for (uint32_t i = 0; i < pool->idle.count; i++)
        if (pool->idle.items[i]->object == object)
            return true;
    return false;
}

/* The items stay, owned by nobody: contexts in this process may point to them, and
 * their objects must never end here. */
int pool_forsake(pool_object *pool, PyObject *objects)
{
    while (pool->first != NULL)
        waiter_leave(pool->first);
    pool->creating = pool->closing = pool->objects = 0;
    pool->idle.count = pool->used.count = pool->discarded.count = 0;
    pool->generation++;
    pool->counters = (pool_counters){ 0 };
    pool_item *item = pool->all;
    pool->all = NULL;
    for (; item != NULL; item = item->next)
        if (PyList_Append(objects, item->object) < 0)
            return -1;
    return 0;
}
