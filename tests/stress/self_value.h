/* SPDX-License-Identifier: Apache-2.0 */
/* Values that say which key they belong to, which write made them and whether
 * they are whole, so that any process can judge any value it reads. */
#ifndef TESTS_SELF_VALUE_H
#define TESTS_SELF_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define SELF_VALUE_MIN sizeof(self_value)

typedef struct self_value {
    uint64_t key;
    uint64_t sequence;
    uint64_t length; /* of all of it, this header included */
    uint64_t seal;   /* of the three above */
} self_value;

static inline uint64_t self_value_mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static inline uint64_t self_value_seal(uint64_t key, uint64_t sequence, uint64_t length)
{
    return self_value_mix(key * 3 + self_value_mix(sequence + self_value_mix(length)));
}

/* Values of even keys can be packed, those of others hardly. */
static inline uint8_t self_value_byte(uint64_t key, uint64_t seal, size_t i)
{
    return (uint8_t)((uint8_t)(seal >> (i % 7 * 8)) ^ (key % 2 == 0 ? 0 : (uint8_t)(i >> 3)));
}

/* Fill `length` bytes, SELF_VALUE_MIN or more. */
static inline void self_value_make(void *at, uint64_t key, uint64_t sequence, size_t length)
{
    self_value head = {key, sequence, length, self_value_seal(key, sequence, length)};
    memcpy(at, &head, sizeof head);
    uint8_t *bytes = at;
    for (size_t i = sizeof head; i < length; i++)
        bytes[i] = self_value_byte(key, head.seal, i);
}

/* Is it a whole value of this key?  Says of which write. */
static inline bool self_value_check(const void *at, size_t length, uint64_t key, uint64_t *sequence)
{
    self_value head;
    const uint8_t *bytes = at;
    if (length < sizeof head)
        return false;
    memcpy(&head, at, sizeof head);
    if (head.key != key || head.length != length || head.seal != self_value_seal(key, head.sequence, length))
        return false;
    for (size_t i = sizeof head; i < length; i++)
        if (bytes[i] != self_value_byte(key, head.seal, i))
            return false;
    *sequence = head.sequence;
    return true;
}

/* The key of number `key`, as text; returns its length. */
static inline size_t self_value_key(char text[24], uint64_t key)
{
    return (size_t)snprintf(text, 24, "key-%llu", (unsigned long long)key);
}

#endif
