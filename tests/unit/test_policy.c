/* SPDX-License-Identifier: Apache-2.0 */
/* policy.c, policy_constants.c, ghosts.c, miniature.c, selector.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "arena/rows.h"
#include "base/hash.h"
#include "cache/ghosts.h"
#include "cache/miniature.h"
#include "cache/policy.h"
#include "cache/policy_constants.h"
#include "cache/policy_region.h"

enum { CAREFUL, EAGER, CLOCK, ONE_HIT, PATIENT, RECENCY, FREQUENCY };

#define SEGMENTS 256u
#define CACHEFUL 1000u /* entries of the arenas made here */

static forebay_arena *arena;

static int make_arena(void **state)
{
    (void)state;
    forebay_arena_options options = { .size = 1 << 20 };
    return forebay_arena_open(NULL, &options, &arena, NULL) == FOREBAY_OK ? 0 : -1;
}

static int end_arena(void **state)
{
    (void)state;
    forebay_arena_close(arena);
    return 0;
}

static policy_region *region(void)
{
    return fb_policy_region(arena);
}

static uint64_t hash_of(uint64_t key)
{
    return fb_hash(&key, sizeof key, 1);
}

static uint32_t entry_units(void)
{
    return SEGMENTS * (arena->geometry.segment_size / ARENA_ALIGN) / CACHEFUL;
}

/* A segment of probation is gone through, `dropped` of its entries dropped. */
static void pass_segment(enum queue queue, uint32_t entries, uint32_t dropped)
{
    fb_policy_segment_done(arena, queue, entries, dropped);
}

/* Tell the policy that about CACHEFUL entries fit. */
static void fill_arena(void)
{
    policy_history history;
    for (uint64_t key = 0; key < 200; key++)
        (void)fb_policy_admit(arena, hash_of(key), entry_units(), &history);
    (void)fb_policy_choose(arena, SEGMENTS - 40, 30, SEGMENTS);
    pass_segment(QUEUE_PROBATION, 4, 0);
}

static void use_policy(uint32_t index)
{
    atomic_store(&region()->active, index);
}

static policy_decision evict(enum queue queue, uint64_t key, uint32_t frequency, policy_history history)
{
    return fb_policy_evict(arena, queue, hash_of(key), entry_units(), frequency, history);
}

static enum queue admit(uint64_t key, policy_history *history)
{
    return fb_policy_admit(arena, hash_of(key), entry_units(), history);
}

/* ------------------------------------------------------------- constants */

static void an_empty_region_starts_with_the_careful_policy(void **state)
{
    (void)state;
    assert_int_equal(fb_policy_frequency_max(arena), 3);
    assert_string_equal(fb_policy_constants(atomic_load(&region()->active))->name, "careful");
}

static void probation_gives_to_main_what_was_hit_often_enough(void **state)
{
    (void)state;
    fill_arena();
    const struct { uint32_t policy, below, at; } rows[] = {
        {CAREFUL, 1, 2}, {EAGER, 0, 1}, {ONE_HIT, 0, 1}, {PATIENT, 1, 2}, {RECENCY, 1, 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        use_policy(rows[i].policy);
        assert_int_equal(evict(QUEUE_PROBATION, i, rows[i].below, 0).target, POLICY_DROP);
        policy_decision kept = evict(QUEUE_PROBATION, i, rows[i].at, 0);
        assert_int_equal(kept.target, POLICY_TO_MAIN);
        assert_int_equal(kept.frequency, 0);
    }
}

static void twice_the_size_takes_one_hit_more_to_get_to_main(void **state)
{
    (void)state;
    fill_arena();
    use_policy(CAREFUL);
    const struct { uint32_t units, hits; } rows[] = {
        {entry_units() / 3, 1}, {entry_units(), 2}, {entry_units() * 5 / 2, 3}, {entry_units() * 100, 3},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(fb_policy_evict(arena, QUEUE_PROBATION, 7, rows[i].units, rows[i].hits - 1, 0).target, POLICY_DROP);
        assert_int_equal(fb_policy_evict(arena, QUEUE_PROBATION, 7, rows[i].units, rows[i].hits, 0).target, POLICY_TO_MAIN);
    }
}

static void main_keeps_what_was_hit_and_takes_one_off(void **state)
{
    (void)state;
    use_policy(CAREFUL);
    policy_decision kept = evict(QUEUE_MAIN, 1, 3, 0);
    assert_int_equal(kept.target, POLICY_TO_MAIN);
    assert_int_equal(kept.frequency, 2);
    assert_int_equal(evict(QUEUE_MAIN, 1, 0, 0).target, POLICY_DROP);
}

static void the_clock_sends_all_survivors_to_probation(void **state)
{
    (void)state;
    use_policy(CLOCK);
    assert_int_equal(evict(QUEUE_PROBATION, 1, 1, 0).target, POLICY_TO_PROBATION);
    assert_int_equal(evict(QUEUE_MAIN, 1, 1, 0).target, POLICY_TO_PROBATION);
    assert_int_equal(evict(QUEUE_MAIN, 1, 0, 0).target, POLICY_DROP);
}

static void main_is_chosen_when_over_its_share_and_an_empty_queue_never(void **state)
{
    (void)state;
    for (uint32_t policy = 0; policy < POLICY_COUNT; policy++) {
        use_policy(policy);
        assert_int_equal(fb_policy_choose(arena, 0, 10, SEGMENTS), QUEUE_MAIN);
        assert_int_equal(fb_policy_choose(arena, 10, 0, SEGMENTS), QUEUE_PROBATION);
    }
    use_policy(CAREFUL);
    assert_int_equal(fb_policy_choose(arena, 27, 229, SEGMENTS), QUEUE_PROBATION); /* 0.9 * 255 = 229.5 */
    assert_int_equal(fb_policy_choose(arena, 26, 230, SEGMENTS), QUEUE_MAIN);
}

static void a_drain_goes_through_main_once(void **state)
{
    (void)state;
    fill_arena();
    atomic_store(&region()->drain, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fb_policy_choose(arena, 100, 20, SEGMENTS), QUEUE_MAIN);
        pass_segment(QUEUE_MAIN, 4, 4);
    }
    assert_int_equal(fb_policy_choose(arena, 100, 20, SEGMENTS), QUEUE_PROBATION);
}

/* ---------------------------------------------------------------- ghosts */

static void a_key_dropped_a_moment_ago_comes_back_to_main(void **state)
{
    (void)state;
    fill_arena();
    policy_history history;
    assert_int_equal(admit(5000, &history), QUEUE_PROBATION);
    assert_int_equal(evict(QUEUE_PROBATION, 5000, 1, history).target, POLICY_DROP);
    assert_int_equal(admit(5000, &history), QUEUE_MAIN);
    assert_int_equal(history & SCORE_MAX, 3); /* came, was hit, came again */
    assert_int_equal(admit(5000, &history), QUEUE_PROBATION); /* the ghost is used up */
}

static void a_key_dropped_longer_ago_than_the_window_comes_back_to_probation(void **state)
{
    (void)state;
    fill_arena();
    policy_history history;
    for (uint32_t ago = 800; ago <= 1000; ago += 200) {
        (void)evict(QUEUE_PROBATION, 5000 + ago, 0, 1);
        pass_segment(QUEUE_PROBATION, ago, ago);
        assert_int_equal(admit(5000 + ago, &history), ago < 900 ? QUEUE_MAIN : QUEUE_PROBATION);
        assert_int_equal(history & SCORE_MAX, 2); /* remembered all the same */
    }
}

static void what_main_drops_is_history_only_under_most_policies(void **state)
{
    (void)state;
    fill_arena();
    policy_history history;
    for (uint32_t policy = 0; policy < POLICY_COUNT; policy++) {
        use_policy(policy);
        (void)evict(QUEUE_MAIN, 7000 + policy, 0, 0);
        bool back = policy == CAREFUL || policy == PATIENT;
        assert_int_equal(admit(7000 + policy, &history), back ? QUEUE_MAIN : QUEUE_PROBATION);
    }
}

static void a_full_bucket_forgets_its_oldest_ghost(void **state)
{
    (void)state;
    ghost_bucket bucket = {0};
    ghost_table table = { &bucket, 1, 0 };
    for (uint32_t i = 0; i <= GHOST_BUCKET; i++) {
        table.clock = i << 8;
        fb_ghost_put(table, 100 + i, GHOST_PROBATION, i, 0);
    }
    assert_int_equal(fb_ghost_take(table, 100).origin, GHOST_NONE);
    for (uint32_t i = 1; i <= GHOST_BUCKET; i++)
        assert_int_equal(fb_ghost_take(table, 100 + i).score, i);
}

static void a_key_dropped_twice_has_one_ghost(void **state)
{
    (void)state;
    ghost_bucket bucket = {0};
    ghost_table table = { &bucket, 1, 256 };
    fb_ghost_put(table, 9, GHOST_PROBATION, 1, 0);
    fb_ghost_put(table, 9, GHOST_MAIN, 2, 0);
    assert_int_equal(fb_ghost_take(table, 9).origin, GHOST_MAIN);
    assert_int_equal(fb_ghost_take(table, 9).origin, GHOST_NONE);
}

static void a_key_never_dropped_hardly_ever_finds_a_ghost(void **state)
{
    (void)state;
    fill_arena();
    for (uint64_t key = 10000; key < 20000; key++)
        (void)evict(QUEUE_PROBATION, key, 0, 0);
    uint32_t found = 0;
    policy_history history;
    for (uint64_t key = 20000; key < 30000; key++) {
        (void)admit(key, &history);
        found += (history & SCORE_MAX) > 1 || admit(key, &history) == QUEUE_MAIN;
    }
    assert_in_range(found, 0, 50); /* 16 of 8192 in a bucket: 20 expected */
}

static uint64_t miniatures_end(uint64_t region_size)
{
    uint64_t end = sizeof(policy_region);
    for (uint32_t i = 0; i < POLICY_COUNT; i++)
        end += fb_miniature_size(i, fb_policy_miniature_room(region_size));
    return end;
}

static void the_parts_of_a_region_of_any_size_do_not_overlap(void **state)
{
    (void)state;
    for (uint64_t size = 64; size < 64 << 20; size += size / 7 + 64) {
        assert_true(fb_policy_ghosts_offset(size) <= size / 2);
        if (fb_policy_miniature_room(size) > 0)
            assert_true(miniatures_end(size) <= fb_policy_ghosts_offset(size));
    }
    assert_in_range(fb_policy_miniature_room(28 << 10), 64, MINIATURE_MAX); /* the smallest arena's */
}

static void size_codes_are_within_an_eighth(void **state)
{
    (void)state;
    for (uint32_t units = 0; units < 245760; units++) {
        uint32_t code = fb_size_code(units);
        assert_in_range(code, 0, 127);
        assert_in_range(fb_size_units(code), units - units / 8, units);
    }
    assert_int_equal(fb_size_units(fb_size_code(UINT32_MAX)), 245760);
}

/* ------------------------------------------------------------- frequency */

static void scores_halve_with_each_epoch(void **state)
{
    (void)state;
    use_policy(CAREFUL);
    atomic_store(&region()->epoch, 17);
    policy_history history = 40 | (15 & 15) << 6; /* two epochs ago */
    assert_int_equal(evict(QUEUE_MAIN, 1, 1, history).history & SCORE_MAX, 11);
}

static void the_frequency_policy_keeps_the_higher_score(void **state)
{
    (void)state;
    fill_arena();
    use_policy(FREQUENCY);
    (void)fb_policy_choose(arena, 4, 252, SEGMENTS); /* main has its share */
    atomic_store(&region()->threshold, 5 * THRESHOLD_ONE);
    assert_int_equal(evict(QUEUE_PROBATION, 1, 1, 4).target, POLICY_DROP);
    assert_int_equal(evict(QUEUE_PROBATION, 1, 2, 4).target, POLICY_TO_MAIN);
    assert_int_equal(evict(QUEUE_MAIN, 1, 0, 4).target, POLICY_DROP);
    assert_int_equal(evict(QUEUE_MAIN, 1, 0, 7).target, POLICY_TO_MAIN);
    (void)fb_policy_choose(arena, 100, 100, SEGMENTS);
    assert_int_equal(evict(QUEUE_PROBATION, 1, 0, 1).target, POLICY_TO_MAIN); /* room for anything */
}

static void the_threshold_drifts_to_where_a_quarter_to_a_half_is_dropped(void **state)
{
    (void)state;
    assert_int_equal(fb_policy_drift(0, 64, 32), THRESHOLD_ONE);
    assert_int_equal(fb_policy_drift(4 * THRESHOLD_ONE, 64, 15), 4.5 * THRESHOLD_ONE);
    assert_int_equal(fb_policy_drift(4 * THRESHOLD_ONE, 64, 20), 4 * THRESHOLD_ONE);
    assert_int_equal(fb_policy_drift(4 * THRESHOLD_ONE, 1000, 600), 3.5 * THRESHOLD_ONE);
    assert_int_equal(fb_policy_drift(UINT32_MAX, 64, 0), 40 * THRESHOLD_ONE);
}

static void eviction_makes_progress_though_all_scores_are_at_the_top(void **state)
{
    (void)state;
    fill_arena();
    use_policy(FREQUENCY);
    uint32_t seen = 0, dropped = 0;
    while (dropped == 0 && seen < 10 * CACHEFUL) {
        (void)fb_policy_choose(arena, 4, 252, SEGMENTS);
        for (uint32_t i = 0; i < 4; i++, seen++)
            dropped += evict(QUEUE_MAIN, seen, 7, SCORE_MAX).target == POLICY_DROP;
        pass_segment(QUEUE_MAIN, 4, dropped);
    }
    assert_in_range(seen, 1, 2 * CACHEFUL);
}

/* -------------------------------------------------------------- selector */

static void request(uint64_t key, bool hit)
{
    if (fb_policy_sampled(arena, hash_of(key)))
        fb_policy_record(arena, hash_of(key), entry_units(), hit);
}

/* Misses, until `policy` is in use, or until it is not any more. */
static uint32_t requests_until(uint32_t policy, bool used, uint64_t (*key_at)(uint32_t), uint32_t most)
{
    for (uint32_t i = 0; i < most; i++) {
        request(key_at(i), false);
        if (i % 8 == 0)
            pass_segment(QUEUE_PROBATION, 4, 4);
        if ((atomic_load(&region()->active) == policy) == used)
            return i;
    }
    return most;
}

static uint64_t loop_key(uint32_t i)
{
    return i % (CACHEFUL * 3 / 2);
}

/* Each key is asked for a few times within a short while, then never again. */
static uint64_t drifting_key(uint32_t i)
{
    return i / 3 + hash_of(i) % (CACHEFUL / 2);
}

static void a_loop_larger_than_the_cache_makes_it_trust_frequency(void **state)
{
    (void)state;
    fill_arena();
    assert_in_range(requests_until(FREQUENCY, true, loop_key, 40 * CACHEFUL), 1, 40 * CACHEFUL - 1);
}

static void a_drifting_working_set_makes_it_trust_frequency_no_longer(void **state)
{
    (void)state;
    fill_arena();
    use_policy(FREQUENCY);
    assert_in_range(requests_until(FREQUENCY, false, drifting_key, 20 * CACHEFUL), 1, 20 * CACHEFUL - 1);
}

static void nothing_is_sampled_while_nothing_is_evicted(void **state)
{
    (void)state;
    assert_false(fb_policy_sampled(arena, 0)); /* before the first eviction */
    fill_arena();
    assert_true(fb_policy_sampled(arena, 0));
    for (uint32_t i = 0; i < 40 * CACHEFUL; i++)
        request(i % 100, true);
    assert_false(fb_policy_sampled(arena, 0));
    pass_segment(QUEUE_PROBATION, 4, 4);
    assert_true(fb_policy_sampled(arena, 0));
}

static void sampled_keys_are_the_share_that_a_miniature_can_hold(void **state)
{
    (void)state;
    fill_arena();
    uint32_t sampled = 0, room = fb_policy_miniature_room(arena->geometry.policy_size);
    for (uint64_t key = 0; key < 100 * CACHEFUL; key++)
        sampled += fb_policy_sampled(arena, hash_of(key));
    assert_in_range(sampled, 100 * room * 7 / 10, 100 * room * 8 / 10); /* a quarter to spare */
}

static void a_ring_holds_what_fits_and_the_rest_is_lost_while_another_has_the_claim(void **state)
{
    (void)state;
    fill_arena();
    forebay_arena *other;
    assert_int_equal(forebay_arena_open_fd(forebay_arena_fd(arena), NULL, &other, NULL), FOREBAY_OK);
    atomic_store(&region()->claim, fb_row_owner(other) << 1 | 1); /* stopped right there */
    arena_row *row = &arena->rows[atomic_load(&arena->row)];
    for (uint64_t i = 0; i < 10 * ROW_SAMPLES; i++)
        fb_policy_record(arena, hash_of(i), 1, false);
    assert_int_equal(atomic_load(&row->samples_written), ROW_SAMPLES);
    assert_int_equal(atomic_load(&row->samples_read), 0);
    assert_int_equal(atomic_load(&region()->claim), fb_row_owner(other) << 1 | 1);
    forebay_arena_close(other); /* its row is given up: the claim is nobody's */
    fb_policy_run(arena);
    assert_int_equal(atomic_load(&row->samples_read), ROW_SAMPLES);
    assert_int_equal(atomic_load(&region()->claim), 0);
}

/* ---------------------------------------------------------------- damage */

static void call_everything(uint64_t seed)
{
    policy_history history;
    for (uint64_t i = 0; i < 100; i++) {
        uint64_t hash = hash_of(seed + i);
        enum queue queue = hash & 1 ? QUEUE_MAIN : QUEUE_PROBATION;
        assert_in_range(fb_policy_frequency_max(arena), 1, 7);
        assert_in_range(fb_policy_admit(arena, hash, (uint32_t)hash, &history), QUEUE_PROBATION, QUEUE_MAIN);
        assert_in_range(history, 0, 1023);
        policy_decision decision = fb_policy_evict(arena, queue, hash, (uint32_t)(hash >> 9), hash >> 5 & 7, (uint32_t)(hash >> 20 & 1023));
        assert_in_range(decision.target, POLICY_DROP, POLICY_TO_MAIN);
        assert_in_range(decision.frequency, 0, 7);
        assert_in_range(decision.history, 0, 1023);
        (void)fb_policy_choose(arena, (uint32_t)(hash >> 8 & 255), (uint32_t)(hash >> 16 & 255), SEGMENTS);
        fb_policy_segment_done(arena, queue, (uint32_t)(hash >> 40), (uint32_t)(hash >> 33));
        fb_policy_record(arena, hash, (uint32_t)hash, hash >> 3 & 1);
    }
    fb_policy_run(arena);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void any_bytes_in_the_region_are_survived(void **state)
{
    (void)state;
    double longest = 0;
    for (uint64_t round = 0; round < 400; round++) {
        uint64_t *words = (uint64_t *)arena->policy;
        for (uint64_t i = 0; i < arena->geometry.policy_size / 8; i++) {
            uint64_t noise = hash_of(round << 32 | i);
            if (round % 3 == 0)
                words[i] = noise;
            else if (noise % 64 < round % 50)
                words[i] ^= round % 3 == 1 ? UINT64_C(1) << (noise >> 58) : noise & (noise >> 32);
        }
        if (round % 2)
            atomic_store(&region()->claim, 0);
        double start = seconds();
        call_everything(round << 20);
        longest = seconds() - start > longest ? seconds() - start : longest;
    }
    assert_true(longest < 0.05); /* 400 calls: bounded work whatever the bytes */
}

static void a_damaged_miniature_holds_entries_again_later(void **state)
{
    (void)state;
    fill_arena();
    uint32_t room = fb_policy_miniature_room(arena->geometry.policy_size);
    for (uint64_t i = sizeof(policy_region) / 8; i < fb_policy_ghosts_offset(arena->geometry.policy_size) / 8; i++)
        ((uint64_t *)arena->policy)[i] = hash_of(i);
    assert_in_range(requests_until(FREQUENCY, true, loop_key, 200 * CACHEFUL), 1, 200 * CACHEFUL - 1);
    const uint8_t *base = arena->policy + sizeof(policy_region);
    for (uint32_t i = 0; i < POLICY_COUNT; i++) {
        const miniature_state *mini = (const miniature_state *)base;
        assert_in_range(mini->count[0] + mini->count[1], room / 2, room);
        base += fb_miniature_size(i, room);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_arena, end_arena)

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(an_empty_region_starts_with_the_careful_policy),
        CASE(probation_gives_to_main_what_was_hit_often_enough),
        CASE(main_keeps_what_was_hit_and_takes_one_off),
        CASE(the_clock_sends_all_survivors_to_probation),
        CASE(main_is_chosen_when_over_its_share_and_an_empty_queue_never),
        CASE(a_drain_goes_through_main_once),
        CASE(a_key_dropped_a_moment_ago_comes_back_to_main),
        CASE(a_key_dropped_longer_ago_than_the_window_comes_back_to_probation),
        CASE(what_main_drops_is_history_only_under_most_policies),
        CASE(a_full_bucket_forgets_its_oldest_ghost),
        CASE(a_key_dropped_twice_has_one_ghost),
        CASE(a_key_never_dropped_hardly_ever_finds_a_ghost),
        CASE(the_parts_of_a_region_of_any_size_do_not_overlap),
        CASE(size_codes_are_within_an_eighth),
        CASE(twice_the_size_takes_one_hit_more_to_get_to_main),
        CASE(scores_halve_with_each_epoch),
        CASE(the_frequency_policy_keeps_the_higher_score),
        CASE(the_threshold_drifts_to_where_a_quarter_to_a_half_is_dropped),
        CASE(eviction_makes_progress_though_all_scores_are_at_the_top),
        CASE(a_loop_larger_than_the_cache_makes_it_trust_frequency),
        CASE(a_drifting_working_set_makes_it_trust_frequency_no_longer),
        CASE(nothing_is_sampled_while_nothing_is_evicted),
        CASE(sampled_keys_are_the_share_that_a_miniature_can_hold),
        CASE(a_ring_holds_what_fits_and_the_rest_is_lost_while_another_has_the_claim),
        CASE(any_bytes_in_the_region_are_survived),
        CASE(a_damaged_miniature_holds_entries_again_later),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
