/* SPDX-License-Identifier: Apache-2.0 */
#include "step_limits.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NAME "step"
#define MOST 3u
#define LOWERED 2u
#define PATIENCE_MS 1000u
#define PASSED_OVER_MS 30 /* of arena time: a stopped waiter's turn is over, what the dead held is free */

static forebay_limit *limit;
static forebay_permit permit;
static forebay_turn turn;

static bool complain(const char *what, uint32_t found)
{
    printf("limit: %s (%u)\n", what, found);
    return false;
}

static forebay_limit *open_limit(forebay_arena *arena, uint32_t most)
{
    forebay_limit *opened = NULL;
    forebay_error error = {0};
    if (forebay_limit_open(arena, NAME, most, false, &opened, &error) < FOREBAY_OK)
        printf("limit: %s\n", error.message);
    return opened;
}

bool step_prepare_limit(forebay_arena *arena)
{
    forebay_limit *made = open_limit(arena, MOST);
    forebay_limit_close(made);
    return made != NULL;
}

/* ---- the victim ---- */

bool step_limit_is_open(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    limit = open_limit(arena, 0);
    return limit != NULL;
}

bool step_permit_is_held(forebay_arena *arena, forebay_cache *cache)
{
    return step_limit_is_open(arena, cache) && forebay_permit_take(limit, &permit) == FOREBAY_OK;
}

bool step_turn_is_taken(forebay_arena *arena, forebay_cache *cache)
{
    return step_limit_is_open(arena, cache) && forebay_permit_queue(limit, &turn) == FOREBAY_OK;
}

/* In a child that ends without a word. */
static bool die_with(bool permits)
{
    pid_t pid = fork();
    if (pid == 0) {
        for (uint32_t i = 0; i < 64; i++)
            if (permits ? forebay_permit_take(limit, &permit) != FOREBAY_OK : forebay_permit_queue(limit, &turn) != FOREBAY_OK)
                break;
        _exit(0);
    }
    return waitpid(pid, NULL, 0) == pid;
}

bool step_permits_are_left(forebay_arena *arena, forebay_cache *cache)
{
    return step_limit_is_open(arena, cache) && die_with(true) && forebay_permit_queue(limit, &turn) == FOREBAY_OK;
}

bool step_places_are_left(forebay_arena *arena, forebay_cache *cache)
{
    return step_limit_is_open(arena, cache) && die_with(false);
}

bool step_somebody_waits(forebay_arena *arena, forebay_cache *cache)
{
    int ready[2];
    char byte;
    for (uint32_t i = 0; i < MOST; i++)
        if ((i == 0 && !step_limit_is_open(arena, cache)) || forebay_permit_take(limit, &permit) != FOREBAY_OK)
            return false;
    if (pipe(ready) != 0)
        return false;
    if (fork() == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)!forebay_permit_queue(limit, &turn);
        (void)!write(ready[1], "", 1);
        for (;;)
            pause();
    }
    return read(ready[0], &byte, 1) == 1;
}

/* The call is over: what follows is not stepped.  This process has what it was told, and
 * all have no more than there is. */
static bool has(forebay_arena *arena, uint32_t held, uint32_t waiting)
{
    raise(SIGSTOP);
    forebay_limit_share shares[8];
    forebay_limit_share mine = {0};
    uint32_t count = forebay_limit_shares(arena, NAME, shares, 8), all = 0;
    for (uint32_t i = 0; i < count && i < 8; i++) {
        all += shares[i].held;
        if (shares[i].pid == getpid())
            mine = shares[i];
    }
    if (all > MOST)
        return complain("too many are held", all);
    if (mine.held != held)
        return complain("has not what it was told", mine.held);
    return mine.waiting <= waiting || complain("waits, and does not know", mine.waiting);
}

bool step_do_take(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    forebay_status status = forebay_permit_take(limit, &permit);
    return has(arena, status == FOREBAY_OK, 0)
           && (status == FOREBAY_OK || status == FOREBAY_MISS || status == FOREBAY_CLOSED);
}

bool step_do_give_back(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    forebay_status status = forebay_permit_give_back(limit, &permit);
    return has(arena, 0, 0) && status == FOREBAY_OK;
}

/* It may be in the queue of a limit that was made meanwhile; it leaves that, too. */
bool step_do_queue(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    forebay_status status = forebay_permit_queue(limit, &turn);
    bool good = has(arena, 0, 1) && (status == FOREBAY_OK || status == FOREBAY_CLOSED);
    forebay_permit_leave(limit, &turn);
    return has(arena, 0, 0) && good;
}

bool step_do_wait(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    forebay_status status = forebay_permit_wait(limit, &turn, 0, &permit);
    return has(arena, status == FOREBAY_OK, 1)
           && (status == FOREBAY_OK || status == FOREBAY_TIMEOUT || status == FOREBAY_CLOSED);
}

bool step_do_leave(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    forebay_permit_leave(limit, &turn);
    return has(arena, 0, 0);
}

bool step_do_yield(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    (void)forebay_limit_should_yield(limit, true);
    return has(arena, MOST, 0);
}

bool step_do_lower(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    return forebay_limit_open(arena, NAME, LOWERED, true, &limit, NULL) == FOREBAY_OK;
}

bool step_do_make_limit(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    return forebay_limit_open(arena, "another", MOST, false, &limit, NULL) == FOREBAY_OK;
}

/* Refused, if the others hold some by now. */
bool step_do_drop_limit(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    forebay_status status = forebay_limit_drop(arena, NAME);
    return status == FOREBAY_OK || status == FOREBAY_BUSY;
}

/* ---- the others ---- */

static uint32_t most_of(forebay_arena *arena)
{
    forebay_limit_info info;
    for (uint32_t i = 0; forebay_limit_at(arena, i, &info); i++)
        if (strcmp(info.name, NAME) == 0)
            return info.most;
    return 0;
}

/* Take up to one more than there are, each waited for so long; how many. */
static uint32_t take_some(forebay_limit *of, forebay_permit permits[MOST + 1], uint32_t timeout_ms)
{
    uint32_t taken = 0, most = MOST;
    while (taken <= most) {
        forebay_turn mine;
        bool got = forebay_permit_queue(of, &mine) == FOREBAY_OK
                   && forebay_permit_wait(of, &mine, timeout_ms, &permits[taken]) == FOREBAY_OK;
        forebay_permit_leave(of, &mine);
        if (!got)
            break;
        taken++;
    }
    return taken;
}

static bool give_back(forebay_limit *of, const forebay_permit *permits, uint32_t count)
{
    bool good = true;
    for (uint32_t i = 0; i < count; i++)
        if (forebay_permit_give_back(of, &permits[i]) != FOREBAY_OK)
            good = complain("a permit that was taken was not there any more", i);
    return good;
}

/* All, and no more: the last one's wait is short. */
static bool all_can_be_had(forebay_arena *arena)
{
    forebay_permit permits[MOST + 1];
    uint32_t most = most_of(arena), taken = 0;
    forebay_limit *opened = open_limit(arena, 0);
    if (opened == NULL || (most != MOST && most != LOWERED))
        return complain("has a wrong number of permits", most);
    for (bool more = true; more && taken <= most;) {
        forebay_turn mine;
        more = forebay_permit_queue(opened, &mine) == FOREBAY_OK
               && forebay_permit_wait(opened, &mine, taken < most ? PATIENCE_MS : 0, &permits[taken]) == FOREBAY_OK;
        forebay_permit_leave(opened, &mine);
        taken += more;
    }
    bool good = give_back(opened, permits, taken);
    forebay_limit_close(opened);
    return (taken == most || complain("cannot be had, or too many can be", taken)) && good;
}

static bool drop_it(forebay_arena *arena)
{
    forebay_status status = FOREBAY_BUSY;
    for (uint32_t i = 0; i < PATIENCE_MS && status == FOREBAY_BUSY; i++) {
        status = forebay_limit_drop(arena, NAME);
        if (status == FOREBAY_BUSY) /* the victim's child may be about to die */
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return status == FOREBAY_OK || complain("cannot be dropped", (uint32_t)-status);
}

bool step_limit_lives_on(forebay_arena *arena)
{
    if (most_of(arena) != 0 && (!all_can_be_had(arena) || !drop_it(arena)))
        return false;
    return step_prepare_limit(arena) && all_can_be_had(arena);
}

static forebay_limit *others_limit;
static forebay_permit kept[MOST + 1];
static uint32_t kept_count;

/* Another limit gets its record. */
static bool drop_and_make_anew(forebay_arena *arena)
{
    forebay_limit *heir;
    forebay_status status = forebay_limit_drop(arena, NAME);
    if (status == FOREBAY_BUSY)
        return true;
    forebay_limit_close(others_limit);
    others_limit = NULL;
    if (status != FOREBAY_OK || forebay_limit_open(arena, "heir", MOST, false, &heir, NULL) != FOREBAY_OK)
        return false;
    forebay_limit_close(heir);
    others_limit = open_limit(arena, MOST);
    return others_limit != NULL;
}

/* Whatever the dead and the stopped keep others from can be had now. */
static bool let_time_pass(forebay_arena *arena)
{
    bool good = true;
    for (int i = 0; i < 2; i++) { /* the first look may be at what was looked at just now */
        good &= forebay_arena_advance_clock(arena, PASSED_OVER_MS) == FOREBAY_OK;
        good &= give_back(others_limit, kept, take_some(others_limit, kept, 0));
    }
    return good && forebay_arena_advance_clock(arena, PASSED_OVER_MS) == FOREBAY_OK;
}

bool step_recycle_limit(forebay_arena *arena, const step_operation *operation)
{
    static unsigned round;
    bool drops = operation->key == STEP_PERMITS && round % 2, keeps = round / 2 % 2;
    round++;
    kept_count = 0;
    others_limit = most_of(arena) != 0 ? open_limit(arena, 0) : NULL;
    if (others_limit == NULL)
        return operation->key == STEP_LIMITS; /* it was dropped */
    if (!let_time_pass(arena))
        return false;
    uint32_t taken = take_some(others_limit, kept, 0);
    bool good = taken <= MOST || complain("too many can be had", taken);
    good &= give_back(others_limit, kept, taken);
    if (drops && !drop_and_make_anew(arena))
        return complain("cannot be dropped and made anew", 0);
    if (keeps)
        kept_count = take_some(others_limit, kept, 0);
    return good;
}

bool step_check_limit_recycled(forebay_arena *arena)
{
    bool good = kept_count == 0 || most_of(arena) != 0 || complain("was dropped while permits were held", kept_count);
    good &= kept_count == 0 || give_back(others_limit, kept, kept_count);
    forebay_limit_close(others_limit);
    others_limit = NULL;
    return step_limit_lives_on(arena) && good;
}
