/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_CHANNEL_H
#define FOREBAY_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <forebay/arena.h>
#include <forebay/cache.h>

FOREBAY_BEGIN

/* A channel: over it other machines tell which keys they changed, and one process of
 * this machine listens and deletes them here.  What the messages are, and how they come,
 * is not the library's matter.  It keeps account of how much was heard: readers of a
 * cache that follows the channel take an entry for missing when nobody has
 * listened for longer than they allow, whoever was killed or stopped, and a cache forgets what it
 * holds when messages may have been lost.
 *
 *     while (forebay_channel_claim(channel, 500, &listener) == FOREBAY_EXISTS) pause;
 *     connect, subscribe;
 *     since = forebay_channel_now(channel);
 *     for (some 100 ms; the other listener may be heard) if (forebay_channel_join(...) == FOREBAY_OK) break;
 *     if (not joined) forebay_channel_begin(channel, &listener);
 *     for (;;) {
 *         sent = forebay_channel_now(channel);
 *         send a ping; delete what the messages name until its answer comes, on the same connection;
 *         if (forebay_channel_beat(channel, &listener, sent) != FOREBAY_OK) break;
 *     }
 *     forebay_channel_leave(channel, &listener);
 *
 * Two processes may listen at once: so one can be killed, stopped or restarted, and
 * nothing is forgotten, as the other has heard all.
 *
 * Any thread may use a handle.  Nothing here waits for another process. */
typedef struct forebay_channel forebay_channel;

/* One of the two who listen.  Plain values; it is the process's that claimed it. */
typedef struct forebay_listener {
    uint64_t reserved[2]; /* private */
} forebay_listener;

/* Open the channel of this name (1 to FOREBAY_NAME_MAX bytes), creating it if there is
 * none.  FOREBAY_FULL: the arena has eight already.  On FOREBAY_OK the caller owns
 * `*channel_out`, to be closed before the arena is; else it is NULL. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_channel_open(forebay_arena *arena, const char *name, forebay_channel **channel_out, forebay_error *error);
/* NULL is fine.  Caches that follow it are to be closed before. */
FOREBAY_API void forebay_channel_close(forebay_channel *channel);
FOREBAY_API const char *forebay_channel_name(const forebay_channel *channel);
/* Forget the channel of this name: for caches that follow it everything is missing.
 * FOREBAY_BUSY: a live process listens.  FOREBAY_MISS: there is none. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status forebay_channel_drop(forebay_arena *arena, const char *name);

/* The arena's time in ms. */
FOREBAY_API uint64_t forebay_channel_now(const forebay_channel *channel);
/* How long ago was the moment of which everything before it was heard?  UINT64_MAX: nothing was. */
FOREBAY_API uint64_t forebay_channel_age(const forebay_channel *channel);

/* Become one of the two.  FOREBAY_EXISTS: there are two.  In place of a dead one it
 * is done at once, in place of one that lives (it may be stopped) if that was not
 * heard for `quiet_ms`.  Let that be more than connecting, subscribing and joining
 * take, or those who try depose one another; who was deposed at that keeps its connection
 * and claims again.  FOREBAY_CLOSED: the channel was dropped. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_channel_claim(forebay_channel *channel, uint64_t quiet_ms, forebay_listener *listener);
/* Who listens since `since_ms` (after the subscription was answered) goes on from what
 * the other one heard: FOREBAY_OK, and caches keep what they hold.  FOREBAY_TIMEOUT: the
 * other was not heard since; try again for a moment.  FOREBAY_MISS: the place is another's by now. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_channel_join(forebay_channel *channel, const forebay_listener *listener, uint64_t since_ms);
/* Does another live process listen, too?  If not, there is nobody to join. */
FOREBAY_API bool forebay_channel_is_shared(const forebay_channel *channel, const forebay_listener *listener);
/* Begin anew: the caches that follow the channel forget what they hold, as what was
 * said before may be unheard.  After the subscription was answered.  FOREBAY_MISS:
 * the place is another's by now. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_channel_begin(forebay_channel *channel, const forebay_listener *listener);
/* Everything that was said before `sent_ms` was heard, and done.  After join or begin
 * only.  FOREBAY_MISS: the place is another's by now; so it is in a child of a fork. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_channel_beat(forebay_channel *channel, const forebay_listener *listener, uint64_t sent_ms);
/* Listen no longer. */
FOREBAY_API void forebay_channel_leave(forebay_channel *channel, const forebay_listener *listener);

/* From now on reads through this handle find nothing while the channel has not been heard
 * for more than `most_behind_ms` (a clock tick, 4 ms or so, more; when the machine slept, that
 * is noticed within a second of its waking); UINT64_MAX: however long, and if nothing was heard at all.
 * (An entry is a hit again when it is heard.)  Writes that look at what is there (add, replace, incr,
 * cas, touch) take it as it is.  The first to follow a channel has the cache forget what it
 * holds.  FOREBAY_CONFLICT: the cache follows another channel, to which a live process listens
 * (one that nobody listens to is dropped).
 * Before the handle is used by anybody. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_cache_follow(forebay_cache *cache, const forebay_channel *channel, uint64_t most_behind_ms);

/* Write the name of the i-th cache that follows the channel; false: there are not so
 * many.  While caches begin to follow, or are dropped, one may be left out or come twice. */
FOREBAY_API bool forebay_channel_follower(const forebay_channel *channel, uint32_t i, char name[FOREBAY_NAME_MAX + 1]);

typedef struct forebay_channel_info {
    char name[FOREBAY_NAME_MAX + 1];
    uint64_t age_ms;    /* as forebay_channel_age() */
    int32_t pids[2];    /* of those who listen; 0: nobody */
} forebay_channel_info;
/* The i-th channel; false: there are not so many. */
FOREBAY_API bool forebay_channel_at(forebay_arena *arena, uint32_t i, forebay_channel_info *info);

FOREBAY_END
#endif
