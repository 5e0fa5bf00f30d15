/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and making arenas: arena_open.c, arena_create.c, arena_file.c,
 * arena_map.c, arena_info.c; and what errors say: error.c, status.c. */
#include "arena_fixture.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "arena/arena_create.h"
#include "arena/file_lock.h"
#include "base/error.h"

#define NOBODY 65534

/* --- helpers ----------------------------------------------------------------- */

static forebay_status try_open(const char *path, uint64_t size, forebay_error *error)
{
    forebay_arena_options options = { .size = size, .timeout_ms = 200 };
    forebay_arena *arena = (void *)1;
    forebay_status status = forebay_arena_open(path, &options, &arena, error);
    if (status == FOREBAY_OK)
        forebay_arena_close(arena);
    else
        CHECK(arena == NULL);
    return status;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static int open_descriptors(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static int mappings_of(const char *text)
{
    char line[1024];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, text) != NULL;
    fclose(maps);
    return count;
}

/* --- a new arena --------------------------------------------------------------- */

static void a_new_arena_has_its_size_reserved_and_mode_0600(void **state)
{
    const char *path = fresh_path();
    struct stat st;
    (void)state;
    mode_t mask = umask(0);
    forebay_arena *arena = open_sized(path, 3 * MIB + 5);
    umask(mask);
    assert_non_null(arena);
    assert_int_equal(forebay_arena_size(arena), 3 * MIB);
    assert_string_equal(forebay_arena_path(arena), path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, 3 * MIB);
    assert_true((uint64_t)st.st_blocks * 512 >= 3 * MIB);
    forebay_arena_close(arena);
    unlink(path);
}

static void the_mode_asked_for_is_the_files_whatever_the_umask(void **state)
{
    const char *path = fresh_path();
    forebay_arena_options options = { .size = MIB, .mode = 0660 };
    forebay_arena *arena;
    struct stat st;
    (void)state;
    mode_t mask = umask(0077);
    assert_int_equal(forebay_arena_open(path, &options, &arena, NULL), FOREBAY_OK);
    umask(mask);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
    forebay_arena_close(arena);
    unlink(path);
}

static void an_arena_that_exists_keeps_its_size_and_identity(void **state)
{
    const char *path = fresh_path();
    (void)state;
    forebay_arena *first = open_sized(path, 2 * MIB);
    uint64_t seed = first->hash_seed;
    forebay_arena *second = open_sized(path, 8 * MIB);
    forebay_arena *third = open_sized(path, 0);
    assert_int_equal(forebay_arena_size(second), 2 * MIB);
    assert_int_equal(forebay_arena_size(third), 2 * MIB);
    assert_true(second->hash_seed == seed && third->hash_seed == seed && seed != 0);
    forebay_arena_close(first);
    forebay_arena_close(second);
    forebay_arena_close(third);
    unlink(path);
}

static void an_empty_file_becomes_an_arena(void **state)
{
    const char *path = fresh_path();
    (void)state;
    write_file(path, "", 0600);
    assert_int_equal(try_open(path, MIB, NULL), FOREBAY_OK);
    assert_int_equal(try_open(path, 0, NULL), FOREBAY_OK);
    unlink(path);
}

static void two_arenas_have_different_seeds(void **state)
{
    (void)state;
    forebay_arena *a = open_sized(NULL, MIB), *b = open_sized(NULL, MIB);
    assert_true(a->hash_seed != b->hash_seed);
    assert_memory_not_equal(a->super->uuid, b->super->uuid, 16);
    forebay_arena_close(a);
    forebay_arena_close(b);
}

static void an_anonymous_arena_is_sealed_and_shared_by_its_descriptor(void **state)
{
    forebay_arena *second;
    forebay_arena_info info;
    (void)state;
    forebay_arena *first = open_sized(NULL, MIB);
    int fd = forebay_arena_fd(first);
    assert_string_equal(forebay_arena_path(first), "");
    assert_int_equal(ftruncate(fd, 4096), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, 2 * MIB), -1);
    assert_int_equal(forebay_arena_open_fd(fd, NULL, &second, NULL), FOREBAY_OK);
    assert_int_not_equal(forebay_arena_fd(second), fd);
    assert_int_equal(forebay_arena_get_info(second, &info), FOREBAY_OK);
    assert_int_equal(info.rows_used, 2);
    forebay_arena_close(first);
    assert_int_equal(forebay_arena_get_info(second, &info), FOREBAY_OK);
    assert_int_equal(info.rows_used, 1);
    forebay_arena_close(second);
}

static void the_arena_is_kept_out_of_core_dumps(void **state)
{
    (void)state;
    char line[512];
    bool ours = false, dont_dump = false;
    forebay_arena *arena = open_sized(NULL, MIB);
    FILE *smaps = fopen("/proc/self/smaps", "r");
    while (fgets(line, sizeof line, smaps) != NULL) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            ours = from == (unsigned long)arena->base;
        else if (ours && strncmp(line, "VmFlags:", 8) == 0)
            dont_dump = strstr(line, " dd") != NULL;
    }
    fclose(smaps);
    assert_true(dont_dump);
    forebay_arena_close(arena);
}

static void information_agrees_with_the_geometry(void **state)
{
    const char *path = fresh_path();
    forebay_arena_info info;
    (void)state;
    forebay_arena *arena = open_sized(path, 8 * MIB);
    assert_int_equal(forebay_arena_get_info(arena, &info), FOREBAY_OK);
    assert_int_equal(info.size, 8 * MIB);
    assert_int_equal(info.format_version, ARENA_FORMAT_VERSION);
    assert_int_equal(info.segment_size, arena->geometry.segment_size);
    assert_int_equal(info.segments_free, info.segment_count);
    assert_int_equal(info.rows_used, 1);
    assert_int_equal(info.row_count, 64);
    assert_int_equal(info.caches_used, 0);
    assert_int_equal(info.index_slots_used, 0);
    assert_int_equal(info.index_buckets, arena->geometry.index_initial);
    assert_int_equal(info.metadata_bytes, arena->geometry.data_offset);
    assert_int_equal(info.entry_bytes, 0);
    assert_false(info.replaced);
    assert_false(info.on_disk);
    assert_int_equal(forebay_arena_max_entry(arena), MIB - 64);
    forebay_arena_close(arena);
    unlink(path);
}

static void rows_are_listed_with_pid_and_life(void **state)
{
    forebay_row_info rows[4];
    (void)state;
    forebay_arena *arena = open_sized(NULL, MIB);
    assert_int_equal(forebay_arena_rows(arena, rows, 4), 1);
    assert_int_equal(rows[0].pid, getpid());
    assert_true(rows[0].alive);
    assert_int_equal(rows[0].generation, arena->row_generation);
    assert_int_equal(forebay_arena_rows(arena, NULL, 0), 1);
    forebay_arena_close(arena);
}

static void an_arena_on_a_disk_says_so(void **state)
{
    char path[64];
    (void)state;
    (void)snprintf(path, sizeof path, "forebay-unit-disk-%d", (int)getpid());
    forebay_arena *arena = open_sized(path, MIB);
    assert_non_null(arena);
    forebay_arena_info info;
    assert_int_equal(forebay_arena_get_info(arena, &info), FOREBAY_OK);
    assert_int_equal(info.on_disk, arena->super->on_disk != 0);
    assert_int_equal(info.on_disk, arena->checksums);
    forebay_arena_close(arena);
    assert_int_equal(try_open(path, 0, NULL), FOREBAY_OK);
    unlink(path);
}

/* --- refusals ------------------------------------------------------------------ */

static void expect_refusal(const char *path, uint64_t size, forebay_status expected, const char *words)
{
    forebay_error error = { 0 };
    int descriptors = open_descriptors();
    forebay_status status = try_open(path, size, &error);
    if (status != expected || strstr(error.message, words) == NULL)
        fail_msg("%s: status %d, message '%s', expected %d and '%s'", path, status, error.message, expected, words);
    assert_int_equal(open_descriptors(), descriptors);
}

static void wrong_paths_and_sizes_are_refused_in_words(void **state)
{
    const char *path = fresh_path();
    char below[80];
    (void)state;
    expect_refusal("/dev/shm", MIB, FOREBAY_IO, "is a directory");
    expect_refusal("/dev/shm/no-such-folder/a", MIB, FOREBAY_IO, "the folder of");
    expect_refusal("/dev/null", MIB, FOREBAY_INVALID, "not a regular file");
    expect_refusal("", MIB, FOREBAY_INVALID, "the path of an arena is empty");
    expect_refusal(path, 0, FOREBAY_IO, "create it by giving a size");
    expect_refusal(path, MIB - 1, FOREBAY_INVALID, "between 1 MiB and 128 GiB");
    expect_refusal(path, FOREBAY_ARENA_MAX_SIZE + 1, FOREBAY_INVALID, "between 1 MiB and 128 GiB");
    expect_refusal(NULL, 0, FOREBAY_INVALID, "needs a size");
    assert_false(exists(path));
    write_file(path, "text", 0600);
    (void)snprintf(below, sizeof below, "%s/a", path);
    expect_refusal(below, MIB, FOREBAY_IO, "goes through a file");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refusal(path, MIB, FOREBAY_INVALID, "not a regular file");
    unlink(path);
}

static void a_missing_arena_gives_enoent(void **state)
{
    forebay_error error = { 0 };
    (void)state;
    assert_int_equal(try_open(fresh_path(), 0, &error), FOREBAY_IO);
    assert_int_equal(error.os_error, ENOENT);
    forebay_arena *arena;
    assert_int_equal(forebay_arena_open(fresh_path(), NULL, &arena, &error), FOREBAY_IO);
    assert_int_equal(error.os_error, ENOENT);
}

static void a_file_that_is_no_arena_is_refused_and_kept(void **state)
{
    const char *path = fresh_path();
    char text[64] = { 0 };
    (void)state;
    static const char *const contents[] = { "x", "1234567", "12345678", "not an arena, but dear to somebody" };
    for (int i = 0; i < 4; i++) {
        write_file(path, contents[i], 0600);
        expect_refusal(path, MIB, FOREBAY_CORRUPT, "is not an arena and not empty");
        int fd = open(path, O_RDONLY);
        memset(text, 0, sizeof text);
        assert_int_equal(read(fd, text, sizeof text), strlen(contents[i]));
        assert_string_equal(text, contents[i]);
        close(fd);
    }
    write_file(path, "", 0600);
    assert_int_equal(truncate(path, 5 * MIB), 0); /* zeros: somebody's as well */
    expect_refusal(path, MIB, FOREBAY_CORRUPT, "is not an arena and not empty");
    unlink(path);
}

static void a_link_is_followed_and_one_to_nowhere_refused(void **state)
{
    char path[64], link[80];
    (void)state;
    (void)snprintf(path, sizeof path, "%s", fresh_path());
    (void)snprintf(link, sizeof link, "%s-link", path);
    assert_int_equal(symlink(path, link), 0);
    expect_refusal(link, MIB, FOREBAY_IO, "link to nowhere");
    assert_int_equal(try_open(path, MIB, NULL), FOREBAY_OK);
    assert_int_equal(try_open(link, 0, NULL), FOREBAY_OK);
    unlink(link);
    unlink(path);
}

static void create_only_refuses_an_arena_that_exists(void **state)
{
    const char *path = fresh_path();
    forebay_arena_options options = { .size = MIB, .create_only = true };
    forebay_arena *arena;
    (void)state;
    assert_int_equal(forebay_arena_open(path, &options, &arena, NULL), FOREBAY_OK);
    forebay_arena_close(arena);
    assert_int_equal(forebay_arena_open(path, &options, &arena, NULL), FOREBAY_EXISTS);
    assert_null(arena);
    assert_true(exists(path));
    unlink(path);
}

static void a_file_others_may_write_is_refused_unless_trusted(void **state)
{
    const char *path = fresh_path();
    forebay_arena_options options = { .trust = true };
    forebay_arena *arena;
    (void)state;
    assert_int_equal(try_open(path, MIB, NULL), FOREBAY_OK);
    assert_int_equal(chmod(path, 0660), 0);
    expect_refusal(path, 0, FOREBAY_DENIED, "may be written by others");
    assert_int_equal(chmod(path, 0602), 0);
    expect_refusal(path, 0, FOREBAY_DENIED, "may be written by others");
    assert_int_equal(forebay_arena_open(path, &options, &arena, NULL), FOREBAY_OK);
    forebay_arena_close(arena);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(try_open(path, 0, NULL), FOREBAY_OK);
    unlink(path);
}

static void another_owners_file_is_refused_unless_trusted(void **state)
{
    const char *path = fresh_path();
    forebay_arena_options options = { .trust = true };
    forebay_arena *arena;
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(try_open(path, MIB, NULL), FOREBAY_OK);
    assert_int_equal(chown(path, NOBODY, NOBODY), 0);
    expect_refusal(path, 0, FOREBAY_DENIED, "belongs to user 65534");
    assert_int_equal(forebay_arena_open(path, &options, &arena, NULL), FOREBAY_OK);
    forebay_arena_close(arena);
    unlink(path);
}

static void a_file_without_permission_is_refused_in_words(void **state)
{
    const char *path = fresh_path();
    (void)state;
    assert_int_equal(try_open(path, MIB, NULL), FOREBAY_OK);
    if (geteuid() == 0) {
        assert_int_equal(seteuid(NOBODY), 0);
        expect_refusal(path, MIB, FOREBAY_IO, "user 65534 may not read and write");
        assert_int_equal(seteuid(0), 0);
    } else {
        assert_int_equal(chmod(path, 0), 0);
        expect_refusal(path, MIB, FOREBAY_IO, "may not read and write");
    }
    assert_true(exists(path));
    unlink(path);
}

static void descriptors_that_are_no_arenas_are_refused(void **state)
{
    forebay_arena *arena;
    (void)state;
    int null = open("/dev/null", O_RDWR), memory = memfd_create("empty", MFD_CLOEXEC);
    assert_int_equal(forebay_arena_open_fd(-1, NULL, &arena, NULL), FOREBAY_INVALID);
    assert_int_equal(forebay_arena_open_fd(999, NULL, &arena, NULL), FOREBAY_INVALID);
    assert_int_equal(forebay_arena_open_fd(null, NULL, &arena, NULL), FOREBAY_INVALID);
    assert_int_equal(forebay_arena_open_fd(memory, NULL, &arena, NULL), FOREBAY_CORRUPT);
    assert_int_equal(ftruncate(memory, 8192), 0);
    assert_int_equal(forebay_arena_open_fd(memory, NULL, &arena, NULL), FOREBAY_CORRUPT);
    close(null);
    close(memory);
    forebay_arena *real = open_sized(NULL, MIB);
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", forebay_arena_fd(real));
    int readonly = open(path, O_RDONLY);
    assert_true(readonly >= 0);
    assert_int_equal(forebay_arena_open_fd(readonly, NULL, &arena, NULL), FOREBAY_INVALID);
    assert_null(arena);
    close(readonly);
    forebay_arena_close(real);
}

/* --- damaged files ------------------------------------------------------------- */

static void a_file_with_any_byte_of_its_fixed_header_changed_is_refused(void **state)
{
    const char *path = fresh_path();
    (void)state;
    assert_int_equal(try_open(path, MIB, NULL), FOREBAY_OK);
    int fd = open(path, O_RDWR);
    size_t end = offsetof(arena_superblock, checksum) + sizeof(uint64_t);
    for (size_t i = 0; i < end; i++) {
        uint8_t byte, changed;
        assert_int_equal(pread(fd, &byte, 1, (off_t)i), 1);
        changed = byte ^ 0x24;
        assert_int_equal(pwrite(fd, &changed, 1, (off_t)i), 1);
        forebay_status status = try_open(path, MIB, NULL);
        bool in_version = i >= 8 && i < 12;
        assert_int_equal(status, in_version ? FOREBAY_VERSION : FOREBAY_CORRUPT);
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)i), 1);
    }
    assert_int_equal(try_open(path, 0, NULL), FOREBAY_OK);
    close(fd);
    unlink(path);
}

static void a_truncated_file_is_refused_at_any_length(void **state)
{
    const char *path = fresh_path();
    static const off_t lengths[] = { MIB - 1, MIB / 2, 4096, 512, 100, 8, 7, 1 };
    (void)state;
    assert_int_equal(try_open(path, MIB, NULL), FOREBAY_OK);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        assert_int_equal(truncate(path, lengths[i]), 0);
        forebay_error error = { 0 };
        assert_int_equal(try_open(path, MIB, &error), FOREBAY_CORRUPT);
        assert_true(error.message[0] != '\0');
    }
    unlink(path);
}

static void another_format_version_is_named(void **state)
{
    const char *path = fresh_path();
    uint32_t version = 77;
    (void)state;
    assert_int_equal(try_open(path, MIB, NULL), FOREBAY_OK);
    int fd = open(path, O_RDWR);
    assert_int_equal(pwrite(fd, &version, sizeof version, offsetof(arena_superblock, version)), sizeof version);
    close(fd);
    expect_refusal(path, MIB, FOREBAY_VERSION, "arena format 77");
    unlink(path);
}

/* --- races and deaths ------------------------------------------------------------ */

static void create_and_tell_seed(peer *parent, void *path)
{
    (void)peer_hear(parent);
    forebay_arena *arena = open_sized(path, 4 * MIB);
    peer_say(parent, arena != NULL ? arena->hash_seed : UINT64_MAX);
    (void)peer_hear(parent);
}

static void processes_that_race_to_create_get_one_arena(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        enum { RACERS = 5 };
        char path[64];
        peer racers[RACERS];
        (void)snprintf(path, sizeof path, "%s", fresh_path());
        for (int i = 0; i < RACERS; i++)
            racers[i] = peer_start(create_and_tell_seed, path);
        for (int i = 0; i < RACERS; i++)
            peer_say(&racers[i], 1);
        uint64_t seed = peer_hear(&racers[0]);
        assert_true(seed != UINT64_MAX);
        for (int i = 1; i < RACERS; i++)
            assert_true(peer_hear(&racers[i]) == seed);
        for (int i = 0; i < RACERS; i++)
            peer_kill(&racers[i]);
        unlink(path);
    }
}

static void create_until_killed(peer *parent, void *path)
{
    peer_say(parent, 1);
    for (;;) {
        forebay_arena *arena = open_sized(path, 16 * MIB);
        CHECK(arena != NULL);
        forebay_arena_close(arena);
        unlink(path);
    }
}

static void a_creator_killed_at_any_moment_leaves_a_path_that_works(void **state)
{
    const char *path = fresh_path();
    unsigned seed = 3;
    (void)state;
    for (int round = 0; round < 60; round++) {
        peer p = peer_start(create_until_killed, (void *)path);
        (void)peer_hear(&p);
        struct timespec pause = { .tv_nsec = rand_r(&seed) % 20000000 };
        nanosleep(&pause, NULL);
        int status = peer_kill(&p);
        assert_true(WIFSIGNALED(status));
        forebay_arena *arena = open_sized(path, 16 * MIB);
        assert_non_null(arena);
        assert_int_equal(forebay_arena_size(arena), 16 * MIB);
        forebay_arena_close(arena);
        unlink(path);
    }
}

/* Each way in which a creator can have died: marked, reserved, filled. */
static void what_a_dead_creator_left_is_formatted_afresh(void **state)
{
    const char *path = fresh_path();
    uint64_t forming = ARENA_FORMING;
    static const off_t lengths[] = { 8, 4096, MIB };
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(try_open(path, MIB, NULL), FOREBAY_OK);
        int fd = open(path, O_RDWR);
        assert_int_equal(pwrite(fd, &forming, sizeof forming, 0), sizeof forming);
        assert_int_equal(pwrite(fd, "\377\377\377\377\377\377\377\377", 8, 5000), 8); /* a row in use */
        close(fd);
        assert_int_equal(truncate(path, lengths[i]), 0);
        expect_refusal(path, 0, FOREBAY_IO, "there is no arena at");
        forebay_arena *arena = open_sized(path, 2 * MIB);
        assert_non_null(arena);
        assert_int_equal(forebay_arena_size(arena), 2 * MIB);
        assert_int_equal(forebay_arena_rows(arena, NULL, 0), 1);
        forebay_arena_close(arena);
        unlink(path);
    }
}

static void hold_the_creation_lock(peer *parent, void *path)
{
    int fd = open(path, O_RDWR);
    CHECK(fb_fd_lock(fd, CREATION_LOCK));
    peer_say(parent, 1);
    (void)peer_hear(parent);
}

static void a_creator_that_hangs_is_a_timeout_that_says_what_to_do(void **state)
{
    const char *path = fresh_path();
    (void)state;
    write_file(path, "", 0600);
    peer p = peer_start(hold_the_creation_lock, (void *)path);
    (void)peer_hear(&p);
    kill(p.pid, SIGSTOP);
    uint64_t begin = fb_monotonic_ms();
    expect_refusal(path, MIB, FOREBAY_TIMEOUT, "wait for it, or end it");
    assert_in_range(fb_monotonic_ms() - begin, 150, 5000);
    peer_kill(&p);
    assert_int_equal(try_open(path, MIB, NULL), FOREBAY_OK);
    unlink(path);
}

static void *open_with_patience(void *path)
{
    return open_sized(path, MIB);
}

static void who_waited_for_a_file_that_was_removed_makes_a_new_one(void **state)
{
    const char *path = fresh_path();
    pthread_t thread;
    void *opened;
    struct stat st;
    (void)state;
    write_file(path, "", 0600);
    peer p = peer_start(hold_the_creation_lock, (void *)path);
    (void)peer_hear(&p);
    assert_int_equal(pthread_create(&thread, NULL, open_with_patience, (void *)path), 0);
    sleep_ms(100); /* it waits for the lock by now */
    unlink(path);
    peer_kill(&p);
    assert_int_equal(pthread_join(thread, &opened), 0);
    forebay_arena *arena = opened;
    assert_non_null(arena);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_ino, arena->inode);
    forebay_arena_close(arena);
    unlink(path);
}

static void an_arena_that_exists_opens_while_somebody_holds_the_creation_lock(void **state)
{
    const char *path = fresh_path();
    (void)state;
    assert_int_equal(try_open(path, MIB, NULL), FOREBAY_OK);
    peer p = peer_start(hold_the_creation_lock, (void *)path);
    (void)peer_hear(&p);
    assert_int_equal(try_open(path, 0, NULL), FOREBAY_OK);
    peer_kill(&p);
    unlink(path);
}

static void *replace_again_and_again(void *path)
{
    for (int i = 0; i < 300; i++) {
        (void)try_open(path, MIB, NULL);
        unlink(path);
    }
    return NULL;
}

static void a_path_that_is_removed_and_made_again_gives_whole_arenas(void **state)
{
    const char *path = fresh_path();
    pthread_t threads[3];
    (void)state;
    int descriptors = open_descriptors();
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, replace_again_and_again, (void *)path), 0);
    for (int i = 0; i < 300; i++) {
        forebay_arena *arena = open_sized(path, MIB);
        assert_non_null(arena);
        assert_true(atomic_load(&arena->super->magic) == ARENA_MAGIC);
        forebay_arena_close(arena);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(open_descriptors(), descriptors);
    unlink(path);
}

static void a_second_close_of_nothing_and_many_opens_leave_nothing_open(void **state)
{
    const char *path = fresh_path();
    (void)state;
    int descriptors = open_descriptors();
    for (int i = 0; i < 50; i++)
        assert_int_equal(try_open(path, MIB, NULL), FOREBAY_OK);
    forebay_arena_close(NULL);
    assert_int_equal(open_descriptors(), descriptors);
    assert_int_equal(mappings_of(path), 0);
    unlink(path);
}

/* --- a reboot -------------------------------------------------------------------- */

static void after_a_reboot_no_row_is_in_use_and_time_has_gone_on(void **state)
{
    const char *path = fresh_path();
    (void)state;
    forebay_arena *arena = open_sized(path, MIB);
    assert_non_null(arena);
    for (uint32_t i = 5; i < 9; i++) { /* handles that were open when the power went */
        atomic_store(&arena->rows[i].word, 11);
        arena->rows[i].hazards[0][0] = 3;
    }
    memset(arena->super->boot_id, 7, 16);
    atomic_fetch_sub(&arena->super->clock_unix, 50000);
    forebay_arena_close(arena);
    arena = open_sized(path, 0);
    assert_non_null(arena);
    forebay_arena_info info;
    assert_int_equal(forebay_arena_get_info(arena, &info), FOREBAY_OK);
    assert_int_equal(info.rows_used, 1);
    assert_in_range(info.now_ms, 50000, 60000);
    assert_false(fb_segment_held(arena, 0, UINT32_MAX));
    assert_int_equal(atomic_load(&arena->rows[5].word) >> 1, 6); /* the claims of its last owner are dead */
    forebay_arena *second = open_sized(path, 0); /* the boot is known now: its rows are kept */
    assert_int_equal(forebay_arena_rows(arena, NULL, 0), 2);
    forebay_arena_close(second);
    forebay_arena_close(arena);
    unlink(path);
}

/* --- small and full file systems -------------------------------------------------- */

/* In a mount namespace of its own: a tmpfs of 4 MiB on `folder`. */
static void mount_small_tmpfs(const char *folder, const char *options)
{
    CHECK(unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0);
    CHECK(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    CHECK(mount("tmpfs", folder, "tmpfs", 0, options) == 0);
}

static void open_on_a_small_tmpfs(peer *parent, void *folder)
{
    char path[128], filler[128];
    forebay_error error = { 0 };
    (void)parent;
    mount_small_tmpfs(folder, "size=4m");
    (void)snprintf(path, sizeof path, "%s/a", (const char *)folder);
    (void)snprintf(filler, sizeof filler, "%s/filler", (const char *)folder);
    CHECK(try_open(path, 8 * MIB, &error) == FOREBAY_NOSPACE);
    CHECK(strstr(error.message, "--shm-size") != NULL && strstr(error.message, "emptyDir") != NULL);
    CHECK(!exists(path));
    CHECK(try_open(path, 3 * MIB, &error) == FOREBAY_OK);
    unlink(path);
    int fd = open(filler, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0 && fallocate(fd, 0, 0, 2 * MIB) == 0);
    CHECK(try_open(path, 3 * MIB, &error) == FOREBAY_NOSPACE);
    CHECK(!exists(path));
    CHECK(try_open(path, MIB, &error) == FOREBAY_OK);
}

static void a_small_or_full_tmpfs_is_an_error_in_words_and_leaves_no_file(void **state)
{
    char folder[] = "/dev/shm/forebay-unit-mount-XXXXXX";
    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_child_succeeds(open_on_a_small_tmpfs, folder);
    rmdir(folder);
}

static void open_without_inodes(peer *parent, void *folder)
{
    char path[128];
    forebay_error error = { 0 };
    (void)parent;
    mount_small_tmpfs(folder, "size=4m,nr_inodes=1");
    (void)snprintf(path, sizeof path, "%s/a", (const char *)folder);
    CHECK(try_open(path, MIB, &error) == FOREBAY_NOSPACE);
    CHECK(strstr(error.message, "no room to create") != NULL);
}

static void a_file_system_without_room_for_a_file_is_an_error_in_words(void **state)
{
    char folder[] = "/dev/shm/forebay-unit-mount-XXXXXX";
    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_child_succeeds(open_without_inodes, folder);
    rmdir(folder);
}

static void open_on_a_read_only_file_system(peer *parent, void *folder)
{
    char path[128];
    forebay_error error = { 0 };
    (void)parent;
    mount_small_tmpfs(folder, "size=4m");
    (void)snprintf(path, sizeof path, "%s/a", (const char *)folder);
    CHECK(try_open(path, MIB, &error) == FOREBAY_OK);
    CHECK(mount(NULL, folder, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
    CHECK(try_open(path, MIB, &error) == FOREBAY_IO && error.os_error == EROFS);
    CHECK(strstr(error.message, "read-only file system") != NULL);
    unlink(path);
    (void)snprintf(path, sizeof path, "%s/b", (const char *)folder);
    CHECK(try_open(path, MIB, &error) == FOREBAY_IO && error.os_error == EROFS);
}

static void a_read_only_file_system_is_an_error_in_words(void **state)
{
    char folder[] = "/dev/shm/forebay-unit-mount-XXXXXX";
    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_child_succeeds(open_on_a_read_only_file_system, folder);
    rmdir(folder);
}

static void fail_with_an_empty_file_of_the_users(peer *parent, void *folder)
{
    char path[128];
    struct stat st;
    (void)parent;
    mount_small_tmpfs(folder, "size=4m");
    (void)snprintf(path, sizeof path, "%s/a", (const char *)folder);
    CHECK(close(open(path, O_CREAT | O_WRONLY, 0600)) == 0);
    CHECK(try_open(path, 8 * MIB, NULL) == FOREBAY_NOSPACE);
    CHECK(stat(path, &st) == 0 && st.st_size == 0); /* not ours to remove, and as it was */
}

static void an_empty_file_that_was_there_stays_when_creation_fails(void **state)
{
    char folder[] = "/dev/shm/forebay-unit-mount-XXXXXX";
    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_child_succeeds(fail_with_an_empty_file_of_the_users, folder);
    rmdir(folder);
}

static void open_with_few_descriptors(peer *parent, void *path)
{
    (void)parent;
    for (rlim_t spare = 0; spare < 6; spare++) {
        int next = dup(0);
        close(next);
        struct rlimit limit;
        CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        rlim_t before = limit.rlim_cur;
        limit.rlim_cur = (rlim_t)next + spare;
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        forebay_error error = { 0 };
        forebay_status status = try_open(path, MIB, &error);
        limit.rlim_cur = before;
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        CHECK(status == FOREBAY_OK || (!exists(path) && error.message[0] != '\0'));
        CHECK(status != FOREBAY_OK || spare > 0);
        unlink(path);
        int again = dup(0);
        CHECK(again == next); /* nothing was left open */
        close(again);
    }
}

static void too_few_descriptors_leave_no_file_and_nothing_open(void **state)
{
    const char *path = fresh_path();
    (void)state;
    assert_child_succeeds(open_with_few_descriptors, (void *)path);
}

/* --- messages --------------------------------------------------------------------- */

static void every_status_has_a_text(void **state)
{
    (void)state;
#define SAME_TEXT(name, value, text) assert_string_equal(forebay_status_text(FOREBAY_##name), text);
    FOREBAY_STATUS_TABLE(SAME_TEXT)
#undef SAME_TEXT
    assert_non_null(forebay_status_text((forebay_status)12345));
}

static void messages_hold_no_control_characters_and_fit(void **state)
{
    forebay_error error;
    char longer[600];
    (void)state;
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(fb_error(NULL, FOREBAY_IO, EIO, "nobody asks"), FOREBAY_IO);
    assert_int_equal(fb_error(&error, FOREBAY_IO, EACCES, "a\nb\t%d\x7f", 5), FOREBAY_IO);
    assert_string_equal(error.message, "a?b?5? (Permission denied)");
    assert_int_equal(error.os_error, EACCES);
    (void)fb_error(&error, FOREBAY_IO, EACCES, "%s", longer);
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_arena_has_its_size_reserved_and_mode_0600),
        cmocka_unit_test(the_mode_asked_for_is_the_files_whatever_the_umask),
        cmocka_unit_test(an_arena_that_exists_keeps_its_size_and_identity),
        cmocka_unit_test(an_empty_file_becomes_an_arena),
        cmocka_unit_test(two_arenas_have_different_seeds),
        cmocka_unit_test(an_anonymous_arena_is_sealed_and_shared_by_its_descriptor),
        cmocka_unit_test(the_arena_is_kept_out_of_core_dumps),
        cmocka_unit_test(information_agrees_with_the_geometry),
        cmocka_unit_test(rows_are_listed_with_pid_and_life),
        cmocka_unit_test(an_arena_on_a_disk_says_so),
        cmocka_unit_test(wrong_paths_and_sizes_are_refused_in_words),
        cmocka_unit_test(a_missing_arena_gives_enoent),
        cmocka_unit_test(a_file_that_is_no_arena_is_refused_and_kept),
        cmocka_unit_test(a_link_is_followed_and_one_to_nowhere_refused),
        cmocka_unit_test(create_only_refuses_an_arena_that_exists),
        cmocka_unit_test(a_file_others_may_write_is_refused_unless_trusted),
        cmocka_unit_test(another_owners_file_is_refused_unless_trusted),
        cmocka_unit_test(a_file_without_permission_is_refused_in_words),
        cmocka_unit_test(descriptors_that_are_no_arenas_are_refused),
        cmocka_unit_test(a_file_with_any_byte_of_its_fixed_header_changed_is_refused),
        cmocka_unit_test(a_truncated_file_is_refused_at_any_length),
        cmocka_unit_test(another_format_version_is_named),
        cmocka_unit_test(processes_that_race_to_create_get_one_arena),
        cmocka_unit_test(a_creator_killed_at_any_moment_leaves_a_path_that_works),
        cmocka_unit_test(what_a_dead_creator_left_is_formatted_afresh),
        cmocka_unit_test(a_creator_that_hangs_is_a_timeout_that_says_what_to_do),
        cmocka_unit_test(who_waited_for_a_file_that_was_removed_makes_a_new_one),
        cmocka_unit_test(an_arena_that_exists_opens_while_somebody_holds_the_creation_lock),
        cmocka_unit_test(a_path_that_is_removed_and_made_again_gives_whole_arenas),
        cmocka_unit_test(a_second_close_of_nothing_and_many_opens_leave_nothing_open),
        cmocka_unit_test(after_a_reboot_no_row_is_in_use_and_time_has_gone_on),
        cmocka_unit_test(a_small_or_full_tmpfs_is_an_error_in_words_and_leaves_no_file),
        cmocka_unit_test(a_file_system_without_room_for_a_file_is_an_error_in_words),
        cmocka_unit_test(a_read_only_file_system_is_an_error_in_words),
        cmocka_unit_test(an_empty_file_that_was_there_stays_when_creation_fails),
        cmocka_unit_test(too_few_descriptors_leave_no_file_and_nothing_open),
        cmocka_unit_test(every_status_has_a_text),
        cmocka_unit_test(messages_hold_no_control_characters_and_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
