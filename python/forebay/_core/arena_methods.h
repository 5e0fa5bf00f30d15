/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of the module and of Arena that live outside arena_type.c. */
#ifndef CORE_ARENA_METHODS_H
#define CORE_ARENA_METHODS_H

#include "objects.h"

/* open_arena.c; called by forebay/_open.py, which checks the types */
#define OPEN_ARENA_DOC                                                                                       \
    "open_arena(path, size, mode, trust, guard, timeout_ms, /)\n--\n\n"                                      \
    "Open the arena at path (bytes in the file system's encoding, or None);\n"                               \
    "forebay.open() is the public form."
#define OPEN_ARENA_FD_DOC                                                                                    \
    "open_arena_fd(fd, trust, guard, timeout_ms, /)\n--\n\n"                                                 \
    "Open the arena of a descriptor; forebay.open_fd() is the public form."
PyObject *open_arena(PyObject *module, PyObject *arguments);
PyObject *open_arena_fd(PyObject *module, PyObject *arguments);

/* arena_report.c */
#define ARENA_INFO_DOC                                                                                       \
    "info($self, /)\n--\n\n"                                                                                 \
    "Figures of the whole arena, as a dict: size, format_version, segment_size,\n"                           \
    "segment_count, segments_free, segments_index, row_count, rows_used,\n"                                  \
    "cache_count, caches_used, index_buckets, index_slots_used, metadata_bytes,\n"                           \
    "entry_bytes, now_ms (the arena's clock), replaced (the file at the path is\n"                           \
    "another one now), huge_pages, on_disk, uuid (16 random bytes, the same as long\n"                        \
    "as the arena is there)."
#define ARENA_ROWS_DOC                                                                                       \
    "rows($self, /)\n--\n\n"                                                                                 \
    "The open handles on this arena, of all processes: a list of dicts with\n"                               \
    "row, generation, pid (in the opener's PID namespace) and alive."
#define ARENA_STATS_DOC                                                                                      \
    "stats($self, /)\n--\n\n"                                                                                \
    "The statistics of every cache, as a dict by name; see Cache.stats()."
#define ARENA_VERIFY_DOC                                                                                     \
    "verify($self, /)\n--\n\n"                                                                               \
    "Check every invariant of the arena, which may be in use meanwhile.  Returns\n"                          \
    "a list of messages, one for each violation (at most 100); empty: sound."
PyObject *arena_info(PyObject *self, PyObject *unused);
PyObject *arena_rows(PyObject *self, PyObject *unused);
PyObject *arena_stats(PyObject *self, PyObject *unused);
PyObject *arena_verify(PyObject *self, PyObject *unused);

/* limit_type.c */
#define ARENA_LIMIT_DOC                                                                                      \
    "_limit($self, name, most, update, /)\n--\n\n"                                                          \
    "The limit of this name, as forebay.Pool uses it."
#define ARENA_LIMITS_DOC                                                                                     \
    "limits($self, /)\n--\n\n"                                                                              \
    "What pools with host_max= share, as a dict by name: a dict each with most,\n"                           \
    "held and waiting (over all processes) and processes, a list of dicts with\n"                           \
    "pid, held and waiting."
#define ARENA_DROP_LIMIT_DOC                                                                                 \
    "drop_limit($self, name, /)\n--\n\n"                                                                    \
    "Forget the limit of this name, so that another host_max can be given; True\n"                          \
    "if there was one.  BusyError: a live process holds permits of it, or waits."
PyObject *arena_limit(PyObject *self, PyObject *arguments);
PyObject *arena_limits(PyObject *self, PyObject *unused);
PyObject *arena_drop_limit(PyObject *self, PyObject *name);

/* channel_type.c */
#define ARENA_CHANNEL_DOC "_channel($self, name, /)\n--\n\nThe channel of this name, as tiers use it."
PyObject *arena_channel_open(PyObject *self, PyObject *name);
#define ARENA_CHANNELS_DOC                                                                                   \
    "channels($self, /)\n--\n\n"                                                                            \
    "What tiers and buses listen to, as a dict by name: a dict each with age, the\n"                         \
    "seconds since the moment up to which everything was heard (None: nothing was),\n"                       \
    "and listeners, the pids of those who listen."
PyObject *arena_channels(PyObject *self, PyObject *unused);

/* tier_type.c */
#define ARENA_TIER_DOC "_tier($self, name, /)\n--\n\nThe record of the tier of this name, as tiers use it."
PyObject *arena_tier(PyObject *self, PyObject *name);
#define ARENA_TIERS_DOC                                                                                      \
    "tiers($self, /)\n--\n\n"                                                                            \
    "The tiers behind the arena, as a dict by name: a dict each with hits, misses,\n"                       \
    "stored, errors, skipped (calls that were not made) and opened (so often a\n"                           \
    "process began to leave it out), counted over all processes; last_left_out, the\n"                      \
    "seconds since one did so last (None: none has); processes, a list of dicts with\n"                     \
    "pid, left_out and not_stored (only asked) of the living that use it."
PyObject *arena_tiers(PyObject *self, PyObject *unused);

/* Put `value` (owned; NULL: with an exception) into a report under a name as the arena has it; 0, or -1 with an exception. */
int report_add(PyObject *dict, const char *name, PyObject *value);
/* Statistics of one cache as a dict, or NULL with an exception. */
PyObject *dict_of_stats(forebay_cache_stats stats);

#endif
