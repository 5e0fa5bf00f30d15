/* SPDX-License-Identifier: Apache-2.0 */
/* Room for a new arena: space.c, space_memory.c, small_file.c. */
#include "arena_fixture.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include "arena/space.h"
#include "base/small_file.h"

/* A folder with files as the kernel's; removed at the end. */
typedef struct fake_kernel {
    char root[64];
    char self_cgroup[96], v2[96], v2_other[96], v1[96], meminfo[96];
    space_sources sources;
} fake_kernel;

static int set_up(void **state)
{
    fake_kernel *k = calloc(1, sizeof *k);
    (void)snprintf(k->root, sizeof k->root, "/dev/shm/forebay-unit-XXXXXX");
    if (mkdtemp(k->root) == NULL)
        return -1;
    (void)snprintf(k->self_cgroup, sizeof k->self_cgroup, "%s/cgroup", k->root);
    (void)snprintf(k->v2, sizeof k->v2, "%s/v2", k->root);
    (void)snprintf(k->v2_other, sizeof k->v2_other, "%s/unified", k->root);
    (void)snprintf(k->v1, sizeof k->v1, "%s/v1", k->root);
    (void)snprintf(k->meminfo, sizeof k->meminfo, "%s/meminfo", k->root);
    k->sources = (space_sources){ .self_cgroup = k->self_cgroup, .v2_roots = { k->v2, k->v2_other },
                                  .v1_memory_root = k->v1, .meminfo = k->meminfo };
    *state = k;
    return 0;
}

static int tear_down(void **state)
{
    fake_kernel *k = *state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r '%s'", k->root);
    int status = system(command);
    free(k);
    return status;
}

/* Write `text` to <root>/<path>, making its folders. */
static void put(const fake_kernel *k, const char *path, const char *text)
{
    char full[256];
    (void)snprintf(full, sizeof full, "%s/%s", k->root, path);
    for (char *slash = full + strlen(k->root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        (void)mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void without_cgroups_there_is_no_limit(void **state)
{
    fake_kernel *k = *state;
    assert_true(fb_space_cgroup_room(&k->sources) == UINT64_MAX);
    put(k, "cgroup", "0::/\n");
    assert_true(fb_space_cgroup_room(&k->sources) == UINT64_MAX);
    assert_true(fb_space_machine_room(&k->sources) == UINT64_MAX);
}

static void version_2_leaves_limit_minus_use_plus_page_cache(void **state)
{
    fake_kernel *k = *state;
    put(k, "cgroup", "0::/app\n");
    put(k, "v2/app/memory.max", "1000000\n");
    put(k, "v2/app/memory.current", "700000\n");
    assert_int_equal(fb_space_cgroup_room(&k->sources), 300000);
    put(k, "v2/app/memory.stat", "anon 5\nfile 400000\ninactive_file 100000\nactive_file 50000\nshmem 250000\n");
    assert_int_equal(fb_space_cgroup_room(&k->sources), 450000);
}

static void version_2_without_a_limit_is_no_limit(void **state)
{
    fake_kernel *k = *state;
    put(k, "cgroup", "0::/app\n");
    put(k, "v2/app/memory.max", "max\n");
    put(k, "v2/app/memory.current", "700000\n");
    assert_true(fb_space_cgroup_room(&k->sources) == UINT64_MAX);
}

static void the_tightest_ancestor_decides(void **state)
{
    fake_kernel *k = *state;
    put(k, "cgroup", "0::/slice/app/worker\n");
    put(k, "v2/slice/app/worker/memory.max", "max\n");
    put(k, "v2/slice/app/worker/memory.current", "1\n");
    put(k, "v2/slice/app/memory.max", "9000\n");
    put(k, "v2/slice/app/memory.current", "1000\n");
    put(k, "v2/slice/memory.max", "20000\n");
    put(k, "v2/slice/memory.current", "15000\n");
    assert_int_equal(fb_space_cgroup_room(&k->sources), 5000);
    put(k, "v2/slice/memory.current", "30000\n");
    assert_int_equal(fb_space_cgroup_room(&k->sources), 0);
}

static void a_container_sees_its_limit_at_the_root(void **state)
{
    fake_kernel *k = *state;
    put(k, "cgroup", "9:name=systemd:/x\n4:memory:/docker/0123abcd\n0::/docker/0123abcd\n");
    put(k, "v1/memory.limit_in_bytes", "5000\n");
    put(k, "v1/memory.usage_in_bytes", "4000\n");
    assert_int_equal(fb_space_cgroup_room(&k->sources), 1000);
}

static void version_1_is_read_beside_version_2(void **state)
{
    fake_kernel *k = *state;
    put(k, "cgroup", "12:cpu,memory:/app\n0::/app\n");
    put(k, "v1/app/memory.limit_in_bytes", "5000\n");
    put(k, "v1/app/memory.usage_in_bytes", "4500\n");
    put(k, "v1/app/memory.stat", "inactive_file 1\ntotal_inactive_file 300\ntotal_active_file 100\n");
    put(k, "v1/memory.limit_in_bytes", "9223372036854771712\n");
    put(k, "v1/memory.usage_in_bytes", "4500\n");
    assert_int_equal(fb_space_cgroup_room(&k->sources), 900);
    put(k, "unified/app/memory.max", "800\n");
    put(k, "unified/app/memory.current", "100\n");
    assert_int_equal(fb_space_cgroup_room(&k->sources), 700);
}

static void a_controller_whose_name_only_resembles_is_not_read(void **state)
{
    fake_kernel *k = *state;
    put(k, "cgroup", "12:cpu,memoryx:/app\n11:name=memory:/app\n");
    put(k, "v1/app/memory.limit_in_bytes", "5000\n");
    put(k, "v1/app/memory.usage_in_bytes", "4500\n");
    assert_true(fb_space_cgroup_room(&k->sources) == UINT64_MAX);
}

static void the_machine_leaves_available_memory_and_swap(void **state)
{
    fake_kernel *k = *state;
    put(k, "meminfo", "MemTotal: 900 kB\nMemFree: 5 kB\nMemAvailable:      300 kB\nSwapTotal: 90 kB\nSwapFree:  20 kB\n");
    assert_int_equal(fb_space_machine_room(&k->sources), 320 * 1024);
}

static forebay_status check_room(const space_sources *sources, uint64_t size, forebay_error *error)
{
    int fd = memfd_create("room", MFD_CLOEXEC);
    assert_true(fd >= 0);
    forebay_status status = fb_space_check(fd, "shop.forebay", size, sources, error);
    close(fd);
    return status;
}

static void a_size_beyond_the_cgroup_is_refused_in_words(void **state)
{
    fake_kernel *k = *state;
    forebay_error error = { 0 };
    put(k, "cgroup", "0::/app\n");
    put(k, "v2/app/memory.max", "104857600\n");
    put(k, "v2/app/memory.current", "41943040\n");
    assert_int_equal(check_room(&k->sources, 60 * MIB, &error), FOREBAY_OK);
    assert_int_equal(check_room(&k->sources, 61 * MIB, &error), FOREBAY_NOSPACE);
    assert_string_equal(error.message, "shop.forebay needs 61 MiB and the memory limit of this container or cgroup leaves "
                                       "60 MiB: raise the limit, or ask for a smaller size (Cannot allocate memory)");
}

static void a_size_beyond_the_machine_is_refused_in_words(void **state)
{
    fake_kernel *k = *state;
    forebay_error error = { 0 };
    put(k, "meminfo", "MemAvailable: 10240 kB\n");
    assert_int_equal(check_room(&k->sources, 10 * MIB, &error), FOREBAY_OK);
    assert_int_equal(check_room(&k->sources, 11 * MIB, &error), FOREBAY_NOSPACE);
    assert_non_null(strstr(error.message, "this machine has 10 MiB of memory left"));
}

static void a_file_on_a_disk_is_not_charged_to_memory(void **state)
{
    fake_kernel *k = *state;
    char path[] = "forebay-unit-disk-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    if (fb_space_on_disk(fd)) {
        put(k, "meminfo", "MemAvailable: 1 kB\n");
        assert_int_equal(fb_space_check(fd, "a", 2 * MIB, &k->sources, NULL), FOREBAY_OK);
    }
    close(fd);
}

static void reserved_space_is_there(void **state)
{
    struct stat st;
    int fd = memfd_create("room", MFD_CLOEXEC);
    (void)state;
    assert_int_equal(fb_space_reserve(fd, "a", 150 * MIB + 4096, NULL), FOREBAY_OK);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 150 * MIB + 4096);
    assert_true((uint64_t)st.st_blocks * 512 >= 150 * MIB + 4096);
    close(fd);
}

static void ignore_alarm(int number)
{
    (void)number;
}

static void signals_that_keep_coming_do_not_stop_a_reservation(void **state)
{
    struct sigaction action = { .sa_handler = ignore_alarm }, before;
    timer_t timer;
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
    struct itimerspec often = { .it_interval.tv_nsec = 2000000, .it_value.tv_nsec = 2000000 };
    (void)state;
    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    assert_int_equal(timer_settime(timer, 0, &often, NULL), 0);
    int fd = memfd_create("room", MFD_CLOEXEC);
    forebay_status status = fb_space_reserve(fd, "a", 256 * MIB, NULL);
    timer_delete(timer);
    sigaction(SIGALRM, &before, NULL);
    close(fd);
    assert_int_equal(status, FOREBAY_OK);
}

static void reserve_beyond_the_file_size_limit(peer *parent, void *context)
{
    struct rlimit limit = { .rlim_cur = 2 * MIB, .rlim_max = 2 * MIB };
    forebay_error error = { 0 };
    (void)parent;
    (void)context;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    int fd = memfd_create("room", MFD_CLOEXEC);
    CHECK(fb_space_check(fd, "a", 3 * MIB, &fb_space_kernel, &error) == FOREBAY_NOSPACE);
    CHECK(strstr(error.message, "ulimit -f") != NULL);
    CHECK(fb_space_check(fd, "a", 2 * MIB, &fb_space_kernel, &error) == FOREBAY_OK);
}

static void a_limit_on_file_sizes_is_an_error_and_no_signal(void **state)
{
    (void)state;
    assert_child_succeeds(reserve_beyond_the_file_size_limit, NULL);
}

static void small_files_are_read_and_cut(void **state)
{
    fake_kernel *k = *state;
    char text[5], path[128];
    uint64_t number;
    put(k, "some", "123456\n");
    (void)snprintf(path, sizeof path, "%s/some", k->root);
    assert_int_equal(fb_small_file_read(path, text, sizeof text), 4);
    assert_string_equal(text, "1234");
    assert_true(fb_small_file_number(path, &number));
    assert_int_equal(number, 123456);
    (void)snprintf(path, sizeof path, "%s/none", k->root);
    assert_int_equal(fb_small_file_read(path, text, sizeof text), -1);
    assert_false(fb_small_file_number(path, &number));
    assert_int_equal(fb_small_file_read(k->root, text, sizeof text), -1); /* a folder opens, and can't be read */
    assert_true(fb_text_field("a 1\nbc 22\nb 3\n", "b ", &number));
    assert_int_equal(number, 3);
    assert_false(fb_text_field("ab 1\n", "b ", &number));
}

#define SPACE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPACE_TEST(without_cgroups_there_is_no_limit),
        SPACE_TEST(version_2_leaves_limit_minus_use_plus_page_cache),
        SPACE_TEST(version_2_without_a_limit_is_no_limit),
        SPACE_TEST(the_tightest_ancestor_decides),
        SPACE_TEST(a_container_sees_its_limit_at_the_root),
        SPACE_TEST(version_1_is_read_beside_version_2),
        SPACE_TEST(a_controller_whose_name_only_resembles_is_not_read),
        SPACE_TEST(the_machine_leaves_available_memory_and_swap),
        SPACE_TEST(a_size_beyond_the_cgroup_is_refused_in_words),
        SPACE_TEST(a_size_beyond_the_machine_is_refused_in_words),
        SPACE_TEST(a_file_on_a_disk_is_not_charged_to_memory),
        cmocka_unit_test(reserved_space_is_there),
        cmocka_unit_test(signals_that_keep_coming_do_not_stop_a_reservation),
        cmocka_unit_test(a_limit_on_file_sizes_is_an_error_and_no_signal),
        SPACE_TEST(small_files_are_read_and_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
