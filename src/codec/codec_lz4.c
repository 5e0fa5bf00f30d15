/* SPDX-License-Identifier: Apache-2.0 */
#define LZ4F_STATIC_LINKING_ONLY /* frames with a dictionary */
#include <lz4.h>
#include <lz4frame.h>
#include <lz4hc.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec_table.h"
#include "codec/context_pool.h"

#define HC_LEVEL 3                /* the first of LZ4HC, as LZ4F and the command have it */
#define WINDOW ((size_t)64 << 10) /* LZ4 looks back no further */

static void *make_state(void)
{
    return malloc(sizeof(LZ4_stream_t));
}

static void *make_hc_state(void)
{
    return malloc(sizeof(LZ4_streamHC_t)); /* 256 KiB */
}

static fb_context_pool states = { .make = make_state, .end = free };
static fb_context_pool hc_states = { .make = make_hc_state, .end = free };

static void trim(void)
{
    fb_context_pool_clear(&states);
    fb_context_pool_clear(&hc_states);
}

static const char *tail_of(const void *bytes, size_t length)
{
    return (const char *)bytes + (length > WINDOW ? length - WINDOW : 0);
}

static int tail_length(size_t length)
{
    return (int)(length > WINDOW ? WINDOW : length);
}

/* A digest is a stream that has read the dictionary; packing begins with a copy. */
static void *new_write_digest(int level, const void *bytes, size_t length)
{
    void *digest = malloc(level >= HC_LEVEL ? sizeof(LZ4_streamHC_t) : sizeof(LZ4_stream_t));
    if (digest == NULL)
        return NULL;
    if (level >= HC_LEVEL) {
        LZ4_initStreamHC(digest, sizeof(LZ4_streamHC_t));
        LZ4_resetStreamHC_fast(digest, level);
        LZ4_loadDictHC(digest, tail_of(bytes, length), tail_length(length));
    } else {
        LZ4_initStream(digest, sizeof(LZ4_stream_t));
        LZ4_loadDict(digest, tail_of(bytes, length), tail_length(length));
    }
    return digest;
}

static size_t write_digest_memory(int level, const void *digest)
{
    (void)digest;
    return level >= HC_LEVEL ? sizeof(LZ4_streamHC_t) : sizeof(LZ4_stream_t);
}

static void *new_frame_digest(int level, const void *bytes, size_t length)
{
    (void)level;
    return LZ4F_createCDict(tail_of(bytes, length), (size_t)tail_length(length));
}

static void free_frame_digest(void *digest)
{
    LZ4F_freeCDict(digest);
}

static size_t frame_digest_memory(int level, const void *digest)
{
    (void)level;
    (void)digest;
    return WINDOW + sizeof(LZ4_stream_t) + sizeof(LZ4_streamHC_t);
}

static int acceleration(int level)
{
    return level < 0 ? 1 - level : 1; /* as LZ4F has it */
}

static int pack_fast(int level, forebay_codec_dictionary *dictionary, void *to, int capacity,
                     const void *from, int length)
{
    LZ4_stream_t *state = fb_context_take(&states);
    int made = 0;
    if (state != NULL && dictionary == NULL) {
        made = LZ4_compress_fast_extState(state, from, to, length, capacity, acceleration(level));
    } else if (state != NULL) {
        const LZ4_stream_t *digest = fb_dictionary_digest(dictionary, FB_DIGEST_WRITE);
        if (digest != NULL) {
            memcpy(state, digest, sizeof *state);
            made = LZ4_compress_fast_continue(state, from, to, length, capacity, acceleration(level));
        }
    }
    fb_context_give(&states, state);
    return made;
}

static int pack_hc(int level, forebay_codec_dictionary *dictionary, void *to, int capacity, const void *from,
                   int length)
{
    LZ4_streamHC_t *state = fb_context_take(&hc_states);
    int made = 0;
    if (state != NULL && dictionary == NULL) {
        made = LZ4_compress_HC_extStateHC(state, from, to, length, capacity, level);
    } else if (state != NULL) {
        const LZ4_streamHC_t *digest = fb_dictionary_digest(dictionary, FB_DIGEST_WRITE);
        if (digest != NULL) {
            memcpy(state, digest, sizeof *state);
            made = LZ4_compress_HC_continue(state, from, to, length, capacity);
        }
    }
    fb_context_give(&hc_states, state);
    return made;
}

static size_t pack(int level, forebay_codec_dictionary *dictionary, void *to, size_t capacity,
                   const void *from, size_t length)
{
    if (length > LZ4_MAX_INPUT_SIZE)
        return 0;
    int room = capacity > INT_MAX ? INT_MAX : (int)capacity;
    if (dictionary != NULL)
        level = dictionary->level;
    int made = level >= HC_LEVEL ? pack_hc(level, dictionary, to, room, from, (int)length)
                                 : pack_fast(level, dictionary, to, room, from, (int)length);
    return made > 0 ? (size_t)made : 0;
}

static bool unpack(forebay_codec_dictionary *dictionary, void *to, size_t raw_length, const void *from,
                   size_t length)
{
    if (length > INT_MAX || raw_length > INT_MAX)
        return false;
    int made = dictionary == NULL
                   ? LZ4_decompress_safe(from, to, (int)length, (int)raw_length)
                   : LZ4_decompress_safe_usingDict(from, to, (int)length, (int)raw_length,
                                                   tail_of(dictionary->bytes, dictionary->length),
                                                   tail_length(dictionary->length));
    return made >= 0 && (size_t)made == raw_length;
}

static LZ4F_preferences_t preferences(int level, size_t length)
{
    return (LZ4F_preferences_t){
        .frameInfo = { .contentChecksumFlag = LZ4F_contentChecksumEnabled, .contentSize = length },
        .compressionLevel = level,
    };
}

static size_t bound(size_t length)
{
    if (length > PTRDIFF_MAX)
        return 0;
    LZ4F_preferences_t wanted = preferences(0, length);
    return LZ4F_compressFrameBound(length, &wanted);
}

static size_t compress_with_dictionary(forebay_codec_dictionary *dictionary, void *to, size_t capacity,
                                       const void *from, size_t length)
{
    LZ4F_preferences_t wanted = preferences(dictionary->level, length);
    LZ4F_CDict *digest = fb_dictionary_digest(dictionary, FB_DIGEST_WRITE_FRAME);
    LZ4F_cctx *context = NULL;
    if (digest == NULL || LZ4F_isError(LZ4F_createCompressionContext(&context, LZ4F_VERSION)))
        return 0;
    size_t made = LZ4F_compressFrame_usingCDict(context, to, capacity, from, length, digest, &wanted);
    LZ4F_freeCompressionContext(context);
    return LZ4F_isError(made) ? 0 : made;
}

static size_t compress(int level, forebay_codec_dictionary *dictionary, void *to, size_t capacity,
                       const void *from, size_t length)
{
    if (dictionary != NULL)
        return compress_with_dictionary(dictionary, to, capacity, from, length);
    LZ4F_preferences_t wanted = preferences(level, length);
    size_t made = LZ4F_compressFrame(to, capacity, from, length, &wanted);
    return LZ4F_isError(made) ? 0 : made;
}

/* LZ4F_getFrameInfo() wants a context; the place of the size is fixed. */
static uint64_t claimed_size(const void *from, size_t length)
{
    const uint8_t *header = from;
    uint64_t size = 0;
    if (length >= 14 && (header[4] & 0x08) != 0) /* magic, flags, block size, content size */
        memcpy(&size, header + 6, sizeof size);  /* little-endian, as this machine */
    return size;
}

static void *reader_begin(forebay_codec_dictionary *dictionary, size_t max_size)
{
    (void)dictionary;
    (void)max_size;
    LZ4F_dctx *context = NULL;
    return LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)) ? NULL : context;
}

static fb_step reader_step(void *reader, forebay_codec_dictionary *dictionary, fb_codec_flow *flow)
{
    size_t used = flow->left, made = flow->room;
    size_t result = dictionary == NULL
                        ? LZ4F_decompress(reader, flow->to, &made, flow->from, &used, NULL)
                        : LZ4F_decompress_usingDict(reader, flow->to, &made, flow->from, &used,
                                                    tail_of(dictionary->bytes, dictionary->length),
                                                    (size_t)tail_length(dictionary->length), NULL);
    if (LZ4F_isError(result))
        return LZ4F_getErrorCode(result) == LZ4F_ERROR_allocation_failed ? FB_STEP_NOMEM : FB_STEP_DAMAGED;
    flow->from += used;
    flow->left -= used;
    flow->to += made;
    flow->room -= made;
    return result == 0 ? FB_STEP_MEMBER : FB_STEP_MORE;
}

static void reader_end(void *reader)
{
    LZ4F_freeDecompressionContext(reader);
}

const fb_codec fb_codec_lz4 = {
    .info = { .name = "lz4", .least_level = -65536, .most_level = 12, .usual_level = 1, .dictionaries = true },
    .magic = "\x04\x22\x4d\x18",
    .magic_length = 4,
    .pack = pack,
    .unpack = unpack,
    .bound = bound,
    .compress = compress,
    .claimed_size = claimed_size,
    .reader_begin = reader_begin,
    .reader_step = reader_step,
    .reader_end = reader_end,
    .digests = {
        [FB_DIGEST_WRITE] = { new_write_digest, free, write_digest_memory },
        [FB_DIGEST_WRITE_FRAME] = { new_frame_digest, free_frame_digest, frame_digest_memory },
    },
    .trim = trim,
};
