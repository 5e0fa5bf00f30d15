/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/arena_clock.h"

#include "arena/rows.h"

#include <sys/stat.h>

#include "arena/file_lock.h"

#define LOOK_INTERVAL_MS 500u           /* processes together, not each */
#define SLEEP_NOTICED_MS 10             /* below it is the coarseness of the clocks */
#define CLOCK_MAX_MS (UINT64_C(1) << 39) /* 17 years: entries hold expiries of 40 bits */

static int64_t read_clock_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Wrapping differences: a damaged file may hold any number. */
static int64_t minus(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

/* How long the machine has slept since it was booted: the two clocks are read at the
 * same moment, or a thread that is held up between them would miss that much. */
static int64_t suspended_ms(void)
{
    int64_t before, boot, after = read_clock_ms(CLOCK_MONOTONIC);
    do {
        before = after;
        boot = read_clock_ms(CLOCK_BOOTTIME);
        after = read_clock_ms(CLOCK_MONOTONIC);
    } while (after - before > 1);
    return boot - after;
}

/* Note that arena time `now_ms` is this moment of the wall clock.  The arena's
 * time first: between the two, a rebase would go too far forward, which only
 * expires entries early. */
static void note_wall_clock(arena_superblock *super, uint64_t now_ms)
{
    atomic_store_explicit(&super->clock_checked, now_ms, memory_order_release);
    atomic_store_explicit(&super->clock_unix, (uint64_t)read_clock_ms(CLOCK_REALTIME), memory_order_release);
}

static void set_time(forebay_arena *arena, uint64_t now_ms)
{
    arena_superblock *super = arena->super;
    atomic_store(&super->clock_boot_offset, minus((int64_t)now_ms, read_clock_ms(CLOCK_BOOTTIME)));
    atomic_store(&super->clock_offset, minus((int64_t)now_ms, read_clock_ms(CLOCK_MONOTONIC_COARSE)));
    note_wall_clock(super, now_ms);
}

void fb_clock_start(forebay_arena *arena)
{
    set_time(arena, 1);
}

void fb_clock_rebase(forebay_arena *arena, const uint8_t boot_id[16])
{
    arena_superblock *super = arena->super;
    (void)boot_id; /* stored by the caller, once the entries have been checked too */
    uint64_t last = atomic_load(&super->clock_checked);
    uint64_t then = atomic_load(&super->clock_unix);
    uint64_t now = (uint64_t)read_clock_ms(CLOCK_REALTIME);
    uint64_t passed = now > then ? now - then : 0; /* a wall clock set back: time stood still */
    if (last > CLOCK_MAX_MS)
        last = CLOCK_MAX_MS;
    if (passed > CLOCK_MAX_MS)
        passed = CLOCK_MAX_MS;
    set_time(arena, last + passed);
}

/* CLOCK_MONOTONIC stands still while the machine sleeps, CLOCK_BOOTTIME doesn't. */
static void add_sleep(arena_superblock *super)
{
    int64_t offset = atomic_load(&super->clock_offset);
    int64_t wanted = (int64_t)((uint64_t)atomic_load(&super->clock_boot_offset) + (uint64_t)suspended_ms());
    if (minus(wanted, offset) > SLEEP_NOTICED_MS)
        (void)atomic_compare_exchange_strong(&super->clock_offset, &offset, wanted); /* lost: another did it */
}

forebay_status forebay_arena_advance_clock(forebay_arena *arena, uint64_t ms)
{
    arena_superblock *super = arena->super;
    forebay_status status = fb_arena_enter(arena);
    if (status != FOREBAY_OK)
        return status;
    if (ms > CLOCK_MAX_MS || fb_now_ms(arena) + ms > CLOCK_MAX_MS)
        return FOREBAY_INVALID;
    int64_t offset = atomic_load(&super->clock_offset), least = (int64_t)((uint64_t)offset + ms), wanted;
    atomic_fetch_add(&super->clock_boot_offset, (int64_t)ms);
    /* as after a sleep: whoever looks brings the other offset after this one; which may be
     * ahead of it already by what the coarse clock was behind when the arena's time began */
    do {
        wanted = (int64_t)((uint64_t)atomic_load(&super->clock_boot_offset) + (uint64_t)suspended_ms());
        if (minus(least, wanted) > 0)
            wanted = least;
    } while (minus(wanted, offset) > 0 && !atomic_compare_exchange_strong(&super->clock_offset, &offset, wanted));
    return FOREBAY_OK;
}

static void look_at_path(forebay_arena *arena)
{
    struct stat st;
    if (arena->path[0] == '\0')
        return;
    bool same = stat(arena->path, &st) == 0 && st.st_ino == arena->inode && st.st_dev == arena->device;
    atomic_store_explicit(&arena->replaced, !same, memory_order_relaxed);
}

/* A row that another PID namespace took for dead (a daemon closed the descriptor
 * with its lock) is another's by now: take a new one at the next call. */
static void look_at_row(forebay_arena *arena)
{
    uint32_t row = atomic_load(&arena->row), generation = atomic_load(&arena->row_generation);
    uint64_t word = atomic_load(&arena->rows[row].word);
    if ((word & 1) == 0 || (uint32_t)(word >> 1) != generation)
        atomic_store(arena->attached, 0);
}

void fb_clock_look(forebay_arena *arena, uint64_t now_ms)
{
    arena_superblock *super = arena->super;
    uint64_t last = atomic_load(&super->clock_checked);
    add_sleep(super);
    if (now_ms > last && now_ms - last >= LOOK_INTERVAL_MS
        && atomic_compare_exchange_strong(&super->clock_checked, &last, now_ms))
        note_wall_clock(super, fb_now_ms(arena));
    look_at_path(arena);
    look_at_row(arena);
}
