/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/policy_constants.h"

#define TICKS(cachefuls) ((uint32_t)((cachefuls) * CAPACITY_TICKS * 256))

const policy_constants fb_policy_table[POLICY_COUNT] = {
    /*            kind            share  at  window       fmax  main ghosts */
    {"careful",   KIND_ORDINARY,  100,   2,  TICKS(0.9),  3,    true}, /* first: where an empty region starts */
    {"eager",     KIND_ORDINARY,  300,   1,  TICKS(0.9),  3,    false},
    {"clock",     KIND_CLOCK,     1000,  1,  0,           1,    false},
    {"one-hit",   KIND_ORDINARY,  100,   1,  TICKS(0.9),  1,    false},
    {"patient",   KIND_ORDINARY,  100,   2,  TICKS(3),    3,    true},
    {"recency",   KIND_ORDINARY,  600,   2,  TICKS(0.9),  3,    false},
    {"frequency", KIND_FREQUENCY, 20,    1,  TICKS(4),    7,    true},
};

static uint32_t score_add(uint32_t score, uint32_t more)
{
    return score + more < SCORE_MAX ? score + more : SCORE_MAX;
}

static policy_verdict judge_frequency(score_threshold threshold, enum queue queue, int weight, uint32_t frequency, uint32_t score)
{
    score = score_add(score, frequency);
    uint32_t worth = weight > 0 ? score >> weight : score << -weight;
    bool keep;
    if (queue == QUEUE_PROBATION)
        keep = threshold.main_has_room || worth > threshold.admit;
    else
        keep = worth > threshold.keep || (frequency > 0 && worth >= threshold.keep);
    return (policy_verdict){ keep ? POLICY_TO_MAIN : POLICY_DROP, 0, score,
                             queue == QUEUE_PROBATION ? GHOST_PROBATION : GHOST_MAIN };
}

static policy_verdict judge_clock(enum queue queue, uint32_t frequency, uint32_t score)
{
    enum ghost_origin ghost = queue == QUEUE_PROBATION ? GHOST_PROBATION : GHOST_HISTORY;
    if (frequency == 0)
        return (policy_verdict){ POLICY_DROP, 0, score, ghost };
    return (policy_verdict){ POLICY_TO_PROBATION, frequency - 1, score_add(score, 1), ghost };
}

int fb_policy_weight(uint32_t units, uint64_t average)
{
    uint64_t size = (uint64_t)units << 8;
    if (size * 2 <= average)
        return -1;
    return (size >= average * 2) + (size >= average * 4);
}

policy_verdict fb_policy_judge(const policy_constants *constants, score_threshold threshold,
                               enum queue queue, int weight, uint32_t frequency, uint32_t score)
{
    if (constants->kind == KIND_FREQUENCY)
        return judge_frequency(threshold, queue, weight, frequency, score);
    if (constants->kind == KIND_CLOCK)
        return judge_clock(queue, frequency, score);
    if (queue == QUEUE_PROBATION) {
        int needed = (int)constants->promote_at + weight;
        bool keep = frequency > 0 && (needed > (int)constants->frequency_max ? frequency == constants->frequency_max
                                                                             : (int)frequency >= needed);
        return (policy_verdict){ keep ? POLICY_TO_MAIN : POLICY_DROP, 0, score_add(score, frequency), GHOST_PROBATION };
    }
    if (frequency > 0)
        return (policy_verdict){ POLICY_TO_MAIN, frequency - 1, score_add(score, 1), GHOST_NONE };
    return (policy_verdict){ POLICY_DROP, 0, score, constants->main_ghosts ? GHOST_MAIN : GHOST_HISTORY };
}

enum queue fb_policy_queue(const policy_constants *constants, enum ghost_origin origin, uint32_t age)
{
    bool comes_back = (origin == GHOST_PROBATION || origin == GHOST_MAIN) && age < constants->ghost_window;
    return constants->kind == KIND_ORDINARY && comes_back ? QUEUE_MAIN : QUEUE_PROBATION;
}

bool fb_policy_main_over(const policy_constants *constants, uint64_t main, uint64_t available)
{
    return main * 1000 > (1000 - constants->probation_share) * (available ? available - 1 : 0);
}

uint32_t fb_policy_drift(uint32_t threshold, uint32_t entries, uint32_t dropped)
{
    const uint32_t most = 40 * THRESHOLD_ONE;
    uint32_t step = THRESHOLD_ONE / 2 * (entries < 64 ? entries : 64) / 64;
    if (threshold > most)
        threshold = most; /* shared memory: anything */
    if ((uint64_t)dropped * 4 < entries)
        threshold += step;
    else if ((uint64_t)dropped * 2 > entries)
        threshold -= threshold < step ? threshold : step;
    if (threshold < THRESHOLD_ONE)
        return THRESHOLD_ONE;
    return threshold < most ? threshold : most;
}

uint64_t fb_policy_guard(uint64_t fruitless, uint64_t capacity)
{
    if (capacity == 0 || fruitless <= capacity / 8)
        return 0;
    return (fruitless - capacity / 8) * 64 * THRESHOLD_ONE / capacity;
}
