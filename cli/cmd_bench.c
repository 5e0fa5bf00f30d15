/* SPDX-License-Identifier: Apache-2.0 */
/* Speed of the C library alone: no Python, no encoding of values. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench_run.h"
#include "cli.h"
#include "json.h"

enum { SIZE, SECONDS, VALUE_SIZE, ENTRIES, THREADS, PROCESSES, JSON, OPTION_COUNT };
static const fb_option options[OPTION_COUNT] = {
    [SIZE] = { "--size", "SIZE", "bytes of the arena; 64MiB unless given" },
    [SECONDS] = { "--seconds", "N", "length of each of the four measurements; 1 unless given" },
    [VALUE_SIZE] = { "--value-size", "SIZE", "bytes of a value; 500 unless given" },
    [ENTRIES] = { "--entries", "N", "different keys; as many as half of the arena holds, unless given" },
    [THREADS] = { "--threads", "N", "threads in each process; 1 unless given" },
    [PROCESSES] = { "--processes", "N", "processes; 1 unless given" },
    [JSON] = { "--json", NULL, "print the result as JSON" },
};

#define CACHE_NAME "forebay-bench"
#define ENTRY_OVERHEAD 48u /* header, key, slot: for the default number of keys only */

static const struct {
    const char *name, *what;
} jobs[BENCH_JOB_COUNT] = {
    [BENCH_GET_HOT] = { "get_hot", "get, 200 hot keys" },
    [BENCH_GET] = { "get", "get, all keys" },
    [BENCH_GET_MANY] = { "get_many", "get_many, batches of 100" },
    [BENCH_SET] = { "set", "set, all keys" },
};

static void on_signal(int signal_number)
{
    (void)signal_number;
    bench_stop = 1;
}

static double per_second(const bench_tally *sum)
{
    return sum->seconds > 0 ? (double)sum->keys / sum->seconds : 0;
}

static void print_table(const bench_plan *plan, const bench_tally *sums)
{
    char size[FB_SIZE_TEXT];
    printf("arena %s, %llu keys, values of %llu bytes, %llu process%s of %llu thread%s\n\n",
           fb_size_text(plan->size, size), (unsigned long long)plan->entries,
           (unsigned long long)plan->value_size, (unsigned long long)plan->processes,
           plan->processes == 1 ? "" : "es", (unsigned long long)plan->threads,
           plan->threads == 1 ? "" : "s");
    printf("%-26s %14s %16s %10s\n", "", "keys/s", "ns/key/worker", "hits");
    double workers = (double)(plan->threads * plan->processes);
    for (int i = 0; i < BENCH_JOB_COUNT; i++)
        printf("%-26s %14.0f %16.1f %9.1f%%\n", jobs[i].what, per_second(&sums[i]),
               sums[i].keys != 0 ? 1e9 * workers * sums[i].seconds / (double)sums[i].keys : 0,
               sums[i].keys != 0 ? 100 * (double)sums[i].hits / (double)sums[i].keys : 0);
}

static void print_job_json(fb_json *json, const bench_tally *sum, const char *name)
{
    fb_json_begin_object(json);
    fb_json_name(json, "name");
    fb_json_string(json, name);
    fb_json_name(json, "keys");
    fb_json_unsigned(json, sum->keys);
    fb_json_name(json, "hits");
    fb_json_unsigned(json, sum->hits);
    fb_json_name(json, "failures");
    fb_json_unsigned(json, sum->failures);
    fb_json_name(json, "wrong");
    fb_json_unsigned(json, sum->wrong);
    fb_json_name(json, "seconds");
    fb_json_double(json, sum->seconds);
    fb_json_name(json, "per_second");
    fb_json_double(json, per_second(sum));
    fb_json_end_object(json);
}

static void print_json(const bench_plan *plan, const bench_tally *sums)
{
    const struct {
        const char *name;
        uint64_t value;
    } facts[] = { { "size", plan->size },
                  { "value_size", plan->value_size },
                  { "entries", plan->entries },
                  { "threads", plan->threads },
                  { "processes", plan->processes } };
    fb_json json = { .out = stdout };
    fb_json_begin_object(&json);
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        fb_json_name(&json, facts[i].name);
        fb_json_unsigned(&json, facts[i].value);
    }
    fb_json_name(&json, "jobs");
    fb_json_begin_array(&json);
    for (int i = 0; i < BENCH_JOB_COUNT; i++)
        print_job_json(&json, &sums[i], jobs[i].name);
    fb_json_end_array(&json);
    fb_json_end_object(&json);
    fb_json_end(&json);
}

static int measure(const bench_plan *plan, forebay_cache *cache, bench_board *board, bool as_json)
{
    bench_tally sums[BENCH_JOB_COUNT] = { { 0 } };
    uint64_t wrong = 0;
    if (!bench_fill(plan, cache) && !bench_stop)
        return fb_fail("the arena takes too few of these values; give a larger --size");
    for (int i = 0; i < BENCH_JOB_COUNT && !bench_stop; i++) {
        if (!bench_run_job(plan, cache, board, (bench_job)i, &sums[i]) && !bench_stop)
            return fb_fail("a worker died or could not start; ask for fewer threads or processes");
        wrong += sums[i].wrong;
    }
    if (bench_stop)
        return fb_fail("interrupted; nothing is left behind");
    if (as_json)
        print_json(plan, sums);
    else
        print_table(plan, sums);
    if (wrong != 0)
        return fb_fail("%llu reads returned a wrong value; this is a defect of Forebay, please "
                       "report it",
                       (unsigned long long)wrong);
    return FB_EXIT_OK;
}

static bool read_size(const char *text, const char *name, uint64_t most, uint64_t *size_out)
{
    if (text == NULL)
        return true;
    if (fb_parse_size(text, size_out) && *size_out >= 1 && *size_out <= most)
        return true;
    char size[FB_SIZE_TEXT];
    fb_usage("'%s' is no %s; write it like 500 or 64MiB, at most %s", text, name, fb_size_text(most, size));
    return false;
}

static bool read_count(const char *text, const char *name, uint64_t most, uint64_t *count_out)
{
    if (text == NULL || fb_parse_count(text, 1, most, count_out))
        return true;
    fb_usage("'%s' is no %s; give a number from 1 to %llu", text, name, (unsigned long long)most);
    return false;
}

static bool read_plan(const fb_arguments *arguments, bench_plan *plan)
{
    const char *const *value = arguments->value;
    *plan = (bench_plan){
        .size = (uint64_t)64 << 20, .value_size = 500, .threads = 1, .processes = 1, .seconds = 1
    };
    if (!read_size(value[SIZE], "--size", FOREBAY_ARENA_MAX_SIZE, &plan->size)
        || !read_size(value[VALUE_SIZE], "--value-size", (uint64_t)64 << 20, &plan->value_size)
        || !read_count(value[THREADS], "--threads", BENCH_WORKERS_MAX, &plan->threads)
        || !read_count(value[PROCESSES], "--processes", BENCH_WORKERS_MAX, &plan->processes))
        return false;
    if (value[SECONDS] != NULL && !fb_parse_seconds(value[SECONDS], 3600, &plan->seconds)) {
        fb_usage("'%s' is no --seconds; give a number above 0, at most 3600", value[SECONDS]);
        return false;
    }
    if (plan->size < FOREBAY_ARENA_MIN_SIZE) {
        fb_usage("an arena takes at least 1MiB, not '%s'", value[SIZE]);
        return false;
    }
    if (plan->threads * plan->processes > BENCH_WORKERS_MAX) {
        fb_usage("at most %u threads in all processes together", BENCH_WORKERS_MAX);
        return false;
    }
    plan->entries = plan->size / 2 / (plan->value_size + ENTRY_OVERHEAD) + 1;
    return read_count(value[ENTRIES], "--entries", (uint64_t)1 << 40, &plan->entries);
}

static void catch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal }; /* no SA_RESTART: waits must end */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

static int run_in_arena(const bench_plan *plan, forebay_arena *arena, bool as_json)
{
    forebay_cache *cache;
    forebay_error error = { 0 };
    if (plan->value_size + sizeof(uint64_t) > forebay_arena_max_entry(arena))
        return fb_fail("values of %llu bytes are too large for this arena, which takes %llu; give a "
                       "larger --size",
                       (unsigned long long)plan->value_size,
                       (unsigned long long)forebay_arena_max_entry(arena) - sizeof(uint64_t));
    forebay_status status = forebay_cache_open(arena, CACHE_NAME, NULL, &cache, &error);
    if (status != FOREBAY_OK)
        return fb_fail_status("bench", status, &error);
    bench_board *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int code = shared == MAP_FAILED ? fb_fail("out of memory") : measure(plan, cache, shared, as_json);
    if (shared != MAP_FAILED)
        munmap(shared, sizeof(*shared));
    forebay_cache_close(cache);
    return code;
}

static int run(const fb_arguments *arguments)
{
    const char *path = arguments->positional[0];
    bench_plan plan;
    if (!read_plan(arguments, &plan))
        return FB_EXIT_USAGE;
    catch_signals();
    forebay_arena_options wanted = { .size = plan.size, .create_only = true };
    forebay_arena *arena;
    forebay_error error = { 0 };
    forebay_status status = forebay_arena_open(path, &wanted, &arena, &error);
    if (status == FOREBAY_EXISTS)
        return fb_fail("%s is an arena already, and measuring would evict what it holds; give "
                       "another path, or none",
                       path);
    if (status != FOREBAY_OK)
        return fb_fail_status(path != NULL ? path : "anonymous arena", status, &error);
    int code = run_in_arena(&plan, arena, arguments->value[JSON] != NULL);
    if (path != NULL && unlink(path) != 0)
        code = fb_fail("cannot remove %s: %s", path, strerror(errno));
    forebay_arena_close(arena);
    return code;
}

const fb_command fb_cmd_bench = {
    .name = "bench",
    .synopsis = "[PATH] [options]",
    .summary = "measure the C library on this machine",
    .details = "Fill an arena, then measure get of few hot keys, get of all keys, get_many and set,\n"
               "with random keys, and check each value that comes back. With PATH the arena is made\n"
               "there and removed at the end; without, it is anonymous memory.\n",
    .options = options,
    .option_count = OPTION_COUNT,
    .arguments_min = 0,
    .arguments_max = 1,
    .run = run,
};
