/* SPDX-License-Identifier: Apache-2.0 */
/* Places: is an entry that was read still what its key means?  Why the few loads
 * of forebay_place_holds() suffice is in docs/internals/concurrency.md. */
#include "arena/arena_clock.h"
#include "base/copy.h"
#include "cache/hit.h"
#include "cache/tags.h"

static _Atomic uint64_t *slot_of(const forebay_place *place) { return place->slot; }

/* Is the slot's word the place's, in the same life of its segment?  Gives the word
 * of now, whose frequency may be another. */
static inline bool is_there(const forebay_arena *arena, const forebay_place *place, uint64_t *word)
{
    /* acquire, then the generation: it is raised before the first slot that leads into the new life is stored */
    *word = atomic_load_explicit(slot_of(place), memory_order_acquire);
    return fb_slot_same(*word, place->word)
           && atomic_load_explicit(&arena->segments[place->segment].generation, memory_order_acquire) == place->generation;
}

/* May who asks now still see it? */
static inline bool is_valid(const forebay_cache *cache, const forebay_place *place, uint64_t now)
{
    if (atomic_load_explicit(&cache->record->word, memory_order_acquire) != place->cache_word)
        return false; /* cleared or dropped */
    if (place->expiry != 0 && place->expiry <= now)
        return false;
    for (uint32_t i = 0; i < place->tag_count; i++)
        if (!fb_tag_is_valid(cache->arena, place->tags[i]))
            return false;
    return true;
}

/* Note what the slot's entry says of itself.  False: it may have changed meanwhile,
 * or cannot have a place. */
static bool note_place(const forebay_cache *cache, const index_key *key, _Atomic uint64_t *slot, uint64_t word,
                       const entry_view *view, uint64_t cache_word, forebay_place *place)
{
    if (view->tag_count > FOREBAY_PLACE_TAGS || view->version != key->version)
        return false;
    *place = (forebay_place){ .slot = slot, .word = word, .generation = view->generation, .cache_word = cache_word,
                              .hash = key->hash, .expiry = view->expiry, .units = view->units, .segment = view->segment,
                              .version = key->version, .number = cache->number, .tag_count = view->tag_count };
    if (view->tag_count != 0)
        fb_copy_out(place->tags, view->tags, view->tag_count * (size_t)ENTRY_TAG_SIZE);
    fb_copy_fence(); /* all of the entry was read before these two looks */
    return is_there(cache->arena, place, &word);
}

/* Where the key's entry is; no place where one look does not tell. */
static void find_place(const forebay_cache *cache, const index_key *key, uint64_t cache_word, forebay_place *place)
{
    forebay_arena *arena = cache->arena;
    uint64_t tag = fb_slot_tag(key->hash);
    index_look look = fb_index_look(arena, key->hash);
    for (uint32_t b = 0; b < look.count; b++) {
        arena_bucket *bucket = &arena->buckets[look.bucket[b]];
        for (uint32_t i = 0; i < BUCKET_SLOTS; i++) {
            entry_view view;
            uint64_t word = atomic_load_explicit(&bucket->slots[i], memory_order_acquire);
            if (!fb_slot_matches(word, tag) || !fb_entry_view_reading(arena, &bucket->slots[i], word, &view)
                || !fb_index_key_equal(key, &view))
                continue;
            if (!note_place(cache, key, &bucket->slots[i], word, &view, cache_word, place))
                place->slot = NULL;
            return;
        }
    }
}

forebay_status forebay_get_placed(forebay_cache *cache, const void *key, size_t key_length, const forebay_sink *sink,
                                  forebay_place *place)
{
    index_key k;
    place->slot = NULL;
    /* before the key's hash is made of it: if it is the same at the end, the hash was that of this word */
    uint64_t cache_word = atomic_load_explicit(&cache->record->word, memory_order_acquire);
    forebay_status status = fb_cache_begin(cache, key, key_length, &k);
    if (status != FOREBAY_OK)
        return status;
    find_place(cache, &k, cache_word, place);
    status = forebay_get(cache, key, key_length, sink);
    uint64_t word;
    if (place->slot != NULL
        && (status != FOREBAY_OK || !is_there(cache->arena, place, &word) || !is_valid(cache, place, 0)))
        place->slot = NULL; /* the value may be another entry's */
    return status;
}

bool forebay_place_holds(forebay_cache *cache, const forebay_place *place)
{
    forebay_arena *arena = cache->arena;
    uint64_t word;
    if (place->slot == NULL || place->number != cache->number || place->version != cache->version
        || fb_cache_life(place->cache_word) != cache->life || fb_arena_enter(arena) != FOREBAY_OK)
        return false;
    uint64_t now = fb_time_of_get(arena); /* for entries without expiry too: who only has such hits must look now and then */
    if (fb_cache_is_silent(cache, now) || !is_there(arena, place, &word) || !is_valid(cache, place, now))
        return false;
    fb_note_hit(cache, &(index_key){ .hash = place->hash }, slot_of(place), word, place->units);
    return true;
}
