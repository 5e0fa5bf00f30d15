/* SPDX-License-Identifier: Apache-2.0 */
/* Channels: what their files share.  docs/internals/concurrency.md is the protocol. */
#ifndef FB_CHANNELS_H
#define FB_CHANNELS_H

#include "arena/arena_clock.h"
#include "arena/arena_state.h"

/* What a listener heard: a word. */
#define HEARD_CLAIM_SHIFT 40
#define HEARD_MS_MASK ((UINT64_C(1) << HEARD_CLAIM_SHIFT) - 1)
#define HEARD_NOBODY 0xfffu /* for a row */
/* Clocks of two processors, and of a process that read it before another did, differ by a tick. */
#define HEARD_AHEAD_MS 1000u

static inline uint64_t fb_heard_ms(uint64_t word) { return word & HEARD_MS_MASK; }
static inline uint32_t fb_heard_row(uint64_t word) { return (uint32_t)(word >> 52); }
/* The same of two words: they are of one claim. */
static inline uint64_t fb_heard_claim(uint64_t word) { return word >> HEARD_CLAIM_SHIFT; }
/* After `word`: of another claim, by this row, which has heard up to `ms`. */
static inline uint64_t fb_heard_next(uint64_t word, uint32_t row, uint64_t ms)
{
    return (uint64_t)row << 52 | ((fb_heard_claim(word) + 1) & 0xfff) << HEARD_CLAIM_SHIFT | ms;
}

/* How long ago was the moment?  UINT64_MAX: it is none, or cannot be. */
static inline uint64_t fb_heard_age(uint64_t ms, uint64_t now)
{
    if (ms <= now)
        return ms != 0 ? now - ms : UINT64_MAX;
    return ms - now <= HEARD_AHEAD_MS ? 0 : UINT64_MAX;
}

/* The later of the two moments; one that cannot be does not hide the other. */
static inline uint64_t fb_channel_age(const arena_channel *channel, uint64_t now)
{
    /* acquire: what was invalidated before the word was stored is seen to be */
    uint64_t a = fb_heard_age(fb_heard_ms(atomic_load_explicit(&channel->heard[0], memory_order_acquire)), now);
    uint64_t b = fb_heard_age(fb_heard_ms(atomic_load_explicit(&channel->heard[1], memory_order_acquire)), now);
    return a < b ? a : b;
}

/* Is the moment of one that listens from `least` to `most`? */
static inline bool fb_heard_is_within(const _Atomic uint64_t *heard, uint64_t least, uint64_t most)
{
    /* acquire: what was invalidated before the word was stored is seen to be */
    return fb_heard_ms(atomic_load_explicit(heard, memory_order_acquire)) - least <= most - least;
}

/* Was it, as it was opened, heard at most so long ago?  fb_channel_age() with fewer
 * instructions, as each hit asks: moments that count are one range. */
static inline bool fb_channel_is_heard(const arena_channel *channel, uint64_t word, uint64_t now, uint64_t most_behind_ms)
{
    uint64_t least = now > most_behind_ms ? now - most_behind_ms : 1; /* 0 is no moment */
    uint64_t most = now + HEARD_AHEAD_MS;
    return (fb_heard_is_within(&channel->heard[0], least, most) || fb_heard_is_within(&channel->heard[1], least, most)
            || most_behind_ms == UINT64_MAX) /* nothing heard is enough for who asks for nothing */
           && atomic_load_explicit(&channel->word, memory_order_relaxed) == word;
}

/* What a cache's record says of the channel that its entries follow: low half of
 * the channel's word << 32 | its number + 1.  While a cache is about to follow, and
 * after somebody was killed at that: that | MARK_BEGUN | generation of the cache << 8. */
#define MARK_BEGUN UINT64_C(0x80)
#define MARK_GENERATION_SHIFT 8
static inline uint64_t fb_channel_mark(uint64_t word, uint32_t number) { return word << 32 | (number + 1); }
static inline uint64_t fb_mark_begun(uint64_t mark, uint32_t generation)
{
    return mark | MARK_BEGUN | (uint64_t)(generation & 0xffffff) << MARK_GENERATION_SHIFT;
}
/* Without what says that it is only begun. */
static inline uint64_t fb_mark_of(uint64_t stored) { return stored & ~UINT64_C(0xffffff80); }

/* Clear all caches that follow the channel with this mark: cache_table.c. */
void fb_caches_forget(forebay_arena *arena, uint64_t mark);

/* The name of the i-th cache that follows it; false: there are not so many. */
bool fb_caches_follower(const forebay_arena *arena, uint64_t mark, uint32_t i, char *name);

/* What is wrong in the table, or NULL. */
const char *fb_channels_inspect(const forebay_arena *arena);
/* After a reboot, alone: nobody listens, nothing was heard. */
void fb_channels_clear(forebay_arena *arena);

#endif
