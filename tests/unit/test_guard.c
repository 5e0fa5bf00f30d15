/* SPDX-License-Identifier: Apache-2.0 */
#include "arena_fixture.h"

#include <sys/mman.h>

static forebay_arena *open_guarded(const char *path)
{
    forebay_arena_options options = { .size = MIB, .guard = true };
    forebay_arena *arena = NULL;
    CHECK(forebay_arena_open(path, &options, &arena, NULL) == FOREBAY_OK);
    return arena;
}

static void touch_every_page(forebay_arena *arena)
{
    volatile uint8_t *base = arena->base;
    for (uint64_t i = 0; i < arena->geometry.size; i += 4096)
        (void)base[i];
    for (uint64_t i = 0; i < arena->geometry.size; i += 4096)
        base[i] = 1;
}

static void truncate_then_touch(peer *parent, void *path)
{
    (void)parent;
    forebay_arena *arena = open_guarded(path);
    CHECK(truncate(path, 100 * 4096) == 0);
    forebay_arena_info info;
    touch_every_page(arena);
    CHECK(arena->truncated);
    CHECK(forebay_arena_get_info(arena, &info) == FOREBAY_CORRUPT);
    CHECK(fb_arena_enter(arena) == FOREBAY_CORRUPT);
    forebay_arena_close(arena);
}

static void a_truncated_file_makes_errors_and_no_crash(void **state)
{
    const char *path = fresh_path();
    (void)state;
    assert_child_succeeds(truncate_then_touch, (void *)path);
    unlink(path);
}

static void truncate_to_nothing_then_touch(peer *parent, void *path)
{
    (void)parent;
    forebay_arena *arena = open_guarded(path);
    CHECK(truncate(path, 0) == 0);
    touch_every_page(arena);
    CHECK(fb_arena_enter(arena) == FOREBAY_CORRUPT);
    forebay_arena_close(arena); /* touches its row: gone as well */
}

static void a_file_truncated_to_nothing_makes_errors_and_no_crash(void **state)
{
    const char *path = fresh_path();
    (void)state;
    assert_child_succeeds(truncate_to_nothing_then_touch, (void *)path);
    unlink(path);
}

static void truncate_then_close(peer *parent, void *path)
{
    (void)parent;
    forebay_arena *arena = open_guarded(path);
    CHECK(truncate(path, 0) == 0);
    forebay_arena_close(arena);
}

static void closing_after_a_truncation_that_nobody_noticed_is_safe(void **state)
{
    const char *path = fresh_path();
    (void)state;
    assert_child_succeeds(truncate_then_close, (void *)path);
    unlink(path);
}

static void truncate_in_the_child(peer *parent, void *path)
{
    (void)parent;
    forebay_arena *arena = open_guarded(path);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(truncate(path, 0) == 0);
        CHECK(fb_arena_enter(arena) != FOREBAY_OK || arena->truncated);
        CHECK(fb_arena_enter(arena) == FOREBAY_CORRUPT);
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    touch_every_page(arena);
    CHECK(fb_arena_enter(arena) == FOREBAY_CORRUPT);
}

static void parent_and_child_both_survive_a_truncation(void **state)
{
    const char *path = fresh_path();
    (void)state;
    assert_child_succeeds(truncate_in_the_child, (void *)path);
    unlink(path);
}

/* A mapping that is none of ours, past the end of its file. */
static volatile uint8_t *foreign_fault_address(void)
{
    int fd = memfd_create("foreign", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, 4096) == 0);
    uint8_t *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(pages != MAP_FAILED);
    return pages + 4096;
}

static void fault_elsewhere(peer *parent, void *path)
{
    (void)parent;
    forebay_arena *arena = open_guarded(path);
    CHECK(arena != NULL);
    (void)*foreign_fault_address();
}

static void a_fault_that_is_not_the_arenas_kills_as_it_did_before(void **state)
{
    const char *path = fresh_path();
    (void)state;
    signal(SIGBUS, SIG_DFL); /* not a sanitizer's handler */
    peer p = peer_start(fault_elsewhere, (void *)path);
    int status = peer_end(&p);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGBUS);
    unlink(path);
}

static volatile sig_atomic_t earlier_calls;
static void *earlier_address;

static void earlier_handler(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    earlier_calls++;
    earlier_address = info->si_addr;
    _exit(earlier_calls == 1 ? 0 : 1);
}

static void install_earlier_then_fault_elsewhere(peer *parent, void *path)
{
    struct sigaction action = { .sa_sigaction = earlier_handler, .sa_flags = SA_SIGINFO };
    CHECK(sigaction(SIGBUS, &action, NULL) == 0);
    fault_elsewhere(parent, path);
    _exit(2);
}

static void an_earlier_handler_gets_what_is_not_the_arenas(void **state)
{
    const char *path = fresh_path();
    (void)state;
    assert_child_succeeds(install_earlier_then_fault_elsewhere, (void *)path);
    unlink(path);
}

static forebay_status open_numbered(const char *stem, int number, forebay_arena **arena_out, forebay_error *error)
{
    forebay_arena_options options = { .size = MIB, .guard = true };
    char path[80];
    (void)snprintf(path, sizeof path, "%s-%d", stem, number);
    forebay_status status = forebay_arena_open(path, &options, arena_out, error);
    struct stat st;
    CHECK(status == FOREBAY_OK || stat(path, &st) != 0); /* a failure leaves nothing behind */
    (void)unlink(path);
    return status;
}

static void open_more_than_fit(peer *parent, void *stem)
{
    forebay_arena *arenas[65] = { NULL };
    forebay_error error = { 0 };
    (void)parent;
    for (int i = 0; i < 64; i++)
        CHECK(open_numbered(stem, i, &arenas[i], NULL) == FOREBAY_OK);
    CHECK(open_numbered(stem, 64, &arenas[64], &error) == FOREBAY_NOMEM);
    CHECK(arenas[64] == NULL && error.message[0] != '\0');
    forebay_arena_close(arenas[10]); /* one place is free again */
    CHECK(open_numbered(stem, 65, &arenas[10], NULL) == FOREBAY_OK);
    for (int i = 0; i < 64; i++)
        forebay_arena_close(arenas[i]);
}

static void the_sixty_fifth_guarded_arena_is_a_clear_error(void **state)
{
    (void)state;
    assert_child_succeeds(open_more_than_fit, (void *)fresh_path());
}

static void truncate_unguarded(peer *parent, void *path)
{
    (void)parent;
    signal(SIGBUS, SIG_DFL);
    forebay_arena *arena = open_sized(path, MIB);
    CHECK(truncate(path, 0) == 0);
    touch_every_page(arena);
}

/* What the documents say, and what shows that the tests above do fault. */
static void without_the_guard_a_truncation_kills(void **state)
{
    const char *path = fresh_path();
    (void)state;
    peer p = peer_start(truncate_unguarded, (void *)path);
    int status = peer_end(&p);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGBUS);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_truncated_file_makes_errors_and_no_crash),
        cmocka_unit_test(a_file_truncated_to_nothing_makes_errors_and_no_crash),
        cmocka_unit_test(closing_after_a_truncation_that_nobody_noticed_is_safe),
        cmocka_unit_test(parent_and_child_both_survive_a_truncation),
        cmocka_unit_test(a_fault_that_is_not_the_arenas_kills_as_it_did_before),
        cmocka_unit_test(an_earlier_handler_gets_what_is_not_the_arenas),
        cmocka_unit_test(the_sixty_fifth_guarded_arena_is_a_clear_error),
        cmocka_unit_test(without_the_guard_a_truncation_kills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
