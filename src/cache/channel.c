/* SPDX-License-Identifier: Apache-2.0 */
/* Channels: who listens, and how much was heard. */
#include <forebay/channel.h>

#include <stdlib.h>
#include <string.h>

#include "arena/registry.h"
#include "arena/rows.h"
#include "base/error.h"
#include "cache/cache_state.h"

#define TABLE_LOCK_MS 10000u
#define LIVE UINT64_C(1)
/* The other's moment is later than another process's `since` if it is so by more than a clock tick. */
#define TICK_MS 16u

struct forebay_channel {
    forebay_arena *arena;
    arena_channel *record;
    uint64_t word; /* of the record when opened: another means dropped */
    char name[FOREBAY_NAME_MAX + 1];
};

/* Of a listener: fb_heard_claim() of its word. */
enum { RESERVED_PLACE, RESERVED_CLAIM };

static uint32_t own_row(const forebay_arena *arena) { return (uint32_t)(fb_row_owner(arena) & 0xfff); }

/* Is the row in use?  By whom is not known: by another than who listened, the place is quiet. */
static bool listens(forebay_arena *arena, uint32_t row)
{
    return row < arena->geometry.row_count && !fb_row_left(arena, row, 0, 0);
}

/* ---- by name ---- */

static int find(const forebay_arena *arena, const char *name)
{
    for (uint32_t i = 0; i < CHANNEL_COUNT; i++) {
        const arena_channel *record = &arena->super->channels[i];
        uint64_t word = atomic_load(&record->word);
        if ((word & LIVE) != 0 && strncmp(record->name, name, sizeof record->name) == 0 && atomic_load(&record->word) == word)
            return (int)i;
    }
    return -1;
}

static void hear_nothing(arena_channel *record)
{
    for (uint32_t i = 0; i < CHANNEL_LISTENERS; i++) /* whoever listened does so no longer */
        atomic_store(&record->heard[i], fb_heard_next(atomic_load(&record->heard[i]), HEARD_NOBODY, 0));
}

static int create(forebay_arena *arena, const char *name)
{
    for (uint32_t i = 0; i < CHANNEL_COUNT; i++) {
        arena_channel *record = &arena->super->channels[i];
        uint64_t word = atomic_load(&record->word);
        if ((word & LIVE) != 0)
            continue;
        hear_nothing(record);
        memset(record->name, 0, sizeof record->name);
        memcpy(record->name, name, strlen(name));
        atomic_store(&record->word, ((word >> 1) + 1) << 1 | LIVE);
        return (int)i;
    }
    return -1;
}

static forebay_status lock_table(forebay_arena *arena, const char *name, int *lock_out, forebay_error *error)
{
    forebay_status status;
    *lock_out = fb_file_lock(arena, CREATION_LOCK, TABLE_LOCK_MS, &status);
    if (*lock_out < 0)
        return fb_error(error, status, 0, "could not change the channel '%s': another process holds the arena's tables; "
                        "try again, or look for a stopped process with 'forebay stat'", name);
    return FOREBAY_OK;
}

static forebay_status find_or_create(forebay_arena *arena, const char *name, int *number, forebay_error *error)
{
    *number = find(arena, name);
    if (*number >= 0)
        return FOREBAY_OK;
    int lock;
    forebay_status status = lock_table(arena, name, &lock, error);
    if (status != FOREBAY_OK)
        return status;
    *number = find(arena, name);
    if (*number < 0)
        *number = create(arena, name);
    if (*number < 0)
        status = fb_error(error, FOREBAY_FULL, 0, "could not create the channel '%s': the arena has %u channels already, all it "
                          "can; drop one", name, CHANNEL_COUNT);
    fb_transient_close(lock);
    return status;
}

static forebay_status check_name(const char *name, forebay_error *error)
{
    size_t length = name != NULL ? strlen(name) : 0;
    if (length == 0 || length > FOREBAY_NAME_MAX)
        return fb_error(error, FOREBAY_INVALID, 0, "a channel's name has 1 to %u bytes, this one has %zu", FOREBAY_NAME_MAX, length);
    return FOREBAY_OK;
}

forebay_status forebay_channel_open(forebay_arena *arena, const char *name, forebay_channel **channel_out, forebay_error *error)
{
    *channel_out = NULL;
    int number = -1;
    forebay_status status = fb_arena_enter(arena);
    if (status == FOREBAY_OK)
        status = check_name(name, error);
    if (status == FOREBAY_OK)
        status = find_or_create(arena, name, &number, error);
    if (status != FOREBAY_OK)
        return status;
    forebay_channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL)
        return fb_error(error, FOREBAY_NOMEM, 0, "out of memory");
    channel->arena = arena;
    channel->record = &arena->super->channels[number];
    channel->word = atomic_load(&channel->record->word);
    memcpy(channel->name, name, strlen(name));
    *channel_out = channel;
    return FOREBAY_OK;
}

void forebay_channel_close(forebay_channel *channel) { free(channel); }
const char *forebay_channel_name(const forebay_channel *channel) { return channel->name; }

/* Under the lock. */
static forebay_status drop(forebay_arena *arena, uint32_t number)
{
    arena_channel *record = &arena->super->channels[number];
    for (uint32_t i = 0; i < CHANNEL_LISTENERS; i++)
        if (listens(arena, fb_heard_row(atomic_load(&record->heard[i]))))
            return FOREBAY_BUSY;
    atomic_store(&record->word, atomic_load(&record->word) & ~LIVE);
    hear_nothing(record);
    return FOREBAY_OK;
}

forebay_status forebay_channel_drop(forebay_arena *arena, const char *name)
{
    forebay_status status = fb_arena_enter(arena);
    if (status == FOREBAY_OK)
        status = check_name(name, NULL);
    int lock;
    if (status == FOREBAY_OK)
        status = lock_table(arena, name, &lock, NULL);
    if (status != FOREBAY_OK)
        return status;
    int number = find(arena, name);
    status = number < 0 ? FOREBAY_MISS : drop(arena, (uint32_t)number);
    fb_transient_close(lock);
    return status;
}

/* ---- what was heard ---- */

static uint64_t mark_of(const forebay_channel *channel)
{
    return fb_channel_mark(channel->word, (uint32_t)(channel->record - channel->arena->super->channels));
}

static bool is_open(const forebay_channel *channel) { return atomic_load(&channel->record->word) == channel->word; }

uint64_t forebay_channel_now(const forebay_channel *channel) { return fb_now_ms(channel->arena); }

static uint64_t age_of(const arena_channel *record, uint64_t now)
{
    uint64_t heard = fb_channel_heard(record);
    return heard == 0 ? UINT64_MAX : heard < now ? now - heard : 0;
}

uint64_t forebay_channel_age(const forebay_channel *channel)
{
    return is_open(channel) ? age_of(channel->record, fb_now_ms(channel->arena)) : UINT64_MAX;
}

/* ---- who listens ---- */

/* May this place be taken?  One of this handle's own row may: a session that ended, or one of a dead handle. */
static bool is_free(const forebay_channel *channel, uint32_t place, uint64_t heard, uint64_t now, uint64_t quiet_ms)
{
    uint32_t row = fb_heard_row(heard);
    if (row == own_row(channel->arena) || !listens(channel->arena, row))
        return true;
    uint64_t last = atomic_load(&channel->record->claimed[place]);
    if (fb_heard_ms(heard) > last)
        last = fb_heard_ms(heard);
    return last < now && now - last > quiet_ms;
}

static bool claim_place(forebay_channel *channel, uint32_t place, uint64_t now, uint64_t quiet_ms, forebay_listener *listener)
{
    arena_channel *record = channel->record;
    uint64_t heard = atomic_load(&record->heard[place]);
    if (!is_free(channel, place, heard, now, quiet_ms))
        return false;
    uint64_t mine = fb_heard_next(heard, own_row(channel->arena), 0);
    if (!atomic_compare_exchange_strong(&record->heard[place], &heard, mine))
        return false;
    atomic_store(&record->claimed[place], now);
    *listener = (forebay_listener){{place, fb_heard_claim(mine)}};
    return true;
}

/* The place that this row has already, or the first: two in one process would die together. */
static uint32_t first_place(const forebay_channel *channel)
{
    for (uint32_t i = 0; i < CHANNEL_LISTENERS; i++)
        if (fb_heard_row(atomic_load(&channel->record->heard[i])) == own_row(channel->arena))
            return i;
    return 0;
}

forebay_status forebay_channel_claim(forebay_channel *channel, uint64_t quiet_ms, forebay_listener *listener)
{
    forebay_arena *arena = channel->arena;
    *listener = (forebay_listener){{CHANNEL_LISTENERS}};
    forebay_status status = fb_arena_enter(arena);
    if (status != FOREBAY_OK)
        return status;
    if (!is_open(channel))
        return FOREBAY_CLOSED;
    uint64_t now = fb_now_ms(arena);
    uint32_t first = first_place(channel);
    for (uint32_t i = 0; i < CHANNEL_LISTENERS; i++)
        if (claim_place(channel, (first + i) % CHANNEL_LISTENERS, now, quiet_ms, listener))
            return FOREBAY_OK;
    return FOREBAY_EXISTS;
}

/* The word of the listener's place; false: it is another's by now. */
static bool word_of(const forebay_channel *channel, const forebay_listener *listener, uint64_t *word)
{
    uint64_t place = listener->reserved[RESERVED_PLACE];
    if (place >= CHANNEL_LISTENERS || fb_arena_enter(channel->arena) != FOREBAY_OK || !is_open(channel))
        return false;
    *word = atomic_load(&channel->record->heard[place]);
    return fb_heard_claim(*word) == listener->reserved[RESERVED_CLAIM] && fb_heard_row(*word) == own_row(channel->arena);
}

forebay_status forebay_channel_join(forebay_channel *channel, const forebay_listener *listener, uint64_t since_ms)
{
    uint64_t word;
    if (!word_of(channel, listener, &word))
        return FOREBAY_MISS;
    uint64_t other = fb_heard_ms(atomic_load(&channel->record->heard[1 - listener->reserved[RESERVED_PLACE]]));
    return other > since_ms && other - since_ms > TICK_MS ? FOREBAY_OK : FOREBAY_TIMEOUT;
}

forebay_status forebay_channel_begin(forebay_channel *channel, const forebay_listener *listener)
{
    uint64_t word;
    if (!word_of(channel, listener, &word))
        return FOREBAY_MISS;
    fb_caches_forget(channel->arena, mark_of(channel));
    return FOREBAY_OK;
}

forebay_status forebay_channel_beat(forebay_channel *channel, const forebay_listener *listener, uint64_t sent_ms)
{
    uint64_t word;
    uint64_t sent = sent_ms < HEARD_MS_MASK ? sent_ms : HEARD_MS_MASK;
    if (!word_of(channel, listener, &word))
        return FOREBAY_MISS;
    while (fb_heard_ms(word) < sent) {
        uint64_t next = (word & ~HEARD_MS_MASK) | sent;
        if (atomic_compare_exchange_strong(&channel->record->heard[listener->reserved[RESERVED_PLACE]], &word, next))
            return FOREBAY_OK;
        if (fb_heard_claim(word) != listener->reserved[RESERVED_CLAIM])
            return FOREBAY_MISS;
    }
    return FOREBAY_OK;
}

void forebay_channel_leave(forebay_channel *channel, const forebay_listener *listener)
{
    uint64_t word;
    if (!word_of(channel, listener, &word))
        return;
    _Atomic uint64_t *heard = &channel->record->heard[listener->reserved[RESERVED_PLACE]];
    while (fb_heard_claim(word) == listener->reserved[RESERVED_CLAIM]
           && !atomic_compare_exchange_strong(heard, &word, fb_heard_next(word, HEARD_NOBODY, fb_heard_ms(word))))
        ; /* what was heard stays heard */
}

/* ---- caches that follow ---- */

/* Does a live process listen to the channel with this mark? */
static bool is_listened_to(forebay_arena *arena, uint64_t mark)
{
    uint32_t number = (uint32_t)(mark & 0xff) - 1;
    if (number >= CHANNEL_COUNT)
        return false;
    const arena_channel *record = &arena->super->channels[number];
    return fb_channel_mark(atomic_load(&record->word), number) == mark
           && (listens(arena, fb_heard_row(atomic_load(&record->heard[0])))
               || listens(arena, fb_heard_row(atomic_load(&record->heard[1]))));
}

forebay_status forebay_cache_follow(forebay_cache *cache, const forebay_channel *channel, uint64_t most_behind_ms)
{
    forebay_status status = fb_arena_enter(cache->arena);
    if (status != FOREBAY_OK)
        return status;
    if (channel->arena != cache->arena)
        return FOREBAY_INVALID;
    if (!is_open(channel))
        return FOREBAY_CLOSED;
    uint64_t mark = mark_of(channel), before = atomic_load(&cache->record->channel);
    if (before != mark && is_listened_to(cache->arena, before))
        return FOREBAY_CONFLICT;
    cache->channel_word = channel->word;
    cache->most_behind_ms = most_behind_ms;
    cache->channel = channel->record;
    /* the mark first: what is filled after the clear is of who begins from then on, too */
    return atomic_exchange(&cache->record->channel, mark) == mark ? FOREBAY_OK : forebay_clear(cache);
}

bool forebay_channel_follower(const forebay_channel *channel, uint32_t i, char name[FOREBAY_NAME_MAX + 1])
{
    return fb_arena_enter(channel->arena) == FOREBAY_OK && is_open(channel)
           && fb_caches_follower(channel->arena, mark_of(channel), i, name);
}

/* ---- for people, and for verify ---- */

bool forebay_channel_at(forebay_arena *arena, uint32_t i, forebay_channel_info *info)
{
    if (fb_arena_enter(arena) != FOREBAY_OK)
        return false;
    for (uint32_t n = 0; n < CHANNEL_COUNT; n++) {
        const arena_channel *record = &arena->super->channels[n];
        if ((atomic_load(&record->word) & LIVE) == 0 || i-- != 0)
            continue;
        *info = (forebay_channel_info){.age_ms = age_of(record, fb_now_ms(arena))};
        memcpy(info->name, record->name, FOREBAY_NAME_MAX);
        for (uint32_t l = 0; l < CHANNEL_LISTENERS; l++) {
            uint32_t row = fb_heard_row(atomic_load(&record->heard[l]));
            if (listens(arena, row))
                info->pids[l] = atomic_load(&arena->rows[row].pid);
        }
        return true;
    }
    return false;
}

const char *fb_channels_inspect(const forebay_arena *arena)
{
    for (uint32_t i = 0; i < CHANNEL_COUNT; i++) {
        const arena_channel *record = &arena->super->channels[i];
        if ((atomic_load(&record->word) & LIVE) != 0 && (record->name[0] == 0 || record->name[sizeof record->name - 1] != 0))
            return "a channel has no name";
        for (uint32_t l = 0; l < CHANNEL_LISTENERS; l++) {
            uint32_t row = fb_heard_row(atomic_load(&record->heard[l]));
            if ((atomic_load(&record->word) & LIVE) != 0 && row != HEARD_NOBODY && row >= arena->geometry.row_count)
                return "a channel has a listener that there cannot be";
        }
    }
    return NULL;
}

void fb_channels_clear(forebay_arena *arena)
{
    for (uint32_t i = 0; i < CHANNEL_COUNT; i++)
        hear_nothing(&arena->super->channels[i]);
}
