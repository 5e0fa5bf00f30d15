/* SPDX-License-Identifier: Apache-2.0 */
#include "arena/geometry.h"
#include "arena/arena_map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena/file_lock.h"
#include "arena/registry.h"
#include "base/error.h"

#define ATTACHED_PAGE 4096u

/* A page of zeros that a child, however it is made, finds zero again. */
static void *map_attached_page(void)
{
    void *page = mmap(NULL, ATTACHED_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    (void)madvise(page, ATTACHED_PAGE, MADV_WIPEONFORK); /* before Linux 4.14 the fork handler does it */
    return page;
}

forebay_arena *fb_arena_new(const char *path)
{
    forebay_arena *arena = calloc(1, sizeof *arena);
    if (arena == NULL)
        return NULL;
    arena->fd = -1;
    atomic_init(&arena->row_fd, -1);
    atomic_init(&arena->spare_fd, -1);
    arena->child_fd = -1;
    arena->path = strdup(path != NULL ? path : "");
    arena->attached = map_attached_page();
    if (arena->path == NULL || arena->attached == NULL) {
        fb_arena_free(arena);
        return NULL;
    }
    return arena;
}

void fb_arena_free(forebay_arena *arena)
{
    if (arena->base != NULL)
        munmap(arena->base, arena->geometry.size);
    if (arena->attached != NULL)
        munmap((void *)arena->attached, ATTACHED_PAGE);
    fb_fd_close(arena, arena->fd); /* not close(): the number may be another file by now */
    free((void *)arena->row_checked);
    free(arena->path);
    free(arena);
}

static void advise(const forebay_arena *arena)
{
    /* advice only: kernels without it work as well */
    (void)madvise(arena->base, arena->geometry.size, MADV_DONTDUMP);
    (void)madvise(arena->base, arena->geometry.size, MADV_HUGEPAGE);
}

static void set_places(forebay_arena *arena, const arena_geometry *g)
{
    uint8_t *base = arena->base;
    arena->super = (arena_superblock *)base;
    arena->rows = (arena_row *)(base + g->rows_offset);
    arena->caches = (arena_cache *)(base + g->caches_offset);
    arena->counters = (arena_counters *)(base + g->counters_offset);
    arena->segments = (arena_segment *)(base + g->segments_offset);
    arena->tags = (_Atomic uint64_t *)(void *)(base + g->tags_offset);
    arena->policy = base + g->policy_offset;
    arena->dictionaries = (arena_dictionary *)(base + g->dictionaries_offset);
    arena->lease_words = (_Atomic uint64_t *)(base + g->leases_offset);
    arena->leases = (arena_lease *)(base + g->leases_offset + g->lease_count * sizeof(uint64_t));
    arena->lease_notes = (arena_lease_note *)(arena->leases + g->lease_count);
    arena->limits = (arena_limit *)(base + g->limits_offset);
    arena->permits = (_Atomic uint64_t *)(void *)(arena->limits + g->limit_count);
    arena->places = (arena_place *)(void *)(arena->permits + (size_t)g->limit_count * g->permit_count);
    arena->buckets = (arena_bucket *)(base + g->index_offset);
    arena->max_entry = fb_geometry_max_entry(g);
    arena->segment_shift = (uint32_t)__builtin_ctz(g->segment_size);
}

forebay_status fb_arena_map(forebay_arena *arena, const arena_geometry *geometry, forebay_error *error)
{
    arena->row_checked = calloc(geometry->row_count, sizeof *arena->row_checked);
    if (arena->row_checked == NULL)
        return fb_error(error, FOREBAY_NOMEM, 0, "out of memory while opening %s", arena->path);
    void *base = mmap(NULL, geometry->size, PROT_READ | PROT_WRITE, MAP_SHARED, arena->fd, 0);
    if (base == MAP_FAILED)
        return fb_error(error, errno == ENOMEM ? FOREBAY_NOMEM : FOREBAY_IO, errno,
                        "cannot map the %llu MiB of arena %s: raise the limit on this process's address space (ulimit -v)",
                        (unsigned long long)(geometry->size >> 20), arena->path);
    arena->base = base;
    arena->geometry = *geometry;
    set_places(arena, geometry);
    advise(arena);
    if (fb_registry_add(arena) != FOREBAY_OK) /* complete enough for the fork handlers from here on */
        return fb_error(error, FOREBAY_NOMEM, 0, "out of memory while opening %s", arena->path);
    return FOREBAY_OK;
}
