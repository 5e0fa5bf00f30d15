# SPDX-License-Identifier: Apache-2.0
"""Metrics for Prometheus and spans for OpenTelemetry; docs/metrics.md lists them all.

    import forebay.metrics
    from prometheus_client import REGISTRY

    REGISTRY.register(forebay.metrics.Collector(arena, pools=[pool]))
    forebay.metrics.trace()

prometheus_client and opentelemetry are the user's own: they are imported when a
Collector is made, and when trace() is called.  `forebay stat PATH --prometheus`
prints the figures of an arena without Python.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from forebay import _tracing
from forebay._open import DeferredArena

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    from forebay import Arena, CacheStats, ChannelInfo, LimitInfo, TierInfo, TierUser

__all__ = ["Collector", "Family", "Metered", "PoolFigures", "trace"]

# name, kind, help, [(labels, value)]; names of counters end in _total
Family = tuple[str, Literal["counter", "gauge"], str, Iterable[tuple[Mapping[str, str], float]]]


class Metered(Protocol):
    """What Collector(more=) takes: something that has figures of its own."""

    def metrics(self) -> Iterable[Family]:
        """The families of now: name, "counter" or "gauge", help, [(labels, value)]; also those that have no sample yet.

        Called by whichever thread serves a scrape, and once when the collector is registered.  Several
        objects may give samples of one family, with labels that differ."""


class PoolFigures(Protocol):
    """What Collector(pools=) takes: forebay.Pool, AsyncPool, and the pools of forebay.pools that have this."""

    name: str

    def get_stats(self) -> Mapping[str, int]: ...


# ---- what there is ----


class _OfInfo(NamedTuple):
    """A gauge made of Arena.info(); the same as in cli/stat_prometheus.c, as are the next two tables."""

    name: str
    help: str
    figure: str
    factor: int = 1


class _OfCache(NamedTuple):
    name: str
    kind: Literal["counter", "gauge"]
    help: str
    figure: str  # of Cache.stats(); None: no sample


_ARENA = (
    _OfInfo("forebay_arena_size_bytes", "Size of the arena.", "size"),
    _OfInfo("forebay_arena_metadata_bytes", "All of the arena but the segments that hold entries.", "metadata_bytes"),
    _OfInfo("forebay_arena_entry_bytes", "Appended to the segments in use, dead entries included.", "entry_bytes"),
    _OfInfo("forebay_arena_segment_size_bytes", "Size of a segment.", "segment_size"),
    _OfInfo("forebay_arena_index_slots", "Slots of the index: entries that it can hold as it is.", "index_buckets", 8),
    _OfInfo("forebay_arena_index_slots_used", "Slots of the index in use.", "index_slots_used"),
    _OfInfo("forebay_arena_caches_max", "Most caches that the arena can hold.", "cache_count"),
    _OfInfo("forebay_arena_limits_max", "Most limits that the arena can hold.", "limit_count"),
    _OfInfo("forebay_arena_leases_held", "Keys that are being loaded.", "leases_held"),
    _OfInfo("forebay_arena_leases_max", "Most keys that can be loaded at once, about.", "leases"),
    _OfInfo("forebay_arena_format_version", "Version of the format of the file.", "format_version"),
    _OfInfo("forebay_arena_replaced", "1: the path leads to another file than the one that is open.", "replaced"),
    _OfInfo("forebay_arena_huge_pages", "1: huge pages are in effect.", "huge_pages"),
    _OfInfo("forebay_arena_on_disk", "1: the file outlives a reboot.", "on_disk"),
)
_CACHES: Family = ("forebay_arena_caches", "gauge", "Caches in the arena.", ())
_LIMITS: Family = ("forebay_arena_limits", "gauge", "Limits in the arena.", ())
_CHANNELS: Family = ("forebay_arena_channels", "gauge", "Channels in the arena.", ())
_TIERS: Family = ("forebay_arena_tiers", "gauge", "Tiers that the arena keeps account of.", ())
_SEGMENTS: Family = ("forebay_arena_segments", "gauge", "Segments, by what is in them.", ())
_ROWS: Family = ("forebay_arena_rows", "gauge", "Handles of the arena, one or more of each process that has it open.", ())
_CACHE = (
    _OfCache("forebay_cache_entries", "gauge", "Entries; expired ones until their space is reclaimed.", "entries"),
    _OfCache("forebay_cache_hits_total", "counter", "Gets that found an entry, key by key.", "hits"),
    _OfCache("forebay_cache_misses_total", "counter", "Gets that found none, key by key.", "misses"),
    _OfCache("forebay_cache_sets_total", "counter", "Values stored.", "sets"),
    _OfCache("forebay_cache_deletes_total", "counter", "Deletes that found an entry.", "deletes"),
    _OfCache("forebay_cache_evictions_total", "counter", "Live entries dropped for room.", "evictions"),
    _OfCache("forebay_cache_expirations_total", "counter", "Expired entries whose space was reclaimed.", "expirations"),
    _OfCache("forebay_cache_packed_hits_total", "counter", "Hits that had to be unpacked.", "packed_hits"),
    _OfCache("forebay_cache_warmed_total", "counter", "Entries stored again unpacked because they were hit often.", "warmed"),
    _OfCache(
        "forebay_cache_value_bytes_total", "counter", "Bytes of values set that could have been packed, as they were.", "value_bytes"
    ),
    _OfCache("forebay_cache_stored_bytes_total", "counter", "What those values took, packed or not.", "stored_bytes"),
    _OfCache("forebay_cache_bytes", "gauge", "Bytes of the segments of a cache with a share or a limit.", "bytes"),
    _OfCache("forebay_cache_share_bytes", "gauge", "Share that the cache is sure of.", "share"),
    _OfCache("forebay_cache_limit_bytes", "gauge", "Limit that the cache stays below.", "limit"),
    _OfCache(
        "forebay_cache_dictionary_age_seconds", "gauge", "Time since the dictionary was trained that new values are packed with.",
        "dictionary_age",
    ),  # fmt: skip
)
_LIMIT: tuple[tuple[str, str, Literal["most", "held", "waiting"]], ...] = (
    ("forebay_limit_permits_max", "Permits that the machine has of a limit.", "most"),
    ("forebay_limit_permits_held", "Permits of a limit in use.", "held"),
    ("forebay_limit_waiting", "Pools that wait for a permit of a limit.", "waiting"),
)
_CHANNEL_AGE: Family = (
    "forebay_channel_age_seconds", "gauge", "Time since the moment up to which everything was heard over a channel.", (),
)  # fmt: skip
_CHANNEL_LISTENERS: Family = ("forebay_channel_listeners", "gauge", "Processes that listen to a channel.", ())


_TIER_COUNT: tuple[tuple[str, str, Literal["hits", "misses", "stored", "errors", "skipped", "opened"]], ...] = (
    ("forebay_shared_tier_hits_total", "Keys that a tier had, of all processes.", "hits"),
    ("forebay_shared_tier_misses_total", "Keys that a tier did not have, of all processes.", "misses"),
    ("forebay_shared_tier_stored_total", "Values stored in a tier, of all processes.", "stored"),
    ("forebay_shared_tier_errors_total", "Calls of a tier that failed, of all processes.", "errors"),
    ("forebay_shared_tier_skipped_total", "Calls that were not made, as a tier was left alone.", "skipped"),
    ("forebay_shared_tier_opened_total", "How often a process began to leave a tier alone.", "opened"),
)
_TIER_USERS: tuple[tuple[str, str, Callable[[TierUser], bool]], ...] = (
    ("forebay_shared_tier_users", "Handles of the arena, of living processes, that use a tier.", lambda user: True),
    ("forebay_shared_tier_left_out", "Of them, those that leave it alone.", lambda user: user["left_out"]),
    (
        "forebay_shared_tier_not_stored", "Of them, those that ask it and store nothing in it.",
        lambda user: user["not_stored"] and not user["left_out"],
    ),
)  # fmt: skip


class _OfPool(NamedTuple):
    name: str
    kind: Literal["counter", "gauge"]
    help: str
    figure: str  # of Pool.get_stats()
    scale: int  # that the figure is divided by


_POOL = (
    _OfPool("forebay_pool_min_size", "gauge", "Objects that the pool keeps.", "pool_min", 1),
    _OfPool("forebay_pool_max_size", "gauge", "Most objects that the pool has.", "pool_max", 1),
    _OfPool("forebay_pool_size", "gauge", "Objects that there are or that are being made.", "pool_size", 1),
    _OfPool("forebay_pool_available", "gauge", "Idle objects.", "pool_available", 1),
    _OfPool("forebay_pool_requests_waiting", "gauge", "Requests that wait for an object.", "requests_waiting", 1),
    _OfPool("forebay_pool_requests_total", "counter", "Requests for an object.", "requests_num", 1),
    _OfPool("forebay_pool_requests_queued_total", "counter", "Requests that had to wait.", "requests_queued", 1),
    _OfPool(
        "forebay_pool_requests_wait_seconds_total", "counter", "Time that requests waited that got an object.", "requests_wait_ms", 1000
    ),
    _OfPool("forebay_pool_requests_errors_total", "counter", "Requests that got no object.", "requests_errors", 1),
    _OfPool("forebay_pool_usage_seconds_total", "counter", "Time that objects were out.", "usage_ms", 1000),
    _OfPool("forebay_pool_returns_bad_total", "counter", "Objects that came back unusable.", "returns_bad", 1),
    _OfPool("forebay_pool_connections_total", "counter", "Attempts to make an object.", "connections_num", 1),
    _OfPool("forebay_pool_connections_seconds_total", "counter", "Time that attempts to make one took.", "connections_ms", 1000),
    _OfPool("forebay_pool_connections_errors_total", "counter", "Attempts to make one that failed.", "connections_errors", 1),
    _OfPool("forebay_pool_connections_lost_total", "counter", "Objects that a check found dead.", "connections_lost", 1),
)


# ---- gathered ----

_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f]")


def _text(value: str) -> str:
    """A label's value: what is not text is written as \\xNN, as `forebay stat` does."""
    clean = value.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", clean)


def _place_of(arena: Arena) -> str:
    path = arena.path
    return "anonymous" if path is None else _text(os.path.realpath(path))


def _arena_families(arena: Arena) -> Iterator[Family]:
    where = _place_of(arena)
    info, caches, limits, channels, rows = arena.info(), arena.stats(), arena.limits(), arena.channels(), arena.rows()
    tiers = arena.tiers()
    for gauge in _ARENA:
        yield gauge.name, "gauge", gauge.help, [({"arena": where}, info[gauge.figure] * gauge.factor)]  # type: ignore[literal-required]
    yield *_CACHES[:3], [({"arena": where}, len(caches))]
    yield *_LIMITS[:3], [({"arena": where}, len(limits))]
    yield *_CHANNELS[:3], [({"arena": where}, len(channels))]
    yield *_TIERS[:3], [({"arena": where}, len(tiers))]
    entries = info["segment_count"] - info["segments_free"] - info["segments_index"]
    yield _by_state(_SEGMENTS, where, entries=entries, index=info["segments_index"], free=info["segments_free"])
    alive = sum(row["alive"] for row in rows)
    yield _by_state(_ROWS, where, alive=alive, dead=len(rows) - alive, free=info["row_count"] - len(rows))
    yield from _cache_families(where, caches)
    yield from _limit_families(where, limits)
    yield from _channel_families(where, channels)
    yield from _tier_families(where, tiers)


def _by_state(family: Family, where: str, **states: int) -> Family:
    return *family[:3], [({"arena": where, "state": state}, value) for state, value in states.items()]


def _cache_families(where: str, caches: Mapping[str, CacheStats]) -> Iterator[Family]:
    labels = {name: {"arena": where, "cache": _text(name)} for name in sorted(caches)}
    for row in _CACHE:
        figures = ((name, caches[name][row.figure]) for name in labels)  # type: ignore[literal-required]
        yield row.name, row.kind, row.help, [(labels[name], value) for name, value in figures if value is not None]


def _limit_families(where: str, limits: Mapping[str, LimitInfo]) -> Iterator[Family]:
    for family, help, figure in _LIMIT:
        samples = [({"arena": where, "limit": _text(name)}, limits[name][figure]) for name in sorted(limits)]
        yield family, "gauge", help, samples


def _channel_families(where: str, channels: Mapping[str, ChannelInfo]) -> Iterator[Family]:
    labels = {name: {"arena": where, "channel": _text(name)} for name in sorted(channels)}
    ages = ((name, channels[name]["age"]) for name in labels)
    yield *_CHANNEL_AGE[:3], [(labels[name], age) for name, age in ages if age is not None]
    yield *_CHANNEL_LISTENERS[:3], [(labels[name], len(channels[name]["listeners"])) for name in labels]


def _tier_families(where: str, tiers: Mapping[str, TierInfo]) -> Iterator[Family]:
    labels = {name: {"arena": where, "tier": _text(name)} for name in sorted(tiers)}
    for family, help, count in _TIER_COUNT:
        yield family, "counter", help, [(labels[name], tiers[name][count]) for name in labels]
    for family, help, counts in _TIER_USERS:
        yield family, "gauge", help, [(labels[name], sum(map(counts, tiers[name]["processes"]))) for name in labels]


def _pool_families(pools: Mapping[str, Callable[[], Mapping[str, int]]]) -> Iterator[Family]:
    figures = {name: stats() for name, stats in pools.items()}
    for row in _POOL:
        yield row.name, row.kind, row.help, [
            ({"pool": _text(name)}, stats[row.figure] / row.scale) for name, stats in figures.items() if row.figure in stats
        ]


def _empty_of_arenas() -> Iterator[Family]:
    for gauge in _ARENA:
        yield gauge.name, "gauge", gauge.help, ()
    yield from (_CACHES, _LIMITS, _CHANNELS, _TIERS, _SEGMENTS, _ROWS)
    yield from _cache_families("", {})
    yield from _limit_families("", {})
    yield from _channel_families("", {})
    yield from _tier_families("", {})


class Collector:
    """What a registry of prometheus_client collects: figures of arenas, of this process's pools, and of `more`.

        registry.register(Collector(arena, pools=[pool]))

    arenas: of Arena and forebay.deferred(), which is opened by the first scrape.  Their figures are
    those of the machine, under the names that `forebay stat PATH --prometheus` gives them: so
    let one process of the machine export them, or whichever answers, but do not add up those of several.
    The label `arena` is the real path of the file, "anonymous" where there is none.
    pools: forebay.Pool, AsyncPool and the pools of forebay.pools with get_stats(), of this process; or a
    mapping of names to those, or to functions that return what get_stats() would: {"redis": lambda: pool.stats}.
    more: objects with a metrics() method; see Metered.

    Registries refuse two collectors of the same names: give one Collector several arenas. With several worker
    processes register it with the registry that MultiProcessCollector is in, see docs/metrics.md.
    Threads: collect() may be called by any at any time, and in the child of a fork.  It raises what
    arenas and pools raise: forebay.ClosedError where an arena was closed.

    ImportError: prometheus_client is not installed.  ValueError: two arenas, or two pools, of one name.
    """

    def __init__(
        self,
        *arenas: Arena | DeferredArena,
        pools: Iterable[PoolFigures] | Mapping[str, Any] = (),
        more: Iterable[Metered] = (),
    ) -> None:
        try:
            import prometheus_client.core
        except ImportError as error:
            raise ImportError(
                "forebay.metrics.Collector needs prometheus_client, which is not installed: pip install 'forebay[prometheus]'",
                name="prometheus_client",
            ) from error
        self._kinds: dict[str, type[CounterMetricFamily] | type[GaugeMetricFamily]] = {
            "counter": prometheus_client.core.CounterMetricFamily, "gauge": prometheus_client.core.GaugeMetricFamily,
        }  # fmt: skip
        _refuse_twins((_place_of(arena) for arena in arenas if not isinstance(arena, DeferredArena)), "arena")
        self._arenas = arenas
        self._pools = _pools_by_name(pools)
        self._more = tuple(more)

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        """The families with their samples of now."""
        return self._merged(self._families())

    def describe(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        """The families without samples; no arena is looked at."""
        return self._merged((*family[:3], ()) for family in self._empty_families())

    def _families(self) -> Iterator[Family]:
        for arena in self._arenas:
            yield from _arena_families(arena.open() if isinstance(arena, DeferredArena) else arena)
        if self._pools:
            yield from _pool_families(self._pools)
        for metered in self._more:
            yield from metered.metrics()

    def _empty_families(self) -> Iterator[Family]:
        if self._arenas:
            yield from _empty_of_arenas()
        if self._pools:
            yield from _pool_families({})
        for metered in self._more:
            yield from metered.metrics()

    def _merged(self, families: Iterable[Family]) -> list[CounterMetricFamily | GaugeMetricFamily]:
        """One family for each name, in the order of coming."""
        made: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for name, kind, help, samples in families:
            if kind not in self._kinds or (kind == "counter") != name.endswith("_total"):
                raise ValueError(f"{name!r} is a {kind}: there are gauges, and counters, whose names end in _total")
            if name not in made:
                made[name] = self._kinds[kind](name, help)
            for labels, value in samples:
                made[name].add_sample(name, dict(labels), value)
        return list(made.values())


def _refuse_twins(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"two of the {what}s are called {name!r}: their figures would be the same metric")
        seen.add(name)


def _pools_by_name(pools: Any) -> dict[str, Callable[[], Mapping[str, int]]]:
    named = list(pools.items()) if isinstance(pools, Mapping) else [(pool.name, pool) for pool in pools]
    _refuse_twins((name for name, _ in named), "pool")
    return {name: pool.get_stats if hasattr(pool, "get_stats") else pool for name, pool in named}


def trace(on: bool = True, *, tracer_provider: TracerProvider | None = None) -> None:
    """Have loads and calls of tiers make spans of OpenTelemetry in this process, from now on; False: no more.

    tracer_provider: whose spans they are; by default the one that opentelemetry.trace has when this
    is called or, set up later, then.  Children of a fork inherit the setting.

    While it is off, which it is at first, a miss costs one look at a variable more; a hit costs nothing, on or off.
    ImportError: opentelemetry is not installed.
    """
    _tracing.set_up(on, tracer_provider)
