/* SPDX-License-Identifier: Apache-2.0 */
#define ZSTD_STATIC_LINKING_ONLY /* frames without a magic number; digests that refer to the bytes */
#include <zstd.h>
#include <zstd_errors.h>

#include "codec/codec_table.h"
#include "codec/context_pool.h"

/* Contexts for bare blocks and for frames differ in parameters that stay set. */
static void *make_packer(void)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();
    if (context == NULL)
        return NULL;
    ZSTD_CCtx_setParameter(context, ZSTD_c_format, ZSTD_f_zstd1_magicless);
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
    ZSTD_CCtx_setParameter(context, ZSTD_c_dictIDFlag, 0);
    return context;
}

static void *make_writer(void)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();
    if (context != NULL)
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
    return context;
}

static void *make_unpacker(void)
{
    ZSTD_DCtx *context = ZSTD_createDCtx();
    if (context != NULL)
        ZSTD_DCtx_setParameter(context, ZSTD_d_format, ZSTD_f_zstd1_magicless);
    return context;
}

static void *make_reader(void)
{
    return ZSTD_createDCtx();
}

static void end_compressor(void *context)
{
    ZSTD_freeCCtx(context);
}

static void end_decompressor(void *context)
{
    ZSTD_freeDCtx(context);
}

static size_t compressor_memory(const void *context)
{
    return ZSTD_sizeof_CCtx(context);
}

static size_t decompressor_memory(const void *context)
{
    return ZSTD_sizeof_DCtx(context);
}

static fb_context_pool packers = { .make = make_packer, .end = end_compressor, .memory = compressor_memory };
static fb_context_pool writers = { .make = make_writer, .end = end_compressor, .memory = compressor_memory };
static fb_context_pool unpackers = { .make = make_unpacker,
                                     .end = end_decompressor,
                                     .memory = decompressor_memory };
static fb_context_pool readers = { .make = make_reader,
                                   .end = end_decompressor,
                                   .memory = decompressor_memory };

static void trim(void)
{
    fb_context_pool_clear(&packers);
    fb_context_pool_clear(&writers);
    fb_context_pool_clear(&unpackers);
    fb_context_pool_clear(&readers);
}

static void *new_write_digest(int level, const void *bytes, size_t length)
{
    if (!fb_memory_is_there(ZSTD_estimateCDictSize(length, level) + length))
        return NULL;
    return ZSTD_createCDict_byReference(bytes, length, level);
}

static void free_write_digest(void *digest)
{
    ZSTD_freeCDict(digest);
}

static size_t write_digest_memory(int level, const void *digest)
{
    (void)level;
    return ZSTD_sizeof_CDict(digest);
}

static void *new_read_digest(int level, const void *bytes, size_t length)
{
    (void)level;
    return ZSTD_createDDict_byReference(bytes, length);
}

static void free_read_digest(void *digest)
{
    ZSTD_freeDDict(digest);
}

static size_t read_digest_memory(int level, const void *digest)
{
    (void)level;
    return ZSTD_sizeof_DDict(digest);
}

/* The dictionary a context used before is forgotten even if there is none now:
 * it may have been freed since. */
static bool set_writing(ZSTD_CCtx *context, int level, forebay_codec_dictionary *dictionary)
{
    if (dictionary == NULL) {
        ZSTD_CCtx_refCDict(context, NULL);
        return !ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level));
    }
    ZSTD_CDict *digest = fb_dictionary_digest(dictionary, FB_DIGEST_WRITE);
    return digest != NULL && !ZSTD_isError(ZSTD_CCtx_refCDict(context, digest));
}

static bool set_reading(ZSTD_DCtx *context, forebay_codec_dictionary *dictionary)
{
    ZSTD_DDict *digest = NULL;
    if (dictionary != NULL && (digest = fb_dictionary_digest(dictionary, FB_DIGEST_READ)) == NULL)
        return false;
    return !ZSTD_isError(ZSTD_DCtx_refDDict(context, digest));
}

static size_t compress_with(fb_context_pool *pool, int level, forebay_codec_dictionary *dictionary, void *to,
                            size_t capacity, const void *from, size_t length)
{
    ZSTD_CCtx *context = fb_context_take(pool);
    if (context == NULL)
        return 0;
    size_t made = 0;
    if (set_writing(context, level, dictionary)) {
        made = ZSTD_compress2(context, to, capacity, from, length);
        if (ZSTD_isError(made)) {
            ZSTD_CCtx_reset(context, ZSTD_reset_session_only); /* or it takes no parameters any more */
            made = 0;
        }
    }
    fb_context_give(pool, context);
    return made;
}

static size_t pack(int level, forebay_codec_dictionary *dictionary, void *to, size_t capacity,
                   const void *from, size_t length)
{
    return compress_with(&packers, level, dictionary, to, capacity, from, length);
}

static bool unpack(forebay_codec_dictionary *dictionary, void *to, size_t raw_length, const void *from,
                   size_t length)
{
    ZSTD_DCtx *context = fb_context_take(&unpackers);
    if (context == NULL)
        return false;
    bool good = set_reading(context, dictionary)
                && ZSTD_decompressDCtx(context, to, raw_length, from, length) == raw_length;
    fb_context_give(&unpackers, context);
    return good;
}

static size_t bound(size_t length)
{
    size_t most = ZSTD_compressBound(length);
    return ZSTD_isError(most) ? 0 : most;
}

static size_t compress(int level, forebay_codec_dictionary *dictionary, void *to, size_t capacity,
                       const void *from, size_t length)
{
    return compress_with(&writers, level, dictionary, to, capacity, from, length);
}

static uint64_t claimed_size(const void *from, size_t length)
{
    unsigned long long size = ZSTD_getFrameContentSize(from, length);
    return size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR ? 0 : size;
}

static void *reader_begin(forebay_codec_dictionary *dictionary, size_t max_size)
{
    (void)max_size;
    ZSTD_DCtx *context = fb_context_take(&readers);
    if (context != NULL && !set_reading(context, dictionary)) {
        fb_context_give(&readers, context);
        return NULL;
    }
    return context;
}

static fb_step outcome(size_t result)
{
    switch (ZSTD_getErrorCode(result)) {
    case ZSTD_error_no_error:
        return result == 0 ? FB_STEP_MEMBER : FB_STEP_MORE;
    case ZSTD_error_dictionary_wrong:
        return FB_STEP_DICTIONARY;
    case ZSTD_error_frameParameter_windowTooLarge:
        return FB_STEP_WINDOW;
    case ZSTD_error_memory_allocation:
        return FB_STEP_NOMEM;
    default:
        return FB_STEP_DAMAGED;
    }
}

static fb_step reader_step(void *reader, forebay_codec_dictionary *dictionary, fb_codec_flow *flow)
{
    (void)dictionary;
    ZSTD_inBuffer in = { flow->from, flow->left, 0 };
    ZSTD_outBuffer out = { flow->to, flow->room, 0 };
    size_t result = ZSTD_decompressStream(reader, &out, &in);
    flow->from += in.pos;
    flow->left -= in.pos;
    flow->to += out.pos;
    flow->room -= out.pos;
    return outcome(result);
}

static void reader_end(void *reader)
{
    ZSTD_DCtx_reset(reader, ZSTD_reset_session_only);
    fb_context_give(&readers, reader);
}

const fb_codec fb_codec_zstd = {
    .info = { .name = "zstd", .least_level = -131072, .most_level = 22, .usual_level = 3, .dictionaries = true },
    .magic = "\x28\xb5\x2f\xfd",
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
        [FB_DIGEST_WRITE] = { new_write_digest, free_write_digest, write_digest_memory },
        [FB_DIGEST_READ] = { new_read_digest, free_read_digest, read_digest_memory },
    },
    .trim = trim,
};
