/* SPDX-License-Identifier: Apache-2.0 */
/* What the C benchmarks share: whole files in memory, a clock, a way out. */
#ifndef FB_BENCH_FILE_H
#define FB_BENCH_FILE_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <forebay/forebay.h>

/* A record of build/bench/records-*.bin: two lengths (u32), key, value. */
typedef struct bench_record {
    const char *key;
    const char *value;
    uint32_t key_length;
    uint32_t value_length;
} bench_record;

static inline void bench_fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static inline void bench_check(const char *what, forebay_status status)
{
    if (status != FOREBAY_OK)
        bench_fail(what, forebay_status_text(status));
}

static inline double bench_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static inline void *bench_allocate(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    if (memory == NULL)
        bench_fail("malloc", strerror(errno));
    return memory;
}

/* The whole file; never freed: it is used until the program ends. */
static inline char *bench_read(const char *path, size_t *length_out)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        bench_fail(path, strerror(errno));
    long length = ftell(file);
    if (length < 0)
        bench_fail(path, strerror(errno));
    rewind(file);
    char *bytes = bench_allocate((size_t)length);
    if (fread(bytes, 1, (size_t)length, file) != (size_t)length)
        bench_fail(path, "short read");
    fclose(file);
    *length_out = (size_t)length;
    return bytes;
}

/* The records of a file, and how many. */
static inline bench_record *bench_records(const char *path, size_t *count_out)
{
    size_t length, count = 0, room = 1024;
    const char *at = bench_read(path, &length), *end = at + length;
    bench_record *records = bench_allocate(room * sizeof *records);
    while ((size_t)(end - at) >= 8) {
        if (count == room) {
            records = realloc(records, (room *= 2) * sizeof *records);
            if (records == NULL)
                bench_fail(path, "out of memory");
        }
        bench_record *record = &records[count++];
        memcpy(&record->key_length, at, 4);
        memcpy(&record->value_length, at + 4, 4);
        if ((size_t)(end - at) - 8 < (size_t)record->key_length + record->value_length)
            bench_fail(path, "cut short");
        record->key = at + 8;
        record->value = record->key + record->key_length;
        at = record->value + record->value_length;
    }
    *count_out = count;
    return records;
}

/* The value of `--name VALUE`, or NULL. */
static inline const char *bench_option(int count, char **words, const char *name)
{
    for (int i = 1; i + 1 < count; i++)
        if (strcmp(words[i], name) == 0)
            return words[i + 1];
    return NULL;
}

static inline const char *bench_need(int count, char **words, const char *name)
{
    const char *value = bench_option(count, words, name);
    if (value == NULL)
        bench_fail(name, "missing");
    return value;
}

static inline uint64_t bench_number(int count, char **words, const char *name, uint64_t otherwise)
{
    const char *text = bench_option(count, words, name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

#endif
