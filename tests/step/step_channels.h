/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on a channel, and of a cache that follows it, and what the others must
 * find after them. */
#ifndef TESTS_STEP_CHANNELS_H
#define TESTS_STEP_CHANNELS_H

#include "step.h"

/* What these work on, in place of a key: a channel; the table of channels, whose lock the
 * stopped may hold. */
#define STEP_CHANNEL 1000020u
#define STEP_CHANNELS 1000021u
static inline bool step_is_about_channels(const step_operation *operation)
{
    return operation->key == STEP_CHANNEL || operation->key == STEP_CHANNELS;
}

/* Create the channel and the cache that follows it. */
bool step_prepare_channel(forebay_arena *arena);

/* Prepared by the victim.  The one key holds 1, which was right when it was loaded; what the
 * others changed since was not heard. */
bool step_channel_is_silent(forebay_arena *arena, forebay_cache *cache);
bool step_channel_is_claimed(forebay_arena *arena, forebay_cache *cache);
bool step_channel_is_claimed_by_two(forebay_arena *arena, forebay_cache *cache);
bool step_channel_is_listened_to(forebay_arena *arena, forebay_cache *cache);
bool step_news_are_leased(forebay_arena *arena, forebay_cache *cache);
bool step_news_are_not_followed(forebay_arena *arena, forebay_cache *cache);

bool step_do_claim(forebay_arena *arena, forebay_cache *cache);
bool step_do_join(forebay_arena *arena, forebay_cache *cache);
bool step_do_begin(forebay_arena *arena, forebay_cache *cache);
bool step_do_beat(forebay_arena *arena, forebay_cache *cache);
bool step_do_leave_channel(forebay_arena *arena, forebay_cache *cache);
bool step_do_follow(forebay_arena *arena, forebay_cache *cache);
bool step_do_get_news(forebay_arena *arena, forebay_cache *cache);
bool step_do_get_many_news(forebay_arena *arena, forebay_cache *cache);
bool step_do_view_news(forebay_arena *arena, forebay_cache *cache);
bool step_do_store_news(forebay_arena *arena, forebay_cache *cache);
bool step_do_open_channel(forebay_arena *arena, forebay_cache *cache);
bool step_do_make_channel(forebay_arena *arena, forebay_cache *cache);
bool step_do_drop_channel(forebay_arena *arena, forebay_cache *cache);

/* Of the killed nothing is left: both places can be had at once, nobody reads what is old,
 * the channel can be dropped and made anew. */
bool step_channel_lives_on(forebay_arena *arena, const step_operation *operation);
/* While the victim is stopped: two others listen in its place, once it was quiet for long
 * enough, and nobody reads what is old; in turns drop the channel and make another of its record. */
bool step_recycle_channel(forebay_arena *arena, const step_operation *operation);
/* The victim went on and ended: the others still listen, nothing is old, and then step_channel_lives_on(). */
bool step_check_channel_recycled(forebay_arena *arena, const step_operation *operation);

#endif
