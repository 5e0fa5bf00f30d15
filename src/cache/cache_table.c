/* SPDX-License-Identifier: Apache-2.0 */
/* Caches by name.  Changes of the table are made under a byte lock of the file,
 * which the kernel frees when its holder dies; `word` says live only after the
 * rest is written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arena/registry.h"
#include "base/error.h"
#include "cache/cache_state.h"
#include "cache/purge.h"
#include "cache/quota.h"
#include "cache/trainer.h"

#define TABLE_LOCK_MS 10000u
/* Entries name a generation by 9 bits of its 24. */
#define PURGE_EVERY 256u
#define GENERATION_MASK 0xffffffu
#define ANY_LIFE UINT64_MAX

static uint64_t record_word(const arena_cache *record)
{
    return atomic_load_explicit(&record->word, memory_order_acquire);
}

/* The options that are stored; 0: for ever, none. */
typedef struct stored_options {
    uint64_t ttl_ms, share, limit;
    uint32_t codec; /* packed.h; 0: auto */
} stored_options;

/* A record as of one moment. */
typedef struct found_record {
    int number; /* -1: none */
    uint32_t life;
    stored_options options;
} found_record;

static stored_options options_of(const arena_cache *record)
{
    return (stored_options){atomic_load(&record->ttl_ms), atomic_load(&record->share), atomic_load(&record->limit),
                            atomic_load(&record->codec)};
}

static void store_options(arena_cache *record, const stored_options *options)
{
    atomic_store(&record->ttl_ms, options->ttl_ms);
    atomic_store(&record->share, options->share);
    atomic_store(&record->limit, options->limit);
    if (atomic_exchange(&record->codec, options->codec) != options->codec)
        fb_training_forget(record);
}

/* The live record of this name. */
static found_record find_record(const forebay_arena *arena, const char *name)
{
    for (uint32_t i = 0; i < arena->geometry.cache_count; i++) {
        const arena_cache *record = &arena->caches[i];
        uint64_t word = record_word(record);
        bool named = (word & 1) != 0 && strncmp(record->name, name, sizeof record->name) == 0;
        found_record found = {(int)i, fb_cache_life(word), options_of(record)};
        uint64_t again = record_word(record); /* name and options are those of this life if it is still that */
        if (named && (again & 1) != 0 && fb_cache_life(again) == found.life)
            return found;
    }
    return (found_record){.number = -1};
}

/* The next generation after `generation` may be given out only if no entry can
 * be left of the one with the same 9 bits: 512 before.  A purge removes all entries
 * of old generations; one that was killed does not count. */
static void purge_if_due(forebay_arena *arena, arena_cache *record, uint32_t generation)
{
    uint32_t purged = atomic_load(&record->purged);
    if (((generation - purged) & GENERATION_MASK) < PURGE_EVERY)
        return;
    fb_purge(arena);
    atomic_store(&record->purged, generation);
}

/* Forget the entries of what the record holds: they carry another generation.
 * False if it is not alive as `life` any more (ANY_LIFE: whatever it is). */
static bool next_generation(forebay_arena *arena, arena_cache *record, uint64_t life, bool live, bool same_life)
{
    uint64_t word = record_word(record), next;
    do {
        purge_if_due(arena, record, fb_cache_generation(word));
        word = record_word(record);
        if (life != ANY_LIFE && ((word & 1) == 0 || fb_cache_life(word) != life))
            return false;
        next = fb_cache_word(fb_cache_generation(word) + 1, fb_cache_life(word) + !same_life, live);
    } while (!atomic_compare_exchange_strong(&record->word, &word, next));
    return true;
}

static forebay_status create_record(forebay_arena *arena, const char *name, const stored_options *options)
{
    for (uint32_t i = 0; i < arena->geometry.cache_count; i++) {
        arena_cache *record = &arena->caches[i];
        uint64_t word = record_word(record);
        if ((word & 1) != 0)
            continue;
        memset(record->name, 0, sizeof record->name);
        memcpy(record->name, name, strlen(name));
        store_options(record, options);
        fb_training_forget(record);
        atomic_store(&record->channel, 0);
        atomic_store_explicit(&record->entries_cleared, 0, memory_order_relaxed);
        fb_counters_forget(arena, i);
        (void)next_generation(arena, record, ANY_LIFE, true, false);
        return FOREBAY_OK;
    }
    return FOREBAY_FULL;
}

/* What is asked for, on top of what is stored. */
static stored_options asked(const forebay_cache_options *options, stored_options stored)
{
    if (options == NULL)
        return stored;
    if (options->ttl_ms != FOREBAY_TTL_STORED)
        stored.ttl_ms = options->ttl_ms == FOREBAY_TTL_FOREVER ? 0 : options->ttl_ms;
    if (options->share != FOREBAY_QUOTA_STORED)
        stored.share = options->share == FOREBAY_QUOTA_NONE ? 0 : options->share;
    if (options->limit != FOREBAY_QUOTA_STORED)
        stored.limit = options->limit == FOREBAY_QUOTA_NONE ? 0 : options->limit;
    if (options->codec != NULL)
        (void)fb_packing_parse(options->codec, &stored.codec); /* checked before */
    return stored;
}

static bool are_same(const stored_options *a, const stored_options *b)
{
    return a->ttl_ms == b->ttl_ms && a->share == b->share && a->limit == b->limit && a->codec == b->codec;
}

/* Can the quotas be kept?  Under the table lock; `number`: whose, -1 a new one's. */
static forebay_status check_quotas(const forebay_arena *arena, const char *name, int number, const stored_options *options,
                                   forebay_error *error)
{
    uint64_t least = (uint64_t)QUOTA_LIMIT_MIN << arena->segment_shift, others = 0;
    uint64_t most = (uint64_t)QUOTA_SHARES_MAX(arena->geometry.segment_count) << arena->segment_shift;
    for (uint32_t i = 0; i < arena->geometry.cache_count; i++)
        if ((record_word(&arena->caches[i]) & 1) != 0 && (int)i != number)
            others += (uint64_t)fb_group_share(arena, i + 1) << arena->segment_shift;
    if (options->limit != 0 && options->limit < least)
        return fb_error(error, FOREBAY_INVALID, 0, "a limit of %llu bytes for the cache '%s' is too small: %llu is the least in "
                        "this arena", (unsigned long long)options->limit, name, (unsigned long long)least);
    if (options->limit != 0 && options->share > options->limit)
        return fb_error(error, FOREBAY_INVALID, 0, "the cache '%s' cannot have a share of %llu bytes and a limit of %llu: the "
                        "limit is to be the larger", name, (unsigned long long)options->share,
                        (unsigned long long)options->limit);
    uint64_t left = others < most ? most - others : 0;
    if (options->share > left)
        return fb_error(error, FOREBAY_INVALID, 0, "a share of %llu bytes for the cache '%s' is too large: all shares together "
                        "take at most %llu of this arena, and others have %llu of that", (unsigned long long)options->share,
                        name, (unsigned long long)most, (unsigned long long)others);
    return FOREBAY_OK;
}

static forebay_status create_named(forebay_arena *arena, const char *name, const forebay_cache_options *options, forebay_error *error)
{
    stored_options wanted = asked(options, (stored_options){0});
    forebay_status status = check_quotas(arena, name, -1, &wanted, error);
    if (status != FOREBAY_OK)
        return status;
    status = create_record(arena, name, &wanted);
    if (status != FOREBAY_OK)
        fb_error(error, status, 0, "could not create the cache '%s': the arena holds %u caches already, all it can; drop "
                 "one, or make a larger arena", name, arena->geometry.cache_count);
    return status;
}

static forebay_status find_or_create(forebay_arena *arena, const char *name, const forebay_cache_options *options, found_record *found,
                                     forebay_error *error)
{
    *found = find_record(arena, name);
    if (found->number >= 0)
        return FOREBAY_OK;
    forebay_status status;
    int lock = fb_file_lock(arena, CREATION_LOCK, TABLE_LOCK_MS, &status);
    if (lock < 0) {
        return fb_error(error, status, 0, "could not create the cache '%s': another process holds the arena's cache table; "
                        "try again, or look for a stopped process with 'forebay stat'", name);
    }
    *found = find_record(arena, name);
    if (found->number < 0) {
        status = create_named(arena, name, options, error);
        *found = find_record(arena, name);
    }
    fb_transient_close(lock);
    return status;
}

/* Store the options in the record found; false if that is gone meanwhile. */
static forebay_status update_options(forebay_arena *arena, const char *name, const forebay_cache_options *options,
                                     found_record *found, forebay_error *error)
{
    forebay_status status;
    int lock = fb_file_lock(arena, CREATION_LOCK, TABLE_LOCK_MS, &status);
    if (lock < 0)
        return fb_error(error, status, 0, "could not change the options of the cache '%s': another process holds the arena's "
                        "cache table; try again, or look for a stopped process with 'forebay stat'", name);
    *found = find_record(arena, name);
    if (found->number >= 0) {
        stored_options wanted = asked(options, found->options);
        status = check_quotas(arena, name, found->number, &wanted, error);
        if (status == FOREBAY_OK) {
            found->options = wanted;
            store_options(&arena->caches[found->number], &wanted);
        }
    } else {
        status = fb_error(error, FOREBAY_CLOSED, 0, "the cache '%s' was dropped while its options were changed: open it again", name);
    }
    fb_transient_close(lock);
    return status;
}

/* Text of a stored option, for people. */
static const char *text_of(uint64_t stored, double unit, const char *suffix, char text[40])
{
    if (stored == 0)
        return "none";
    snprintf(text, 40, "%.12g %s", (double)stored / unit, suffix);
    return text;
}

static forebay_status refuse_other_options(const char *name, const stored_options *stored, const stored_options *wanted,
                                           forebay_error *error)
{
    char text[40];
    const char *which = "ttl", *have = text_of(stored->ttl_ms, 1000, "s", text);
    if (stored->share != wanted->share) {
        which = "share";
        have = text_of(stored->share, 1, "bytes", text);
    } else if (stored->limit != wanted->limit) {
        which = "limit";
        have = text_of(stored->limit, 1, "bytes", text);
    } else if (stored->codec != wanted->codec) {
        which = "codec";
        fb_packing_text(stored->codec, text);
        have = text;
    }
    return fb_error(error, FOREBAY_CONFLICT, 0, "the cache '%s' exists with another %s (%s): open it with that one, or without "
                    "options, or change it with update", name, which, have);
}

/* The options of the cache found are as asked for, or are made so. */
static forebay_status settle_options(forebay_arena *arena, const char *name, const forebay_cache_options *options,
                                     found_record *found, forebay_error *error)
{
    stored_options wanted = asked(options, found->options);
    if (are_same(&wanted, &found->options))
        return FOREBAY_OK;
    if (!options->update)
        return refuse_other_options(name, &found->options, &wanted, error);
    return update_options(arena, name, options, found, error);
}

static forebay_status refuse_codec(const char *codec, forebay_error *error)
{
    char names[128] = "";
    for (int c = 1; forebay_codec_get(c) != NULL; c++)
        snprintf(names + strlen(names), sizeof names - strlen(names), ", %s (%d to %d)", forebay_codec_get(c)->name,
                 forebay_codec_get(c)->least_level, forebay_codec_get(c)->most_level);
    return fb_error(error, FOREBAY_INVALID, 0, "there is no codec or level '%.40s': use auto, none, or a name with or without "
                    "a level, as zstd:9: %s", codec, names + 2);
}

forebay_status forebay_cache_open(forebay_arena *arena, const char *name, const forebay_cache_options *options,
                                  forebay_cache **cache_out, forebay_error *error)
{
    *cache_out = NULL;
    forebay_status status = fb_arena_enter(arena);
    if (status != FOREBAY_OK)
        return status;
    size_t length = name != NULL ? strlen(name) : 0;
    if (length == 0 || length > FOREBAY_NAME_MAX)
        return fb_error(error, FOREBAY_INVALID, 0, "a cache's name has 1 to %u bytes, this one has %zu", FOREBAY_NAME_MAX, length);
    uint32_t codec;
    if (options != NULL && options->codec != NULL && !fb_packing_parse(options->codec, &codec))
        return refuse_codec(options->codec, error);
    found_record found;
    status = find_or_create(arena, name, options, &found, error);
    if (status != FOREBAY_OK)
        return status;
    status = settle_options(arena, name, options, &found, error);
    if (status != FOREBAY_OK)
        return status;
    forebay_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL)
        return fb_error(error, FOREBAY_NOMEM, 0, "out of memory");
    cache->arena = arena;
    cache->record = &arena->caches[found.number];
    cache->number = (uint32_t)found.number;
    cache->life = found.life;
    cache->ttl_ms = found.options.ttl_ms;
    cache->version = options != NULL ? options->version : 0;
    cache->codec = found.options.codec;
    cache->packing = fb_packing_of(cache->codec);
    atomic_init(&cache->counters_owner, UINT64_MAX);
    memcpy(cache->name, name, length);
    *cache_out = cache;
    return FOREBAY_OK;
}

void forebay_cache_close(forebay_cache *cache) { free(cache); }
const char *forebay_cache_name(const forebay_cache *cache) { return cache->name; }
uint64_t forebay_cache_ttl_ms(const forebay_cache *cache) { return cache->ttl_ms; }
void forebay_cache_codec(const forebay_cache *cache, char text[FOREBAY_CODEC_TEXT])
{
    fb_packing_text(cache->codec, text);
}

bool forebay_cache_packs(const forebay_cache *cache) { return cache->packing.codec != FOREBAY_CODEC_NONE; }
uint32_t forebay_cache_version(const forebay_cache *cache) { return cache->version; }

forebay_status forebay_cache_drop(forebay_arena *arena, const char *name)
{
    forebay_status status = fb_arena_enter(arena);
    if (status != FOREBAY_OK)
        return status;
    if (name == NULL || strlen(name) > FOREBAY_NAME_MAX)
        return FOREBAY_INVALID;
    int lock = fb_file_lock(arena, CREATION_LOCK, TABLE_LOCK_MS, &status);
    if (lock < 0)
        return status;
    int number = find_record(arena, name).number;
    if (number >= 0)
        (void)next_generation(arena, &arena->caches[number], ANY_LIFE, false, false);
    fb_transient_close(lock);
    return number >= 0 ? FOREBAY_OK : FOREBAY_MISS;
}

/* The number of the i-th live record; -1: there are not so many. */
static int live_record(const forebay_arena *arena, uint32_t i)
{
    for (uint32_t n = 0; n < arena->geometry.cache_count; n++)
        if ((record_word(&arena->caches[n]) & 1) != 0 && i-- == 0)
            return (int)n;
    return -1;
}

static void copy_name(const arena_cache *record, char name[FOREBAY_NAME_MAX + 1])
{
    memcpy(name, record->name, FOREBAY_NAME_MAX);
    name[FOREBAY_NAME_MAX] = 0;
}

bool forebay_cache_name_at(forebay_arena *arena, uint32_t i, char name[FOREBAY_NAME_MAX + 1])
{
    int number = live_record(arena, i);
    if (number >= 0)
        copy_name(&arena->caches[number], name);
    return number >= 0;
}

/* False: the record's cache was dropped meanwhile. */
static bool describe_record(forebay_arena *arena, uint32_t number, forebay_cache_info *info)
{
    arena_cache *record = &arena->caches[number];
    uint64_t word = record_word(record);
    stored_options options = options_of(record);
    copy_name(record, info->name);
    info->ttl_ms = options.ttl_ms != FOREBAY_TTL_FOREVER ? options.ttl_ms : 0;
    forebay_cache looked_at = {.arena = arena, .record = record, .number = number, .life = fb_cache_life(word),
                               .packing = fb_packing_of(options.codec)};
    if ((word & 1) == 0 || forebay_cache_get_stats(&looked_at, &info->stats) != FOREBAY_OK)
        return false;
    word = record_word(record);
    return (word & 1) != 0 && fb_cache_life(word) == looked_at.life;
}

bool forebay_cache_at(forebay_arena *arena, uint32_t i, forebay_cache_info *info)
{
    if (fb_arena_enter(arena) != FOREBAY_OK)
        return false;
    int number = live_record(arena, i);
    while (number >= 0 && !describe_record(arena, (uint32_t)number, info))
        number = live_record(arena, i); /* another is the i-th now */
    return number >= 0;
}

bool fb_caches_follower(const forebay_arena *arena, uint64_t mark, uint32_t i, char *name)
{
    for (uint32_t n = 0; n < arena->geometry.cache_count; n++) {
        const arena_cache *record = &arena->caches[n];
        if ((record_word(record) & 1) == 0 || fb_mark_of(atomic_load(&record->channel)) != mark || i-- != 0)
            continue;
        copy_name(record, name);
        return true;
    }
    return false;
}

/* False: the cache of this life was dropped. */
static bool clear_record(forebay_arena *arena, uint32_t number, uint32_t life)
{
    arena_cache *record = &arena->caches[number];
    if (!next_generation(arena, record, life, true, true))
        return false;
    counter_sums sums;
    fb_counters_sum(arena, number, &sums);
    atomic_store_explicit(&record->entries_cleared, sums.entries, memory_order_relaxed);
    return true;
}

forebay_status forebay_clear(forebay_cache *cache)
{
    forebay_status status = fb_arena_enter(cache->arena);
    if (status != FOREBAY_OK)
        return status;
    return clear_record(cache->arena, cache->number, cache->life) ? FOREBAY_OK : FOREBAY_CLOSED;
}

void fb_caches_forget(forebay_arena *arena, uint64_t mark)
{
    for (uint32_t i = 0; i < arena->geometry.cache_count; i++) {
        uint64_t word = record_word(&arena->caches[i]);
        if ((word & 1) != 0 && fb_mark_of(atomic_load(&arena->caches[i].channel)) == mark)
            (void)clear_record(arena, i, fb_cache_life(word));
    }
}
