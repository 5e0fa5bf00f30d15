/* SPDX-License-Identifier: Apache-2.0 */
/* The public headers from C++: a value goes in and comes out through a sink. */
#include <cstdio>
#include <string>

#include <forebay/forebay.h>

static void *room(void *context, size_t, size_t length, forebay_kind)
{
    auto *text = static_cast<std::string *>(context);
    text->resize(length);
    return text->data();
}

static bool round_trip(forebay_cache *cache)
{
    const std::string key = "city", value = "Zürich";
    if (forebay_set(cache, key.data(), key.size(), value.data(), value.size(), FOREBAY_KIND_BYTES,
                    FOREBAY_TTL_DEFAULT, FOREBAY_ADD) != FOREBAY_OK)
        return false;
    std::string found;
    const forebay_sink sink = { room, &found };
    if (forebay_get(cache, key.data(), key.size(), &sink) != FOREBAY_OK)
        return false;
    return found == value && forebay_delete(cache, key.data(), key.size()) == FOREBAY_OK;
}

int main()
{
    forebay_arena_options options = {};
    options.size = FOREBAY_ARENA_MIN_SIZE;
    forebay_arena *arena = nullptr;
    forebay_error error;
    if (forebay_arena_open(nullptr, &options, &arena, &error) != FOREBAY_OK) {
        std::fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    forebay_cache *cache = nullptr;
    bool good = forebay_cache_open(arena, "places", nullptr, &cache, nullptr) == FOREBAY_OK && round_trip(cache);
    forebay_cache_close(cache);
    forebay_arena_close(arena);
    return good ? 0 : 1;
}
