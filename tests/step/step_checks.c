/* SPDX-License-Identifier: Apache-2.0 */
#include "step_channels.h"
#include "step_tiers.h"
#include "step_limits.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "../stress/self_value.h"
#include "../stress/stolen.h"
#include "cache/cache_state.h"

#define RECYCLED_SEQUENCE 9u
#define FILLER_FIRST 2000000u

#define LONG_US 10000.0

/* Fillers, half of what fits. */
static const unsigned youngest[STEP_ARENAS] = {[CALM] = 2500, [FULL] = 2500, [LIMITED] = 1000, [PACKED] = 2500, [PACKED_FULL] = 2500};

static uint64_t youngest_filler; /* the key after it */
static double longest_us, stolen_before_us;
static const char *longest_name = "none";

/* Microseconds this thread was ready to run and did not get a processor. */
static double waited_us(void)
{
    static int fd = -1;
    char text[64] = "";
    double ran = 0, waited = 0;
    if (fd < 0)
        fd = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);
    if (pread(fd, text, sizeof text - 1, 0) > 0)
        (void)sscanf(text, "%lf %lf", &ran, &waited);
    return waited / 1e3;
}

/* Time without what the scheduler took. */
static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3 - waited_us();
}

void step_note_begin(void) { stolen_before_us = stolen_us(sched_getcpu()); }

static void note_call(const char *name, double begun)
{
    double took = now_us() - begun;
    if (took > LONG_US) /* rare; by all that was stolen in this experiment, to the clock tick */
        took -= stolen_us(sched_getcpu()) - stolen_before_us;
    if (took > longest_us) {
        longest_us = took;
        longest_name = name;
    }
}

double step_longest_call(const char **name_out)
{
    *name_out = longest_name;
    return longest_us;
}

static size_t value_length(uint64_t key)
{
    return key == STEP_BIG_KEY ? STEP_BIG_SIZE : SELF_VALUE_MIN + key % 300;
}

static forebay_status set(forebay_cache *cache, uint64_t key, uint64_t sequence)
{
    static uint8_t value[STEP_BIG_SIZE];
    char text[24];
    size_t length = self_value_key(text, key);
    self_value_make(value, key, sequence, value_length(key));
    double begun = now_us();
    forebay_status status = forebay_set(cache, text, length, value, value_length(key), FOREBAY_KIND_BYTES,
                                        FOREBAY_TTL_DEFAULT, FOREBAY_SET);
    note_call("set", begun);
    return status;
}

static forebay_status delete(forebay_cache *cache, uint64_t key)
{
    char text[24];
    double begun = now_us();
    forebay_status status = forebay_delete(cache, text, self_value_key(text, key));
    note_call("delete", begun);
    return status;
}

/* FOREBAY_OK with the write it is of, FOREBAY_MISS, or FOREBAY_CORRUPT for any wrong value. */
static forebay_status get(forebay_cache *cache, uint64_t key, uint64_t *sequence)
{
    static uint8_t value[STEP_BIG_SIZE * 2];
    char text[24];
    size_t length = 0;
    forebay_kind kind;
    size_t key_length = self_value_key(text, key);
    double begun = now_us();
    forebay_status status = forebay_get_into(cache, text, key_length, value, sizeof value, &length, &kind);
    note_call("get", begun);
    if (status != FOREBAY_OK)
        return status;
    return kind == FOREBAY_KIND_BYTES && self_value_check(value, length, key, sequence) ? FOREBAY_OK : FOREBAY_CORRUPT;
}

static bool complain(const char *what, uint64_t key, forebay_status status, uint64_t sequence)
{
    printf("key %llu: %s (status %d, write %llu)\n", (unsigned long long)key, what, status, (unsigned long long)sequence);
    return false;
}

bool step_prepare_arena(forebay_cache *cache, step_arena kind)
{
    bool full = !step_has_room(kind);
    char text[24];
    int64_t value;
    uint64_t unused;
    size_t length = self_value_key(text, STEP_COUNTER);
    for (uint64_t key = 1; key <= (full ? STEP_FULL_KEYS : STEP_CALM_KEYS); key++) {
        if (set(cache, key, 1) != FOREBAY_OK)
            return false;
        if (full && key > 1000 && key % 2) /* some are worth keeping */
            (void)get(cache, key - 400, &unused);
    }
    if (set(cache, STEP_KEY, 1) != FOREBAY_OK || set(cache, STEP_BIG_KEY, 1) != FOREBAY_OK)
        return false;
    return forebay_incr(cache, text, length, STEP_COUNTED, 0, FOREBAY_TTL_DEFAULT, &value) == FOREBAY_OK
           && value == STEP_COUNTED;
}

static bool check_key(forebay_cache *cache, uint64_t key, unsigned sequences, bool may_miss)
{
    uint64_t sequence = 0;
    forebay_status status = get(cache, key, &sequence);
    if (status == FOREBAY_MISS)
        return may_miss || complain("is gone", key, status, 0);
    if (status != FOREBAY_OK)
        return complain("holds a wrong value", key, status, 0);
    return (sequences >> sequence & 1) != 0 || complain("holds a write it must not", key, status, sequence);
}

static bool check_counter(forebay_cache *cache, uint64_t key, int64_t least, int64_t most, bool may_miss)
{
    char text[24];
    int64_t value = 0;
    size_t length = 0;
    forebay_kind kind;
    forebay_status status = forebay_get_into(cache, text, self_value_key(text, key), &value, sizeof value, &length, &kind);
    if (status == FOREBAY_MISS)
        return may_miss || complain("counter is gone", key, status, 0);
    if (status != FOREBAY_OK || kind != FOREBAY_KIND_INT || length != sizeof value)
        return complain("counter holds a wrong value", key, status, 0);
    return (value >= least && value <= most) || complain("counter is off", key, status, (uint64_t)value);
}

bool step_check_values(forebay_cache *cache, const step_operation *operation, bool recycled)
{
    bool may_miss = !step_has_room(operation->arena) || operation->clears || recycled;
    unsigned first = 1u << 1;
    unsigned later = recycled ? 1u << RECYCLED_SEQUENCE : 0;
    bool good = true;
    for (uint64_t key = 1; key <= (!step_has_room(operation->arena) ? STEP_FULL_KEYS : STEP_CALM_KEYS); key++)
        good &= check_key(cache, key, first | later, may_miss);
    static const uint64_t special[] = {STEP_KEY, STEP_NEW_KEY, STEP_BIG_KEY};
    for (size_t i = 0; i < 3; i++) {
        bool mine = operation->key == special[i];
        bool absent = special[i] == STEP_NEW_KEY;
        unsigned mine_may_be = recycled && operation->leases ? 0 : operation->sequences | later; /* 0: it was deleted */
        good &= check_key(cache, special[i], mine ? mine_may_be : (absent ? 0 : first) | later,
                          may_miss || (mine ? operation->may_miss : absent));
    }
    bool counts = operation->key == STEP_COUNTER || recycled;
    good &= check_counter(cache, STEP_COUNTER, recycled ? 1 : STEP_COUNTED, STEP_COUNTED + counts, may_miss);
    good &= check_counter(cache, STEP_NEW_COUNTER, 1, 8, true);
    return good;
}

static void print_violation(void *context, const char *message)
{
    (void)context;
    printf("verify: %s\n", message);
}

bool step_verify(forebay_arena *arena)
{
    return forebay_arena_verify(arena, print_violation, NULL) == FOREBAY_OK;
}

bool step_check_limit(forebay_cache *cache, step_arena kind)
{
    forebay_cache_stats stats;
    if (kind != LIMITED || (forebay_cache_get_stats(cache, &stats) == FOREBAY_OK && stats.bytes <= STEP_LIMIT))
        return true;
    printf("the cache has %llu bytes, more than its limit\n", (unsigned long long)stats.bytes);
    return false;
}

static bool set_and_see(forebay_cache *cache, uint64_t key)
{
    uint64_t sequence = 0;
    forebay_status status = set(cache, key, RECYCLED_SEQUENCE);
    if (status != FOREBAY_OK)
        return complain("cannot be set", key, status, 0);
    status = get(cache, key, &sequence);
    return (status == FOREBAY_OK && sequence == RECYCLED_SEQUENCE)
           || complain("set, and then not there", key, status, sequence);
}

/* The killed one's lease, if it had it, is over. */
static bool lease_can_be_had(forebay_cache *cache, uint64_t key)
{
    char text[24];
    size_t length = self_value_key(text, key);
    forebay_lease lease;
    forebay_status status;
    while ((status = forebay_lease_take(cache, text, length, 3600000, &lease)) == FOREBAY_EXISTS
           && forebay_lease_wait(cache, &lease, 1000) == FOREBAY_OK)
        ;
    forebay_lease_end(cache, &lease);
    return status == FOREBAY_OK || complain("cannot be loaded", key, status, 0);
}

bool step_live_on(forebay_cache *cache, const step_operation *operation)
{
    uint64_t sequence = 0;
    if (operation->leases && !lease_can_be_had(cache, operation->key))
        return false;
    if (step_is_about_limits(operation) && !step_limit_lives_on(cache->arena))
        return false;
    if (step_is_about_channels(operation) && !step_channel_lives_on(cache->arena, operation))
        return false;
    if (step_is_about_tiers(operation) && !step_tiers_live_on(cache->arena))
        return false;
    uint64_t key = operation->key != 0 && operation->key < STEP_COUNTER ? operation->key : STEP_KEY;
    if (!set_and_see(cache, key) || !set_and_see(cache, 7))
        return false;
    delete(cache, key);
    forebay_status status = get(cache, key, &sequence);
    if (status != FOREBAY_MISS)
        return complain("deleted, and still there", key, status, sequence);
    char text[24];
    size_t length = self_value_key(text, STEP_NEW_COUNTER);
    int64_t before = 0, after = 0;
    double begun = now_us();
    bool counted = forebay_incr(cache, text, length, 1, 0, FOREBAY_TTL_DEFAULT, &before) == FOREBAY_OK
                   && forebay_incr(cache, text, length, 1, 0, FOREBAY_TTL_DEFAULT, &after) == FOREBAY_OK;
    note_call("incr", begun);
    return (counted && after == before + 1) || complain("does not count", STEP_NEW_COUNTER, 0, (uint64_t)after);
}

bool step_recycle(forebay_cache *cache, const step_operation *operation)
{
    uint64_t keys = !step_has_room(operation->arena) ? STEP_FULL_KEYS : STEP_CALM_KEYS;
    if (operation->leases)
        delete(cache, operation->key);
    for (uint64_t key = 1; key <= keys; key += 3)
        delete(cache, key);
    for (uint64_t key = 2; key <= keys; key += 3)
        if (set(cache, key, RECYCLED_SEQUENCE) != FOREBAY_OK)
            return complain("cannot be replaced", key, 0, 0);
    uint64_t written = 0;
    for (youngest_filler = FILLER_FIRST; written < 4 * STEP_ARENA_SIZE; youngest_filler++) {
        forebay_status status = set(cache, youngest_filler, 1);
        if (status != FOREBAY_OK)
            return complain("cannot be set", youngest_filler, status, 0);
        written += value_length(youngest_filler);
    }
    return true;
}

bool step_check_youngest(forebay_cache *cache, step_arena kind)
{
    bool good = true;
    for (uint64_t key = youngest_filler - youngest[kind]; key < youngest_filler; key++) {
        uint64_t sequence = 0;
        forebay_status status = get(cache, key, &sequence);
        if (status != FOREBAY_OK)
            good = complain("was just set and is evicted", key, status, sequence);
    }
    return good;
}

bool step_check_recycled(forebay_cache *cache)
{
    bool good = true;
    for (uint64_t key = 1; key <= STEP_CALM_KEYS; key++) {
        uint64_t sequence = 0;
        forebay_status status = get(cache, key, &sequence);
        if (status == FOREBAY_MISS)
            continue;
        if (key % 3 == 1)
            good = complain("was deleted and is back", key, status, sequence);
        if (key % 3 == 2 && sequence != RECYCLED_SEQUENCE)
            good = complain("was replaced and is old again", key, status, sequence);
    }
    return good;
}
