/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/entry.h"

#include "base/copy.h"
#include "cache/tags.h"

static uint64_t header_without_history(uint64_t header)
{
    return header & ((UINT64_C(1) << ENTRY_HISTORY_SHIFT) - 1);
}

/* Of all of an entry but its history and the sum; the tags end where the key begins. */
static uint32_t check_sum(uint64_t header, uint64_t expiry, uint32_t version, uint32_t tag_count, const uint8_t *key,
                          uint64_t length, uint64_t seed)
{
    seed ^= header_without_history(header) ^ expiry << 20 ^ version * UINT64_C(0x9e3779b97f4a7c15);
    if (tag_count != 0)
        seed ^= fb_hash(key - tag_count * (size_t)ENTRY_TAG_SIZE, tag_count * (size_t)ENTRY_TAG_SIZE, tag_count);
    return (uint32_t)fb_hash(key, length, seed);
}

static uint64_t extension_flags(const entry_shape *shape)
{
    return (shape->expiry != 0 ? ENTRY_EXPIRES : 0) | (shape->is_long ? ENTRY_LONG : 0)
           | (shape->checked ? ENTRY_CHECKED : 0) | (shape->version != 0 ? ENTRY_VERSIONED : 0)
           | (shape->tag_count != 0 ? ENTRY_TAGGED : 0);
}

/* Write the extensions behind the header at `at`; all of the header but the history is known. */
static void write_extensions(uint8_t *at, uint64_t header, const entry_shape *shape, uint64_t seed)
{
    const uint8_t *key = at + fb_entry_prefix(shape);
    uint8_t *next = at + sizeof header;
    if (header & ENTRY_EXPIRES) {
        fb_copy_in(next, &shape->expiry, ENTRY_EXPIRY_SIZE); /* little-endian: the low five bytes */
        next += ENTRY_EXPIRY_SIZE;
    }
    if (header & ENTRY_LONG) {
        fb_copy_in(next, &shape->value_length, ENTRY_LENGTH_SIZE);
        next += ENTRY_LENGTH_SIZE;
    }
    if (header & ENTRY_CHECKED) {
        uint32_t sum = check_sum(header, shape->expiry, shape->version, shape->tag_count, key,
                                 shape->key_length + shape->value_length, seed);
        fb_copy_in(next, &sum, ENTRY_CHECK_SIZE);
        next += ENTRY_CHECK_SIZE;
    }
    if (header & ENTRY_VERSIONED) {
        fb_copy_in(next, &shape->version, ENTRY_VERSION_SIZE);
        next += ENTRY_VERSION_SIZE;
    }
    if (header & ENTRY_TAGGED) {
        uint8_t count = (uint8_t)shape->tag_count;
        fb_copy_in(next, &count, 1);
    }
}

void fb_entry_write(uint8_t *at, const entry_shape *shape, policy_history history, uint64_t seed)
{
    uint64_t header = (shape->kind & 7) | (uint64_t)shape->key_length << 6 | (uint64_t)(shape->cache_tag & 0xffff) << 38
                      | (shape->packed ? ENTRY_PACKED : 0);
    if (fb_entry_has_extensions(shape)) {
        header |= extension_flags(shape) | (shape->is_long ? 0 : shape->value_length << 18);
        write_extensions(at, header, shape, seed);
    } else {
        header |= shape->value_length << 18;
    }
    header |= (uint64_t)(history & 0x3ff) << ENTRY_HISTORY_SHIFT;
    atomic_store_explicit((_Atomic uint64_t *)(void *)at, header, memory_order_release);
}

/* Bytes from `offset` to the end of what the segment, or the run it begins, may hold. */
static uint64_t room_from(const forebay_arena *arena, uint32_t segment, uint64_t offset)
{
    uint64_t within = offset - fb_segment_offset(arena, segment);
    uint64_t size = arena->geometry.segment_size;
    if (within == 0)
        size *= fb_segment_run(arena, segment);
    return within < size ? size - within : 0;
}

/* The extensions that `header` names, from `at` on; their size, 0 if they do not fit into `room`. */
static uint64_t view_all_extensions(const uint8_t *at, uint64_t header, uint64_t room, entry_view *view)
{
    uint64_t size = (header & ENTRY_EXPIRES ? ENTRY_EXPIRY_SIZE : 0) + (header & ENTRY_LONG ? ENTRY_LENGTH_SIZE : 0)
                    + (header & ENTRY_CHECKED ? ENTRY_CHECK_SIZE : 0) + (header & ENTRY_VERSIONED ? ENTRY_VERSION_SIZE : 0)
                    + (header & ENTRY_TAGGED ? 1 : 0);
    if (size > room)
        return 0;
    const uint8_t *next = at;
    if (header & ENTRY_EXPIRES) {
        fb_copy_out(&view->expiry, next, ENTRY_EXPIRY_SIZE);
        next += ENTRY_EXPIRY_SIZE;
    }
    if (header & ENTRY_LONG) {
        fb_copy_out(&view->value_length, next, ENTRY_LENGTH_SIZE);
        next += ENTRY_LENGTH_SIZE;
    }
    if (header & ENTRY_CHECKED) {
        view->check_sum = next;
        next += ENTRY_CHECK_SIZE;
    }
    if (header & ENTRY_VERSIONED) {
        fb_copy_out(&view->version, next, ENTRY_VERSION_SIZE);
        next += ENTRY_VERSION_SIZE;
    }
    if (header & ENTRY_TAGGED) {
        uint8_t count;
        fb_copy_out(&count, next, 1);
        view->tag_count = count;
        view->tags = next + 1;
        size += count * (uint64_t)ENTRY_TAG_SIZE;
    }
    return size <= room ? size : 0;
}

/* The same; most entries that have any have an expiry alone. */
static inline uint64_t view_extensions(const uint8_t *at, uint64_t header, uint64_t room, entry_view *view)
{
    if (__builtin_expect((header & ENTRY_EXTENSIONS) != ENTRY_EXPIRES || room < ENTRY_EXPIRY_SIZE, 0))
        return view_all_extensions(at, header, room, view);
    fb_copy_out(&view->expiry, at, ENTRY_EXPIRY_SIZE);
    return ENTRY_EXPIRY_SIZE;
}

bool fb_entry_view_at(const forebay_arena *arena, uint32_t segment, uint64_t offset, entry_view *view)
{
    uint64_t room = room_from(arena, segment, offset);
    const uint8_t *at = arena->base + offset;
    if (room < sizeof(uint64_t))
        return false;
    uint64_t header = atomic_load_explicit((const _Atomic uint64_t *)(const void *)at, memory_order_acquire);
    uint64_t prefix = sizeof header;
    view->expiry = 0;
    view->version = 0;
    view->tag_count = 0;
    view->value_length = header >> 18 & ENTRY_VALUE_SHORT_MAX;
    if (header & ENTRY_EXTENSIONS) {
        uint64_t size = view_extensions(at + prefix, header, room - prefix, view);
        if (size == 0)
            return false;
        prefix += size;
    }
    view->key_length = (uint32_t)(header >> 6) & ENTRY_KEY_LENGTH_MASK;
    if (view->key_length == 0 || view->key_length > room - prefix
        || view->value_length > room - prefix - view->key_length)
        return false;
    view->header = header;
    view->kind = (uint32_t)header & 7;
    view->cache_tag = (uint32_t)(header >> 38) & 0xffff;
    view->key = at + prefix;
    view->value = view->key + view->key_length;
    view->units = (prefix + view->key_length + view->value_length + ARENA_ALIGN - 1) / ARENA_ALIGN;
    view->segment = segment;
    return true;
}

/* Is the segment in the life the slot means?  Notes segment and generation. */
static bool view_life(const forebay_arena *arena, uint64_t slot, entry_view *view)
{
    if (!fb_slot_segment(arena, slot, &view->segment))
        return false;
    view->generation = atomic_load_explicit(&arena->segments[view->segment].generation, memory_order_acquire);
    return view->generation % SLOT_INCARNATIONS == fb_slot_incarnation(slot);
}

bool fb_entry_view_slot(const forebay_arena *arena, uint64_t slot, entry_view *view)
{
    return view_life(arena, slot, view) && fb_entry_view_at(arena, view->segment, fb_slot_offset(slot), view);
}

bool fb_entry_view_reading(const forebay_arena *arena, const _Atomic uint64_t *slot, uint64_t word, entry_view *view)
{
    /* the second look: 1024 lives later the incarnation would fit again */
    return view_life(arena, word, view) && fb_slot_same(atomic_load_explicit(slot, memory_order_acquire), word)
           && fb_entry_view_at(arena, view->segment, fb_slot_offset(word), view);
}

bool fb_entry_stable(const forebay_arena *arena, const entry_view *view)
{
    fb_copy_fence(); /* pairs with the fence of fb_segment_begin() */
    return atomic_load_explicit(&arena->segments[view->segment].generation, memory_order_acquire) == view->generation;
}

bool fb_entry_check_sum(const forebay_arena *arena, const entry_view *view)
{
    if (!(view->header & ENTRY_CHECKED))
        return true;
    uint32_t stored;
    fb_copy_out(&stored, view->check_sum, ENTRY_CHECK_SIZE);
    return stored == check_sum(view->header, view->expiry, view->version, view->tag_count, view->key,
                               view->key_length + view->value_length, arena->hash_seed);
}

bool fb_entry_tags_are_valid(const forebay_arena *arena, const entry_view *view)
{
    for (uint32_t i = 0; i < view->tag_count; i++) {
        uint64_t tag;
        fb_copy_out(&tag, view->tags + i * (uint64_t)ENTRY_TAG_SIZE, ENTRY_TAG_SIZE);
        if (!fb_tag_is_valid(arena, tag))
            return false;
    }
    return true;
}

bool fb_cache_tag_is_current(const forebay_arena *arena, uint32_t cache_tag)
{
    uint32_t index = cache_tag % CACHE_COUNT_MAX;
    if (index >= arena->geometry.cache_count)
        return false;
    uint64_t word = atomic_load_explicit(&arena->caches[index].word, memory_order_acquire);
    return (word & 1) != 0 && (uint32_t)(word >> 40) % 512 == cache_tag / CACHE_COUNT_MAX;
}
