/* SPDX-License-Identifier: Apache-2.0 */
/* Making the dictionaries that caches pack with: when one is due, by whom, from
 * what.  One process of the machine trains for a cache at a time, in a thread of
 * its own that lives as long as that takes. */
#ifndef FB_TRAINER_H
#define FB_TRAINER_H

#include "cache/cache_state.h"

/* A value of `length` bytes was set that packing is for, and takes `stored`: now
 * and then that makes a dictionary due.  No lane is held. */
void fb_training_note(forebay_cache *cache, size_t length, size_t stored);

/* The cache packs otherwise from now on, or is another's: its dictionary is no more
 * for new entries. */
void fb_training_forget(arena_cache *record);

/* Wait for the background thread while it uses the arena; then it is on its own. */
void fb_training_end(forebay_arena *arena);

#endif
