/* SPDX-License-Identifier: Apache-2.0 */
/* What calls that store take beside key and value: ttl= and tags=. */
#ifndef CORE_STORE_OPTIONS_H
#define CORE_STORE_OPTIONS_H

#include "arguments.h"
#include "keys.h"

#define TAG_BYTES 256u /* of encoded tags that take no heap block */

/* `library` is what the library wants.  It points into the struct: do not copy
 * it, and end it with store_options_clear(). */
typedef struct store_options {
    forebay_set_options library;
    forebay_key tags[FOREBAY_TAGS_MAX];
    uint64_t marks[FOREBAY_TAGS_MAX];
    core_writer writer; /* of the tags; only where there are some */
    uint8_t memory[TAG_BYTES];
} store_options;

/* From the objects given for ttl and tags, NULL where omitted.  On -1 there is
 * nothing to clear. */
int store_options_init(store_options *options, core_state *state, PyObject *ttl, PyObject *tags, forebay_set_mode mode);
/* Note where the tags' invalidations stand, before the value is made. */
void store_options_mark(store_options *options, const forebay_cache *cache);
static inline void store_options_clear(store_options *options)
{
    if (options->library.tag_count != 0)
        core_writer_clear(&options->writer);
}

#endif
