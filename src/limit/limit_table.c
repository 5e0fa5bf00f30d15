/* SPDX-License-Identifier: Apache-2.0 */
/* Limits by name.  Changes are made under the byte lock of the file that the cache
 * table has, too. */
#include <stdlib.h>
#include <string.h>

#include "arena/registry.h"
#include "base/error.h"
#include "limit/limits.h"

#define TABLE_LOCK_MS 10000u

forebay_limit fb_limit_handle(forebay_arena *arena, uint32_t i)
{
    const arena_geometry *g = &arena->geometry;
    return (forebay_limit){
        .arena = arena,
        .record = &arena->limits[i],
        .permits = arena->permits + (size_t)i * g->permit_count,
        .places = arena->places + (size_t)i * g->place_count,
        .word = atomic_load(&arena->limits[i].word),
    };
}

int fb_limit_find(const forebay_arena *arena, const char *name)
{
    for (uint32_t i = 0; i < arena->geometry.limit_count; i++) {
        const arena_limit *record = &arena->limits[i];
        uint64_t word = atomic_load(&record->word);
        if (fb_limit_is_live(word) && strncmp(record->name, name, sizeof record->name) == 0
            && atomic_load(&record->word) == word)
            return (int)i;
    }
    return -1;
}

static void clear_queue(const forebay_limit *limit)
{
    atomic_store(&limit->record->waiting, 0);
    for (uint32_t i = 0; i < limit->arena->geometry.place_count; i++)
        atomic_store(&limit->places[i].word, 0);
    for (uint32_t i = 0; i < limit->arena->geometry.permit_count; i++)
        atomic_store(&limit->permits[i], fb_permit_free(0));
}

static int create_record(forebay_arena *arena, const char *name, uint32_t most)
{
    for (uint32_t i = 0; i < arena->geometry.limit_count; i++) {
        forebay_limit limit = fb_limit_handle(arena, i);
        if ((limit.word & 3) != LIMIT_FREE)
            continue;
        memset(limit.record->name, 0, sizeof limit.record->name);
        memcpy(limit.record->name, name, strlen(name));
        atomic_store(&limit.record->most, most);
        clear_queue(&limit);
        atomic_store(&limit.record->word, ((limit.word >> 2) + 1) << 2 | LIMIT_LIVE);
        return (int)i;
    }
    return -1;
}

static forebay_status lock_table(forebay_arena *arena, const char *name, int *lock_out, forebay_error *error)
{
    forebay_status status;
    *lock_out = fb_file_lock(arena, CREATION_LOCK, TABLE_LOCK_MS, &status);
    if (*lock_out < 0)
        return fb_error(error, status, 0, "could not change the limit '%s': another process holds the arena's tables; try "
                        "again, or look for a stopped process with 'forebay stat'", name);
    return FOREBAY_OK;
}

static forebay_status find_or_create(forebay_arena *arena, const char *name, uint32_t most, int *number, forebay_error *error)
{
    *number = fb_limit_find(arena, name);
    if (*number >= 0)
        return FOREBAY_OK;
    if (most == 0)
        return FOREBAY_MISS;
    int lock;
    forebay_status status = lock_table(arena, name, &lock, error);
    if (status != FOREBAY_OK)
        return status;
    *number = fb_limit_find(arena, name);
    if (*number < 0)
        *number = create_record(arena, name, most);
    if (*number < 0)
        status = fb_error(error, FOREBAY_FULL, 0, "could not create the limit '%s': the arena holds %u limits already, all "
                          "it can; drop one, or make a larger arena", name, arena->geometry.limit_count);
    fb_transient_close(lock);
    return status;
}

/* Another number of permits than is asked for. */
static forebay_status settle_most(forebay_limit *limit, const char *name, uint32_t most, bool update, forebay_error *error)
{
    uint32_t stored = atomic_load(&limit->record->most);
    if (most == 0 || stored == most)
        return FOREBAY_OK;
    if (!update)
        return fb_error(error, FOREBAY_CONFLICT, 0, "the limit '%s' exists with %u permits, not %u: use that number, or change "
                        "it for all processes with update", name, stored, most);
    int lock;
    forebay_status status = lock_table(limit->arena, name, &lock, error);
    if (status != FOREBAY_OK)
        return status;
    if (fb_limit_is_open(limit)) {
        atomic_store(&limit->record->most, most);
        fb_permits_released(limit);
    } else {
        status = fb_error(error, FOREBAY_CLOSED, 0, "the limit '%s' was dropped while it was changed: open it again", name);
    }
    fb_transient_close(lock);
    return status;
}

static forebay_status check_arguments(const forebay_arena *arena, const char *name, uint32_t most, forebay_error *error)
{
    size_t length = name != NULL ? strlen(name) : 0;
    if (length == 0 || length > FOREBAY_NAME_MAX)
        return fb_error(error, FOREBAY_INVALID, 0, "a limit's name has 1 to %u bytes, this one has %zu", FOREBAY_NAME_MAX, length);
    if (most > forebay_limit_max(arena))
        return fb_error(error, FOREBAY_INVALID, 0, "a limit of this arena has at most %u permits, not %u; a larger arena takes "
                        "more, one for each 64 KiB", forebay_limit_max(arena), most);
    return FOREBAY_OK;
}

forebay_status forebay_limit_open(forebay_arena *arena, const char *name, uint32_t most, bool update, forebay_limit **limit_out,
                                  forebay_error *error)
{
    *limit_out = NULL;
    forebay_status status = fb_arena_enter(arena);
    if (status == FOREBAY_OK)
        status = check_arguments(arena, name, most, error);
    int number;
    if (status == FOREBAY_OK)
        status = find_or_create(arena, name, most, &number, error);
    if (status != FOREBAY_OK)
        return status;
    forebay_limit *limit = malloc(sizeof *limit);
    if (limit == NULL)
        return fb_error(error, FOREBAY_NOMEM, 0, "out of memory");
    *limit = fb_limit_handle(arena, (uint32_t)number);
    memcpy(limit->name, name, strlen(name)); /* the rest is 0 */
    status = settle_most(limit, name, most, update, error);
    if (status != FOREBAY_OK) {
        free(limit);
        return status;
    }
    *limit_out = limit;
    return FOREBAY_OK;
}

void forebay_limit_close(forebay_limit *limit) { free(limit); }
const char *forebay_limit_name(const forebay_limit *limit) { return limit->name; }
uint32_t forebay_limit_max(const forebay_arena *arena) { return arena->geometry.permit_count; }

/* A live process waits. */
static bool is_waited_for(const forebay_limit *limit)
{
    for (uint32_t i = 0; i < limit->arena->geometry.place_count; i++) {
        uint64_t word = atomic_load(&limit->places[i].word);
        if (word != 0 && !fb_place_is_left(limit->arena, word))
            return true;
    }
    return false;
}

/* Under the lock.  Who has taken a permit before is seen; after, none can be taken. */
static forebay_status drop_unused(forebay_limit *limit)
{
    uint64_t taken;
    if (is_waited_for(limit) || !fb_permits_take_all(limit, &taken))
        return FOREBAY_BUSY;
    if (is_waited_for(limit)) {
        fb_permits_give_back_all(limit, taken);
        return FOREBAY_BUSY;
    }
    atomic_store(&limit->record->word, (limit->word & ~UINT64_C(3)) | LIMIT_FREE);
    fb_permits_released(limit); /* who has begun to wait meanwhile learns it */
    return FOREBAY_OK;
}

forebay_status forebay_limit_drop(forebay_arena *arena, const char *name)
{
    forebay_status status = fb_arena_enter(arena);
    if (status == FOREBAY_OK)
        status = check_arguments(arena, name, 0, NULL);
    int lock;
    if (status == FOREBAY_OK)
        status = lock_table(arena, name, &lock, NULL);
    if (status != FOREBAY_OK)
        return status;
    int number = fb_limit_find(arena, name);
    if (number < 0) {
        status = FOREBAY_MISS;
    } else {
        forebay_limit limit = fb_limit_handle(arena, (uint32_t)number);
        status = drop_unused(&limit);
    }
    fb_transient_close(lock);
    return status;
}

void fb_limits_clear(forebay_arena *arena)
{
    for (uint32_t i = 0; i < arena->geometry.limit_count; i++) {
        forebay_limit limit = fb_limit_handle(arena, i);
        clear_queue(&limit);
    }
}
