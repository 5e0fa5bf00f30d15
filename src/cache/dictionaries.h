/* SPDX-License-Identifier: Apache-2.0 */
/* Dictionaries that values are packed with: in the arena, shared by all
 * processes, each digested once per process.
 *
 * An id is never given twice.  The record of a segment has a bit for the slot of
 * every dictionary that an entry in it may need; a dictionary goes when no
 * segment has its bit and no cache packs with it.  docs/internals/concurrency.md. */
#ifndef FB_DICTIONARIES_H
#define FB_DICTIONARIES_H

#include "arena/segments.h"
#include "codec/packing.h"

#define DICTIONARY_NONE 0u
static inline uint32_t fb_dictionary_slot(uint32_t id) { return id % DICTIONARY_SLOTS; }

/* The dictionary that new entries of the cache are packed with by this codec;
 * DICTIONARY_NONE: it has none (any more). */
uint32_t fb_dictionary_current(const forebay_arena *arena, uint32_t cache_number, int codec);

/* The digested dictionary, this process's, until fb_dictionary_release(); any
 * thread.  NULL: it is gone, damaged, or there is no memory. */
forebay_codec_dictionary *fb_dictionary_acquire(forebay_arena *arena, uint32_t id);
void fb_dictionary_release(forebay_arena *arena, uint32_t id);

/* By the owner of the segment, before an entry that needs the dictionary is
 * appended to it.  False: the dictionary is gone, the entry must not be written.
 * True for DICTIONARY_NONE. */
bool fb_dictionary_note_use(forebay_arena *arena, uint32_t segment, uint32_t id);

/* Is it there, for entries that need it? */
bool fb_dictionary_is_kept(const forebay_arena *arena, uint32_t id);

/* What is known of a dictionary beside its bytes. */
typedef struct dictionary_facts {
    uint32_t cache, life; /* whose values it was made of */
    int codec;            /* the only one it is used with */
    uint32_t ratio;       /* raw / packed of what it was tried on, in thousandths */
    uint64_t trained;     /* arena ms */
} dictionary_facts;
/* False: it is gone. */
bool fb_dictionary_look_up(const forebay_arena *arena, uint32_t id, dictionary_facts *facts);

/* A private copy of the bytes, for free(); NULL: gone, damaged, or no memory. */
uint8_t *fb_dictionary_copy(const forebay_arena *arena, uint32_t id, size_t *length, int *codec);

/* Store a dictionary of up to geometry.dictionary_size bytes and make it the
 * current one of its cache; its id, DICTIONARY_NONE if all slots are in use.  A
 * process killed at it leaves a slot that is free again. */
uint32_t fb_dictionary_publish(forebay_arena *arena, const dictionary_facts *facts, const void *bytes, size_t length);

/* Free the slots of dictionaries that nothing needs any more; how many are free. */
uint32_t fb_dictionaries_reclaim(forebay_arena *arena);

/* What is wrong with the records; NULL: nothing. */
const char *fb_dictionaries_inspect(const forebay_arena *arena);
/* Nobody else is here (after a reboot): drop what is not whole, and forget which
 * segments need what; then note it again for every entry.  False: the dictionary
 * that an entry needs is gone. */
void fb_dictionaries_recover(forebay_arena *arena);
bool fb_dictionary_recover_use(forebay_arena *arena, uint32_t segment, uint32_t id);

/* Drop this process's digested ones.  No thread uses one. */
void fb_dictionaries_forget(forebay_arena *arena);

#endif
