/* SPDX-License-Identifier: Apache-2.0 */
#include "memo.h"

#define FIRST_SLOTS 32u
#define SEEN_MOST 4096u
#define SLOT_BYTES (4 * sizeof(memo_entry *)) /* for each entry, as slots are at least a fourth full */

/* In the place of an entry that moved to the other generation. */
#define MOVED ((memo_entry *)(uintptr_t)1)


static bool same_key(PyObject *a, PyObject *b)
{
    if (a == b)
        return true;
    if (Py_TYPE(a) != Py_TYPE(b))
        return false;
    return PyObject_RichCompareBool(a, b, Py_EQ) == 1; /* of exact str, int, bytes: cannot fail */
}

static size_t first_slot(const memo_generation *generation, Py_hash_t hash)
{
    return (size_t)((uint64_t)hash * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (generation->slot_count - 1);
}

/* Where the key is; NULL: nowhere. */
static memo_entry **find_in(const memo_generation *generation, PyObject *key, Py_hash_t hash)
{
    if (generation->slot_count == 0)
        return NULL;
    for (size_t i = first_slot(generation, hash);; i++) {
        memo_entry **slot = &generation->slots[i & (generation->slot_count - 1)];
        if (*slot == NULL)
            return NULL;
        if (*slot != MOVED && (*slot)->hash == hash && same_key((*slot)->key, key))
            return slot;
    }
}

static void place_in(memo_generation *generation, memo_entry *entry)
{
    size_t i = first_slot(generation, entry->hash);
    while (generation->slots[i & (generation->slot_count - 1)] != NULL)
        i++;
    generation->slots[i & (generation->slot_count - 1)] = entry;
    generation->used++;
}

/* Room for one more entry, at most half of the slots in use. */
static bool make_room(memo_generation *generation)
{
    if (2 * generation->used < generation->slot_count)
        return true;
    memo_generation larger = { .slot_count = generation->slot_count != 0 ? 2 * generation->slot_count : FIRST_SLOTS,
                               .bytes = generation->bytes };
    larger.slots = PyMem_Calloc(larger.slot_count, sizeof(*larger.slots));
    if (larger.slots == NULL)
        return false;
    for (size_t i = 0; i < generation->slot_count; i++)
        if (generation->slots[i] != NULL) /* nothing moves out of the younger one, which alone grows */
            place_in(&larger, generation->slots[i]);
    PyMem_Free(generation->slots);
    *generation = larger;
    return true;
}

static void entry_free(memo_entry *entry)
{
    Py_DECREF(entry->key);
    Py_XDECREF(entry->value);
    PyMem_Free(entry);
}

static void generation_clear(memo_generation *generation)
{
    memo_generation gone = *generation;
    *generation = (memo_generation){ 0 };
    for (size_t i = 0; i < gone.slot_count; i++)
        if (gone.slots[i] != NULL && gone.slots[i] != MOVED)
            entry_free(gone.slots[i]);
    PyMem_Free(gone.slots);
}

/* A part of the bytes allowed that is small, and a power of two. */
static size_t seen_count(const memo *self)
{
    size_t count = 64;
    while (count < SEEN_MOST && count * 64 < self->limit)
        count *= 2;
    return count;
}

bool memo_wants(memo *self, Py_hash_t hash)
{
    if (self->seen == NULL)
        self->seen = PyMem_Calloc(seen_count(self), sizeof(*self->seen));
    if (self->seen == NULL)
        return false;
    uint64_t mixed = (uint64_t)hash * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t *place = &self->seen[(mixed >> 32) & (seen_count(self) - 1)], part = (uint32_t)mixed | 1;
    bool again = *place == part;
    *place = again ? 0 : part;
    return again;
}

void memo_clear(memo *self)
{
    PyMem_Free(self->seen);
    self->seen = NULL;
    generation_clear(&self->young);
    generation_clear(&self->old);
}

/* The younger generation has had its time. */
static void turn(memo *self)
{
    generation_clear(&self->old);
    self->old = self->young;
    self->young = (memo_generation){ 0 };
}

/* Put an entry of no generation into the younger one; it is freed if there is no memory. */
static memo_entry *add(memo *self, memo_entry *entry)
{
    if (self->young.bytes + entry->bytes > self->limit / 2)
        turn(self);
    if (!make_room(&self->young)) {
        entry_free(entry);
        return NULL;
    }
    place_in(&self->young, entry);
    self->young.bytes += entry->bytes;
    return entry;
}

memo_entry *memo_find(memo *self, PyObject *key, Py_hash_t hash)
{
    memo_entry **slot = find_in(&self->young, key, hash);
    if (__builtin_expect(slot != NULL, 1))
        return *slot;
    slot = find_in(&self->old, key, hash);
    if (slot == NULL)
        return NULL;
    memo_entry *entry = *slot;
    *slot = MOVED;
    self->old.bytes -= entry->bytes;
    return add(self, entry);
}

/* Bytes of an entry without its value. */
static size_t bare_bytes(PyObject *key)
{
    return sizeof(memo_entry) + SLOT_BYTES + 64 + (PyLong_CheckExact(key) ? 0 : 4 * (size_t)PyObject_Size(key));
}

/* An entry of the younger generation gets another value, or none. */
static void set_value(memo *self, memo_entry *entry, PyObject *value, size_t bytes)
{
    PyObject *before = entry->value;
    entry->value = Py_XNewRef(value);
    self->young.bytes += bytes - entry->bytes;
    entry->bytes = bytes;
    Py_XDECREF(before);
}

void memo_put(memo *self, PyObject *key, Py_hash_t hash, PyObject *value, size_t bytes, const forebay_place *place)
{
    size_t bare = bare_bytes(key);
    bytes += bare;
    memo_entry *entry = memo_find(self, key, hash);
    if (entry != NULL)
        set_value(self, entry, NULL, bare);
    if (bytes > self->limit / MEMO_PART)
        return;
    if (entry != NULL && self->young.bytes + bytes - bare > self->limit / 2) {
        turn(self);
        entry = memo_find(self, key, hash);
    } else if (entry == NULL && self->young.bytes + bytes > self->limit / 2) {
        turn(self);
    }
    if (entry == NULL) {
        entry = PyMem_Malloc(sizeof(*entry));
        if (entry == NULL)
            return;
        *entry = (memo_entry){ .hash = hash, .key = Py_NewRef(key), .bytes = bare };
        entry = add(self, entry);
    }
    if (entry == NULL)
        return;
    set_value(self, entry, value, bytes);
    entry->place = *place;
}
