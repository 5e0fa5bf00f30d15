# SPDX-License-Identifier: Apache-2.0
"""Timing of loops and of single calls, with the cost of the measuring taken off."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any, Iterator

CHUNK = 1000  # calls between two looks at the clock in a loop
LEAST_SPANS = 2000  # single calls timed however long they take: percentiles of fewer say little


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


@contextmanager
def collector_off() -> Iterator[None]:
    """As timeit does: the collector's time is measured by itself."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def empty_loop_ns() -> float:
    """Of one turn of `for key in keys: pass`; and two looks at the clock fall on a chunk."""
    keys, clock, spans = list(range(CHUNK)), time.perf_counter_ns, []
    for _ in range(200):
        begin = clock()
        for _key in keys:
            pass
        spans.append(clock() - begin)
    return median(spans) / CHUNK


def timer_ns() -> float:
    clock, spans = time.perf_counter_ns, []
    for _ in range(5000):
        begin = clock()
        spans.append(clock() - begin)
    return median(spans)


def loop(call: Callable[[Any], Any], arguments: list[Any], seconds: float) -> tuple[float, int]:
    """Mean ns of call(argument) over all arguments, or as many as fit the time; how many."""
    clock, limit, spent, calls = time.perf_counter_ns, seconds * 1e9, 0, 0
    for at in range(0, len(arguments), CHUNK):
        chunk = arguments[at : at + CHUNK]
        begin = clock()
        for argument in chunk:
            call(argument)
        spent += clock() - begin
        calls += len(chunk)
        if spent > limit:
            break
    return spent / calls - empty_loop_ns(), calls


def loop2(call: Callable[[Any, Any], Any], pairs: list[tuple[Any, Any]], seconds: float) -> tuple[float, int]:
    """The same for calls of two arguments."""
    clock, limit, spent, calls = time.perf_counter_ns, seconds * 1e9, 0, 0
    for at in range(0, len(pairs), CHUNK):
        chunk = pairs[at : at + CHUNK]
        begin = clock()
        for first, second in chunk:
            call(first, second)
        spent += clock() - begin
        calls += len(chunk)
        if spent > limit:
            break
    return spent / calls - empty_loop_ns(), calls


def singles(call: Callable[[Any], Any], arguments: list[Any], seconds: float) -> list[float]:
    """Ns of each call, sorted."""
    clock, spans, cost = time.perf_counter_ns, [], timer_ns()
    end = clock() + seconds * 1e9
    for argument in arguments:
        begin = clock()
        call(argument)
        now = clock()
        spans.append(max(now - begin - cost, 0.0))
        if now > end and len(spans) >= LEAST_SPANS:
            break
    spans.sort()
    return spans


def singles2(call: Callable[[Any, Any], Any], pairs: list[tuple[Any, Any]], seconds: float) -> list[float]:
    """The same for calls of two arguments."""
    clock, spans, cost = time.perf_counter_ns, [], timer_ns()
    end = clock() + seconds * 1e9
    for first, second in pairs:
        begin = clock()
        call(first, second)
        now = clock()
        spans.append(max(now - begin - cost, 0.0))
        if now > end and len(spans) >= LEAST_SPANS:
            break
    spans.sort()
    return spans
