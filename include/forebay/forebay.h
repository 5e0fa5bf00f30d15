/* SPDX-License-Identifier: Apache-2.0 */
/* Forebay: one bounded, shared, evicting arena of memory per machine. */
#ifndef FOREBAY_FOREBAY_H
#define FOREBAY_FOREBAY_H

#include <forebay/arena.h>
#include <forebay/buffers.h>
#include <forebay/cache.h>
#include <forebay/channel.h>
#include <forebay/codec.h>
#include <forebay/lease.h>
#include <forebay/limit.h>
#include <forebay/status.h>
#include <forebay/tier.h>
#include <forebay/version.h>

#endif
