/* SPDX-License-Identifier: Apache-2.0 */
/* Leases: docs/internals/concurrency.md, "Leases".  One key.
 *
 * Without -DSTORING, taking: TAKERS threads, the last OF_ONE of them of one process,
 * take and end the lease up to TAKES times, over WORDS words.  -DKILLER kills
 * the first one's process at any instruction; WAITERS remove a lease that is overdue,
 * which one may be at any time; -DWRITER breaks the lease that there is.  Never are two
 * leases held, a lease that was taken holds, who ends one ends no newer one, `leases` is
 * not less than the words in use, and no lease held before a write is held after it.
 *
 * With -DSTORING: LOADERS, threads of one process, take the lease, from one
 * another where it is overdue, read the database, store; a writer changes the
 * database, breaks the lease, then deletes or sets the key.  Words do not say which life
 * they are of here (14 bits may wrap), the token alone does.  Once the writer's call
 * has returned no slot holds an older version.  BAD_* are mutants that spin must
 * find wrong. */
#ifdef STORING
#define WORDS 1
#endif
#ifndef WORDS
#define WORDS 2
#endif
#ifndef TAKERS
#define TAKERS 2
#endif
#ifndef OF_ONE
#define OF_ONE 1
#endif
#define PROCESS_OF(id) (id > TAKERS - OF_ONE -> TAKERS - OF_ONE : id)
#ifndef TAKES
#define TAKES 1
#endif
#ifndef TRIES
#define TRIES 2
#endif
#ifndef WAITERS
#define WAITERS 0
#endif
#ifndef LOADERS
#define LOADERS 2
#endif
#ifndef SLOTS
#define SLOTS 2
#endif

#define CLAIMED 1
#define TENTATIVE 2
#define HELD 3
#define STATE(w) ((w) % 4)
#define OWNER(w) ((w) / 4 % 4)
#ifdef BAD_NO_LIFE
#define LIFE(n) 0
#define MEANT_FOR(t) (t)
#else
#ifdef STORING
#define LIFE(n) 0
#define MEANT_FOR(t) 0 /* a late one may end a newer lease then, which is as good as a break */
#else
#define MEANT_FOR(t) (t)
#define LIFE(n) (16 * ((n) % 16))
#endif
#endif

byte words[WORDS], token[WORDS], life[WORDS];
byte leases; /* words in use, or more */
byte tokens; /* given out */
bit dead;    /* process 0 */

/* after every change of a word or of `leases` */
inline check_words()
{
    q = 0; in_use = 0; held = 0;
    do
    :: q < WORDS ->
        in_use = in_use + (words[q] != 0);
        held = held + (STATE(words[q]) == HELD);
        q++
    :: else -> break
    od;
    assert(held <= 1);
    assert(leases >= in_use);
    q = 0; in_use = 0; held = 0
}

inline swap_word(p_at, p_old, p_new, p_token)
{
    d_step {
        if
        :: words[p_at] == p_old ->
            assert(p_token == 0 || token[p_at] == p_token); /* of the life it was meant for */
            words[p_at] = p_new;
            won = 1;
            check_words()
        :: else -> won = 0
        fi
    }
}

inline clear_word(p_at, p_old, p_token)
{
    swap_word(p_at, p_old, 0, p_token);
    if
    :: won -> d_step { leases--; check_words() }
    :: else
    fi
}

/* Is the lease t there, whose word was w?  Sets `there`.  Where words say which life they
 * are of, one look is like another. */
inline is_there(p_at, p_word, p_token)
{
#ifndef STORING
    there = (token[p_at] == p_token && words[p_at] == p_word);
#else
    there = (token[p_at] == p_token);
    if
    :: there -> there = (words[p_at] == p_word)
    :: else
    fi;
#ifndef BAD_NO_SECOND_LOOK
    if
    :: there -> there = (token[p_at] == p_token)
    :: else
    fi
#endif
#endif
}

/* The lease that is held: i, w, t and `there`. */
inline find_held()
{
    i = 0; there = 0;
    do
    :: i < WORDS ->
        w = words[i];
        if
        :: STATE(w) == HELD ->
            t = token[i];
            is_there(i, w, t);
            if
            :: there -> break
            :: else
            fi
        :: else
        fi;
        i++
    :: else -> break
    od
}

inline remove(p_at, p_word, p_token)
{
    is_there(p_at, p_word, p_token);
    if
    :: there -> clear_word(p_at, p_word, MEANT_FOR(p_token))
    :: else -> won = 0
    fi
}

inline break_lease()
{
    if
    :: leases != 0 ->
        do
        :: find_held();
            if
            :: there -> remove(i, w, t)
            :: else -> break
            fi
        od
    :: else
    fi;
    atomic { i = 0; w = 0; t = 0; there = 0; won = 0 }
}

#ifndef STORING
/* ---- taking ---- */

/* A free word becomes ours: `mine` is where, or WORDS. */
inline claim_free()
{
    mine = 0;
    do
    :: atomic { mine < WORDS ->
        if
        :: words[mine] == 0 -> swap_word(mine, 0, CLAIMED + 4 * owner, 0); break
        :: else -> mine++
        fi }
    :: else -> break
    od
}

/* What the dead left, whatever its state: nobody else changes it but to free it. */
inline sweep()
{
    i = 0;
    do
    :: atomic { i < WORDS ->
        won = 0;
        if
        :: words[i] != 0 && OWNER(words[i]) == 0 && dead -> swap_word(i, words[i], 0, 0)
        :: else
        fi;
        i++ };
        if
        :: won -> d_step { leases--; check_words() }
        :: else
        fi
    :: else -> break
    od;
    atomic { i = 0; won = 0 }
}

#define TENTATIVE_WORD (TENTATIVE + 4 * owner + LIFE(life[mine]))

inline is_alone()
{
    i = 0; alone = 1;
#ifndef BAD_NO_RESCAN
    do
    :: i < WORDS && i == mine -> i++
    :: i < WORDS && i != mine ->
        w = words[i];
        if
        :: STATE(w) == HELD -> alone = 0; break
        :: STATE(w) == TENTATIVE && i < mine -> alone = 0; break /* one may be patient */
        :: STATE(w) == TENTATIVE ->
            clear_word(i, w, 0);
#ifdef BAD_ABORT_UNCHECKED
            i++
#else
            if
            :: won -> i++
            :: else /* look again */
            fi
#endif
        :: else -> i++
        fi
    :: else -> break
    od;
#endif
    atomic { i = 0; w = 0 }
}

proctype taker(byte owner)
{
    byte i, w, mine, mine_word, mine_token, takes, tries;
    byte q, in_use, held;
    bit won, there, alone;

    {
    skip;
next:
    atomic {
        if
        :: takes < TAKES -> takes++; tries = 0
        :: else -> goto finished
        fi
    };
again:
    atomic {
        i = 0; w = 0; there = 0; won = 0; mine = 0; mine_word = 0; mine_token = 0; alone = 0;
        if
        :: tries < TRIES -> tries++
        :: else -> goto next
        fi
    };
    /* the look whether somebody has it only saves what follows */
#ifndef BAD_COUNTED_LATE
    leases++;
#endif
    claim_free();
#ifdef KILLER
    if
    :: mine == WORDS -> sweep(); claim_free()
    :: else
    fi;
#endif
    if
#ifdef BAD_COUNTED_LATE
    :: mine == WORDS -> goto next
    :: else -> leases++
#else
    :: mine == WORDS -> d_step { leases--; check_words() }; goto next
    :: else
#endif
    fi;
    atomic { tokens++; mine_token = tokens; life[mine] = life[mine] + 1; token[mine] = mine_token; mine_word = TENTATIVE_WORD };
    swap_word(mine, CLAIMED + 4 * owner, mine_word, 0);
    is_alone();
    if
    :: !alone -> clear_word(mine, mine_word, 0); goto again
    :: else
    fi;
    swap_word(mine, mine_word, mine_word + 1, mine_token);
    if
    :: !won -> goto again
    :: else
    fi;
    mine_word = mine_word + 1;
    /* it loads; then */
    remove(mine, mine_word, mine_token);
    goto next;
finished:
    skip
    } unless { dead && owner == 0 }
}

proctype waiter()
{
    byte i, w, t;
    byte q, in_use, held;
    bit won, there;
    find_held();
    if
    :: there -> remove(i, w, t)
    :: else
    fi
}

proctype writer()
{
    byte i, w, t, before;
    byte q, in_use, held;
    bit won, there;
    d_step {
        i = 0;
        do
        :: i < WORDS && STATE(words[i]) == HELD -> before = token[i]; i++
        :: i < WORDS && STATE(words[i]) != HELD -> i++
        :: else -> break
        od;
        i = 0
    };
    break_lease();
    d_step {
        do
        :: i < WORDS -> assert(before == 0 || STATE(words[i]) != HELD || token[i] != before); i++
        :: else -> break
        od;
        i = 0
    }
}

proctype killer()
{
    dead = 1
}

init
{
    byte k;
    atomic {
        k = 0;
        do
        :: k < TAKERS -> run taker(PROCESS_OF(k)); k++
        :: else -> break
        od;
        k = 0;
        do
        :: k < WAITERS -> run waiter(); k++
        :: else -> break
        od;
#ifdef WRITER
        run writer();
#endif
#ifdef KILLER
        run killer();
#endif
        k = 0
    }
}

#else
/* ---- storing ---- */

/* A slot: 0, or whose entry it is (1: there before; 2..: a loader's; WRITES: the writer's), 16 more while it is tentative. */
#define SHOWN 16
#define IS_COMMITTED(s) ((s) != 0 && (s) < SHOWN)
#define WRITES 9

byte slots[SLOTS];
byte version[WRITES + 1]; /* of the entries */
byte database;
byte acknowledged; /* version that a call which has returned wrote */

inline check_slots()
{
    q = 0; in_use = 0;
    do
    :: q < SLOTS ->
        if
        :: IS_COMMITTED(slots[q]) -> in_use++; assert(version[slots[q]] >= acknowledged)
        :: else
        fi;
        q++
    :: else -> break
    od;
    assert(in_use <= 1);
    q = 0; in_use = 0
}

inline swap_slot(p_at, p_old, p_new)
{
    d_step {
        if
        :: slots[p_at] == p_old -> slots[p_at] = p_new; won = 1; check_slots()
        :: else -> won = 0
        fi
    }
}

/* j, s: the committed slot, or SLOTS */
inline find_committed()
{
    j = 0;
    do
    :: atomic { j < SLOTS -> s = slots[j];
        if
        :: IS_COMMITTED(s) -> break
        :: else -> s = 0; j++
        fi }
    :: else -> break
    od
}

/* Step (2) of an insert at slot `at`: sets `alone`. */
inline is_alone()
{
    j = 0; alone = 1;
    do
    :: atomic { j < SLOTS && j == at -> j++ }
    :: atomic { j < SLOTS && j != at -> s = slots[j];
        if
        :: s == 0 -> j++
        :: IS_COMMITTED(s) -> alone = 0; break
        :: else
        fi };
        if
        :: s >= SHOWN ->
            swap_slot(j, s, 0);
            if
            :: won -> j++
            :: else
            fi
        :: else
        fi
    :: else -> break
    od;
    atomic { j = 0; s = 0 }
}

proctype loader(byte me)
{
    byte j, s, at, tries, mine_token;
    byte q, in_use, held;
    bit won, there, alone;

    /* how it is taken is the other model; the database is read at once: later would be newer */
    leases++;
    atomic {
        if
        :: words[0] == 0 -> words[0] = HELD; tokens++; mine_token = tokens; token[0] = mine_token
        :: words[0] == HELD -> tokens++; mine_token = tokens; token[0] = mine_token; leases-- /* one overdue: ended and taken */
        :: words[0] == HELD -> leases--; goto finished
        fi;
        version[me] = database
    };
again:
    atomic {
        j = 0; s = 0; at = 0; won = 0; alone = 0; there = 0;
        if
        :: tries < TRIES -> tries++
        :: else -> goto end
        fi
    };
#ifdef BAD_LOOK_BEFORE_FOUND
    is_there(0, HELD, mine_token);
#endif
    find_committed();
#ifndef BAD_LOOK_BEFORE_FOUND
    is_there(0, HELD, mine_token);
#endif
    if
    :: !there -> goto finished
    :: else
    fi;
    if
    :: j < SLOTS -> swap_slot(j, s, me); goto stored
    :: else
    fi;
    atomic {
        if
        :: slots[0] == 0 -> at = 0
        :: SLOTS > 1 && slots[SLOTS - 1] == 0 -> at = SLOTS - 1
        :: else -> goto again
        fi
    };
#ifdef BAD_LOOK_BEFORE_SHOWN
    is_there(0, HELD, mine_token);
#endif
    swap_slot(at, 0, me + SHOWN);
    if
    :: !won -> goto again
    :: else
    fi;
    is_alone();
#ifndef BAD_LOOK_BEFORE_SHOWN
    if
    :: alone -> is_there(0, HELD, mine_token)
    :: else
    fi;
#endif
    if
    :: !alone || !there -> swap_slot(at, me + SHOWN, 0); goto again
    :: else
    fi;
    swap_slot(at, me + SHOWN, me);
stored:
    if
    :: !won -> goto again
    :: else
    fi;
end:
    atomic {
        if
        :: words[0] == HELD && token[0] == mine_token -> words[0] = 0; leases--
        :: else
        fi
    };
finished:
    skip
}

proctype writer()
{
    byte i, w, t, j, s, at, tries;
    byte q, in_use, held;
    bit won, there, alone, clean;

    atomic { database++; version[WRITES] = database };
#ifndef BAD_BREAK_AFTER_SLOTS
    break_lease();
#endif
    if
    :: goto delete
    :: skip
    fi;

    /* set */
again:
    atomic {
        j = 0; s = 0; at = 0; won = 0; alone = 0;
        if
        :: tries < TRIES -> tries++
        :: else -> goto delete /* gave up */
        fi
    };
    find_committed();
    if
    :: j < SLOTS -> swap_slot(j, s, WRITES); goto stored
    :: else
    fi;
    atomic {
        if
        :: slots[0] == 0 -> at = 0
        :: SLOTS > 1 && slots[SLOTS - 1] == 0 -> at = SLOTS - 1
        :: else -> goto again
        fi
    };
    swap_slot(at, 0, WRITES + SHOWN);
    if
    :: !won -> goto again
    :: else
    fi;
    is_alone();
    if
    :: !alone -> swap_slot(at, WRITES + SHOWN, 0); goto again
    :: else
    fi;
    swap_slot(at, WRITES + SHOWN, WRITES);
stored:
    if
    :: !won -> goto again
    :: else -> goto written
    fi;

delete:
    atomic { j = 0; s = 0; won = 0; clean = 1 };
    do
    :: j < SLOTS ->
        s = slots[j];
        if
        :: s >= SHOWN -> clean = 0; swap_slot(j, s, 0)
        :: else
        fi;
        j++
    :: else -> break
    od;
    find_committed();
    if
    :: j < SLOTS -> swap_slot(j, s, 0); goto delete
    :: else
    fi;
    if
    :: !clean -> goto delete
    :: else
    fi;
written:
    skip;
#ifdef BAD_BREAK_AFTER_SLOTS
    break_lease();
#endif
    d_step { acknowledged = version[WRITES]; check_slots() }
}

init
{
    byte k;
    atomic {
        if
        :: slots[0] = 1
        :: SLOTS > 1 -> slots[SLOTS - 1] = 1
        :: true
        fi;
        k = 0;
        do
        :: k < LOADERS -> run loader(2 + k); k++
        :: else -> break
        od;
        run writer();
        k = 0
    }
}
#endif
