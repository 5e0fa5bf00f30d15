/* SPDX-License-Identifier: Apache-2.0 */
/* What a codec is made of.  Adding one is one file that fills an fb_codec and one
 * row in codec_table.c.  Private to this layer. */
#ifndef FB_CODEC_TABLE_H
#define FB_CODEC_TABLE_H

#include <stdatomic.h>
#include <stdint.h>

#include <forebay/codec.h>

/* What a library makes of a dictionary's bytes.  Made at the first use, by
 * whoever needs it; of two that do so at once one throws its own away. */
typedef enum fb_digest {
    FB_DIGEST_WRITE,       /* to compress */
    FB_DIGEST_READ,        /* to decompress */
    FB_DIGEST_WRITE_FRAME, /* to compress in the standard format, where that differs */
    FB_DIGEST_COUNT
} fb_digest;

typedef struct fb_digest_calls {
    void *(*make)(int level, const void *bytes, size_t length); /* may go on using the bytes; NULL: failed */
    void (*end)(void *digest);
    size_t (*memory)(int level, const void *digest); /* bytes besides the dictionary's */
} fb_digest_calls;

struct fb_codec;
struct forebay_codec_dictionary {
    const struct fb_codec *codec;
    int level;
    _Atomic(void *)
        digests[FB_DIGEST_COUNT]; /* NULL until made; release in fb_dictionary_digest(), its acquire */
    size_t length;
    uint8_t bytes[];
};

/* The digest, made now if it is not there; NULL: no memory, or bad bytes. */
void *fb_dictionary_digest(forebay_codec_dictionary *dictionary, fb_digest which);

/* One step of decompressing: both sides move on. */
typedef struct fb_codec_flow {
    const uint8_t *from;
    size_t left;
    uint8_t *to;
    size_t room;
} fb_codec_flow;

typedef enum fb_step {
    FB_STEP_MORE,   /* all input used, or no room left, or simply call again */
    FB_STEP_MEMBER, /* the end of a whole stream; others may follow */
    FB_STEP_DAMAGED,
    FB_STEP_DICTIONARY, /* wants another dictionary, or one at all */
    FB_STEP_WINDOW,     /* wants more memory than is allowed */
    FB_STEP_NOMEM,
} fb_step;

typedef struct fb_codec {
    forebay_codec_info info;
    const char *magic; /* what the standard format begins with */
    size_t magic_length;

    /* Bare blocks, as fb_codec_pack() and fb_codec_unpack(): lengths are not 0,
     * `level` is one of the codec's, the dictionary NULL or of this codec. */
    size_t (*pack)(int level, forebay_codec_dictionary *dictionary, void *to, size_t capacity,
                   const void *from, size_t length);
    bool (*unpack)(forebay_codec_dictionary *dictionary, void *to, size_t raw_length, const void *from,
                   size_t length);

    /* The standard format.  compress() returns 0 if it failed: out of memory, as
     * the room suffices.  A reader decompresses one input; reader_begin() gives
     * NULL when out of memory. */
    size_t (*bound)(size_t length); /* 0: too long */
    size_t (*compress)(int level, forebay_codec_dictionary *dictionary, void *to, size_t capacity,
                       const void *from, size_t length);
    uint64_t (*claimed_size)(const void *from,
                             size_t length); /* what it says comes out, 0: nothing; NULL: never says */
    void *(*reader_begin)(forebay_codec_dictionary *dictionary, size_t max_size);
    fb_step (*reader_step)(void *reader, forebay_codec_dictionary *dictionary, fb_codec_flow *flow);
    void (*reader_end)(void *reader);

    fb_digest_calls digests[FB_DIGEST_COUNT]; /* make NULL: there is none of that sort */
    void (*trim)(void);                       /* end idle contexts; NULL: there are none */
} fb_codec;

/* Whether so many bytes can be allocated.  Some functions of zstd (seen in 1.5.4:
 * making a CDict, training) use what they asked for without looking whether they
 * got it; so ask before they do. */
bool fb_memory_is_there(size_t bytes);

extern const fb_codec fb_codec_zstd;
extern const fb_codec fb_codec_lz4;
extern const fb_codec fb_codec_gzip;
extern const fb_codec fb_codec_bz2;
extern const fb_codec fb_codec_lzma;

/* NULL: there is none of that number, or it is FOREBAY_CODEC_NONE. */
const fb_codec *fb_codec_at(int number);
/* The level meant: the usual one for FOREBAY_CODEC_USUAL_LEVEL. */
int fb_codec_level(const fb_codec *codec, int level);
/* FOREBAY_INVALID with a message unless both are known. */
forebay_status fb_codec_check(int number, int level, forebay_error *error);

#endif
