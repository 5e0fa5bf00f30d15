/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/dictionaries.h"

#include <stdlib.h>

#include "base/copy.h"
#include "base/hash.h"
#include "cache/packed.h"
#include "cache/packing_side.h"

#define USES_MAX ((1u << 18) - 1) /* of a slot: ids have 24 bits */

static enum dictionary_state state_of(uint64_t word) { return (enum dictionary_state)(word & 0xf); }

/* `before`: the word it follows; each change counts up in its bits 4 to 15, so that
 * no claim looks like an earlier one of the same owner. */
#define COUNT_SHIFT 4
#define COUNT_MASK UINT64_C(0xfff0)
static uint64_t word_of(enum dictionary_state state, row_owner owner, uint64_t before)
{
    uint64_t count = (before + (UINT64_C(1) << COUNT_SHIFT)) & COUNT_MASK;
    return (uint64_t)state | count | owner << 16;
}

static uint8_t *bytes_of(const forebay_arena *arena, uint32_t slot)
{
    const arena_geometry *g = &arena->geometry;
    return arena->base + g->dictionaries_offset + g->dictionary_count * sizeof(arena_dictionary)
           + (uint64_t)slot * g->dictionary_size;
}

/* The record that has this id now; NULL: none. */
static arena_dictionary *record_of(const forebay_arena *arena, uint32_t id)
{
    uint32_t slot = fb_dictionary_slot(id);
    if (id == DICTIONARY_NONE || slot >= arena->geometry.dictionary_count)
        return NULL;
    arena_dictionary *record = &arena->dictionaries[slot];
    return atomic_load_explicit(&record->id, memory_order_acquire) == id ? record : NULL;
}

/* Is the cache that it was made for still that, and alive? */
static bool is_of_living(const forebay_arena *arena, const arena_dictionary *record)
{
    uint32_t cache = atomic_load_explicit(&record->cache, memory_order_relaxed);
    if (cache >= arena->geometry.cache_count)
        return false;
    uint64_t word = atomic_load_explicit(&arena->caches[cache].word, memory_order_acquire);
    return (word & 1) != 0 && (uint32_t)(word >> 8) == atomic_load_explicit(&record->life, memory_order_relaxed);
}

uint32_t fb_dictionary_current(const forebay_arena *arena, uint32_t cache_number, int codec)
{
    uint32_t id = atomic_load_explicit(&arena->caches[cache_number].dictionary, memory_order_acquire);
    uint32_t slot = fb_dictionary_slot(id);
    if (id == DICTIONARY_NONE || slot >= arena->geometry.dictionary_count)
        return DICTIONARY_NONE;
    const arena_dictionary *record = &arena->dictionaries[slot];
    bool ready = state_of(atomic_load_explicit(&record->word, memory_order_acquire)) == DICTIONARY_READY;
    bool fits = atomic_load_explicit(&record->codec, memory_order_relaxed) == (uint32_t)codec
                && atomic_load_explicit(&record->cache, memory_order_relaxed) == cache_number && is_of_living(arena, record);
    return ready && fits && record_of(arena, id) == record ? id : DICTIONARY_NONE;
}

bool fb_dictionary_is_kept(const forebay_arena *arena, uint32_t id)
{
    const arena_dictionary *record = record_of(arena, id);
    enum dictionary_state state = record == NULL ? DICTIONARY_FREE : state_of(atomic_load(&record->word));
    return state == DICTIONARY_READY || state == DICTIONARY_RETIRING;
}

bool fb_dictionary_look_up(const forebay_arena *arena, uint32_t id, dictionary_facts *facts)
{
    const arena_dictionary *record = record_of(arena, id);
    if (record == NULL)
        return false;
    *facts = (dictionary_facts){
        .cache = atomic_load(&record->cache), .life = atomic_load(&record->life), .codec = (int)atomic_load(&record->codec),
        .ratio = atomic_load(&record->ratio), .trained = atomic_load(&record->trained),
    };
    return record_of(arena, id) == record;
}

/* ---- digested ones ---- */

typedef struct digest {
    uint32_t id;
    forebay_codec_dictionary *dictionary;
    struct digest *next; /* of the retired */
} digest;

static void free_digests(digest *d)
{
    while (d != NULL) {
        digest *next = d->next;
        forebay_codec_dictionary_free(d->dictionary);
        free(d);
        d = next;
    }
}

static void push_retired(digest_slot *slot, digest *first)
{
    digest *last = first, *top = atomic_load(&slot->retired);
    while (last->next != NULL)
        last = last->next;
    do
        last->next = top;
    while (!atomic_compare_exchange_weak(&slot->retired, &top, first));
}

/* Free what was replaced, unless somebody still uses one: whoever begins to use
 * one after it was taken off here finds a later one.  (In a child of a fork made
 * while another thread used one, the count never falls to 0 again: what it then
 * replaces, a slot's dictionary at a time, is not freed.) */
static void free_retired(digest_slot *slot)
{
    digest *all = atomic_exchange(&slot->retired, NULL);
    if (all == NULL)
        return;
    if (atomic_load(&slot->uses) == 0)
        free_digests(all);
    else
        push_retired(slot, all);
}

uint8_t *fb_dictionary_copy(const forebay_arena *arena, uint32_t id, size_t *length, int *codec)
{
    const arena_dictionary *record = record_of(arena, id);
    if (record == NULL)
        return NULL;
    *length = atomic_load(&record->length);
    *codec = (int)atomic_load(&record->codec);
    uint64_t checksum = atomic_load(&record->checksum);
    if (*length == 0 || *length > arena->geometry.dictionary_size)
        return NULL;
    uint8_t *copy = malloc(*length);
    if (copy == NULL)
        return NULL;
    fb_copy_out(copy, bytes_of(arena, fb_dictionary_slot(id)), *length);
    fb_copy_fence();
    if (record_of(arena, id) == record && fb_hash(copy, *length, id) == checksum)
        return copy;
    free(copy);
    return NULL;
}

/* The level that its cache packs at now. */
static int level_of(const forebay_arena *arena, uint32_t id, int codec)
{
    dictionary_facts facts;
    if (!fb_dictionary_look_up(arena, id, &facts) || facts.cache >= arena->geometry.cache_count)
        return FOREBAY_CODEC_USUAL_LEVEL;
    packing how = fb_packing_of(atomic_load_explicit(&arena->caches[facts.cache].codec, memory_order_relaxed));
    return how.codec == codec ? how.level : FOREBAY_CODEC_USUAL_LEVEL;
}

static digest *make_digest(const forebay_arena *arena, uint32_t id)
{
    size_t length;
    int codec;
    uint8_t *bytes = fb_dictionary_copy(arena, id, &length, &codec);
    digest *d = bytes == NULL ? NULL : calloc(1, sizeof *d);
    if (d != NULL) {
        d->id = id;
        if (forebay_codec_dictionary_new(codec, level_of(arena, id, codec), bytes, length, &d->dictionary, NULL) != FOREBAY_OK) {
            free(d);
            d = NULL;
        }
    }
    free(bytes);
    return d;
}

static forebay_codec_dictionary *use(digest_slot *slot, uint32_t id)
{
    atomic_fetch_add(&slot->uses, 1);
    digest *d = atomic_load(&slot->current);
    if (__builtin_expect(d != NULL && d->id == id, 1))
        return d->dictionary;
    atomic_fetch_sub(&slot->uses, 1);
    return NULL;
}

__attribute__((noinline)) static bool digest_anew(forebay_arena *arena, digest_slot *slot, uint32_t id)
{
    digest *fresh = make_digest(arena, id);
    if (fresh == NULL)
        return false;
    digest *before = atomic_exchange(&slot->current, fresh);
    if (before != NULL)
        push_retired(slot, before);
    free_retired(slot);
    return true;
}

forebay_codec_dictionary *fb_dictionary_acquire(forebay_arena *arena, uint32_t id)
{
    packing_side *side = fb_packing_side(arena);
    if (side == NULL || id == DICTIONARY_NONE)
        return NULL;
    digest_slot *slot = &side->digests[fb_dictionary_slot(id)];
    forebay_codec_dictionary *found = use(slot, id);
    for (int t = 0; found == NULL && t < 3; t++) { /* others may put another one in its place meanwhile */
        if (!digest_anew(arena, slot, id))
            return NULL;
        found = use(slot, id);
    }
    return found;
}

void fb_dictionary_release(forebay_arena *arena, uint32_t id)
{
    atomic_fetch_sub(&fb_packing_side(arena)->digests[fb_dictionary_slot(id)].uses, 1);
}

void fb_dictionaries_forget(forebay_arena *arena)
{
    packing_side *side = atomic_load(&arena->packing);
    for (uint32_t i = 0; side != NULL && i < DICTIONARY_SLOTS; i++) {
        free_digests(atomic_exchange(&side->digests[i].current, NULL));
        free_digests(atomic_exchange(&side->digests[i].retired, NULL));
    }
}

/* ---- who needs them ---- */

bool fb_dictionary_note_use(forebay_arena *arena, uint32_t segment, uint32_t id)
{
    uint32_t slot = fb_dictionary_slot(id);
    if (id == DICTIONARY_NONE)
        return true;
    if (slot >= arena->geometry.dictionary_count)
        return false;
    arena_dictionary *record = &arena->dictionaries[slot];
    _Atomic uint64_t *noted = &arena->segments[segment].dictionaries;
    uint64_t bit = UINT64_C(1) << slot;
    if ((atomic_load_explicit(noted, memory_order_relaxed) & bit) == 0)
        atomic_fetch_or(noted, bit);
    atomic_thread_fence(memory_order_seq_cst); /* the bit, then the state; pairs with is_needed() */
    uint64_t word = atomic_load(&record->word);
    /* whoever looks whether it may go has not seen our bit, and may be stopped: it is to stay */
    while (state_of(word) == DICTIONARY_RETIRING)
        if (atomic_compare_exchange_weak(&record->word, &word, word_of(DICTIONARY_READY, 0, word)))
            word = DICTIONARY_READY;
    /* the id after the state: were it the state of a later use of the slot, the id would be that one's */
    return state_of(word) == DICTIONARY_READY && record_of(arena, id) == record;
}

/* May an entry need what is in this slot, which is RETIRING? */
static bool is_needed(const forebay_arena *arena, uint32_t slot)
{
    atomic_thread_fence(memory_order_seq_cst); /* the state, then the bits; pairs with fb_dictionary_note_use() */
    for (uint32_t i = 0; i < arena->geometry.segment_count; i++) {
        enum segment_state state = fb_segment_state(fb_segment_load(arena, i));
        if (state != SEGMENT_FREE && state != SEGMENT_INDEX && state != SEGMENT_BODY
            && (atomic_load(&arena->segments[i].dictionaries) >> slot & 1) != 0)
            return true;
    }
    return false;
}

/* The record's word after a claim of a dead owner, if any, was undone. */
static uint64_t settle(forebay_arena *arena, arena_dictionary *record)
{
    uint64_t word = atomic_load(&record->word);
    enum dictionary_state state = state_of(word);
    if ((state != DICTIONARY_WRITING && state != DICTIONARY_RETIRING) || !fb_row_is_dead(arena, word >> 16))
        return word;
    uint64_t settled = word_of(state == DICTIONARY_WRITING ? DICTIONARY_FREE : DICTIONARY_READY, 0, word);
    return atomic_compare_exchange_strong(&record->word, &word, settled) ? settled : word;
}

static bool is_current(const forebay_arena *arena, const arena_dictionary *record)
{
    uint32_t cache = atomic_load(&record->cache);
    return is_of_living(arena, record) && atomic_load(&arena->caches[cache].dictionary) == atomic_load(&record->id);
}

/* Retire what is in this slot unless it is needed: true if it is free. */
static bool reclaim(forebay_arena *arena, uint32_t slot)
{
    arena_dictionary *record = &arena->dictionaries[slot];
    uint64_t word = settle(arena, record);
    if (state_of(word) != DICTIONARY_READY || is_current(arena, record))
        return state_of(word) == DICTIONARY_FREE;
    uint64_t retiring = word_of(DICTIONARY_RETIRING, fb_row_owner(arena), word);
    if (!atomic_compare_exchange_strong(&record->word, &word, retiring))
        return false;
    bool stays = is_needed(arena, slot) || is_current(arena, record); /* made current meanwhile */
    uint64_t after = word_of(stays ? DICTIONARY_READY : DICTIONARY_FREE, 0, retiring);
    return atomic_compare_exchange_strong(&record->word, &retiring, after) && !stays;
}

uint32_t fb_dictionaries_reclaim(forebay_arena *arena)
{
    uint32_t free_count = 0;
    for (uint32_t slot = 0; slot < arena->geometry.dictionary_count; slot++)
        free_count += reclaim(arena, slot);
    return free_count;
}

static arena_dictionary *claim_free(forebay_arena *arena, uint64_t *claim)
{
    for (uint32_t slot = 0; slot < arena->geometry.dictionary_count; slot++) {
        arena_dictionary *record = &arena->dictionaries[slot];
        uint64_t word = settle(arena, record);
        *claim = word_of(DICTIONARY_WRITING, fb_row_owner(arena), word);
        if (state_of(word) == DICTIONARY_FREE && atomic_load(&record->uses) < USES_MAX
            && atomic_compare_exchange_strong(&record->word, &word, *claim))
            return record;
    }
    return NULL;
}

uint32_t fb_dictionary_publish(forebay_arena *arena, const dictionary_facts *facts, const void *bytes, size_t length)
{
    uint64_t claim;
    (void)fb_dictionaries_reclaim(arena);
    arena_dictionary *record = length == 0 || length > arena->geometry.dictionary_size ? NULL : claim_free(arena, &claim);
    if (record == NULL)
        return DICTIONARY_NONE;
    uint32_t slot = (uint32_t)(record - arena->dictionaries);
    uint32_t id = (atomic_fetch_add(&record->uses, 1) + 1) % (USES_MAX + 1) * DICTIONARY_SLOTS + slot;
    atomic_store(&record->id, 0);
    atomic_thread_fence(memory_order_seq_cst); /* before the first byte: pairs with fb_dictionary_copy() */
    fb_copy_in(bytes_of(arena, slot), bytes, length);
    atomic_store(&record->length, (uint32_t)length);
    atomic_store(&record->codec, (uint32_t)facts->codec);
    atomic_store(&record->cache, facts->cache);
    atomic_store(&record->life, facts->life);
    atomic_store(&record->trained, facts->trained);
    atomic_store(&record->ratio, facts->ratio);
    atomic_store(&record->checksum, fb_hash(bytes, length, id));
    atomic_store(&record->id, id);
    if (!atomic_compare_exchange_strong(&record->word, &claim, word_of(DICTIONARY_READY, 0, claim)))
        return DICTIONARY_NONE; /* taken for dead: its slot is another's */
    atomic_store(&arena->caches[facts->cache].dictionary, id);
    atomic_store(&arena->caches[facts->cache].misfits, 0); /* what did not get smaller without it may do so now */
    return id;
}

/* ---- checks ---- */

const char *fb_dictionaries_inspect(const forebay_arena *arena)
{
    for (uint32_t slot = 0; slot < arena->geometry.dictionary_count; slot++) {
        const arena_dictionary *record = &arena->dictionaries[slot];
        uint64_t word = atomic_load(&record->word);
        uint32_t id = atomic_load(&record->id), length = atomic_load(&record->length);
        if (state_of(word) > DICTIONARY_RETIRING)
            return "a dictionary is in no known state";
        if (state_of(word) != DICTIONARY_READY)
            continue;
        if (id == DICTIONARY_NONE || fb_dictionary_slot(id) != slot || id / DICTIONARY_SLOTS > atomic_load(&record->uses))
            return "a dictionary has an id that was not given out";
        if (length == 0 || length > arena->geometry.dictionary_size)
            return "a dictionary is longer than its room";
    }
    return NULL;
}

static bool is_whole(const forebay_arena *arena, uint32_t slot)
{
    size_t length;
    int codec;
    uint32_t id = atomic_load(&arena->dictionaries[slot].id);
    uint8_t *bytes = fb_dictionary_slot(id) == slot ? fb_dictionary_copy(arena, id, &length, &codec) : NULL;
    free(bytes);
    return bytes != NULL;
}

void fb_dictionaries_recover(forebay_arena *arena)
{
    for (uint32_t s = 0; s < arena->geometry.segment_count; s++)
        atomic_store(&arena->segments[s].dictionaries, 0);
    for (uint32_t slot = 0; slot < arena->geometry.dictionary_count; slot++) {
        arena_dictionary *record = &arena->dictionaries[slot];
        enum dictionary_state state = state_of(atomic_load(&record->word));
        bool whole = (state == DICTIONARY_READY || state == DICTIONARY_RETIRING) && is_whole(arena, slot);
        if (!whole)
            atomic_store(&record->id, DICTIONARY_NONE);
        atomic_store(&record->word, word_of(whole ? DICTIONARY_READY : DICTIONARY_FREE, 0, atomic_load(&record->word)));
    }
}

bool fb_dictionary_recover_use(forebay_arena *arena, uint32_t segment, uint32_t id)
{
    uint32_t slot = fb_dictionary_slot(id);
    if (id == DICTIONARY_NONE)
        return true;
    if (slot >= arena->geometry.dictionary_count)
        return false;
    /* the count of uses may be older than the entry: the id must not be given again */
    arena_dictionary *record = &arena->dictionaries[slot];
    if (atomic_load(&record->uses) < id / DICTIONARY_SLOTS)
        atomic_store(&record->uses, id / DICTIONARY_SLOTS);
    return fb_dictionary_note_use(arena, segment, id);
}
