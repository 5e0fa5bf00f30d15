/* SPDX-License-Identifier: Apache-2.0 */
/* Runs: neighbouring segments that hold one value larger than a segment. */
#ifndef FB_RUNS_H
#define FB_RUNS_H

#include "cache/index.h"

/* Claim (WRITING) a run with room for `units`; what lay there is dropped.
 * SEGMENT_NONE: no place for one. */
uint32_t fb_run_acquire(forebay_arena *arena, uint32_t lane, segment_use use, uint64_t units);
/* End the claim: the run is sealed, or freed if nothing was appended. */
void fb_run_release(forebay_arena *arena, uint32_t first);

#endif
