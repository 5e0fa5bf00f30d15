/* SPDX-License-Identifier: Apache-2.0 */
/* Permits: taken and given back by one compare-and-swap of a word each, so that there
 * are never more than there are words. */
#include <limits.h>

#include "base/futex.h"
#include "limit/limits.h"

/* A permit that its turn's owner leaves lying for so long is the next one's. */
#define PASS_OVER_MS 10u
/* What a process held that died is free so much later: the kernel ends its row's lock
 * before its sockets, or a child that was just forked has them still. */
#define SETTLE_MS 20u
/* Races lost before a taker says that none was free. */
#define TAKE_TRIES 64

/* What a permit of forebay/limit.h has. */
enum { RESERVED_WORD, RESERVED_NUMBER };

uint32_t fb_permits_of(const forebay_limit *limit, row_owner owner)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < limit->arena->geometry.permit_count; i++)
        found += fb_permit_is_of(atomic_load(&limit->permits[i]), owner);
    return found;
}

void fb_permits_released(forebay_limit *limit)
{
    atomic_fetch_add(&limit->record->released, 1);
    /* who begins to wait after this load looks at the permits after it, too */
    if (atomic_load(&limit->record->waiting) != 0)
        fb_futex_wake(&limit->record->released, INT_MAX, FUTEX_OF_MACHINE);
}

bool fb_permits_sweep(forebay_limit *limit)
{
    bool any = false;
    for (uint32_t i = 0; i < limit->arena->geometry.permit_count; i++) {
        uint64_t word = atomic_load(&limit->permits[i]);
        if (fb_permit_is_held(word) && fb_permit_is_left(limit->arena, word))
            any |= atomic_compare_exchange_strong(&limit->permits[i], &word,
                                                  fb_permit_free(fb_now_ms(limit->arena) + SETTLE_MS));
    }
    if (any)
        fb_permits_released(limit);
    return any;
}

/* The free permits, as of a look. */
typedef struct free_permits {
    uint32_t count;
    uint32_t first;  /* number of one */
    uint64_t word;   /* of that one */
    uint64_t oldest; /* arena ms since which one has been free */
} free_permits;

static bool is_free(uint64_t word, uint64_t now)
{
    bool settles = fb_permit_freed(word) > now && fb_permit_freed(word) - now <= SETTLE_MS;
    return !fb_permit_is_held(word) && !settles;
}

/* Permits that are held beyond `most`, since it was lowered, count: for each there is
 * one fewer to be had. */
static free_permits look_for_free(const forebay_limit *limit)
{
    free_permits found = {.oldest = UINT64_MAX};
    uint32_t most = fb_limit_most(limit), held = 0;
    uint64_t now = fb_now_ms(limit->arena);
    for (uint32_t i = limit->arena->geometry.permit_count; i-- > 0;) {
        uint64_t word = atomic_load(&limit->permits[i]);
        held += !is_free(word, now);
        if (i >= most || !is_free(word, now))
            continue;
        found.count++;
        found.first = i;
        found.word = word;
        if (fb_permit_freed(word) < found.oldest)
            found.oldest = fb_permit_freed(word);
    }
    uint32_t left = held < most ? most - held : 0;
    if (found.count > left)
        found.count = left;
    return found;
}

uint32_t fb_permits_free(const forebay_limit *limit) { return look_for_free(limit).count; }

/* There are more of them than others whose turn comes before; one more of those who
 * are late is passed over for each PASS_OVER_MS that one has been free. */
static bool is_turn(const forebay_limit *limit, const free_permits *found, uint64_t ticket)
{
    if (found->count == 0)
        return false;
    places_before before = fb_places_before(limit, ticket);
    if (found->count > before.count)
        return true;
    uint64_t now = fb_now_ms(limit->arena);
    uint64_t passed = now > found->oldest ? (now - found->oldest) / PASS_OVER_MS : 0;
    return found->count + (passed < before.late ? passed : before.late) > before.count;
}

static uint64_t next_word(forebay_arena *arena)
{
    uint64_t serial = atomic_fetch_add_explicit(&arena->permits_taken, 1, memory_order_relaxed);
    return PERMIT_HELD | fb_permit_owner_bits(fb_row_owner(arena)) | serial << 40;
}

/* No more are held than there may be, now that the caller has this one: of two who
 * take the last one while some are held beyond `most`, the later sees both. */
static bool may_keep(const forebay_limit *limit, uint32_t number)
{
    uint32_t most = fb_limit_most(limit), held = 0;
    uint64_t now = fb_now_ms(limit->arena);
    for (uint32_t i = 0; i < limit->arena->geometry.permit_count; i++)
        held += !is_free(atomic_load(&limit->permits[i]), now);
    return number < most && held <= most;
}

/* Make the free permit ours; false: another was faster, or it is none any more. */
static bool take_free(forebay_limit *limit, const free_permits *found, forebay_permit *permit)
{
    uint64_t free = found->word, word = next_word(limit->arena);
    if (!atomic_compare_exchange_strong(&limit->permits[found->first], &free, word))
        return false;
    *permit = (forebay_permit){{word, found->first}};
    if (fb_limit_is_open(limit) && may_keep(limit, found->first))
        return true;
    (void)forebay_permit_give_back(limit, permit); /* dropped, or made smaller */
    return false;
}

forebay_status fb_permit_take(forebay_limit *limit, uint64_t ticket, forebay_permit *permit)
{
    bool swept = false;
    *permit = (forebay_permit){{0}};
    for (int t = 0; t < TAKE_TRIES && fb_limit_is_open(limit); t++) {
        free_permits found = look_for_free(limit);
        if (is_turn(limit, &found, ticket)) {
            if (take_free(limit, &found, permit))
                return FOREBAY_OK;
        } else if (swept) {
            return FOREBAY_MISS;
        } else {
            swept = true; /* once more, without the dead */
            (void)fb_permits_sweep(limit);
            (void)fb_places_sweep(limit);
        }
    }
    *permit = (forebay_permit){{0}};
    return fb_limit_is_open(limit) ? FOREBAY_MISS : FOREBAY_CLOSED;
}

forebay_status forebay_permit_take(forebay_limit *limit, forebay_permit *permit)
{
    forebay_status status = fb_limit_begin(limit);
    return status == FOREBAY_OK ? fb_permit_take(limit, 0, permit) : status;
}

forebay_status forebay_permit_give_back(forebay_limit *limit, const forebay_permit *permit)
{
    uint64_t word = permit->reserved[RESERVED_WORD], number = permit->reserved[RESERVED_NUMBER];
    forebay_status status = fb_arena_enter(limit->arena); /* of a dropped limit, too */
    if (status != FOREBAY_OK)
        return status;
    if (number >= limit->arena->geometry.permit_count || !fb_permit_is_of(word, fb_row_owner(limit->arena)))
        return FOREBAY_MISS;
    if (!atomic_compare_exchange_strong(&limit->permits[number], &word, fb_permit_free(fb_now_ms(limit->arena))))
        return FOREBAY_MISS;
    fb_permits_released(limit);
    return FOREBAY_OK;
}

bool fb_permits_take_all(forebay_limit *limit, uint64_t *word_out)
{
    uint64_t mine = *word_out = next_word(limit->arena);
    for (uint32_t i = 0; i < limit->arena->geometry.permit_count; i++) {
        uint64_t word = atomic_load(&limit->permits[i]);
        bool held = fb_permit_is_held(word) && !fb_permit_is_left(limit->arena, word);
        if (!held && atomic_compare_exchange_strong(&limit->permits[i], &word, mine))
            continue;
        fb_permits_give_back_all(limit, mine);
        return false;
    }
    return true;
}

void fb_permits_give_back_all(forebay_limit *limit, uint64_t word)
{
    for (uint32_t i = 0; i < limit->arena->geometry.permit_count; i++) {
        uint64_t mine = word;
        (void)atomic_compare_exchange_strong(&limit->permits[i], &mine, fb_permit_free(fb_now_ms(limit->arena)));
    }
    fb_permits_released(limit);
}
