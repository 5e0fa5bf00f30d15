/* SPDX-License-Identifier: Apache-2.0 */
#include "step_channels.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME "step"
#define NEWS "news" /* the cache that follows */
#define KEY "key"
#define KEY_LENGTH 3
#define OLD 1u
#define NEW 2u
/* Of arena time: much more than an experiment takes. */
#define BEHIND_MS 3600000u
#define QUIET_MS 600000u
#define CLEARS 512 /* after which entries have the same tag again */

static bool complain(const char *what, uint64_t found)
{
    printf("channel: %s (%llu)\n", what, (unsigned long long)found);
    return false;
}

/* A handle of its own: another process, as far as the arena knows. */
typedef struct party {
    forebay_arena *arena;
    forebay_channel *channel;
    forebay_cache *news;
    forebay_listener listener;
} party;

static forebay_channel *open_channel(forebay_arena *arena)
{
    forebay_channel *opened = NULL;
    forebay_error error = {0};
    if (forebay_channel_open(arena, NAME, &opened, &error) != FOREBAY_OK)
        printf("channel: %s\n", error.message);
    return opened;
}

static bool open_news(forebay_arena *arena, forebay_cache **news)
{
    return forebay_cache_open(arena, NEWS, NULL, news, NULL) == FOREBAY_OK;
}

bool step_prepare_channel(forebay_arena *arena)
{
    forebay_channel *made = open_channel(arena);
    forebay_cache *news = NULL;
    bool good = made != NULL && open_news(arena, &news);
    forebay_cache_close(news);
    forebay_channel_close(made);
    return good;
}

static void party_close(party *p)
{
    forebay_cache_close(p->news);
    forebay_channel_close(p->channel);
    if (p->arena != NULL)
        forebay_arena_close(p->arena);
    *p = (party){0};
}

static bool party_open(party *p, const char *path, bool follows)
{
    *p = (party){0};
    if (forebay_arena_open(path, NULL, &p->arena, NULL) == FOREBAY_OK)
        p->channel = open_channel(p->arena);
    return p->channel != NULL && open_news(p->arena, &p->news)
           && (!follows || forebay_cache_follow(p->news, p->channel, BEHIND_MS) == FOREBAY_OK);
}

static bool put(forebay_cache *news, uint64_t number)
{
    return forebay_set(news, KEY, KEY_LENGTH, &number, sizeof number, FOREBAY_KIND_BYTES, FOREBAY_TTL_FOREVER, FOREBAY_SET)
           == FOREBAY_OK;
}

/* What is read; 0: it is missing. */
static uint64_t number_in(forebay_cache *news)
{
    uint64_t number = 0;
    size_t length;
    forebay_kind kind;
    forebay_status status = forebay_get_into(news, KEY, KEY_LENGTH, &number, sizeof number, &length, &kind);
    return status == FOREBAY_OK ? number : 0;
}

static uint64_t now_of(const party *p) { return forebay_channel_now(p->channel); }

static bool pass(forebay_arena *arena, uint64_t ms) { return forebay_arena_advance_clock(arena, ms) == FOREBAY_OK; }

static bool beat(party *p) { return forebay_channel_beat(p->channel, &p->listener, now_of(p)) == FOREBAY_OK; }

static bool listen_alone(party *p)
{
    return forebay_channel_claim(p->channel, QUIET_MS, &p->listener) == FOREBAY_OK
           && forebay_channel_begin(p->channel, &p->listener) == FOREBAY_OK && beat(p);
}

/* ---- the victim ---- */

static party me, peer;
static forebay_lease lease;
static uint64_t sent;

/* It listens, and has loaded the key. */
static bool be_up_to_date(forebay_arena *arena, bool follows)
{
    me = (party){.arena = arena, .channel = open_channel(arena)};
    return me.channel != NULL && open_news(arena, &me.news)
           && (!follows || forebay_cache_follow(me.news, me.channel, BEHIND_MS) == FOREBAY_OK) && listen_alone(&me)
           && put(me.news, OLD) && (!follows || number_in(me.news) == OLD);
}

static bool fall_silent(void)
{
    sent = now_of(&me);
    return pass(me.arena, BEHIND_MS + QUIET_MS) && number_in(me.news) == 0;
}

bool step_channel_is_silent(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    bool good = be_up_to_date(arena, true);
    forebay_channel_leave(me.channel, &me.listener);
    return good && fall_silent();
}

bool step_channel_is_claimed(forebay_arena *arena, forebay_cache *cache)
{
    return step_channel_is_silent(arena, cache)
           && forebay_channel_claim(me.channel, QUIET_MS, &me.listener) == FOREBAY_OK;
}

/* The other one was heard after this one had subscribed. */
bool step_channel_is_claimed_by_two(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    if (!be_up_to_date(arena, true) || !party_open(&peer, forebay_arena_path(arena), true) || !listen_alone(&peer)
        || forebay_channel_claim(me.channel, QUIET_MS, &me.listener) != FOREBAY_OK || !put(me.news, OLD))
        return false;
    sent = now_of(&me);
    uint64_t since = sent;
    bool good = pass(arena, 100) && beat(&peer) && fall_silent();
    sent = since;
    return good;
}

bool step_channel_is_listened_to(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    return be_up_to_date(arena, true) && fall_silent();
}

bool step_news_are_leased(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    return be_up_to_date(arena, true) && forebay_delete(me.news, KEY, KEY_LENGTH) == FOREBAY_OK
           && forebay_lease_take(me.news, KEY, KEY_LENGTH, UINT64_MAX, &lease) == FOREBAY_OK && fall_silent();
}

bool step_news_are_not_followed(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    return be_up_to_date(arena, false) && number_in(me.news) == OLD;
}

/* The call is over: what follows is not stepped. */
static void call_is_over(void) { raise(SIGSTOP); }

/* Does this process listen, as others see it?  Then `name` is the channel's. */
static bool is_listener(char name[FOREBAY_NAME_MAX + 1])
{
    forebay_channel_info info;
    for (uint32_t i = 0; forebay_channel_at(me.arena, i, &info); i++)
        if (info.pids[0] == getpid() || info.pids[1] == getpid()) {
            strcpy(name, info.name);
            return true;
        }
    return false;
}

bool step_do_claim(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena, (void)cache;
    char name[FOREBAY_NAME_MAX + 1];
    forebay_status status = forebay_channel_claim(me.channel, QUIET_MS, &me.listener);
    call_is_over();
    if (is_listener(name) && (status != FOREBAY_OK || strcmp(name, NAME) != 0))
        return complain("listens, and was not told, or to another channel", (uint64_t)-status);
    return status == FOREBAY_OK || status == FOREBAY_EXISTS || status == FOREBAY_CLOSED;
}

bool step_do_join(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena, (void)cache;
    forebay_status status = forebay_channel_join(me.channel, &me.listener, sent);
    return status == FOREBAY_OK || status == FOREBAY_MISS || status == FOREBAY_TIMEOUT;
}

bool step_do_begin(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena, (void)cache;
    forebay_status status = forebay_channel_begin(me.channel, &me.listener);
    return status == FOREBAY_OK || status == FOREBAY_MISS;
}

/* It slept with the answer in hand. */
bool step_do_beat(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena, (void)cache;
    forebay_status status = forebay_channel_beat(me.channel, &me.listener, sent);
    return status == FOREBAY_OK || status == FOREBAY_MISS;
}

bool step_do_leave_channel(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena, (void)cache;
    char name[FOREBAY_NAME_MAX + 1];
    forebay_channel_leave(me.channel, &me.listener);
    call_is_over();
    return !is_listener(name) || complain("left, and listens", 0);
}

static bool is_not_old(uint64_t number)
{
    call_is_over();
    return number != OLD || complain("what is old was read", number);
}

bool step_do_follow(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena, (void)cache;
    forebay_status status = forebay_cache_follow(me.news, me.channel, BEHIND_MS);
    call_is_over();
    return status == FOREBAY_OK && is_not_old(number_in(me.news));
}

bool step_do_get_news(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena, (void)cache;
    return is_not_old(number_in(me.news));
}

static uint64_t numbers[2];
static void *room_for(void *context, size_t item, size_t length, forebay_kind kind)
{
    (void)context, (void)kind;
    return length <= sizeof *numbers ? &numbers[item] : NULL;
}

bool step_do_get_many_news(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena, (void)cache;
    static const forebay_key keys[2] = {{"no key", 6}, {KEY, KEY_LENGTH}};
    forebay_status status[2];
    forebay_sink sink = {room_for, NULL};
    return forebay_get_many(me.news, keys, 2, &sink, status) == FOREBAY_OK && is_not_old(numbers[1]);
}

bool step_do_view_news(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena, (void)cache;
    forebay_view view;
    uint64_t number = 0;
    if (forebay_view_open(me.news, KEY, KEY_LENGTH, &view) == FOREBAY_OK) {
        memcpy(&number, view.data, sizeof number);
        forebay_view_close(&view);
    }
    return is_not_old(number);
}

bool step_do_store_news(forebay_arena *arena, forebay_cache *cache)
{
    (void)arena, (void)cache;
    uint64_t number = OLD;
    forebay_set_options options = {.ttl_ms = FOREBAY_TTL_FOREVER};
    forebay_status status = forebay_lease_store(me.news, &lease, KEY, KEY_LENGTH, &number, sizeof number, FOREBAY_KIND_BYTES, &options);
    return status == FOREBAY_OK || status == FOREBAY_MISS;
}

/* What was opened is the channel of that name, or one that was dropped. */
bool step_do_open_channel(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    char name[FOREBAY_NAME_MAX + 1];
    forebay_status status = forebay_channel_open(arena, NAME, &me.channel, NULL);
    call_is_over();
    me.arena = arena;
    if (status != FOREBAY_OK)
        return false;
    status = forebay_channel_claim(me.channel, QUIET_MS, &me.listener);
    if (status == FOREBAY_OK && is_listener(name) && strcmp(name, NAME) != 0)
        return complain("is another one than was opened", 0);
    return status == FOREBAY_OK || status == FOREBAY_EXISTS || status == FOREBAY_CLOSED;
}

bool step_do_make_channel(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    return forebay_channel_open(arena, "another", &me.channel, NULL) == FOREBAY_OK;
}

bool step_do_drop_channel(forebay_arena *arena, forebay_cache *cache)
{
    (void)cache;
    return forebay_channel_drop(arena, NAME) == FOREBAY_OK;
}

/* ---- the others ---- */

#define OTHERS 2
static party others[OTHERS];
static bool others_listen;

static bool is_there(forebay_arena *arena, const char *name)
{
    forebay_channel_info info;
    for (uint32_t i = 0; forebay_channel_at(arena, i, &info); i++)
        if (strcmp(info.name, name) == 0)
            return true;
    return false;
}

static bool nothing_is_old(const char *when)
{
    for (int i = 0; i < OTHERS; i++)
        if (number_in(others[i].news) == OLD)
            return complain(when, (uint64_t)i);
    return true;
}

static bool open_others(forebay_arena *arena)
{
    bool good = true;
    for (int i = 0; i < OTHERS; i++)
        good &= party_open(&others[i], forebay_arena_path(arena), true);
    return good || complain("the others could not begin", 0);
}

static void close_others(void)
{
    for (int i = 0; i < OTHERS; i++)
        party_close(&others[i]);
    others_listen = false;
}

static forebay_status claim(party *p) { return forebay_channel_claim(p->channel, QUIET_MS, &p->listener); }

static bool begin(void)
{
    if (forebay_channel_begin(others[0].channel, &others[0].listener) != FOREBAY_OK || !beat(&others[0]))
        return complain("could not begin", 0);
    return nothing_is_old("what is old was read after somebody began");
}

/* The second one joins the first; what is loaded then is read. */
static bool join(bool fills)
{
    uint64_t since = now_of(&others[1]);
    if (!pass(others[0].arena, 100) || !beat(&others[0])
        || forebay_channel_join(others[1].channel, &others[1].listener, since) != FOREBAY_OK || !beat(&others[1]))
        return complain("could not join", 0);
    others_listen = true;
    if (!fills)
        return true;
    return put(others[0].news, NEW) && (number_in(others[1].news) == NEW || complain("was set, and is not there", 0));
}

/* A place, from one that lives but is quiet only after a while. */
static bool take_place(void)
{
    return claim(&others[0]) == FOREBAY_OK || (pass(others[0].arena, QUIET_MS + 100) && claim(&others[0]) == FOREBAY_OK)
           || complain("no place can be had", 0);
}

/* The other one, while the first listens. */
static bool take_other_place(void)
{
    if (claim(&others[1]) == FOREBAY_OK)
        return true;
    bool good = pass(others[0].arena, QUIET_MS - 1000) && beat(&others[0]) && pass(others[0].arena, 2000);
    return good && (claim(&others[1]) == FOREBAY_OK || complain("one place cannot be had", 0))
           && (beat(&others[0]) || complain("who was heard lost its place", 0));
}

/* Another channel gets the record; false: somebody listens. */
static bool drop_and_make_heir(forebay_arena *arena, bool *dropped)
{
    forebay_channel *heir = NULL;
    forebay_status status = forebay_channel_drop(arena, NAME);
    *dropped = status == FOREBAY_OK;
    if (status == FOREBAY_BUSY)
        return true;
    bool good = *dropped && forebay_channel_open(arena, "heir", &heir, NULL) == FOREBAY_OK && open_channel(arena) != NULL;
    forebay_channel_close(heir);
    return good || complain("could not be dropped and made anew", (uint64_t)-status);
}

static bool drop_it(forebay_arena *arena)
{
    forebay_status status = forebay_channel_drop(arena, NAME);
    return status == FOREBAY_OK || complain("cannot be dropped", (uint64_t)-status);
}

bool step_channel_lives_on(forebay_arena *arena, const step_operation *operation)
{
    (void)operation;
    bool good = open_others(arena) && nothing_is_old("what is old was read after a kill");
    for (int i = 0; good && i < OTHERS; i++)
        good = claim(&others[i]) == FOREBAY_OK || complain("a place of the dead cannot be had", (uint64_t)i);
    good = good && begin() && join(true);
    for (int i = 0; i < OTHERS && others[i].channel != NULL; i++)
        forebay_channel_leave(others[i].channel, &others[i].listener);
    good = good && drop_it(arena) && (number_in(others[0].news) == 0 || complain("is read though the channel is gone", 0));
    close_others();
    return good && step_prepare_channel(arena);
}

bool step_recycle_channel(forebay_arena *arena, const step_operation *operation)
{
    static unsigned round;
    bool dropped = false, stores = operation->run == step_do_store_news;
    if (operation->key == STEP_CHANNELS)
        return true; /* it may have the table's lock */
    if (round++ % 2 && (operation->run == step_do_claim || operation->run == step_do_open_channel)
        && !drop_and_make_heir(arena, &dropped))
        return false;
    if (!open_others(arena) || !nothing_is_old("what is old was read after a stop") || !take_place()
        || !nothing_is_old("what is old was read after a place was taken"))
        return false;
    for (int i = 0; i < (stores ? CLEARS : 1); i++)
        if (!begin())
            return false;
    return take_other_place() && join(!stores); /* a set would take the lease away */
}

bool step_check_channel_recycled(forebay_arena *arena, const step_operation *operation)
{
    bool good = true;
    if (others_listen) {
        for (int i = 0; i < OTHERS; i++)
            good &= beat(&others[i]) || complain("lost its place to one that was deposed", (uint64_t)i);
        good &= nothing_is_old("what is old was read after the stopped went on");
        bool may_miss = operation->run == step_do_begin || operation->run == step_do_store_news || operation->run == step_do_follow;
        good &= may_miss || number_in(others[0].news) == NEW || complain("was removed by the one that was stopped", 0);
    }
    close_others();
    return (is_there(arena, NAME) || step_prepare_channel(arena)) && step_channel_lives_on(arena, operation) && good;
}
