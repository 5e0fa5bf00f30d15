/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/packing_side.h"

#include <stdlib.h>

#include "cache/dictionaries.h"
#include "cache/trainer.h"

static void end_packing(forebay_arena *arena)
{
    fb_training_end(arena);
    fb_dictionaries_forget(arena);
    free(atomic_exchange(&arena->packing, NULL));
}

packing_side *fb_packing_side_make(forebay_arena *arena)
{
    packing_side *side = calloc(1, sizeof *side), *none = NULL;
    if (side == NULL)
        return atomic_load(&arena->packing);
    atomic_store(&arena->end_packing, end_packing);
    if (atomic_compare_exchange_strong(&arena->packing, &none, side))
        return side;
    free(side);
    return none;
}
