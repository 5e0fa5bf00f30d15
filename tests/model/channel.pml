/* SPDX-License-Identifier: Apache-2.0 */
/* Channels: docs/internals/concurrency.md, "Channels".  One key of one cache.
 *
 * A server's value is a number, which it raises up to CHANGES times, each time saying so. Time is a
 * number that the same process raises, TICKS times, between any two steps: a moment is the time at which
 * something was sent, and what is said within the same tick may be said before it or after.  LISTENERS
 * processes claim a place, whoever has it (so nothing rests on who is alive, or quiet), subscribe, join or
 * begin, and beat BEATS times; who ends early, or is late, is a process that makes no more steps.  A filler
 * loads the value under a lease.  A reader believes what is there if a moment is at most BOUND ticks old, and
 * finds no value that was replaced more than BOUND ticks before it began to read.
 *
 * The cache holds 1 in the beginning, loaded whenever.  -DFOLLOWERS=n: nobody follows yet, and n
 * processes begin to, then read; else it follows.  -DDROPPER: the channel is dropped, and its record
 * becomes another channel's: with 1 the cache follows that then, and what the old listeners hear is not about
 * it; with 2 it is no business of the cache, whose reader knows the old one.
 *
 * A claim may be taken from one that listens, and such a one's moments are as true as ever: that it
 * beats no more is for the next channel's sake, and for a process that has its row and does not listen.
 * BAD_* are mutants that spin must find wrong. */
#ifndef LISTENERS
#define LISTENERS 2
#endif
#ifndef PLACES
#define PLACES 2 /* 1: each claims the place of the one before */
#endif
#ifndef BEATS
#define BEATS 1
#endif
#ifndef CHANGES
#define CHANGES 1
#endif
#ifndef TICKS
#define TICKS 1
#endif
#ifndef BOUND
#define BOUND 0
#endif
#ifndef FOLLOWERS
#define FOLLOWERS 0
#endif
#ifndef FILLS
#define FILLS 1
#endif
#define GENERATIONS 8 /* more than there are clears */

/* the server, and time */
byte said = 1;
byte time = 1;
byte replaced[CHANGES + 3]; /* [v]: when v was; 0: it was not */

/* the channel's record: of each place who claimed it, and up to which time it heard */
byte claim[2]; /* counts up */
byte heard[2];
bit life;
#ifdef DROPPER
#define IS_OPEN (life == mine_life)
#else
#define DROPPER 0
#define IS_OPEN true
#endif
#define IS_ABOUT_CACHE (DROPPER != 2 || mine_life == 0)

/* the cache: its generation, the entry of each, who follows; a lease is of a generation, as keys are */
byte generation;
byte entry[GENERATIONS];
byte lease; /* generation + 1; 0: none */
#define NOT 0
#define BEGUN 1
#define FOLLOWS 2
byte followed;

inline clear_cache()
{
    generation++
}

proctype world()
{
    do
    :: d_step { said <= CHANGES -> replaced[said] = time; said++ }
    :: d_step { time <= TICKS -> time++ }
    :: else -> break
    od
}

/* For those who follow. */
inline forget()
{
    if
    :: followed != NOT && IS_ABOUT_CACHE -> clear_cache()
    :: else
    fi
}

inline raise_moment()
{
    d_step {
        if
#ifdef BAD_BEAT_UNCHECKED
        :: heard[place] < sent -> heard[place] = sent
#else
        :: claim[place] == mine && heard[place] < sent -> heard[place] = sent
#endif
        :: else
        fi
    }
}

/* What was said up to `upto` is done: the lease first, then the entry. */
inline delete_key()
{
    if
    :: upto > seen && followed != NOT && IS_OPEN && IS_ABOUT_CACHE ->
        d_step {
            key = generation;
            if
            :: lease == key + 1 -> lease = 0
            :: else
            fi
        };
        d_step { entry[key] = 0; key = 0; seen = upto }
    :: else -> seen = upto
    fi
}

proctype listener(byte place)
{
    byte mine, seen, upto, since, sent, beats, key;
    bit mine_life;

    /* places are claimed by compare-and-swap, and keep their moment; then the record is to be the one that was opened */
    d_step {
        mine_life = life; claim[place] = claim[place] + 1; mine = claim[place];
#ifdef BAD_CLAIM_BEATS
        heard[place] = time
#endif
    };
#ifdef BAD_BEGIN_FIRST
    forget();
#endif
    d_step { seen = said; since = time }; /* subscribed; a later `since` would only join less */
    if
#ifdef BAD_JOIN_UNCHECKED
    :: heard[1 - place] != 0
#else
    :: heard[1 - place] > since
#endif
    :: IS_OPEN && claim[place] == mine ->
#if !defined(BAD_NO_CLEAR) && !defined(BAD_BEGIN_FIRST)
        forget()
#else
        skip
#endif
    :: !IS_OPEN || claim[place] != mine -> goto finished
    fi;
    since = 0;
    do
    :: d_step { beats < BEATS -> /* the server answers, after all that it said; later it would be more */
            beats++; sent = time; upto = said };
#ifdef BAD_BEAT_FIRST
        raise_moment();
#endif
        delete_key();
#ifdef BAD_BEAT_LATE
        sent = time;
#endif
#if DROPPER > 0 && !defined(BAD_BEAT_UNCHECKED)
        if
        :: !IS_OPEN -> break
        :: else
        fi;
#endif
        raise_moment()
    :: else -> break
    od;
finished:
    atomic { mine = 0; seen = 0; since = 0; sent = 0; upto = 0; beats = 0; mine_life = 0 }
}

/* A load under a lease. */
proctype filler()
{
    byte under, value, key, fills;
    do
    :: fills < FILLS ->
        fills++;
        d_step {
            under = generation;
            if
            :: lease != under + 1 -> lease = under + 1
            :: else -> under = 0 /* somebody else's */
            fi
        };
        value = said;
#ifdef BAD_LEASE_SURVIVES
        key = generation;
#else
        d_step {
            if
            :: generation != under -> under = GENERATIONS /* it was cleared */
            :: else -> key = under
            fi
        };
#endif
        d_step {
            if
            :: lease == under + 1 -> entry[key] = value; lease = 0
            :: else
            fi;
            under = 0; value = 0; key = 0
        }
    :: else -> break
    od
}

inline follow()
{
    mine_life = life;
#ifdef BAD_FOLLOW_CLEARS_FIRST
    if
    :: followed == NOT -> clear_cache(); followed = FOLLOWS
    :: else
    fi
#else
#ifdef BAD_FOLLOW_AT_ONCE
    d_step { at = followed; followed = FOLLOWS };
    if
    :: at == NOT -> clear_cache()
    :: else
    fi
#else
    if
    :: followed == FOLLOWS
    :: else ->
        d_step {
            if
            :: followed == NOT -> followed = BEGUN
            :: else
            fi
        };
        clear_cache();
        d_step {
            if
            :: followed == BEGUN -> followed = FOLLOWS
            :: else
            fi
        }
    fi
#endif
#endif
    ;
    at = 0
}

proctype reader()
{
    byte key, now, at, first, second;
    bit mine_life;
#if FOLLOWERS > 0
    follow();
#elif DROPPER == 1
    mine_life = life;
#endif
    d_step { key = generation; now = time };
    first = heard[0];
    d_step {
        second = heard[1];
        if
        :: first < second -> first = second
        :: else
        fi;
        second = 0
    };
    if
    :: first == 0 || first + BOUND < now -> goto missed
    :: else -> first = 0
    fi;
#if DROPPER > 0 && !defined(BAD_LIFE_UNCHECKED)
    if
    :: !IS_OPEN -> goto missed
    :: else
    fi;
#endif
#ifndef BAD_KEY_UNCHECKED
    if
    :: generation != key -> goto missed
    :: else
    fi;
#endif
    d_step {
        at = entry[key];
        assert(at == 0 || replaced[at] == 0 || replaced[at] + BOUND >= now)
    };
missed:
    atomic { key = 0; now = 0; at = 0; first = 0; mine_life = 0 }
}

proctype dropper()
{
    d_step { life = 1; claim[0] = claim[0] + 1; heard[0] = 0; claim[1] = claim[1] + 1; heard[1] = 0 };
#if DROPPER == 1
    clear_cache() /* as it follows another one */
#endif
}

init
{
    byte k;
    atomic {
        entry[0] = 1;
#if FOLLOWERS == 0
        followed = FOLLOWS;
#endif
        run world();
        k = 0;
        do
        :: k < LISTENERS -> run listener(k % PLACES); k++
        :: else -> break
        od;
#if FILLS > 0
        run filler();
#endif
        k = 0;
        do
        :: k < FOLLOWERS || k == 0 -> run reader(); k++
        :: else -> break
        od;
#if DROPPER > 0
        run dropper();
#endif
        k = 0
    }
}
