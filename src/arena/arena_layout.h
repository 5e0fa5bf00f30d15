/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes every process sees.  A change here is a new format version
 * (ARENA_FORMAT_VERSION) and a change of docs/internals/arena-format.md.
 *
 *   0           4096
 *   [superblock][rows][caches][counters][tags][segment table][policy][dictionaries][leases][limits][index | segments ...]
 *
 * Offsets, never pointers: mappings differ by process.  The index begins with
 * index_initial buckets and grows into segment 0, 1, 2, ...: bucket b is always
 * at index_offset + 64 * b.  Little-endian, 64-bit machines only. */
#ifndef FB_ARENA_LAYOUT_H
#define FB_ARENA_LAYOUT_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define ARENA_MAGIC UINT64_C(0x3159414245524f46) /* "FOREBAY1" */
#define ARENA_FORMING UINT64_C(0x3059414245524f46) /* "FOREBAY0": being formatted, or its creator died: formatted afresh */
#define ARENA_FORMAT_VERSION 6u
#define ARENA_ALIGN 8u /* entries begin at multiples of this; units of locations */

#define ROW_LANES 8u        /* operations one process may have under way at once */
#define LANE_HAZARDS 2u     /* segments one operation may keep from reuse */
#define ROW_PINS 64u        /* segments, or runs, that views of one process may keep from reuse */
#define ROW_SAMPLES 38u     /* ring of sampled accesses, lossy */
#define QUEUE_COUNT 2u      /* probation, main */
#define HEADS_PER_CLASS 8u  /* open segments per queue and TTL class, and per queue of a cache with a quota */
#define TTL_CLASSES 4u
#define HEADS_PER_QUEUE (TTL_CLASSES * HEADS_PER_CLASS)
#define CACHE_COUNT_MAX 128u /* 7 bits of an entry's tag */
#define CHANNEL_COUNT 8u
#define CHANNEL_LISTENERS 2u /* of a channel: while one is replaced, the other goes on */
#define TIER_COUNT 8u       /* 8 bits each in a row */
#define TIER_COUNTS 6u
#define DICTIONARY_SLOTS 64u /* 6 bits of a dictionary's id, a bit each in a segment's record */

/* Where everything is.  Written once at format, covered by the checksum; every
 * process checks it at open and then uses its own copy only. */
typedef struct arena_geometry {
    uint64_t size;          /* bytes of the file */
    uint64_t rows_offset;
    uint64_t caches_offset;
    uint64_t counters_offset;
    uint64_t segments_offset; /* of the segment table */
    uint64_t policy_offset;
    uint64_t policy_size;
    uint64_t index_offset;  /* multiple of 64 */
    uint64_t data_offset;   /* segment 0; == index_offset + 64 * index_initial, multiple of 64 */
    uint32_t row_count;
    uint32_t cache_count;
    uint32_t counter_count;
    uint32_t segment_count;
    uint32_t segment_size;  /* a power of two, 4096 or more */
    uint32_t index_initial; /* buckets, a power of two */
    uint64_t tags_offset;
    uint32_t tag_count;     /* a power of two */
    uint32_t dictionary_count; /* at most DICTIONARY_SLOTS */
    uint64_t dictionaries_offset; /* of their records; their bytes follow */
    uint32_t dictionary_size;  /* room for the bytes of each */
    uint32_t lease_count;   /* a power of two */
    uint64_t leases_offset; /* of their words; records and notes follow */
    uint32_t lease_note_count; /* a power of two */
    uint32_t limit_count;
    uint64_t limits_offset; /* of their records; permits and places follow */
    uint32_t permit_count;  /* of each limit, a power of two */
    uint32_t place_count;   /* of each limit, a power of two, at most 64 */
} arena_geometry;
static_assert(sizeof(arena_geometry) == 160, "fixed for format 6");

/* A channel over which other machines tell what they changed.  `word` = life << 1 |
 * live; the name is written under the table lock before it says live.  What two
 * processes that listen have heard, each in a word of its own: row of the listener
 * (12 bits; 0xfff: nobody) << 52 | claims of the place so far (12 bits) << 40 | arena
 * ms up to which it has heard of everything; 0: nothing yet. */
typedef struct arena_channel {
    _Alignas(64) _Atomic uint64_t word;
    _Atomic uint64_t heard[CHANNEL_LISTENERS];
    _Atomic uint64_t claimed[CHANNEL_LISTENERS]; /* low 24 bits of the listener's row generation << 40 | arena ms of when it claimed */
    uint8_t reserved[24];
    char name[48];
    uint8_t reserved1[16];
} arena_channel;
static_assert(sizeof(arena_channel) == 128, "fixed for format 6");

/* What all processes have had from a tier, a server that machines share.  `word` = life
 * << 1 | live; the name is written under the table lock before it says live. */
typedef struct arena_tier {
    _Alignas(64) _Atomic uint64_t word;
    _Atomic uint64_t counts[TIER_COUNTS]; /* forebay_tier_count */
    _Atomic uint64_t left_out; /* arena ms when a process last began to leave it out; 0: never */
    char name[64];
} arena_tier;
static_assert(sizeof(arena_tier) == 128, "fixed for format 6");

typedef struct arena_superblock {
    /* line 0: identity */
    _Atomic uint64_t magic; /* written last: a half-made file never matches */
    uint32_t version;
    uint32_t header_size;   /* sizeof(arena_superblock) */
    uint64_t hash_seed;
    uint8_t uuid[16];
    uint64_t created_unix_ms;
    uint8_t reserved0[16];
    /* geometry, then its checksum: XXH3 of all bytes from version to geometry's end */
    arena_geometry geometry;
    uint64_t checksum;
    uint32_t on_disk;       /* entries carry checksums: the file outlives a reboot */
    uint8_t reserved1[4];

    /* clock: arena ms = CLOCK_MONOTONIC(_COARSE) ms + clock_offset */
    _Alignas(64) uint8_t boot_id[16];  /* under the creation lock */
    _Atomic int64_t clock_offset;      /* changed by compare-and-swap when the machine slept */
    _Atomic int64_t clock_boot_offset; /* arena ms - CLOCK_BOOTTIME ms: the same for a whole boot */
    _Atomic uint64_t clock_checked;    /* arena ms of the last look */
    _Atomic uint64_t clock_unix;       /* CLOCK_REALTIME ms at the last look: to rebase after a reboot */

    /* index */
    _Alignas(64) _Atomic uint64_t index_word;     /* buckets << 1 | a split is under way */
    _Atomic uint64_t index_capacity;              /* buckets there is room for; grows by whole segments */
    _Atomic uint64_t index_moves;                 /* raised while an entry moves between its two buckets: look again */

    /* segments */
    _Alignas(64) _Atomic uint64_t sequence;       /* next place in a queue */
    _Atomic uint32_t segments_free;               /* recounted when they get few; a hint */
    _Atomic uint32_t victim[QUEUE_COUNT];         /* segment + 1 being evicted; a hint */
    _Atomic uint32_t rows_used;                   /* rows from here on were never in use */
    _Atomic uint64_t warm;                        /* units of packable entries kept unpacked, as of the last count; a hint */
    _Alignas(64) _Atomic uint32_t heads[QUEUE_COUNT][HEADS_PER_QUEUE]; /* segment + 1; hints: the segment's word decides */

    /* leases */
    _Alignas(64) _Atomic uint32_t leases;         /* words in use, or more: what the killed left.  0: writers need not look */
    _Atomic uint32_t lease_notes;                 /* written so far */
    _Atomic uint64_t lease_tokens;                /* given out so far */

    arena_channel channels[CHANNEL_COUNT];
    arena_tier tiers[TIER_COUNT];
} arena_superblock;
static_assert(sizeof(arena_superblock) <= 4096, "the superblock is one page");

/* A handle's record.  `word` = generation << 1 | in use.  Liveness: an open file
 * description lock on byte ROW_LOCK_BASE + row; see rows.h. */
typedef struct arena_row {
    _Atomic uint64_t word;
    _Atomic uint64_t start_time;  /* of the process, clock ticks since boot: /proc/PID/stat field 22 */
    _Atomic uint64_t pid_namespace; /* inode of /proc/self/ns/pid */
    _Atomic int32_t pid;          /* in that namespace */
    _Atomic uint32_t unlocked;    /* 1: holds no lock, for want of permission: its process alone tells whether it lives */
    _Atomic uint32_t pins_used;   /* pins from here on were never in use by this owner */
    uint8_t reserved0[4];
    /* byte i: how its owner uses tier i: forebay_tier_use (3 bits), low 5 bits of the tier's life << 3 */
    _Atomic uint64_t tiers;
    uint8_t reserved[16];
    /* segment + 1 that an operation keeps from reuse, 0 = none; sequentially
     * consistent stores, pairing with the look of fb_segment_held() */
    _Alignas(64) _Atomic uint32_t hazards[ROW_LANES][LANE_HAZARDS];
    /* sampled accesses, written by the owner, drained by whoever runs the policy */
    _Alignas(64) _Atomic uint64_t samples_written;
    _Atomic uint64_t samples_read;
    _Atomic uint64_t samples[ROW_SAMPLES];
    /* first segment + 1 | segments << 32 that views keep from reuse, 0 = none; as hazards */
    _Alignas(64) _Atomic uint64_t pins[ROW_PINS];
} arena_row;
static_assert(sizeof(arena_row) == 960, "fixed for format 6");

/* `word` = generation << 40 | life << 8 | live.  The entries of a cache carry
 * its tag, (generation mod 512) << 7 | index: clear() is one compare-and-swap.
 * name, ttl_ms, share, limit and codec are written under the table lock before
 * `word` says live. */
typedef struct arena_cache {
    _Atomic uint64_t word;
    _Atomic uint64_t ttl_ms; /* 0: for ever */
    _Atomic uint64_t share;  /* bytes of segments that others may not evict; 0: none */
    _Atomic uint64_t limit;  /* bytes of segments it may have; 0: no limit.  Either: a group of its own */
    _Atomic int64_t entries_cleared; /* sum of the entry counters at the last clear */
    _Atomic uint32_t purged;  /* generation (24 bits) at the last purge that came to its end */
    _Atomic uint32_t segments; /* of its group; a hint, recounted at each allocation */
    _Atomic uint32_t victim;  /* as the superblock's, of its group */
    _Atomic uint32_t codec;   /* packing.h */
    _Atomic uint32_t dictionary; /* id of the one that new entries are packed with; 0: none */
    _Atomic uint32_t misfits; /* values in a row that packing did not make smaller; a hint */
    _Alignas(64) _Atomic uint32_t heads[QUEUE_COUNT][HEADS_PER_CLASS]; /* as the superblock's, of its group */
    char name[48];
    _Atomic uint64_t trainer;    /* (row, generation) << 16 | 1 of who trains a dictionary; 0: nobody */
    _Atomic uint64_t packable;   /* bytes of values that a dictionary is for, set so far; a hint */
    _Atomic uint64_t train_at;   /* `packable` from which a dictionary is due; a hint */
    _Atomic uint64_t channel;    /* that its entries follow: channels.h; 0: none */
    uint8_t reserved1[48];
} arena_cache;
static_assert(sizeof(arena_cache) == 256, "fixed for format 6");

enum counter {
    COUNTER_HITS,
    COUNTER_MISSES,
    COUNTER_SETS,
    COUNTER_DELETES,
    COUNTER_EVICTIONS,
    COUNTER_EXPIRATIONS,
    COUNTER_PACKED_HITS,  /* of the hits: had to be unpacked */
    COUNTER_VALUE_BYTES,  /* of values set in a cache that packs */
    COUNTER_STORED_BYTES, /* what those took */
    COUNTER_WARMED,       /* entries stored unpacked because they were hit */
    COUNTER_COUNT,
};

/* The counters of one cache in one row; inherited by a later row with the same
 * cache when the owner dies, never reset.  `entries` may be negative in one
 * line: the sum counts. */
typedef struct arena_counters {
    _Atomic uint64_t owner_and_cache; /* see counters.h */
    _Atomic int64_t entries;
    _Atomic uint64_t counts[COUNTER_COUNT];
    uint8_t reserved[32];
} arena_counters;
static_assert(sizeof(arena_counters) == 128, "two cache lines");

/* A segment's record.  `word` = state (4 bits) | queue << 4 (1 bit) | class << 5 (2 bits) |
 * group << 8 (8 bits) | owner row << 16 (12 bits) | low 32 bits of the owner's generation << 28;
 * the owner part is 0 unless the state is a claimed one.  Group: 0, or 1 + the
 * number of the cache whose entries alone lie here, because it has a quota. */
typedef struct arena_segment {
    _Atomic uint64_t word;
    _Atomic uint64_t generation;  /* its lives; raised before the first byte of a new one */
    _Atomic uint64_t sequence;    /* place in its queue */
    _Atomic uint64_t last_expiry; /* arena ms when all in it have expired; UINT64_MAX: some never do */
    _Atomic uint32_t tail;        /* units appended: entries before it are whole; by the owner */
    _Atomic uint32_t cursor;      /* units the evictor is done with; by the owner */
    _Atomic uint32_t run;         /* segments of a run, at its first; else 1 */
    _Atomic uint32_t kept;        /* units copied forward from it; by the owner */
    _Atomic uint32_t dead;        /* units replaced, deleted or moved away; a hint: what the killed did is missing */
    _Atomic uint32_t warm;        /* units of packable entries that are kept unpacked */
    _Atomic uint64_t dictionaries; /* bit i: an entry here may need the dictionary in slot i */
} arena_segment;
static_assert(sizeof(arena_segment) == 64, "one cache line");

enum segment_state {
    SEGMENT_FREE = 0,     /* no life yet, or emptied: nothing in the index points into it */
    SEGMENT_TAKEN = 1,    /* claimed: being made ready, or being emptied for a run or the index */
    SEGMENT_OPEN = 2,     /* takes entries; nobody is writing */
    SEGMENT_WRITING = 3,  /* claimed: the owner appends and publishes */
    SEGMENT_SEALED = 4,   /* full */
    SEGMENT_EVICTING = 5, /* claimed: the owner works on it from `cursor` on */
    SEGMENT_RUN = 6,      /* first of a sealed run; the others are BODY */
    SEGMENT_BODY = 7,     /* a later segment of a run; belongs to whoever claims the first */
    SEGMENT_INDEX = 8,    /* given to the index, for good */
};

/* A dictionary's record.  `word` = state (4 bits) | changes so far << 4 (12 bits) | owner row << 16 (12 bits) | low 32
 * bits of the owner's generation << 28, the owner part 0 unless the state is a
 * claimed one.  id = use of the slot (18 bits, from 1) << 6 | slot: never given twice. */
typedef struct arena_dictionary {
    _Atomic uint64_t word;
    _Atomic uint32_t id;      /* of what lies here; 0 while that is being written */
    _Atomic uint32_t uses;    /* how often the slot was given out */
    _Atomic uint32_t length;
    _Atomic uint32_t codec;   /* the only one it is used with */
    _Atomic uint32_t cache;   /* number */
    _Atomic uint32_t life;    /* of the cache */
    _Atomic uint64_t checksum; /* XXH3 of its bytes, seeded with the id */
    _Atomic uint64_t trained; /* arena ms */
    _Atomic uint32_t ratio;   /* raw / packed of the samples it was tried on, in thousandths */
    uint8_t reserved[12];
} arena_dictionary;
static_assert(sizeof(arena_dictionary) == 64, "one cache line");

enum dictionary_state {
    DICTIONARY_FREE = 0,
    DICTIONARY_WRITING = 1,  /* claimed */
    DICTIONARY_READY = 2,
    DICTIONARY_RETIRING = 3, /* claimed: the owner looks whether an entry may need it */
};

/* The right, and the duty, to load a missing key.  Eight words are a bucket; a key's
 * lease is in either of two buckets, as its slot is.  `word` = state (2 bits) | owner
 * row << 2 (12 bits) | low 12 bits of the owner's generation << 14 | low 14 bits of the
 * record's life << 26 (0 while CLAIMED) | 24 bits of the key's hash << 40; the record
 * beside it is written while the word is CLAIMED. */
#define LEASE_BUCKET 8u
enum lease_state {
    LEASE_FREE = 0,
    LEASE_CLAIMED = 1,   /* its record is being written */
    LEASE_TENTATIVE = 2, /* looking whether another has the key */
    LEASE_HELD = 3,      /* the key is being loaded */
};
typedef struct arena_lease {
    _Atomic uint64_t token;    /* never given twice */
    _Atomic uint64_t deadline; /* arena ms from which on it may be taken from its owner */
    _Atomic uint32_t waiters;  /* on the word; a hint: who was killed while it waited still counts */
    _Atomic uint32_t life;     /* raised each time the word is claimed */
    uint8_t reserved[40];
} arena_lease;
static_assert(sizeof(arena_lease) == 64, "one cache line");

/* Why a load failed, for those who waited for it: a ring. */
#define LEASE_NOTE_MAX 232u
typedef struct arena_lease_note {
    _Atomic uint64_t token;    /* of the lease; 0 while the rest is written */
    _Atomic uint64_t checksum; /* XXH3 of length and text, seeded with the token */
    _Atomic uint32_t length;
    uint8_t text[LEASE_NOTE_MAX];
    uint8_t reserved[4];
} arena_lease_note;
static_assert(sizeof(arena_lease_note) == 256, "four cache lines");

/* A limit on what all processes hold together.  `word` = life << 2 | state; name and
 * `most` are written under the table lock before it says live.  Its permits are words
 * of their own: 0 in bit 0: free, and since when << 1 (arena ms); 1: held, row << 1 (12
 * bits) | low 27 bits of the row's generation << 13 | serial << 40 (24 bits), which no
 * two permits of one row and generation have in common (for 2^24 of them). */
enum limit_state {
    LIMIT_FREE = 0,
    LIMIT_LIVE = 1,
};
typedef struct arena_limit {
    _Atomic uint64_t word;
    _Atomic uint32_t most;
    _Atomic uint32_t released; /* raised when a permit gets free: a futex */
    _Atomic uint32_t wanted;   /* raised when somebody begins to wait: a futex */
    uint8_t reserved0[4];
    _Atomic uint64_t tickets;  /* given out so far */
    _Atomic uint64_t waiting;  /* bit i: place i is taken; a hint: set anew by who waits there */
    char name[48];
    uint8_t reserved1[40];
} arena_limit;
static_assert(sizeof(arena_limit) == 128, "two cache lines");

/* A place in a limit's queue. */
typedef struct arena_place {
    _Atomic uint64_t word;    /* row, generation (as a claim) | 1 << 63; 0: free */
    _Atomic uint64_t ticket;  /* the lower goes first; of who had the place before, for a moment */
    _Atomic uint64_t since;   /* arena ms */
    _Atomic uint64_t looked;  /* arena ms when its owner last looked whether it is its turn */
    _Atomic uint64_t pledged; /* arena ms when somebody said it would give a permit up for it; 0: nobody */
    uint8_t reserved[24];
} arena_place;
static_assert(sizeof(arena_place) == 64, "one cache line");

/* An entry: this word, then if flagged 5 bytes of expiry (arena ms), 8 bytes of
 * value length, 4 bytes of checksum, 4 bytes of version, 1 byte that counts
 * tags and 8 bytes for each; then key, value, zero to seven bytes of padding.
 *   bits  0..2  kind
 *         3     has an expiry
 *         4     long: the value's length is in the extension
 *         5     has a checksum
 *         6..17 key length
 *        18..34 value length (17 bits)
 *        35     has a version
 *        36     has tags
 *        37     the value is packed: packed.h
 *        38..53 cache tag
 *        54..63 history: score (6 bits), epoch (4 bits) */
#define ENTRY_EXPIRY_SIZE 5u
#define ENTRY_LENGTH_SIZE 8u
#define ENTRY_CHECK_SIZE 4u
#define ENTRY_VERSION_SIZE 4u
/* A tag of an entry: number of its counter, and the low 40 bits of what that was
 * when the entry was written.  The entry counts while all its counters are as then. */
#define ENTRY_TAG_SIZE 8u
#define TAG_NUMBER_BITS 24

/* A slot: 0 is empty.
 *   bits  0..33 location: units of 8 bytes from the start of the file
 *        34..43 incarnation: the segment's generation mod 1024
 *        44..58 tag: 15 bits of the key's hash
 *        59     on the move between two buckets (only with bit 63)
 *        60..62 frequency
 *        63     tentative: not readable */
#define BUCKET_SLOTS 8u
typedef struct arena_bucket {
    _Alignas(64) _Atomic uint64_t slots[BUCKET_SLOTS];
} arena_bucket;
static_assert(sizeof(arena_bucket) == 64, "one cache line");

#endif
