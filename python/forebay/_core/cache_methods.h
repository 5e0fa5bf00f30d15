/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of Cache that live outside cache_type.c. */
#ifndef CORE_CACHE_METHODS_H
#define CORE_CACHE_METHODS_H

#include "objects.h"

/* Set the exception for a call on this cache and return NULL. */
PyObject *cache_raise(cache_object *self, forebay_status status);
/* The library's handle, or NULL with ClosedError. */
static inline forebay_cache *cache_handle(cache_object *self)
{
    if (__builtin_expect(self->cache == NULL, 0))
        arena_raise_closed(self->arena);
    return self->cache;
}

/* Look a key up: its value in `*value`, a new reference, NULL on a miss. */
int cache_look_up(cache_object *self, PyObject *key, PyObject **value);
/* The same for a key's bytes. */
int cache_look_up_bytes(cache_object *self, const void *key, size_t key_length, PyObject **value);
/* The same, decoded whole and without hooks. */
int cache_look_up_plain(cache_object *self, const void *key, size_t key_length, PyObject **value);
/* get() and lazy(): the key and default of a call; -1 with an exception. */
int cache_parse_get(PyObject *const *arguments, Py_ssize_t count, PyObject *names, const char *function,
                    PyObject **fallback);
/* 1: the key has an entry, of this kind; 0: none; -1: exception. */
int cache_find_kind(cache_object *self, PyObject *key, forebay_kind *kind);
/* The same for a key's bytes, by a look that leaves nothing behind. */
int cache_peek_kind(cache_object *self, const void *key, size_t key_length, forebay_kind *kind);
/* 1: stored; 0: not, because of the mode; -1: exception. */
int cache_store(cache_object *self, PyObject *key, PyObject *value, const forebay_set_options *options);
/* Set the exception for a write that failed. */
void cache_raise_not_stored(cache_object *self, forebay_status status);

/* Something was set: if this process has trained a dictionary for the cache since
 * the last call, that goes to the log.  May run Python code, which may close the
 * arena; no exception is set before or after. */
void cache_log_trained(cache_object *self);
static inline void cache_note_set(cache_object *self)
{
    if (self->packs)
        cache_log_trained(self);
}

#define TTL_PARAGRAPH                                                                                        \
    "ttl: seconds, a timedelta, or None for ever; omitted, the cache's.  0 or less is\n"                     \
    "a ValueError.\n"

#define TAGS_PARAGRAPH                                                                                       \
    "tags: up to 16 strs or other keys; invalidate_tag() makes all entries with a tag\n"                     \
    "misses at once.\n"

/* cache_store.c */
#define CACHE_SET_DOC                                                                                        \
    "set($self, key, value, /, *, ttl=..., tags=())\n--\n\n"                                                 \
    "Store a value.\n\n" TTL_PARAGRAPH TAGS_PARAGRAPH                                                                       \
    "TypeError: the key or value is of a type that cannot be stored; nothing\n"                              \
    "changed.  FullError, TooBigError: it was not stored, and an older value of the\n"                       \
    "key is gone, so that no stale one is served."
#define CACHE_ADD_DOC                                                                                        \
    "add($self, key, value, /, *, ttl=..., tags=())\n--\n\n"                                                          \
    "Store a value if the key has none: True if it was stored.\n\n" TTL_PARAGRAPH                            \
    "One of several that add the same key at once succeeds."
#define CACHE_REPLACE_DOC                                                                                    \
    "replace($self, key, value, /, *, ttl=..., tags=())\n--\n\n"                                                      \
    "Store a value if the key has one: True if it was stored.\n\n" TTL_PARAGRAPH
#define CACHE_DELETE_DOC "delete($self, key, /)\n--\n\nRemove a key: True if there was one."
#define CACHE_INCR_DOC                                                                                       \
    "incr($self, key, delta=1, /, *, initial=0, ttl=...)\n--\n\n"                                            \
    "Add delta to the int of a key and return the result.\n\n"                                               \
    "An absent key counts as initial first and takes ttl; a present one keeps its\n"                         \
    "expiry.  TypeMismatchError: the value is no int of 64 bits.  OverflowError: the\n"                      \
    "result is none; nothing changed."
#define CACHE_DECR_DOC                                                                                       \
    "decr($self, key, delta=1, /, *, initial=0, ttl=...)\n--\n\n"                                            \
    "Subtract delta from the int of a key; see incr()."
PyObject *cache_set(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
PyObject *cache_add(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
PyObject *cache_replace(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
PyObject *cache_delete(PyObject *self, PyObject *key);
PyObject *cache_incr(PyObject *self, PyObject *arguments, PyObject *keywords);
PyObject *cache_decr(PyObject *self, PyObject *arguments, PyObject *keywords);
int cache_assign(PyObject *self, PyObject *key, PyObject *value); /* mp_ass_subscript */

/* cache_batch.c */
#define CACHE_GET_MANY_DOC                                                                                   \
    "get_many($self, keys, /)\n--\n\n"                                                                       \
    "The values of many keys, as a dict of those that are there, in the order of\n"                          \
    "keys (any iterable).  Faster than as many get() calls; no snapshot: entries\n"                          \
    "may change between the first and the last."
#define CACHE_SET_MANY_DOC                                                                                   \
    "set_many($self, items, /, *, ttl=..., tags=())\n--\n\n"                                                          \
    "Store many values: a mapping, or an iterable of (key, value) pairs.\n\n" TTL_PARAGRAPH                  \
    "All are encoded first: after a TypeError or TooBigError nothing was stored.\n"                          \
    "FullError: some were not stored; their keys are in the exception's\n"                                   \
    "failed_keys, and older values of those are gone."
#define CACHE_DELETE_MANY_DOC                                                                                \
    "delete_many($self, keys, /)\n--\n\nRemove many keys; returns how many were there."
PyObject *cache_get_many(PyObject *self, PyObject *keys);
/* get_many(), with `absent` for the keys that are known to have no value; NULL: without these. */
PyObject *cache_find_many(cache_object *self, PyObject *keys, PyObject *absent);
PyObject *cache_set_many(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
PyObject *cache_delete_many(PyObject *self, PyObject *keys);

/* cache_conditional.c */
#define CACHE_TOUCH_DOC                                                                                      \
    "touch($self, key, /, *, ttl=...)\n--\n\n"                                                              \
    "Give an entry another time to live, from now on: True if there is one.\n\n" TTL_PARAGRAPH               \
    "FullError: there was no room; the entry keeps its own."
#define CACHE_POP_DOC                                                                                        \
    "pop($self, key, default=..., /)\n--\n\n"                                                 \
    "Remove a key and return its value; if there is none, default, or MissError.\n\n"                       \
    "Of several that pop the same entry one gets it."
#define CACHE_GETS_DOC                                                                                       \
    "gets($self, key, /)\n--\n\n"                                                                           \
    "The value of a key and its token for cas(), as a pair; MissError on a miss."
#define CACHE_CAS_DOC                                                                                        \
    "cas($self, key, value, token, /, *, ttl=..., tags=())\n--\n\n"                                         \
    "Store a value if the entry still has the one that gets() gave with this token:\n"                       \
    "True if it was stored, False if the entry was changed or is gone.\n\n"                                 \
    "An entry that was changed and changed back counts as unchanged."
#define CACHE_GET_OR_SET_DOC                                                                                 \
    "get_or_set($self, key, default, /, *, ttl=..., tags=())\n--\n\n"                                       \
    "The value of a key; on a miss default is stored and returned.\n\n"                                     \
    "default may be a function without arguments: it is called on a miss only.\n"                           \
    "Several processes that miss at once each call it; the first to store wins, and\n"                      \
    "all return that value.  A tag that is invalidated during the call takes the\n"                         \
    "entry along."
#define CACHE_SET_ABSENT_DOC                                                                                 \
    "set_absent($self, key, /, *, ttl=..., tags=())\n--\n\n"                                                \
    "Note that the key has no value, so that is_absent() can say so without a look at\n"                    \
    "the database.  To all other methods the key has no entry."
#define CACHE_IS_ABSENT_DOC                                                                                  \
    "is_absent($self, key, /)\n--\n\nTrue if set_absent() noted that the key has no value."
#define CACHE_INVALIDATE_TAG_DOC                                                                             \
    "invalidate_tag($self, tag, /)\n--\n\n"                                                                 \
    "Make every entry of this cache that was set with the tag a miss, for all\n"                            \
    "processes, in constant time.  One in some thousands of other tags may share the\n"                     \
    "fate: a miss too many, never one too few."
PyObject *cache_touch(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
PyObject *cache_pop(PyObject *self, PyObject *const *arguments, Py_ssize_t count);
PyObject *cache_gets(PyObject *self, PyObject *key);
PyObject *cache_cas(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
PyObject *cache_get_or_set(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
PyObject *cache_set_absent(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
PyObject *cache_is_absent(PyObject *self, PyObject *key);
PyObject *cache_invalidate_tag(PyObject *self, PyObject *tag);

/* view_type.c */
#define CACHE_VIEW_DOC                                                                                       \
    "view($self, key, /)\n--\n\n"                                                                           \
    "The bytes of a key's value where they are in the arena, as a View: bytes as they\n"                    \
    "were set, other values encoded (docs/reference/encoding.md).  MissError on a miss."
PyObject *cache_view(PyObject *self, PyObject *key);
/* A View of a key's value; NULL with `*status`, FOREBAY_OK if an exception is set,
 * else with none set. */
PyObject *view_of_key(cache_object *self, const void *key, size_t key_length, forebay_status *status);
/* What a View that is not released views: valid as long as it is. */
const forebay_view *view_contents(PyObject *view);

/* cache_lazy.c */
#define CACHE_LAZY_DOC                                                                                       \
    "lazy($self, key, /, default=None)\n--\n\n"                                                             \
    "As get(), but dicts, lists and tuples come as Record, RecordList and RecordTuple,\n"                    \
    "which are read-only and decode what is looked at.  The same object may come\n"                          \
    "again as long as the entry is the same (arena.cache(memo=...)).  With another\n"                         \
    "serializer than \"msgpack\" it is get(): a fresh value."
PyObject *cache_lazy(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
/* Look a key up, as cache_look_up(), for lazy(). */
int lazy_look_up(cache_object *self, PyObject *key, PyObject **value);
int lazy_look_up_bytes(cache_object *self, const void *key, size_t key_length, PyObject **value);
/* The same with a memo of the caller's, of this cache alone, in which `memo_key` stands for the key. */
int lazy_look_up_with(cache_object *self, memo *memo, PyObject *memo_key, const void *key, size_t key_length,
                      PyObject **value);
/* For handles whose `ways` is not 0: what reads give for a value that was copied to
 * private memory; new, NULL with an exception. */
PyObject *cache_make_value(cache_object *self, forebay_kind kind, const void *data, size_t length);
/* The same for a plain value, which is taken over (NULL stays NULL). */
PyObject *cache_present(cache_object *self, PyObject *plain);
/* What was made on a miss (taken over), as a later read gives it; itself, if it
 * cannot be stored.  NULL with an exception that is not about that. */
PyObject *cache_as_read(cache_object *self, PyObject *made);
/* The value of a get, as this handle's reads give it; ends `out`. */
struct value_out;
PyObject *cache_take(cache_object *self, struct value_out *out);

/* cache_loading.c: what fetches, and what forebay._loading needs for it. */
#define FETCH_TIMEOUT "timeout: seconds until TimeoutError; None: no limit.\n"
#define CACHE_FETCH_DOC                                                                                      \
    "fetch($self, key, default=None, *, timeout=None)\n--\n\n"                                              \
    "The value of a key; on a miss it is loaded (arena.cache(load=...)), once on this\n"                     \
    "machine: whoever else asks meanwhile waits for it.  default: returned if the\n"                         \
    "loader says there is no such thing.\n\n" FETCH_TIMEOUT                                                  \
    "An exception of the loader is raised to all who wait, as LoadError in other\n"                          \
    "processes; the next call loads again."
#define CACHE_FETCH_MANY_DOC                                                                                 \
    "fetch_many($self, keys, *, timeout=None)\n--\n\n"                                                      \
    "The values of many keys, as a dict of those there are; what is missing is loaded\n"                     \
    "in batches, each key once on this machine.\n\n" FETCH_TIMEOUT
#define CACHE_AFETCH_DOC                                                                                     \
    "afetch($self, key, default=None, *, timeout=None)\n--\n\n"                                             \
    "fetch() for tasks of asyncio: await it.  Never blocks the event loop."
#define CACHE_AFETCH_MANY_DOC                                                                                \
    "afetch_many($self, keys, *, timeout=None)\n--\n\nfetch_many() for tasks of asyncio: await it."
#define CACHE_REFRESH_DOC                                                                                    \
    "refresh($self, key, default=None, *, timeout=None)\n--\n\n"                                            \
    "Load a key anew although it is there, and return the value.  What others were\n"                        \
    "loading for it meanwhile is not stored."
#define CACHE_AREFRESH_DOC                                                                                   \
    "arefresh($self, key, default=None, *, timeout=None)\n--\n\nrefresh() for tasks of asyncio: await it."
#define CACHE_PRIME_DOC                                                                                      \
    "prime($self, items, *, ttl=...)\n--\n\n"                                                               \
    "Store what was loaded elsewhere (a mapping, or pairs), as a load would; what is\n"                      \
    "there stays."
#define CACHE_INVALIDATE_DOC                                                                                 \
    "invalidate($self, key, /)\n--\n\n"                                                                     \
    "Remove a key: True if there was one.  What is being loaded for it is not stored."
#define CACHE_LOOK_DOC "_look($self, key, /)\n--\n\nThe value, MISSING, or ABSENT where absence was noted."
#define CACHE_LOOK_MANY_DOC "_look_many($self, keys, /)\n--\n\nA dict of what there is, and ABSENT where absence was noted."
#define CACHE_PEEK_DOC "_peek($self, key, /)\n--\n\n_look() that counts neither as a get nor as a use of the entry."
#define CACHE_TTL_LEFT_DOC "_ttl_left($self, key, /)\n--\n\nMilliseconds; None: for ever; -1: no entry."
#define CACHE_KEY_DOC "_key($self, key, /)\n--\n\nThe bytes of a key."
#define CACHE_LEASE_TAKE_DOC                                                                                 \
    "_lease_take($self, key, timeout_ms, /, *, tags=())\n--\n\n"                                            \
    "(1, lease): it is ours.  (0, lease): somebody else's.  (-1, _): no room."
#define CACHE_LEASE_WAIT_DOC "_lease_wait($self, lease, timeout_ms, /)\n--\n\nTrue: it is over."
#define CACHE_LEASE_HOLDS_DOC "_lease_holds($self, lease, /)\n--\n\nIs it still held?"
#define CACHE_LEASE_STORE_DOC                                                                                \
    "_lease_store($self, key, value, lease, /, *, ttl=..., tags=())\n--\n\n"                                \
    "Store a value, or ABSENT, and end the lease; False: it was taken away."
#define CACHE_LEASE_END_DOC "_lease_end($self, lease, /)\n--\n\nEnd it without a value."
#define CACHE_LEASE_FAIL_DOC "_lease_fail($self, lease, reason, /)\n--\n\nEnd it, with bytes for those who wait."
#define CACHE_LEASE_REASON_DOC "_lease_reason($self, lease, /)\n--\n\nThose bytes, or None."
#define CACHE_LEASE_BREAK_DOC "_lease_break($self, key, /)\n--\n\nTake it from whoever has it: True if somebody had."
PyObject *cache_fetch(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
PyObject *cache_fetch_many(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
PyObject *cache_afetch(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
PyObject *cache_afetch_many(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
PyObject *cache_refresh(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
PyObject *cache_arefresh(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
PyObject *cache_prime(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
PyObject *cache_invalidate(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);
PyObject *cache_look(PyObject *self, PyObject *key);
PyObject *cache_look_many(PyObject *self, PyObject *keys);
PyObject *cache_peek(PyObject *self, PyObject *key);
PyObject *cache_ttl_left(PyObject *self, PyObject *key);
PyObject *cache_key_bytes(PyObject *self, PyObject *key);
PyObject *cache_lease_take(PyObject *self, PyObject *arguments, PyObject *keywords);
PyObject *cache_lease_wait(PyObject *self, PyObject *arguments);
PyObject *cache_lease_holds(PyObject *self, PyObject *lease);
PyObject *cache_lease_store(PyObject *self, PyObject *arguments, PyObject *keywords);
PyObject *cache_lease_end(PyObject *self, PyObject *lease);
PyObject *cache_lease_fail(PyObject *self, PyObject *arguments);
PyObject *cache_lease_reason(PyObject *self, PyObject *lease);
PyObject *cache_lease_break(PyObject *self, PyObject *key);

/* cache_flights.c */
#define CACHE_LEASES_TAKE_DOC                                                                                \
    "_leases_take($self, flights, timeout_ms, absence, tags, /)\n--\n\n"                                   \
    "Set `lease` of each flight whose `key` nobody loads, and look for its entry again.  A\n"               \
    "list: True, to be loaded; False, there is one by now (absence: or a note of its\n"                     \
    "absence), and the lease has ended; or the lease that somebody else has.  Shorter\n"                    \
    "than the flights: there is no room for more leases."
#define CACHE_LEASES_STORE_DOC                                                                               \
    "_leases_store($self, flights, values, ttls, /)\n--\n\n"                                               \
    "_lease_store() of each flight's `key` under its `lease`: a list of what it returned,\n"                \
    "or the Exception that it raised."
#define CACHE_LEASES_STORE_PAYLOADS_DOC                                                                      \
    "_leases_store_payloads($self, flights, payloads, ttls, /)\n--\n\n"                                    \
    "_leases_store() of tuples that _payload() gave."
PyObject *cache_leases_take(PyObject *self, PyObject *arguments);
PyObject *cache_leases_store(PyObject *self, PyObject *arguments);
PyObject *cache_leases_store_payloads(PyObject *self, PyObject *arguments);

/* cache_tier.c */
#define CACHE_PAYLOAD_DOC "_payload($self, value, /)\n--\n\nHow a value, or ABSENT, is stored: its kind and bytes."
#define CACHE_FROM_PAYLOAD_DOC                                                                               \
    "_from_payload($self, key, kind, payload, /)\n--\n\n"                                                   \
    "The value, or ABSENT, of what _payload() gave, as get() gives it.  ValueError,\n"                        \
    "CorruptError: it is none."
#define CACHE_FOLLOW_DOC                                                                                     \
    "_follow($self, channel, most_behind_ms, /)\n--\n\n"                                                    \
    "Find nothing while the channel was not heard for so long; None: however long."
PyObject *cache_payload(PyObject *self, PyObject *value);
PyObject *cache_from_payload(PyObject *self, PyObject *arguments);
PyObject *cache_follow(PyObject *self, PyObject *arguments);
#define CACHE_LEASE_TOKEN_DOC "_lease_token($self, key, /)\n--\n\nOf the lease that somebody has of the key; None: nobody."
#define CACHE_DICTIONARY_DOC                                                                                 \
    "_dictionary($self, /)\n--\n\n"                                                                         \
    "What new values are packed with now: its id, the codec's name, its bytes; None."
#define CACHE_DICTIONARY_ID_DOC "_dictionary_id($self, /)\n--\n\nIts id alone; 0: none."
#define CACHE_STORED_DOC "_stored($self, key, /)\n--\n\nKind, bytes and seconds left (None: for ever) of an entry, or None."
PyObject *cache_stored(PyObject *self, PyObject *key);
#define CACHE_EXPEL_DOC "_expel($self, key, /)\n--\n\ndelete(), but what is being loaded is stored."
PyObject *cache_expel(PyObject *self, PyObject *key);
PyObject *cache_lease_token(PyObject *self, PyObject *key);
PyObject *cache_dictionary(PyObject *self, PyObject *unused);
PyObject *cache_dictionary_id(PyObject *self, PyObject *unused);
/* forebay._loading.make(**options): new, or NULL with an exception. */
PyObject *loading_from_options(PyObject *options);
/* The type of the caches that load so: borrowed; NULL with an exception. */
PyTypeObject *loading_cache_type(core_state *state, PyObject *loading);
int cache_set_loading(cache_object *self, PyObject *loading);

/* cache_keys.c */
#define CACHE_KEYS_DOC                                                                                       \
    "keys($self, /)\n--\n\n"                                                                                \
    "The keys, as a set-like view that goes through the cache each time it is iterated.\n\n"               \
    "A key that is there all the time comes once, but for a few that the index moves\n"                     \
    "meanwhile: those may be left out, or come twice."
#define CACHE_VALUES_DOC "values($self, /)\n--\n\nThe values, as a view; see keys()."
#define CACHE_ITEMS_DOC "items($self, /)\n--\n\nPairs of key and value, as a view; see keys()."
#define CACHE_NAMESPACE_DOC                                                                                  \
    "namespace($self, prefix, /)\n--\n\n"                                                                   \
    "The part of this cache whose keys are tuples (prefix, key), as a Namespace that\n"                     \
    "takes and gives the keys alone."
#define CACHE_POPITEM_DOC                                                                                    \
    "popitem($self, /)\n--\n\nRemove some entry and return its key and value; MissError if there is none."
#define CACHE_SETDEFAULT_DOC                                                                                 \
    "setdefault($self, key, default=None, /)\n--\n\n"                                                       \
    "The value of a key; on a miss default is stored and returned."
#define CACHE_UPDATE_DOC                                                                                     \
    "update($self, items=(), /, **more)\n--\n\nStore many values, as dict.update(); see set_many()."
PyObject *cache_popitem(PyObject *self, PyObject *unused);
PyObject *cache_setdefault(PyObject *self, PyObject *arguments);
PyObject *cache_update(PyObject *self, PyObject *arguments, PyObject *keywords);
PyObject *cache_keys(PyObject *self, PyObject *unused);
PyObject *cache_values(PyObject *self, PyObject *unused);
PyObject *cache_items(PyObject *self, PyObject *unused);
PyObject *cache_namespace(PyObject *self, PyObject *prefix);
PyObject *cache_iter(PyObject *self); /* tp_iter */

/* Call forebay.MODULE.NAME(self, *arguments, **keywords): what is Python behind a method. */
PyObject *core_call_python(const char *module, const char *name, PyObject *self, PyObject *arguments, PyObject *keywords);
#define MEMOIZE_SIGNATURE                                                                                    \
    "memoize($self, function=None, /, *, ttl=..., key=None, typed=False, ignore=(), condition=None, name=None, tags=(),\n" \
    "        lazy=False)\n" \
    "--\n\n"
#define CACHE_MEMOIZE_DOC                                                                                    \
    MEMOIZE_SIGNATURE "Decorator: keep the results of a function in this cache; see Arena.memoize()."
PyObject *cache_memoize(PyObject *self, PyObject *arguments, PyObject *keywords);

#endif
