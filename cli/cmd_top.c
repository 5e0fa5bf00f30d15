/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "colour.h"
#include "top_columns.h"
#include "top_pages.h"
#include "top_screen.h"

#define SIDE_MAX 1000     /* columns, or lines */
#define OPEN_WAIT_MS 1000 /* for a new arena that is still being made */
#define FIRST_WAIT 0.2    /* seconds at most, so that the first screen soon has figures per second */

enum { TRUST, INTERVAL, CACHE, SORT, ONCE, BATCH, WIDTH, HEIGHT, ASCII, COLOUR, OPTION_COUNT };
static const fb_option options[OPTION_COUNT] = {
    [TRUST] = { "--trust", NULL, "accept a file of another owner, or that others may write" },
    [INTERVAL] = { "--interval", "SECONDS", "between looks (default 1)" },
    [CACHE] = { "--cache", "CACHE", "begin with this cache" },
    [SORT] = { "--sort", "COLUMN", "of the list of caches: name, gets, hit, sets, size, ... (default gets)" },
    [ONCE] = { "--once", NULL, "print one screen as text" },
    [BATCH] = { "--batch", NULL, "print screens as text, until it is ended" },
    [WIDTH] = { "--width", "COLUMNS", "of --once and --batch (default 80)" },
    [HEIGHT] = { "--height", "LINES", "of --once and --batch (default 24)" },
    [ASCII] = { "--ascii", NULL, "draw with ASCII characters, whatever the locale says" },
    [COLOUR] = FB_COLOUR_OPTION,
};

/* All that runs. */
typedef struct top_session {
    const char *path;
    bool trust;
    bool ascii;
    bool once;         /* one screen */
    bool as_text;      /* once, or until it is ended */
    int width, height; /* as text */
    forebay_arena *arena;
    uint64_t looks; /* taken */
    top_model model;
    top_view view;
    top_canvas canvas;
} top_session;

/* Take a look and add it to the model. */
static forebay_status look(top_session *session, bool continues)
{
    top_look look;
    forebay_status status = fb_look_take(session->arena, session->path, session->looks++, &look);
    if (status != FOREBAY_OK) {
        fb_look_free(&look);
        return status;
    }
    return fb_model_add(&session->model, &look, continues) ? FOREBAY_OK : FOREBAY_NOMEM;
}

/* FOREBAY_NOMEM: there is no memory for a canvas of this size. */
static forebay_status draw(top_session *session, int width, int height)
{
    char clock[16];
    time_t now = time(NULL);
    struct tm local;
    strftime(clock, sizeof(clock), "%H:%M:%S", localtime_r(&now, &local));
    if (!fb_canvas_make(&session->canvas, width, height, session->ascii))
        return FOREBAY_NOMEM;
    fb_page_draw(&session->canvas, &session->model, &session->view, clock);
    return FOREBAY_OK;
}

static void sleep_seconds(double seconds)
{
    struct timespec time = { .tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - floor(seconds)) * 1e9) };
    nanosleep(&time, NULL);
}

/* false: nobody reads any more, or the output cannot be written, which fb_finish_output() says. */
static bool print_screen(const top_canvas *canvas, bool is_last)
{
    errno = 0;
    fb_canvas_print(canvas, stdout);
    if (!is_last)
        putchar('\n');
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    if (errno == EPIPE)
        clearerr(stdout);
    return false;
}

/* Figures per second take two looks. */
static forebay_status print_screens(top_session *session)
{
    forebay_status status = look(session, false);
    bool goes_on = true;
    while (status == FOREBAY_OK && goes_on) {
        sleep_seconds(session->view.interval);
        status = look(session, true);
        if (status == FOREBAY_OK)
            status = draw(session, session->width, session->height);
        if (status == FOREBAY_OK)
            goes_on = print_screen(&session->canvas, session->once) && !session->once;
    }
    return status;
}

static forebay_status draw_on_screen(top_session *session)
{
    int width, height;
    fb_screen_size(&width, &height);
    forebay_status status = draw(session, width, height);
    if (status == FOREBAY_OK)
        fb_screen_show(&session->canvas);
    return status;
}

/* Go over to the arena that the path leads to now; if it cannot be opened, go on with the one there is. */
static forebay_status open_new(top_session *session)
{
    forebay_arena_options wanted = { .trust = session->trust, .guard = true, .timeout_ms = OPEN_WAIT_MS };
    forebay_arena *arena;
    forebay_status status = forebay_arena_open(session->path, &wanted, &arena, NULL);
    session->view.wants_open = false;
    session->view.open_failure = status != FOREBAY_OK ? forebay_status_text(status) : NULL;
    if (status != FOREBAY_OK)
        return FOREBAY_OK;
    forebay_arena_close(session->arena);
    session->arena = arena;
    fb_model_free(&session->model);
    return look(session, false);
}

/* Until the next look, in ms; -1: for ever. */
static int wait_ms(const top_session *session, double next)
{
    return session->view.is_paused ? -1 : (int)ceil(fmax(next - fb_look_clock(), 0) * 1000);
}

/* Show the screen, and do what keys say, until it is to end. */
static forebay_status run_screen(top_session *session)
{
    double next = fb_look_clock() + fmin(session->view.interval, FIRST_WAIT);
    forebay_status status = look(session, false);
    bool continues = true;
    while (status == FOREBAY_OK && !session->view.wants_quit) {
        uint32_t key;
        status = draw_on_screen(session);
        top_event event = status == FOREBAY_OK ? fb_screen_wait(wait_ms(session, next), &key) : TOP_EVENT_END;
        if (event == TOP_EVENT_END)
            break;
        if (event == TOP_EVENT_KEY) {
            fb_view_key(&session->view, &session->model, key);
            next = fmin(next, fb_look_clock() + session->view.interval);
        }
        if (session->view.is_paused)
            continues = false;
        if (session->view.wants_open)
            status = open_new(session);
        if (status == FOREBAY_OK && !session->view.is_paused && fb_look_clock() >= next) {
            status = look(session, continues);
            continues = true;
            next = fb_look_clock() + session->view.interval;
        }
    }
    return status;
}

/* Of the live screen, signals that ask to end wait from now on: terminal and row are given back before them. */
static void hold_signals(sigset_t *held, bool as_text)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    sigemptyset(held);
    for (size_t i = 0; !as_text && i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaddset(held, signals[i]);
    sigprocmask(SIG_BLOCK, held, NULL);
}

/* Signals that are `held` end it. */
static int watch_on_screen(top_session *session, const sigset_t *held)
{
    int code = fb_screen_open(held, fb_has_colours());
    if (code != FB_EXIT_OK)
        return code;
    forebay_status status = run_screen(session);
    fb_screen_close();
    return status == FOREBAY_OK ? FB_EXIT_OK : fb_fail_status(session->path, status, NULL);
}

static int watch_as_text(top_session *session)
{
    forebay_status status = print_screens(session);
    return status == FOREBAY_OK ? FB_EXIT_OK : fb_fail_status(session->path, status, NULL);
}

static bool parse_side(const char *text, int least, int usual, const char *name, int *side)
{
    uint64_t count = (uint64_t)usual;
    if (text != NULL && !fb_parse_count(text, (uint64_t)least, SIDE_MAX, &count)) {
        fb_usage("%s '%s' is no number from %d to %d", name, text, least, SIDE_MAX);
        return false;
    }
    *side = (int)count;
    return true;
}

/* What the options say of the view; FB_EXIT_USAGE: the mistake was printed. */
static int read_view(const fb_arguments *arguments, top_view *view)
{
    const char *sort = arguments->value[SORT], *cache = arguments->value[CACHE],
               *interval = arguments->value[INTERVAL];
    *view = (top_view){ .interval = 1, .column = fb_column_find(sort != NULL ? sort : "gets") };
    if (view->column < 0)
        return fb_usage(
            "there is no column '%s' to sort by; take name, entries, gets, hit, sets, deletes, evictions, "
            "expirations, size or packed",
            sort);
    if (interval != NULL
        && (!fb_parse_seconds(interval, TOP_INTERVAL_MAX, &view->interval)
            || view->interval < TOP_INTERVAL_MIN))
        return fb_usage("--interval '%s' is no number of seconds from %g to %g", interval, TOP_INTERVAL_MIN,
                        TOP_INTERVAL_MAX);
    if (cache != NULL && strlen(cache) > FOREBAY_NAME_MAX)
        return fb_usage("--cache: a cache's name has %u bytes at most", FOREBAY_NAME_MAX);
    if (cache != NULL) {
        strcpy(view->chosen, cache);
        view->page = TOP_PAGE_CACHE;
    }
    return FB_EXIT_OK;
}

/* All that the options say; FB_EXIT_USAGE: a mistake was printed. */
static int read_options(const fb_arguments *arguments, top_session *session)
{
    session->path = arguments->positional[0];
    session->trust = arguments->value[TRUST] != NULL;
    session->once = arguments->value[ONCE] != NULL;
    session->as_text = session->once || arguments->value[BATCH] != NULL;
    session->ascii = arguments->value[ASCII] != NULL || strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
    bool sound = read_view(arguments, &session->view) == FB_EXIT_OK
                 && parse_side(arguments->value[WIDTH], TOP_WIDTH_MIN, 80, "--width", &session->width)
                 && parse_side(arguments->value[HEIGHT], TOP_HEIGHT_MIN, 24, "--height", &session->height)
                 && fb_colours_choose(arguments->value[COLOUR]);
    return sound ? FB_EXIT_OK : FB_EXIT_USAGE;
}

/* With the arena open. */
static int watch(top_session *session, const sigset_t *held)
{
    if (session->view.chosen[0] != '\0' && !fb_has_cache(session->arena, session->view.chosen))
        return fb_not_found("%s: there is no cache '%s'", session->path, session->view.chosen);
    return session->as_text ? watch_as_text(session) : watch_on_screen(session, held);
}

static int run(const fb_arguments *arguments)
{
    top_session session = { 0 };
    sigset_t held;
    setlocale(LC_CTYPE, "");
    int code = read_options(arguments, &session);
    if (code == FB_EXIT_OK)
        code = fb_open_sound(session.path, session.trust, &session.arena);
    if (code != FB_EXIT_OK)
        return code;
    hold_signals(&held, session.as_text);
    code = watch(&session, &held);
    fb_canvas_free(&session.canvas);
    fb_model_free(&session.model);
    forebay_arena_close(session.arena);
    sigprocmask(SIG_UNBLOCK, &held, NULL); /* whoever sent one meanwhile expects an end by it */
    return code;
}

const fb_command fb_cmd_top = {
    .name = "top",
    .synopsis = "PATH [--interval SECONDS] [--once | --batch] [--color WHEN] [...]",
    .summary = "watch an arena: operations, hit ratios, memory, processes, pools",
    .details = "Watch the arena PATH on the terminal: operations and hit ratio over time, what memory is\n"
               "taken by, caches, processes, limits of pools, channels, tiers. The key ? lists the keys, q quits.\n"
               "Nothing that others wait for is taken, and no get is counted; it takes one row, as every\n"
               "process that has the arena open.\n\n"
               "--once waits for one interval and prints a screen; --batch prints one after each interval.\n"
               "Text has no colours.\n",
    .options = options,
    .option_count = OPTION_COUNT,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run,
};
