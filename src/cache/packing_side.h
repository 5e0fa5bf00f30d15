/* SPDX-License-Identifier: Apache-2.0 */
/* What packing needs in each process that has the arena open. */
#ifndef FB_PACKING_SIDE_H
#define FB_PACKING_SIDE_H

#include "arena/arena_state.h"

struct digest;

/* The digested dictionary of a slot. */
typedef struct digest_slot {
    _Atomic uint32_t uses;            /* threads that use what `current` was when they began */
    _Atomic(struct digest *) current;
    _Atomic(struct digest *) retired; /* replaced ones, to be freed */
} digest_slot;

typedef struct packing_side {
    digest_slot digests[DICTIONARY_SLOTS];
    struct training *training; /* of a background thread, under way or done; trainer.c */
    /* dictionaries trained here and not told of yet, by cache: owner << 32 | id; 0: none.  A
     * child has its parent's copies, with the parent's owner. */
    _Atomic uint64_t trained[CACHE_COUNT_MAX];
    _Atomic uint64_t starting; /* row owner + 1 of who looks at or changes `training`; 0: nobody */
} packing_side;

/* Made at the first call; NULL: out of memory. */
packing_side *fb_packing_side_make(forebay_arena *arena);
static inline packing_side *fb_packing_side(forebay_arena *arena)
{
    packing_side *side = atomic_load_explicit(&arena->packing, memory_order_acquire);
    return __builtin_expect(side != NULL, 1) ? side : fb_packing_side_make(arena);
}

#endif
