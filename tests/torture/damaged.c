/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged arenas: every field of the header at its extremes, every byte of the
 * metadata flipped, random files, files cut short before and while they are
 * mapped.  The outcome may be an error or a miss, never a signal.  Each
 * experiment runs in a child, so that a crash or a hang is counted and named. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena/arena_layout.h"
#include "../fuzz/arena_exercise.h"
#include "base/hash.h"

#define SIZE FOREBAY_ARENA_MIN_SIZE
#define CHILD_SECONDS 250 /* of time, on a busy machine; a quarter of it on the processor */

static char path[64];
static uint8_t *sound, *damaged;
static unsigned failures;

static void remove_file(void) { unlink(path); }

static void write_file(const uint8_t *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size) {
        perror("write");
        exit(1);
    }
    close(fd);
}

static void try_damaged(unsigned sets)
{
    write_file(damaged, SIZE);
    (void)exercise_arena(path, sets, false);
}

static void seal_geometry(void)
{
    arena_superblock *super = (arena_superblock *)(void *)damaged;
    const uint8_t *first = (const uint8_t *)&super->version;
    super->checksum = XXH3_64bits(first, (size_t)((const uint8_t *)&super->checksum - first));
}

static void put_word(size_t at, size_t width, uint64_t value)
{
    memcpy(damaged, sound, SIZE);
    memcpy(damaged + at, &value, width);
}

/* Every aligned word of the header, 4 and 8 bytes wide. */
static void extreme_fields(unsigned part, unsigned parts)
{
    static const uint64_t values[] = {0, 1, 2, 7, 63, 0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff,
                                      0x8000000000000000, UINT64_MAX, 1u << 20, (1u << 20) - 1, 4096};
    for (size_t at = part * 4; at + 8 <= sizeof(arena_superblock); at += 4 * parts)
        for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
            for (unsigned seal = 0; seal < 2; seal++) {
                put_word(at, at % 8 == 0 && i % 2 ? 8 : 4, values[i]);
                if (seal)
                    seal_geometry();
                try_damaged(20);
            }
}

static size_t first_byte, byte_stride, end_byte;
static void flipped_bytes(unsigned part, unsigned parts)
{
    for (size_t at = first_byte + part * byte_stride; at < end_byte; at += byte_stride * parts) {
        memcpy(damaged, sound, SIZE);
        damaged[at] ^= 0xff;
        try_damaged(20);
        memcpy(damaged, sound, SIZE);
        damaged[at] ^= (uint8_t)(1u << at % 8);
        seal_geometry();
        try_damaged(20);
    }
}

static void random_files(unsigned part, unsigned parts)
{
    uint64_t state = part + 1;
    for (unsigned round = part; round < 30; round += parts) {
        memcpy(damaged, sound, SIZE);
        /* all random; random after the header; one word in a hundred random */
        size_t from = round % 3 == 0 ? 0 : sizeof(arena_superblock);
        for (size_t at = from; at < SIZE; at += 8) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            uint64_t word = state ^ state >> 29;
            if (round % 3 != 2 || word % 100 == 0)
                memcpy(damaged + at, &word, 8);
        }
        try_damaged(500);
    }
}

static void cut_short(unsigned part, unsigned parts)
{
    for (size_t size = part * 4093; size < SIZE; size += 4093 * parts) {
        write_file(sound, size);
        (void)exercise_arena(path, 5, false);
        write_file(sound, SIZE);
        if (truncate(path, (off_t)size) == 0)
            (void)exercise_arena(path, 5, true);
    }
}

/* Truncated under a mapping with guard: every call fails or misses from then on. */
static void cut_while_mapped(unsigned part, unsigned parts)
{
    for (size_t size = part * 16384; size < SIZE; size += 16384 * parts) {
        write_file(sound, SIZE);
        forebay_arena_options options = {.guard = true};
        forebay_arena *arena = NULL;
        forebay_cache *cache = NULL;
        forebay_error error;
        if (forebay_arena_open(path, &options, &arena, &error) != FOREBAY_OK
            || forebay_cache_open(arena, "fuzz", NULL, &cache, &error) != FOREBAY_OK)
            _exit(3);
        if (truncate(path, (off_t)size) != 0)
            _exit(4);
        exercise_cache(cache, 300);
        (void)!forebay_arena_verify(arena, exercise_ignore, NULL);
        forebay_cache_close(cache);
        forebay_arena_close(arena);
        unlink(path);
    }
}

static void in_child(const char *name, void (*experiment)(unsigned part, unsigned parts), unsigned parts)
{
    for (unsigned part = 0; part < parts; part++) {
        pid_t pid = fork();
        if (pid == 0) {
            setrlimit(RLIMIT_CPU, &(struct rlimit){CHILD_SECONDS / 4, CHILD_SECONDS / 4});
            alarm(CHILD_SECONDS);
            experiment(part, parts);
            exit(0);
        }
        int status = 0;
        waitpid(pid, &status, 0);
        if (status != 0) {
            printf("FAIL %s, part %u of %u: %s %d; the file is kept as %s.%s.%u\n", name, part, parts,
                   WIFSIGNALED(status) ? "signal" : "exit code", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                   path, name, part);
            char kept[128];
            snprintf(kept, sizeof kept, "%s.%s.%u", path, name, part);
            (void)!rename(path, kept);
            failures++;
        }
    }
    printf("%s: done\n", name);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const char *soak_text = getenv("FOREBAY_SOAK");
    bool soak = soak_text != NULL && *soak_text != 0 && *soak_text != '0';
    snprintf(path, sizeof path, "/dev/shm/forebay-damaged-%d", (int)getpid());
    if (argc == 2) /* a file that was kept */
        return exercise_arena(argv[1], 500, false) > 0;
    sound = malloc(SIZE);
    damaged = malloc(SIZE);
    int fd = exercise_make(path, 800) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0 || pread(fd, sound, SIZE, 0) != (ssize_t)SIZE) {
        printf("cannot make an arena\n");
        return 1;
    }
    close(fd);
    memcpy(damaged, sound, SIZE);
    arena_superblock *super = (arena_superblock *)(void *)sound;
    uint64_t was = super->checksum;
    seal_geometry();
    if (((arena_superblock *)(void *)damaged)->checksum != was) {
        printf("this test does not seal the header as the library does\n");
        return 1;
    }
    size_t data = (size_t)super->geometry.data_offset;
    in_child("extreme-fields", extreme_fields, 4);
    end_byte = data, byte_stride = soak ? 1 : 61;
    in_child("flipped-metadata", flipped_bytes, soak ? 64 : 4);
    first_byte = data, end_byte = SIZE, byte_stride = soak ? 7 : 4001;
    in_child("flipped-data", flipped_bytes, soak ? 64 : 4);
    in_child("random-files", random_files, 5);
    in_child("cut-short", cut_short, 2);
    in_child("cut-while-mapped", cut_while_mapped, 2);
    remove_file();
    return failures != 0;
}
