/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FOREBAY_VERSION_H
#define FOREBAY_VERSION_H

#include <forebay/export.h>

FOREBAY_BEGIN

/* The version of the library that runs, as "1.2.3": not of the headers that a program was compiled with, which
 * `pkg-config --modversion forebay` tells.  Constant text; any thread. */
FOREBAY_API const char *forebay_version(void);

FOREBAY_END

#endif
