/* SPDX-License-Identifier: Apache-2.0 */
/* When a dictionary may go: docs/internals/concurrency.md, "Dictionaries".  One slot of the
 * dictionary region, a segment for each writer and one that entries move to.
 *
 * A writer knows an id, of now or of before, and appends an entry that needs it.
 * A mover takes the first writer's entry to another segment.  Reclaimers free the
 * slot unless it is needed; publishers use it again.  Nobody has an entry whose
 * dictionary is gone.  BAD_* are mutants that spin must find wrong. */
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef RECLAIMERS
#define RECLAIMERS 2
#endif
#ifndef PUBLISHERS
#define PUBLISHERS 1
#endif
#define SEGMENTS (WRITERS + 1)
#define TARGET WRITERS

#define FREE 0
#define WRITING 1
#define READY 2
#define RETIRING 3
#define STATE(w) ((w) % 4)
#ifdef BAD_NO_COUNT
#define NEXT(w, s) (s)
#else
#define NEXT(w, s) (((w) / 4 + 1) * 4 + (s))
#endif

byte word = READY;
byte id = 1;       /* of what lies in the slot */
byte given = 1;
byte current;      /* that new entries are packed with; 0: none */
bit bits[SEGMENTS], in_use[SEGMENTS];
byte needs[SEGMENTS]; /* id that a segment's entry needs; 0: no entry */

inline swap_word(from, to, done)
{
    atomic {
        if
        :: word == from -> word = to; done = 1
        :: else -> done = 0
        fi
    }
}

/* May an entry that needs `i` be appended to segment s?  Sets `ok`. */
inline note_use(s, i, w, seen, ok)
{
#ifdef BAD_ID_BEFORE_STATE
    bits[s] = 1;
    seen = id;
#endif
#ifndef BAD_ID_BEFORE_STATE
#ifndef BAD_BIT_AFTER_STATE
    bits[s] = 1;
#endif
#endif
    w = word;
    do
    :: STATE(w) == RETIRING ->
        swap_word(w, NEXT(w, READY), ok);
        if
        :: ok -> w = READY
        :: else -> w = word
        fi
    :: else -> break
    od;
#ifdef BAD_BIT_AFTER_STATE
    bits[s] = 1;
#endif
#ifndef BAD_ID_BEFORE_STATE
    seen = id;
#endif
    ok = (STATE(w) == READY && seen == i)
}

proctype writer(byte s)
{
    byte i, w, seen;
    bit ok;
    if
    :: i = 1
    :: i = current
    fi;
    in_use[s] = 1;
    if
    :: i != 0 ->
        note_use(s, i, w, seen, ok);
        if
        :: ok -> atomic { needs[s] = i; assert(id == i && STATE(word) >= READY) }
        :: else
        fi
    :: else
    fi
}

proctype mover()
{
    byte i, w, seen;
    bit ok;
    i = needs[0];
    if
    :: i != 0 ->
        in_use[TARGET] = 1;
#ifndef BAD_MOVE_WITHOUT_BIT
        note_use(TARGET, i, w, seen, ok);
#else
        ok = 1;
#endif
        if
        :: ok -> atomic { needs[TARGET] = i; assert(id == i && STATE(word) >= READY) }
        :: else
        fi;
        needs[0] = 0;
        in_use[0] = 0
    :: else
    fi
}

proctype reclaimer()
{
    byte w, k;
    bit done, needed;
    w = word;
    if
    :: STATE(w) == READY && current != id ->
        swap_word(w, NEXT(w, RETIRING), done);
        if
        :: done ->
            w = NEXT(w, RETIRING);
            k = 0;
            do
            :: k < SEGMENTS -> needed = needed | (in_use[k] && bits[k]); k++
            :: else -> break
            od;
            needed = needed | (current == id);
            if
            :: needed -> swap_word(w, NEXT(w, READY), done)
            :: else -> swap_word(w, NEXT(w, FREE), done)
            fi
        :: else
        fi
    :: else
    fi
}

proctype publisher()
{
    byte w, k;
    bit done;
    w = word;
    if
    :: STATE(w) == FREE ->
        swap_word(w, NEXT(w, WRITING), done);
        if
        :: done ->
            w = NEXT(w, WRITING);
            atomic {
                k = 0;
                do
                :: k < SEGMENTS -> assert(needs[k] == 0 || needs[k] != id); k++
                :: else -> break
                od;
                id = 0
            };
            atomic { given++; id = given };
            swap_word(w, NEXT(w, READY), done);
            current = given
        :: else
        fi
    :: else
    fi
}

init
{
    byte k;
    atomic {
        k = 0;
        do
        :: k < WRITERS -> run writer(k); k++
        :: else -> break
        od;
        run mover();
        k = 0;
        do
        :: k < RECLAIMERS -> run reclaimer(); k++
        :: else -> break
        od;
        k = 0;
        do
        :: k < PUBLISHERS -> run publisher(); k++
        :: else -> break
        od
    }
}
