/* SPDX-License-Identifier: Apache-2.0 */
/* Values of a cache, copied out of the arena to train a dictionary from. */
#ifndef FB_SAMPLES_H
#define FB_SAMPLES_H

#include "cache/cache_state.h"

typedef struct value_samples {
    uint8_t *bytes;   /* one after another */
    size_t *lengths;
    size_t count, total;
    size_t room, count_room; /* of both, in bytes and numbers */
} value_samples;

/* One value in so many is not to train from, but to try the dictionary on. */
#define SAMPLES_TRIED_EVERY 8u

/* Up to about `wanted` bytes of what the cache of this tag holds, from segments all
 * over the arena, unpacked: to `train` and, some of them, to `tried`.  False: no
 * memory.  Ends early once `*cancelled` (NULL: never).  End both with fb_samples_clear(). */
bool fb_samples_take(forebay_arena *arena, uint32_t cache_tag, size_t wanted, const _Atomic bool *cancelled, value_samples *train,
                     value_samples *tried);
void fb_samples_clear(value_samples *samples);

#endif
