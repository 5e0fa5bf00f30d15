# SPDX-License-Identifier: Apache-2.0
"""Shapes of the dicts that arenas, caches and pools report with."""

from typing import TypedDict


class ArenaInfo(TypedDict):
    """What Arena.info() returns: figures of the whole arena."""

    size: int
    format_version: int
    segment_size: int
    segment_count: int
    segments_free: int
    segments_index: int
    row_count: int
    rows_used: int
    cache_count: int
    caches_used: int
    limit_count: int
    leases: int
    leases_held: int
    index_buckets: int
    index_slots_used: int
    metadata_bytes: int
    entry_bytes: int
    now_ms: int
    replaced: bool
    huge_pages: bool
    on_disk: bool
    uuid: bytes


class RowInfo(TypedDict):
    """An open handle on an arena, as Arena.rows() lists them."""

    row: int
    generation: int
    pid: int
    alive: bool


class LimitShare(TypedDict):
    """What one process has of a limit."""

    pid: int
    held: int
    waiting: int


class ChannelInfo(TypedDict):
    """Of one channel in Arena.channels(): seconds since it was heard, and the pids of those who listen."""

    age: float | None
    listeners: list[int]


class TierUser(TypedDict):
    """How one process uses a tier: it leaves it out, or stores nothing in it."""

    pid: int
    left_out: bool
    not_stored: bool


class TierInfo(TypedDict):
    """Of one tier in Arena.tiers(): counts over all processes, seconds since one last began to leave it out."""

    hits: int
    misses: int
    stored: int
    errors: int
    skipped: int
    opened: int
    last_left_out: float | None
    processes: list[TierUser]


class LimitInfo(TypedDict):
    """What pools with host_max= share, as Arena.limits() tells it."""

    most: int
    held: int
    waiting: int
    processes: list[LimitShare]


class CacheStats(TypedDict):
    """What Cache.stats() returns: figures over all processes."""

    hits: int
    misses: int
    sets: int
    deletes: int
    evictions: int
    expirations: int
    entries: int
    share: int | None
    limit: int | None
    bytes: int | None
    packed_hits: int
    value_bytes: int
    stored_bytes: int
    warmed: int
    codec: str | None
    ratio: float | None
    dictionary: int | None
    dictionary_age: float | None


class BufferClassStats(TypedDict):
    """Figures of a BufferPool's buffers of one capacity."""

    in_use: int
    idle: int
    hits: int
    misses: int


class BufferPoolStats(TypedDict):
    """What BufferPool.stats() returns: figures of this process."""

    max_bytes: int
    bytes: int
    in_use_bytes: int
    in_use: int
    idle: int
    viewed: int
    waiting: int
    hits: int
    misses: int
    waits: int
    given_up: int
    classes: dict[int, BufferClassStats]


class ObjectPoolStats(TypedDict):
    """What ObjectPool.stats() returns: figures of this process."""

    max_size: int
    in_use: int
    idle: int
    created: int
    reused: int
    dropped: int
    lost: int
    hook_errors: int
