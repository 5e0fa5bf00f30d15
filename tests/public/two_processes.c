/* SPDX-License-Identifier: Apache-2.0 */
/* A user's program: two processes open one arena by its path, hand values to
 * each other and count together. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <forebay/forebay.h>

#define ROUNDS 20000

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);    \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

static forebay_arena *open_arena(const char *path)
{
    forebay_arena_options options = { .size = (uint64_t)16 << 20 }; /* roomy: nothing is evicted */
    forebay_arena *arena = NULL;
    forebay_error error;
    forebay_status status = forebay_arena_open(path, &options, &arena, &error);
    if (status != FOREBAY_OK)
        fprintf(stderr, "%s: %s\n", forebay_status_text(status), error.message);
    CHECK(status == FOREBAY_OK);
    return arena;
}

static forebay_cache *open_cache(forebay_arena *arena)
{
    forebay_cache *cache = NULL;
    CHECK(forebay_cache_open(arena, "users", NULL, &cache, NULL) == FOREBAY_OK);
    return cache;
}

/* Both processes: take part in the count, leave a value under a name of one's own. */
static void work(const char *path, const char *name)
{
    forebay_arena *arena = open_arena(path);
    forebay_cache *cache = open_cache(arena);
    int64_t count = 0;
    for (int i = 0; i < ROUNDS; i++)
        CHECK(forebay_incr(cache, "count", 5, 1, 0, FOREBAY_TTL_FOREVER, &count) == FOREBAY_OK);
    CHECK(forebay_set(cache, name, strlen(name), name, strlen(name), FOREBAY_KIND_BYTES, FOREBAY_TTL_FOREVER,
                      FOREBAY_SET) == FOREBAY_OK);
    forebay_cache_close(cache);
    forebay_arena_close(arena);
}

static void check_value(forebay_cache *cache, const char *name)
{
    char value[16];
    size_t length = 0;
    forebay_kind kind = FOREBAY_KIND_INT;
    CHECK(forebay_get_into(cache, name, strlen(name), value, sizeof value, &length, &kind) == FOREBAY_OK);
    CHECK(kind == FOREBAY_KIND_BYTES && length == strlen(name) && memcmp(value, name, length) == 0);
}

static void print_violation(void *context, const char *message)
{
    (void)context;
    fprintf(stderr, "verify: %s\n", message);
}

static void check_all(const char *path)
{
    forebay_arena *arena = open_arena(path);
    forebay_cache *cache = open_cache(arena);
    int64_t count = 0;
    CHECK(forebay_incr(cache, "count", 5, 0, 0, FOREBAY_TTL_FOREVER, &count) == FOREBAY_OK);
    CHECK(count == 2 * ROUNDS);
    check_value(cache, "parent");
    check_value(cache, "child");
    CHECK(forebay_len(cache) == 3);
    CHECK(forebay_arena_verify(arena, print_violation, NULL) == FOREBAY_OK);
    forebay_cache_close(cache);
    forebay_arena_close(arena);
}

int main(void)
{
    char folder[] = "/tmp/forebay-public-XXXXXX";
    CHECK(mkdtemp(folder) != NULL);
    char path[sizeof folder + 16];
    snprintf(path, sizeof path, "%s/arena", folder);

    pid_t child = fork();
    CHECK(child >= 0);
    work(path, child == 0 ? "child" : "parent");
    if (child == 0)
        return 0;
    int outcome = -1;
    CHECK(waitpid(child, &outcome, 0) == child);
    CHECK(outcome == 0);
    check_all(path);
    CHECK(unlink(path) == 0);
    CHECK(rmdir(folder) == 0);
    return 0;
}
