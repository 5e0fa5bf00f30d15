/* SPDX-License-Identifier: Apache-2.0 */
/* recover.c: what the next boot finds; displace.c: making way in the index.
 * Files lie in the working folder, on a disk in all but exotic builds. */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena/segments.h"
#include "cache_fixture.h"

#define PATH "test_recovery.forebay"
#define COUNT 3000

static fixture open_file(void)
{
    fixture f;
    forebay_error error = {0};
    forebay_arena_options options = {.size = 4 << 20};
    if (forebay_arena_open(PATH, &options, &f.arena, &error) != FOREBAY_OK)
        fail_msg("%s", error.message);
    assert_int_equal(forebay_cache_open(f.arena, "test", &(forebay_cache_options){.ttl_ms = FOREBAY_TTL_STORED, .codec = "none"}, &f.cache, &error), FOREBAY_OK);
    return f;
}

static void fill_file(fixture *f)
{
    char key[32], value[200];
    for (unsigned long i = 0; i < COUNT; i++) {
        snprintf(key, sizeof key, "key %lu", i);
        value_make(value, sizeof value, i);
        assert_int_equal(put(f, key, value, sizeof value), FOREBAY_OK);
    }
}

static unsigned long right_values(fixture *f)
{
    char key[32], value[200];
    unsigned long there = 0;
    for (unsigned long i = 0; i < COUNT; i++) {
        snprintf(key, sizeof key, "key %lu", i);
        long length = take(f, key, value, sizeof value);
        assert_true(length == -1 || (length == (long)sizeof value && value_is(value, sizeof value, i)));
        there += length != -1;
    }
    return there;
}

/* The machine boots again: nobody has the file open, its boot id is another's. */
static arena_superblock *map_as_after_a_reboot(void)
{
    int fd = open(PATH, O_RDWR);
    assert_true(fd >= 0);
    arena_superblock *super = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(super, MAP_FAILED);
    close(fd);
    super->boot_id[0] ^= 0xff;
    return super;
}

static void close_file(fixture *f)
{
    forebay_cache_close(f->cache);
    forebay_arena_close(f->arena);
}

static int remove_file(void **state)
{
    (void)state;
    unlink(PATH);
    return 0;
}

static void entries_survive_a_reboot(void **state)
{
    (void)state;
    fixture f = open_file();
    fill_file(&f);
    unsigned long before = right_values(&f);
    close_file(&f);
    munmap(map_as_after_a_reboot(), 4 << 20);
    f = open_file();
    assert_int_equal(right_values(&f), before);
    fill_file(&f);
    fixture_close(&f);
}

static void torn_entries_are_dropped_and_the_others_kept(void **state)
{
    (void)state;
    fixture f = open_file();
    fill_file(&f);
    unsigned long before = right_values(&f);
    bool on_disk = f.arena->checksums;
    uint64_t data = f.arena->geometry.data_offset;
    uint32_t last = f.arena->geometry.segment_count - 1;
    uint64_t at = fb_segment_offset(f.arena, last);
    close_file(&f);
    arena_superblock *super = map_as_after_a_reboot();
    assert_true(data > 0);
    for (uint32_t i = 1000; i < 2000; i++) /* a page's worth of an older time, in the middle of values */
        ((uint8_t *)super)[at + i] ^= 0x55;
    munmap(super, 4 << 20);
    f = open_file();
    if (!on_disk)
        skip(); /* on tmpfs nothing outlives a reboot, so entries carry no checksum */
    unsigned long there = right_values(&f); /* asserts that each value is right */
    assert_true(there < before && there > before - 40); /* a torn header takes the rest of its segment along */
    fixture_close(&f);
}

static void an_index_in_doubt_is_started_afresh(void **state)
{
    (void)state;
    fixture f = open_file();
    fill_file(&f);
    close_file(&f);
    arena_superblock *super = map_as_after_a_reboot();
    super->index_capacity += 12345;
    munmap(super, 4 << 20);
    f = open_file();
    assert_int_equal(right_values(&f), 0);
    fill_file(&f);
    assert_true(right_values(&f) > COUNT * 9 / 10);
    fixture_close(&f);
}

static void claims_of_before_the_reboot_are_undone(void **state)
{
    (void)state;
    fixture f = open_file();
    fill_file(&f);
    unsigned long before = right_values(&f);
    for (uint32_t i = 0; i < f.arena->geometry.segment_count; i++) {
        uint64_t word = fb_segment_load(f.arena, i);
        if (fb_segment_state(word) == SEGMENT_SEALED)
            assert_true(fb_segment_claim(f.arena, i, word, i % 2 ? SEGMENT_EVICTING : SEGMENT_WRITING));
    }
    close_file(&f);
    munmap(map_as_after_a_reboot(), 4 << 20);
    f = open_file();
    assert_int_equal(right_values(&f), before);
    fixture_close(&f);
}

static void no_entry_is_dropped_while_the_index_grows(void **state)
{
    (void)state;
    fixture f = fixture_open(16 << 20, 0);
    char key[32];
    for (int i = 0; i < 60000; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_int_equal(put(&f, key, "v", 1), FOREBAY_OK);
    }
    forebay_cache_stats stats;
    forebay_cache_get_stats(f.cache, &stats);
    print_message("%lu of 60000 dropped\n", (unsigned long)stats.evictions);
    assert_int_equal(stats.evictions, 0);
    int there = 0;
    for (int i = 0; i < 60000; i++) {
        snprintf(key, sizeof key, "%d", i);
        there += has(&f, key);
    }
    assert_int_equal(there, forebay_len(f.cache));
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(entries_survive_a_reboot, remove_file),
        cmocka_unit_test_teardown(torn_entries_are_dropped_and_the_others_kept, remove_file),
        cmocka_unit_test_teardown(an_index_in_doubt_is_started_afresh, remove_file),
        cmocka_unit_test_teardown(claims_of_before_the_reboot_are_undone, remove_file),
        cmocka_unit_test(no_entry_is_dropped_while_the_index_grows),
    };
    unlink(PATH);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
