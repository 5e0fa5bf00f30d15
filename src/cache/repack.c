/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/repack.h"

#include <forebay/cache.h>

#include "base/copy.h"
#include "cache/warm.h"

static entry_shape shape_of(const forebay_arena *arena, const entry_view *view, const stored_value *value)
{
    return (entry_shape){
        .key_length = view->key_length, .value_length = value->length, .expiry = view->expiry, .cache_tag = view->cache_tag,
        .kind = view->kind, .version = view->version, .tag_count = view->tag_count, .packed = value->packed,
        .checked = arena->checksums, .is_long = value->length > ENTRY_VALUE_SHORT_MAX,
    };
}

/* Pack `length` bytes of the value for the entry's cache; what becomes of it. */
static void pack_value(forebay_arena *arena, const entry_view *view, const packing *how, uint32_t dictionary, const void *value,
                       size_t length, uint8_t *buffer, repacked *out)
{
    out->value = fb_stored_make(arena, how, dictionary, value, length, buffer);
    fb_packing_note(&arena->caches[view->cache_tag % CACHE_COUNT_MAX], out->value.packed);
    entry_shape shape = shape_of(arena, view, &out->value);
    uint64_t units = fb_entry_units(&shape);
    if (!out->value.packed || units >= view->units + view->units / 8)
        return;
    out->changed = true;
    out->units = units;
    out->dictionary = out->value.dictionary;
}

/* A packed entry whose dictionary is not the current one. */
static void plan_packed(forebay_arena *arena, const entry_view *view, const packing *how, uint32_t dictionary, uint8_t *buffer,
                        repacked *out)
{
    unpacked_value raw;
    out->dictionary = fb_packed_dictionary(view);
    if (dictionary == DICTIONARY_NONE || out->dictionary == dictionary || !fb_packed_read(arena, view, &raw))
        return;
    out->raw = raw.data;
    pack_value(arena, view, how, dictionary, raw.data, raw.length, buffer, out);
}

void fb_repack_plan(forebay_arena *arena, const entry_view *view, uint32_t frequency, uint64_t hash, uint8_t *buffer,
                    repacked *out)
{
    uint32_t number = view->cache_tag % CACHE_COUNT_MAX;
    const arena_cache *record = &arena->caches[number];
    *out = (repacked){.units = view->units};
    packing how = fb_packing_of(atomic_load_explicit(&record->codec, memory_order_relaxed));
    uint32_t dictionary = how.has_dictionaries ? fb_dictionary_current(arena, number) : DICTIONARY_NONE;
    if (view->header & ENTRY_PACKED) {
        plan_packed(arena, view, &how, dictionary, buffer, out);
        return;
    }
    if (how.codec == FOREBAY_CODEC_NONE || view->kind > FOREBAY_KIND_MSGPACK
        || !fb_packing_tries(&how, dictionary, view->value_length) || fb_packing_skips(record, hash))
        return;
    out->warm = frequency >= fb_policy_frequency_max(arena) && fb_warm_has_room(arena, 0);
    if (!out->warm)
        pack_value(arena, view, &how, dictionary, view->value, view->value_length, buffer, out);
}

void fb_repack_write(const forebay_arena *arena, const entry_view *view, const repacked *r, policy_history history, uint8_t *at)
{
    entry_shape shape = shape_of(arena, view, &r->value);
    uint8_t *key = at + fb_entry_prefix(&shape);
    if (view->tag_count != 0)
        fb_copy_in(key - view->tag_count * (size_t)ENTRY_TAG_SIZE, view->tags, view->tag_count * (size_t)ENTRY_TAG_SIZE);
    fb_copy_in(key, view->key, view->key_length);
    fb_copy_in(key + view->key_length, r->value.data, r->value.length);
    fb_entry_write(at, &shape, history, arena->hash_seed);
}
