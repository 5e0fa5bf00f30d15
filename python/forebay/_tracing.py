# SPDX-License-Identifier: Apache-2.0
"""Spans of OpenTelemetry around loads and calls of tiers, where forebay.metrics.trace() asked for them.

    with span("forebay.tier.get", tier=name, keys=len(keys)) as made:
        found = ...
        made.set(hits=len(found))

Names of attributes get the prefix "forebay."; those that are None are left out.  An exception
that goes through is recorded and makes the span one of an error.  Where it is off nothing is
made.  What runs often looks at `tracer` itself, and calls span() if that is not None.
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer, TracerProvider

tracer: Tracer | None = None  # None: off


class Span:
    """One that does nothing."""

    __slots__ = ()

    def set(self, **attributes: Any) -> None:
        """Add to the attributes, or change them."""

    def fail(self, error: BaseException) -> None:
        """Record an error that is not raised: the span becomes one of an error."""

    def __enter__(self) -> Span:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


_OFF = Span()


class _Recorded(Span):
    """A span that is the current one from __enter__ to __exit__, which are of one thread or task."""

    __slots__ = ("_name", "_span", "_token", "_tracer")

    def __init__(self, made_by: Tracer, name: str, attributes: dict[str, Any]) -> None:
        self._tracer = made_by
        self._name = name
        self._span = made_by.start_span(name, attributes=_prefixed(attributes))

    def set(self, **attributes: Any) -> None:
        self._span.set_attributes(_prefixed(attributes))

    def fail(self, error: BaseException) -> None:
        from opentelemetry.trace import Status, StatusCode

        with suppress(Exception):  # an exception that has no text, say
            self._span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            self._span.record_exception(error)

    def __enter__(self) -> Span:
        from opentelemetry import context, trace

        self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        from opentelemetry import context

        try:
            if error is not None:
                self.fail(error)
        finally:
            self._span.end()
            if kind is not GeneratorExit:  # a coroutine that is thrown away is closed in another context
                context.detach(self._token)


def _prefixed(attributes: dict[str, Any]) -> dict[str, Any]:
    return {f"forebay.{name}": value for name, value in attributes.items() if value is not None}


def span(name: str, **attributes: Any) -> Span:
    """A context manager: a span from here to its end, or nothing where tracing is off."""
    made_by = tracer
    return _OFF if made_by is None else _Recorded(made_by, name, attributes)


def set_up(on: bool, tracer_provider: TracerProvider | None) -> None:
    """As forebay.metrics.trace()."""
    global tracer
    if not on:
        tracer = None
        return
    try:
        from opentelemetry import trace
    except ImportError as error:
        raise ImportError(
            "forebay.metrics.trace() needs opentelemetry-api, which is not installed: pip install 'forebay[opentelemetry]'",
            name="opentelemetry",
        ) from error
    from forebay._core import __version__

    tracer = trace.get_tracer("forebay", __version__, tracer_provider)
