/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FB_HASH_H
#define FB_HASH_H

#include <stddef.h>
#include <stdint.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* XXH3, 64 bits (Yann Collet, xxHash 0.8), seeded. */
static inline uint64_t fb_hash(const void *data, size_t length, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, length, seed);
}

#endif
