/* SPDX-License-Identifier: Apache-2.0 */
/* Rows and liveness: rows.c, row_liveness.c, lanes.c, file_lock.c, registry.c. */
#include "arena_fixture.h"

#include <linux/close_range.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>

#include "arena/arena_clock.h"
#include "arena/file_lock.h"

#define NOBODY 65534

static uint32_t rows_used(forebay_arena *arena)
{
    forebay_arena_info info;
    assert_int_equal(forebay_arena_get_info(arena, &info), FOREBAY_OK);
    return info.rows_used;
}

/* Asks are limited to one in 5 ms a row. */
static bool found_dead(forebay_arena *arena, row_owner owner)
{
    for (int i = 0; i < 400; i++) {
        if (fb_row_is_dead(arena, owner))
            return true;
        sleep_ms(5);
    }
    return false;
}

/* The same: the first look at the row of one just killed may have been too early. */
static bool found_let_go(forebay_arena *arena, uint32_t segment)
{
    for (int i = 0; i < 400; i++) {
        if (!fb_segment_held(arena, segment, 1))
            return true;
        sleep_ms(5);
    }
    return false;
}

static bool stays_alive(forebay_arena *arena, row_owner owner)
{
    for (int i = 0; i < 10; i++) {
        if (fb_row_is_dead(arena, owner))
            return false;
        sleep_ms(6);
    }
    return true;
}

/* A process that opens the file, tells its owner word, and waits. */
static void open_and_wait(peer *parent, void *path)
{
    forebay_arena *arena = open_sized(path, 0);
    CHECK(arena != NULL);
    peer_say(parent, fb_row_owner(arena));
    (void)peer_hear(parent);
    forebay_arena_close(arena);
}

/* The same with a handle from before the fork. */
static void inherit_and_wait(peer *parent, void *context)
{
    forebay_arena *arena = context;
    CHECK(fb_arena_enter(arena) == FOREBAY_OK);
    peer_say(parent, fb_row_owner(arena));
    (void)peer_hear(parent);
}

typedef struct fixture {
    char path[64];
    forebay_arena *arena;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    (void)snprintf(f->path, sizeof f->path, "%s", fresh_path());
    f->arena = open_sized(f->path, MIB);
    *state = f;
    return f->arena == NULL;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    forebay_arena_close(f->arena);
    unlink(f->path);
    free(f);
    return 0;
}

static void a_handle_takes_a_row_and_gives_it_back(void **state)
{
    fixture *f = *state;
    assert_int_equal(rows_used(f->arena), 1);
    forebay_arena *second = open_sized(f->path, 0);
    assert_non_null(second);
    row_owner owner = fb_row_owner(second);
    assert_int_not_equal(owner, fb_row_owner(f->arena));
    assert_int_equal(rows_used(f->arena), 2);
    assert_true(stays_alive(f->arena, owner));
    forebay_arena_close(second);
    assert_int_equal(rows_used(f->arena), 1);
    assert_true(fb_row_is_dead(f->arena, owner));
}

static void a_row_taken_again_has_another_generation(void **state)
{
    fixture *f = *state;
    row_owner owners[3];
    for (int i = 0; i < 3; i++) {
        forebay_arena *again = open_sized(f->path, 0);
        owners[i] = fb_row_owner(again);
        forebay_arena_close(again);
    }
    assert_int_equal(owners[0] & 0xfff, owners[2] & 0xfff);
    assert_int_not_equal(owners[0], owners[1]);
    assert_int_not_equal(owners[1], owners[2]);
}

static void a_killed_process_is_found_dead_and_its_row_is_free_again(void **state)
{
    fixture *f = *state;
    peer p = peer_start(open_and_wait, f->path);
    row_owner owner = peer_hear(&p);
    assert_true(stays_alive(f->arena, owner));
    peer_kill(&p);
    assert_true(found_dead(f->arena, owner));
    assert_int_equal(rows_used(f->arena), 1);
}

static void a_stopped_process_is_alive(void **state)
{
    fixture *f = *state;
    peer p = peer_start(open_and_wait, f->path);
    row_owner owner = peer_hear(&p);
    kill(p.pid, SIGSTOP);
    assert_true(stays_alive(f->arena, owner));
    assert_int_equal(fb_rows_sweep(f->arena), 0);
    peer_kill(&p);
    assert_true(found_dead(f->arena, owner));
}

static void a_zombie_is_dead_before_its_parent_waits_for_it(void **state)
{
    fixture *f = *state;
    peer p = peer_start(open_and_wait, f->path);
    row_owner owner = peer_hear(&p);
    kill(p.pid, SIGKILL);
    assert_true(found_dead(f->arena, owner));
    peer_end(&p);
}

static void a_forked_child_takes_a_row_of_its_own(void **state)
{
    fixture *f = *state;
    peer p = peer_start(inherit_and_wait, f->arena);
    row_owner owner = peer_hear(&p);
    assert_int_not_equal(owner & 0xfff, fb_row_owner(f->arena) & 0xfff);
    assert_true(stays_alive(f->arena, owner));
    peer_kill(&p);
    assert_true(found_dead(f->arena, owner));
    assert_int_equal(fb_arena_enter(f->arena), FOREBAY_OK); /* the parent has kept its own */
    assert_int_equal(rows_used(f->arena), 1);
}

/* Opens, makes a child, tells both owners; the child lives on when it is killed. */
static void open_fork_and_wait(peer *parent, void *path)
{
    forebay_arena *arena = open_sized(path, 0);
    CHECK(arena != NULL);
    uint64_t mine = fb_row_owner(arena);
    peer child = peer_start(inherit_and_wait, arena);
    uint64_t its = peer_hear(&child);
    peer_say(parent, mine);
    peer_say(parent, its);
    peer_say(parent, (uint64_t)child.pid);
    (void)peer_hear(parent);
}

static void a_dead_parent_is_dead_though_its_child_lives(void **state)
{
    fixture *f = *state;
    peer p = peer_start(open_fork_and_wait, f->path);
    row_owner parent = peer_hear(&p), child = peer_hear(&p);
    pid_t child_pid = (pid_t)peer_hear(&p);
    kill(child_pid, SIGSTOP); /* or it would end with the pipe */
    peer_kill(&p);
    assert_true(found_dead(f->arena, parent));
    assert_true(stays_alive(f->arena, child));
    kill(child_pid, SIGKILL);
    assert_true(found_dead(f->arena, child));
}

/* Opens, makes a child that never touches the arena, tells the owner. */
static void wait_without_touching(peer *parent, void *context)
{
    (void)context;
    (void)parent; /* outlives it */
    for (;;)
        pause();
}

static void open_fork_idle_child_and_wait(peer *parent, void *path)
{
    forebay_arena *arena = open_sized(path, 0);
    CHECK(arena != NULL);
    peer child = peer_start(wait_without_touching, NULL);
    peer_say(parent, fb_row_owner(arena));
    peer_say(parent, (uint64_t)child.pid);
    (void)peer_hear(parent);
}

static void a_child_that_never_uses_the_arena_does_not_keep_its_dead_parent_alive(void **state)
{
    fixture *f = *state;
    peer p = peer_start(open_fork_idle_child_and_wait, f->path);
    row_owner parent = peer_hear(&p);
    pid_t child_pid = (pid_t)peer_hear(&p);
    kill(child_pid, SIGSTOP);
    peer_kill(&p);
    assert_true(found_dead(f->arena, parent));
    kill(child_pid, SIGKILL);
}

/* As if it had been stopped before the fork handlers ran: it has a copy of every
 * descriptor, the one with the lock too. */
static void open_clone_and_wait(peer *parent, void *path)
{
    forebay_arena *arena = open_sized(path, 0);
    CHECK(arena != NULL);
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        alarm(120);
        for (;;)
            pause();
    }
    peer_say(parent, fb_row_owner(arena));
    peer_say(parent, (uint64_t)pid);
    (void)peer_hear(parent);
}

static void a_child_that_keeps_the_lock_does_not_keep_its_dead_parent_alive(void **state)
{
    fixture *f = *state;
    peer p = peer_start(open_clone_and_wait, f->path);
    row_owner parent = peer_hear(&p);
    pid_t child_pid = (pid_t)peer_hear(&p);
    assert_true(stays_alive(f->arena, parent));
    kill(p.pid, SIGKILL);
    assert_true(found_dead(f->arena, parent)); /* while it is a zombie */
    peer_end(&p);
    assert_int_equal(fb_fd_locked(f->arena->fd, ROW_LOCK_BASE + (int64_t)(parent & 0xfff)), 1);
    kill(child_pid, SIGKILL);
}

/* clone() past the C library: no fork handler runs. */
static void a_child_made_by_a_bare_system_call_takes_a_row_of_its_own(void **state)
{
    fixture *f = *state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    row_owner mine = fb_row_owner(f->arena);
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        uint64_t word = fb_arena_enter(f->arena) == FOREBAY_OK ? fb_row_owner(f->arena) : UINT64_MAX;
        (void)!write(ends[1], &word, sizeof word);
        pause();
        syscall(SYS_exit_group, 0);
    }
    row_owner its = 0;
    assert_int_equal(read(ends[0], &its, sizeof its), sizeof its);
    assert_int_not_equal(its, UINT64_MAX);
    assert_int_not_equal(its & 0xfff, mine & 0xfff);
    assert_int_equal(rows_used(f->arena), 2);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_true(found_dead(f->arena, its));
    assert_false(fb_row_is_dead(f->arena, mine));
    close(ends[0]);
    close(ends[1]);
}

static void open_exec_and_wait(peer *parent, void *path)
{
    forebay_arena *arena = open_sized(path, 0);
    CHECK(arena != NULL);
    peer_say(parent, fb_row_owner(arena));
    CHECK(peer_hear(parent) == 1);
    execlp("sleep", "sleep", "60", (char *)NULL);
    _exit(1);
}

static void a_process_that_executes_another_program_is_dead(void **state)
{
    fixture *f = *state;
    peer p = peer_start(open_exec_and_wait, f->path);
    row_owner owner = peer_hear(&p);
    assert_false(fb_row_is_dead(f->arena, owner));
    peer_say(&p, 1);
    assert_true(found_dead(f->arena, owner));
    assert_int_equal(kill(p.pid, 0), 0); /* the same pid and start time live on */
    peer_kill(&p);
}

/* As a daemon does: every descriptor but the pipes is closed, the mapping stays. */
static void open_close_all_and_wait(peer *parent, void *path)
{
    forebay_arena *arena = open_sized(path, 0);
    CHECK(arena != NULL);
    uint64_t owner = fb_row_owner(arena);
    int say = fcntl(parent->say, F_DUPFD_CLOEXEC, 500), hear = fcntl(parent->hear, F_DUPFD_CLOEXEC, 500);
    CHECK(say >= 500 && hear >= 500);
    parent->say = say;
    parent->hear = hear;
    CHECK(close_range(3, 499, 0) == 0);
    int strangers[40]; /* take the numbers of the arena's */
    for (int i = 0; i < 40; i++)
        CHECK((strangers[i] = open("/dev/null", O_RDWR)) >= 0);
    peer_say(parent, owner);
    (void)peer_hear(parent);
    forebay_arena_info info;
    CHECK(forebay_arena_get_info(arena, &info) == FOREBAY_OK);
    (void)fb_rows_sweep(arena);
    forebay_arena_close(arena);
    for (int i = 0; i < 40; i++)
        CHECK(fcntl(strangers[i], F_GETFD) >= 0); /* not closed in the arena's name */
    peer_say(parent, 7);
}

static void a_daemon_that_closed_all_descriptors_is_alive_until_it_ends(void **state)
{
    fixture *f = *state;
    peer p = peer_start(open_close_all_and_wait, f->path);
    row_owner owner = peer_hear(&p);
    assert_int_equal(fb_fd_locked(f->arena->fd, ROW_LOCK_BASE + (int64_t)(owner & 0xfff)), 0);
    assert_true(stays_alive(f->arena, owner));
    peer_kill(&p);
    assert_true(found_dead(f->arena, owner));
}

static void closing_after_close_range_leaves_others_files_open(void **state)
{
    fixture *f = *state;
    peer p = peer_start(open_close_all_and_wait, f->path);
    (void)peer_hear(&p);
    peer_say(&p, 1);
    assert_int_equal(peer_hear(&p), 7);
    assert_int_equal(peer_end(&p), 0);
    assert_int_equal(rows_used(f->arena), 1);
}

static void hold_and_wait(peer *parent, void *path)
{
    forebay_arena *arena = open_sized(path, 0);
    CHECK(arena != NULL);
    uint32_t lane = fb_lane_enter(arena);
    fb_lane_hold(arena, lane, 1, 17);
    peer_say(parent, fb_row_owner(arena));
    (void)peer_hear(parent);
    fb_lane_leave(arena, lane);
    peer_say(parent, 7);
    (void)peer_hear(parent);
}

static void a_segment_is_held_until_its_holder_lets_go(void **state)
{
    fixture *f = *state;
    peer p = peer_start(hold_and_wait, f->path);
    (void)peer_hear(&p);
    assert_true(fb_segment_held(f->arena, 17, 1));
    assert_true(fb_segment_held(f->arena, 10, 8));
    assert_false(fb_segment_held(f->arena, 10, 7));
    assert_false(fb_segment_held(f->arena, 18, 100));
    peer_say(&p, 1);
    assert_int_equal(peer_hear(&p), 7);
    assert_false(fb_segment_held(f->arena, 17, 1));
    peer_kill(&p);
}

static void a_segment_is_held_by_a_stopped_process_and_not_by_a_killed_one(void **state)
{
    fixture *f = *state;
    peer p = peer_start(hold_and_wait, f->path);
    (void)peer_hear(&p);
    kill(p.pid, SIGSTOP);
    for (int i = 0; i < 10; i++) {
        assert_true(fb_segment_held(f->arena, 17, 1));
        sleep_ms(6);
    }
    peer_kill(&p);
    assert_true(found_let_go(f->arena, 17));
}

static void sweep_slowly(peer *parent, void *path)
{
    forebay_arena *arena = open_sized(path, 0);
    CHECK(arena != NULL);
    peer_say(parent, 1);
    uint64_t row = peer_hear(parent) & 0xfff;
    int fd = fb_fd_reopen(arena);
    CHECK(fd >= 0 && fb_fd_lock(fd, ROW_SWEEP_BASE + (int64_t)row));
    peer_say(parent, 2);
    (void)peer_hear(parent);
}

static void a_stopped_sweeper_does_not_make_the_dead_look_alive(void **state)
{
    fixture *f = *state;
    peer victim = peer_start(hold_and_wait, f->path);
    row_owner owner = peer_hear(&victim);
    peer sweeper = peer_start(sweep_slowly, f->path);
    (void)peer_hear(&sweeper);
    peer_say(&sweeper, owner);
    assert_int_equal(peer_hear(&sweeper), 2);
    kill(sweeper.pid, SIGSTOP);
    peer_kill(&victim);
    assert_true(found_dead(f->arena, owner));
    assert_true(found_let_go(f->arena, 17));
    assert_int_equal(rows_used(f->arena), 3); /* not swept meanwhile: its sweeper is at it */
    peer_kill(&sweeper);
    assert_int_equal(fb_rows_sweep(f->arena), 2);
    assert_int_equal(rows_used(f->arena), 1);
}

static void one_handle_too_many_is_refused_with_the_number(void **state)
{
    fixture *f = *state;
    forebay_arena *handles[64] = { NULL };
    forebay_error error = { 0 };
    uint32_t count = f->arena->geometry.row_count;
    for (uint32_t i = 1; i < count; i++) {
        handles[i] = open_sized(f->path, 0);
        assert_non_null(handles[i]);
    }
    assert_int_equal(forebay_arena_open(f->path, NULL, &handles[0], &error), FOREBAY_BUSY);
    assert_null(handles[0]);
    assert_non_null(strstr(error.message, "32 processes"));
    for (uint32_t i = 1; i < count; i++)
        forebay_arena_close(handles[i]);
    forebay_arena *again = open_sized(f->path, 0);
    assert_non_null(again);
    forebay_arena_close(again);
}

static void open_all_rows_and_wait(peer *parent, void *path)
{
    uint64_t opened = 0;
    while (forebay_arena_open(path, NULL, &(forebay_arena *){ NULL }, NULL) == FOREBAY_OK)
        opened++;
    peer_say(parent, opened);
    (void)peer_hear(parent);
}

static void rows_of_the_dead_are_taken_when_no_other_is_free(void **state)
{
    fixture *f = *state;
    peer p = peer_start(open_all_rows_and_wait, f->path);
    assert_int_equal(peer_hear(&p), 31);
    peer_kill(&p);
    forebay_arena *next = open_sized(f->path, 0);
    assert_non_null(next);
    assert_int_equal(rows_used(f->arena), 2);
    forebay_arena_close(next);
}

static void *enter_a_lane(void *arena)
{
    return (void *)(uintptr_t)(fb_lane_enter(arena) + 1);
}

static void a_thread_waits_for_a_lane_when_all_are_taken(void **state)
{
    fixture *f = *state;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < ROW_LANES; i++) {
        uint32_t lane = fb_lane_enter(f->arena);
        assert_true(lane < ROW_LANES);
        assert_false(seen & 1u << lane);
        seen |= 1u << lane;
    }
    pthread_t thread;
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, enter_a_lane, f->arena), 0);
    sleep_ms(20);
    fb_lane_leave(f->arena, 3);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal((uintptr_t)result, 3 + 1);
}

static void words_of_no_row_are_dead(void **state)
{
    fixture *f = *state;
    assert_true(fb_row_is_dead(f->arena, 0));
    assert_true(fb_row_is_dead(f->arena, 0xfff));
    assert_true(fb_row_is_dead(f->arena, UINT64_MAX));
    assert_true(fb_row_is_dead(f->arena, fb_row_owner(f->arena) + ((row_owner)1 << 12)));
    assert_false(fb_row_is_dead(f->arena, fb_row_owner(f->arena)));
}

/* --- rights ---------------------------------------------------------------- */

static void drop_rights_then_use(peer *parent, void *context)
{
    forebay_arena *arena = context;
    CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    CHECK(open(arena->path, O_RDWR) < 0 && errno == EACCES);
    inherit_and_wait(parent, arena);
}

static void a_worker_that_gave_up_its_rights_after_the_fork_has_a_lock(void **state)
{
    fixture *f = *state;
    if (geteuid() != 0)
        skip();
    peer p = peer_start(drop_rights_then_use, f->arena);
    row_owner owner = peer_hear(&p);
    assert_int_not_equal(owner, UINT64_MAX);
    assert_int_equal(f->arena->rows[owner & 0xfff].unlocked, 0);
    assert_int_equal(fb_fd_locked(f->arena->fd, ROW_LOCK_BASE + (int64_t)(owner & 0xfff)), 1);
    assert_true(stays_alive(f->arena, owner));
    peer_kill(&p);
    assert_true(found_dead(f->arena, owner));
}

/* The parent opened it as root, gave up its rights, and forks only then. */
static void drop_rights_then_fork(peer *parent, void *context)
{
    forebay_arena *arena = context;
    CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    CHECK(fb_arena_enter(arena) == FOREBAY_OK);
    peer child = peer_start(inherit_and_wait, arena);
    uint64_t its = peer_hear(&child);
    CHECK(its != UINT64_MAX);
    peer_say(parent, its);
    (void)peer_hear(parent);
    peer_kill(&child);
    peer_say(parent, 7);
    (void)peer_hear(parent);
}

static void a_child_without_the_right_to_open_the_file_is_known_by_its_pid(void **state)
{
    fixture *f = *state;
    if (geteuid() != 0)
        skip();
    peer p = peer_start(drop_rights_then_fork, f->arena);
    row_owner owner = peer_hear(&p);
    assert_int_not_equal(owner, UINT64_MAX);
    assert_int_equal(f->arena->rows[owner & 0xfff].unlocked, 1);
    assert_int_equal(fb_fd_locked(f->arena->fd, ROW_LOCK_BASE + (int64_t)(owner & 0xfff)), 0);
    assert_true(stays_alive(f->arena, owner));
    peer_say(&p, 1);
    assert_int_equal(peer_hear(&p), 7);
    assert_true(found_dead(f->arena, owner));
    peer_kill(&p);
}

/* --- PID namespaces -------------------------------------------------------- */

static void open_in_a_new_pid_namespace(peer *parent, void *path)
{
    if (unshare(CLONE_NEWPID) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0)
        CHECK(!"no PID namespace could be made");
    peer inner = peer_start(open_and_wait, path);
    peer_say(parent, peer_hear(&inner));
    peer_say(parent, (uint64_t)inner.pid);
    (void)peer_hear(parent);
}

static void processes_of_another_pid_namespace_live_and_die_like_ours(void **state)
{
    fixture *f = *state;
    peer p = peer_start(open_in_a_new_pid_namespace, f->path);
    row_owner owner = peer_hear(&p);
    pid_t inner = (pid_t)peer_hear(&p);
    const arena_row *row = &f->arena->rows[owner & 0xfff];
    assert_int_equal(row->pid, 1); /* a pid that is alive here, and another process */
    assert_int_not_equal(row->pid_namespace, f->arena->rows[fb_row_owner(f->arena) & 0xfff].pid_namespace);
    assert_true(stays_alive(f->arena, owner));
    kill(inner, SIGSTOP);
    assert_true(stays_alive(f->arena, owner));
    kill(inner, SIGKILL);
    assert_true(found_dead(f->arena, owner));
    peer_kill(&p);
}

typedef struct other_namespace_look {
    const char *path;
    row_owner owner;
} other_namespace_look;

static void look_from_inside(peer *parent, void *context)
{
    const other_namespace_look *look = context;
    forebay_arena *arena = open_sized(look->path, 0);
    CHECK(arena != NULL);
    CHECK(stays_alive(arena, look->owner));
    peer_say(parent, 1);
    CHECK(peer_hear(parent) == 2);
    CHECK(found_dead(arena, look->owner));
    forebay_arena_close(arena);
}

static void look_from_a_new_pid_namespace(peer *parent, void *context)
{
    CHECK(unshare(CLONE_NEWPID) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0);
    peer inner = peer_start(look_from_inside, context);
    peer_say(parent, peer_hear(&inner));
    peer_say(&inner, peer_hear(parent));
    CHECK(peer_end(&inner) == 0);
}

static void a_process_inside_a_pid_namespace_sees_who_dies_outside(void **state)
{
    fixture *f = *state;
    peer victim = peer_start(open_and_wait, f->path);
    other_namespace_look look = { .path = f->path, .owner = peer_hear(&victim) };
    peer p = peer_start(look_from_a_new_pid_namespace, &look);
    assert_int_equal(peer_hear(&p), 1);
    peer_kill(&victim);
    peer_say(&p, 2);
    assert_int_equal(peer_end(&p), 0);
}

/* The first process of a PID namespace: its death would kill all the others. */
static void run_idle_child_case_inside(peer *parent, void *path)
{
    peer owner = peer_start(open_fork_idle_child_and_wait, path);
    peer_say(parent, peer_hear(&owner));
    (void)peer_hear(&owner);
    sleep_ms(200); /* the idle child has run its fork handlers */
    peer_say(parent, 1);
    CHECK(peer_hear(parent) == 2);
    kill(owner.pid, SIGKILL);
    peer_say(parent, 3);
    (void)peer_hear(parent);
}

static void run_in_a_new_pid_namespace(peer *parent, void *path)
{
    CHECK(unshare(CLONE_NEWPID) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0);
    peer first = peer_start(run_idle_child_case_inside, path);
    peer_say(parent, peer_hear(&first));
    for (int i = 0; i < 2; i++) {
        peer_say(parent, peer_hear(&first));
        peer_say(&first, peer_hear(parent));
    }
    peer_kill(&first);
}

/* Here nothing but the lock tells: the child must have let go of its parent's. */
static void a_child_does_not_keep_its_dead_parent_alive_in_another_pid_namespace(void **state)
{
    fixture *f = *state;
    peer p = peer_start(run_in_a_new_pid_namespace, f->path);
    row_owner owner = peer_hear(&p);
    assert_int_equal(peer_hear(&p), 1);
    assert_true(stays_alive(f->arena, owner));
    peer_say(&p, 2);
    assert_int_equal(peer_hear(&p), 3);
    assert_true(found_dead(f->arena, owner));
    peer_say(&p, 4);
    assert_int_equal(peer_end(&p), 0);
}

/* --- storms ---------------------------------------------------------------- */

static void open_and_close_for_ever(peer *parent, void *path)
{
    (void)parent;
    for (;;) {
        forebay_arena *arena = open_sized(path, 0);
        CHECK(arena != NULL);
        uint32_t lane = fb_lane_enter(arena);
        fb_lane_hold(arena, lane, 0, 5);
        if (!fb_segment_held(arena, 5, 1)) { /* a row that two have, or swept under its owner */
            fprintf(stderr, "a live hold was lost\n");
            abort();
        }
        fb_lane_leave(arena, lane);
        forebay_arena_close(arena);
    }
}

static void processes_killed_at_random_leave_no_row_and_no_hold_behind(void **state)
{
    fixture *f = *state;
    enum { WORKERS = 4, ROUNDS = 60 };
    peer workers[WORKERS];
    unsigned seed = 1;
    for (int i = 0; i < WORKERS; i++)
        workers[i] = peer_start(open_and_close_for_ever, f->path);
    for (int round = 0; round < ROUNDS; round++) {
        sleep_ms(rand_r(&seed) % 8);
        int i = rand_r(&seed) % WORKERS;
        int status = peer_kill(&workers[i]);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        workers[i] = peer_start(open_and_close_for_ever, f->path);
    }
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(WTERMSIG(peer_kill(&workers[i])), SIGKILL);
    (void)fb_rows_sweep(f->arena);
    assert_int_equal(rows_used(f->arena), 1);
    assert_false(fb_segment_held(f->arena, 0, UINT32_MAX));
    assert_true(fb_arena_enter(f->arena) == FOREBAY_OK);
}

static void *fork_again_and_again(void *arena)
{
    for (int i = 0; i < 40; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(fb_arena_enter(arena) == FOREBAY_OK && fb_lane_enter(arena) < ROW_LANES ? 0 : 1);
        int status = -1;
        waitpid(pid, &status, 0);
        if (status != 0)
            return arena;
    }
    return NULL;
}

static void threads_that_fork_while_others_open_and_close_leave_no_row_behind(void **state)
{
    fixture *f = *state;
    pthread_t forkers[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&forkers[i], NULL, fork_again_and_again, f->arena), 0);
    for (int i = 0; i < 100; i++) {
        forebay_arena *arena = open_sized(f->path, 0);
        assert_non_null(arena);
        forebay_arena_close(arena);
    }
    for (int i = 0; i < 2; i++) {
        void *failed;
        assert_int_equal(pthread_join(forkers[i], &failed), 0);
        assert_null(failed);
    }
    (void)fb_rows_sweep(f->arena);
    assert_int_equal(rows_used(f->arena), 1);
}

#define ROW_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW_TEST(a_handle_takes_a_row_and_gives_it_back),
        ROW_TEST(a_row_taken_again_has_another_generation),
        ROW_TEST(a_killed_process_is_found_dead_and_its_row_is_free_again),
        ROW_TEST(a_stopped_process_is_alive),
        ROW_TEST(a_zombie_is_dead_before_its_parent_waits_for_it),
        ROW_TEST(a_forked_child_takes_a_row_of_its_own),
        ROW_TEST(a_dead_parent_is_dead_though_its_child_lives),
        ROW_TEST(a_child_that_never_uses_the_arena_does_not_keep_its_dead_parent_alive),
        ROW_TEST(a_child_that_keeps_the_lock_does_not_keep_its_dead_parent_alive),
        ROW_TEST(a_child_made_by_a_bare_system_call_takes_a_row_of_its_own),
        ROW_TEST(a_process_that_executes_another_program_is_dead),
        ROW_TEST(a_daemon_that_closed_all_descriptors_is_alive_until_it_ends),
        ROW_TEST(closing_after_close_range_leaves_others_files_open),
        ROW_TEST(a_segment_is_held_until_its_holder_lets_go),
        ROW_TEST(a_segment_is_held_by_a_stopped_process_and_not_by_a_killed_one),
        ROW_TEST(a_stopped_sweeper_does_not_make_the_dead_look_alive),
        ROW_TEST(one_handle_too_many_is_refused_with_the_number),
        ROW_TEST(rows_of_the_dead_are_taken_when_no_other_is_free),
        ROW_TEST(a_thread_waits_for_a_lane_when_all_are_taken),
        ROW_TEST(words_of_no_row_are_dead),
        ROW_TEST(a_worker_that_gave_up_its_rights_after_the_fork_has_a_lock),
        ROW_TEST(a_child_without_the_right_to_open_the_file_is_known_by_its_pid),
        ROW_TEST(processes_of_another_pid_namespace_live_and_die_like_ours),
        ROW_TEST(a_process_inside_a_pid_namespace_sees_who_dies_outside),
        ROW_TEST(a_child_does_not_keep_its_dead_parent_alive_in_another_pid_namespace),
        ROW_TEST(processes_killed_at_random_leave_no_row_and_no_hold_behind),
        ROW_TEST(threads_that_fork_while_others_open_and_close_leave_no_row_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
