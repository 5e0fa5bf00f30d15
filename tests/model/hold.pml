/* SPDX-License-Identifier: Apache-2.0 */
/* Holding against reuse, and reading without a lock: docs/internals/concurrency.md,
 * "Reading" and "Holding".  One slot, one segment with room for one entry of two
 * words; its incarnation in the slot is one bit, so that it wraps after two
 * lives where the real one wraps after 1,024.
 *
 * A writer empties the segment, takes it for a new life and publishes, LIVES
 * times.  A swapper takes away an entry whose key it has compared.  A reader
 * copies the entry.  A viewer pins it, as a later segment of a run that no hazard
 * guards, and reads it later.  BAD_* are mutants that spin must find wrong. */
#ifndef LIVES
#define LIVES 5
#endif
#ifndef READERS
#define READERS 1
#endif
#ifndef SWAPPERS
#define SWAPPERS 1
#endif

#ifndef VIEWERS
#define VIEWERS 0
#endif

#define WORD(g) (2 + (g) % 2)
#define INCARNATION(w) ((w) % 2)

byte slot;
byte generation;   /* 64 bits: never wraps */
byte first, second; /* the entry: both words are the number of its life */
byte holds[SWAPPERS];
byte pins[VIEWERS + 1];
bit is_free;       /* the segment's word */

proctype writer()
{
    byte lives, k;
    bit held;
    do
    :: lives < LIVES ->
        /* empty it: its slot goes by compare-and-swap, or has gone */
        if
        :: atomic { slot != 0 -> slot = 0 }
        :: slot == 0
        fi;
        is_free = 1;
take:
        is_free = 0;
#ifndef BAD_TAKE_WITHOUT_LOOK
        atomic { k = 0; held = 0 };
        do
        :: atomic { k < SWAPPERS -> held = held | holds[k]; k++ }
        :: k >= SWAPPERS -> break
        od;
#ifndef BAD_TAKE_WITHOUT_PINS
        k = 0;
        do
        :: atomic { k < VIEWERS -> held = held | pins[k]; k++ }
        :: k >= VIEWERS -> break
        od;
#endif
        if
        :: held -> is_free = 1; goto take
        :: !held
        fi;
#endif
#ifdef BAD_GENERATION_LATE
        first = generation + 1;
        generation++;
#else
        generation++;
        first = generation;
#endif
        second = generation;
#ifndef BAD_PUBLISH_EARLY
        slot = WORD(generation);
#endif
        atomic { lives++; k = 0; held = 0 }
    :: else -> break
    od
}

proctype swapper(byte id)
{
    byte w, key;
again:
    w = slot;
    if
    :: w == 0 -> goto done
    :: w != 0
    fi;
#ifdef BAD_COMPARE_BEFORE_HOLD
    key = first;
#endif
#ifndef BAD_NO_HOLD
    holds[id] = 1;
#endif
#ifndef BAD_HOLD_WITHOUT_SECOND_LOOK
    if
    :: atomic { slot != w -> w = 0; key = 0 }; holds[id] = 0; goto again
    :: slot == w
    fi;
#endif
#ifndef BAD_COMPARE_BEFORE_HOLD
    key = first;
#endif
    d_step {
        if
        :: slot == w -> slot = 0; assert(first == key && second == key) /* the entry that was compared, whole */
        :: else
        fi
    };
done:
    holds[id] = 0
}

proctype viewer(byte id)
{
    byte w, key;
    w = slot;
    if
    :: w == 0 -> goto done
    :: w != 0
    fi;
    pins[id] = 1;
#ifndef BAD_PIN_WITHOUT_SECOND_LOOK
    if
    :: slot != w -> goto done
    :: slot == w
    fi;
#endif
    key = first;
    /* as long as the pin is there */
    atomic { assert(first == key && second == key && key % 2 == INCARNATION(w)) };
done:
    pins[id] = 0
}

proctype reader()
{
    byte w, g, a, b;
    w = slot;
    if
    :: w == 0 -> goto done
    :: w != 0
    fi;
    g = generation;
#ifndef BAD_READ_LOOKS_ONCE_BEFORE
    /* a look after the generation: what is in the slot now is of life g, whole */
    if
    :: slot != w -> goto done
    :: slot == w
    fi;
#endif
    if
    :: g % 2 != INCARNATION(w) -> goto done
    :: else
    fi;
    a = first;
    b = second;
#ifndef BAD_READ_TRUSTS_INCARNATION
    if
    :: generation != g -> goto done
    :: generation == g
    fi;
#endif
#ifdef LAST_LOOK_AT_GENERATION
    /* the generation alone suffices once the slot was seen after it */
    assert(a == b && b == g);
#else
    atomic {
        if
        :: slot == w -> assert(a == b && b == g)
        :: else
        fi
    };
#endif
done:
    skip
}

init {
    atomic {
        byte k = 0;
        is_free = 1;
        run writer();
        do
        :: k < SWAPPERS -> run swapper(k); k++
        :: else -> break
        od;
        k = 0;
        do
        :: k < VIEWERS -> run viewer(k); k++
        :: else -> break
        od;
        k = 0;
        do
        :: k < READERS -> run reader(); k++
        :: else -> break
        od
    }
}
