/* SPDX-License-Identifier: Apache-2.0 */
/* Arena and Cache objects, and who may end the handles under them.
 *
 * All fields are under the GIL.  A call that lets other Python threads run
 * while it uses a handle (it releases the GIL, or it encodes a value between
 * forebay_put_begin() and its commit) stands between arena_enter() and
 * arena_leave().  close() makes every later call fail at once; the handles end
 * when the last call that is inside leaves. */
#ifndef CORE_OBJECTS_H
#define CORE_OBJECTS_H

#include "core.h"
#include "memo.h"

struct cache_object;

typedef struct arena_object {
    PyObject_HEAD core_state *state;
    PyObject *path;              /* str, or None */
    bool trust, guard;           /* as it was opened, to open it again */
    forebay_arena *arena;        /* owned; NULL once closed */
    forebay_arena *parked;       /* owned; closed, but calls are inside */
    struct cache_object *caches; /* borrowed: each leaves the list when it dies */
    Py_ssize_t inside;           /* calls between arena_enter() and arena_leave() */
    PyObject *weakrefs;
} arena_object;

/* How a handle reads, besides plainly. */
enum { CACHE_LAZY = 1, CACHE_DECODE_HOOK = 2 };

/* How values become bytes and the reverse, where Forebay does not encode them
 * itself.  All owned. */
typedef struct value_serializer {
    PyObject *named; /* as it was given: Cache.serializer */
    PyObject *dumps; /* NULL: "msgpack" */
    PyObject *loads; /* NULL: bytes are values */
} value_serializer;

typedef struct cache_object {
    PyObject_HEAD core_state *state;
    forebay_cache *cache;                 /* owned; NULL once the arena is closed */
    forebay_cache *parked;                /* owned; the arena is closed, but calls are inside */
    size_t value_guess;                   /* bytes an encoded value is likely to take */
    bool packs;                           /* values are encoded outside the arena */
    unsigned ways;                        /* of reads: CACHE_LAZY, CACHE_DECODE_HOOK; 0 with a serializer */
    PyObject *encode_hook, *decode_hook;  /* owned, or NULL */
    memo memo;                            /* of lazy() */
    PyObject *loading;                    /* owned, or NULL: who loads what is missing */
    bool refreshes;                       /* that may want to look at hits, too */
    arena_object *arena;                  /* owned */
    struct cache_object *previous, *next; /* in arena->caches */
    PyObject *name;                       /* str */
    value_serializer serializer;
    PyObject *weakrefs;
} cache_object;

/* Wrap a handle; takes it over, also when it fails. */
PyObject *arena_new(core_state *state, forebay_arena *arena, PyObject *path);
/* `type`: Cache, or one made of it.  Moves the serializer's references, also when it fails. */
PyObject *cache_new(arena_object *arena, PyTypeObject *type, forebay_cache *cache, value_serializer *serializer);

/* Between these the handles stay valid whatever other threads do. */
static inline void arena_enter(arena_object *self)
{
    self->inside++;
}
void arena_end_parked(arena_object *self);
static inline void arena_leave(arena_object *self)
{
    if (--self->inside == 0 && self->parked != NULL)
        arena_end_parked(self);
}

/* Set ClosedError and return NULL. */
PyObject *arena_raise_closed(arena_object *self);

#endif
