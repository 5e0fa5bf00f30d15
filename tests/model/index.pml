/* SPDX-License-Identifier: Apache-2.0 */
/* The index protocol of docs/internals/concurrency.md: one key, every operation, a split.
 *
 * Slots of bucket s, then of bucket n, then of the key's other bucket o.  Before
 * the split the key's candidates are s and o, after it n and o.  With -DSTAYS
 * both hashes lead to s before the split, to s and n after it, so that nothing
 * moves but tentative words may appear on both sides.  A location is
 * never given out twice here: that is what holding segments is for, and
 * hold.pml checks it.  But one inserter that is aborted tries again with the
 * same word.  A process that stops for ever, at any point, is an interleaving.
 *
 * -D switches: WORKERS, OPS (operations of each), S_SLOTS, O_SLOTS, SPLIT,
 * STAYS, KINDS (mask of operations), and the mutants, BAD_*, which spin must
 * find wrong. */
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef OPS
#define OPS 1
#endif
#ifndef S_SLOTS
#define S_SLOTS 1
#endif
#ifndef O_SLOTS
#define O_SLOTS 1
#endif
#ifndef SPLIT
#define SPLIT 0
#endif
#ifndef TRIES
#define TRIES 2
#endif
#ifndef KINDS
#define KINDS 15
#endif
#define DO_SET 1
#define DO_DELETE 2
#define DO_GET 4
#define DO_EVICT 8
#ifdef STAYS
#define MOVES 0
#else
#define MOVES 1
#endif

#define SLOTS (2 * S_SLOTS + O_SLOTS)
/* the j-th candidate slot under `view` (0: before the split, 2: after it) */
#ifdef STAYS
#define CANDIDATES(view) (view == 0 -> S_SLOTS : 2 * S_SLOTS)
#define CANDIDATE(view, j) (j)
#else
#define CANDIDATES(view) (S_SLOTS + O_SLOTS)
#define CANDIDATE(view, j) (j < S_SLOTS -> (view == 2 -> j + S_SLOTS : j) : j + S_SLOTS)
#endif

/* a word: value (1..7), copies made of it by evictors (bit 3), tentative (bit 6) */
#define TENTATIVE 64
#define UNUSED 64
#define VALUE(w) (w & 7)
#define COPIED(w) (w & 8)
#define IS_TENTATIVE(w) (w >= 64)
#define IS_COMMITTED(w) (w != 0 && w < 64)
#define BIT(v) (1 << (v))

byte slots[SLOTS];
byte index_word; /* 0: (n, 0)   1: (n, 1)   2: (n + 1, 0) */

/* what the checks remember */
byte completed;  /* values whose set() returned */
byte stale;      /* values that a get() which begins now must not return */
byte dead;       /* values that were replaced, deleted or dropped */
short freed;     /* committed words whose segment was freed */

inline check_slots()
{
    q = 0;
    committed = 0;
    do
    :: q < SLOTS ->
        if
        :: IS_COMMITTED(slots[q]) ->
            committed++;
            assert(!(freed & (1 << slots[q])));        /* nothing in the index points into a free segment */
            assert(!(dead & BIT(VALUE(slots[q]))))     /* no resurrection */
        :: else
        fi;
        q++
    :: else -> break
    od;
    assert(committed <= 1); /* at most one committed slot for a key */
    q = 0;
    committed = 0
}

/* compare-and-swap of a slot; `won` says whether */
inline swap(p_at, p_old, p_new)
{
    d_step {
        if
        :: slots[p_at] == p_old ->
            was = p_old;
            slots[p_at] = p_new;
            if
            :: IS_COMMITTED(was) && VALUE(was) != VALUE(slots[p_at]) -> dead = dead | BIT(VALUE(was))
            :: else
            fi;
            was = 0;
            won = 1;
            check_slots()
        :: else -> won = 0
        fi
    }
}

proctype worker(byte id)
{
    byte kind, view, j, at, other, w, tries, mine, ops;
    byte snapshot, was, q, committed;
    byte a, b, i; /* of the splitter */
    byte target;
    bit won, again, finishing;

next:
    atomic {
        kind = 0; view = 0; j = 0; at = 0; other = 0; w = 0; tries = 0; mine = 0; snapshot = 0; a = 0; b = 0; i = 0;
        target = 0; won = 0; again = 0; finishing = 0;
        if
        :: ops >= OPS -> goto finished
        :: else -> ops++
        fi;
        if
        :: KINDS & DO_SET -> kind = DO_SET; mine = 2 + id * OPS + ops - 1; snapshot = completed
        :: KINDS & DO_DELETE -> kind = DO_DELETE; snapshot = completed
        :: KINDS & DO_GET -> kind = DO_GET; snapshot = stale
        :: KINDS & DO_EVICT -> kind = DO_EVICT;
            /* an evictor owns a segment, so nobody is publishing what is in it */
            do
            :: j < SLOTS ->
                if
                :: IS_COMMITTED(slots[j]) && (completed & BIT(VALUE(slots[j]))) -> target = slots[j]
                :: else
                fi;
                j++
            :: else -> break
            od;
            j = 0;
            if
            :: target == 0 -> goto next
            :: else
            fi
        fi
    }

begin:
    atomic {
        view = index_word;
        other = 0; j = 0; w = 0; at = 0; won = 0
    }
    if
    :: view == 1 -> goto help
    :: else
    fi;
    if
    :: kind == DO_SET -> goto set_find
    :: kind == DO_DELETE -> goto delete
    :: kind == DO_GET -> goto get
    :: kind == DO_EVICT -> goto evict
    fi;

/* ---- set ---- */
set_find:
    do
    :: atomic { j < CANDIDATES(view) -> at = CANDIDATE(view, j); w = slots[at];
        if
        :: IS_COMMITTED(w) -> goto set_replace
        :: else -> j++
        fi }
    :: else -> break
    od;
    /* any empty slot */
    atomic {
        j = 0; w = 0;
        if
        :: slots[CANDIDATE(view, 0)] == 0 -> at = CANDIDATE(view, 0)
        :: CANDIDATES(view) > 1 && slots[CANDIDATE(view, (CANDIDATES(view) > 1 -> 1 : 0))] == 0 ->
            at = CANDIDATE(view, 1)
        :: CANDIDATES(view) > 2 && slots[CANDIDATE(view, (CANDIDATES(view) > 2 -> 2 : 0))] == 0 ->
            at = CANDIDATE(view, 2)
        :: CANDIDATES(view) > 3 && slots[CANDIDATE(view, (CANDIDATES(view) > 3 -> 3 : 0))] == 0 ->
            at = CANDIDATE(view, 3)
        :: else -> goto set_full
        fi;
        slots[at] = mine + TENTATIVE
    };
#ifndef BAD_NO_RESCAN
    do
    :: atomic { j < CANDIDATES(view) && CANDIDATE(view, j) == at -> j++ }
    :: atomic { j < CANDIDATES(view) && CANDIDATE(view, j) != at -> other = CANDIDATE(view, j); w = slots[other];
        if
        :: w == 0 || w == UNUSED -> j++
        :: IS_COMMITTED(w) -> goto set_take_back
        :: else
        fi };
        if
        :: IS_TENTATIVE(w) && w != UNUSED ->
            /* abort it; if it changed meanwhile it may have been committed: look again */
            swap(other, w, 0);
            atomic {
#ifdef BAD_ABORT_UNCHECKED
                j++;
#else
                if
                :: won -> j++
                :: else
                fi;
#endif
                w = 0; won = 0; other = 0
            }
        :: else
        fi
    :: else -> break
    od;
#endif
#ifndef BAD_INSERT_SKIPS_INDEX_WORD
    if
    :: atomic { index_word != view -> j = 0; w = 0; goto set_take_back }
    :: atomic { index_word == view -> j = 0; w = 0 }
    fi;
#endif
#ifdef BAD_COMMIT_BLIND
    d_step { slots[at] = mine; won = 1; check_slots() };
#else
    swap(at, mine + TENTATIVE, mine);
#endif
    if
    :: won -> goto set_done
    :: else -> goto set_aborted
    fi;
set_take_back:
    swap(at, mine + TENTATIVE, 0);
    goto set_again;
set_replace:
    swap(at, w, mine);
    if
    :: won -> goto set_done
    :: else -> goto begin /* somebody else's progress: no bound */
    fi;
set_aborted:
    atomic {
        tries++;
        if
        :: tries >= TRIES -> goto set_done_evicted
        :: else -> goto begin
        fi
    }
set_again:
    goto begin;
set_full:
    /* no room: drop any one of the candidates, tentative or not, and begin again */
    atomic {
        if
        :: at = CANDIDATE(view, 0)
        :: CANDIDATES(view) > 1 -> at = CANDIDATE(view, 1)
        :: CANDIDATES(view) > 2 -> at = CANDIDATE(view, 2)
        :: CANDIDATES(view) > 3 -> at = CANDIDATE(view, 3)
        fi;
        w = slots[at]
    };
    if
    :: w != 0 && w != UNUSED -> swap(at, w, 0)
    :: else
    fi;
    goto set_aborted;
set_done:
    atomic { completed = completed | BIT(mine); stale = stale | snapshot; goto next };
set_done_evicted:
    atomic { stale = stale | snapshot; goto next };

/* ---- delete ---- */
delete:
    do
    :: atomic { j < CANDIDATES(view) -> at = CANDIDATE(view, j); w = slots[at];
        if
        :: w == 0 || w == UNUSED -> j++; w = 0
        :: else
        fi };
        if
        :: w != 0 ->
            swap(at, w, 0);
            atomic { w = 0;
#ifdef BAD_DELETE_GIVES_UP
                j++
#else
                if
                :: won -> j++
                :: else
                fi
#endif
            }
        :: else
        fi
    :: else -> break
    od;
#ifndef BAD_DELETE_SKIPS_INDEX_WORD
    if
    :: index_word != view -> goto begin
    :: index_word == view
    fi;
#endif
    atomic { stale = stale | snapshot; goto next };

/* ---- get ---- */
get:
    do
    :: atomic { j < CANDIDATES(view) -> at = CANDIDATE(view, j); w = slots[at];
        if
        :: IS_COMMITTED(w) -> goto get_found
        :: else -> j++
        fi }
    :: else -> goto next /* a miss */
    od;
get_found:
    atomic {
        if
        :: slots[at] == w -> assert(!(snapshot & BIT(VALUE(w)))) /* not one that a finished call had removed */
        :: else /* a miss, after a bounded number of tries */
        fi;
        goto next
    };

/* ---- evict: move or drop the entry `target` ---- */
evict:
    do
    :: atomic { j < CANDIDATES(view) -> at = CANDIDATE(view, j); w = slots[at];
        if
        :: w == target -> goto evict_found
        :: else -> j++
        fi }
    :: else -> break
    od;
    atomic {
#ifndef BAD_EVICT_SKIPS_INDEX_WORD
        if
        :: index_word != view -> goto begin
        :: else
        fi;
#endif
        freed = freed | (1 << target)
    };
    d_step { check_slots() };
    goto next;
evict_found:
    if
    :: !COPIED(w) -> swap(at, w, w + 8)
    :: swap(at, w, 0)
    fi;
    goto begin; /* lost: look again; won: find it gone */

/* ---- help to split ---- */
help:
    atomic { i = 0; again = 0; finishing = 0 };
help_next:
    if
    :: atomic { i >= S_SLOTS && again -> i = 0; again = 0; goto help_next }
    :: atomic { i >= S_SLOTS && !again && !finishing -> i = 0; goto help_unused }
    :: atomic { i >= S_SLOTS && !again && finishing -> i = 0; goto help_finish }
    :: i < S_SLOTS
    fi;
help_slot:
    a = slots[i];
    b = slots[i + S_SLOTS];
#ifndef BAD_SPLIT_READS_ONCE
    if
    :: slots[i] != a -> goto help_slot
    :: slots[i] == a
    fi;
#endif
#ifndef BAD_SPLIT_TRUSTS_OLD_WORD
    /* tentative words on both sides mean a move only while the split is under way */
    if
    :: index_word != 1 -> goto help_finish
    :: index_word == 1
    fi;
#endif
    if
    :: IS_COMMITTED(a) && MOVES ->
        if
#ifdef BAD_N_STARTS_EMPTY
        :: b == 0 -> swap(i + S_SLOTS, 0, a + TENTATIVE)
        :: IS_COMMITTED(b) -> swap(i, a, 0)
#else
        :: b == UNUSED -> swap(i + S_SLOTS, UNUSED, a + TENTATIVE)
        :: b == 0 || IS_COMMITTED(b) -> swap(i, a, 0)
#endif
        :: b == a + TENTATIVE ->
#ifdef BAD_SPLIT_COMMITS_FIRST
            swap(i + S_SLOTS, b, a)
#else
            swap(i, a, a + TENTATIVE)
#endif
        :: IS_TENTATIVE(b) && b != UNUSED && b != a + TENTATIVE -> swap(i + S_SLOTS, b, a + TENTATIVE)
        fi;
        atomic { again = 1; goto help_slot }
    :: IS_TENTATIVE(a) && a != UNUSED ->
        if
        :: b == a -> swap(i + S_SLOTS, b, a - TENTATIVE)
        :: b != a -> swap(i, a, 0)
        fi;
        atomic { again = 1; goto help_slot }
    :: (a == 0 || (IS_COMMITTED(a) && !MOVES)) && IS_TENTATIVE(b) && b != UNUSED ->
        swap(i + S_SLOTS, b, 0);
        atomic { again = 1; goto help_slot }
    :: else -> atomic { i++; a = 0; b = 0; goto help_next }
    fi;
help_unused:
#ifndef BAD_N_STARTS_EMPTY
    do
    :: i < S_SLOTS -> swap(i + S_SLOTS, UNUSED, 0); i++
    :: else -> break
    od;
#endif
    atomic { i = 0; finishing = 1; goto help_next };
help_finish:
    atomic {
        if
        :: index_word == 1 -> index_word = 2
        :: else
        fi;
        a = 0; b = 0; i = 0; again = 0; finishing = 0;
        if
        :: kind == 0 -> goto finished
        :: else -> goto begin
        fi
    };
finished:
    skip
}

#ifdef CHAOS
/* anyone may abort a tentative slot at any time */
proctype chaos()
{
    byte k;
    byte left = CHAOS;
    do
    :: atomic { left > 0 -> k = 0 };
       if
       :: k = 0
       :: SLOTS > 1 -> k = 1
       :: SLOTS > 2 -> k = 2
       :: SLOTS > 3 -> k = 3
       fi;
       atomic {
           if
           :: IS_TENTATIVE(slots[k]) && slots[k] != UNUSED -> slots[k] = 0; left--
           :: else
           fi;
           k = 0
       }
    :: left == 0 -> break
    od
}
#endif

#if SPLIT
/* begins the split, and may be the first to help */
proctype splitter()
{
    index_word == 0 -> index_word = 1
}
#endif

init {
    atomic {
        byte k = 0;
        do
        :: k < S_SLOTS ->
#ifndef BAD_N_STARTS_EMPTY
#if SPLIT
            slots[k + S_SLOTS] = UNUSED;
#endif
#endif
            k++
        :: else -> break
        od;
        /* value 1 is there, in s or in the other bucket, or it is not */
        if
        :: slots[0] = 1; completed = BIT(1)
#if O_SLOTS > 0
        :: slots[2 * S_SLOTS] = 1; completed = BIT(1)
#endif
        :: completed = 0
        fi;
        k = 0;
        do
        :: k < WORKERS -> run worker(k); k++
        :: else -> break
        od;
#if SPLIT
        run splitter();
#endif
#ifdef CHAOS
        run chaos()
#endif
        skip
    }
}
