/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "codec/codec_table.h"
#include "codec/packing.h"

forebay_status forebay_codec_dictionary_new(int number, int level, const void *bytes, size_t length,
                                            forebay_codec_dictionary **dictionary_out, forebay_error *error)
{
    *dictionary_out = NULL;
    forebay_status status = fb_codec_check(number, level, error);
    if (status != FOREBAY_OK)
        return status;
    const fb_codec *codec = fb_codec_at(number);
    if (!codec->info.dictionaries)
        return fb_error(error, FOREBAY_INVALID, 0, "%s takes no dictionary", codec->info.name);
    if (length == 0)
        return fb_error(error, FOREBAY_INVALID, 0, "the dictionary is empty");
    if (length > PTRDIFF_MAX)
        return FOREBAY_NOMEM;
    forebay_codec_dictionary *made = calloc(1, sizeof *made + length);
    if (made == NULL)
        return FOREBAY_NOMEM;
    made->codec = codec;
    made->level = fb_codec_level(codec, level);
    made->length = length;
    memcpy(made->bytes, bytes, length);
    errno = 0;
    if (codec->digests[FB_DIGEST_READ].make != NULL && fb_dictionary_digest(made, FB_DIGEST_READ) == NULL) {
        bool no_memory = errno == ENOMEM;
        forebay_codec_dictionary_free(made);
        if (no_memory)
            return FOREBAY_NOMEM;
        return fb_error(error, FOREBAY_INVALID, 0, "the %s dictionary is damaged", codec->info.name);
    }
    *dictionary_out = made;
    return FOREBAY_OK;
}

void forebay_codec_dictionary_free(forebay_codec_dictionary *dictionary)
{
    if (dictionary == NULL)
        return;
    for (int which = 0; which < FB_DIGEST_COUNT; which++) {
        void *digest = atomic_load_explicit(&dictionary->digests[which], memory_order_acquire);
        if (digest != NULL)
            dictionary->codec->digests[which].end(digest);
    }
    free(dictionary);
}

/* Of the threads that make one at once, the first to put it there wins. */
static void *make_digest(forebay_codec_dictionary *dictionary, fb_digest which)
{
    const fb_digest_calls *calls = &dictionary->codec->digests[which];
    if (calls->make == NULL)
        return NULL;
    void *made = calls->make(dictionary->level, dictionary->bytes, dictionary->length);
    if (made == NULL)
        return NULL;
    void *there = NULL;
    if (atomic_compare_exchange_strong_explicit(&dictionary->digests[which], &there, made,
                                                memory_order_acq_rel, memory_order_acquire))
        return made;
    calls->end(made);
    return there;
}

void *fb_dictionary_digest(forebay_codec_dictionary *dictionary, fb_digest which)
{
    void *digest = atomic_load_explicit(&dictionary->digests[which], memory_order_acquire);
    return digest != NULL ? digest : make_digest(dictionary, which);
}

size_t fb_codec_dictionary_memory(forebay_codec_dictionary *dictionary)
{
    size_t memory = sizeof *dictionary + dictionary->length;
    for (int which = 0; which < FB_DIGEST_COUNT; which++) {
        void *digest = atomic_load_explicit(&dictionary->digests[which], memory_order_acquire);
        if (digest != NULL)
            memory += dictionary->codec->digests[which].memory(dictionary->level, digest);
    }
    return memory;
}
