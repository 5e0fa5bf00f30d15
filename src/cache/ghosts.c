/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/ghosts.h"

#define TICK_MASK 127u

static ghost_bucket *bucket_of(ghost_table table, uint64_t hash)
{
    return &table.buckets[(uint32_t)((hash >> 32) * table.count >> 32)];
}

static uint32_t load(ghost_bucket *bucket, uint32_t i)
{
    return atomic_load_explicit(&bucket->words[i], memory_order_relaxed);
}

static void store(ghost_bucket *bucket, uint32_t i, uint32_t word)
{
    atomic_store_explicit(&bucket->words[i], word, memory_order_relaxed);
}

static uint32_t mark_of(uint64_t hash)
{
    uint32_t mark = (uint32_t)hash & 0x1fff;
    return mark ? mark : 1;
}

void fb_ghost_put(ghost_table table, uint64_t hash, enum ghost_origin origin, uint32_t score, uint32_t epoch)
{
    if (table.count == 0 || origin == GHOST_NONE)
        return;
    ghost_bucket *bucket = bucket_of(table, hash);
    uint32_t mark = mark_of(hash);
    uint32_t carried = (uint32_t)origin | (score & SCORE_MAX) << 2 | (epoch & 15) << 8
                       | (table.clock >> 8 & TICK_MASK) << 12 | mark << 19;
    for (uint32_t i = 0; i < GHOST_BUCKET; i++) {
        uint32_t word = load(bucket, i);
        store(bucket, i, carried);
        if (word == 0 || word >> 19 == mark)
            return; /* its place is free, the younger ones have moved up */
        carried = word;
    }
}

ghost fb_ghost_take(ghost_table table, uint64_t hash)
{
    if (table.count == 0)
        return (ghost){0};
    ghost_bucket *bucket = bucket_of(table, hash);
    uint32_t mark = mark_of(hash);
    for (uint32_t i = 0; i < GHOST_BUCKET; i++) {
        uint32_t word = load(bucket, i);
        if (word >> 19 != mark)
            continue;
        store(bucket, i, 0);
        uint32_t age = (((table.clock >> 8) - (word >> 12)) & TICK_MASK) << 8 | (table.clock & 255);
        return (ghost){ (enum ghost_origin)(word & 3), age > 128 ? age - 128 : 0, word >> 2 & SCORE_MAX, word >> 8 & 15 };
    }
    return (ghost){0};
}
