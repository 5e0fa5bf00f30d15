/* SPDX-License-Identifier: Apache-2.0 */
#include "object_table.h"

#define FIRST_ROOM 16u

static size_t home_of(const object_table *table, const PyObject *object)
{
    return (size_t)((uintptr_t)object >> 4) * 0x9E3779B97F4A7C15u >> 20 & (table->room - 1);
}

/* Where the object is, or the empty place where it would go. */
static size_t place_of(const object_table *table, const PyObject *object)
{
    size_t at = home_of(table, object);
    while (table->entries[at].object != NULL && table->entries[at].object != object)
        at = (at + 1) & (table->room - 1);
    return at;
}

void object_table_add(object_table *table, object_entry entry)
{
    table->entries[place_of(table, entry.object)] = entry;
    table->count++;
}

bool object_table_has(const object_table *table, const PyObject *object)
{
    return table->count != 0 && table->entries[place_of(table, object)].object != NULL;
}

static bool make_table(object_table *table, size_t room)
{
    *table = (object_table){ .entries = PyMem_RawCalloc(room, sizeof(object_entry)), .room = room };
    return table->entries != NULL;
}

/* Nobody but the table has it. */
static bool is_lost(const object_entry *entry)
{
    return entry->object != NULL && Py_REFCNT(entry->object) == 1;
}

/* A fourth of it will be used: a good while passes before the next. */
static size_t next_room(const object_table *table)
{
    size_t live = 1, room = FIRST_ROOM;
    for (size_t i = 0; i < table->room; i++)
        live += table->entries[i].object != NULL && !is_lost(&table->entries[i]);
    while (room < live * 4)
        room *= 2;
    return room;
}

/* What others have references of goes to `to`, the rest to the front of `from`. */
static size_t move_live(object_table *from, object_table *to)
{
    size_t lost = 0;
    for (size_t i = 0; i < from->room; i++) {
        object_entry entry = from->entries[i];
        if (is_lost(&entry))
            from->entries[lost++] = entry;
        else if (entry.object != NULL)
            object_table_add(to, entry);
    }
    return lost;
}

bool object_table_reserve(object_table *table, object_list *lost)
{
    *lost = (object_list){ NULL, 0 };
    if (table->count * 2 < table->room)
        return true;
    object_table larger;
    if (!make_table(&larger, next_room(table)))
        return false;
    lost->count = move_live(table, &larger);
    lost->entries = table->entries;
    *table = larger;
    return true;
}

bool object_table_remove(object_table *table, const PyObject *object, object_entry *entry)
{
    if (table->count == 0)
        return false;
    size_t mask = table->room - 1, gap = place_of(table, object);
    if (table->entries[gap].object == NULL)
        return false;
    *entry = table->entries[gap];
    for (size_t at = (gap + 1) & mask; table->entries[at].object != NULL; at = (at + 1) & mask) {
        size_t home = home_of(table, table->entries[at].object);
        if (((at - home) & mask) >= ((at - gap) & mask)) { /* it is not reached past the gap otherwise */
            table->entries[gap] = table->entries[at];
            gap = at;
        }
    }
    table->entries[gap].object = NULL;
    table->count--;
    return true;
}
