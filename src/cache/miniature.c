/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/miniature.h"

#include <string.h>

#define CHAIN_STEPS 32u  /* damaged chains may be circles */
#define EVICT_STEPS 64u  /* entries looked at for one request; then main's oldest go, whatever they are */
#define GIANT 16u         /* part of the whole */
#define KEY_SPREAD UINT64_C(0x9e3779b97f4a7c15)

static uint32_t ghost_bucket_count(uint32_t index, uint32_t room)
{
    /* a fifth more than the window: buckets fill unevenly */
    uint64_t ghosts = (uint64_t)room * fb_policy_constants(index)->ghost_window * 6 / (5 * CAPACITY_TICKS * 256);
    return (uint32_t)((ghosts + GHOST_BUCKET - 1) / GHOST_BUCKET);
}

static uint64_t cells_size(uint32_t room)
{
    return ((room + 1) * sizeof(miniature_cell) + 63) & ~UINT64_C(63);
}

uint64_t fb_miniature_size(uint32_t index, uint32_t room)
{
    return sizeof(miniature_state) + cells_size(room) + ghost_bucket_count(index, room) * sizeof(ghost_bucket);
}

miniature fb_miniature_at(uint8_t *base, uint32_t index, uint32_t room, uint32_t capacity, uint32_t ghosts)
{
    uint8_t *cells = base + sizeof(miniature_state);
    uint32_t buckets = ghost_bucket_count(index, capacity);
    uint32_t most = ghosts / GHOST_BUCKET + 1;
    return (miniature){
        .state = (miniature_state *)base,
        .cells = (miniature_cell *)cells,
        .constants = fb_policy_constants(index),
        .ghosts = { (ghost_bucket *)(cells + cells_size(room)), buckets < most ? buckets : most, 0 },
        .room = room,
        .capacity = capacity,
        .tick = (CAPACITY_TICKS << 24) / capacity,
    };
}

void fb_miniature_reset(miniature *mini)
{
    memset(mini->state, 0, sizeof *mini->state);
    memset(mini->cells, 0, (mini->room + 1) * sizeof *mini->cells);
}

static miniature_cell *cell_at(const miniature *mini, uint32_t number)
{
    return &mini->cells[number <= mini->room ? number : 0]; /* 0: nobody's */
}

static uint64_t ghost_hash(uint32_t key)
{
    return (key >> 8) * KEY_SPREAD;
}

static uint32_t units_of(uint32_t key)
{
    return fb_size_units(key & 127);
}

static uint16_t *chain_of(const miniature *mini, uint32_t key)
{
    return &mini->cells[1 + ((uint64_t)key * mini->room >> 32)].first;
}

static uint32_t find(const miniature *mini, uint32_t key)
{
    uint32_t number = *chain_of(mini, key);
    for (uint32_t i = 0; number != 0 && i < CHAIN_STEPS; i++) {
        const miniature_cell *cell = cell_at(mini, number);
        if (cell->key >> 8 == key >> 8)
            return number;
        number = cell->chain;
    }
    return 0;
}

static void unchain(const miniature *mini, uint32_t number)
{
    uint16_t *link = chain_of(mini, cell_at(mini, number)->key);
    for (uint32_t i = 0; *link != 0 && i < CHAIN_STEPS; i++) {
        if (*link == number) {
            *link = cell_at(mini, number)->chain;
            return;
        }
        link = &cell_at(mini, *link)->chain;
    }
}

static void push(const miniature *mini, enum queue queue, uint32_t number)
{
    miniature_state *state = mini->state;
    cell_at(mini, number)->next = 0;
    state->units[queue] += units_of(cell_at(mini, number)->key);
    if (state->count[queue]++ == 0)
        state->oldest[queue] = (uint16_t)number;
    else
        cell_at(mini, state->youngest[queue])->next = (uint16_t)number;
    state->youngest[queue] = (uint16_t)number;
}

static uint32_t pop(const miniature *mini, enum queue queue)
{
    miniature_state *state = mini->state;
    uint32_t number = state->oldest[queue];
    uint32_t units = units_of(cell_at(mini, number)->key);
    state->oldest[queue] = cell_at(mini, number)->next;
    state->count[queue]--;
    state->units[queue] -= state->count[queue] == 0 ? state->units[queue] : units;
    return number;
}

static uint32_t take_cell(const miniature *mini)
{
    miniature_state *state = mini->state;
    uint32_t number = state->unused;
    if (number != 0)
        state->unused = cell_at(mini, number)->next;
    else if (state->touched < mini->room)
        number = ++state->touched;
    return number;
}

static uint32_t score_now(const miniature *mini, uint32_t score, uint32_t epoch)
{
    return score >> ((mini->epoch - epoch) & 15);
}

static uint16_t word_of(const miniature *mini, enum queue queue, uint32_t frequency, uint32_t score)
{
    return (uint16_t)(frequency | (uint32_t)queue << 3 | score << 4 | (mini->epoch & 15) << 10);
}

static uint32_t segment_of(const miniature *mini)
{
    return mini->capacity / 128 + 1;
}

static uint64_t units_held(const miniature *mini)
{
    return mini->capacity * mini->average >> 8;
}

static bool is_full(const miniature *mini, uint32_t more)
{
    const miniature_state *state = mini->state;
    return state->count[0] + state->count[1] >= mini->room
           || (uint64_t)state->units[0] + state->units[1] + more > units_held(mini);
}

static score_threshold thresholds(const miniature *mini, uint32_t key)
{
    const miniature_state *state = mini->state;
    uint32_t threshold = fb_policy_drift(state->threshold, 0, 0);
    uint64_t raised = threshold + fb_policy_guard(state->fruitless, mini->capacity);
    uint32_t chance = (uint32_t)((key ^ state->clock) * KEY_SPREAD >> 48);
    uint64_t main = state->units[QUEUE_MAIN] + (segment_of(mini) * mini->average >> 8);
    return (score_threshold){ threshold / THRESHOLD_ONE, (uint32_t)((raised + chance) / THRESHOLD_ONE),
                              !fb_policy_main_over(mini->constants, main, units_held(mini)) };
}

static void watch_progress(const miniature *mini, enum queue queue, bool dropped)
{
    miniature_state *state = mini->state;
    if (dropped && ++state->dropped >= segment_of(mini))
        state->dropped = state->fruitless = 0;
    if (queue != QUEUE_MAIN)
        return;
    state->fruitless++;
    state->scanned++;
    state->scanned_dropped = (uint16_t)(state->scanned_dropped + dropped);
    if (state->scanned < segment_of(mini) + 3)
        return;
    state->threshold = fb_policy_drift(state->threshold, state->scanned, state->scanned_dropped);
    state->scanned = state->scanned_dropped = 0;
}

static void drop(miniature *mini, uint32_t number, enum ghost_origin origin, uint32_t score)
{
    miniature_state *state = mini->state;
    miniature_cell *cell = cell_at(mini, number);
    mini->ghosts.clock = (uint32_t)(state->clock >> 16);
    fb_ghost_put(mini->ghosts, ghost_hash(cell->key), origin, score, mini->epoch);
    state->clock += mini->tick;
    unchain(mini, number);
    cell->next = state->unused;
    state->unused = (uint16_t)number;
}

static void evict_one(miniature *mini, bool must)
{
    miniature_state *state = mini->state;
    bool main = state->count[QUEUE_PROBATION] == 0
                || (state->count[QUEUE_MAIN] > 0
                    && (must || fb_policy_main_over(mini->constants, state->units[QUEUE_MAIN], units_held(mini))));
    enum queue queue = main ? QUEUE_MAIN : QUEUE_PROBATION;
    uint32_t number = pop(mini, queue);
    miniature_cell *cell = cell_at(mini, number);
    uint32_t score = score_now(mini, cell->word >> 4 & SCORE_MAX, cell->word >> 10);
    score_threshold threshold = {0};
    if (mini->constants->kind == KIND_FREQUENCY)
        threshold = thresholds(mini, cell->key);
    policy_verdict verdict = fb_policy_judge(mini->constants, threshold, queue,
                                              fb_policy_weight(units_of(cell->key), mini->average), cell->word & 7, score);
    bool dropped = must || verdict.target == POLICY_DROP;
    watch_progress(mini, queue, dropped);
    if (dropped) {
        drop(mini, number, verdict.ghost, verdict.score);
        return;
    }
    queue = verdict.target == POLICY_TO_MAIN ? QUEUE_MAIN : QUEUE_PROBATION;
    cell->word = word_of(mini, queue, verdict.frequency, verdict.score);
    push(mini, queue, number);
}

static void insert(miniature *mini, uint32_t key)
{
    miniature_state *state = mini->state;
    mini->ghosts.clock = (uint32_t)(state->clock >> 16);
    ghost found = fb_ghost_take(mini->ghosts, ghost_hash(key));
    uint32_t score = found.origin == GHOST_NONE ? 0 : score_now(mini, found.score, found.epoch);
    enum queue queue = fb_policy_queue(mini->constants, found.origin, found.age);
    uint32_t number = take_cell(mini);
    if (number == 0) { /* cells were lost: it is damaged */
        fb_miniature_reset(mini);
        return;
    }
    miniature_cell *cell = cell_at(mini, number);
    uint16_t *chain = chain_of(mini, key);
    cell->key = key;
    cell->word = word_of(mini, queue, 0, score < SCORE_MAX ? score + 1 : SCORE_MAX);
    cell->chain = *chain;
    *chain = (uint16_t)number;
    push(mini, queue, number);
}

/* One sampled giant would stand for 1/R of them: it counts as no more than a part of the whole. */
static uint32_t key_of(const miniature *mini, uint64_t hash, uint32_t size_code)
{
    uint32_t most = fb_size_code((uint32_t)(units_held(mini) / GIANT));
    size_code &= 127;
    return (uint32_t)(hash * KEY_SPREAD >> 40) << 8 | (size_code < most ? size_code : most);
}

void fb_miniature_resize(miniature *mini, uint64_t hash, uint32_t size_code)
{
    uint32_t key = key_of(mini, hash, size_code), number = find(mini, key);
    if (number == 0)
        return;
    miniature_cell *cell = cell_at(mini, number);
    uint32_t *units = &mini->state->units[cell->word >> 3 & 1], old = units_of(cell->key);
    *units = (*units > old ? *units - old : 0) + units_of(key);
    cell->key = key;
}

bool fb_miniature_request(miniature *mini, uint64_t hash, uint32_t size_code)
{
    miniature_state *state = mini->state;
    if (state->count[0] > mini->room || state->count[1] > mini->room)
        fb_miniature_reset(mini);
    uint32_t key = key_of(mini, hash, size_code ? size_code : fb_size_code((uint32_t)(mini->average >> 8)));
    uint32_t number = find(mini, key);
    if (number != 0) {
        miniature_cell *cell = cell_at(mini, number);
        if ((cell->word & 7) < mini->constants->frequency_max)
            cell->word++;
        return true;
    }
    uint32_t units = units_of(key);
    for (uint32_t i = 0; i < 2 * EVICT_STEPS && state->count[0] + state->count[1] > 0 && is_full(mini, units); i++)
        evict_one(mini, i >= EVICT_STEPS);
    if (!is_full(mini, units))
        insert(mini, key);
    return false;
}
