# SPDX-License-Identifier: Apache-2.0
"""How benchmarks end."""

from __future__ import annotations

import signal
import sys


def end_on_sigterm() -> None:
    """SIGTERM unwinds the stack as Ctrl-C does: servers, processes and files go."""

    def handler(number: int, frame: object) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, handler)
