/* SPDX-License-Identifier: Apache-2.0 */
/* Compression in the formats that others read and write too: zstd frames, LZ4
 * frames, gzip (RFC 1952), bzip2, xz. */
#ifndef FOREBAY_CODEC_H
#define FOREBAY_CODEC_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include <forebay/export.h>
#include <forebay/status.h>

FOREBAY_BEGIN

/* Numbers are stored in arenas: they stay. */
typedef enum forebay_codec {
    FOREBAY_CODEC_NONE = 0, /* bytes as they are; no format of its own */
    FOREBAY_CODEC_ZSTD = 1,
    FOREBAY_CODEC_LZ4 = 2,
    FOREBAY_CODEC_GZIP = 3,
    FOREBAY_CODEC_BZ2 = 4,
    FOREBAY_CODEC_LZMA = 5,
} forebay_codec;

typedef struct forebay_codec_info {
    const char *name;
    int least_level, most_level, usual_level;
    bool dictionaries; /* whether it takes them */
} forebay_codec_info;

/* What there is to know of a codec; static; NULL for a number that is none (0
 * too).  Numbers go up from 1 without a gap. */
FOREBAY_API const forebay_codec_info *forebay_codec_get(int codec);
/* The number of a name ("zstd"); -1: there is none of that name. */
FOREBAY_API int forebay_codec_find(const char *name);
/* The codec whose format begins with these bytes; -1: none. */
FOREBAY_API int forebay_codec_recognise(const void *data, size_t length);

#define FOREBAY_CODEC_USUAL_LEVEL INT_MIN /* as a level: the codec's usual one */

/* A dictionary: bytes that values have in common, and what a codec makes of
 * them, which it does at the first use.
 *
 * Threads: any number may use one at once; freeing it must be the last call.
 * Processes: the child of a fork() has its own copy. */
typedef struct forebay_codec_dictionary forebay_codec_dictionary;

/* Any bytes will do; those of forebay_codec_train() are best.  lz4 uses the last
 * 64 KiB.  `level` is that of what is compressed with it.  The bytes are copied.
 * FOREBAY_INVALID: unknown codec or level, a codec without dictionaries, or no
 * bytes. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_codec_dictionary_new(int codec, int level, const void *bytes, size_t length,
                             forebay_codec_dictionary **dictionary_out, forebay_error *error);
/* NULL is ignored. */
FOREBAY_API void forebay_codec_dictionary_free(forebay_codec_dictionary *dictionary);

/* Bytes that suffice for what forebay_codec_compress() makes of `length` bytes.
 * 0: unknown codec, or more than a codec can take. */
FOREBAY_API size_t forebay_codec_bound(int codec, size_t length);

/* Compress into `to`, which must have forebay_codec_bound() bytes.  With a
 * dictionary (NULL: none), which must be of the same codec, its level counts and
 * `level` does not.  FOREBAY_INVALID: unknown codec or level, or too little room. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_codec_compress(int codec, int level, forebay_codec_dictionary *dictionary, void *to, size_t capacity,
                       size_t *to_length, const void *from, size_t length, forebay_error *error);

/* Decompress all of `from`: one stream or several, one after another, and nothing
 * else.  Allocates little more than what comes out, and never more than `max_size`
 * plus what the format's window needs (zstd: 128 MiB; xz: max_size and 128 MiB).
 *
 * On FOREBAY_OK the caller owns `*to_out` (never NULL) and ends it with free().
 * FOREBAY_TOOBIG: more than `max_size` bytes would come out.  FOREBAY_CORRUPT: the
 * bytes are damaged, cut off, of another format, or want another dictionary. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_codec_decompress(int codec, forebay_codec_dictionary *dictionary, const void *from, size_t length,
                         size_t max_size, void **to_out, size_t *to_length, forebay_error *error);

#define FOREBAY_DICTIONARY_MIN_SIZE 1024u           /* bytes; less is not worth its place */
#define FOREBAY_DICTIONARY_MAX_SIZE (1024u * 1024u) /* more has never helped */
#define FOREBAY_DICTIONARY_USUAL_SIZE (110u * 1024u)

/* Train a dictionary (of zstd's format; lz4 takes it too) of at most `capacity`
 * bytes from `count` samples that lie one after another: values as they are going
 * to be compressed, twenty times as many bytes as the dictionary is to have, or
 * fewer.  Takes about 20 ms for each MiB.
 *
 * FOREBAY_INVALID: `capacity` out of the range above, or samples that are too
 * few, too short or have nothing to train from; nothing was written that counts. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_codec_train(void *to, size_t capacity, size_t *to_length, const void *samples, const size_t *lengths,
                    size_t count, forebay_error *error);

FOREBAY_END
#endif
