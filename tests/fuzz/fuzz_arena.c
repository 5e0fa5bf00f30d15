/* SPDX-License-Identifier: Apache-2.0 */
/* The input is a list of patches to a sound arena: 3 bytes of offset (the high
 * bit of the third: from the end of the metadata), 1 byte of length and kind, and
 * bytes.  Opening and using what comes out must not crash. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "arena/arena_layout.h"
#include "arena_exercise.h"
#include "base/hash.h"

#define SIZE FOREBAY_ARENA_MIN_SIZE

static char path[64];
static uint8_t *sound, *patched;

static void remove_file(void) { unlink(path); }

static bool make_sound(void)
{
    snprintf(path, sizeof path, "/dev/shm/forebay-fuzz-%d", (int)getpid());
    atexit(remove_file);
    sound = malloc(SIZE);
    patched = malloc(SIZE);
    int fd = exercise_make(path, 800) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    bool good = fd >= 0 && pread(fd, sound, SIZE, 0) == (ssize_t)SIZE;
    close(fd);
    return good;
}

/* Apply a patch; returns the bytes of input it took. */
static size_t patch(const uint8_t *data, size_t size)
{
    size_t at = data[0] | (size_t)data[1] << 8 | (size_t)(data[2] & 0x0f) << 16;
    size_t length = 1 + data[3] % 16;
    if (data[2] & 0x40)
        at %= sizeof(arena_superblock);
    else if (data[2] & 0x80)
        at %= 80000; /* the metadata of the smallest arena */
    if (length > size - 4)
        length = size - 4;
    for (size_t i = 0; i < length && at + i < SIZE; i++)
        patched[at + i] = data[3] & 0x80 ? patched[at + i] ^ data[4 + i] : data[4 + i];
    return 4 + length;
}

/* Patches of the geometry are worth nothing under a wrong checksum. */
static void seal_geometry(void)
{
    arena_superblock *super = (arena_superblock *)(void *)patched;
    const uint8_t *first = (const uint8_t *)&super->version;
    super->checksum = XXH3_64bits(first, (size_t)((const uint8_t *)&super->checksum - first));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (sound == NULL && !make_sound())
        abort();
    memcpy(patched, sound, SIZE);
    bool seal = size > 0 && data[0] & 1;
    for (size_t at = 1; at + 5 <= size;)
        at += patch(data + at, size - at);
    if (seal)
        seal_geometry();
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, patched, SIZE) != (ssize_t)SIZE)
        abort();
    close(fd);
    (void)exercise_arena(path, 300, false);
    return 0;
}
