/* SPDX-License-Identifier: Apache-2.0 */
/* The objects of an ObjectPool that are in use, found by identity.
 *
 * Needs the lock of its pool.  No function runs Python code. */
#ifndef CORE_OBJECT_TABLE_H
#define CORE_OBJECT_TABLE_H

#include "core.h"

typedef struct object_entry {
    PyObject *object; /* owned; NULL: an empty place */
    uint64_t uses;    /* how often it was handed out */
} object_entry;

/* Open addressing, no gaps: a removal moves what follows up. */
typedef struct object_table {
    object_entry *entries; /* NULL: none yet */
    size_t room;           /* 0 or a power of two; at most half is used */
    size_t count;
} object_table;

/* Entries that are nobody's any more: owned references for the caller to end. */
typedef struct object_list {
    object_entry *entries;
    size_t count;
} object_list;

/* Make room for one more.  Where the table is half full, what only it has a
 * reference of leaves it: nobody can return that.  It is in `*lost` then, which
 * the caller frees with PyMem_RawFree(entries).  False: no memory, nothing changed. */
bool object_table_reserve(object_table *table, object_list *lost);
/* After a reserve; moves the reference. */
void object_table_add(object_table *table, object_entry entry);
bool object_table_has(const object_table *table, const PyObject *object);
/* Take it out; the reference is the caller's.  False: it is not there. */
bool object_table_remove(object_table *table, const PyObject *object, object_entry *entry);

#endif
