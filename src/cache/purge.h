/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FB_PURGE_H
#define FB_PURGE_H

#include "cache/index.h"

/* Take every entry of a cleared or dropped cache out of the index.  Time is
 * proportional to the index. */
void fb_purge(forebay_arena *arena);

#endif
