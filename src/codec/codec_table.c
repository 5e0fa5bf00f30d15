/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/codec_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "codec/packing.h"

/* By number: places are stored in arenas. */
static const fb_codec *const TABLE[] = {
    [FOREBAY_CODEC_NONE] = NULL,         [FOREBAY_CODEC_ZSTD] = &fb_codec_zstd,
    [FOREBAY_CODEC_LZ4] = &fb_codec_lz4, [FOREBAY_CODEC_GZIP] = &fb_codec_gzip,
    [FOREBAY_CODEC_BZ2] = &fb_codec_bz2, [FOREBAY_CODEC_LZMA] = &fb_codec_lzma,
};
#define TABLE_LENGTH ((int)(sizeof TABLE / sizeof TABLE[0]))

const fb_codec *fb_codec_at(int number)
{
    return number > 0 && number < TABLE_LENGTH ? TABLE[number] : NULL;
}

const forebay_codec_info *forebay_codec_get(int number)
{
    const fb_codec *codec = fb_codec_at(number);
    return codec != NULL ? &codec->info : NULL;
}

int forebay_codec_find(const char *name)
{
    for (int number = 1; number < TABLE_LENGTH; number++) {
        if (strcmp(TABLE[number]->info.name, name) == 0)
            return number;
    }
    return -1;
}

int forebay_codec_recognise(const void *data, size_t length)
{
    for (int number = 1; number < TABLE_LENGTH; number++) {
        const fb_codec *codec = TABLE[number];
        if (length >= codec->magic_length && memcmp(data, codec->magic, codec->magic_length) == 0)
            return number;
    }
    return -1;
}

bool fb_memory_is_there(size_t bytes)
{
    void *volatile block = malloc(bytes); /* volatile: or compilers leave both calls out */
    free(block);
    return block != NULL;
}

static bool level_fits(const fb_codec *codec, int level)
{
    return level == FOREBAY_CODEC_USUAL_LEVEL
           || (level >= codec->info.least_level && level <= codec->info.most_level);
}

bool fb_codec_level_fits(int number, int level)
{
    const fb_codec *codec = fb_codec_at(number);
    return codec != NULL && level_fits(codec, level);
}

int fb_codec_level(const fb_codec *codec, int level)
{
    return level == FOREBAY_CODEC_USUAL_LEVEL ? codec->info.usual_level : level;
}

forebay_status fb_codec_check(int number, int level, forebay_error *error)
{
    const fb_codec *codec = fb_codec_at(number);
    if (codec == NULL)
        return fb_error(error, FOREBAY_INVALID, 0, "there is no codec number %d", number);
    if (!level_fits(codec, level))
        return fb_error(error, FOREBAY_INVALID, 0, "%s has the levels %d to %d, not %d", codec->info.name,
                        codec->info.least_level, codec->info.most_level, level);
    return FOREBAY_OK;
}

/* Also what ends them at exit and when the library is unloaded: other threads
 * may still be running then, but what they took is not here. */
__attribute__((destructor)) void fb_codec_trim(void)
{
    for (int number = 1; number < TABLE_LENGTH; number++) {
        if (TABLE[number]->trim != NULL)
            TABLE[number]->trim();
    }
}
