/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FB_HASH_H
#define FB_HASH_H

#include <stddef.h>
#include <stdint.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/copy.h"

/* XXH3, 64 bits (Yann Collet, xxHash 0.8), seeded. */
static inline uint64_t fb_hash(const void *data, size_t length, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, length, seed);
}

/* The same of memory that another process may be writing: the caller checks
 * afterwards that nothing was, as after fb_copy_out(). */
static inline uint64_t fb_hash_shared(const void *data, size_t length, uint64_t seed)
{
#ifdef FB_TSAN
    XXH3_state_t state;
    uint8_t part[256];
    (void)XXH3_64bits_reset_withSeed(&state, seed);
    for (size_t at = 0, n; at < length; at += n) {
        n = length - at < sizeof part ? length - at : sizeof part;
        fb_copy_out(part, (const uint8_t *)data + at, n);
        (void)XXH3_64bits_update(&state, part, n);
    }
    return XXH3_64bits_digest(&state);
#else
    return fb_hash(data, length, seed);
#endif
}

#endif
