/* SPDX-License-Identifier: Apache-2.0 */
/* What pools ask a Limit. */
#ifndef CORE_LIMIT_OBJECT_H
#define CORE_LIMIT_OBJECT_H

#include "objects.h"

/* Limit.should_yield(); false once it is closed. */
bool limit_should_yield(PyObject *limit, bool idle);

#endif
