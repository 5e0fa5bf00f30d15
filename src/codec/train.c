/* SPDX-License-Identifier: Apache-2.0 */
#define ZDICT_STATIC_LINKING_ONLY /* training with parameters that need no search */
#include <stdlib.h>
#include <string.h>
#include <zdict.h>
#include <zstd_errors.h>

#include "base/error.h"
#include "codec/codec_table.h"

/* fastCover looks for the parts of k bytes whose d-byte words are in most
 * samples.  What a search over k and d finds is hardly better and takes 30 times
 * as long: docs/internals/measurements.md, "Dictionaries: how they are trained". */
#define PART_LENGTH 512u
#define WORD_LENGTH 8u
#define FREQUENCY_BITS 20u
#define ACCELERATION 1u

#define SAMPLES_LEAST 16u              /* fastCover needs 5 to train and some to see that it did */
#define SAMPLE_LEAST WORD_LENGTH       /* bytes; shorter ones have no word */
#define SAMPLES_MOST ((size_t)1 << 30) /* bytes; fastCover counts in 32 bits, and more adds nothing */

/* The samples that can be used; the bytes are the caller's, or a copy. */
typedef struct sample_set {
    const uint8_t *bytes;
    uint8_t *copy;   /* owned, or NULL */
    size_t *lengths; /* owned */
    unsigned count;
    size_t total;
} sample_set;

static void sample_set_end(sample_set *set)
{
    free(set->copy);
    free(set->lengths);
}

/* True if every one can be: then there is nothing to copy. */
static bool take_lengths(sample_set *set, const size_t *lengths, size_t count, size_t *given)
{
    *given = 0;
    for (size_t i = 0; i < count; i++) {
        if (lengths[i] > SAMPLES_MOST - *given)
            break;
        *given += lengths[i];
        if (lengths[i] < SAMPLE_LEAST)
            continue;
        set->lengths[set->count++] = lengths[i];
        set->total += lengths[i];
    }
    return set->total == *given;
}

static bool sample_set_init(sample_set *set, const void *samples, const size_t *lengths, size_t count)
{
    size_t given;
    *set = (sample_set){ .bytes = samples };
    if (count > UINT_MAX / 2)
        count = UINT_MAX / 2;
    set->lengths = calloc(count + 1, sizeof *set->lengths);
    if (set->lengths == NULL)
        return false;
    if (take_lengths(set, lengths, count, &given))
        return true;
    set->copy = malloc(set->total + 1);
    if (set->copy == NULL)
        return false;
    uint8_t *at = set->copy;
    const uint8_t *from = samples;
    for (size_t i = 0; at < set->copy + set->total; from += lengths[i++]) {
        if (lengths[i] < SAMPLE_LEAST)
            continue;
        memcpy(at, from, lengths[i]);
        at += lengths[i];
    }
    set->bytes = set->copy;
    return true;
}

/* What fastCover takes besides the samples. */
static size_t memory_for(const sample_set *set)
{
    size_t counters = ((size_t)1 << FREQUENCY_BITS) * (sizeof(uint32_t) + sizeof(uint16_t));
    return counters + (set->count + 1) * sizeof(size_t) + ((size_t)1 << 20);
}

static forebay_status train(void *to, size_t capacity, size_t *to_length, const sample_set *set,
                            forebay_error *error)
{
    ZDICT_fastCover_params_t parameters = {
        .k = PART_LENGTH, .d = WORD_LENGTH, .f = FREQUENCY_BITS, .accel = ACCELERATION, .splitPoint = 1.0
    };
    if (!fb_memory_is_there(memory_for(set)))
        return FOREBAY_NOMEM;
    size_t made =
        ZDICT_trainFromBuffer_fastCover(to, capacity, set->bytes, set->lengths, set->count, parameters);
    if (ZSTD_getErrorCode(made) == ZSTD_error_memory_allocation)
        return FOREBAY_NOMEM;
    if (ZDICT_isError(made))
        return fb_error(error, FOREBAY_INVALID, 0, "no dictionary comes out of these samples: %s",
                        ZDICT_getErrorName(made));
    *to_length = made;
    return FOREBAY_OK;
}

forebay_status forebay_codec_train(void *to, size_t capacity, size_t *to_length, const void *samples,
                                   const size_t *lengths, size_t count, forebay_error *error)
{
    *to_length = 0;
    if (capacity < FOREBAY_DICTIONARY_MIN_SIZE || capacity > FOREBAY_DICTIONARY_MAX_SIZE)
        return fb_error(error, FOREBAY_INVALID, 0, "a dictionary has %u to %u bytes, not %zu",
                        FOREBAY_DICTIONARY_MIN_SIZE, FOREBAY_DICTIONARY_MAX_SIZE, capacity);
    sample_set set;
    forebay_status status = FOREBAY_NOMEM;
    if (!sample_set_init(&set, samples, lengths, count))
        ;
    else if (set.count < SAMPLES_LEAST)
        status = fb_error(error, FOREBAY_INVALID, 0,
                          "training a dictionary takes at least %u samples of %u bytes or more, not %u",
                          SAMPLES_LEAST, SAMPLE_LEAST, set.count);
    else
        status = train(to, capacity, to_length, &set, error);
    sample_set_end(&set);
    return status;
}
