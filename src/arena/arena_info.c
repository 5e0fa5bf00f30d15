/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena/arena_clock.h"
#include "arena/row_liveness.h"
#include "arena/rows.h"
#include "arena/segments.h"

#define SMAPS_LINE 512u

uint64_t forebay_arena_size(const forebay_arena *arena)
{
    return arena->geometry.size;
}

const char *forebay_arena_path(const forebay_arena *arena)
{
    return arena->path;
}

int forebay_arena_fd(const forebay_arena *arena)
{
    return arena->fd;
}

uint64_t forebay_arena_max_entry(const forebay_arena *arena)
{
    return arena->max_entry;
}

uint32_t forebay_arena_rows(forebay_arena *arena, forebay_row_info *rows, uint32_t capacity)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < arena->geometry.row_count; i++) {
        const arena_row *row = &arena->rows[i];
        uint64_t word = atomic_load(&row->word);
        if ((word & 1) == 0)
            continue;
        if (used < capacity) {
            rows[used] = (forebay_row_info){
                .row = i,
                .generation = (uint32_t)(word >> 1),
                .pid = atomic_load(&row->pid),
                .alive = fb_row_may_live(arena, i),
            };
        }
        used++;
    }
    return used;
}

/* Does a line of this mapping's part of /proc/self/smaps count huge pages? */
static bool counts_huge_pages(const char *line)
{
    static const char *const names[] = { "ShmemPmdMapped:", "FilePmdMapped:" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t length = strlen(names[i]);
        if (strncmp(line, names[i], length) == 0)
            return strtoull(line + length, NULL, 10) != 0;
    }
    return false;
}

static bool has_huge_pages(const forebay_arena *arena)
{
    char line[SMAPS_LINE];
    bool ours = false, found = false, begins = true;
    uintptr_t first = (uintptr_t)arena->base, end = first + arena->geometry.size;
    FILE *smaps = fopen("/proc/self/smaps", "re");
    if (smaps == NULL)
        return false;
    while (!found && fgets(line, sizeof line, smaps) != NULL) {
        unsigned long long from, to;
        if (begins && sscanf(line, "%llx-%llx ", &from, &to) == 2)
            ours = from >= first && to <= end;
        else if (begins && ours)
            found = counts_huge_pages(line);
        begins = strchr(line, '\n') != NULL; /* a path may be longer than a line of ours */
    }
    fclose(smaps);
    return found;
}

static void count_segments(const forebay_arena *arena, forebay_arena_info *info)
{
    uint64_t units_max = arena->geometry.size / ARENA_ALIGN; /* a damaged file may say anything */
    for (uint32_t i = 0; i < arena->geometry.segment_count; i++) {
        const arena_segment *segment = &arena->segments[i];
        uint64_t units = atomic_load_explicit(&segment->tail, memory_order_relaxed);
        switch (fb_segment_state(atomic_load_explicit(&segment->word, memory_order_relaxed))) {
        case SEGMENT_FREE:
            info->segments_free++;
            break;
        case SEGMENT_INDEX:
            info->segments_index++;
            break;
        case SEGMENT_OPEN:
        case SEGMENT_WRITING:
        case SEGMENT_SEALED:
        case SEGMENT_EVICTING:
        case SEGMENT_RUN:
            info->entry_bytes += (units < units_max ? units : units_max) * ARENA_ALIGN;
            break;
        default:
            break;
        }
    }
}

static uint64_t index_buckets(const forebay_arena *arena)
{
    const arena_geometry *g = &arena->geometry;
    uint64_t buckets = atomic_load(&arena->super->index_word) >> 1;
    uint64_t most = (g->size - g->index_offset) / sizeof(arena_bucket);
    return buckets < most ? buckets : most;
}

static void count_index(const forebay_arena *arena, forebay_arena_info *info)
{
    for (uint64_t b = 0; b < info->index_buckets; b++) {
        for (uint32_t s = 0; s < BUCKET_SLOTS; s++)
            info->index_slots_used += atomic_load_explicit(&arena->buckets[b].slots[s], memory_order_relaxed) != 0;
    }
}

static void count_rows_and_caches(const forebay_arena *arena, forebay_arena_info *info)
{
    for (uint32_t i = 0; i < arena->geometry.row_count; i++)
        info->rows_used += (uint32_t)(atomic_load(&arena->rows[i].word) & 1);
    for (uint32_t i = 0; i < arena->geometry.cache_count; i++)
        info->caches_used += (atomic_load(&arena->caches[i].word) & 0xff) != 0;
}

uint32_t fb_leases_held(const forebay_arena *arena)
{
    uint32_t held = 0;
    for (uint32_t i = 0; i < arena->geometry.lease_count; i++)
        held += (atomic_load_explicit(&arena->lease_words[i], memory_order_relaxed) & 3) == LEASE_HELD;
    return held;
}

forebay_status forebay_arena_get_brief_info(forebay_arena *arena, forebay_arena_info *info)
{
    const arena_geometry *g = &arena->geometry;
    memset(info, 0, sizeof *info);
    forebay_status status = fb_arena_enter(arena);
    if (status != FOREBAY_OK)
        return status;
    info->size = g->size;
    info->format_version = ARENA_FORMAT_VERSION;
    info->segment_size = g->segment_size;
    info->segment_count = g->segment_count;
    info->row_count = g->row_count;
    info->cache_count = g->cache_count;
    info->limit_count = g->limit_count;
    info->leases = g->lease_count;
    info->leases_held = fb_leases_held(arena);
    info->index_buckets = index_buckets(arena);
    count_segments(arena, info);
    count_rows_and_caches(arena, info);
    info->metadata_bytes = g->data_offset + (uint64_t)info->segments_index * g->segment_size;
    info->now_ms = fb_now_ms(arena);
    fb_clock_look(arena, info->now_ms);
    info->replaced = atomic_load(&arena->replaced);
    info->on_disk = arena->checksums;
    memcpy(info->uuid, arena->super->uuid, sizeof info->uuid);
    return FOREBAY_OK;
}

forebay_status forebay_arena_get_info(forebay_arena *arena, forebay_arena_info *info)
{
    forebay_status status = forebay_arena_get_brief_info(arena, info);
    if (status != FOREBAY_OK)
        return status;
    count_index(arena, info);
    info->huge_pages = has_huge_pages(arena);
    return FOREBAY_OK;
}
