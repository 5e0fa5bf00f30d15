/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/packing.h"

#include <string.h>

#include "codec/codec_table.h"

/* The codec, if it can do what is asked with this dictionary. */
static const fb_codec *codec_for(int number, const forebay_codec_dictionary *dictionary)
{
    const fb_codec *codec = fb_codec_at(number);
    return dictionary == NULL || dictionary->codec == codec ? codec : NULL;
}

size_t fb_codec_pack(int number, int level, forebay_codec_dictionary *dictionary, void *to, size_t capacity,
                     const void *from, size_t length)
{
    const fb_codec *codec = codec_for(number, dictionary);
    if (codec == NULL || length == 0 || capacity == 0 || !fb_codec_level_fits(number, level))
        return 0;
    return codec->pack(fb_codec_level(codec, level), dictionary, to, capacity, from, length);
}

bool fb_codec_unpack(int number, forebay_codec_dictionary *dictionary, void *to, size_t raw_length,
                     const void *from, size_t length)
{
    if (length == 0 || raw_length == 0)
        return false;
    if (number == FOREBAY_CODEC_NONE && length == raw_length) {
        memcpy(to, from, length);
        return true;
    }
    const fb_codec *codec = codec_for(number, dictionary);
    return codec != NULL && codec->unpack(dictionary, to, raw_length, from, length);
}
