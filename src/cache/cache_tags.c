/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/cache_state.h"
#include "cache/tags.h"

forebay_status forebay_invalidate_tag(forebay_cache *cache, const void *tag, size_t tag_length)
{
    forebay_arena *arena = cache->arena;
    index_key unused;
    forebay_status status = fb_cache_begin(cache, tag, tag_length, &unused);
    if (status == FOREBAY_OK)
        fb_tag_invalidate(arena, fb_tag_number(arena, cache->number, cache->life, tag, tag_length));
    return status;
}

uint64_t forebay_tag_mark(const forebay_cache *cache, const void *tag, size_t tag_length)
{
    return fb_tag_now(cache->arena, fb_tag_number(cache->arena, cache->number, cache->life, tag, tag_length));
}
