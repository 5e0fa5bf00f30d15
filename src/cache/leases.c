/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/leases.h"

#include "arena/arena_clock.h"

#define LEASE_NONE UINT32_MAX
/* Races lost before a taker goes without. */
#define TAKE_TRIES 64
/* Of these, those in which the lower of two tentative leases goes first; then the
 * other is aborted: its owner may be stopped. */
#define PATIENT_TRIES 8

/* A word: state, row, then these. */
#define GENERATION_SHIFT 14
#define GENERATION_MASK ((UINT64_C(1) << 12) - 1)
#define LIFE_SHIFT 26
#define LIFE_MASK ((UINT64_C(1) << 14) - 1)
#define PRINT_SHIFT 40

static enum lease_state state_of(uint64_t word) { return (enum lease_state)(word & 3); }
static uint64_t print_of(uint64_t word) { return word >> PRINT_SHIFT; }
static uint64_t print_of_hash(uint64_t hash) { return hash >> PRINT_SHIFT; }
static uint64_t with_state(uint64_t word, enum lease_state state) { return (word & ~UINT64_C(3)) | state; }

/* CLAIMED; of no life yet. */
static uint64_t word_of_mine(const forebay_arena *arena, uint64_t hash)
{
    row_owner self = fb_row_owner(arena);
    return LEASE_CLAIMED | (self & 0xfff) << 2 | (self >> 12 & GENERATION_MASK) << GENERATION_SHIFT
           | print_of_hash(hash) << PRINT_SHIFT;
}

static bool same_owner(uint64_t word, row_owner owner)
{
    return (word >> 2 & 0xfff) == (owner & 0xfff)
           && (word >> GENERATION_SHIFT & GENERATION_MASK) == (owner >> 12 & GENERATION_MASK);
}

/* Its row is another's by now, or the process ended. */
static bool owner_is_dead(forebay_arena *arena, uint64_t word)
{
    return fb_row_left(arena, (uint32_t)(word >> 2 & 0xfff), word >> GENERATION_SHIFT, GENERATION_MASK);
}

/* The slots where a key's lease may be. */
typedef struct candidates {
    uint32_t first[2];
    uint32_t buckets;
} candidates;

static candidates candidates_of(const forebay_arena *arena, uint64_t hash)
{
    uint32_t mask = arena->geometry.lease_count - LEASE_BUCKET; /* a power of two, less one bucket's */
    candidates c = {{(uint32_t)(hash << 3) & mask, (uint32_t)(hash >> 13) & mask}, 2};
    c.buckets = c.first[0] == c.first[1] ? 1 : 2;
    return c;
}

static uint32_t slot_at(const candidates *c, uint32_t i)
{
    return c->first[i / LEASE_BUCKET] + i % LEASE_BUCKET;
}
#define FOR_CANDIDATES(i, c) for (uint32_t i = 0; i < (c)->buckets * LEASE_BUCKET; i++)

/* A word in use becomes free. */
static bool clear_word(forebay_arena *arena, uint32_t slot, uint64_t word)
{
    if (!atomic_compare_exchange_strong(&arena->lease_words[slot], &word, 0))
        return false;
    atomic_fetch_sub(&arena->super->leases, 1);
    return true;
}

bool fb_lease_there(const forebay_arena *arena, const lease_ref *ref)
{
    if (ref->slot >= arena->geometry.lease_count || state_of(ref->word) != LEASE_HELD)
        return false;
    /* the token never comes back: if it is the same before and after, it was when the word was looked at */
    const arena_lease *record = &arena->leases[ref->slot];
    return atomic_load(&record->token) == ref->token && atomic_load(&arena->lease_words[ref->slot]) == ref->word
           && atomic_load(&record->token) == ref->token;
}

bool fb_lease_is_ours(const forebay_arena *arena, const lease_ref *ref)
{
    return same_owner(ref->word, fb_row_owner(arena));
}

bool fb_lease_remove(forebay_arena *arena, const lease_ref *ref)
{
    if (!fb_lease_there(arena, ref) || !clear_word(arena, ref->slot, ref->word))
        return false;
    fb_lease_wake(arena, ref->slot);
    return true;
}

bool fb_lease_settle(forebay_arena *arena, const lease_ref *ref)
{
    if (!fb_lease_there(arena, ref))
        return true;
    bool overdue = atomic_load_explicit(&arena->leases[ref->slot].deadline, memory_order_relaxed) <= fb_now_ms(arena);
    if (!overdue && !owner_is_dead(arena, ref->word))
        return false;
    (void)fb_lease_remove(arena, ref);
    return true;
}

bool fb_lease_find(const forebay_arena *arena, uint64_t hash, lease_ref *ref)
{
    candidates c = candidates_of(arena, hash);
    FOR_CANDIDATES(i, &c) {
        uint32_t slot = slot_at(&c, i);
        uint64_t word = atomic_load(&arena->lease_words[slot]);
        if (state_of(word) != LEASE_HELD || print_of(word) != print_of_hash(hash))
            continue;
        *ref = (lease_ref){.token = atomic_load(&arena->leases[slot].token), .word = word, .slot = slot};
        if (fb_lease_there(arena, ref))
            return true;
    }
    return false;
}

bool fb_lease_break(forebay_arena *arena, uint64_t hash)
{
    lease_ref ref;
    bool any = false;
    while (fb_lease_find(arena, hash, &ref))
        any |= fb_lease_remove(arena, &ref);
    return any;
}

/* What the dead left, and leases that are overdue, in these buckets. */
static void sweep(forebay_arena *arena, const candidates *c)
{
    FOR_CANDIDATES(i, c) {
        uint32_t slot = slot_at(c, i);
        uint64_t word = atomic_load(&arena->lease_words[slot]);
        lease_ref ref = {.token = atomic_load(&arena->leases[slot].token), .word = word, .slot = slot};
        if (state_of(word) == LEASE_HELD)
            (void)fb_lease_settle(arena, &ref);
        else if (word != 0 && owner_is_dead(arena, word))
            (void)clear_word(arena, slot, word);
    }
}

/* Make a free word ours (CLAIMED). */
static uint32_t claim_free(forebay_arena *arena, const candidates *c, uint64_t claimed)
{
    FOR_CANDIDATES(i, c) {
        uint32_t slot = slot_at(c, i);
        uint64_t free = 0;
        if (atomic_load(&arena->lease_words[slot]) == 0
            && atomic_compare_exchange_strong(&arena->lease_words[slot], &free, claimed))
            return slot;
    }
    return LEASE_NONE;
}

static uint32_t claim(forebay_arena *arena, const candidates *c, uint64_t claimed)
{
    atomic_fetch_add(&arena->super->leases, 1); /* first: while one is held, writers look */
    uint32_t slot = claim_free(arena, c, claimed);
    if (slot == LEASE_NONE) {
        sweep(arena, c);
        slot = claim_free(arena, c, claimed);
    }
    if (slot == LEASE_NONE)
        atomic_fetch_sub(&arena->super->leases, 1);
    return slot;
}

/* Does nobody else have the key, or is about to?  Others that are tentative too
 * are aborted, or go first. */
static bool is_alone(forebay_arena *arena, const candidates *c, uint32_t mine, uint64_t print, bool patient)
{
    FOR_CANDIDATES(i, c) {
        uint32_t slot = slot_at(c, i);
        uint64_t word = atomic_load(&arena->lease_words[slot]);
        while (slot != mine && print_of(word) == print && state_of(word) >= LEASE_TENTATIVE) {
            if (state_of(word) == LEASE_HELD || (patient && slot < mine))
                return false;
            if (clear_word(arena, slot, word))
                break;
            word = atomic_load(&arena->lease_words[slot]);
        }
    }
    return true;
}

/* Write the record of a word that is CLAIMED; the word, TENTATIVE, of a new life:
 * two threads of one process that want one key would have the same one else, and
 * who was aborted could go on with the word of who came after him. */
static uint64_t begin_life(arena_lease *record, uint64_t claimed, uint64_t token, uint64_t deadline)
{
    uint32_t life = atomic_load_explicit(&record->life, memory_order_relaxed) + 1;
    atomic_store_explicit(&record->life, life, memory_order_relaxed);
    atomic_store(&record->token, token);
    atomic_store_explicit(&record->deadline, deadline, memory_order_relaxed);
    return with_state(claimed, LEASE_TENTATIVE) | (life & LIFE_MASK) << LIFE_SHIFT;
}

/* From CLAIMED to HELD; false: somebody else has it, or will. */
static bool become_holder(forebay_arena *arena, const candidates *c, uint64_t claimed, uint64_t deadline, bool patient,
                          lease_ref *ref)
{
    _Atomic uint64_t *word = &arena->lease_words[ref->slot];
    ref->token = atomic_fetch_add(&arena->super->lease_tokens, 1) + 1;
    uint64_t tentative = begin_life(&arena->leases[ref->slot], claimed, ref->token, deadline);
    ref->word = with_state(tentative, LEASE_HELD);
    atomic_compare_exchange_strong(word, &claimed, tentative); /* fails in a damaged file only */
    if (!is_alone(arena, c, ref->slot, print_of(tentative), patient)) {
        (void)clear_word(arena, ref->slot, tentative);
        return false;
    }
    return atomic_compare_exchange_strong(word, &tentative, ref->word);
}

lease_outcome fb_lease_take(forebay_arena *arena, uint64_t hash, uint64_t deadline, lease_ref *ref)
{
    candidates c = candidates_of(arena, hash);
    uint64_t claimed = word_of_mine(arena, hash);
    for (int t = 0; t < TAKE_TRIES; t++) {
        if (fb_lease_find(arena, hash, ref)) {
            if (!fb_lease_settle(arena, ref))
                return LEASE_OTHERS;
            continue;
        }
        ref->slot = claim(arena, &c, claimed);
        if (ref->slot == LEASE_NONE)
            return LEASE_NO_ROOM;
        if (become_holder(arena, &c, claimed, deadline, t < PATIENT_TRIES, ref))
            return LEASE_TAKEN;
    }
    return LEASE_NO_ROOM;
}

const char *fb_leases_inspect(const forebay_arena *arena)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < arena->geometry.lease_count; i++) {
        uint64_t word = atomic_load(&arena->lease_words[i]), token = atomic_load(&arena->leases[i].token);
        used += word != 0;
        if (word != 0 && (state_of(word) == LEASE_FREE || (word >> 2 & 0xfff) >= arena->geometry.row_count))
            return "a lease has no state, or an owner that there cannot be";
        if (state_of(word) == LEASE_HELD && (token == 0 || token > atomic_load(&arena->super->lease_tokens)))
            return "a lease has a token that was never given out";
    }
    return used > atomic_load(&arena->super->leases) ? "more leases are in use than are counted" : NULL;
}

void fb_leases_clear(forebay_arena *arena)
{
    for (uint32_t i = 0; i < arena->geometry.lease_count; i++)
        atomic_store(&arena->lease_words[i], 0);
    /* the page that counts tokens may be older than those that have them */
    for (uint32_t i = 0; i < arena->geometry.lease_note_count; i++)
        atomic_store(&arena->lease_notes[i].token, 0);
    atomic_store(&arena->super->leases, 0);
}
