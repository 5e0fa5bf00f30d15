/* SPDX-License-Identifier: Apache-2.0 */
/* Bare blocks: the smallest form of a value, for entries whose codec, dictionary
 * and raw length are written down elsewhere.  Nothing in a block says what it is,
 * and most have no checksum.  The forms:
 *
 *   zstd  a frame without magic number, content size, checksum and dictionary id
 *   lz4   an LZ4 block
 *   gzip  a raw deflate stream
 *   bz2   a bzip2 stream
 *   lzma  a raw LZMA2 stream
 *
 * Numbers of codecs, names and levels: forebay/codec.h.
 *
 * Threads: any, for every function; processes: safe after fork(). */
#ifndef FB_PACKING_H
#define FB_PACKING_H

#include <forebay/codec.h>

/* Whether `level` is one of the codec's (FOREBAY_CODEC_USUAL_LEVEL is). */
bool fb_codec_level_fits(int codec, int level);

/* Bytes that a dictionary takes now; more after its first use. */
size_t fb_codec_dictionary_memory(forebay_codec_dictionary *dictionary);

/* Compress into at most `capacity` bytes: how many it took; 0 if they do not
 * suffice or memory does not, or if there is nothing to compress.  A capacity
 * below `length` finds out early that a value is not worth compressing.  With a
 * dictionary (NULL: none), which must be of the same codec, its level counts. */
size_t fb_codec_pack(int codec, int level, forebay_codec_dictionary *dictionary, void *to, size_t capacity,
                     const void *from, size_t length);

/* The reverse: true if exactly `raw_length` bytes came out and all of `from` was
 * used; else `to` holds anything.  `from` may be hostile: nothing outside of the
 * two blocks is touched, memory is bounded by what the codec needs for
 * `raw_length`.  With another dictionary than the one it was packed with: false,
 * or true with wrong bytes. */
bool fb_codec_unpack(int codec, forebay_codec_dictionary *dictionary, void *to, size_t raw_length,
                     const void *from, size_t length);

/* End all idle contexts (memory pressure; leak checks).  Done at exit and unload. */
void fb_codec_trim(void);

#endif
