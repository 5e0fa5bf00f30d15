# SPDX-License-Identifier: Apache-2.0
"""forebay.metrics.trace(): spans around loads, in memory of OpenTelemetry's SDK; and that nothing is there where it is off."""

import asyncio
import contextvars
import dis
import threading

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import forebay
import forebay.metrics
from forebay import _loading_flights, _tracing
from forking import fork_to_run, wait_for
from loading_calls import eventually


class Spans:
    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    @property
    def ended(self):
        return list(self.exporter.get_finished_spans())

    def only(self):
        (span,) = self.ended
        return span

    def attributes(self):
        return [{name.removeprefix("forebay."): value for name, value in span.attributes.items()} for span in self.ended]


@pytest.fixture
def spans():
    """Tracing is on."""
    spans = Spans()
    forebay.metrics.trace(tracer_provider=spans.provider)
    yield spans
    forebay.metrics.trace(False)
    spans.provider.shutdown()


def errors_of(span):
    return [event.attributes["exception.type"] for event in span.events if event.name == "exception"]


# ---- off


def test_it_is_off_until_it_is_asked_for(arena):
    assert _tracing.tracer is None
    off = _tracing.span("forebay.tier.get", keys=3)
    assert off is _tracing.span("another")
    with pytest.raises(KeyError), off as made:
        made.set(hits=1)
        made.fail(ValueError())
        raise KeyError


def test_a_load_looks_at_one_variable_where_it_is_off():
    """Else a miss pays for what nobody asked for: nothing of the span is touched before the look."""
    for function in (_loading_flights.Flights.call, _loading_flights.Flights.call_async):
        loads = [step for step in dis.get_instructions(function) if step.opname in ("LOAD_GLOBAL", "LOAD_ATTR", "LOAD_METHOD")]
        names = [step.argval for step in loads]
        assert names[:2] == ["_tracing", "tracer"]


def test_it_can_be_turned_off_again(arena, spans):
    cache = arena.cache("c", load=lambda key: key)
    cache.fetch(1)
    forebay.metrics.trace(False)
    cache.fetch(2)
    assert [found["keys"] for found in spans.attributes()] == [1]


# ---- loads


def test_a_load_is_a_span_and_a_hit_is_none(arena, spans):
    cache = arena.cache("users", load=lambda key: key)
    assert cache.fetch(1) == cache.fetch(1) == cache.get(1) == 1
    cache.set(2, 2)
    assert cache.fetch(2) == 2 and cache.get(3) is None
    span = spans.only()
    assert span.name == "forebay.load" and span.status.status_code is StatusCode.UNSET
    assert span.attributes == {"forebay.cache": "users", "forebay.keys": 1, "forebay.outcome": "ok"}
    assert (span.instrumentation_scope.name, span.instrumentation_scope.version) == ("forebay", forebay.__version__)


def test_a_batch_is_one_span(arena, spans):
    cache = arena.cache("c", load_many=lambda keys: {key: key for key in keys if key != 3}, absent_ttl=5)
    cache.set(1, 1)
    assert cache.fetch_many([1, 2, 3]) == {1: 1, 2: 2}
    assert spans.attributes() == [{"cache": "c", "keys": 2, "outcome": "ok"}]


def test_it_is_a_child_of_the_callers_span_and_the_parent_of_what_the_loader_does(arena, spans):
    def load(key):
        with spans.tracer.start_as_current_span("query"):
            return key

    with spans.tracer.start_as_current_span("request"):
        arena.cache("c", load=load).fetch(1)
        assert otel.get_current_span().name == "request"
    query, load, request = spans.ended
    assert [query.name, load.name, request.name] == ["query", "forebay.load", "request"]
    assert query.parent.span_id == load.context.span_id and load.parent.span_id == request.context.span_id


def test_an_error_is_recorded(arena, spans):
    def load(key):
        raise LookupError("no such customer")

    with pytest.raises(LookupError):
        arena.cache("c", load=load).fetch(1)
    span = spans.only()
    assert span.attributes["forebay.outcome"] == "error"
    assert span.status.status_code is StatusCode.ERROR and span.status.description == "LookupError"
    assert errors_of(span) == ["LookupError"]
    assert span.events[0].attributes["exception.message"] == "no such customer"


def test_an_error_without_a_text_is_the_callers_all_the_same(arena, spans):
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError

    def load(key):
        raise Silent

    with pytest.raises(Silent):
        arena.cache("c", load=load).fetch(1)
    assert spans.only().status.description == "Silent"


@pytest.mark.parametrize(("failing", "outcome"), [(2, "partial"), (10, "error")])
def test_errors_of_single_keys_are_counted_and_the_first_recorded(arena, spans, failing, outcome):
    def load_many(keys):
        return [ValueError(key) if key < failing else key for key in keys]

    with pytest.raises(ValueError):
        arena.cache("c", load_many=load_many).fetch_many(range(10))
    assert spans.attributes() == [{"cache": "c", "keys": 10, "outcome": outcome, "failed": failing}]
    assert errors_of(spans.only()) == ["ValueError"] * min(failing, 5)


def test_a_wrong_answer_is_an_error(arena, spans):
    with pytest.raises(TypeError):
        arena.cache("c", load_many=lambda keys: 5).fetch_many([1])
    assert spans.attributes()[0]["outcome"] == "error" and errors_of(spans.only()) == ["TypeError"]


def test_an_interrupt_ends_the_span_and_goes_through(arena, spans):
    def load(key):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        arena.cache("c", load=load).fetch(1)
    assert spans.attributes()[0]["outcome"] == "cancelled" and errors_of(spans.only()) == ["KeyboardInterrupt"]
    assert not otel.get_current_span().get_span_context().is_valid


def test_a_refresh_in_the_background_is_a_span_too(arena, spans):
    loaded = threading.Semaphore(0)

    def load(key):
        loaded.release()
        return key

    cache = arena.cache("c", load=load, ttl=5, stale=60)
    cache.fetch(1)
    arena._advance_clock(6000)
    cache.fetch(1)
    assert loaded.acquire(timeout=60) and loaded.acquire(timeout=60)
    eventually(lambda: len(spans.ended) == 2)
    assert [found["outcome"] for found in spans.attributes()] == ["ok", "ok"]


def test_memoized_functions_have_them_and_those_inside_of_one_too(arena, spans):
    @arena.memoize
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert fibonacci(5) == 5
    assert [(found["keys"], found["outcome"]) for found in spans.attributes()] == [(1, "ok")] * 6
    assert sum(span.parent is None for span in spans.ended) == 1


# ---- in tasks


def test_coroutine_functions_have_them(arena, spans):
    async def load_many(keys):
        with spans.tracer.start_as_current_span("query"):
            await asyncio.sleep(0)
            return {key: key for key in keys}

    async def main():
        cache = arena.cache("c", load_many=load_many)
        with spans.tracer.start_as_current_span("request"):
            assert await asyncio.gather(cache.afetch(1), cache.afetch(2)) == [1, 2]
            assert otel.get_current_span().name == "request"

    asyncio.run(main())
    query, load, request = spans.ended
    assert query.parent.span_id == load.context.span_id and load.parent.span_id == request.context.span_id
    assert load.attributes == {"forebay.cache": "c", "forebay.keys": 2, "forebay.outcome": "ok"}


def test_functions_that_run_in_the_executor_are_children_of_the_callers_span(arena, spans):
    async def main():
        with spans.tracer.start_as_current_span("request"):
            assert await arena.cache("c", load=lambda key: key).afetch(1) == 1

    asyncio.run(main())
    load, request = spans.ended
    assert load.name == "forebay.load" and load.parent.span_id == request.context.span_id


def test_errors_of_coroutine_functions_are_recorded(arena, spans):
    async def load(key):
        await asyncio.sleep(0)
        raise LookupError

    async def main():
        with pytest.raises(LookupError):
            await arena.cache("c", load=load).afetch(1)

    asyncio.run(main())
    assert spans.attributes()[0]["outcome"] == "error" and errors_of(spans.only()) == ["LookupError"]


def test_a_load_that_is_cancelled_is_told_as_cancelled(arena, spans, caplog):
    async def load(key):
        begun.set()
        await asyncio.sleep(600)

    async def main():
        caller = asyncio.create_task(arena.cache("c", load=load).afetch(1))
        await begun.wait()
        caller.cancel()  # the load goes on without it, until the loop ends

    begun = asyncio.Event()
    asyncio.run(main())
    assert spans.attributes() == [{"cache": "c", "keys": 1, "outcome": "cancelled"}]
    assert not caplog.records


def test_a_coroutine_that_is_thrown_away_ends_its_span_quietly(spans, caplog):
    """It is closed in another context than its own, where OpenTelemetry could not end it without a complaint."""

    async def work():
        with _tracing.span("forebay.tier.get"):
            await asyncio.Event().wait()

    async def begin():
        coroutine = work()
        contextvars.copy_context().run(coroutine.send, None)
        return coroutine

    asyncio.run(begin()).close()
    assert spans.only().name == "forebay.tier.get" and errors_of(spans.only()) == ["GeneratorExit"]
    assert not caplog.records


# ---- for tiers


def test_a_span_takes_attributes_and_errors_that_are_not_raised(spans):
    with _tracing.span("forebay.tier.get", tier="redis", keys=3, node=None) as span:
        span.set(hits=2, node=None)
        span.fail(TimeoutError("later"))
    assert spans.attributes() == [{"tier": "redis", "keys": 3, "hits": 2}]
    assert errors_of(spans.only()) == ["TimeoutError"] and spans.only().status.status_code is StatusCode.ERROR


def test_the_provider_is_opentelemetrys_own_where_none_is_given(monkeypatch):
    spans = Spans()
    monkeypatch.setattr(otel, "_TRACER_PROVIDER", spans.provider)
    try:
        forebay.metrics.trace()
        with _tracing.span("forebay.tier.get"):
            pass
    finally:
        forebay.metrics.trace(False)
    assert spans.only().name == "forebay.tier.get"


def test_a_child_of_a_fork_goes_on_tracing(arena, spans):
    cache = arena.cache("c", load=lambda key: key)

    def child():
        cache.fetch(1)
        assert spans.attributes() == [{"cache": "c", "keys": 1, "outcome": "ok"}]

    wait_for(fork_to_run(child))
    assert spans.ended == []
