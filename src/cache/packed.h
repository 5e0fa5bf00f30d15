/* SPDX-License-Identifier: Apache-2.0 */
/* Packed values: what an entry with ENTRY_PACKED holds in place of its value.
 *
 *   1 byte   bits 0..2 codec, 3..4 bytes of the length less 1, 5 has a dictionary, 6..7 zero
 *   1..4     length of the value, little-endian
 *   3        id of the dictionary, if it has one
 *   the rest what the codec made
 *
 * What packs, and how: a cache's stored option, `codec` of its record:
 *   bits 0..1  how: CODEC_AUTO, CODEC_NONE, CODEC_NAMED
 *        4..7  the codec, if it is named
 *        8..15 its level + 64 */
#ifndef FB_PACKED_H
#define FB_PACKED_H

#include <stdlib.h>

#include "cache/dictionaries.h"
#include "cache/entry.h"

#define PACKED_PREFIX_MAX 8u
#define PACKED_BUFFER 1536u /* values up to about twice that are packed without a call of malloc() */
/* Smaller values are not packed: there is nothing to gain. */
#define PACK_MIN 48u
/* Without a dictionary, "auto" leaves values below this as they are. */
#define PACK_ALONE_MIN 1024u

enum codec_choice { CODEC_AUTO = 0, CODEC_NONE = 1, CODEC_NAMED = 2 };

/* How a cache packs. */
typedef struct packing {
    int codec;        /* FOREBAY_CODEC_NONE: not at all */
    int level;
    bool is_auto;     /* only where it is worth it */
    bool has_dictionaries;
} packing;
packing fb_packing_of(uint32_t stored);
/* The stored option for "auto", "none", "zstd" or "zstd:9"; false: there is no such codec, or level. */
bool fb_packing_parse(const char *text, uint32_t *stored);
/* The opposite; at least 32 bytes. */
void fb_packing_text(uint32_t stored, char text[32]);

typedef struct packed_prefix {
    int codec;
    uint32_t dictionary;
    uint32_t size;
    uint64_t raw_length;
} packed_prefix;
/* Of the first bytes of a packed value, at least PACKED_PREFIX_MAX or all of them. False: they are none. */
bool fb_packed_prefix(const uint8_t *packed, uint64_t length, packed_prefix *prefix);

/* A value as it is to be stored. */
typedef struct stored_value {
    const void *data;
    size_t length;
    uint32_t dictionary;
    bool packed;
    void *heap;         /* or NULL */
    uint8_t *buffer;    /* of PACKED_BUFFER bytes, the caller's */
} stored_value;

/* Is it worth trying? */
static inline bool fb_packing_tries(const packing *how, uint32_t dictionary, size_t length)
{
    return length >= PACK_MIN && length <= UINT32_MAX
           && (!how->is_auto || dictionary != DICTIONARY_NONE || length >= PACK_ALONE_MIN);
}

/* Values that packing did not make smaller, in a row: from then on it is tried
 * with one key in MISFITS_TRY only. */
#define MISFITS_MANY 8u
#define MISFITS_TRY 64u
static inline bool fb_packing_skips(const arena_cache *record, uint64_t hash)
{
    return atomic_load_explicit(&record->misfits, memory_order_relaxed) >= MISFITS_MANY && (hash >> 32) % MISFITS_TRY != 0;
}
void fb_packing_note(arena_cache *record, bool fits);

/* Pack a value for a cache, if that makes it at least an eighth smaller: else it
 * is stored as it is.  `buffer`: PACKED_BUFFER bytes.  End it with fb_stored_clear(). */
stored_value fb_stored_make(forebay_arena *arena, const packing *how, uint32_t dictionary, const void *value, size_t length,
                            uint8_t *buffer);
static inline void fb_stored_clear(stored_value *stored)
{
    if (stored->heap != NULL)
        free(stored->heap);
}

/* Unpack a private copy of a packed value: exactly prefix->raw_length bytes.
 * False: it is damaged, its dictionary is gone, or no memory. */
bool fb_packed_open(forebay_arena *arena, const packed_prefix *prefix, const uint8_t *packed, uint64_t length, void *to);

/* The value of a packed entry that is held or owned (of one that spans segments:
 * if its slot is the same afterwards), for free().  False as fb_packed_open(). */
typedef struct unpacked_value {
    void *data;
    size_t length;
} unpacked_value;
bool fb_packed_read(forebay_arena *arena, const entry_view *view, unpacked_value *value);

/* The id of the dictionary that the entry needs, whose segment is held or owned. */
uint32_t fb_packed_dictionary(const entry_view *view);

#endif
