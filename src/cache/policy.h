/* SPDX-License-Identifier: Apache-2.0 */
/* What to keep: the constants of seven eviction policies for one engine, the
 * ghosts of dropped keys, and the selector that runs miniatures of each on
 * sampled keys and gives the real cache the best one's constants.
 *
 * State lies in the arena's policy region (arena->policy, geometry.policy_size
 * bytes, all zero is a valid start) and is shared.  Everything here is advice:
 * a lost, late or torn piece costs hits, never a wrong answer, so ghosts are
 * single-word stores and the selector runs under a claim nobody waits for.
 * No content of the region can crash or hang a caller. */
#ifndef FB_POLICY_H
#define FB_POLICY_H

#include "arena/arena_state.h"

enum queue { QUEUE_PROBATION = 0, QUEUE_MAIN = 1 };
enum policy_target { POLICY_DROP, POLICY_TO_PROBATION, POLICY_TO_MAIN };

/* 10 bits kept in an entry's header: score (6), epoch (4). */
typedef uint32_t policy_history;

typedef struct policy_decision {
    enum policy_target target;
    uint32_t frequency;      /* of the copy */
    policy_history history;  /* of the copy */
} policy_decision;

/* Frequency at which hits stop counting (1, 3 or 7). */
uint32_t fb_policy_frequency_max(const forebay_arena *arena);

/* A key that is not in the cache is about to be inserted: where to, with what history. */
enum queue fb_policy_admit(forebay_arena *arena, uint64_t hash, uint32_t units, policy_history *history);

/* The evictor looks at a live entry of `queue`.  Records a ghost when it says POLICY_DROP. */
policy_decision fb_policy_evict(forebay_arena *arena, enum queue queue, uint64_t hash, uint32_t units,
                                uint32_t frequency, policy_history history);

/* Which queue to take the next segment from.  Counts are of segments in use;
 * `available` is how many segments may hold entries. */
enum queue fb_policy_choose(forebay_arena *arena, uint32_t probation, uint32_t main, uint32_t available);
/* The same for a part of the segments: nothing is learnt from the counts. */
enum queue fb_policy_pick(const forebay_arena *arena, uint32_t probation, uint32_t main, uint32_t available);

/* A whole segment of `queue` has been gone through. */
void fb_policy_segment_done(forebay_arena *arena, enum queue queue, uint32_t entries, uint32_t dropped);

/* Is an access to this key sampled?  A load, a compare.  Nothing is while nothing is evicted. */
bool fb_policy_sampled(const forebay_arena *arena, uint64_t hash);
/* Put a sampled access (a get that hit, or missed: `units` is ignored then) in this row's ring.  When the
 * ring is full this runs the policy; if another has the claim, the access is lost. */
void fb_policy_record(forebay_arena *arena, uint64_t hash, uint32_t units, bool hit);
/* Feed this row's ring (at most ROW_SAMPLES accesses) to the miniatures, switch
 * policies if one is better.  Returns at once if another has the claim.  At most
 * a few dozen microseconds.  Nobody need call it: fb_policy_record() does. */
void fb_policy_run(forebay_arena *arena);

#endif
