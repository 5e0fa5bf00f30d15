/* SPDX-License-Identifier: Apache-2.0 */
/* Tiers, as other layers see them. */
#ifndef FB_TIERS_H
#define FB_TIERS_H

#include "arena/arena_state.h"

/* What is wrong in the table, or NULL. */
const char *fb_tiers_inspect(const forebay_arena *arena);

#endif
