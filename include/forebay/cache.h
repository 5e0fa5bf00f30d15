/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_CACHE_H
#define FOREBAY_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <forebay/arena.h>

FOREBAY_BEGIN

/* A named set of entries in an arena.  Threads and processes: as the arena.
 *
 * No call waits for another process: a get that loses every race is a miss, a
 * set that finds nothing evictable returns FOREBAY_FULL at once. */
typedef struct forebay_cache forebay_cache;

#define FOREBAY_NAME_MAX 47u     /* bytes of a cache's name */
#define FOREBAY_KEY_MAX 4095u    /* bytes of a key */
#define FOREBAY_TTL_FOREVER UINT64_MAX
#define FOREBAY_TTL_STORED (UINT64_MAX - 1) /* of a cache: whatever it has; a new one: for ever */
#define FOREBAY_TTL_DEFAULT 0u   /* the cache's own */
#define FOREBAY_QUOTA_STORED 0u  /* whatever the cache has; a new one: none */
#define FOREBAY_QUOTA_NONE UINT64_MAX
#define FOREBAY_TAGS_MAX 16u     /* tags of an entry */

typedef struct forebay_cache_options {
    uint64_t ttl_ms;  /* of entries set without one; 0 or FOREBAY_TTL_FOREVER: for ever; or FOREBAY_TTL_STORED */
    uint32_t version; /* of this handle, not stored: entries carry the version of the handle that wrote
                         them and are misses for handles of another one, which may replace and delete
                         them; so that two releases of a program can run side by side.  0: none */
    bool update;      /* store these options in place of others */
    /* Quotas, in bytes of the arena's segments (a 512th to a 1024th of it; rounded
     * up).  What other caches need never evicts a cache below its share; what it
     * does not use of that is lent to them.  All shares together take at most
     * three quarters of the arena. */
    uint64_t share;   /* FOREBAY_QUOTA_STORED, FOREBAY_QUOTA_NONE or bytes */
    /* A cache that has its limit (8 segments at least) makes room from itself.  It
     * takes no entry larger than half of it. */
    uint64_t limit;   /* the same */
    /* How values are stored; NULL: whatever the cache has; a new one: "auto".
     * "none": as they are.  The name of a codec, alone or with a level ("zstd:9"):
     * packed with that, unless that gains less than an eighth.  "auto": as zstd at
     * its usual level, small values only once there is a dictionary.  zstd and lz4
     * use a dictionary trained from the cache's own values, in a thread of the
     * process that sets the value which makes it due.  Values that are hit often
     * are kept unpacked, within a thirty-second of the arena while that is full. */
    const char *codec;
} forebay_cache_options;

/* Open the cache `name` (1 to FOREBAY_NAME_MAX bytes), creating it if needed.
 * The ttl, the quotas and the codec of `options` are stored by whoever creates it, or asks
 * for `update` (handles that are open keep their ttl and codec; quotas hold for all at
 * once); NULL takes what is stored.  Another one than the stored:
 * FOREBAY_CONFLICT.  Quotas that cannot be kept: FOREBAY_INVALID.  No room for
 * one more cache: FOREBAY_FULL.  The caller ends `*cache_out` with
 * forebay_cache_close(). */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_cache_open(forebay_arena *arena, const char *name, const forebay_cache_options *options,
                   forebay_cache **cache_out, forebay_error *error);
FOREBAY_API void forebay_cache_close(forebay_cache *cache);
FOREBAY_API const char *forebay_cache_name(const forebay_cache *cache);
FOREBAY_API uint64_t forebay_cache_ttl_ms(const forebay_cache *cache);
FOREBAY_API uint32_t forebay_cache_version(const forebay_cache *cache);
#define FOREBAY_CODEC_TEXT 32u
/* The option `codec` as text. */
FOREBAY_API void forebay_cache_codec(const forebay_cache *cache, char text[FOREBAY_CODEC_TEXT]);

/* Whether this handle packs values at all. */
FOREBAY_API bool forebay_cache_packs(const forebay_cache *cache);

/* Train a dictionary from what is in the cache now, in this call (0.1 to 1 s).
 * FOREBAY_OK: new values are packed with it.  FOREBAY_MISS: there are too few
 * values, or it would not pack better than what there is.  FOREBAY_BUSY: another
 * process or thread is at it.  FOREBAY_INVALID: the cache's codec takes none. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status forebay_cache_train(forebay_cache *cache);

/* A copy of the dictionary that new values are packed with now, for those who pack
 * values for other places the same way.  FOREBAY_OK: `*bytes_out` is the caller's, for free();
 * `*codec_out`: name of the codec, a constant; `*id_out`: another for every other dictionary of the arena.
 * FOREBAY_MISS: the cache has none. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_cache_dictionary(forebay_cache *cache, void **bytes_out, size_t *length_out, const char **codec_out, uint32_t *id_out);
/* Its id alone, without a copy; 0: none. */
FOREBAY_API uint32_t forebay_cache_dictionary_id(forebay_cache *cache);

/* For logs: a dictionary of the cache that this process has trained, in the
 * background or by forebay_cache_train(), and that has become current. */
typedef struct forebay_trained {
    uint32_t dictionary; /* its id */
    uint32_t ratio;      /* thousandths: values / packed, of those it was tried on */
} forebay_trained;
/* Take what there is to tell: each is told once for all handles of the arena in
 * this process, and of several since the last call the last one only.  false:
 * nothing.  One load of memory where that is so: call it after sets. */
FOREBAY_API bool forebay_cache_trained(forebay_cache *cache, forebay_trained *trained);

/* Remove the cache `name` and all its entries; its handles miss and fail with
 * FOREBAY_CLOSED from then on.  FOREBAY_MISS if there is none. */
FOREBAY_API forebay_status forebay_cache_drop(forebay_arena *arena, const char *name);
/* Copy the i-th cache's name; false past the last. */
FOREBAY_API bool forebay_cache_name_at(forebay_arena *arena, uint32_t i, char name[FOREBAY_NAME_MAX + 1]);

/* How a value is encoded: three bits stored with the entry. */
typedef enum forebay_kind {
    FOREBAY_KIND_BYTES = 0,
    FOREBAY_KIND_MSGPACK = 1,
    FOREBAY_KIND_INT = 2, /* 8 bytes, little-endian two's complement: incr works on it */
    /* No value, and that is known: a negative entry.  Gets find it, so that nobody
     * need look elsewhere; to add, replace, incr, touch, cas, pop and delete there
     * is nothing. */
    FOREBAY_KIND_ABSENT = 3,
} forebay_kind;

/* Where a value goes: must return room for `length` bytes, or NULL to give up
 * (FOREBAY_NOMEM).  May be called again for the same key when the entry moved
 * or changed during the copy: what was given before is then void.  `length` is
 * at most forebay_arena_max_entry(). */
typedef struct forebay_sink {
    void *(*room)(void *context, size_t item, size_t length, forebay_kind kind);
    void *context;
} forebay_sink;

/* Copy the value of a key into what `sink` provides (item 0).  FOREBAY_OK: the
 * bytes are exactly one value that was set for this key.  FOREBAY_MISS: none. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_get(forebay_cache *cache, const void *key, size_t key_length, const forebay_sink *sink);

/* The same into a caller's buffer.  `*length_out` is the value's length also if
 * it did not fit (FOREBAY_TOOBIG). */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_get_into(forebay_cache *cache, const void *key, size_t key_length, void *buffer,
                 size_t capacity, size_t *length_out, forebay_kind *kind_out);

/* forebay_get() that leaves nothing behind: it counts in no statistics, nor as a use
 * of the entry to those who evict.  For second looks, and for who only inspects.  It
 * takes longer. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_peek(forebay_cache *cache, const void *key, size_t key_length, const forebay_sink *sink);

/* Where an entry is, so that who keeps its value, decoded perhaps, can ask whether
 * the entry is still the same without reading it again. */
#define FOREBAY_PLACE_TAGS 4u /* entries with more tags have no place */
typedef struct forebay_place {
    void *slot; /* private, as all of it; NULL: no place, never holds */
    uint64_t word, generation, cache_word, hash, expiry, units;
    uint32_t segment, version, number, tag_count;
    uint64_t tags[FOREBAY_PLACE_TAGS];
} forebay_place;
/* forebay_get(), and where the entry is.  No place after FOREBAY_OK: the entry
 * changed meanwhile, or has too many tags. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_get_placed(forebay_cache *cache, const void *key, size_t key_length, const forebay_sink *sink,
                   forebay_place *place);
/* Would a get of the key give the value that forebay_get_placed() gave with this
 * place, by this handle or one of the same cache and version?  It looks at the
 * entry's slot, its segment's life, the cache's, the clock and the tags: six loads.
 * If so, this is a hit: it counts as one, in the statistics and for eviction.
 * False says nothing: the entry may only have moved.  It never waits.  A place is
 * good in the children of a fork, too; not in other handles of the arena. */
FOREBAY_API bool forebay_place_holds(forebay_cache *cache, const forebay_place *place);

/* A value read in place.  The bytes do not change and stay until the view is
 * closed, whatever is set, deleted or evicted; the entry's space is not used for
 * others as long.  Where that cannot be (views of this process are on 64 parts of
 * the arena already, or a fourth of it is kept by views) it is a private copy. */
typedef struct forebay_view {
    const void *data;
    size_t length;
    forebay_kind kind;
    bool zero_copy;       /* `data` is in the arena */
    forebay_arena *arena; /* private from here on; NULL: closed */
    void *copy;
    uint32_t pin;
} forebay_view;
/* FOREBAY_OK: the caller ends `view` with forebay_view_close(), in any thread,
 * before the arena is closed; the cache may be closed before.  After a fork the
 * child has its views, too, and must close them.  FOREBAY_MISS: no entry. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_view_open(forebay_cache *cache, const void *key, size_t key_length, forebay_view *view);
/* Closing a closed one does nothing. */
FOREBAY_API void forebay_view_close(forebay_view *view);

/* A key for the batched calls. */
typedef struct forebay_key {
    const void *data;
    size_t length;
} forebay_key;

/* Get `count` keys with memory latency overlapped.  For item i `status[i]` is
 * FOREBAY_OK or FOREBAY_MISS.  Stops at FOREBAY_NOMEM, returned.  Items are
 * independent of each other: this is no snapshot. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_get_many(forebay_cache *cache, const forebay_key *keys, size_t count,
                 const forebay_sink *sink, forebay_status *status);

typedef enum forebay_set_mode {
    FOREBAY_SET = 0,     /* always */
    FOREBAY_ADD = 1,     /* only if absent: else FOREBAY_EXISTS */
    FOREBAY_REPLACE = 2, /* only if present: else FOREBAY_MISS */
} forebay_set_mode;

/* Store a value.  `ttl_ms`: FOREBAY_TTL_DEFAULT, FOREBAY_TTL_FOREVER or
 * milliseconds.  On FOREBAY_FULL or FOREBAY_TOOBIG an older value of the key is
 * removed in mode FOREBAY_SET, so that no stale one is served. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_set(forebay_cache *cache, const void *key, size_t key_length, const void *value,
            size_t value_length, forebay_kind kind, uint64_t ttl_ms, forebay_set_mode mode);

typedef struct forebay_set_options {
    uint64_t ttl_ms; /* as forebay_set() */
    forebay_set_mode mode;
    /* Up to FOREBAY_TAGS_MAX tags, of 1 to FOREBAY_KEY_MAX bytes each: the entry
     * is a miss as soon as one of them is invalidated. */
    const forebay_key *tags;
    size_t tag_count;
    /* NULL, or what forebay_tag_mark() gave for each tag before the value was
     * made: an invalidation since then catches the entry, too. */
    const uint64_t *tag_marks;
} forebay_set_options;
/* forebay_set() with tags. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_set_with(forebay_cache *cache, const void *key, size_t key_length, const void *value,
                 size_t value_length, forebay_kind kind, const forebay_set_options *options);
/* Make every entry of this cache that was set with the tag a miss, in constant
 * time, for all processes.  A set that began before counts as before.  One in
 * some thousands of other tags may share the fate (128 counters in the smallest
 * arenas, one per 8 KiB in others). */
FOREBAY_API forebay_status forebay_invalidate_tag(forebay_cache *cache, const void *tag, size_t tag_length);

/* Where a tag's invalidations stand, for forebay_set_options.tag_marks. */
FOREBAY_API uint64_t forebay_tag_mark(const forebay_cache *cache, const void *tag, size_t tag_length);

/* A value being written straight into the arena: forebay_put_begin() gives room
 * of `put->capacity` (at least `value_capacity`) bytes at `put->data`; then
 * exactly one of commit and abort.  Between them the calling thread may do
 * anything, other operations included; keep it short, a piece of the arena is
 * held meanwhile.  A process killed in between loses only this value.  The value
 * is stored as it is, also in a cache that packs. */
typedef struct forebay_put {
    void *data;
    size_t capacity;
    uint64_t reserved[8]; /* private */
} forebay_put;
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_put_begin(forebay_cache *cache, const void *key, size_t key_length, size_t value_capacity,
                  const forebay_set_options *options, forebay_put *put); /* options->mode is not used */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_put_commit(forebay_cache *cache, forebay_put *put, size_t value_length, forebay_kind kind,
                   forebay_set_mode mode);
FOREBAY_API void forebay_put_abort(forebay_cache *cache, forebay_put *put);

typedef struct forebay_item {
    forebay_key key;
    const void *value;
    size_t value_length;
    forebay_kind kind;
} forebay_item;
/* Store `count` items; `status[i]` as forebay_set_with().  Returns FOREBAY_OK if all
 * were stored, else the first failure (the others are tried all the same). */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_set_many(forebay_cache *cache, const forebay_item *items, size_t count,
                 const forebay_set_options *options, forebay_status *status);

/* FOREBAY_OK if there was one, else FOREBAY_MISS. */
FOREBAY_API forebay_status forebay_delete(forebay_cache *cache, const void *key, size_t key_length);
/* The same, but what is being loaded for the key now, or written under a lease, will be stored. */
FOREBAY_API forebay_status forebay_expel(forebay_cache *cache, const void *key, size_t key_length);
/* Delete `count` keys; `*deleted` is how many were there.  What is not FOREBAY_OK says why
 * the next key could not be deleted; those after it were not tried. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_delete_many(forebay_cache *cache, const forebay_key *keys, size_t count, size_t *deleted);

/* Add `delta` to an integer entry; an absent one counts as `initial` first and
 * takes `ttl_ms`, a present one keeps its expiry.  FOREBAY_TYPE: the entry is
 * of another kind.  FOREBAY_OVERFLOW: nothing changed. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_incr(forebay_cache *cache, const void *key, size_t key_length, int64_t delta,
             int64_t initial, uint64_t ttl_ms, int64_t *value_out);

/* Give an entry another time to live, from now on.  FOREBAY_MISS: none there.
 * FOREBAY_FULL: it keeps its own. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_touch(forebay_cache *cache, const void *key, size_t key_length, uint64_t ttl_ms);

/* Milliseconds that an entry has left, FOREBAY_TTL_FOREVER; of a negative one, too.
 * FOREBAY_MISS: none there. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_ttl_left(forebay_cache *cache, const void *key, size_t key_length, uint64_t *ms_out);

/* Get and delete in one step: of several callers one gets the value.  `sink` as
 * forebay_get(); FOREBAY_NOMEM: the entry stays. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_pop(forebay_cache *cache, const void *key, size_t key_length, const forebay_sink *sink);

/* What stands for a value in forebay_cas(): a 64-bit hash of it (XXH3, seeded by
 * the arena).  Of a value that a get gave, it is that get's token. */
FOREBAY_API uint64_t
forebay_token(const forebay_cache *cache, const void *value, size_t value_length, forebay_kind kind);
/* Store a value if the entry's is still the one with this token: else
 * FOREBAY_EXISTS, or FOREBAY_MISS if there is none.  An entry that was changed
 * and changed back counts as the same.  FOREBAY_FULL: it stays as it was. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_cas(forebay_cache *cache, const void *key, size_t key_length, uint64_t token,
            const void *value, size_t value_length, forebay_kind kind,
            const forebay_set_options *options);

/* Visit the keys of the cache: those in the next `buckets` buckets of the index
 * (about six keys of all caches each) from `*cursor` on, 0 at first, and 0 again
 * when all were seen.  `visit` gets a private copy and calls no operation;
 * false ends the call with FOREBAY_NOMEM.  Keys that are there all the time are
 * visited once, but for the few that the index moves meanwhile: those may be
 * missed, or come twice. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_scan(forebay_cache *cache, uint64_t *cursor, size_t buckets,
             bool (*visit)(void *context, const void *key, size_t key_length), void *context);

/* A whole entry, as forebay_export() gives it. */
typedef struct forebay_entry {
    const void *key;
    size_t key_length;
    const void *value; /* unpacked */
    size_t value_length;
    uint64_t ttl_ms;   /* milliseconds left, or FOREBAY_TTL_FOREVER */
    forebay_kind kind;
    uint32_t version;  /* of the handle that wrote it; 0: none */
    uint32_t tag_count; /* how many tags it has; which ones is not stored */
} forebay_entry;

/* Visit the entries of the cache, those of all versions and negative ones too, in
 * the way of forebay_scan(), to write them elsewhere.  Each is one that was there as
 * it is given, key, value and time to live; all of them are no snapshot.  It counts
 * in no statistics, and not as a use of the entries.  Channels that the handle
 * follows are not asked.  `visit` gets private copies, holds nothing up however
 * long it takes, and may call operations; false ends the call with
 * FOREBAY_INTERRUPTED.  FOREBAY_NOMEM: no memory for a copy; `*cursor` is where to go on. */
FOREBAY_API FOREBAY_MUST_CHECK forebay_status
forebay_export(forebay_cache *cache, uint64_t *cursor, size_t buckets,
               bool (*visit)(void *context, const forebay_entry *entry), void *context);

/* Drop all entries: constant time but for once in 256 times. */
FOREBAY_API forebay_status forebay_clear(forebay_cache *cache);

/* Entries of this cache; expired ones count until their space is reclaimed, and
 * a process killed inside a set or delete may leave it one off.  0: none, or the cache
 * was dropped; forebay_cache_get_stats() tells which. */
FOREBAY_API uint64_t forebay_len(forebay_cache *cache);

typedef struct forebay_cache_stats {
    uint64_t hits, misses;      /* of gets, keys of get_many counted one by one */
    uint64_t sets;              /* stored: set, add, replace, incr, touch, cas */
    uint64_t deletes;           /* that found an entry */
    uint64_t evictions;         /* live entries dropped for room */
    uint64_t expirations;       /* expired entries whose space was reclaimed */
    uint64_t entries;           /* as forebay_len() */
    uint64_t share, limit;      /* as they were asked for; 0: none */
    uint64_t bytes;             /* of the segments it has, if it has a share or a limit; else 0 */
    char codec[FOREBAY_CODEC_TEXT]; /* as stored */
    /* of caches that pack, since they were created */
    uint64_t packed_hits;       /* of the hits: had to be unpacked */
    uint64_t value_bytes;       /* of values set that could have been packed */
    uint64_t stored_bytes;      /* what those took, keys and headers not counted */
    uint64_t warmed;            /* entries stored again unpacked because they were hit often */
    uint32_t dictionary;        /* id of the current one; 0: none */
    uint32_t dictionary_ratio;  /* thousandths: values / packed, when it was trained */
    uint64_t dictionary_age_ms; /* since then */
} forebay_cache_stats;
FOREBAY_API forebay_status forebay_cache_get_stats(forebay_cache *cache, forebay_cache_stats *stats);

/* A cache as who only looks sees it. */
typedef struct forebay_cache_info {
    char name[FOREBAY_NAME_MAX + 1];
    uint64_t ttl_ms;            /* of entries set without one; 0: for ever */
    forebay_cache_stats stats;
} forebay_cache_info;
/* The i-th cache; false: there are not so many.  It never makes one, as forebay_cache_open() does.
 * While caches are made and dropped, one may be left out or come twice. */
FOREBAY_API bool forebay_cache_at(forebay_arena *arena, uint32_t i, forebay_cache_info *info);

/* Entries of a cache that a get would find, and the bytes that they take: header, key and padding included. */
typedef struct forebay_cache_room {
    char name[FOREBAY_NAME_MAX + 1];
    uint64_t entries;
    uint64_t raw_bytes;      /* of those stored as they were set */
    uint64_t packed_bytes;   /* of those whose values are packed */
    uint64_t unpacked_bytes; /* what the packed ones would take if they were not */
} forebay_cache_room;
/* Look at about `buckets` buckets of the index (64 bytes, some six entries of all caches each), evenly spread, other
 * ones at every `turn` (0, 1, 2, ...), and add up what the entries there take, by cache: the names, in the order of
 * forebay_cache_at(), are written, too.  Returns for how many caches, at most `capacity`; *part_out: the part of the index that
 * was looked at, above 0 to 1; divide by it.  Entries that move meanwhile may be missed.  It writes nothing to
 * the arena; 4,096 buckets take some milliseconds. */
FOREBAY_API uint32_t forebay_cache_rooms(forebay_arena *arena, uint64_t turn, uint64_t buckets, forebay_cache_room *rooms,
                                         uint32_t capacity, double *part_out);

FOREBAY_END
#endif
