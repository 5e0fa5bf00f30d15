/* SPDX-License-Identifier: Apache-2.0 */
#include "top_view.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "top_columns.h"

int fb_view_position(const top_view *view, const top_model *model, const uint32_t *order)
{
    for (uint32_t i = 0; i < model->cache_count; i++)
        if (strcmp(model->caches[order[i]].info.name, view->chosen) == 0)
            return (int)i;
    return -1;
}

const top_cache *fb_view_cache(const top_view *view, const top_model *model)
{
    for (uint32_t i = 0; i < model->cache_count; i++)
        if (strcmp(model->caches[i].info.name, view->chosen) == 0)
            return &model->caches[i];
    return NULL;
}

/* Choose the cache `by` lines further; with none chosen the first. */
static void move(top_view *view, const top_model *model, int by)
{
    uint32_t *order = calloc(model->cache_count + 1, sizeof(*order));
    if (order == NULL || model->cache_count == 0) {
        free(order);
        return;
    }
    fb_columns_order(model, view->column, view->reverse, order);
    int last = (int)model->cache_count - 1, position = fb_view_position(view, model, order);
    if (position >= 0)
        position =
            by < 0 ? (position < -by ? 0 : position + by) : (by > last - position ? last : position + by);
    else
        position = by == INT_MAX ? last : 0;
    strcpy(view->chosen, model->caches[order[position]].info.name);
    free(order);
}

/* 0.1, 0.2, 0.5, 1, 2, 5, ... up to an hour. */
static void change_interval(top_view *view, bool longer)
{
    static const double steps[] = { TOP_INTERVAL_MIN, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600,
                                    TOP_INTERVAL_MAX };
    int count = sizeof(steps) / sizeof(steps[0]), at = 0;
    if (longer) {
        while (at < count - 1 && steps[at] <= view->interval)
            at++;
    } else {
        at = count - 1;
        while (at > 0 && steps[at] >= view->interval)
            at--;
    }
    view->interval = steps[at];
}

static void sort_by(top_view *view, int step)
{
    view->column = (view->column + step + TOP_COLUMN_COUNT) % TOP_COLUMN_COUNT;
    view->reverse = false;
}

static void show_help(top_view *view)
{
    view->page_before = view->page;
    view->page = TOP_PAGE_HELP;
}

static void go_back(top_view *view)
{
    view->page = view->page == TOP_PAGE_HELP ? view->page_before : TOP_PAGE_ARENA;
}

static void enter(top_view *view, const top_model *model)
{
    if (fb_view_cache(view, model) == NULL)
        move(view, model, 0);
    if (fb_view_cache(view, model) != NULL)
        view->page = TOP_PAGE_CACHE;
}

/* Keys that mean something on every page. */
static bool take_common_key(top_view *view, const top_model *model, uint32_t key)
{
    switch (key) {
    case 'q':
        view->wants_quit = true;
        return true;
    case 'p':
    case ' ':
        view->is_paused = !view->is_paused;
        return true;
    case '+':
    case '-':
        change_interval(view, key == '+');
        return true;
    case 'o':
        view->wants_open = model->look.file == TOP_FILE_REPLACED;
        return true;
    default:
        return false;
    }
}

static void take_move_key(top_view *view, const top_model *model, uint32_t key)
{
    switch (key) {
    case TOP_KEY_UP:
    case 'k':
        move(view, model, -1);
        break;
    case TOP_KEY_DOWN:
    case 'j':
        move(view, model, 1);
        break;
    case TOP_KEY_FIRST:
    case 'g':
        move(view, model, -INT_MAX);
        break;
    case TOP_KEY_LAST:
    case 'G':
        move(view, model, INT_MAX);
        break;
    default:
        break;
    }
}

static void take_list_key(top_view *view, const top_model *model, uint32_t key)
{
    switch (key) {
    case TOP_KEY_ENTER:
        enter(view, model);
        break;
    case 's':
    case '>':
        sort_by(view, 1);
        break;
    case '<':
        sort_by(view, -1);
        break;
    case 'r':
        view->reverse = !view->reverse;
        break;
    default:
        take_move_key(view, model, key);
        break;
    }
}

void fb_view_key(top_view *view, const top_model *model, uint32_t key)
{
    if (take_common_key(view, model, key))
        return;
    if (view->page == TOP_PAGE_HELP)
        go_back(view);
    else if (key == '?' || key == 'h')
        show_help(view);
    else if (key == TOP_KEY_BACK)
        go_back(view);
    else if (view->page == TOP_PAGE_ARENA)
        take_list_key(view, model, key);
    else
        take_move_key(view, model, key); /* from cache to cache */
}
