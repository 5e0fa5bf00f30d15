# SPDX-License-Identifier: Apache-2.0
import doctest
import importlib.metadata
import inspect
import os
import subprocess
import sys

import pytest

import forebay
from forebay import _core

PUBLIC = [name for name in forebay.__all__ if name != "__version__"]
METHODS = [
    (owner, name)
    for owner in (
        forebay.Arena, forebay.Cache, forebay.Record, forebay.RecordList, forebay.RecordTuple, forebay.BufferPool,
        forebay.PooledBuffer, forebay.ObjectPool, forebay.Batch, forebay.BatchRow, forebay.BatchColumn, forebay.Batches,
        forebay.AsyncBatches,
    )  # fmt: skip
    for name in vars(owner)
    if not name.startswith("_") or name in ("__enter__", "__exit__", "__class_getitem__", "__reduce__")
]


def test_all_lists_everything_public():
    found = {
        name
        for name in {*vars(forebay), *forebay._LATE}
        if not name.startswith("_") and not inspect.ismodule(getattr(forebay, name))
    }
    assert found | {"__version__"} == set(forebay.__all__)
    assert list(forebay.__all__) == sorted(forebay.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_object_has_a_docstring_and_says_where_it_is(name):
    thing = getattr(forebay, name)
    assert thing.__doc__
    assert len(thing.__doc__) > 20
    if not name.endswith(("Info", "Share", "Stats", "User")):
        assert thing.__module__ == "forebay"


@pytest.mark.parametrize(("owner", "name"), METHODS, ids=lambda part: getattr(part, "__name__", part))
def test_every_method_and_attribute_has_a_docstring_and_every_method_a_signature(owner, name):
    thing = inspect.getattr_static(owner, name)
    assert thing.__doc__
    method = getattr(owner, name)
    if callable(method):
        assert "--" not in thing.__doc__.splitlines()[0]
        parameters = list(inspect.signature(method).parameters)
        assert name == "__class_getitem__" or parameters[0] == "self"


@pytest.mark.parametrize(
    "name", [name for name in vars(_core) if callable(getattr(_core, name)) and not name[0].isupper()]
)
def test_every_function_of_the_extension_has_a_signature(name):
    assert getattr(_core, name).__doc__
    inspect.signature(getattr(_core, name))


@pytest.mark.parametrize("function", [forebay.open, forebay.open_fd])
def test_functions_have_annotated_signatures(function):
    signature = inspect.signature(function)
    assert signature.return_annotation is forebay.Arena
    assert all(parameter.annotation is not parameter.empty for parameter in signature.parameters.values())


def test_signatures_say_what_may_be_omitted():
    assert str(inspect.signature(forebay.Cache.get)) == "(self, key, /, default=None)"
    assert str(inspect.signature(forebay.Cache.set)) == "(self, key, value, /, *, ttl=Ellipsis, tags=())"
    assert str(inspect.signature(forebay.Cache.incr)) == "(self, key, delta=1, /, *, initial=0, ttl=Ellipsis)"
    assert str(inspect.signature(forebay.Arena.cache)) == (
        "(self, name, /, *, ttl=Ellipsis, share=Ellipsis, limit=Ellipsis, codec=Ellipsis, version=0, update=False, "
        "serializer='msgpack', lazy=False, memo=Ellipsis, encode_hook=None, decode_hook=None, load=None, load_many=None, "
        "absent_ttl=None, stale=None, early=None, jitter=0.0, max_batch=100, max_wait=0.0, load_timeout=10.0, "
        "tier=None, bus=None)"
    )


def test_the_version_is_that_of_the_distribution():
    try:
        assert forebay.__version__ == importlib.metadata.version("forebay")
    except importlib.metadata.PackageNotFoundError:
        assert forebay.__version__[0].isdigit()  # run from a build folder


def test_reprs_say_what_it_is(path):
    with forebay.open(path, "1MiB") as arena:
        cache = arena.cache("users", ttl=300)
        assert repr(arena) == f"<forebay.Arena '{path}' 1 MiB>"
        assert repr(cache) == f"<forebay.Cache 'users' ttl=300.0 in '{path}'>"
        assert repr(arena.cache("ever")) == f"<forebay.Cache 'ever' ttl=None in '{path}'>"
    assert repr(arena) == f"<forebay.Arena '{path}' closed>"
    assert repr(cache) == "<forebay.Cache 'users' of a closed arena>"
    with forebay.open(None, 1_500_000) as arena:
        assert repr(arena) == "<forebay.Arena anonymous 1499136 bytes>"
        assert repr(arena.cache("c")) == "<forebay.Cache 'c' ttl=None in an anonymous arena>"


def test_help_works():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-m", "pydoc", "forebay"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0
    assert "get_many(self, keys, /)" in done.stdout
    assert "open(" in done.stdout


def test_examples_in_docstrings_are_right():
    failures, _ = doctest.testmod(forebay)
    assert failures == 0


def test_on_another_system_the_import_error_says_so():
    code = f"import sys; sys.path[:] = {sys.path!r}; sys.platform = 'darwin'; import forebay"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError: forebay works on Linux only, not on darwin" in done.stderr


def test_importing_loads_no_more_than_it_needs():
    code = f"import sys; sys.path[:] = {sys.path!r}; import forebay; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {
        "asyncio",
        "socket",
        "sqlite3",
        "multiprocessing",
        "zoneinfo",
        "subprocess",
        "threading.local",
    } & set(loaded)
