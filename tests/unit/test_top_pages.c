/* SPDX-License-Identifier: Apache-2.0 */
/* Whole screens of `forebay top` for given figures: cli/top_pages.c, top_gauges.c, top_panels.c.  What is expected
 * lies in tests/unit/screens/; with WRITE_SCREENS=1 what is drawn is written there, to be looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <math.h>

#include <cmocka.h>

#include "cli.h"
#include "top_columns.h"
#include "top_pages.h"
#include "top_screen.h"

#define MIB (1024.0 * 1024.0)
#define CACHES 4u
#define LOOKS 150

/* ---- an arena of a shop ---- */

static top_cache cache_of(const char *name, double gets, double hit_ratio, double mib, double packed_part)
{
    top_cache cache = {
        .info = { .ttl_ms = 300000, .stats = { .entries = (uint64_t)(mib * 2500), .codec = "auto" } },
        .rates = { gets * hit_ratio, gets - gets * hit_ratio, gets / 50, gets / 900, gets / 700, 0 },
        .room = { mib * MIB * (1 - packed_part), mib * MIB * packed_part, mib * MIB * packed_part * 2.7 },
    };
    strcpy(cache.info.name, name);
    cache.info.stats.hits = (uint64_t)(gets * 1000 * hit_ratio);
    cache.info.stats.misses = (uint64_t)(gets * 1000) - cache.info.stats.hits;
    cache.info.stats.sets = cache.info.stats.misses;
    for (int i = 0; i < LOOKS; i++) {
        fb_history_add(&cache.gets, gets * (0.6 + 0.4 * sin(i / 9.0)));
        fb_history_add(&cache.hit_ratio, gets > 0 ? hit_ratio : NAN);
    }
    return cache;
}

static void add_caches(top_model *model)
{
    model->caches = calloc(CACHES, sizeof(*model->caches));
    assert_non_null(model->caches);
    model->cache_count = CACHES;
    model->caches[0] = cache_of("carts", 310, 0.712, 9.5, 0);
    model->caches[1] = cache_of("pages", 4100, 0.9312, 40, 0.9);
    model->caches[2] = cache_of("sessions of people who are signed in", 18200, 0.99996, 22, 0.5);
    model->caches[3] = cache_of("unused", 0, 0, 0, 0);
    model->caches[1].info.stats.limit = (uint64_t)(64 * MIB);
    model->caches[1].info.stats.bytes = (uint64_t)(44.5 * MIB);
    strcpy(model->caches[1].info.stats.codec, "zstd:9");
    model->caches[1].info.stats.dictionary = 3;
    model->caches[1].info.stats.dictionary_ratio = 2710;
    model->caches[1].info.stats.dictionary_age_ms = 754000;
}

static void add_processes(top_model *model)
{
    static const top_process processes[] = {
        { .pid = 4001, .rows = 1, .held = 2 }, { .pid = 4002, .rows = 1, .held = 2, .waiting = 1, .listens = true },
        { .pid = 4003, .rows = 2, .tiers_left_out = 1 }, { .pid = 4007, .dead_rows = 1 },
    };
    model->process_count = sizeof processes / sizeof *processes;
    model->processes = calloc(model->process_count, sizeof(*processes));
    assert_non_null(model->processes);
    memcpy(model->processes, processes, sizeof(processes));
}

static void add_tiers(top_model *model)
{
    tiers_facts *tiers = &model->look.facts.tiers;
    tiers->count = 2;
    tiers->tiers[0].info = (forebay_tier_info){ .name = "memcached://10.0.0.7:11211", .users = 2 };
    tiers->tiers[1].info = (forebay_tier_info){ .name = "redis+cluster://10.0.0.5:6379 shop:", .users = 4, .left_out = 1 };
    model->tiers[0] = (top_tier_rates){ 0, 0 };
    model->tiers[1] = (top_tier_rates){ 812, 97 };
}

static void add_limits_and_channels(arena_facts *facts)
{
    facts->limits.limits = calloc(2, sizeof(limit_facts));
    assert_non_null(facts->limits.limits);
    facts->limits.count = 2;
    facts->limits.limits[0].info = (forebay_limit_info){ .name = "database", .most = 4, .held = 4, .waiting = 1 };
    facts->limits.limits[1].info = (forebay_limit_info){ .name = "search", .most = 10, .held = 0 };
    facts->channels.count = 1;
    facts->channels.channels[0] = (forebay_channel_info){ .name = "shop", .age_ms = 240, .pids = { 4002, 0 } };
}

static top_model shop(void)
{
    top_model model = { .seconds = 1 };
    model.look.facts.path = "/dev/shm/shop.forebay";
    model.look.facts.info = (forebay_arena_info){
        .size = (uint64_t)(256 * MIB), .format_version = 6, .row_count = 128, .cache_count = 64, .leases = 2048,
        .leases_held = 3, .index_buckets = 30000,
    };
    model.look.facts.row_count = 5;
    model.memory = (top_memory){ 24.5 * MIB, 47 * MIB, 127 * MIB, 31 * MIB, 12 * MIB, 141.5 * MIB };
    add_caches(&model);
    add_processes(&model);
    add_limits_and_channels(&model.look.facts);
    add_tiers(&model);
    for (int i = 0; i < LOOKS; i++) {
        fb_history_add(&model.operations, 23100 * (0.6 + 0.4 * sin(i / 9.0)));
        fb_history_add(&model.hit_ratio, 0.9 + 0.08 * cos(i / 20.0));
    }
    return model;
}

/* ---- screens ---- */

static char *read_all(const char *path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL || getdelim(&text, &size, '\0', file) < 0)
        fail_msg("%s cannot be read", path);
    fclose(file);
    return text;
}

static void assert_screen(const top_model *model, const top_view *view, int width, int height, bool ascii, const char *name)
{
    char path[512], *drawn;
    size_t length;
    top_canvas canvas = { 0 };
    assert_true(fb_canvas_make(&canvas, width, height, ascii));
    fb_page_draw(&canvas, model, view, "12:34:56");
    snprintf(path, sizeof path, "%s/screens/%s.txt", SCREENS, name);
    FILE *out = getenv("WRITE_SCREENS") != NULL ? fopen(path, "we") : NULL;
    if (out != NULL) {
        fb_canvas_print(&canvas, out);
        fclose(out);
    }
    out = open_memstream(&drawn, &length);
    fb_canvas_print(&canvas, out);
    fclose(out);
    char *expected = read_all(path);
    if (strcmp(drawn, expected) != 0)
        fail_msg("not as in %s:\n%s", path, drawn);
    free(expected);
    free(drawn);
    fb_canvas_free(&canvas);
}

static top_view usual_view(void)
{
    return (top_view){ .interval = 1, .column = fb_column_find("gets"), .chosen = "pages" };
}

static void an_arena_fits_80_columns_and_24_lines(void **state)
{
    (void)state;
    top_model model = shop();
    top_view view = usual_view();
    assert_screen(&model, &view, 80, 24, false, "arena-80x24");
    fb_model_free(&model);
}

static void an_arena_fills_a_wide_screen(void **state)
{
    (void)state;
    top_model model = shop();
    top_view view = usual_view();
    assert_screen(&model, &view, 140, 40, false, "arena-140x40");
    fb_model_free(&model);
}

static void where_there_is_no_utf8_ascii_does(void **state)
{
    (void)state;
    top_model model = shop();
    top_view view = usual_view();
    assert_screen(&model, &view, 80, 24, true, "arena-ascii-80x24");
    fb_model_free(&model);
}

static void a_cache_has_a_page(void **state)
{
    (void)state;
    top_model model = shop();
    top_view view = usual_view();
    view.page = TOP_PAGE_CACHE;
    assert_screen(&model, &view, 80, 24, false, "cache-80x24");
    assert_screen(&model, &view, 140, 40, false, "cache-140x40");
    fb_model_free(&model);
}

static void a_small_screen_says_what_it_leaves_out(void **state)
{
    (void)state;
    top_model model = shop();
    top_view view = usual_view();
    strcpy(view.chosen, "unused"); /* the last one is shown if it is chosen */
    assert_screen(&model, &view, 60, 18, false, "arena-60x18");
    assert_screen(&model, &view, 59, 18, false, "too-small");
    fb_model_free(&model);
}

static void an_arena_of_which_nothing_is_known_yet_is_shown(void **state)
{
    (void)state;
    top_model model = { .seconds = NAN, .total = { NAN, NAN, NAN, NAN, NAN, NAN } };
    model.look.facts.path = "/dev/shm/a-path-that-is-so-long-that-it-has-to-be-cut-somewhere-before-it-is-over";
    model.look.facts.info = (forebay_arena_info){ .size = 1 << 20, .row_count = 16, .on_disk = true };
    top_view view = { .interval = 0.5, .is_paused = true };
    assert_screen(&model, &view, 80, 24, true, "empty-80x24");
    fb_model_free(&model);
}

static void help_lists_keys_and_columns(void **state)
{
    (void)state;
    top_model model = shop();
    top_view view = usual_view();
    view.page = TOP_PAGE_HELP;
    assert_screen(&model, &view, 80, 24, false, "help-80x24");
    fb_model_free(&model);
}

static void what_happened_to_the_file_is_told_first(void **state)
{
    (void)state;
    top_model model = shop();
    top_view view = usual_view();
    model.look.file = TOP_FILE_REMOVED;
    assert_screen(&model, &view, 80, 24, true, "removed-80x24");
    model.look.file = TOP_FILE_REPLACED;
    assert_screen(&model, &view, 80, 24, true, "replaced-80x24");
    view.open_failure = "the arena file is damaged";
    assert_screen(&model, &view, 80, 24, true, "replacement-damaged-80x24");
    fb_model_free(&model);
}

static void a_cache_that_was_dropped_while_looked_at_is_told(void **state)
{
    (void)state;
    top_model model = shop();
    top_view view = usual_view();
    view.page = TOP_PAGE_CACHE;
    strcpy(view.chosen, "dropped");
    assert_screen(&model, &view, 80, 24, true, "dropped-80x24");
    fb_model_free(&model);
}

/* top_screen_none.c */
static void a_build_without_ncurses_has_no_live_screen(void **state)
{
    (void)state;
    assert_int_equal(fb_screen_open(NULL, true), FB_EXIT_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arena_fits_80_columns_and_24_lines),
        cmocka_unit_test(an_arena_fills_a_wide_screen),
        cmocka_unit_test(where_there_is_no_utf8_ascii_does),
        cmocka_unit_test(a_cache_has_a_page),
        cmocka_unit_test(a_small_screen_says_what_it_leaves_out),
        cmocka_unit_test(an_arena_of_which_nothing_is_known_yet_is_shown),
        cmocka_unit_test(help_lists_keys_and_columns),
        cmocka_unit_test(what_happened_to_the_file_is_told_first),
        cmocka_unit_test(a_cache_that_was_dropped_while_looked_at_is_told),
        cmocka_unit_test(a_build_without_ncurses_has_no_live_screen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
