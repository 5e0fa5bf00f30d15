/* SPDX-License-Identifier: Apache-2.0 */
/* Leases as Python has them, and what is stored under them. */
#ifndef CORE_LEASED_STORE_H
#define CORE_LEASED_STORE_H

#include "keys.h"
#include "objects.h"
#include "store_options.h"

/* A lease, and where the tags of its entry stood when it was taken.  Bytes in Python, which end after the marks. */
typedef struct lease_bytes {
    forebay_lease lease;
    uint64_t marks[FOREBAY_TAGS_MAX];
} lease_bytes;

/* -1 with TypeError: the object is no lease. */
int lease_from_object(PyObject *object, lease_bytes *out, size_t *marks);
PyObject *lease_to_object(const lease_bytes *lease, size_t marks);

/* FOREBAY_OK: it is ours; FOREBAY_EXISTS: another's; FOREBAY_FULL: there is no room.  Any other with an exception. */
forebay_status lease_take(cache_object *self, const core_key *key, uint64_t timeout_ms, store_options *options,
                          lease_bytes *taken);

/* A key, and how something is to be stored under its lease, which ends in any case. */
typedef struct leased_store {
    cache_object *self;
    PyObject *key;
    const forebay_lease *lease;
    const forebay_set_options *options;
} leased_store;

/* Store a value, or ABSENT.  1: stored; 0: the lease was taken away; -1: exception. */
int leased_store_value(const leased_store *s, PyObject *value);
/* The same for a tuple of what Cache._payload() gave.  (cache_tier.c) */
int leased_store_payload(const leased_store *s, PyObject *payload);
/* The same for a value's bytes; on -1 the lease may be left: leased_store_failed(). */
int leased_store_bytes(const leased_store *s, const void *data, size_t length, forebay_kind kind);
/* End the lease, with the exception that is set. */
void leased_store_failed(const leased_store *s);

#endif
