# SPDX-License-Identifier: Apache-2.0
"""Forebay: one bounded, evicting cache in memory that all processes of a machine share.

    import forebay

    arena = forebay.open("/dev/shm/shop.forebay", size="256MiB")  # the same in every worker
    users = arena.cache("users", ttl=300)
    users.set(42, {"name": "Ada"})
    users.get(42)

There is no server: processes read and write the mapped file directly.  Any of
them may be killed or stopped at any instruction; the others go on.  Entries
survive restarts.  Any thread may use an Arena or a Cache, and so may the child
after os.fork().  All errors are kinds of forebay.Error and of the fitting
built-in exception; wrong arguments raise plain TypeError and ValueError.
"""

import sys
from collections.abc import MutableMapping as _MutableMapping
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if sys.platform != "linux":
    raise ImportError(
        f"forebay works on Linux only, not on {sys.platform}: it needs memfd and open file description locks"
    )

from forebay import _records as _records  # registers the records as mappings and sequences
from forebay._batches import AsyncBatches, Batches, batches
from forebay._core import (
    ABSENT,
    Arena,
    ArenaError,
    Batch,
    BatchColumn,
    BatchRow,
    BufferPool,
    BusyError,
    Cache,
    ClosedError,
    ConflictError,
    CorruptError,
    DeniedError,
    Error,
    FullError,
    InvalidError,
    LoadError,
    MissError,
    NoSpaceError,
    NotFoundError,
    ObjectPool,
    OverflowError,
    PoolClosedError,
    PoolError,
    PoolTimeoutError,
    PooledBuffer,
    Record,
    RecordList,
    RecordTuple,
    RecursiveLoadError,
    SizeWarning,
    TimeoutError,
    TooBigError,
    TooManyRequestsError,
    TypeMismatchError,
    VersionError,
    View,
    ViewError,
    __version__,
    plain,
)
from forebay._mapping import Namespace
from forebay._memoize import CacheInfo, MemoizedFunction
from forebay._open import DeferredArena, deferred, open, open_fd
from forebay._serializers import PickleWarning
from forebay._types import (
    ArenaInfo,
    BufferPoolStats,
    CacheStats,
    ChannelInfo,
    LimitInfo,
    LimitShare,
    ObjectPoolStats,
    RowInfo,
    TierInfo,
    TierUser,
)
from forebay._write_batches import Written, awrite_batches, write_batches

_MutableMapping.register(Cache)
_MutableMapping.register(Namespace)

for _public in (CacheInfo, DeferredArena, MemoizedFunction, Namespace, PickleWarning, deferred, open, open_fd, plain):
    _public.__module__ = "forebay"
del _public
for _of_batches in (AsyncBatches, Batches, Written, awrite_batches, batches, write_batches):
    _of_batches.__module__ = "forebay"
del _of_batches

if _TYPE_CHECKING:
    from forebay import buses as buses
    from forebay import sources as sources
    from forebay import tiers as tiers
    from forebay._pool import Pool
    from forebay._pool_async import AsyncPool
    from forebay._shared import SharedCache

_LATE = {  # they need threading and asyncio
    "AsyncPool": "forebay._pool_async",
    "Pool": "forebay._pool",
    "SharedCache": "forebay._shared",
}
_PACKAGES = {"buses", "sources", "tiers"}  # of the package: no need to import them by name


def __getattr__(name: str) -> _Any:
    import importlib

    if name in _PACKAGES:
        return importlib.import_module(f"forebay.{name}")
    if name not in _LATE:
        raise AttributeError(f"module 'forebay' has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_LATE[name]), name)
    found.__module__ = "forebay"
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE, *_PACKAGES})


__all__ = [
    "ABSENT",
    "Arena",
    "ArenaError",
    "ArenaInfo",
    "AsyncBatches",
    "AsyncPool",
    "Batch",
    "BatchColumn",
    "BatchRow",
    "Batches",
    "BufferPool",
    "BufferPoolStats",
    "BusyError",
    "Cache",
    "CacheInfo",
    "CacheStats",
    "ChannelInfo",
    "ClosedError",
    "ConflictError",
    "CorruptError",
    "DeferredArena",
    "DeniedError",
    "Error",
    "FullError",
    "InvalidError",
    "LimitInfo",
    "LimitShare",
    "LoadError",
    "MemoizedFunction",
    "MissError",
    "Namespace",
    "NoSpaceError",
    "NotFoundError",
    "ObjectPool",
    "ObjectPoolStats",
    "OverflowError",
    "PickleWarning",
    "Pool",
    "PoolClosedError",
    "PoolError",
    "PoolTimeoutError",
    "PooledBuffer",
    "Record",
    "RecordList",
    "RecordTuple",
    "RecursiveLoadError",
    "RowInfo",
    "SharedCache",
    "SizeWarning",
    "TierInfo",
    "TierUser",
    "TimeoutError",
    "TooBigError",
    "TooManyRequestsError",
    "TypeMismatchError",
    "VersionError",
    "View",
    "ViewError",
    "Written",
    "__version__",
    "awrite_batches",
    "batches",
    "deferred",
    "open",
    "open_fd",
    "plain",
    "write_batches",
]
