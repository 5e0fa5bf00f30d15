/* SPDX-License-Identifier: Apache-2.0 */
/* The memo of a Cache object: values of hot entries that are ready to be given
 * out again, records among them, each with its entry's place.  A value is good
 * as long as forebay_place_holds() says so; the memo itself knows nothing of that.
 *
 * Keys are exact str, int and bytes: no key runs Python code to be compared, and
 * 1, True and 1.0 never meet.  Two generations: what is found in the older one
 * moves to the younger; when that has half of the bytes allowed, it becomes the
 * older one, and what was in that one goes.
 *
 * A key is remembered when it is asked for the second time among the last so many:
 * who reads everything once pays nothing for it, and drives out nobody.
 *
 * All under the GIL.  Values are immutable and know nothing of the cache: there
 * are no cycles, and dropping them runs no Python code. */
#ifndef CORE_MEMO_H
#define CORE_MEMO_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

#include <forebay/cache.h>

#define MEMO_DEFAULT ((size_t)1 << 20) /* bytes */
#define MEMO_PART 8u                   /* an entry may take this part of all bytes at most */

typedef struct memo_entry {
    Py_hash_t hash;
    PyObject *key;   /* owned */
    PyObject *value; /* owned; NULL: none any more */
    size_t bytes;    /* of the entry, its key and its value, about */
    forebay_place place;
} memo_entry;

typedef struct memo_generation {
    memo_entry **slots; /* owned, as they are; open addressing; NULL: none yet */
    size_t slot_count;  /* a power of two, or 0 */
    size_t used;        /* slots that are not NULL */
    size_t bytes;
} memo_generation;

typedef struct memo {
    size_t limit; /* bytes; 0: off; fixed before the first use */
    memo_generation young, old;
    uint32_t *seen; /* owned; parts of hashes of keys asked for, each in its place; NULL: not made yet */
} memo;

static inline bool memo_takes(const memo *self, PyObject *key)
{
    return self->limit != 0 && (PyUnicode_CheckExact(key) || PyLong_CheckExact(key) || PyBytes_CheckExact(key));
}
/* A key's entry, or NULL.  Valid until the memo is called again. */
memo_entry *memo_find(memo *self, PyObject *key, Py_hash_t hash);
/* Is a key that the memo does not have worth remembering?  Notes that it was asked for. */
bool memo_wants(memo *self, Py_hash_t hash);
/* Remember a value that takes about `bytes`; or not, if it is too large or memory is short. */
void memo_put(memo *self, PyObject *key, Py_hash_t hash, PyObject *value, size_t bytes, const forebay_place *place);
/* Forget everything. */
void memo_clear(memo *self);

#endif
