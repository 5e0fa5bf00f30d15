/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/arena_create.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "arena/arena_clock.h"
#include "arena/arena_file.h"
#include "arena/arena_map.h"
#include "arena/geometry.h"
#include "arena/recover.h"
#include "arena/registry.h"
#include "arena/rows.h"
#include "arena/space.h"
#include "base/copy.h"
#include "base/error.h"
#include "base/small_file.h"

#if __SIZEOF_POINTER__ != 8 || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Forebay's arena format needs a 64-bit little-endian machine"
#endif

#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"

/* All zero if the kernel doesn't tell. */
static void read_boot_id(uint8_t boot_id[16])
{
    char text[64];
    memset(boot_id, 0, 16);
    if (fb_small_file_read(BOOT_ID_FILE, text, sizeof text) <= 0)
        return;
    int digits = 0;
    for (const char *c = text; *c != '\0' && digits < 32; c++) {
        if (*c >= '0' && *c <= '9')
            boot_id[digits / 2] = (uint8_t)(boot_id[digits / 2] << 4 | (*c - '0'));
        else if (*c >= 'a' && *c <= 'f')
            boot_id[digits / 2] = (uint8_t)(boot_id[digits / 2] << 4 | (*c - 'a' + 10));
        else
            continue; /* a hyphen */
        digits++;
    }
}

/* Empty the file and mark it as ours before it gets any length: a file that is
 * not empty and has neither magic is never overwritten. */
static forebay_status mark_forming(forebay_arena *arena, bool on_disk, forebay_error *error)
{
    uint64_t forming = ARENA_FORMING;
    ssize_t written = -1;
    if (ftruncate(arena->fd, 0) == 0) {
        do
            written = pwrite(arena->fd, &forming, sizeof forming, 0);
        while (written < 0 && errno == EINTR);
    }
    if (written != (ssize_t)sizeof forming || (on_disk && fdatasync(arena->fd) != 0)) {
        int reason = written == (ssize_t)sizeof forming || written < 0 ? errno : ENOSPC;
        return fb_error(error, reason == ENOSPC || reason == EDQUOT ? FOREBAY_NOSPACE : FOREBAY_IO, reason,
                        "cannot write %s", fb_arena_name(arena));
    }
    return FOREBAY_OK;
}

static forebay_status fill_random(void *to, size_t length, forebay_error *error)
{
    ssize_t got;
    do
        got = getrandom(to, length, 0);
    while (got < 0 && errno == EINTR);
    if (got == (ssize_t)length)
        return FOREBAY_OK;
    return fb_error(error, FOREBAY_IO, errno, "the kernel gives no random bytes for the hash seed");
}

/* Everything but the magic; what is not named here is zero. */
static forebay_status fill_superblock(forebay_arena *arena, bool on_disk, forebay_error *error)
{
    arena_superblock *super = arena->super;
    const arena_geometry *g = &arena->geometry;
    struct timespec now;
    forebay_status status = fill_random(&super->hash_seed, sizeof super->hash_seed, error);
    if (status == FOREBAY_OK)
        status = fill_random(super->uuid, sizeof super->uuid, error);
    if (status != FOREBAY_OK)
        return status;
    clock_gettime(CLOCK_REALTIME, &now);
    super->version = ARENA_FORMAT_VERSION;
    super->header_size = sizeof *super;
    super->created_unix_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    super->geometry = *g;
    super->checksum = fb_header_checksum(super);
    super->on_disk = on_disk;
    read_boot_id(super->boot_id);
    fb_clock_start(arena);
    atomic_store(&super->index_word, (uint64_t)g->index_initial << 1);
    atomic_store(&super->index_capacity, g->index_initial);
    atomic_store(&super->segments_free, g->segment_count);
    arena->hash_seed = super->hash_seed;
    arena->checksums = on_disk;
    return FOREBAY_OK;
}

/* The last step.  On a disk, make sure that a power cut leaves either mark. */
static forebay_status publish(forebay_arena *arena, bool on_disk, forebay_error *error)
{
    atomic_store_explicit(&arena->super->magic, ARENA_MAGIC, memory_order_release);
    if (on_disk && fdatasync(arena->fd) != 0)
        return fb_error(error, FOREBAY_IO, errno, "cannot write %s", fb_arena_name(arena));
    return FOREBAY_OK;
}

forebay_status fb_arena_format(forebay_arena *arena, uint64_t size, forebay_error *error)
{
    arena_geometry geometry;
    const char *name = fb_arena_name(arena);
    bool on_disk = fb_space_on_disk(arena->fd);
    if (!fb_geometry_compute(size, &geometry))
        return fb_error(error, FOREBAY_INVALID, 0, "the size of an arena is between 1 MiB and 128 GiB, not %llu bytes",
                        (unsigned long long)size);
    forebay_status status = mark_forming(arena, on_disk, error);
    if (status == FOREBAY_OK)
        status = fb_space_check(arena->fd, name, geometry.size, &fb_space_kernel, error);
    if (status == FOREBAY_OK)
        status = fb_space_reserve(arena->fd, name, geometry.size, error);
    if (status == FOREBAY_OK)
        status = fb_arena_map(arena, &geometry, error);
    if (status == FOREBAY_OK)
        status = fill_superblock(arena, on_disk, error);
    if (status == FOREBAY_OK)
        status = fb_row_attach(arena, error);
    if (status == FOREBAY_OK)
        status = publish(arena, on_disk, error);
    return status;
}

/* Nobody of another boot lives. */
static void free_all_rows(forebay_arena *arena)
{
    for (uint32_t i = 0; i < arena->geometry.row_count; i++) {
        arena_row *row = &arena->rows[i];
        uint64_t generation = (atomic_load(&row->word) >> 1) + 1;
        memset((void *)row, 0, sizeof *row);
        atomic_store(&row->word, generation << 1);
    }
    for (uint32_t i = 0; i < arena->geometry.counter_count; i++) /* keep what they count, and for which cache */
        atomic_fetch_and(&arena->counters[i].owner_and_cache, (UINT64_C(1) << 24) - 1);
}

static bool boot_is(const forebay_arena *arena, const uint8_t boot_id[16])
{
    uint8_t stored[16];
    fb_copy_out(stored, arena->super->boot_id, sizeof stored);
    return memcmp(stored, boot_id, sizeof stored) == 0;
}

forebay_status fb_arena_enter_boot(forebay_arena *arena, uint32_t timeout_ms, forebay_error *error)
{
    uint8_t boot_id[16];
    forebay_status status;
    read_boot_id(boot_id);
    if (boot_is(arena, boot_id))
        return FOREBAY_OK;
    int fd = fb_file_lock(arena, CREATION_LOCK, timeout_ms, &status);
    if (status == FOREBAY_TIMEOUT)
        return fb_error(error, status, 0, "another process has been checking %s after a reboot for %u ms: wait for it, "
                        "or end it", fb_arena_name(arena), (unsigned)timeout_ms);
    if (status != FOREBAY_OK)
        return fb_error(error, status, errno, "cannot lock %s", fb_arena_name(arena));
    if (!boot_is(arena, boot_id)) {
        fb_clock_rebase(arena, boot_id);
        free_all_rows(arena);
        status = fb_arena_recover(arena);
        if (status == FOREBAY_OK)
            fb_copy_in(arena->super->boot_id, boot_id, sizeof boot_id); /* last: killed before, it is all done again */
        else
            (void)fb_error(error, status, 0, "%s could not be checked after a reboot: delete it, and a new one is made",
                           fb_arena_name(arena));
    }
    fb_transient_close(fd);
    return status;
}
