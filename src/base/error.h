/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FB_ERROR_H
#define FB_ERROR_H

#include <forebay/status.h>

/* Fill `error` (NULL is fine) and return `status`, so that a failing path is one
 * `return fb_error(...)`.  A non-zero `os_error` is kept and its text appended in
 * parentheses.  Control characters (a path may hold them) become '?'; a message
 * that is too long is cut. */
__attribute__((format(printf, 4, 5))) forebay_status
fb_error(forebay_error *error, forebay_status status, int os_error, const char *format, ...);

#endif
