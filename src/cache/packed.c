/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/packed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/copy.h"

#define FIRST_CODEC 7u
#define FIRST_LENGTH_SHIFT 3
#define FIRST_HAS_DICTIONARY 0x20u
#define FIRST_UNUSED 0xc0u
#define DICTIONARY_ID_SIZE 3u
#define AUTO_CODEC FOREBAY_CODEC_ZSTD
#define LEVEL_BIAS 64

/* ---- the option ---- */

packing fb_packing_of(uint32_t stored)
{
    packing how = {.codec = FOREBAY_CODEC_NONE};
    if ((stored & 3) == CODEC_AUTO) {
        how = (packing){.codec = AUTO_CODEC, .level = forebay_codec_get(AUTO_CODEC)->usual_level, .is_auto = true};
    } else if ((stored & 3) == CODEC_NAMED && forebay_codec_get((int)(stored >> 4 & 0xf)) != NULL) {
        how.codec = (int)(stored >> 4 & 0xf);
        how.level = (int)(stored >> 8 & 0xff) - LEVEL_BIAS;
        if (!fb_codec_level_fits(how.codec, how.level)) /* damaged */
            how.level = forebay_codec_get(how.codec)->usual_level;
    }
    how.has_dictionaries = how.codec != FOREBAY_CODEC_NONE && forebay_codec_get(how.codec)->dictionaries;
    return how;
}

void fb_packing_note(arena_cache *record, bool fits)
{
    uint32_t misfits = atomic_load_explicit(&record->misfits, memory_order_relaxed);
    if (fits && misfits != 0)
        atomic_store_explicit(&record->misfits, 0, memory_order_relaxed);
    else if (!fits && misfits < MISFITS_MANY) /* what others count meanwhile may be lost */
        atomic_store_explicit(&record->misfits, misfits + 1, memory_order_relaxed);
}

bool fb_packing_parse(const char *text, uint32_t *stored)
{
    char name[16];
    const char *colon = strchr(text, ':');
    size_t length = colon != NULL ? (size_t)(colon - text) : strlen(text);
    if (strcmp(text, "auto") == 0 || strcmp(text, "none") == 0) {
        *stored = text[0] == 'a' ? CODEC_AUTO : CODEC_NONE;
        return true;
    }
    if (length == 0 || length >= sizeof name)
        return false;
    memcpy(name, text, length);
    name[length] = '\0';
    int codec = forebay_codec_find(name);
    if (codec <= FOREBAY_CODEC_NONE)
        return false;
    char *end = NULL;
    long level = colon != NULL ? strtol(colon + 1, &end, 10) : forebay_codec_get(codec)->usual_level;
    if (colon != NULL && (end == colon + 1 || *end != '\0'))
        return false;
    if (level < -LEVEL_BIAS || level >= LEVEL_BIAS || !fb_codec_level_fits(codec, (int)level))
        return false;
    *stored = CODEC_NAMED | (uint32_t)codec << 4 | (uint32_t)(level + LEVEL_BIAS) << 8;
    return true;
}

void fb_packing_text(uint32_t stored, char text[32])
{
    packing how = fb_packing_of(stored);
    if (how.is_auto || how.codec == FOREBAY_CODEC_NONE)
        snprintf(text, 32, "%s", how.is_auto ? "auto" : "none");
    else if (how.level == forebay_codec_get(how.codec)->usual_level)
        snprintf(text, 32, "%s", forebay_codec_get(how.codec)->name);
    else
        snprintf(text, 32, "%s:%d", forebay_codec_get(how.codec)->name, how.level);
}

/* ---- packed bytes ---- */

static uint32_t bytes_of_length(uint64_t length)
{
    return length < 1u << 8 ? 1 : length < 1u << 16 ? 2 : length < 1u << 24 ? 3 : 4;
}

bool fb_packed_prefix(const uint8_t *packed, uint64_t length, packed_prefix *prefix)
{
    if (length == 0)
        return false;
    uint8_t first = packed[0];
    uint32_t length_size = (uint32_t)(first >> FIRST_LENGTH_SHIFT & 3) + 1;
    uint32_t id_size = first & FIRST_HAS_DICTIONARY ? DICTIONARY_ID_SIZE : 0;
    *prefix = (packed_prefix){.codec = first & FIRST_CODEC, .size = 1 + length_size + id_size};
    if ((first & FIRST_UNUSED) != 0 || forebay_codec_get(prefix->codec) == NULL || length < prefix->size)
        return false;
    memcpy(&prefix->raw_length, packed + 1, length_size);
    memcpy(&prefix->dictionary, packed + 1 + length_size, id_size);
    return id_size == 0 || prefix->dictionary != DICTIONARY_NONE;
}

static uint32_t write_prefix(uint8_t *to, int codec, uint32_t dictionary, uint64_t raw_length)
{
    uint32_t length_size = bytes_of_length(raw_length), id_size = dictionary != DICTIONARY_NONE ? DICTIONARY_ID_SIZE : 0;
    to[0] = (uint8_t)((uint32_t)codec | (length_size - 1) << FIRST_LENGTH_SHIFT | (id_size != 0 ? FIRST_HAS_DICTIONARY : 0));
    memcpy(to + 1, &raw_length, length_size);
    memcpy(to + 1 + length_size, &dictionary, id_size);
    return 1 + length_size + id_size;
}

stored_value fb_stored_make(forebay_arena *arena, const packing *how, uint32_t dictionary, const void *value, size_t length,
                            uint8_t *buffer)
{
    stored_value stored = {.data = value, .length = length, .buffer = buffer};
    size_t capacity = length - length / 8;
    uint8_t *to = buffer;
    if (capacity > PACKED_BUFFER) {
        to = stored.heap = malloc(capacity);
        if (to == NULL)
            return stored;
    }
    forebay_codec_dictionary *digested = fb_dictionary_acquire(arena, dictionary);
    uint32_t prefix = write_prefix(to, how->codec, digested != NULL ? dictionary : DICTIONARY_NONE, length);
    size_t packed = fb_codec_pack(how->codec, how->level, digested, to + prefix, capacity - prefix, value, length);
    if (digested != NULL)
        fb_dictionary_release(arena, dictionary);
    if (packed != 0) {
        stored.data = to;
        stored.length = prefix + packed;
        stored.dictionary = digested != NULL ? dictionary : DICTIONARY_NONE;
        stored.packed = true;
    }
    return stored;
}

bool fb_packed_open(forebay_arena *arena, const packed_prefix *prefix, const uint8_t *packed, uint64_t length, void *to)
{
    forebay_codec_dictionary *digested = NULL;
    if (prefix->dictionary != DICTIONARY_NONE) {
        digested = fb_dictionary_acquire(arena, prefix->dictionary);
        if (digested == NULL)
            return false;
    }
    bool whole = fb_codec_unpack(prefix->codec, digested, to, prefix->raw_length, packed + prefix->size,
                                 length - prefix->size);
    if (digested != NULL)
        fb_dictionary_release(arena, prefix->dictionary);
    return whole;
}

bool fb_packed_read(forebay_arena *arena, const entry_view *view, unpacked_value *value)
{
    packed_prefix prefix;
    uint8_t *copy = malloc(view->value_length + 1);
    *value = (unpacked_value){0};
    if (copy == NULL)
        return false;
    fb_copy_out(copy, view->value, view->value_length);
    if (fb_packed_prefix(copy, view->value_length, &prefix) && prefix.raw_length <= arena->max_entry) {
        value->length = prefix.raw_length;
        value->data = malloc(value->length + 1);
        if (value->data != NULL && !fb_packed_open(arena, &prefix, copy, view->value_length, value->data)) {
            free(value->data);
            value->data = NULL;
        }
    }
    free(copy);
    return value->data != NULL;
}

uint32_t fb_packed_dictionary(const entry_view *view)
{
    uint8_t first[PACKED_PREFIX_MAX];
    packed_prefix prefix;
    uint64_t length = view->value_length < sizeof first ? view->value_length : sizeof first;
    if (!(view->header & ENTRY_PACKED))
        return DICTIONARY_NONE;
    fb_copy_out(first, view->value, length);
    return fb_packed_prefix(first, length, &prefix) ? prefix.dictionary : DICTIONARY_NONE;
}
