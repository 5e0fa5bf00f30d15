# SPDX-License-Identifier: Apache-2.0
"""Forked children of tests: they never return into pytest, whatever happens in them."""

import os
import traceback


def fork_to_run(work):
    """Run work() in a forked child; returns its pid.  The child ends with 0, or 1 after an exception."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def wait_for(pid, expected=0):
    """Reap the child; `expected`: its exit code, or minus the signal that ended it; None: any."""
    _, status = os.waitpid(pid, 0)
    assert expected is None or os.waitstatus_to_exitcode(status) == expected
