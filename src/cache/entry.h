/* SPDX-License-Identifier: Apache-2.0 */
/* Entries: one key with its value, as it lies in a segment. */
#ifndef FB_ENTRY_H
#define FB_ENTRY_H

#include "arena/segments.h"
#include "base/hash.h"
#include "cache/policy.h"
#include "cache/slot.h"

#define ENTRY_EXPIRES (1u << 3)
#define ENTRY_LONG (1u << 4)
#define ENTRY_CHECKED (1u << 5)
#define ENTRY_VERSIONED (UINT64_C(1) << 35)
#define ENTRY_TAGGED (UINT64_C(1) << 36)
#define ENTRY_PACKED (UINT64_C(1) << 37)
#define ENTRY_EXTENSIONS (ENTRY_EXPIRES | ENTRY_LONG | ENTRY_CHECKED | ENTRY_VERSIONED | ENTRY_TAGGED)
#define ENTRY_VALUE_SHORT_MAX ((UINT64_C(1) << 17) - 1)
#define ENTRY_HISTORY_SHIFT 54
#define ENTRY_KEY_LENGTH_MASK 0xfffu

/* What is needed to write an entry. */
typedef struct entry_shape {
    uint32_t key_length;
    uint64_t value_length; /* or the capacity wanted for it */
    uint64_t expiry;       /* arena ms; 0: never */
    uint32_t cache_tag;
    uint32_t kind;
    uint32_t version;      /* 0: none */
    uint32_t tag_count;
    bool packed;           /* the value is as packed.h says */
    bool checked;
    bool is_long;          /* the length is in the extension */
} entry_shape;

/* An entry looked at in place.  All of it is a guess until the generation and
 * the slot were looked at again (fb_entry_stable), or while the segment is held
 * or owned. */
typedef struct entry_view {
    const uint8_t *key;
    const uint8_t *value;
    uint64_t value_length;
    uint64_t expiry;       /* arena ms; 0: never */
    uint64_t units;        /* whole entry */
    uint64_t generation;   /* of its segment, when looked at */
    uint64_t header;
    uint32_t key_length;
    uint32_t segment;
    uint32_t kind;
    uint32_t cache_tag;
    uint32_t version;      /* 0: none */
    uint32_t tag_count;
    const uint8_t *tags;   /* 8 bytes each, unaligned */
    const uint8_t *check_sum; /* if it has one */
} entry_view;

static inline bool fb_entry_has_extensions(const entry_shape *shape)
{
    return (shape->expiry | shape->version | shape->tag_count | (uint64_t)shape->checked | (uint64_t)shape->is_long) != 0;
}
/* Bytes before the key. */
static inline uint64_t fb_entry_prefix(const entry_shape *shape)
{
    if (!fb_entry_has_extensions(shape))
        return 8;
    return 8 + (shape->expiry != 0 ? ENTRY_EXPIRY_SIZE : 0) + (shape->is_long ? ENTRY_LENGTH_SIZE : 0)
           + (shape->checked ? ENTRY_CHECK_SIZE : 0) + (shape->version != 0 ? ENTRY_VERSION_SIZE : 0)
           + (shape->tag_count != 0 ? 1 + (uint64_t)shape->tag_count * ENTRY_TAG_SIZE : 0);
}
static inline uint64_t fb_entry_units(const entry_shape *shape)
{
    return (fb_entry_prefix(shape) + shape->key_length + shape->value_length + ARENA_ALIGN - 1) / ARENA_ALIGN;
}
/* Write header and extensions at `at`; tags, key and value are there already. */
void fb_entry_write(uint8_t *at, const entry_shape *shape, policy_history history, uint64_t seed);

/* Look at the entry at `offset` in `segment`, at most `limit` bytes from its
 * segment's start (a run's for a run).  False: these bytes are no entry. */
bool fb_entry_view_at(const forebay_arena *arena, uint32_t segment, uint64_t offset, entry_view *view);
/* The same from a slot, whose segment is held or owned: false also if the
 * segment has another incarnation. */
bool fb_entry_view_slot(const forebay_arena *arena, uint64_t slot, entry_view *view);
/* The same for readers, who hold nothing: `word` was read from `slot`.  False
 * also if the slot changed before the entry's bytes were looked at. */
bool fb_entry_view_reading(const forebay_arena *arena, const _Atomic uint64_t *slot, uint64_t word, entry_view *view);
/* Is the location inside a segment?  Sets it. */
static inline bool fb_slot_segment(const forebay_arena *arena, uint64_t slot, uint32_t *segment)
{
    uint64_t offset = fb_slot_offset(slot);
    if (offset < arena->geometry.data_offset)
        return false;
    uint64_t number = (offset - arena->geometry.data_offset) >> arena->segment_shift;
    *segment = (uint32_t)number;
    return number < arena->geometry.segment_count;
}
/* After the bytes were used: were they what the view says, all the time? */
bool fb_entry_stable(const forebay_arena *arena, const entry_view *view);
bool fb_entry_check_sum(const forebay_arena *arena, const entry_view *view);

/* Is none of the entry's tags invalidated? */
bool fb_entry_tags_are_valid(const forebay_arena *arena, const entry_view *view);
/* Is the entry still good: not expired, its tags valid?  A guess like the view it
 * is asked of. */
static inline bool fb_entry_is_fresh(const forebay_arena *arena, const entry_view *view, uint64_t now)
{
    return (view->expiry == 0 || view->expiry > now) && (view->tag_count == 0 || fb_entry_tags_are_valid(arena, view));
}

/* The seed of a cache's keys: entries of a cleared cache hash elsewhere. */
static inline uint64_t fb_key_hash(const forebay_arena *arena, uint32_t cache_tag, const void *key, size_t length)
{
    return fb_hash(key, length, arena->hash_seed + (uint64_t)(cache_tag + 1) * UINT64_C(0x9e3779b97f4a7c15));
}
/* Does `cache_tag` name a cache of now? */
bool fb_cache_tag_is_current(const forebay_arena *arena, uint32_t cache_tag);

#endif
