/* SPDX-License-Identifier: Apache-2.0 */
/* What caches ask a Channel. */
#ifndef CORE_CHANNEL_OBJECT_H
#define CORE_CHANNEL_OBJECT_H

#include "objects.h"

/* The library's handle, or NULL with ClosedError. */
forebay_channel *channel_handle(PyObject *channel);

#endif
