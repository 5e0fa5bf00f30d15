/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for a word to change: futex(2). */
#ifndef FB_FUTEX_H
#define FB_FUTEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Who may wait on the word. */
typedef enum futex_scope { FUTEX_OF_MACHINE, FUTEX_OF_PROCESS } futex_scope;

/* Sleep while the word is `seen`, at most so long; false: a signal interrupted it.
 * Where futexes are refused (a seccomp filter) it sleeps for a millisecond. */
bool fb_futex_wait(const _Atomic uint32_t *word, uint32_t seen, int64_t ns, futex_scope scope);
/* Wake up to so many.  Uses the address only: the word may be gone. */
void fb_futex_wake(const _Atomic uint32_t *word, int most, futex_scope scope);

/* Of CLOCK_MONOTONIC: when to stop waiting. */
int64_t fb_monotonic_ns(void);

#endif
