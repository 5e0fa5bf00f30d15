/* SPDX-License-Identifier: Apache-2.0 */
#include "top_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

double fb_rates_gets(const top_rates *rates)
{
    return rates->hits + rates->misses;
}

double fb_rates_hit_ratio(const top_rates *rates)
{
    double gets = fb_rates_gets(rates);
    return gets > 0 ? rates->hits / gets : NAN;
}

double fb_rates_operations(const top_rates *rates)
{
    return fb_rates_gets(rates) + rates->sets + rates->deletes;
}

/* A counter that went back is that of a cache made anew: it began at 0. */
static double rate(uint64_t now, uint64_t before, double seconds)
{
    return (double)(now >= before ? now - before : now) / seconds;
}

static top_rates rates_between(const forebay_cache_stats *now, const forebay_cache_stats *before,
                               double seconds)
{
    return (top_rates){
        .hits = rate(now->hits, before->hits, seconds),
        .misses = rate(now->misses, before->misses, seconds),
        .sets = rate(now->sets, before->sets, seconds),
        .deletes = rate(now->deletes, before->deletes, seconds),
        .evictions = rate(now->evictions, before->evictions, seconds),
        .expirations = rate(now->expirations, before->expirations, seconds),
    };
}

static void add_rates(top_rates *total, const top_rates *rates)
{
    total->hits += rates->hits;
    total->misses += rates->misses;
    total->sets += rates->sets;
    total->deletes += rates->deletes;
    total->evictions += rates->evictions;
    total->expirations += rates->expirations;
}

static const top_rates unknown = { NAN, NAN, NAN, NAN, NAN, NAN };

static top_room room_of(const top_look *look, const char *name)
{
    for (uint32_t i = 0; i < look->room_count; i++) {
        const forebay_cache_room *room = &look->rooms[i];
        if (strcmp(room->name, name) == 0)
            return (top_room){
                .raw = (double)room->raw_bytes / look->part,
                .packed = (double)room->packed_bytes / look->part,
                .unpacked = (double)room->unpacked_bytes / look->part,
            };
    }
    return (top_room){ 0 };
}

static const top_cache *find_cache(const top_model *model, const char *name)
{
    for (uint32_t i = 0; i < model->cache_count; i++)
        if (strcmp(model->caches[i].info.name, name) == 0)
            return &model->caches[i];
    return NULL;
}

/* A cache that was not there at the look before is new: it began at 0. */
static top_cache follow_cache(const top_model *model, const top_look *look, const forebay_cache_info *info)
{
    static const forebay_cache_stats nothing;
    const top_cache *before = find_cache(model, info->name);
    top_cache cache = before != NULL ? *before : (top_cache){ 0 };
    cache.rates = unknown;
    if (!isnan(model->seconds)) {
        cache.rates =
            rates_between(&info->stats, before != NULL ? &before->info.stats : &nothing, model->seconds);
        fb_history_add(&cache.gets, fb_rates_gets(&cache.rates));
        fb_history_add(&cache.hit_ratio, fb_rates_hit_ratio(&cache.rates));
    }
    cache.info = *info;
    cache.room = room_of(look, info->name);
    return cache;
}

static bool follow_caches(top_model *model, const top_look *look)
{
    const arena_facts *facts = &look->facts;
    top_cache *caches = calloc(facts->cache_count + 1, sizeof(*caches));
    if (caches == NULL)
        return false;
    for (uint32_t i = 0; i < facts->cache_count; i++)
        caches[i] = follow_cache(model, look, &facts->caches[i]);
    free(model->caches);
    model->caches = caches;
    model->cache_count = facts->cache_count;
    return true;
}

static const forebay_tier_info *find_tier(const tiers_facts *tiers, const char *name)
{
    for (uint32_t i = 0; i < tiers->count; i++)
        if (strcmp(tiers->tiers[i].info.name, name) == 0)
            return &tiers->tiers[i].info;
    return NULL;
}

/* As of caches: one that was not there at the look before began at 0. */
static void follow_tiers(top_model *model, const top_look *look)
{
    static const forebay_tier_info nothing;
    const tiers_facts *tiers = &look->facts.tiers;
    for (uint32_t i = 0; i < tiers->count; i++) {
        const forebay_tier_info *now = &tiers->tiers[i].info, *before = find_tier(&model->look.facts.tiers, now->name);
        if (before == NULL)
            before = &nothing;
        model->tiers[i] = isnan(model->seconds) ? (top_tier_rates){ NAN, NAN } : (top_tier_rates){
            .hits = rate(now->counts[FOREBAY_TIER_HITS], before->counts[FOREBAY_TIER_HITS], model->seconds),
            .misses = rate(now->counts[FOREBAY_TIER_MISSES], before->counts[FOREBAY_TIER_MISSES], model->seconds),
        };
    }
}

static void add_total(top_model *model)
{
    model->total = isnan(model->seconds) ? unknown : (top_rates){ 0 };
    for (uint32_t i = 0; i < model->cache_count; i++)
        add_rates(&model->total, &model->caches[i].rates);
    if (isnan(model->seconds))
        return;
    fb_history_add(&model->operations, fb_rates_operations(&model->total));
    fb_history_add(&model->hit_ratio, fb_rates_hit_ratio(&model->total));
}

static void add_memory(top_model *model)
{
    const forebay_arena_info *info = &model->look.facts.info;
    top_memory memory = { .tables = (double)info->metadata_bytes };
    for (uint32_t i = 0; i < model->cache_count; i++) {
        memory.raw += model->caches[i].room.raw;
        memory.packed += model->caches[i].room.packed;
        memory.unpacked += model->caches[i].room.unpacked;
    }
    /* The sample may say a little more than there is. */
    memory.old = fmax((double)info->entry_bytes - memory.raw - memory.packed, 0);
    memory.free = fmax((double)info->size - memory.tables - memory.raw - memory.packed - memory.old, 0);
    model->memory = memory;
}

/* Of this pid, or a new one; there is room for it. */
static top_process *process_of(top_model *model, int32_t pid)
{
    for (uint32_t i = 0; i < model->process_count; i++)
        if (model->processes[i].pid == pid)
            return &model->processes[i];
    top_process *process = &model->processes[model->process_count++];
    *process = (top_process){ .pid = pid, .is_self = pid == getpid() };
    return process;
}

static void add_rows(top_model *model, const arena_facts *facts)
{
    for (uint32_t i = 0; i < facts->row_count; i++) {
        top_process *process = process_of(model, facts->rows[i].pid);
        process->rows += facts->rows[i].alive;
        process->dead_rows += !facts->rows[i].alive;
    }
}

/* Those who hold, wait or listen have rows, but may have given them up a moment ago. */
static size_t processes_most(const arena_facts *facts)
{
    size_t most = facts->row_count + facts->channels.count * FB_LISTENERS_MAX;
    for (uint32_t i = 0; i < facts->limits.count; i++)
        most += facts->limits.limits[i].share_count;
    for (uint32_t i = 0; i < facts->tiers.count; i++)
        most += facts->tiers.tiers[i].user_count;
    return most;
}

static void add_permits(top_model *model, const limit_facts *limit)
{
    for (uint32_t i = 0; i < limit->share_count; i++) {
        top_process *process = process_of(model, limit->shares[i].pid);
        process->held += limit->shares[i].held;
        process->waiting += limit->shares[i].waiting;
    }
}

static void add_tier_users(top_model *model, const tier_facts *tier)
{
    int32_t counted = -1;
    for (uint32_t i = 0; i < tier->user_count; i++) { /* by pid: one may have several handles of the arena */
        if ((tier->users[i].use & FOREBAY_TIER_LEFT_OUT) == 0 || tier->users[i].pid == counted)
            continue;
        counted = tier->users[i].pid;
        process_of(model, counted)->tiers_left_out++;
    }
}

static int compare_pids(const void *a, const void *b)
{
    int32_t left = ((const top_process *)a)->pid, right = ((const top_process *)b)->pid;
    return (left > right) - (left < right);
}

static bool add_processes(top_model *model)
{
    const arena_facts *facts = &model->look.facts;
    free(model->processes);
    model->process_count = 0;
    model->processes = calloc(processes_most(facts) + 1, sizeof(*model->processes));
    if (model->processes == NULL)
        return false;
    add_rows(model, facts);
    for (uint32_t i = 0; i < facts->limits.count; i++)
        add_permits(model, &facts->limits.limits[i]);
    for (uint32_t i = 0; i < facts->channels.count; i++)
        for (size_t k = 0; k < FB_LISTENERS_MAX; k++)
            if (facts->channels.channels[i].pids[k] != 0)
                process_of(model, facts->channels.channels[i].pids[k])->listens = true;
    for (uint32_t i = 0; i < facts->tiers.count; i++)
        add_tier_users(model, &facts->tiers.tiers[i]);
    qsort(model->processes, model->process_count, sizeof(*model->processes), compare_pids);
    return true;
}

bool fb_model_add(top_model *model, const top_look *look, bool continues)
{
    double seconds = look->seconds - model->look.seconds;
    bool is_first = model->caches == NULL;
    model->seconds = continues && !is_first && seconds > 0 ? seconds : NAN;
    bool followed = follow_caches(model, look);
    follow_tiers(model, look);
    fb_look_free(&model->look);
    model->look = *look;
    if (!followed || !add_processes(model))
        return false;
    add_total(model);
    add_memory(model);
    return true;
}

void fb_model_free(top_model *model)
{
    fb_look_free(&model->look);
    free(model->caches);
    free(model->processes);
    *model = (top_model){ 0 };
}
