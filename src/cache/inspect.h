/* SPDX-License-Identifier: Apache-2.0 */
/* What a sound arena looks like, piece by piece; for verify and recovery. */
#ifndef FB_INSPECT_H
#define FB_INSPECT_H

#include "cache/index.h"

/* NULL if sound, else what is wrong.  Looks only: no claims, no holds. */
const char *fb_inspect_geometry(const forebay_arena *arena);
const char *fb_inspect_segment(const forebay_arena *arena, uint32_t segment);
const char *fb_inspect_slot(const forebay_arena *arena, uint64_t bucket, uint32_t i);

#endif
