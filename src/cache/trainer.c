/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/trainer.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "arena/arena_clock.h"
#include "cache/packing_side.h"
#include "cache/samples.h"

/* Bytes of values, in sizes of a dictionary: for a first one, for one as good as
 * it gets, and from then on between two looks at whether it still fits. */
#define FIRST_SIZES 10u
#define ENOUGH_SIZES 100u
#define LOOK_SIZES 400u
/* Each training waits for this many times the values of the last. */
#define GROWTH 4u
/* A dictionary that packs this much worse than it once did has had its day: percent. */
#define DRIFT 92u
/* It must pack better than what there is, by this: percent. */
#define GAIN 97u
#define TRIED_MAX 512u /* samples */
/* Bytes that a handle counts for itself before it tells the others. */
#define TALLY ((uint64_t)8 << 10)
#define SAMPLES_MIN 16u

/* One training: for whom, with what. */
typedef struct job {
    forebay_arena *arena;
    uint32_t cache, life, cache_tag;
    uint64_t claim; /* what the record's `trainer` is while we are at it */
    uint64_t packable; /* what it was when the samples were taken */
    uint32_t codec; /* the option */
    packing how;
    const _Atomic bool *cancelled; /* or NULL */
    value_samples samples, tried;
    uint8_t *bytes;
    size_t length;
    uint32_t ratio;
} job;

/* A job in a thread of its own.  Whoever closes the arena waits while it uses that. */
enum phase { IN_ARENA, ALONE, ABANDONED, DONE };
typedef struct training {
    job job;
    _Atomic int phase;
    _Atomic int users; /* the thread, and the process's packing_side */
    _Atomic bool cancelled;
    row_owner process;
} training;

static arena_cache *record_of(const job *j) { return &j->arena->caches[j->cache]; }

/* ---- the work ---- */

static bool begin_job(forebay_cache *cache, job *j)
{
    forebay_arena *arena = cache->arena;
    uint64_t word = atomic_load_explicit(&cache->record->word, memory_order_acquire);
    *j = (job){.arena = arena, .cache = cache->number, .life = cache->life, .codec = cache->codec, .how = cache->packing,
               .cache_tag = (fb_cache_generation(word) % 512) * CACHE_COUNT_MAX + cache->number,
               .claim = fb_row_owner(arena) << 16 | 1};
    uint64_t before = atomic_load(&cache->record->trainer);
    if (!fb_cache_codec_is_current(cache) || (before != 0 && !fb_row_is_dead(arena, before >> 16)))
        return false;
    return atomic_compare_exchange_strong(&cache->record->trainer, &before, j->claim);
}

static void end_job(job *j)
{
    uint64_t claim = j->claim;
    atomic_compare_exchange_strong(&record_of(j)->trainer, &claim, 0);
}

static void free_job(job *j)
{
    fb_samples_clear(&j->samples);
    fb_samples_clear(&j->tried);
    free(j->bytes);
}

static bool is_cancelled(const job *j)
{
    return j->cancelled != NULL && atomic_load_explicit(j->cancelled, memory_order_relaxed);
}

/* What the samples that are tried take, packed with `dictionary`; those that do not
 * get smaller count as they are. */
static uint64_t packed_size(const job *j, forebay_codec_dictionary *dictionary, uint64_t *raw)
{
    const value_samples *s = &j->tried;
    size_t largest = 0, at = 0;
    for (size_t i = 0; i < s->count; i++)
        largest = s->lengths[i] > largest ? s->lengths[i] : largest;
    uint8_t *to = malloc(largest + 1);
    uint64_t packed = 0;
    *raw = 0;
    for (size_t i = 0; to != NULL && i < s->count && i < TRIED_MAX && !is_cancelled(j); at += s->lengths[i++]) {
        size_t length = s->lengths[i];
        size_t size = fb_codec_pack(j->how.codec, j->how.level, dictionary, to, length, s->bytes + at, length);
        *raw += length;
        packed += size != 0 ? size : length;
    }
    free(to);
    return packed;
}

/* Touches nothing of the arena.  Sets j->bytes if a dictionary came of it. */
static void train(job *j, size_t capacity)
{
    const value_samples *s = &j->samples;
    if (s->count < SAMPLES_MIN)
        return;
    if (capacity > s->total / FIRST_SIZES * 2)
        capacity = s->total / FIRST_SIZES * 2;
    if (capacity < FOREBAY_DICTIONARY_MIN_SIZE)
        return;
    j->bytes = malloc(capacity);
    if (j->bytes == NULL
        || forebay_codec_train(j->bytes, capacity, &j->length, s->bytes, s->lengths, s->count, NULL) != FOREBAY_OK)
        j->length = 0;
}

/* Does the new dictionary pack better than `before` bytes, of the same samples? */
static bool is_better(job *j, uint64_t before)
{
    forebay_codec_dictionary *dictionary;
    if (j->length == 0
        || forebay_codec_dictionary_new(j->how.codec, j->how.level, j->bytes, j->length, &dictionary, NULL) != FOREBAY_OK)
        return false;
    uint64_t raw, packed = packed_size(j, dictionary, &raw);
    forebay_codec_dictionary_free(dictionary);
    j->ratio = packed == 0 ? 0 : (uint32_t)(raw * 1000 / packed);
    return packed != 0 && packed <= before / 100 * GAIN && packed <= raw - raw / 8;
}

/* What the samples take as things are: with the current dictionary, else alone. */
static uint64_t size_as_it_is(const job *j, bool *drifted)
{
    uint32_t current = fb_dictionary_current(j->arena, j->cache, j->how.codec);
    dictionary_facts facts;
    forebay_codec_dictionary *dictionary = fb_dictionary_acquire(j->arena, current);
    uint64_t raw, packed = packed_size(j, dictionary, &raw);
    *drifted = dictionary == NULL || !fb_dictionary_look_up(j->arena, current, &facts)
               || packed == 0 || raw * 1000 / packed < (uint64_t)facts.ratio * DRIFT / 100;
    if (dictionary != NULL)
        fb_dictionary_release(j->arena, current);
    return packed;
}

/* Is the cache still what it was, and to be packed so? */
static bool is_wanted_still(const job *j)
{
    uint64_t word = atomic_load(&record_of(j)->word);
    return (word & 1) != 0 && fb_cache_life(word) == j->life && atomic_load(&record_of(j)->codec) == j->codec;
}

static size_t sizes(const job *j, uint64_t n) { return (size_t)(n * j->arena->geometry.dictionary_size); }

/* When to look again: soon while more values would make a better one. */
static void set_next(const job *j)
{
    if (!is_wanted_still(j))
        return;
    uint64_t next = j->packable * GROWTH;
    if (j->packable >= sizes(j, ENOUGH_SIZES))
        next = j->packable + sizes(j, LOOK_SIZES);
    atomic_store(&record_of(j)->train_at, next);
}

static bool take_samples(job *j)
{
    j->packable = atomic_load(&record_of(j)->packable);
    return fb_dictionaries_reclaim(j->arena) != 0 /* else there is no room for one */
           && fb_samples_take(j->arena, j->cache_tag, sizes(j, ENOUGH_SIZES), j->cancelled, &j->samples, &j->tried)
           && j->samples.count >= SAMPLES_MIN;
}

static void note_trained(const job *j, uint32_t id)
{
    packing_side *side = fb_packing_side(j->arena);
    if (side != NULL)
        atomic_store_explicit(&side->trained[j->cache], fb_row_owner(j->arena) << 32 | id, memory_order_relaxed);
}

static bool publish(job *j)
{
    dictionary_facts facts = {.cache = j->cache, .life = j->life, .codec = j->how.codec, .ratio = j->ratio,
                              .trained = fb_now_ms(j->arena)};
    uint32_t id = is_wanted_still(j) ? fb_dictionary_publish(j->arena, &facts, j->bytes, j->length) : DICTIONARY_NONE;
    if (id != DICTIONARY_NONE)
        note_trained(j, id);
    return id != DICTIONARY_NONE;
}

bool forebay_cache_trained(forebay_cache *cache, forebay_trained *trained)
{
    packing_side *side = atomic_load_explicit(&cache->arena->packing, memory_order_acquire);
    if (side == NULL || atomic_load_explicit(&side->trained[cache->number], memory_order_relaxed) == 0)
        return false;
    uint64_t word = atomic_exchange_explicit(&side->trained[cache->number], 0, memory_order_relaxed);
    dictionary_facts facts;
    if (word == 0 || (uint32_t)(word >> 32) != (uint32_t)fb_row_owner(cache->arena)
        || !fb_dictionary_look_up(cache->arena, (uint32_t)word, &facts) || facts.cache != cache->number
        || facts.life != cache->life)
        return false; /* another took it, or it was a parent's or another cache's, or is gone again */
    *trained = (forebay_trained){ .dictionary = (uint32_t)word, .ratio = facts.ratio };
    return true;
}

forebay_status forebay_cache_train(forebay_cache *cache)
{
    index_key unused;
    job j;
    bool drifted;
    forebay_status status = fb_cache_begin(cache, "", 1, &unused);
    if (status != FOREBAY_OK)
        return status;
    if (!cache->packing.has_dictionaries)
        return FOREBAY_INVALID;
    if (!begin_job(cache, &j))
        return FOREBAY_BUSY;
    status = FOREBAY_MISS;
    if (take_samples(&j)) {
        uint64_t before = size_as_it_is(&j, &drifted);
        train(&j, cache->arena->geometry.dictionary_size);
        if (is_better(&j, before) && publish(&j))
            status = FOREBAY_OK;
        set_next(&j);
    }
    end_job(&j);
    free_job(&j);
    return status;
}

uint32_t forebay_cache_dictionary_id(forebay_cache *cache)
{
    if (fb_arena_enter(cache->arena) != FOREBAY_OK || !cache->packing.has_dictionaries)
        return DICTIONARY_NONE;
    return fb_dictionary_current(cache->arena, cache->number, cache->packing.codec);
}

forebay_status forebay_cache_dictionary(forebay_cache *cache, void **bytes_out, size_t *length_out, const char **codec_out,
                                        uint32_t *id_out)
{
    int codec;
    *bytes_out = NULL;
    *id_out = forebay_cache_dictionary_id(cache);
    if (*id_out != DICTIONARY_NONE)
        *bytes_out = fb_dictionary_copy(cache->arena, *id_out, length_out, &codec);
    if (*bytes_out == NULL)
        return FOREBAY_MISS;
    *codec_out = forebay_codec_get(codec)->name;
    return FOREBAY_OK;
}

/* ---- in the background ---- */

/* Let those who wait for a processor go first; a tenth of their share is enough to
 * be done in a second (at 19 it takes ten where all are busy). */
#define NICENESS 10
static void be_nice(void)
{
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICENESS);
    (void)pthread_setname_np(pthread_self(), "forebay-train");
}

static bool enter_phase(training *t, int from, int to)
{
    return atomic_compare_exchange_strong(&t->phase, &from, to);
}

static void run_in_arena(training *t, uint64_t *before, bool *wanted)
{
    job *j = &t->job;
    bool drifted = true;
    *wanted = take_samples(j);
    if (!*wanted)
        return;
    *before = size_as_it_is(j, &drifted);
    /* a young one is replaced if a better one can be had, an old one when it does not fit any more */
    *wanted = drifted || j->packable < sizes(j, ENOUGH_SIZES * GROWTH);
}

static void drop_training(training *t)
{
    if (atomic_fetch_sub(&t->users, 1) == 1)
        free(t);
}

/* The arena is used at the beginning and at the end, not in between. */
static void run_phases(training *t)
{
    job *j = &t->job;
    uint64_t before = 0;
    bool wanted;
    size_t capacity = j->arena->geometry.dictionary_size;
    run_in_arena(t, &before, &wanted);
    if (wanted && enter_phase(t, IN_ARENA, ALONE)) {
        train(j, capacity);
        bool better = is_better(j, before);
        if (!enter_phase(t, ALONE, IN_ARENA))
            return; /* the arena is closed */
        if (better)
            (void)publish(j);
    }
    set_next(j);
    end_job(j);
    atomic_store(&t->phase, DONE);
}

static void *run(void *context)
{
    training *t = context;
    be_nice();
    run_phases(t);
    free_job(&t->job);
    drop_training(t);
    return NULL;
}

static bool start_thread(training *t)
{
    static const int own[] = {SIGBUS, SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGSYS}; /* a fault that is blocked kills */
    sigset_t all, before;
    pthread_t thread;
    pthread_attr_t detached;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        sigdelset(&all, own[i]);
    if (pthread_attr_init(&detached) != 0)
        return false;
    (void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before); /* the process's signals are for its own threads */
    bool started = pthread_create(&thread, &detached, run, t) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&detached);
    return started;
}

/* No training of this process is under way.  What a parent was at is not here:
 * a copy, without its thread. */
static bool is_idle(packing_side *side, row_owner self)
{
    training *t = side->training;
    bool is_ours = t != NULL && t->process == self;
    if (is_ours && atomic_load(&t->phase) != DONE)
        return false;
    side->training = NULL; /* first: a child forked now must not see what is gone */
    if (is_ours)
        drop_training(t);
    else
        free(t);
    return true;
}

static void start_training(forebay_cache *cache, packing_side *side)
{
    row_owner self = fb_row_owner(cache->arena);
    training *t = is_idle(side, self) ? calloc(1, sizeof *t) : NULL;
    if (t == NULL)
        return;
    t->process = self;
    atomic_init(&t->users, 2);
    if (begin_job(cache, &t->job)) {
        t->job.cancelled = &t->cancelled;
        side->training = t;
        if (start_thread(t))
            return;
        side->training = NULL;
        end_job(&t->job);
    }
    free(t);
}

static void train_in_background(forebay_cache *cache)
{
    packing_side *side = fb_packing_side(cache->arena);
    uint64_t self = fb_row_owner(cache->arena) + 1, before = side == NULL ? self : atomic_load(&side->starting);
    if (before == self || !atomic_compare_exchange_strong(&side->starting, &before, self)) /* (a parent's thread's: taken over) */
        return;
    start_training(cache, side);
    atomic_store(&side->starting, 0);
}

/* ---- when ---- */

static bool is_due(const forebay_cache *cache, uint64_t packable)
{
    uint64_t first = (uint64_t)FIRST_SIZES * cache->arena->geometry.dictionary_size;
    uint64_t at = atomic_load_explicit(&cache->record->train_at, memory_order_relaxed);
    return packable >= (at != 0 ? at : first);
}

void fb_training_note(forebay_cache *cache, size_t length, size_t stored)
{
    arena_counters *line = fb_cache_counters(cache);
    atomic_fetch_add_explicit(&line->counts[COUNTER_VALUE_BYTES], length, memory_order_relaxed);
    atomic_fetch_add_explicit(&line->counts[COUNTER_STORED_BYTES], stored, memory_order_relaxed);
    if (!cache->packing.has_dictionaries)
        return;
    uint64_t tally = atomic_fetch_add_explicit(&cache->tally, length, memory_order_relaxed) + length;
    if (tally < TALLY)
        return;
    tally = atomic_exchange_explicit(&cache->tally, 0, memory_order_relaxed);
    uint64_t packable = atomic_fetch_add_explicit(&cache->record->packable, tally, memory_order_relaxed) + tally;
    if (is_due(cache, packable))
        train_in_background(cache);
}

void fb_training_forget(arena_cache *record)
{
    atomic_store(&record->dictionary, DICTIONARY_NONE);
    atomic_store(&record->packable, 0);
    atomic_store(&record->train_at, 0);
    atomic_store(&record->misfits, 0);
}

void fb_training_end(forebay_arena *arena)
{
    packing_side *side = atomic_load(&arena->packing);
    training *t = side == NULL ? NULL : side->training;
    /* in a child that has no row yet, what there is is the parent's */
    row_owner self = atomic_load(arena->attached) != 0 ? fb_row_owner(arena) : UINT64_MAX;
    while (t != NULL && !is_idle(side, self)) {
        atomic_store(&t->cancelled, true);
        if (enter_phase(t, ALONE, ABANDONED)) {
            end_job(&t->job); /* the thread does not look at it any more */
            side->training = NULL;
            drop_training(t);
            return;
        }
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
}
