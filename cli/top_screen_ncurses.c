/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <wchar.h>

#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <term.h>

#include "cli.h"
#include "top_screen.h"
#include "top_view.h"

#define ESCAPE 27
#define ESCAPE_WAIT_MS 100 /* for the rest of a key's sequence: enough over a slow line */

static SCREEN *screen;
static int signals = -1;                              /* those that ask to end can be read here */
static struct sigaction interrupt_before, end_before; /* ncurses puts handlers of its own in their places */
static attr_t looks[TOP_STYLE_COUNT];
static short pairs[TOP_STYLE_COUNT];

static void choose_looks(void)
{
    for (int i = 0; i < TOP_STYLE_COUNT; i++) {
        looks[i] = A_NORMAL;
        pairs[i] = 0;
    }
    looks[TOP_DIM] = A_DIM;
    looks[TOP_BOLD] = looks[TOP_BAD] = looks[TOP_WARNING] = A_BOLD;
    looks[TOP_BAR] = looks[TOP_CHOSEN] = A_REVERSE;
    looks[TOP_HEADING] = A_UNDERLINE;
}

static void choose_colours(void)
{
    static const short colours[TOP_STYLE_COUNT] = {
        [TOP_GOOD] = COLOR_GREEN,   [TOP_WARNING] = COLOR_YELLOW, [TOP_BAD] = COLOR_RED,
        [TOP_HEADING] = COLOR_CYAN, [TOP_RAW] = COLOR_BLUE,       [TOP_PACKED] = COLOR_CYAN,
        [TOP_OLD] = COLOR_MAGENTA,  [TOP_TABLES] = COLOR_YELLOW,
    };
    if (!has_colors() || start_color() == ERR)
        return;
    short background = use_default_colors() == OK ? -1 : COLOR_BLACK;
    for (short i = 0; i < TOP_STYLE_COUNT; i++)
        if (colours[i] != 0 && init_pair((short)(i + 1), colours[i], background) == OK)
            pairs[i] = (short)(i + 1);
}

/* Can the terminal be drawn on? */
static int check_terminal(void)
{
    const char *name = getenv("TERM");
    int found;
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return fb_fail("this is no terminal; use --once or --batch to print to a file or pipe");
    if (name == NULL || name[0] == '\0')
        return fb_fail(
            "TERM is not set, so what the terminal can do is not known; set it, or use --once or --batch");
    unsetenv("LINES"); /* ncurses would believe them, and they do not follow the terminal's size */
    unsetenv("COLUMNS");
    if (setupterm(name, STDOUT_FILENO, &found) == ERR)
        return fb_fail(
            "the terminal '%s' (TERM) is not known here; set TERM to another, or use --once or --batch",
            name);
    if (cursor_address == NULL)
        return fb_fail("the terminal '%s' (TERM) cannot place its cursor; use --once or --batch", name);
    return FB_EXIT_OK;
}

/* Some terminals send these whatever mode they were asked to be in. */
static void know_more_keys(void)
{
    define_key("\033[A", KEY_UP);
    define_key("\033[B", KEY_DOWN);
    define_key("\033[C", KEY_RIGHT);
    define_key("\033[D", KEY_LEFT);
}

int fb_screen_open(const sigset_t *held, bool colours)
{
    int code = check_terminal();
    if (code != FB_EXIT_OK)
        return code;
    signals = signalfd(-1, held, SFD_CLOEXEC);
    if (signals < 0)
        return fb_fail("cannot wait for signals: %s", strerror(errno));
    sigaction(SIGINT, NULL, &interrupt_before);
    sigaction(SIGTERM, NULL, &end_before);
    screen = newterm(NULL, stdout, stdin);
    if (screen == NULL)
        return fb_fail("cannot take over the terminal");
    set_escdelay(ESCAPE_WAIT_MS);
    cbreak();
    noecho();
    nonl();
    curs_set(0);
    keypad(stdscr, TRUE);
    know_more_keys();
    nodelay(stdscr, TRUE);
    choose_looks();
    if (colours)
        choose_colours();
    return FB_EXIT_OK;
}

void fb_screen_close(void)
{
    endwin();
    sigaction(SIGINT, &interrupt_before, NULL);
    sigaction(SIGTERM, &end_before, NULL);
    delscreen(screen);
    screen = NULL;
    close(signals);
    signals = -1;
}

void fb_screen_size(int *width, int *height)
{
    *width = COLS;
    *height = LINES;
}

void fb_screen_show(const top_canvas *canvas)
{
    for (int y = 0; y < canvas->height; y++)
        for (int x = 0; x < canvas->width; x++) {
            const top_cell *cell = &canvas->cells[y * canvas->width + x];
            wchar_t text[] = { (wchar_t)cell->character, L'\0' };
            cchar_t shown;
            setcchar(&shown, text, looks[cell->style], pairs[cell->style], NULL);
            mvadd_wch(y, x, &shown);
        }
    refresh();
}

/* What a key of ncurses is here; 0: nothing. */
static uint32_t key_of(int result, wint_t key)
{
    if (result == OK)
        switch (key) {
        case ESCAPE:
        case 8:
        case 127:
            return TOP_KEY_BACK;
        case '\r':
        case '\n':
            return TOP_KEY_ENTER;
        default:
            return (uint32_t)key;
        }
    switch (key) {
    case KEY_UP:
        return TOP_KEY_UP;
    case KEY_DOWN:
        return TOP_KEY_DOWN;
    case KEY_HOME:
        return TOP_KEY_FIRST;
    case KEY_END:
        return TOP_KEY_LAST;
    case KEY_ENTER:
    case KEY_RIGHT:
        return TOP_KEY_ENTER;
    case KEY_BACKSPACE:
    case KEY_LEFT:
        return TOP_KEY_BACK;
    default:
        return 0;
    }
}

/* A key that ncurses has, if any. */
static top_event take_key(uint32_t *key)
{
    wint_t typed;
    int result = get_wch(&typed);
    if (result == KEY_CODE_YES && typed == KEY_RESIZE)
        return TOP_EVENT_RESIZE;
    *key = result == ERR ? 0 : key_of(result, typed);
    return *key != 0 ? TOP_EVENT_KEY : TOP_EVENT_TIME;
}

top_event fb_screen_wait(int ms, uint32_t *key)
{
    top_event event = take_key(key); /* ncurses may have read several at once */
    if (event != TOP_EVENT_TIME)
        return event;
    struct pollfd waited[] = { { .fd = STDIN_FILENO, .events = POLLIN },
                               { .fd = signals, .events = POLLIN } };
    int ready = poll(waited, 2, ms);
    if (ready > 0 && (waited[1].revents != 0 || (waited[0].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0))
        return TOP_EVENT_END;
    return ready == 0 ? TOP_EVENT_TIME : take_key(key); /* a signal: the terminal has another size */
}
