/* SPDX-License-Identifier: Apache-2.0 */
/* Counts its calls in an arena: usage: visits PATH */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include <forebay/forebay.h>

/* Count this call; `*first` is when the first one was. */
static forebay_status visit(forebay_cache *cache, int64_t *count, int64_t *first)
{
    forebay_status status = forebay_incr(cache, "count", 5, 1, 0, FOREBAY_TTL_FOREVER, count);
    if (status != FOREBAY_OK)
        return status;
    /* an increment by nothing gives what is there, or stores the initial value: one of all processes does */
    return forebay_incr(cache, "first", 5, 0, (int64_t)time(NULL), FOREBAY_TTL_FOREVER, first);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PATH\n", argv[0]);
        return 2;
    }
    forebay_arena_options options = { .size = 1 << 20 };
    forebay_arena *arena = NULL;
    forebay_cache *cache = NULL;
    forebay_error error;
    int64_t count = 0, first = 0;
    forebay_status status = forebay_arena_open(argv[1], &options, &arena, &error);
    if (status == FOREBAY_OK)
        status = forebay_cache_open(arena, "visits", NULL, &cache, &error);
    if (status != FOREBAY_OK) {
        fprintf(stderr, "%s: %s\n", argv[0], error.message);
        return 1;
    }
    status = visit(cache, &count, &first);
    if (status == FOREBAY_OK)
        printf("visit %" PRId64 ", the first %" PRId64 " s ago\n", count, (int64_t)time(NULL) - first);
    else
        fprintf(stderr, "%s: %s\n", argv[0], forebay_status_text(status));
    forebay_cache_close(cache);
    forebay_arena_close(arena);
    return status == FOREBAY_OK ? 0 : 1;
}
