/* SPDX-License-Identifier: Apache-2.0 */
/* Limits: docs/internals/concurrency.md, "Limits".  One record with WORDS permits.
 *
 * Without -DWAITING: TAKERS threads take and give back up to TAKES times, the last OF_ONE
 * of them of one process.  -DKILLER kills the first one's process at any instruction;
 * -DLOWERED lowers the number of permits to LOWERED; -DDROPPER, a thread of the
 * last process, drops the limit, and makes another of its record.  Never do more
 * hold a permit than there are (or were, when the last looked); what was taken is there until it is
 * given back; no limit is dropped of which somebody has one, or gives what is another's.
 *
 * With -DWAITING: WAITERS in a queue, holders who give back; nobody sleeps while a permit
 * that is his turn's is free (no looks in between here: a lost wake-up is an end state).
 * BAD_* are mutants that spin must find wrong. */
#ifndef WORDS
#define WORDS 2
#endif

#ifndef WAITING
#ifndef TAKERS
#define TAKERS 2
#endif
#ifndef OF_ONE
#define OF_ONE 1
#endif
#define PROCESS_OF(id) (id > TAKERS - OF_ONE -> TAKERS - OF_ONE : id)
#ifndef TAKES
#define TAKES 2
#endif
#ifndef MOST
#define MOST WORDS
#endif

#define HELD(owner, serial) (1 + (owner) + 8 * (serial))
#define IS_HELD(w) ((w) != 0)
#define OWNER(w) (((w) - 1) % 8)
#define IS_LEFT(w) (dead && OWNER(w) == 0)

byte words[WORDS];
byte most = MOST;
byte life = 1;
bit live = 1;
bit dead;           /* process 0 */
byte serials;       /* given out */
byte holding, holding_of_first; /* permits that their takers were told of */

inline next_word()
{
#ifdef BAD_NO_SERIAL
    mine = HELD(owner, 0)
#else
    d_step { serials++; mine = HELD(owner, serials % 31) }
#endif
}

inline swap_word(p_at, p_old, p_new)
{
    d_step {
        if
        :: words[p_at] == p_old -> words[p_at] = p_new; won = 1
        :: else -> won = 0
        fi
    }
}

/* The number of permits and a free one: m, at (or WORDS), and how many are left. */
inline look()
{
    m = most; i = 0; held = 0; at = WORDS;
    do
    :: atomic { i < WORDS ->
        if
        :: IS_HELD(words[i]) -> held++
        :: !IS_HELD(words[i]) && i < m && at == WORDS -> at = i
        :: else
        fi;
        i++ }
    :: else -> break
    od;
    atomic {
        if
        :: held >= m -> at = WORDS
        :: else
        fi;
        i = 0; held = 0
    }
}

inline sweep()
{
    i = 0;
    do
    :: i < WORDS ->
        w = words[i];
        if
        :: IS_HELD(w) && IS_LEFT(w) ->
#ifdef BAD_SWEEP_STORES
            words[i] = 0
#else
            swap_word(i, w, 0)
#endif
        :: else
        fi;
        i++
    :: else -> break
    od;
    atomic { i = 0; w = 0; won = 0 }
}

/* Sets `keeps`. */
inline may_keep()
{
    m = most; i = 0; held = 0;
    do
    :: atomic { i < WORDS -> held = held + IS_HELD(words[i]); i++ }
    :: else -> break
    od;
#ifdef BAD_COUNT_UNCHECKED
    held = 0;
#endif
    atomic { keeps = (at < m && held <= m); i = 0; held = 0 }
}

proctype taker(byte owner)
{
    byte takes, tries, i, w, m, at, held, mine, opened = 1;
    bit won, keeps;
    {
    skip;
next:
    atomic {
        m = 0; at = 0; mine = 0; keeps = 0; won = 0; tries = 0;
        if
        :: takes < TAKES -> takes++
        :: else -> goto finished
        fi
    };
again:
    look();
    if
    :: at == WORDS && tries == 0 -> sweep(); tries = 1; goto again
    :: at == WORDS && tries != 0 -> goto next
    :: else
    fi;
    next_word();
#ifdef BAD_STORE
    words[at] = mine;
#else
    swap_word(at, 0, mine);
    if
    :: !won -> goto next
    :: else
    fi;
#endif
#ifndef BAD_NO_LOOK_AT_LIFE
    if
    :: !(live && life == opened) -> swap_word(at, mine, 0); goto finished
    :: else
    fi;
#endif
    may_keep();
    if
    :: !keeps -> swap_word(at, mine, 0); goto next
    :: else
    fi;
    d_step {
        holding++;
        holding_of_first = holding_of_first + (owner == 0);
        assert(holding <= m);
        assert(live && life == opened)
    };
    /* it has one; then */
    d_step {
        holding--;
        holding_of_first = holding_of_first - (owner == 0)
    };
    swap_word(at, mine, 0);
    assert(won);
    goto next;
finished:
    skip
    } unless { dead && owner == 0 }
}

#ifdef DROPPER
inline give_back_all()
{
    i = 0;
    do
    :: i < WORDS -> swap_word(i, mine, 0); i++
    :: else -> break
    od;
    i = 0
}

/* Drops and makes anew: under a lock, which its death would free. */
proctype dropper(byte owner)
{
    byte i, w, mine;
    bit won;
    {
    next_word();
    i = 0;
    do
    :: i < WORDS ->
        w = words[i];
        if
        :: IS_HELD(w) && !IS_LEFT(w) -> won = 0
#ifdef BAD_DROP_LOOKS_ONLY
        :: else -> won = 1
#else
        :: else -> swap_word(i, w, mine)
#endif
        fi;
        if
        :: !won -> give_back_all(); goto finished
        :: else -> i++
        fi
    :: else -> break
    od;
    skip;
    d_step { live = 0; assert(holding == 0) };
    i = 0;
#ifdef BAD_LIVE_FIRST
    atomic { life++; live = 1 };
#endif
    do
    :: i < WORDS -> words[i] = 0; i++
    :: else -> break
    od;
#ifndef BAD_LIVE_FIRST
    atomic { life++; live = 1 };
#endif
finished:
    skip
    } unless { dead && owner == 0 }
}

/* Of the limit that was made of the record. */
proctype heir()
{
    byte i, w, m, at, held, mine, owner = 5;
    bit won, keeps;
end: /* it may never be */
    live && life == 2;
    look();
    if
    :: at == WORDS -> goto finished
    :: else
    fi;
    next_word();
    swap_word(at, 0, mine);
    if
    :: !won -> goto finished
    :: else
    fi;
    may_keep();
    if
    :: keeps ->
        d_step { holding++; assert(holding <= m) };
        d_step { holding-- };
        swap_word(at, mine, 0);
        assert(won)
    :: else -> swap_word(at, mine, 0)
    fi;
finished:
    skip
}
#endif

proctype killer()
{
    d_step { dead = 1; holding = holding - holding_of_first; holding_of_first = 0 }
}

#ifdef LOWERED
proctype lowerer()
{
    most = LOWERED
}
#endif

init
{
    byte k;
    atomic {
        k = 0;
        do
        :: k < TAKERS -> run taker(PROCESS_OF(k)); k++
        :: else -> break
        od;
#ifdef DROPPER
        run dropper(DROPPER);
#ifdef HEIR
        run heir();
#endif
#endif
#ifdef KILLER
        run killer();
#endif
#ifdef LOWERED
        run lowerer();
#endif
        k = 0
    }
}

#else
/* ---- waiting ---- */

#ifndef WAITERS
#define WAITERS 2
#endif

byte words[WORDS]; /* 1: held */
byte released;
byte bits;         /* of the places */
byte tickets[WAITERS];
bit taken[WAITERS], asleep[WAITERS];
byte given;

inline wake()
{
    d_step {
        k = 0;
        do
        :: k < WAITERS -> asleep[k] = 0; k++
        :: else -> break
        od;
        k = 0
    }
}

inline release(p_at)
{
#ifdef BAD_RAISED_FIRST
    released++;
#endif
    words[p_at] = 0;
#ifndef BAD_RAISED_FIRST
    released++;
#endif
    if
    :: bits != 0 -> wake()
    :: else
    fi
}

/* Permits are there, one for each word; who has one gives it back. */
proctype holder(byte at)
{
    byte k;
    release(at)
}

proctype waiter(byte me)
{
    byte i, k, seen, ticket, free, before, at;

    /* between the two others see the ticket of who had the place before: a look costs that */
    atomic { given++; ticket = given };
    atomic { taken[me] = 1; tickets[me] = ticket };
#ifndef BAD_NO_BIT
    atomic { bits = bits | (1 << me) };
#endif
again:
#ifndef BAD_SEEN_LATE
    seen = released;
#endif
    i = 0; free = 0; before = 0; at = WORDS;
    do
    :: atomic { i < WORDS ->
        if
        :: words[i] == 0 -> free++; at = i
        :: else
        fi;
        i++ }
    :: else -> break
    od;
    i = 0;
    do
    :: atomic { i < WAITERS -> before = before + (i != me && taken[i] && tickets[i] < ticket); i++ }
    :: else -> break
    od;
    i = 0;
    if
    :: free > before ->
        atomic {
            if
            :: words[at] == 0 -> words[at] = 1
            :: else -> at = WORDS
            fi
        };
        if
        :: at == WORDS -> goto again
        :: else -> goto got
        fi
    :: else
    fi;
#ifdef BAD_SEEN_LATE
    seen = released;
#endif
    atomic {
        if
        :: released == seen -> asleep[me] = 1
        :: else -> goto again
        fi
    };
    !asleep[me];
    goto again;
got:
    atomic { bits = bits & ~(1 << me) };
    taken[me] = 0;
    release(at)
}

init
{
    byte k;
    atomic {
        k = 0;
        do
        :: k < WORDS -> words[k] = 1; run holder(k); k++
        :: else -> break
        od;
        k = 0;
        do
        :: k < WAITERS -> run waiter(k); k++
        :: else -> break
        od;
        k = 0
    }
}
#endif
