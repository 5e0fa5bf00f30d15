# SPDX-License-Identifier: Apache-2.0
"""What a tier does, without input and output: generators that yield what is to be done.

So threads and tasks do the same.  run() and arun() do it, and give back what came of
it, or throw the error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

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


def run(steps: Steps[_R], store: Any, load: Callable[[Sequence[Any]], Any]) -> _R:
    try:
        step = next(steps)
        while True:
            try:
                result = load(step.flights) if isinstance(step, Load) else getattr(store, step.method)(*step.arguments)
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        steps.close()


async def arun(steps: Steps[_R], store: Any, load: Callable[[Sequence[Any]], Awaitable[Any]]) -> _R:
    try:
        step = next(steps)
        while True:
            try:
                if isinstance(step, Load):
                    result = await load(step.flights)
                else:
                    result = await getattr(store, step.method)(*step.arguments)
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        steps.close()
