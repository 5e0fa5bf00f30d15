/* SPDX-License-Identifier: Apache-2.0 */
/* What pools ask a Limit. */
#ifndef CORE_LIMIT_OBJECT_H
#define CORE_LIMIT_OBJECT_H

#include "objects.h"

/* Limit.should_yield(); false once it is closed. */
bool limit_should_yield(PyObject *limit, bool idle);
/* Limit.give_back() of a permit that take() or wait() gave; nothing once it is closed. */
void limit_return(PyObject *limit, PyObject *permit);

#endif
