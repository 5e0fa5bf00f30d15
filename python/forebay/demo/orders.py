# SPDX-License-Identifier: Apache-2.0
"""What all workers of the demo do: take orders, report, wait for "go".

A worker is started with its orders as a JSON argument, and writes one JSON line
for each report to stdout.  When the demo is gone its pipes are closed, and it
ends.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from typing import Any


def report(**fields: Any) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def wait_for_go() -> None:
    if not sys.stdin.readline():
        sys.exit(1)  # the demo is gone


def work(serve: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
    # SIGINT stays blocked as inherited: Ctrl-C is for the demo, which ends its workers
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})
    try:
        report(result=serve(json.loads(sys.argv[1])))
        wait_for_go()
    except BrokenPipeError:
        return 1
    return 0
