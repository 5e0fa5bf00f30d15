# SPDX-License-Identifier: Apache-2.0
"""The stubs, as users' type checkers see them on the installed package."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import forebay

pytest.importorskip("mypy")
pytestmark = pytest.mark.long

RIGHT = """
import asyncio
import sqlite3
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, assert_type

import psycopg

import forebay
from forebay import codec, metrics
from forebay.batch import DataLoader
from prometheus_client import CollectorRegistry

database = sqlite3.connect("x")
stream = forebay.batches(database, "SELECT ?", (1,), max_bytes="1MiB", progress=lambda rows, size: None)
assert_type(stream, forebay.Batches)
for some in forebay.batches(database.cursor(), max_rows=5, types={"a": "int64"}):
    assert_type(some, forebay.Batch)
    assert_type(some[0], forebay.BatchRow)
    assert_type(some[1:], list[forebay.BatchRow])
    assert_type(some.column("a")[1:], forebay.BatchColumn)
    assert_type(forebay.plain(some[0]), dict[str, Any])
assert_type(forebay.write_batches([(1,)], lambda rows: database.executemany("x", rows)).rows, int)
async def read(connection: psycopg.AsyncConnection[tuple[str]]) -> None:
    async with forebay.batches(connection, "SELECT 1") as batches:
        assert_type(batches, forebay.AsyncBatches)
        async for some in batches:
            assert_type(some, forebay.Batch)
assert_type(codec.compress(b"x", "zstd", 3, dictionary=memoryview(b"d")), bytes)
assert_type(codec.decompress(bytearray(b"x"), max_size="1MiB"), bytes)
assert_type(codec.train_dictionary((b"x" for _ in range(9)), size=2048), bytes)
assert_type(codec.codecs(), tuple[str, ...])
arena = forebay.open("/dev/shm/x", "1MiB", mode=0o640, trust=True, guard=False, timeout=1)
assert_type(arena, forebay.Arena)
users: forebay.Cache[int, dict[str, str]] = arena.cache("users", ttl=timedelta(minutes=5))
assert_type(users.get(1), dict[str, str] | None)
assert_type(users.get(1, 0), dict[str, str] | int)
assert_type(users.get(1, default=b""), dict[str, str] | bytes)
assert_type(users[1], dict[str, str])
users[1] = {"a": "b"}
del users[1]
assert_type(1 in users, bool)
assert_type(len(users), int)
users.set(1, {}, ttl=None)
assert_type(users.add(1, {}, ttl=5), bool)
assert_type(users.replace(1, {}, ttl=0.5), bool)
assert_type(users.delete(1), bool)
assert_type(users.get_many([1, 2]), dict[int, dict[str, str]])
assert_type(users.get_many(i for i in range(3)), dict[int, dict[str, str]])
users.set_many({1: {}})
users.set_many([(1, {})], ttl=5)
assert_type(users.delete_many({1, 2}), int)
assert_type(users.incr(1), int)
assert_type(users.decr(1, 2, initial=5, ttl=None), int)
assert_type(users.stats()["hits"], int)
assert_type(users.stats()["share"], int | None)
arena.cache("other", share="1MiB", limit=None, update=True)
arena.cache("other", serializer="json")
arena.cache("other", serializer=(str.encode, bytes.decode))
with users.view(1) as view:
    assert_type(view, forebay.View)
    assert_type(view[0], int)
    assert_type(view[:2], memoryview)
    assert_type(view.zero_copy, bool)
    raw: bytes = bytes(view) + memoryview(view)
field: str = users.lazy(1)["name"]
lazy: forebay.Cache[int, forebay.Record[str, int]] = arena.cache("lazy", lazy=True, memo="4MiB")
assert_type(lazy[1], forebay.Record[str, int])
assert_type(lazy[1]["a"], int)
assert_type(lazy[1].get("a"), int | None)
assert_type(lazy[1].get("a", "b"), int | str)
assert_type(lazy[1].materialize(), dict[str, int])
assert_type(forebay.plain(lazy[1]), dict[str, int])
assert_type(list(lazy[1]), list[str])
def many(numbers: forebay.RecordList[int], pair: forebay.RecordTuple[str]) -> None:
    assert_type(numbers[0], int)
    assert_type(numbers[1:], list[int])
    assert_type(pair[:], tuple[str, ...])
    assert_type(forebay.plain(pair), tuple[str, ...])
arena.cache("hooks", encode_hook=str, decode_hook=None, memo=None)
@arena.memoize(lazy=True)
def record_of(n: int) -> dict[str, int]:
    return {"n": n}
assert_type(users.ttl, float | None)
assert_type(users.arena.info()["replaced"], bool)
assert_type(arena.rows()[0]["alive"], bool)
assert_type(arena.stats()["users"]["misses"], int)
assert_type(arena.verify(), list[str])
assert_type(arena.caches(), list[str])
assert_type(arena.path, str | None)
with forebay.open(None, 2**20) as other:
    assert_type(other, forebay.Arena)
    assert_type(forebay.open_fd(other.fileno()), forebay.Arena)
buffers = forebay.BufferPool("1MiB", min_buffer=4096, max_buffer="64KiB", timeout=None, max_idle=timedelta(1), clear=True)
with buffers, buffers.buffer(100, timeout=0.5) as buf:
    assert_type(buf, forebay.PooledBuffer)
    assert_type(buf[0], int)
    assert_type(buf[:2], memoryview)
    assert_type(buf.tobytes() + bytes(buf) + memoryview(buf), bytes)
    assert_type(len(buf) + buf.capacity + buf.nbytes, int)
    buf[0], buf[1:3] = 7, b"ab"
    buf.resize(50)
    with open("/dev/null", "rb", buffering=0) as file:
        file.readinto(buf)
buffers.acquire("4KiB").release()
assert_type(buffers.stats()["hits"] + buffers.stats()["classes"][4096]["idle"] + buffers.trim(max_idle=5), int)
tools = forebay.ObjectPool(dict[str, int], reset=dict.clear, close=None, max_size=3, max_uses=9, keep_after_error=True)
assert_type(tools, forebay.ObjectPool[dict[str, int]])
with tools, tools.borrow() as tool:
    assert_type(tool, dict[str, int])
tools.release(tools.acquire())
typed: forebay.ObjectPool[bytearray] = forebay.ObjectPool(bytearray)
assert_type(typed.stats()["created"], int)
try:
    users[1]
except forebay.MissError as miss:
    key_error: KeyError = miss
except forebay.FullError as full:
    memory_error: MemoryError = full
    print(full.failed_keys)
except forebay.DeniedError as denied:
    permission_error: PermissionError = denied
    assert_type(denied.errno, int | None)
info: forebay.ArenaInfo = arena.info()
users_of_tier: list[forebay.TierUser] = arena.tiers()["redis://here"]["processes"]
assert_type(info["uuid"], bytes)
async def tell(connection: psycopg.Connection[Any]) -> None:
    bus = forebay.buses.Postgres(lambda: psycopg.connect("dbname=x"), channel="x", server="x", max_stale=timedelta(seconds=2))
    assert_type(bus.stats(), dict[str, Any])
    forebay.buses.Redis(object(), prefix="x", watch="y", key=lambda name: int(name), max_stale=None)
    forebay.buses.install_trigger(connection, ("public", "users"), ["id", "name"], cache="users", channel="x")
    assert_type(forebay.buses.remove_trigger(connection, "users", cache="users"), bool)
version: str = forebay.__version__
source = forebay.sources.SQLite(lambda: database, table=("main", "users"), key=("a", "b"), columns=["c"], row=lambda row: row["c"])
assert_type(source([1]), dict[Any, Any])
loading: forebay.Cache[int, dict[str, str]] = arena.cache("loading", load_many=source)
arena.cache("loading", load_many=forebay.sources.Postgres(lambda: psycopg.connect(), query="SELECT 1", key="id", many=True))
arena.cache("loading", load_many=forebay.sources.Cassandra(object(), table="t", key="id", consistency="QUORUM", concurrency=5))
arena.cache("loading", load_many=forebay.sources.Redis(object(), key="user:{}", form="json"))
async def names(keys: list[int]) -> list[str]:
    return [str(key) for key in keys]
async def names_or_errors(keys: list[int]) -> list[str | Exception]:
    return [KeyError(key) for key in keys]
class Names(DataLoader[int, str]):
    async def batch_load_fn(self, ids: list[int]) -> list[str]:
        return await names(ids)
class Shared:
    async def afetch_many(self, keys: Iterable[int], *, timeout: float | None = None) -> dict[int, str]:
        return {}
async def load() -> None:
    loader = DataLoader(names)
    assert_type(loader, DataLoader[int, str])
    assert_type(DataLoader(names_or_errors), DataLoader[int, str])
    assert_type(await loader.load(1), str)
    assert_type(loader.load(1), asyncio.Future[str])
    assert_type(await loader.load_many({1, 2}), list[str])
    assert_type(loader.clear(1).prime(1, "one").prime(2, KeyError(2)).clear_all(), DataLoader[int, str])
    assert_type(Names(max_batch_size=5).clear_all(), Names)
    assert_type(await Names().load(1), str)
    assert_type(DataLoader.of(Shared(), max_batch_size=5), DataLoader[int, str | None])
    assert_type(await DataLoader.of(Shared()).load(1), str | None)
    futures: dict[int, asyncio.Future[str]] = {}
    DataLoader(names, True, None, True, lambda key: (key, key), futures, asyncio.get_running_loop())
class Lag:
    def metrics(self) -> Iterable[metrics.Family]:
        yield "lag_seconds", "gauge", "Lag.", [({"replica": "a"}, 0.5)]
objects = forebay.Pool(dict[str, int], name="a")
CollectorRegistry().register(metrics.Collector(arena, forebay.deferred("/dev/shm/x"), pools=[objects], more=[Lag()]))
metrics.Collector(pools={"a": objects, "b": objects.get_stats})
metrics.trace(False, tracer_provider=None)
"""

WRONG = {
    'forebay.batches(object(), max_bytes=1.5)': "call-overload",
    'forebay.batches(object(), progress=5)': "call-overload",
    'forebay.write_batches(5, print)': "arg-type",
    'forebay.write_batches([], 5)': "arg-type",
    'forebay.Batches()': "call-arg",
    'codec.compress("text")': "arg-type",
    'codec.decompress(b"x", level=3)': "call-arg",
    'forebay.open("/x", size=1.5)': "arg-type",
    'forebay.Arena().cache("c", serializer="yaml")': "call-overload",
    'forebay.open("/x", colour=1)': "call-arg",
    "forebay.Arena().nothing": "attr-defined",
    'cache.get("a")': "call-overload",
    "cache[1] = 5": "assignment",
    "cache.set(1, 's', 5)": "call-arg",
    "cache.set(1, 's', ttl='5')": "arg-type",
    "cache.set_many({'a': 's'})": "arg-type",
    "cache.get_many(5)": "arg-type",
    "cache.name = 'x'": "misc",
    "x: int = cache.get(1)": "assignment",
    "class Sub(forebay.Arena): ...": "misc",
    "batch.DataLoader[int, str](len)": "arg-type",
    "batch.DataLoader[int, str]().load('a')": "arg-type",
    "batch.DataLoader[int, str]().load_many(1)": "arg-type",
    "batch.DataLoader[int, str]().prime(1, 2)": "arg-type",
    "batch.DataLoader.of(forebay.Arena())": "arg-type",
    "forebay.BufferPool(maximum=5)": "call-arg",
    "forebay.sources.SQLite('shop.db', table='t', key='id')": "arg-type",
    "forebay.sources.Postgres(len, table='t')": "call-arg",
    "forebay.sources.Redis(object(), key='{}', form='list')": "arg-type",
    "forebay.BufferPool().buffer(1.5)": "arg-type",
    "forebay.BufferPool().acquire(1)[0] = b'x'": "call-overload",
    "forebay.ObjectPool(dict, reset=5)": "arg-type",
    "forebay.ObjectPool(bytearray).release('text')": "arg-type",
    "class Mine(forebay.BufferPool): ...": "misc",
    "metrics.Collector('/dev/shm/x')": "arg-type",
    "metrics.Collector(more=[5])": "list-item",
    "metrics.trace(provider=None)": "call-arg",
}


def mypy(folder, text):
    (folder / "sample.py").write_text(text)
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--no-incremental",
            "--show-error-codes",
            "--python-executable",
            sys.executable,
            "sample.py",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        env={
            "MYPYPATH": (
                str(Path(forebay.__file__).parent.parent) if "site-packages" not in forebay.__file__ else ""
            ),
            "PATH": "/usr/bin:/bin",
        },
    ).stdout


def test_right_use_passes_strict_mypy(tmp_path):
    output = mypy(tmp_path, RIGHT)
    assert "Success: no issues found" in output, output


def test_wrong_use_does_not(tmp_path):
    lines = list(WRONG)
    preamble = "import forebay\nfrom forebay import batch, codec, metrics\ndef cache_of() -> forebay.Cache[int, str]: ...  # type: ignore[empty-body]\ncache = cache_of()\n"
    output = mypy(tmp_path, preamble + "\n".join(lines))
    for number, line in enumerate(lines, start=5):
        assert any(
            text.startswith(f"sample.py:{number}:") and f"[{WRONG[line]}]" in text
            for text in output.splitlines()
        ), f"{line!r} should be [{WRONG[line]}]:\n{output}"


def test_the_package_itself_passes_strict_mypy():
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull, "python/forebay"]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_stubs_agree_with_the_extension(tmp_path):
    allowed = tmp_path / "allowed"  # Python has the method for buffers of extension types since 3.12
    buffers = "forebay._core.View.__buffer__\nforebay._core.PooledBuffer.__buffer__\n"
    drivers = r"forebay\.pools\..*" + "\n"  # no stubs: Python, on classes of drivers that are typed otherwise than they are
    allowed.write_text(drivers + (buffers if sys.version_info < (3, 12) else ""))
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "--allowlist", allowed, "forebay"],
        capture_output=True,
        text=True,
        env={
            "PYTHONPATH": ":".join(sys.path),
            "MYPYPATH": (
                str(Path(forebay.__file__).parent.parent) if "site-packages" not in forebay.__file__ else ""
            ),
            "PATH": "/usr/bin:/bin",
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_carries_its_types():
    folder = Path(forebay.__file__).parent
    assert (folder / "py.typed").exists()
    assert (folder / "_core.pyi").exists()
