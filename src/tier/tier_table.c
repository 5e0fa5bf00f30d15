/* SPDX-License-Identifier: Apache-2.0 */
/* Tiers: a record each in the superblock, which all processes count in, and a byte each in
 * the row of every process.  The row's owner alone writes that, so it ends with the row:
 * what a killed process said of a tier is gone when its row is swept, and is not believed
 * before. */
#include <forebay/tier.h>

#include <stdlib.h>
#include <string.h>

#include "arena/arena_clock.h"
#include "arena/registry.h"
#include "arena/rows.h"
#include "base/error.h"
#include "tier/tiers.h"

#define TABLE_LOCK_MS 100u /* nothing depends on it: not worth a longer wait */
#define LIVE UINT64_C(1)
#define USE_MASK 7u
#define LIFE_MASK 0x1fu
#define LIFE_SHIFT 3

static_assert(TIER_COUNT == FOREBAY_TIERS_MAX && TIER_COUNTS == FOREBAY_TIER_COUNTS, "the header says so");
static_assert(sizeof(((arena_tier *)0)->name) == FOREBAY_TIER_NAME_MAX + 1, "the header says so");

struct forebay_tier {
    forebay_arena *arena;
    arena_tier *record;
    uint64_t word;        /* of the record when opened: another means that it is another's by now */
    _Atomic uint32_t use; /* forebay_tier_use bits, as said last */
    char name[FOREBAY_TIER_NAME_MAX + 1];
};

/* ---- the byte in a row ---- */

static uint64_t byte_of(uint64_t word, uint32_t use)
{
    return (word >> 1 & LIFE_MASK) << LIFE_SHIFT | (use & USE_MASK);
}

/* How the row's owner uses the i-th tier, whose word is this; 0: not at all. */
static uint32_t use_in(const arena_row *row, uint32_t i, uint64_t word)
{
    uint64_t byte = atomic_load(&row->tiers) >> 8 * i & 0xff;
    return byte >> LIFE_SHIFT == (word >> 1 & LIFE_MASK) ? (uint32_t)byte & USE_MASK : 0;
}

/* In this process's own row: threads of it may do so at once, for other tiers, too. */
static void say_in_row(const forebay_tier *tier)
{
    uint32_t shift = 8 * (uint32_t)(tier->record - tier->arena->super->tiers), use;
    _Atomic uint64_t *tiers = &tier->arena->rows[atomic_load(&tier->arena->row)].tiers;
    uint64_t before = atomic_load(tiers), after;
    for (;;) {
        use = atomic_load(&tier->use);
        after = (before & ~(UINT64_C(0xff) << shift)) | byte_of(tier->word, use) << shift;
        if (after != before && !atomic_compare_exchange_strong(tiers, &before, after))
            continue;
        before = after;
        if (use == atomic_load(&tier->use)) /* else another thread has said something else meanwhile */
            return;
    }
}

/* Another handle of this process may have said how it uses the tier. */
static bool says_something(const forebay_tier *tier)
{
    uint32_t i = (uint32_t)(tier->record - tier->arena->super->tiers);
    return use_in(&tier->arena->rows[atomic_load(&tier->arena->row)], i, tier->word) != 0;
}

static bool row_lives(forebay_arena *arena, uint32_t row)
{
    uint64_t word = atomic_load(&arena->rows[row].word);
    return (word & 1) != 0 && !fb_row_is_dead(arena, (row_owner)row | (row_owner)(uint32_t)(word >> 1) << 12);
}

/* ---- by name ---- */

/* The live tier of this name and its word; NULL: none. */
static arena_tier *find(const forebay_arena *arena, const char *name, uint64_t *word_out)
{
    for (uint32_t i = 0; i < TIER_COUNT; i++) {
        arena_tier *record = &arena->super->tiers[i];
        uint64_t word = atomic_load(&record->word);
        if ((word & LIVE) != 0 && strncmp(record->name, name, sizeof record->name) == 0 && atomic_load(&record->word) == word) {
            *word_out = word;
            return record;
        }
    }
    return NULL;
}

static bool is_used(forebay_arena *arena, uint32_t i, uint64_t word)
{
    for (uint32_t row = 0; row < fb_rows_used(arena); row++)
        if (use_in(&arena->rows[row], i, word) != 0 && row_lives(arena, row))
            return true;
    return false;
}

static uint64_t word_taken(uint64_t word) { return ((word >> 1) + 1) << 1; }

/* Under the lock: make the record nobody's, unless it is used.  Pairs with use(): either
 * sees what the other wrote before it looked. */
static bool take_unused(forebay_arena *arena, uint32_t i)
{
    _Atomic uint64_t *record_word = &arena->super->tiers[i].word;
    uint64_t word = atomic_load(record_word);
    if (is_used(arena, i, word))
        return false;
    atomic_store(record_word, word_taken(word));
    if (!is_used(arena, i, word))
        return true;
    atomic_store(record_word, word);
    return false;
}

/* Under the lock: a record that is nobody's, was never used if there is such a one; NULL: all are used. */
static arena_tier *take_record(forebay_arena *arena)
{
    for (uint32_t i = 0; i < TIER_COUNT; i++) {
        arena_tier *record = &arena->super->tiers[i];
        uint64_t word = atomic_load(&record->word);
        if ((word & LIVE) != 0)
            continue;
        atomic_store(&record->word, word_taken(word)); /* whoever wrote to it was killed, perhaps */
        return record;
    }
    fb_rows_sweep(arena); /* of those killed a moment ago, too */
    for (uint32_t i = 0; i < TIER_COUNT; i++)
        if (take_unused(arena, i))
            return &arena->super->tiers[i];
    return NULL;
}

/* Under the lock, a record that is nobody's. */
static void make(arena_tier *record, const char *name, uint64_t *word_out)
{
    for (uint32_t i = 0; i < TIER_COUNTS; i++)
        atomic_store(&record->counts[i], 0);
    atomic_store(&record->left_out, 0);
    memset(record->name, 0, sizeof record->name);
    memcpy(record->name, name, strlen(name));
    *word_out = atomic_load(&record->word) | LIVE;
    atomic_store(&record->word, *word_out);
}

static forebay_status find_or_make(forebay_arena *arena, const char *name, arena_tier **record, uint64_t *word,
                                   forebay_error *error)
{
    *record = find(arena, name, word);
    if (*record != NULL)
        return FOREBAY_OK;
    forebay_status status;
    int lock = fb_file_lock(arena, CREATION_LOCK, TABLE_LOCK_MS, &status);
    if (lock < 0)
        return fb_error(error, status, 0, "could not note the tier '%s': another process holds the arena's tables; "
                        "try again, or look for a stopped process with 'forebay stat'", name);
    status = FOREBAY_OK;
    *record = find(arena, name, word);
    if (*record == NULL) {
        *record = take_record(arena);
        if (*record != NULL)
            make(*record, name, word);
        else
            status = fb_error(error, FOREBAY_FULL, 0, "could not note the tier '%s': processes use %u others, as many as an arena "
                              "keeps account of", name, TIER_COUNT);
    }
    fb_transient_close(lock);
    return status;
}

static forebay_status check_name(const char *name, forebay_error *error)
{
    size_t length = name != NULL ? strlen(name) : 0;
    if (length == 0 || length > FOREBAY_TIER_NAME_MAX)
        return fb_error(error, FOREBAY_INVALID, 0, "a tier's name has 1 to %u bytes, this one has %zu", FOREBAY_TIER_NAME_MAX, length);
    return FOREBAY_OK;
}

static bool is_open(const forebay_tier *tier) { return atomic_load(&tier->record->word) == tier->word; }

/* Until the row says so, somebody may find that nobody uses the tier, and take its record. */
static forebay_status use(forebay_tier *tier, forebay_error *error)
{
    do {
        forebay_status status = find_or_make(tier->arena, tier->name, &tier->record, &tier->word, error);
        if (status != FOREBAY_OK)
            return status;
        if (!says_something(tier))
            say_in_row(tier);
    } while (!is_open(tier));
    return FOREBAY_OK;
}

forebay_status forebay_tier_open(forebay_arena *arena, const char *name, forebay_tier **tier_out, forebay_error *error)
{
    *tier_out = NULL;
    forebay_status status = fb_arena_enter(arena);
    if (status == FOREBAY_OK)
        status = check_name(name, error);
    if (status != FOREBAY_OK)
        return status;
    forebay_tier *tier = calloc(1, sizeof *tier);
    if (tier == NULL)
        return fb_error(error, FOREBAY_NOMEM, 0, "out of memory");
    tier->arena = arena;
    atomic_store(&tier->use, FOREBAY_TIER_USED);
    memcpy(tier->name, name, strlen(name)); /* the rest is 0 */
    status = use(tier, error);
    if (status != FOREBAY_OK) {
        free(tier);
        return status;
    }
    *tier_out = tier;
    return FOREBAY_OK;
}

void forebay_tier_close(forebay_tier *tier) { free(tier); }
const char *forebay_tier_name(const forebay_tier *tier) { return tier->name; }

/* ---- what is said of it ---- */

/* Say in the row how this process uses the tier; unless `again`, only if the row says
 * nothing of it, as that of a child of a fork. */
static forebay_status begin(const forebay_tier *tier, bool again)
{
    forebay_status status = fb_arena_enter(tier->arena);
    if (status != FOREBAY_OK)
        return status;
    if (!is_open(tier))
        return FOREBAY_CLOSED;
    if (again || !says_something(tier))
        say_in_row(tier);
    return is_open(tier) ? FOREBAY_OK : FOREBAY_CLOSED;
}

forebay_status forebay_tier_add(forebay_tier *tier, forebay_tier_count count, uint64_t number)
{
    if ((uint32_t)count >= TIER_COUNTS)
        return FOREBAY_INVALID;
    forebay_status status = begin(tier, false);
    if (status == FOREBAY_OK)
        atomic_fetch_add_explicit(&tier->record->counts[count], number, memory_order_relaxed);
    return status;
}

forebay_status forebay_tier_say(forebay_tier *tier, uint32_t use)
{
    if ((use & ~USE_MASK) != 0)
        return FOREBAY_INVALID;
    if (use == 0 && atomic_load(tier->arena->attached) == 0)
        return FOREBAY_OK; /* in a child of a fork that has said nothing */
    uint32_t before = atomic_exchange(&tier->use, use);
    forebay_status status = begin(tier, true);
    if (status == FOREBAY_OK && (use & ~before & FOREBAY_TIER_LEFT_OUT) != 0)
        atomic_store(&tier->record->left_out, fb_now_ms(tier->arena));
    return status;
}

/* ---- for people, and for verify ---- */

const char *forebay_tier_count_name(forebay_tier_count count)
{
    static const char *const names[TIER_COUNTS] = {
        [FOREBAY_TIER_HITS] = "hits",     [FOREBAY_TIER_MISSES] = "misses",   [FOREBAY_TIER_STORED] = "stored",
        [FOREBAY_TIER_ERRORS] = "errors", [FOREBAY_TIER_SKIPPED] = "skipped", [FOREBAY_TIER_OPENED] = "opened",
    };
    return (uint32_t)count < TIER_COUNTS ? names[count] : NULL;
}

/* Does the row, as it is now, use the tier? */
static bool user_of(forebay_arena *arena, uint32_t row, uint32_t i, uint64_t word, forebay_tier_user *user)
{
    const arena_row *record = &arena->rows[row];
    uint64_t owner = atomic_load(&record->word);
    *user = (forebay_tier_user){atomic_load(&record->pid), use_in(record, i, word)};
    return user->use != 0 && row_lives(arena, row) && atomic_load(&record->word) == owner;
}

uint32_t forebay_tier_users(forebay_arena *arena, const char *name, forebay_tier_user *users, uint32_t capacity)
{
    uint64_t word;
    const arena_tier *record = fb_arena_enter(arena) == FOREBAY_OK ? find(arena, name, &word) : NULL;
    uint32_t found = 0;
    forebay_tier_user user;
    for (uint32_t row = 0; record != NULL && row < fb_rows_used(arena); row++) {
        if (!user_of(arena, row, (uint32_t)(record - arena->super->tiers), word, &user))
            continue;
        if (found < capacity)
            users[found] = user;
        found++;
    }
    return found;
}

static void count_users(forebay_arena *arena, uint32_t i, uint64_t word, forebay_tier_info *info)
{
    forebay_tier_user user;
    for (uint32_t row = 0; row < fb_rows_used(arena); row++) {
        if (!user_of(arena, row, i, word, &user))
            continue;
        info->users++;
        info->left_out += (user.use & FOREBAY_TIER_LEFT_OUT) != 0;
        info->not_stored += (user.use & (FOREBAY_TIER_LEFT_OUT | FOREBAY_TIER_NOT_STORED)) == FOREBAY_TIER_NOT_STORED;
    }
}

/* False: it is another's by now. */
static bool fill_info(forebay_arena *arena, uint32_t i, uint64_t word, forebay_tier_info *info)
{
    const arena_tier *record = &arena->super->tiers[i];
    uint64_t left_out = atomic_load(&record->left_out), now = fb_now_ms(arena);
    *info = (forebay_tier_info){.left_out_ms = left_out == 0 ? UINT64_MAX : left_out < now ? now - left_out : 0};
    memcpy(info->name, record->name, FOREBAY_TIER_NAME_MAX);
    for (uint32_t k = 0; k < TIER_COUNTS; k++)
        info->counts[k] = atomic_load_explicit(&record->counts[k], memory_order_relaxed);
    count_users(arena, i, word, info);
    return atomic_load(&record->word) == word;
}

bool forebay_tier_at(forebay_arena *arena, uint32_t i, forebay_tier_info *info)
{
    if (fb_arena_enter(arena) != FOREBAY_OK)
        return false;
    for (uint32_t n = 0; n < TIER_COUNT; n++) {
        uint64_t word = atomic_load(&arena->super->tiers[n].word);
        if ((word & LIVE) == 0 || i != 0) {
            i -= (word & LIVE) != 0;
            continue;
        }
        if (fill_info(arena, n, word, info))
            return true;
    }
    return false;
}

const char *fb_tiers_inspect(const forebay_arena *arena)
{
    for (uint32_t i = 0; i < TIER_COUNT; i++) {
        const arena_tier *record = &arena->super->tiers[i];
        if ((atomic_load(&record->word) & LIVE) != 0 && (record->name[0] == 0 || record->name[sizeof record->name - 1] != 0))
            return "a tier has no name";
    }
    return NULL;
}
