/* SPDX-License-Identifier: Apache-2.0 */
/* The queue of those who wait for a permit, and who gives one up for them. */
#include <limits.h>

#include "base/futex.h"
#include "limit/limits.h"

/* Nobody wakes those who wait for a dead holder, or behind a stopped waiter: they look
 * by themselves. */
#define LOOK_EVERY_NS 4000000
/* A busy process keeps a permit from one that has none for so long. */
#define QUANTUM_MS 50u
/* Who said it would give a permit up may be dead, or slow. */
#define PLEDGE_MS 100u
/* Who waits looks every 4 ms: one who has not for so long is stopped, or slow ... */
#define LATE_MS 10u
/* ... and for so long, not there for the others until it looks again. */
#define ASLEEP_MS 500u
#define PLACE_NONE UINT32_MAX

/* What a turn of forebay/limit.h has. */
enum { RESERVED_WORD, RESERVED_TICKET, RESERVED_NUMBER };

static uint64_t bit_of(uint32_t place) { return UINT64_C(1) << (place & 63); }

/* Milliseconds since `then`: another process may have stored it after `now` was read. */
static uint64_t passed_since(uint64_t now, uint64_t then) { return now > then ? now - then : 0; }

places_before fb_places_before(const forebay_limit *limit, uint64_t ticket)
{
    places_before found = {0};
    uint64_t now = fb_now_ms(limit->arena);
    for (uint32_t i = 0; i < limit->arena->geometry.place_count; i++) {
        const arena_place *place = &limit->places[i];
        if (atomic_load(&place->word) == 0 || (ticket != 0 && atomic_load(&place->ticket) >= ticket))
            continue;
        uint64_t unseen = passed_since(now, atomic_load(&place->looked));
        found.count += unseen < ASLEEP_MS;
        found.late += unseen >= LATE_MS && unseen < ASLEEP_MS;
    }
    return found;
}

/* Take the place's bit away, unless it is somebody's by now: set again then.  If the
 * caller is stopped between the two, the owner sets it at its next look. */
static void clear_bit(forebay_limit *limit, uint32_t i, uint64_t free_word)
{
    atomic_fetch_and(&limit->record->waiting, ~bit_of(i));
    uint64_t there = atomic_load(&limit->places[i].word);
    if (there != 0 && there != free_word)
        atomic_fetch_or(&limit->record->waiting, bit_of(i));
}

/* The bit first: a new owner's must not be taken. */
static bool leave_place(forebay_limit *limit, uint32_t i, uint64_t word)
{
    if (atomic_load(&limit->places[i].word) != word)
        return false;
    clear_bit(limit, i, word);
    return atomic_compare_exchange_strong(&limit->places[i].word, &word, 0);
}

bool fb_places_sweep(forebay_limit *limit)
{
    bool any = false;
    for (uint32_t i = 0; i < limit->arena->geometry.place_count; i++) {
        uint64_t word = atomic_load(&limit->places[i].word);
        if (word != 0 && fb_place_is_left(limit->arena, word))
            any |= leave_place(limit, i, word);
        else if (word == 0 && (atomic_load(&limit->record->waiting) & bit_of(i)) != 0)
            clear_bit(limit, i, 0); /* of one that was killed before it could */
    }
    return any;
}

static uint32_t claim_place(forebay_limit *limit, uint64_t word)
{
    for (uint32_t i = 0; i < limit->arena->geometry.place_count; i++) {
        uint64_t free = 0;
        if (atomic_load(&limit->places[i].word) == 0
            && atomic_compare_exchange_strong(&limit->places[i].word, &free, word))
            return i;
    }
    return PLACE_NONE;
}

/* Say that somebody waits: to forebay_limit_watch(). */
static void announce(forebay_limit *limit)
{
    atomic_fetch_add(&limit->record->wanted, 1);
    fb_futex_wake(&limit->record->wanted, INT_MAX, FUTEX_OF_MACHINE);
}

static void take_place(forebay_limit *limit, forebay_turn *turn)
{
    uint64_t word = turn->reserved[RESERVED_WORD], now = fb_now_ms(limit->arena);
    uint32_t i = claim_place(limit, word);
    if (i == PLACE_NONE && fb_places_sweep(limit))
        i = claim_place(limit, word);
    turn->reserved[RESERVED_NUMBER] = i;
    if (i == PLACE_NONE)
        return;
    atomic_store(&limit->places[i].since, now);
    atomic_store(&limit->places[i].looked, now);
    atomic_store(&limit->places[i].pledged, 0);
    atomic_store(&limit->places[i].ticket, turn->reserved[RESERVED_TICKET]);
    atomic_fetch_or(&limit->record->waiting, bit_of(i));
}

static uint64_t own_word(const forebay_limit *limit) { return fb_row_owner(limit->arena) | PLACE_TAKEN; }

forebay_status forebay_permit_queue(forebay_limit *limit, forebay_turn *turn)
{
    forebay_status status = fb_limit_begin(limit);
    *turn = (forebay_turn){{0, 0, PLACE_NONE}};
    if (status != FOREBAY_OK)
        return status;
    *turn = (forebay_turn){{own_word(limit), atomic_fetch_add(&limit->record->tickets, 1) + 1, PLACE_NONE}};
    take_place(limit, turn);
    announce(limit);
    return FOREBAY_OK;
}

/* Its place is this process's and still the turn's: a child has none of its parent's. */
static bool has_place(const forebay_limit *limit, const forebay_turn *turn)
{
    uint64_t i = turn->reserved[RESERVED_NUMBER];
    return i < limit->arena->geometry.place_count && turn->reserved[RESERVED_WORD] == own_word(limit)
           && atomic_load(&limit->places[i].word) == turn->reserved[RESERVED_WORD]
           && atomic_load(&limit->places[i].ticket) == turn->reserved[RESERVED_TICKET];
}

void forebay_permit_leave(forebay_limit *limit, const forebay_turn *turn)
{
    if (fb_arena_enter(limit->arena) == FOREBAY_OK && has_place(limit, turn))
        (void)leave_place(limit, (uint32_t)turn->reserved[RESERVED_NUMBER], turn->reserved[RESERVED_WORD]);
}

/* ---- waiting ---- */

/* At each look: the place is somebody's who is awake.  Where all were taken before, one
 * may be free now. */
static void attend(forebay_limit *limit, forebay_turn *turn)
{
    bool is_new = turn->reserved[RESERVED_NUMBER] == PLACE_NONE && turn->reserved[RESERVED_WORD] == own_word(limit);
    if (is_new)
        take_place(limit, turn);
    if (!has_place(limit, turn))
        return;
    uint32_t i = (uint32_t)turn->reserved[RESERVED_NUMBER];
    atomic_store(&limit->places[i].looked, fb_now_ms(limit->arena));
    uint64_t bits = atomic_fetch_or(&limit->record->waiting, bit_of(i));
    if (is_new || (bits & bit_of(i)) == 0)
        announce(limit); /* who looked while the bit was lost looks again */
}

/* The kernel asked for the liveness of a holder says so once in 5 ms (rows.h): the
 * second look finds the dead. */
static forebay_status wait_for_turn(forebay_limit *limit, forebay_turn *turn, int64_t end, forebay_permit *permit)
{
    for (;;) {
        forebay_status status = fb_limit_begin(limit);
        if (status != FOREBAY_OK)
            return status;
        attend(limit, turn);
        uint32_t seen = atomic_load(&limit->record->released);
        status = fb_permit_take(limit, turn->reserved[RESERVED_TICKET], permit);
        if (status != FOREBAY_MISS)
            return status;
        int64_t left = end - fb_monotonic_ns();
        if (left <= 0)
            return FOREBAY_TIMEOUT;
        if (!fb_futex_wait(&limit->record->released, seen, left < LOOK_EVERY_NS ? left : LOOK_EVERY_NS, FUTEX_OF_MACHINE))
            return FOREBAY_INTERRUPTED;
    }
}

forebay_status forebay_permit_wait(forebay_limit *limit, const forebay_turn *turn, uint32_t timeout_ms, forebay_permit *permit)
{
    forebay_turn mine = *turn; /* may get a place for as long as this call takes */
    *permit = (forebay_permit){{0}};
    forebay_status status = wait_for_turn(limit, &mine, fb_monotonic_ns() + (int64_t)timeout_ms * 1000000, permit);
    if (mine.reserved[RESERVED_NUMBER] != turn->reserved[RESERVED_NUMBER])
        forebay_permit_leave(limit, &mine);
    return status;
}

/* ---- giving up for others ---- */

bool forebay_limit_wanted(const forebay_limit *limit)
{
    return atomic_load_explicit(&limit->record->waiting, memory_order_acquire) != 0;
}

forebay_status forebay_limit_watch(forebay_limit *limit, uint32_t *seen, uint32_t timeout_ms)
{
    int64_t end = fb_monotonic_ns() + (int64_t)timeout_ms * 1000000;
    for (;;) {
        forebay_status status = fb_limit_begin(limit);
        if (status != FOREBAY_OK)
            return status;
        uint32_t wanted = atomic_load(&limit->record->wanted);
        if (wanted != *seen) {
            *seen = wanted;
            return FOREBAY_OK;
        }
        int64_t left = end - fb_monotonic_ns();
        if (left <= 0)
            return FOREBAY_TIMEOUT;
        if (!fb_futex_wait(&limit->record->wanted, wanted, left, FUTEX_OF_MACHINE))
            return FOREBAY_INTERRUPTED;
    }
}

/* Somebody said it would give a permit up for it, lately. */
static bool is_pledged(uint64_t now, uint64_t pledged)
{
    return pledged != 0 && passed_since(now, pledged) < PLEDGE_MS && passed_since(pledged, now) < PLEDGE_MS;
}

/* The place with the lowest ticket that one of `mine` permits is to be given up for;
 * PLACE_NONE. */
static uint32_t place_to_yield_to(forebay_limit *limit, bool idle, uint32_t mine, uint64_t now)
{
    uint32_t best = PLACE_NONE;
    uint64_t best_ticket = UINT64_MAX;
    for (uint32_t i = 0; i < limit->arena->geometry.place_count; i++) {
        const arena_place *place = &limit->places[i];
        uint64_t word = atomic_load(&place->word), ticket = atomic_load(&place->ticket);
        if (word == 0 || ticket >= best_ticket || fb_place_owner(word) == fb_row_owner(limit->arena)
            || is_pledged(now, atomic_load(&place->pledged))
            || passed_since(now, atomic_load(&place->looked)) >= ASLEEP_MS)
            continue;
        uint32_t theirs = fb_permits_of(limit, fb_place_owner(word));
        bool starves = theirs == 0 && passed_since(now, atomic_load(&place->since)) >= QUANTUM_MS;
        if ((idle || theirs + 2 <= mine || starves) && !fb_place_is_left(limit->arena, word)) {
            best = i;
            best_ticket = ticket;
        }
    }
    return best;
}

bool forebay_limit_should_yield(forebay_limit *limit, bool idle)
{
    if (!forebay_limit_wanted(limit) || fb_limit_begin(limit) != FOREBAY_OK)
        return false;
    uint32_t mine = fb_permits_of(limit, fb_row_owner(limit->arena));
    if (mine == 0 || fb_permits_free(limit) >= fb_places_before(limit, 0).count)
        return false; /* there is enough for all */
    uint64_t now = fb_now_ms(limit->arena); /* 1 at least: 0 says that nobody pledged */
    uint32_t i = place_to_yield_to(limit, idle, mine, now);
    if (i == PLACE_NONE)
        return false;
    uint64_t pledged = atomic_load(&limit->places[i].pledged);
    return !is_pledged(now, pledged) && atomic_compare_exchange_strong(&limit->places[i].pledged, &pledged, now);
}
