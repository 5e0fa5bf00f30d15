/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/rows.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "arena/arena_clock.h"
#include "arena/counters.h"
#include "arena/file_lock.h"
#include "arena/pins.h"
#include "arena/registry.h"
#include "arena/row_liveness.h"
#include "base/error.h"

#define CHECK_INTERVAL_MS 5u /* a live owner is not asked after again within this */

/* Words of the page that the kernel empties at fork. */
enum { ATTACHED, ATTACHING, SPARE_IS_MINE, LANES_ARE_MINE };

static bool word_in_use(uint64_t word)
{
    return (word & 1) != 0;
}

static uint32_t word_generation(uint64_t word)
{
    return (uint32_t)(word >> 1);
}

/* The word of the next owner.  Its generation's low 32 bits are never 0: a claim
 * of row 0 must differ from no claim. */
static uint64_t word_taken(uint64_t word)
{
    uint64_t generation = (word >> 1) + 1;
    if ((uint32_t)generation == 0)
        generation++;
    return generation << 1 | 1;
}

static uint64_t word_freed(uint64_t word)
{
    return ((word >> 1) + 1) << 1;
}

static void clear_holds(arena_row *row)
{
    for (uint32_t i = 0; i < ROW_PINS; i++)
        atomic_store(&row->pins[i], 0);
    atomic_store(&row->pins_used, 0);
    atomic_store(&row->tiers, 0);
    for (uint32_t lane = 0; lane < ROW_LANES; lane++) {
        for (uint32_t i = 0; i < LANE_HAZARDS; i++)
            atomic_store(&row->hazards[lane][i], 0);
    }
}

/* Whose row it is to be. */
typedef enum row_use {
    ROW_OWN,      /* this process's */
    ROW_UNLOCKED, /* this process's, which may not open the file once more */
    ROW_CHILDS,   /* the next child's, which writes its identity itself: until then its lock tells that it lives */
} row_use;

static void write_identity(const forebay_arena *arena, arena_row *row, row_use use)
{
    process_identity self = {0};
    if (use != ROW_CHILDS)
        self = fb_process_self(arena);
    atomic_store_explicit(&row->start_time, self.start_time, memory_order_relaxed);
    atomic_store_explicit(&row->pid_namespace, self.pid_namespace, memory_order_relaxed);
    atomic_store_explicit(&row->pid, self.pid, memory_order_relaxed);
    atomic_store_explicit(&row->unlocked, use == ROW_UNLOCKED, memory_order_relaxed);
}

static void raise_rows_used(forebay_arena *arena, uint32_t count)
{
    uint32_t used = atomic_load(&arena->super->rows_used);
    while (used < count && !atomic_compare_exchange_weak(&arena->super->rows_used, &used, count))
        ;
}

/* Take a free row whose byte is locked for it. */
static bool take_row(forebay_arena *arena, uint32_t index, uint64_t word, row_use use, uint32_t *generation_out)
{
    arena_row *row = &arena->rows[index];
    uint64_t taken = word_taken(word);
    raise_rows_used(arena, index + 1);
    if (use != ROW_UNLOCKED) {
        clear_holds(row); /* zero already, unless the file was damaged */
        write_identity(arena, row, use);
    }
    if (!atomic_compare_exchange_strong(&row->word, &word, taken))
        return false;
    if (use == ROW_UNLOCKED) {
        /* relatives with this same description may have tried for the row too:
         * only who won the word may write to it */
        clear_holds(row);
        write_identity(arena, row, use);
    }
    *generation_out = word_generation(taken);
    return true;
}

/* Lock a free row's byte through `fd` and take the row; ROW_NONE: none is free. */
static uint32_t find_free_row(forebay_arena *arena, int fd, row_use use, uint32_t *generation_out)
{
    for (uint32_t i = 0; i < arena->geometry.row_count; i++) {
        uint64_t word = atomic_load(&arena->rows[i].word);
        if (word_in_use(word) || !fb_fd_lock(fd, ROW_LOCK_BASE + i))
            continue;
        word = atomic_load(&arena->rows[i].word); /* again: it may have come and gone */
        bool taken = !word_in_use(word) && take_row(arena, i, word, use, generation_out);
        if (taken == (use == ROW_UNLOCKED)) /* taken without a lock; or locked in vain */
            (void)fb_fd_unlock(fd, ROW_LOCK_BASE + i);
        if (taken)
            return i;
    }
    return ROW_NONE;
}

static int take_spare(forebay_arena *arena)
{
    int fd = atomic_exchange(&arena->spare_fd, -1);
    /* inherited through a fork that the handlers were not told of: shared with the parent */
    if (fd >= 0 && atomic_load(&arena->attached[SPARE_IS_MINE]) == 0) {
        fb_fd_close(arena, fd);
        return -1;
    }
    if (fb_fd_is_arena(arena, fd))
        return fd;
    fb_fd_close(arena, fd); /* not another file's: a stat that failed must not leak it */
    return -1;
}

/* The row is this handle's from now on. */
static void own_row(forebay_arena *arena, uint32_t row, uint32_t generation, int fd)
{
    atomic_store(&arena->row, row);
    atomic_store(&arena->row_generation, generation);
    atomic_store(&arena->row_fd, fd);
}

/* With fork blocked: until row_fd is set a child could not find the description. */
static forebay_status attach_fork_blocked(forebay_arena *arena, forebay_error *error)
{
    int spare = take_spare(arena);
    int fd = spare >= 0 ? spare : fb_fd_reopen(arena);
    /* A process that gave up the right to open the file goes without a lock: in
     * its PID namespace it is known by its pid. */
    bool unlocked = fd < 0 && errno == EACCES && fb_fd_is_arena(arena, arena->fd);
    if (fd < 0 && !unlocked)
        return fb_error(error, FOREBAY_IO, errno, "cannot open %s once more for this process's lock: "
                        "raise the limit on open files (ulimit -n) if that is it", arena->path);
    uint32_t generation, row = find_free_row(arena, unlocked ? arena->fd : fd, unlocked ? ROW_UNLOCKED : ROW_OWN, &generation);
    if (row != ROW_NONE) {
        own_row(arena, row, generation, fd);
        return FOREBAY_OK;
    }
    if (fd >= 0)
        close(fd);
    return fb_error(error, FOREBAY_BUSY, 0, "%u processes have %s open, as many as an arena of its size takes: "
                    "close some, or make a larger arena", arena->geometry.row_count, arena->path);
}

/* Looks for a free row, with a sweep of the dead before each but the first. */
#define ATTACH_TRIES 4

forebay_status fb_row_attach(forebay_arena *arena, forebay_error *error)
{
    for (int tries = 0;; tries++) {
        fb_fork_block();
        forebay_status status = attach_fork_blocked(arena, error);
        fb_fork_unblock();
        if (status == FOREBAY_OK) {
            if (atomic_exchange(&arena->attached[LANES_ARE_MINE], 1) == 0)
                atomic_store(&arena->lanes, 0); /* a copy of the parent's; else threads are in them */
            fb_pins_publish(arena); /* of views that a child has from a fork the handlers were not told of */
            atomic_store(&arena->attached[ATTACHED], 1); /* pairs with the acquire in fb_arena_enter() */
            if (atomic_load(&arena->truncated)) {        /* the guard caught a fault meanwhile, and stored 0 too early */
                atomic_store(&arena->attached[ATTACHED], 0);
                return fb_error(error, FOREBAY_CORRUPT, 0, "%s was truncated while it was opened: delete it, and a new "
                                "one is made", arena->path);
            }
        }
        if (status != FOREBAY_BUSY || tries == ATTACH_TRIES)
            return status;
        fb_rows_sweep(arena); /* whatever it finds: another process may have swept since we looked */
    }
}

static void close_row_fd(forebay_arena *arena)
{
    int fd = atomic_exchange(&arena->row_fd, -1);
    if (fd >= 0)
        fb_fd_close(arena, fd);
}

/* Free the row if it is still of this generation. */
static void free_row(forebay_arena *arena, uint32_t index, uint32_t generation)
{
    arena_row *row = &arena->rows[index];
    uint64_t word = atomic_load(&row->word);
    if (!word_in_use(word) || word_generation(word) != generation)
        return;
    clear_holds(row);
    fb_counters_orphan(arena, index, generation);
    /* until the next owner has written its own: a row in use and locked, whose
     * pid is 0, is being taken */
    atomic_store(&row->pid, 0);
    (void)atomic_compare_exchange_strong(&row->word, &word, word_freed(word));
}

void fb_row_detach(forebay_arena *arena)
{
    if (atomic_exchange(&arena->attached[ATTACHED], 0) != 0)
        free_row(arena, atomic_load(&arena->row), atomic_load(&arena->row_generation));
    fb_fork_block();
    close_row_fd(arena);
    int spare = atomic_exchange(&arena->spare_fd, -1);
    if (spare >= 0)
        fb_fd_close(arena, spare);
    fb_fork_unblock();
}

/* Lets go of the parent's row: its description, not its record. */
static void forget(forebay_arena *arena)
{
    atomic_store(&arena->attached[ATTACHED], 0);
    for (uint32_t i = 0; i < IDENTITY_WORDS; i++)
        atomic_store(&arena->attached[IDENTITY_WORD + i], 0);
    atomic_store(&arena->lanes, 0);
    close_row_fd(arena);
}

void fb_row_prepare_child(forebay_arena *arena)
{
    fb_pins_lock(arena);
    arena->child_row = ROW_NONE;
    if (!fb_pins_any(arena) || arena->child_fd < 0 || atomic_load(&arena->attached[ATTACHED]) == 0)
        return;
    arena->child_row = find_free_row(arena, arena->child_fd, ROW_CHILDS, &arena->child_generation);
    if (arena->child_row != ROW_NONE)
        fb_pins_copy(arena, arena->child_row);
}

void fb_row_child_made(forebay_arena *arena)
{
    fb_pins_unlock(arena);
}

/* Take over the row that the parent took for this child. */
static void adopt_row(forebay_arena *arena)
{
    own_row(arena, arena->child_row, arena->child_generation, arena->child_fd);
    arena->child_fd = -1;
    write_identity(arena, &arena->rows[arena->child_row], ROW_OWN);
    atomic_store(&arena->attached[LANES_ARE_MINE], 1);
    atomic_store(&arena->attached[ATTACHED], 1);
}

void fb_row_forget(forebay_arena *arena)
{
    forget(arena);
    fb_pins_unlock(arena);
    atomic_store(&arena->attached[ATTACHING], 0);
    if (arena->child_row != ROW_NONE)
        adopt_row(arena);
    int parents = atomic_exchange(&arena->spare_fd, arena->child_fd);
    arena->child_fd = -1;
    if (parents >= 0)
        fb_fd_close(arena, parents);
    atomic_store(&arena->attached[SPARE_IS_MINE], 1);
}

/* In a child that the fork handlers were not told of. */
static void forget_untold(forebay_arena *arena)
{
    forget(arena);
    fb_pins_unlock(arena); /* the thread that may have had the lock is not here */
}

forebay_status fb_arena_reattach(forebay_arena *arena)
{
    forebay_status status = FOREBAY_OK;
    while (atomic_exchange(&arena->attached[ATTACHING], 1) != 0)
        sched_yield(); /* another thread of this process is taking the row */
    if (atomic_load(&arena->truncated)) {
        status = FOREBAY_CORRUPT;
    } else if (atomic_load(&arena->attached[ATTACHED]) == 0) {
        if (atomic_load(&arena->row_fd) >= 0)
            forget_untold(arena);
        status = fb_row_attach(arena, NULL);
    }
    atomic_store(&arena->attached[ATTACHING], 0);
    return status;
}

/* Free a dead row.  One sweeper at a time: nothing of the row is touched after
 * its word says that it is free. */
static bool sweep_row(forebay_arena *arena, uint32_t index, uint64_t word)
{
    bool swept = false;
    int fd = fb_transient_open(arena);
    if (fd < 0)
        return false; /* left for a process that may open the file */
    if (fb_fd_lock(fd, ROW_SWEEP_BASE + index)) {
        if (atomic_load(&arena->rows[index].word) == word && !fb_row_may_live(arena, index)) {
            free_row(arena, index, word_generation(word));
            swept = true;
        }
    }
    fb_transient_close(fd);
    return swept;
}

/* Asked not long ago, and it lived then? */
static bool checked_lately(forebay_arena *arena, uint32_t index)
{
    uint64_t now = fb_now_ms(arena);
    uint64_t last = atomic_load_explicit(&arena->row_checked[index], memory_order_relaxed);
    if (last != 0 && now >= last && now - last < CHECK_INTERVAL_MS)
        return true;
    atomic_store_explicit(&arena->row_checked[index], now, memory_order_relaxed);
    return false;
}

static bool is_own(const forebay_arena *arena, uint32_t index, uint32_t generation)
{
    return index == atomic_load(&arena->row) && generation == atomic_load(&arena->row_generation)
           && atomic_load(&arena->attached[ATTACHED]) != 0;
}

bool fb_row_is_dead(forebay_arena *arena, row_owner owner)
{
    uint32_t index = (uint32_t)(owner & 0xfff);
    uint32_t generation = (uint32_t)(owner >> 12);
    if (index >= arena->geometry.row_count)
        return true; /* nobody's */
    uint64_t word = atomic_load(&arena->rows[index].word);
    if (!word_in_use(word) || word_generation(word) != generation)
        return true; /* swept or given up */
    if (is_own(arena, index, generation) || checked_lately(arena, index) || fb_row_may_live(arena, index))
        return false;
    (void)sweep_row(arena, index, word);
    return true;
}

uint32_t fb_rows_sweep(forebay_arena *arena)
{
    uint32_t swept = 0;
    for (uint32_t i = 0; i < arena->geometry.row_count; i++) {
        uint64_t word = atomic_load(&arena->rows[i].word);
        if (!word_in_use(word) || is_own(arena, i, word_generation(word)) || fb_row_may_live(arena, i))
            continue;
        swept += sweep_row(arena, i, word);
    }
    return swept;
}
