/* SPDX-License-Identifier: Apache-2.0 */
/* Writes that depend on what is there: read under a hold, append what follows
 * from it, swap exactly that entry over; begin again if it is another by then. */
#include "arena/arena_clock.h"
#include "base/copy.h"
#include "cache/put.h"
#include "cache/trainer.h"

typedef enum update_result { UPDATE_DONE, UPDATE_AGAIN } update_result;

/* One try at an update: sets *status on UPDATE_DONE.  UPDATE_AGAIN each time
 * means that another's write was stored: lock-free. */
typedef struct update {
    forebay_cache *cache;
    index_key key;
    uint32_t lane;
    uint64_t now;
    forebay_status status;
    int unsettled; /* looks that could not say whether there is an entry */
} update;

static forebay_status update_begin(update *u, forebay_cache *cache, const void *key, size_t key_length)
{
    u->cache = cache;
    u->unsettled = 0;
    forebay_status status = fb_cache_begin(cache, key, key_length, &u->key);
    if (status != FOREBAY_OK)
        return status;
    u->lane = fb_lane_enter(cache->arena);
    u->now = fb_now_ms(cache->arena);
    return FOREBAY_OK;
}

static update_result done(update *u, forebay_status status)
{
    u->status = status;
    return UPDATE_DONE;
}

/* The key's entry, held, if it counts.  `*final`: that there is none is certain. */
static bool find_counting(update *u, index_match *match, bool *final)
{
    forebay_arena *arena = u->cache->arena;
    uint64_t moves = fb_index_moves(arena);
    index_look look = fb_index_look_settled(arena, u->lane, u->key.hash);
    *final = true;
    if (fb_index_find_held(arena, u->lane, &u->key, &look, match))
        return fb_index_counts(arena, &u->key, &match->view, u->now);
    *final = (!fb_index_look_is_split(arena, &look) && fb_index_word(arena) == look.word && fb_index_moves(arena) == moves)
             || u->unsettled++ > INDEX_TRIES; /* damaged, or a race lost that often: a miss is never wrong */
    return false;
}

/* The tags of an entry that is held, to be written to its successor. */
static uint32_t copy_tags(const entry_view *view, uint64_t tags[FOREBAY_TAGS_MAX])
{
    uint32_t count = view->tag_count < FOREBAY_TAGS_MAX ? view->tag_count : FOREBAY_TAGS_MAX;
    if (count != 0) /* else there is no place they are at */
        fb_copy_out(tags, view->tags, count * (uint64_t)ENTRY_TAG_SIZE);
    return count;
}

/* ---- incr ---- */

static update_result try_incr(update *u, int64_t delta, int64_t initial, uint64_t ttl_ms, int64_t *value_out)
{
    forebay_cache *cache = u->cache;
    index_match match;
    int64_t value = initial;
    uint64_t tags[FOREBAY_TAGS_MAX];
    put_extras extras = {.expiry = fb_cache_expiry(cache, ttl_ms, u->now), .tags = tags};
    bool final;
    bool found = find_counting(u, &match, &final);
    if (found) {
        if (match.view.kind != FOREBAY_KIND_INT || match.view.value_length != sizeof value)
            return done(u, FOREBAY_TYPE);
        fb_copy_out(&value, match.view.value, sizeof value);
        extras.expiry = match.view.expiry;
        extras.tag_count = copy_tags(&match.view, tags);
    }
    if (__builtin_add_overflow(value, delta, &value))
        return done(u, FOREBAY_OVERFLOW);
    *value_out = value;
    forebay_put put;
    forebay_status status = fb_put_begin(cache, &u->key, sizeof value, &extras, u->now, u->lane, &put);
    if (status != FOREBAY_OK)
        return done(u, status);
    fb_copy_in(put.data, &value, sizeof value);
    fb_leases_break(cache->arena, u->key.hash);
    if (found)
        return fb_put_commit_over(cache, &put, sizeof value, FOREBAY_KIND_INT, &match) ? done(u, FOREBAY_OK) : UPDATE_AGAIN;
    status = fb_put_commit(cache, &put, sizeof value, FOREBAY_KIND_INT, FOREBAY_ADD, u->lane, u->now);
    return status == FOREBAY_EXISTS ? UPDATE_AGAIN : done(u, status);
}

forebay_status forebay_incr(forebay_cache *cache, const void *key, size_t key_length, int64_t delta, int64_t initial,
                            uint64_t ttl_ms, int64_t *value_out)
{
    update u;
    int64_t unused;
    forebay_status status = update_begin(&u, cache, key, key_length);
    if (status != FOREBAY_OK)
        return status;
    while (try_incr(&u, delta, initial, ttl_ms, value_out != NULL ? value_out : &unused) == UPDATE_AGAIN)
        ;
    fb_put_end(cache->arena, u.lane, u.now);
    return u.status;
}

/* ---- touch ---- */

/* The later segments of a run are not held while they are copied: they were
 * whole if the slot is the same when it is swapped. */
static update_result try_touch(update *u, uint64_t ttl_ms)
{
    index_match match;
    bool final;
    if (!find_counting(u, &match, &final))
        return final ? done(u, FOREBAY_MISS) : UPDATE_AGAIN;
    uint64_t tags[FOREBAY_TAGS_MAX];
    put_extras extras = {.expiry = fb_cache_expiry(u->cache, ttl_ms, u->now), .tags = tags,
                         .tag_count = copy_tags(&match.view, tags)};
    if (extras.expiry == 0 && match.view.expiry == 0)
        return done(u, FOREBAY_OK); /* for ever, as it was */
    forebay_put put;
    forebay_status status = fb_put_begin(u->cache, &u->key, match.view.value_length, &extras, u->now, u->lane, &put);
    if (status != FOREBAY_OK)
        return done(u, status);
    if ((match.view.header & ENTRY_PACKED) && !fb_put_note_packed(u->cache->arena, &put, fb_packed_dictionary(&match.view))) {
        fb_put_abort(u->cache->arena, &put);
        bool changed = !fb_slot_same(atomic_load(match.slot), match.word);
        return changed ? UPDATE_AGAIN : done(u, FOREBAY_FULL);
    }
    fb_copy_across(put.data, match.view.value, match.view.value_length);
    return fb_put_commit_over(u->cache, &put, match.view.value_length, (forebay_kind)match.view.kind, &match)
               ? done(u, FOREBAY_OK) : UPDATE_AGAIN;
}

forebay_status forebay_touch(forebay_cache *cache, const void *key, size_t key_length, uint64_t ttl_ms)
{
    update u;
    forebay_status status = update_begin(&u, cache, key, key_length);
    if (status != FOREBAY_OK)
        return status;
    while (try_touch(&u, ttl_ms) == UPDATE_AGAIN)
        ;
    fb_put_end(cache->arena, u.lane, u.now);
    return u.status;
}

forebay_status forebay_ttl_left(forebay_cache *cache, const void *key, size_t key_length, uint64_t *ms_out)
{
    update u;
    index_match match;
    forebay_status status = update_begin(&u, cache, key, key_length);
    if (status != FOREBAY_OK)
        return status;
    index_look look = fb_index_look_settled(cache->arena, u.lane, u.key.hash);
    status = FOREBAY_MISS;
    if (!fb_cache_is_behind(cache, &u.key, u.now) && fb_index_find_held(cache->arena, u.lane, &u.key, &look, &match)
        && fb_index_readable(cache->arena, &u.key, &match.view, u.now)) {
        *ms_out = match.view.expiry == 0 ? FOREBAY_TTL_FOREVER : match.view.expiry - u.now;
        status = FOREBAY_OK;
    }
    fb_lane_release(cache->arena, u.lane, 0);
    fb_lane_release(cache->arena, u.lane, 1);
    fb_lane_leave(cache->arena, u.lane);
    return status;
}

/* ---- compare and set ---- */

static uint64_t token_seed(const forebay_cache *cache, forebay_kind kind)
{
    return cache->arena->hash_seed ^ ((uint64_t)kind + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

uint64_t forebay_token(const forebay_cache *cache, const void *value, size_t value_length, forebay_kind kind)
{
    return fb_hash(value, value_length, token_seed(cache, kind));
}

/* The token of the entry, held; of a packed one that of its value.  FOREBAY_MISS:
 * that cannot be read (any more). */
static forebay_status token_of_entry(const update *u, const entry_view *view, uint64_t *token)
{
    forebay_kind kind = (forebay_kind)view->kind;
    if (!(view->header & ENTRY_PACKED)) {
        *token = fb_hash_shared(view->value, view->value_length, token_seed(u->cache, kind));
        return FOREBAY_OK;
    }
    unpacked_value value;
    forebay_status status = fb_packed_read(u->cache->arena, view, &value);
    if (status != FOREBAY_OK)
        return status == FOREBAY_NOMEM ? FOREBAY_NOMEM : FOREBAY_MISS;
    *token = forebay_token(u->cache, value.data, value.length, kind);
    free(value.data);
    return FOREBAY_OK;
}

static update_result try_cas(update *u, uint64_t token, stored_value *stored, const void *value, size_t value_length,
                             forebay_kind kind, const put_extras *extras)
{
    index_match match;
    bool final;
    if (!find_counting(u, &match, &final))
        return final ? done(u, FOREBAY_MISS) : UPDATE_AGAIN;
    uint64_t there;
    forebay_status status = token_of_entry(u, &match.view, &there);
    if (!fb_slot_same(atomic_load(match.slot), match.word)) /* the later segments of a run are not held */
        return UPDATE_AGAIN;
    if (status != FOREBAY_OK)
        return done(u, status);
    if (there != token)
        return done(u, FOREBAY_EXISTS);
    forebay_put put;
    status = fb_put_stored(u->cache, &u->key, stored, value, value_length, extras, u->now, u->lane, &put);
    if (status != FOREBAY_OK)
        return done(u, status);
    fb_leases_break(u->cache->arena, u->key.hash);
    return fb_put_commit_over(u->cache, &put, stored->length, kind, &match) ? done(u, FOREBAY_OK) : UPDATE_AGAIN;
}

forebay_status forebay_cas(forebay_cache *cache, const void *key, size_t key_length, uint64_t token, const void *value,
                           size_t value_length, forebay_kind kind, const forebay_set_options *options)
{
    update u;
    forebay_status status = update_begin(&u, cache, key, key_length);
    if (status != FOREBAY_OK)
        return status;
    resolved_options resolved;
    status = fb_options_resolve(cache, options, u.now, &resolved);
    if (status == FOREBAY_OK && fb_value_is_bad(value, value_length, kind))
        status = FOREBAY_INVALID;
    u.status = status;
    if (status == FOREBAY_OK) {
        uint8_t buffer[PACKED_BUFFER];
        stored_value stored = fb_cache_pack(cache, u.key.hash, value, value_length, kind, buffer);
        while (try_cas(&u, token, &stored, value, value_length, kind, &resolved.extras) == UPDATE_AGAIN)
            ;
        fb_stored_clear(&stored);
    }
    fb_put_end(cache->arena, u.lane, u.now);
    return u.status;
}
