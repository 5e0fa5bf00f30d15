/* SPDX-License-Identifier: Apache-2.0 */
/* What `forebay top` makes of figures: cli/top_text.c, top_chart.c, top_canvas.c, top_model.c, top_columns.c, top_view.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <math.h>

#include <cmocka.h>

#include "top_columns.h"
#include "top_view.h"

/* ---- text ---- */

static void counts_are_short(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        { 0, "0" }, { 0.26, "0.3" }, { 7, "7" }, { 12.5, "12.5" }, { 99.96, "100" }, { 999.4, "999" }, { 999.6, "1.0k" },
        { 1234, "1.2k" }, { 123456, "123k" }, { 999999, "1.0M" }, { 4.5e9, "4.5G" }, { 3e18, "3000P" }, { NAN, "-" },
    };
    char text[TOP_TEXT];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(fb_top_count(cases[i].value, text), cases[i].text);
}

static void bytes_are_short(void **state)
{
    (void)state;
    char text[TOP_TEXT];
    assert_string_equal(fb_top_bytes(0, text), "0B");
    assert_string_equal(fb_top_bytes(512, text), "512B");
    assert_string_equal(fb_top_bytes(1023, text), "1.0K");
    assert_string_equal(fb_top_bytes(1536, text), "1.5K");
    assert_string_equal(fb_top_bytes(256.0 * 1024 * 1024, text), "256M");
    assert_string_equal(fb_top_bytes(1.5 * 1024 * 1024 * 1024, text), "1.5G");
}

static void nearly_all_is_not_all(void **state)
{
    (void)state;
    char text[TOP_TEXT];
    assert_string_equal(fb_top_percent(1, text), "100%");
    assert_string_equal(fb_top_percent(0.99999, text), "99.9%");
    assert_string_equal(fb_top_percent(0.5, text), "50.0%");
    assert_string_equal(fb_top_percent(0, text), "0.0%");
    assert_string_equal(fb_top_percent(NAN, text), "-");
}

static void ages_have_one_unit(void **state)
{
    (void)state;
    static const struct {
        uint64_t ms;
        const char *text;
    } cases[] = {
        { 0, "0.0s" }, { 350, "0.3s" }, { 9999, "9.9s" }, { 10000, "10s" }, { 119999, "119s" }, { 120000, "2m" },
        { 7200000, "2h" }, { 172800000, "2d" }, { UINT64_MAX, "never" },
    };
    char text[TOP_TEXT];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(fb_top_age(cases[i].ms, text), cases[i].text);
}

/* ---- canvas and charts ---- */

/* The canvas as text; for free(). */
static char *text_of(const top_canvas *canvas)
{
    char *text;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    fb_canvas_print(canvas, out);
    fclose(out);
    return text;
}

static void assert_shows(top_canvas *canvas, const char *expected)
{
    char *text = text_of(canvas);
    assert_string_equal(text, expected);
    free(text);
    fb_canvas_free(canvas);
}

static top_canvas canvas_of(int width, int height, bool ascii)
{
    top_canvas canvas = { 0 };
    assert_true(fb_canvas_make(&canvas, width, height, ascii));
    return canvas;
}

static void what_is_outside_of_the_canvas_is_left_out(void **state)
{
    (void)state;
    top_canvas canvas = canvas_of(5, 2, true);
    assert_int_equal(fb_canvas_text(&canvas, 3, 0, 10, TOP_PLAIN, "abcdef"), 6);
    fb_canvas_text(&canvas, -2, 1, 10, TOP_PLAIN, "abcdef");
    fb_canvas_text(&canvas, 0, 2, 10, TOP_PLAIN, "below");
    fb_canvas_put(&canvas, 0, -1, TOP_PLAIN, 'x');
    fb_canvas_style(&canvas, (top_area){ 3, 0, 9, 9 }, TOP_BAD);
    assert_int_equal(canvas.cells[3].style, TOP_BAD);
    assert_shows(&canvas, "   ab\ncdef\n");
}

static void text_stays_within_its_width(void **state)
{
    (void)state;
    top_canvas canvas = canvas_of(8, 1, true);
    assert_int_equal(fb_canvas_text(&canvas, 1, 0, 3, TOP_PLAIN, "abcdef"), 3);
    fb_canvas_right(&canvas, 8, 0, TOP_PLAIN, "12");
    assert_shows(&canvas, " abc  12\n");
}

static void names_cannot_drive_the_terminal(void **state)
{
    (void)state;
    top_canvas canvas = canvas_of(12, 1, true);
    fb_canvas_text(&canvas, 0, 0, 12, TOP_PLAIN, "a\x1b[2J\n\x7f\xff\xc3\xa9z");
    assert_shows(&canvas, "a?[2J????z\n");
}

static top_history history_of(const double *values, int count)
{
    top_history history = { 0 };
    for (int i = 0; i < count; i++)
        fb_history_add(&history, values[i]);
    return history;
}

static void a_curve_has_eight_steps_a_row_and_the_newest_at_the_right(void **state)
{
    (void)state;
    const double values[] = { NAN, 0, 1, 2, 3, 4, 5, 6, 7, 8 };
    top_history history = history_of(values, 10);
    top_canvas canvas = canvas_of(12, 1, false);
    fb_chart_history(&canvas, (top_area){ 0, 0, 12, 1 }, TOP_GOOD, &history, 8);
    assert_shows(&canvas, "   _▁▂▃▄▅▆▇█\n");
    canvas = canvas_of(12, 1, true);
    fb_chart_history(&canvas, (top_area){ 0, 0, 12, 1 }, TOP_GOOD, &history, 8);
    assert_shows(&canvas, "   __.-:=+*#\n");
}

static void a_curve_of_two_rows_fills_the_lower_first(void **state)
{
    (void)state;
    const double values[] = { 0.001, 4, 8, 12, 16, 100 };
    top_history history = history_of(values, 6);
    top_canvas canvas = canvas_of(6, 2, false);
    fb_chart_history(&canvas, (top_area){ 0, 0, 6, 2 }, TOP_GOOD, &history, 16);
    assert_shows(&canvas, "   ▄██\n▁▄████\n");
}

static void only_the_last_values_are_kept(void **state)
{
    (void)state;
    top_history history = { 0 };
    assert_true(isnan(fb_history_at(&history, 0)));
    assert_true(fb_history_most(&history, 10) == 0);
    for (int i = 0; i <= TOP_HISTORY; i++)
        fb_history_add(&history, i == 0 ? 1e9 : i);
    assert_true(fb_history_at(&history, 0) == TOP_HISTORY && fb_history_at(&history, TOP_HISTORY - 1) == 1);
    assert_true(isnan(fb_history_at(&history, TOP_HISTORY)));
    assert_true(fb_history_most(&history, TOP_HISTORY) == TOP_HISTORY);
}

static void the_parts_of_a_bar_end_where_they_should(void **state)
{
    (void)state;
    const top_part parts[] = { { TOP_RAW, 1 }, { TOP_PACKED, 1 }, { TOP_OLD, 1 }, { TOP_TABLES, 1 }, { TOP_FREE, 3 } };
    top_canvas canvas = canvas_of(10, 3, true);
    fb_chart_bar(&canvas, 0, 0, 10, parts, 5, 7);
    fb_chart_bar(&canvas, 0, 1, 10, parts, 2, 1.5); /* more than the whole: cut */
    fb_chart_bar(&canvas, 0, 2, 10, parts, 2, 0);
    assert_shows(&canvas, "#==-::....\n#######===\n\n");
}

/* ---- the model ---- */

static forebay_cache_info cache_info(const char *name, uint64_t hits, uint64_t misses, uint64_t sets)
{
    forebay_cache_info info = { .stats = { .hits = hits, .misses = misses, .sets = sets, .entries = sets } };
    strcpy(info.name, name);
    return info;
}

/* A look at an arena of 1000 bytes with these caches. */
static top_look look_of(double seconds, const forebay_cache_info *caches, uint32_t count)
{
    top_look look = { .seconds = seconds, .part = 0.5 };
    look.facts.info = (forebay_arena_info){ .size = 1000, .metadata_bytes = 100, .entry_bytes = 500, .cache_count = 8 };
    look.facts.caches = calloc(count + 1, sizeof(*caches));
    look.rooms = calloc(count + 1, sizeof(*look.rooms));
    assert_non_null(look.facts.caches);
    assert_non_null(look.rooms);
    if (count > 0)
        memcpy(look.facts.caches, caches, count * sizeof(*caches));
    look.facts.cache_count = look.room_count = count;
    for (uint32_t i = 0; i < count; i++) {
        look.rooms[i] = (forebay_cache_room){ .raw_bytes = 20, .packed_bytes = 30, .unpacked_bytes = 60 };
        strcpy(look.rooms[i].name, caches[i].name);
    }
    return look;
}

static void add_look(top_model *model, top_look look, bool continues)
{
    assert_true(fb_model_add(model, &look, continues));
}

static void rates_are_what_changed_between_two_looks(void **state)
{
    (void)state;
    top_model model = { 0 };
    forebay_cache_info first[] = { cache_info("a", 100, 10, 5), cache_info("b", 0, 0, 0) };
    add_look(&model, look_of(10, first, 2), true);
    assert_true(isnan(model.total.hits) && isnan(model.caches[0].rates.sets) && model.operations.count == 0);
    forebay_cache_info second[] = { cache_info("a", 130, 20, 5), cache_info("b", 8, 0, 4) };
    add_look(&model, look_of(12, second, 2), true);
    assert_true(model.caches[0].rates.hits == 15 && model.caches[0].rates.misses == 5 && model.caches[0].rates.sets == 0);
    assert_true(fb_history_at(&model.caches[0].gets, 0) == 20 && fb_history_at(&model.caches[0].hit_ratio, 0) == 0.75);
    assert_true(fb_history_at(&model.operations, 0) == 26 && fb_rates_gets(&model.total) == 24);
    fb_model_free(&model);
}

static void after_a_pause_nothing_is_said_of_it(void **state)
{
    (void)state;
    top_model model = { 0 };
    forebay_cache_info cache = cache_info("a", 100, 10, 5), later = cache_info("a", 900, 10, 5);
    add_look(&model, look_of(10, &cache, 1), true);
    add_look(&model, look_of(20, &later, 1), false);
    assert_true(isnan(model.seconds) && isnan(model.total.hits) && model.operations.count == 0);
    fb_model_free(&model);
}

static void a_cache_that_is_new_or_made_anew_began_at_nothing(void **state)
{
    (void)state;
    top_model model = { 0 };
    forebay_cache_info first = cache_info("a", 100, 10, 5);
    add_look(&model, look_of(10, &first, 1), true);
    forebay_cache_info second[] = { cache_info("a", 7, 0, 2), cache_info("new", 3, 0, 0) };
    add_look(&model, look_of(11, second, 2), true);
    assert_true(model.caches[0].rates.hits == 7 && model.caches[1].rates.hits == 3);
    forebay_cache_info third = cache_info("new", 3, 0, 0);
    add_look(&model, look_of(12, &third, 1), true);
    assert_int_equal(model.cache_count, 1);
    assert_int_equal(model.caches[0].gets.count, 2);
    fb_model_free(&model);
}

static void memory_is_made_up_of_its_parts(void **state)
{
    (void)state;
    top_model model = { 0 };
    forebay_cache_info caches[] = { cache_info("a", 0, 0, 0), cache_info("b", 0, 0, 0) };
    add_look(&model, look_of(10, caches, 2), true);
    const top_memory *memory = &model.memory;
    assert_true(memory->raw == 80 && memory->packed == 120 && memory->unpacked == 240);
    assert_true(memory->old == 300 && memory->tables == 100 && memory->free == 400);
    fb_model_free(&model);
}

static void a_sample_that_says_too_much_leaves_nothing_below_nothing(void **state)
{
    (void)state;
    top_model model = { 0 };
    forebay_cache_info cache = cache_info("a", 0, 0, 0);
    top_look look = look_of(10, &cache, 1);
    look.part = 0.01;
    add_look(&model, look, true);
    assert_true(model.memory.old == 0 && model.memory.free == 0);
    fb_model_free(&model);
}

static void a_process_is_shown_once_with_all_it_has(void **state)
{
    (void)state;
    top_model model = { 0 };
    top_look look = look_of(10, NULL, 0);
    forebay_row_info rows[] = { { .pid = 70, .alive = true }, { .pid = 60, .alive = true }, { .pid = 70, .alive = true }, { .pid = 50 } };
    forebay_limit_share shares[] = { { .pid = 60, .held = 2 }, { .pid = 70, .waiting = 1 }, { .pid = 99, .held = 1 } };
    look.facts.rows = calloc(4, sizeof(*rows));
    look.facts.limits.limits = calloc(1, sizeof(limit_facts));
    assert_non_null(look.facts.rows);
    assert_non_null(look.facts.limits.limits);
    memcpy(look.facts.rows, rows, sizeof(rows));
    look.facts.row_count = 4;
    look.facts.limits.limits[0].shares = calloc(3, sizeof(*shares));
    assert_non_null(look.facts.limits.limits[0].shares);
    memcpy(look.facts.limits.limits[0].shares, shares, sizeof(shares));
    look.facts.limits.limits[0].share_count = 3;
    look.facts.limits.count = 1;
    look.facts.channels.channels[0].pids[1] = 70;
    look.facts.channels.count = 1;
    add_look(&model, look, true);
    assert_int_equal(model.process_count, 4);
    const top_process *p = model.processes;
    assert_true(p[0].pid == 50 && p[0].rows == 0 && p[0].dead_rows == 1);
    assert_true(p[1].pid == 60 && p[1].rows == 1 && p[1].held == 2 && !p[1].listens);
    assert_true(p[2].pid == 70 && p[2].rows == 2 && p[2].waiting == 1 && p[2].listens);
    assert_true(p[3].pid == 99 && p[3].rows == 0 && p[3].held == 1);
    fb_model_free(&model);
}

/* ---- choosing and sorting ---- */

static top_model model_of_three(void)
{
    top_model model = { 0 };
    forebay_cache_info caches[] = { cache_info("a", 0, 0, 5), cache_info("b", 0, 0, 9), cache_info("c", 0, 0, 7) };
    add_look(&model, look_of(10, caches, 3), true);
    model.caches[1].rates.hits = 3;
    model.caches[1].rates.misses = 1;
    return model;
}

static void assert_order(const top_model *model, const char *column, bool reverse, const char *expected)
{
    uint32_t order[3];
    char names[4] = "";
    fb_columns_order(model, fb_column_find(column), reverse, order);
    for (int i = 0; i < 3; i++)
        strcat(names, model->caches[order[i]].info.name);
    assert_string_equal(names, expected);
}

static void caches_are_sorted_largest_first_and_the_unknown_last(void **state)
{
    (void)state;
    top_model model = model_of_three();
    assert_order(&model, "name", false, "abc");
    assert_order(&model, "name", true, "cba");
    assert_order(&model, "entries", false, "bca");
    assert_order(&model, "entries", true, "acb");
    assert_order(&model, "hit", false, "bac");
    assert_order(&model, "hit", true, "bac");
    assert_int_equal(fb_column_find("none"), -1);
    fb_model_free(&model);
}

static void press(top_view *view, const top_model *model, const char *keys)
{
    for (; *keys != '\0'; keys++)
        fb_view_key(view, model, (uint32_t)(unsigned char)*keys);
}

static void keys_choose_a_cache_and_go_into_it_and_back(void **state)
{
    (void)state;
    top_model model = model_of_three();
    top_view view = { .column = fb_column_find("entries"), .interval = 1 };
    press(&view, &model, "j");
    assert_string_equal(view.chosen, "b");
    press(&view, &model, "jj");
    assert_string_equal(view.chosen, "a");
    press(&view, &model, "j");
    assert_string_equal(view.chosen, "a");
    press(&view, &model, "g");
    assert_string_equal(view.chosen, "b");
    fb_view_key(&view, &model, TOP_KEY_LAST);
    fb_view_key(&view, &model, TOP_KEY_UP);
    assert_string_equal(view.chosen, "c");
    fb_view_key(&view, &model, TOP_KEY_ENTER);
    assert_int_equal(view.page, TOP_PAGE_CACHE);
    fb_view_key(&view, &model, TOP_KEY_DOWN);
    assert_string_equal(view.chosen, "a");
    fb_view_key(&view, &model, TOP_KEY_BACK);
    assert_int_equal(view.page, TOP_PAGE_ARENA);
    fb_model_free(&model);
}

static void help_goes_back_to_where_it_was_asked_for(void **state)
{
    (void)state;
    top_model model = model_of_three();
    top_view view = { .interval = 1 };
    fb_view_key(&view, &model, TOP_KEY_ENTER);
    press(&view, &model, "?");
    assert_int_equal(view.page, TOP_PAGE_HELP);
    press(&view, &model, "x");
    assert_int_equal(view.page, TOP_PAGE_CACHE);
    fb_model_free(&model);
}

static void keys_sort_pause_and_change_the_interval(void **state)
{
    (void)state;
    top_model model = model_of_three();
    top_view view = { .interval = 1 };
    press(&view, &model, "sr");
    assert_true(view.column == 1 && view.reverse);
    press(&view, &model, "<<");
    assert_true(view.column == TOP_COLUMN_COUNT - 1 && !view.reverse);
    press(&view, &model, "p");
    assert_true(view.is_paused);
    press(&view, &model, " ++");
    assert_true(!view.is_paused && view.interval == 5);
    press(&view, &model, "--------");
    assert_true(view.interval == TOP_INTERVAL_MIN);
    press(&view, &model, "++++++++++++++");
    assert_true(view.interval == TOP_INTERVAL_MAX);
    fb_model_free(&model);
}

static void another_arena_is_opened_only_if_there_is_one(void **state)
{
    (void)state;
    top_model model = model_of_three();
    top_view view = { .interval = 1 };
    press(&view, &model, "o");
    assert_false(view.wants_open);
    model.look.file = TOP_FILE_REPLACED;
    press(&view, &model, "o");
    assert_true(view.wants_open && !view.wants_quit);
    press(&view, &model, "q");
    assert_true(view.wants_quit);
    fb_model_free(&model);
}

static void without_caches_there_is_nothing_to_choose(void **state)
{
    (void)state;
    top_model model = { 0 };
    add_look(&model, look_of(10, NULL, 0), true);
    top_view view = { .interval = 1 };
    fb_view_key(&view, &model, TOP_KEY_DOWN);
    fb_view_key(&view, &model, TOP_KEY_ENTER);
    assert_true(view.chosen[0] == '\0' && view.page == TOP_PAGE_ARENA);
    fb_model_free(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_short),
        cmocka_unit_test(bytes_are_short),
        cmocka_unit_test(nearly_all_is_not_all),
        cmocka_unit_test(ages_have_one_unit),
        cmocka_unit_test(what_is_outside_of_the_canvas_is_left_out),
        cmocka_unit_test(text_stays_within_its_width),
        cmocka_unit_test(names_cannot_drive_the_terminal),
        cmocka_unit_test(a_curve_has_eight_steps_a_row_and_the_newest_at_the_right),
        cmocka_unit_test(a_curve_of_two_rows_fills_the_lower_first),
        cmocka_unit_test(only_the_last_values_are_kept),
        cmocka_unit_test(the_parts_of_a_bar_end_where_they_should),
        cmocka_unit_test(rates_are_what_changed_between_two_looks),
        cmocka_unit_test(after_a_pause_nothing_is_said_of_it),
        cmocka_unit_test(a_cache_that_is_new_or_made_anew_began_at_nothing),
        cmocka_unit_test(memory_is_made_up_of_its_parts),
        cmocka_unit_test(a_sample_that_says_too_much_leaves_nothing_below_nothing),
        cmocka_unit_test(a_process_is_shown_once_with_all_it_has),
        cmocka_unit_test(caches_are_sorted_largest_first_and_the_unknown_last),
        cmocka_unit_test(keys_choose_a_cache_and_go_into_it_and_back),
        cmocka_unit_test(help_goes_back_to_where_it_was_asked_for),
        cmocka_unit_test(keys_sort_pause_and_change_the_interval),
        cmocka_unit_test(another_arena_is_opened_only_if_there_is_one),
        cmocka_unit_test(without_caches_there_is_nothing_to_choose),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
