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
/* `claimed` of a place: row generation of who claimed it (low 24 bits) << 40 | arena ms. */
#define CLAIMED_GENERATION_SHIFT 40
#define CLAIMED_GENERATION_MASK UINT64_C(0xffffff)

struct forebay_channel {
    forebay_arena *arena;
    arena_channel *record;
    uint64_t word; /* of the record when opened: another means dropped */
    char name[FOREBAY_NAME_MAX + 1];
};

/* Of a listener: fb_heard_claim() of its word, and the generation of its row: a child may
 * have the row of its dead parent. */
enum { RESERVED_PLACE, RESERVED_CLAIM };
#define RESERVED_GENERATION_SHIFT 24
#define RESERVED_CLAIM_MASK ((UINT64_C(1) << RESERVED_GENERATION_SHIFT) - 1)

static uint32_t own_row(const forebay_arena *arena) { return (uint32_t)(fb_row_owner(arena) & 0xfff); }

static uint64_t claim_of(const forebay_listener *listener) { return listener->reserved[RESERVED_CLAIM] & RESERVED_CLAIM_MASK; }

/* The row of who has the place and is alive; HEARD_NOBODY: nobody. */
static uint32_t live_row(forebay_arena *arena, const arena_channel *record, uint32_t place)
{
    uint32_t row = fb_heard_row(atomic_load(&record->heard[place]));
    uint64_t generation = atomic_load(&record->claimed[place]) >> CLAIMED_GENERATION_SHIFT;
    return fb_row_left(arena, row, generation, CLAIMED_GENERATION_MASK) ? HEARD_NOBODY : row;
}

/* ---- by name ---- */

/* The live channel of this name and its word; -1: none. */
static int find(const forebay_arena *arena, const char *name, uint64_t *word_out)
{
    for (uint32_t i = 0; i < CHANNEL_COUNT; i++) {
        const arena_channel *record = &arena->super->channels[i];
        uint64_t word = atomic_load(&record->word);
        if ((word & LIVE) != 0 && strncmp(record->name, name, sizeof record->name) == 0 && atomic_load(&record->word) == word) {
            *word_out = word;
            return (int)i;
        }
    }
    return -1;
}

static void hear_nothing(arena_channel *record)
{
    for (uint32_t i = 0; i < CHANNEL_LISTENERS; i++) /* whoever listened does so no longer */
        atomic_store(&record->heard[i], fb_heard_next(atomic_load(&record->heard[i]), HEARD_NOBODY, 0));
}

static int create(forebay_arena *arena, const char *name, uint64_t *word_out)
{
    for (uint32_t i = 0; i < CHANNEL_COUNT; i++) {
        arena_channel *record = &arena->super->channels[i];
        uint64_t word = atomic_load(&record->word);
        if ((word & LIVE) != 0)
            continue;
        hear_nothing(record);
        memset(record->name, 0, sizeof record->name);
        memcpy(record->name, name, strlen(name));
        *word_out = ((word >> 1) + 1) << 1 | LIVE;
        atomic_store(&record->word, *word_out);
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

/* The word is that of the channel found: loaded later it could be another's by then. */
static forebay_status find_or_create(forebay_arena *arena, const char *name, int *number, uint64_t *word, forebay_error *error)
{
    *number = find(arena, name, word);
    if (*number >= 0)
        return FOREBAY_OK;
    int lock;
    forebay_status status = lock_table(arena, name, &lock, error);
    if (status != FOREBAY_OK)
        return status;
    *number = find(arena, name, word);
    if (*number < 0)
        *number = create(arena, name, word);
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
    uint64_t word = 0;
    forebay_status status = fb_arena_enter(arena);
    if (status == FOREBAY_OK)
        status = check_name(name, error);
    if (status == FOREBAY_OK)
        status = find_or_create(arena, name, &number, &word, error);
    if (status != FOREBAY_OK)
        return status;
    forebay_channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL)
        return fb_error(error, FOREBAY_NOMEM, 0, "out of memory");
    channel->arena = arena;
    channel->record = &arena->super->channels[number];
    channel->word = word;
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
        if (live_row(arena, record, i) != HEARD_NOBODY)
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
    uint64_t word;
    if (status == FOREBAY_OK)
        status = lock_table(arena, name, &lock, NULL);
    if (status != FOREBAY_OK)
        return status;
    int number = find(arena, name, &word);
    status = number < 0 ? FOREBAY_MISS : drop(arena, (uint32_t)number);
    fb_transient_close(lock);
    return status;
}

/* ---- what was heard ---- */

static bool is_open(const forebay_channel *channel) { return atomic_load(&channel->record->word) == channel->word; }

static uint64_t mark_of(const forebay_channel *channel)
{
    return fb_channel_mark(channel->word, (uint32_t)(channel->record - channel->arena->super->channels));
}

/* Who listens looks at the clock once a second, as readers do: the machine may have slept. */
uint64_t forebay_channel_now(const forebay_channel *channel) { return fb_time_of_get(channel->arena); }

uint64_t forebay_channel_age(const forebay_channel *channel)
{
    return is_open(channel) ? fb_channel_age(channel->record, fb_now_ms(channel->arena)) : UINT64_MAX;
}

/* ---- who listens ---- */

/* May this place be taken?  One of this handle's own row may: a session that ended, or one of a dead handle. */
static bool is_free(const forebay_channel *channel, uint32_t place, uint64_t heard, uint64_t now, uint64_t quiet_ms)
{
    if (fb_heard_row(heard) == own_row(channel->arena) || live_row(channel->arena, channel->record, place) == HEARD_NOBODY)
        return true;
    uint64_t claimed = fb_heard_age(atomic_load(&channel->record->claimed[place]) & HEARD_MS_MASK, now);
    uint64_t heard_ago = fb_heard_age(fb_heard_ms(heard), now);
    return (claimed < heard_ago ? claimed : heard_ago) > quiet_ms;
}

/* Note who claimed the place, and when, unless it is another's by now. */
static void note_claim(forebay_arena *arena, arena_channel *record, uint32_t place, uint64_t mine, uint64_t now)
{
    uint64_t note = (fb_row_owner(arena) >> 12 & CLAIMED_GENERATION_MASK) << CLAIMED_GENERATION_SHIFT | (now & HEARD_MS_MASK);
    uint64_t last;
    do {
        last = atomic_load(&record->claimed[place]); /* before the look: a note of who came after is not overwritten */
        if (fb_heard_claim(atomic_load(&record->heard[place])) != fb_heard_claim(mine))
            return;
    } while (!atomic_compare_exchange_strong(&record->claimed[place], &last, note));
}

/* What was heard stays heard. */
static void give_place_up(forebay_channel *channel, const forebay_listener *listener)
{
    _Atomic uint64_t *heard = &channel->record->heard[listener->reserved[RESERVED_PLACE]];
    uint64_t word = atomic_load(heard);
    while (fb_heard_claim(word) == claim_of(listener)
           && !atomic_compare_exchange_strong(heard, &word, fb_heard_next(word, HEARD_NOBODY, fb_heard_ms(word))))
        ;
}

/* What whoever had the place has heard stays heard.  A moment that cannot be would keep beats from raising it. */
static uint64_t kept_ms(uint64_t heard, uint64_t now) { return fb_heard_age(fb_heard_ms(heard), now) != UINT64_MAX ? fb_heard_ms(heard) : 0; }

static bool claim_place(forebay_channel *channel, uint32_t place, uint64_t now, uint64_t quiet_ms, forebay_listener *listener)
{
    arena_channel *record = channel->record;
    uint64_t heard = atomic_load(&record->heard[place]);
    if (!is_free(channel, place, heard, now, quiet_ms))
        return false;
    uint64_t mine = fb_heard_next(heard, own_row(channel->arena), kept_ms(heard, now));
    if (!atomic_compare_exchange_strong(&record->heard[place], &heard, mine))
        return false;
    note_claim(channel->arena, record, place, mine, now);
    *listener = (forebay_listener){{place, fb_row_owner(channel->arena) >> 12 << RESERVED_GENERATION_SHIFT | fb_heard_claim(mine)}};
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
        if (claim_place(channel, (first + i) % CHANNEL_LISTENERS, now, quiet_ms, listener)) {
            if (is_open(channel))
                return FOREBAY_OK;
            give_place_up(channel, listener); /* of a channel that was made in this one's place */
            return FOREBAY_CLOSED;
        }
    return FOREBAY_EXISTS;
}

/* The word of the listener's place; false: it is another's by now. */
static bool word_of(const forebay_channel *channel, const forebay_listener *listener, uint64_t *word)
{
    uint64_t place = listener->reserved[RESERVED_PLACE];
    if (place >= CHANNEL_LISTENERS || fb_arena_enter(channel->arena) != FOREBAY_OK || !is_open(channel))
        return false;
    *word = atomic_load(&channel->record->heard[place]);
    row_owner self = fb_row_owner(channel->arena);
    return fb_heard_claim(*word) == claim_of(listener) && fb_heard_row(*word) == (self & 0xfff)
           && self >> 12 == listener->reserved[RESERVED_CLAIM] >> RESERVED_GENERATION_SHIFT;
}

bool forebay_channel_is_shared(const forebay_channel *channel, const forebay_listener *listener)
{
    uint64_t place = listener->reserved[RESERVED_PLACE];
    return place < CHANNEL_LISTENERS && fb_arena_enter(channel->arena) == FOREBAY_OK && is_open(channel)
           && live_row(channel->arena, channel->record, 1 - (uint32_t)place) != HEARD_NOBODY;
}

forebay_status forebay_channel_join(forebay_channel *channel, const forebay_listener *listener, uint64_t since_ms)
{
    uint64_t word;
    if (!word_of(channel, listener, &word))
        return FOREBAY_MISS;
    uint64_t other = fb_heard_ms(atomic_load(&channel->record->heard[1 - listener->reserved[RESERVED_PLACE]]));
    bool later = other > since_ms && other - since_ms > TICK_MS;
    /* one that is still to come is of another clock, and not to be compared */
    return later && other <= fb_now_ms(channel->arena) + TICK_MS ? FOREBAY_OK : FOREBAY_TIMEOUT;
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
        if (fb_heard_claim(word) != claim_of(listener))
            return FOREBAY_MISS;
    }
    return FOREBAY_OK;
}

void forebay_channel_leave(forebay_channel *channel, const forebay_listener *listener)
{
    uint64_t word;
    if (word_of(channel, listener, &word))
        give_place_up(channel, listener);
}

/* ---- caches that follow ---- */

/* Is the channel of what a cache's record says one that is there? */
static bool is_live(const forebay_arena *arena, uint64_t mark)
{
    uint32_t number = (uint32_t)(mark & 0x7f) - 1;
    if (number >= CHANNEL_COUNT)
        return false; /* none; a damaged file */
    uint64_t word = atomic_load(&arena->super->channels[number].word);
    return (word & LIVE) != 0 && fb_channel_mark(word, number) == mark;
}

/* Drop the channel with this mark if nobody listens to it any more: the tier is on another server now, say. */
static bool drop_left(forebay_arena *arena, uint64_t mark)
{
    char name[sizeof arena->super->channels->name] = {0};
    memcpy(name, arena->super->channels[(mark & 0x7f) - 1].name, sizeof name - 1);
    forebay_status status = is_live(arena, mark) ? forebay_channel_drop(arena, name) : FOREBAY_MISS;
    return status == FOREBAY_OK || status == FOREBAY_MISS;
}

/* The cache's record says what it follows only once the cache was cleared after the
 * record said that it begins to: who finds it begun, by somebody who was killed
 * perhaps, clears it, too.  The generation tells one beginning from another. */
static forebay_status begin_to_follow(forebay_cache *cache, uint64_t mark)
{
    _Atomic uint64_t *followed = &cache->record->channel;
    uint64_t there = atomic_load(followed);
    while (there != mark) {
        if ((there & MARK_BEGUN) == 0 && is_live(cache->arena, there) && !drop_left(cache->arena, there))
            return FOREBAY_CONFLICT;
        uint64_t begun = fb_mark_begun(mark, fb_cache_generation(atomic_load(&cache->record->word)));
        if (!atomic_compare_exchange_strong(followed, &there, begun))
            continue;
        forebay_status status = forebay_clear(cache);
        if (status != FOREBAY_OK)
            return status;
        there = begun;
        if (atomic_compare_exchange_strong(followed, &there, mark))
            return FOREBAY_OK;
    }
    return FOREBAY_OK;
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
    status = begin_to_follow(cache, mark_of(channel));
    if (status != FOREBAY_OK)
        return status;
    cache->channel_word = channel->word;
    cache->most_behind_ms = most_behind_ms;
    cache->channel = channel->record;
    return FOREBAY_OK;
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
        *info = (forebay_channel_info){.age_ms = fb_channel_age(record, fb_now_ms(arena))};
        memcpy(info->name, record->name, FOREBAY_NAME_MAX);
        for (uint32_t l = 0; l < CHANNEL_LISTENERS; l++) {
            uint32_t row = live_row(arena, record, l);
            if (row != HEARD_NOBODY)
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
