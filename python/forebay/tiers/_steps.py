# SPDX-License-Identifier: Apache-2.0
"""What a tier does, without input and output: generators that yield what is to be done.

So threads and tasks do the same.  run() and arun() do it, and give back what came of
it, or throw the error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from forebay import _tracing

_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Ask:
    """Call this method of the store."""

    method: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """Have the source load these flights."""

    flights: Sequence[Any]


Steps = Generator[Ask | Load, Any, _R]


def _ask(store: Any, step: Ask) -> Any:
    if _tracing.tracer is None:
        return getattr(store, step.method)(*step.arguments)
    with _span(store, step):
        return getattr(store, step.method)(*step.arguments)


async def _aask(store: Any, step: Ask) -> Any:
    if _tracing.tracer is None:
        return await getattr(store, step.method)(*step.arguments)
    with _span(store, step):
        return await getattr(store, step.method)(*step.arguments)


def _span(store: Any, step: Ask) -> Any:
    return _tracing.span(f"forebay.tier.{step.method}", tier=store.describe, keys=len(step.arguments[0]))


def run(steps: Steps[_R], store: Any, load: Callable[[Sequence[Any]], Any]) -> _R:
    try:
        step = next(steps)
        while True:
            try:
                result = load(step.flights) if isinstance(step, Load) else _ask(store, step)
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        try:
            steps.close()
        except BaseException:  # an interrupt
            steps.close()
            raise


async def arun(steps: Steps[_R], store: Any, load: Callable[[Sequence[Any]], Awaitable[Any]]) -> _R:
    try:
        step = next(steps)
        while True:
            try:
                result = await (load(step.flights) if isinstance(step, Load) else _aask(store, step))
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        try:
            steps.close()
        except BaseException:  # an interrupt
            steps.close()
            raise
