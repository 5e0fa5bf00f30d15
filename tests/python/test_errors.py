# SPDX-License-Identifier: Apache-2.0
import asyncio
import builtins
import copy
import errno
import pickle

import pytest

import forebay

TREE = {
    "ArenaError": OSError,
    "NotFoundError": FileNotFoundError,
    "DeniedError": PermissionError,
    "NoSpaceError": OSError,
    "BusyError": OSError,
    "TimeoutError": builtins.TimeoutError,
    "CorruptError": ValueError,
    "VersionError": ValueError,
    "InvalidError": ValueError,
    "ClosedError": ValueError,
    "ConflictError": ValueError,
    "FullError": MemoryError,
    "TooBigError": ValueError,
    "TypeMismatchError": TypeError,
    "OverflowError": builtins.OverflowError,
    "MissError": KeyError,
    "ViewError": BufferError,
    "LoadError": RuntimeError,
    "RecursiveLoadError": RuntimeError,
    "PoolError": RuntimeError,
    "PoolTimeoutError": builtins.TimeoutError,
    "PoolClosedError": RuntimeError,
    "TooManyRequestsError": RuntimeError,
}


@pytest.mark.parametrize(("name", "builtin"), TREE.items())
def test_every_error_is_one_of_ours_and_the_fitting_builtin(name, builtin):
    error = getattr(forebay, name)
    assert issubclass(error, forebay.Error)
    assert issubclass(error, builtin)
    assert error.__module__ == "forebay"
    assert error.__qualname__ == name


def test_the_table_has_every_error_there_is():
    found = {
        name
        for name, value in vars(forebay).items()
        if isinstance(value, type) and issubclass(value, forebay.Error)
    }
    assert found - {"Error"} == set(TREE)


@pytest.mark.parametrize("name", ["Error", *TREE])
def test_errors_survive_pickling_and_copying(name):
    error = getattr(forebay, name)(errno.EACCES, "some text", "/some/path")
    error.failed_keys = [1, "two"]
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert again.args == error.args
        assert str(again) == str(error)
        assert repr(again) == repr(error)
        assert again.failed_keys == [1, "two"]
        assert getattr(again, "filename", None) == getattr(error, "filename", None)


def test_size_warning_is_a_runtime_warning():
    assert issubclass(forebay.SizeWarning, RuntimeWarning)
    assert not issubclass(forebay.SizeWarning, forebay.Error)


def test_a_real_open_error_carries_errno_text_and_path(path):
    with pytest.raises(forebay.NotFoundError) as caught:
        forebay.open(path)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.errno, again.filename) == (errno.ENOENT, str(path))
    assert str(path) in str(again)
    assert "size" in again.strerror


@pytest.mark.parametrize("key", ["k", 1, ("a", 1), b"x"])
def test_a_miss_names_the_key_as_key_error_does(cache, key):
    with pytest.raises(KeyError) as caught:
        cache[key]
    assert type(caught.value) is forebay.MissError
    assert caught.value.args == (key,)
    with pytest.raises(forebay.MissError) as caught:
        del cache[key]
    assert caught.value.args == (key,)


CALLS = {
    "__contains__": lambda cache: "k" in cache,
    "__delitem__": lambda cache: cache.__delitem__("k"),
    "__getitem__": lambda cache: cache["k"],
    "__iter__": list,
    "__len__": len,
    "__setitem__": lambda cache: cache.__setitem__("k", 1),
    "add": lambda cache: cache.add("other", 1),
    "afetch": lambda cache: asyncio.run(cache.afetch("k")),
    "afetch_many": lambda cache: asyncio.run(cache.afetch_many(["k"])),
    "arefresh": lambda cache: asyncio.run(cache.arefresh("k")),
    "cas": lambda cache: cache.cas("k", 1, 1),
    "clear": lambda cache: cache.clear(),
    "decr": lambda cache: cache.decr("k"),
    "delete": lambda cache: cache.delete("k"),
    "delete_many": lambda cache: cache.delete_many(["k", "other"]),
    "fetch": lambda cache: cache.fetch("k"),
    "fetch_many": lambda cache: cache.fetch_many(["k"]),
    "get": lambda cache: cache.get("k"),
    "get_many": lambda cache: cache.get_many(["k"]),
    "get_or_set": lambda cache: cache.get_or_set("k", 1),
    "gets": lambda cache: cache.gets("k"),
    "incr": lambda cache: cache.incr("k"),
    "invalidate": lambda cache: cache.invalidate("k"),
    "invalidate_tag": lambda cache: cache.invalidate_tag("tag"),
    "is_absent": lambda cache: cache.is_absent("k"),
    "items": lambda cache: list(cache.items()),
    "keys": lambda cache: list(cache.keys()),
    "lazy": lambda cache: cache.lazy("k"),
    "memoize": lambda cache: cache.memoize(abs)(1),
    "namespace": lambda cache: cache.namespace("n").delete_many(["k"]),
    "pop": lambda cache: cache.pop("k", None),
    "popitem": lambda cache: cache.popitem(),
    "prime": lambda cache: cache.prime({"k": 1}),
    "refresh": lambda cache: cache.refresh("k"),
    "replace": lambda cache: cache.replace("k", 1),
    "set": lambda cache: cache.set("k", {}),
    "set_absent": lambda cache: cache.set_absent("k"),
    "set_many": lambda cache: cache.set_many({"k": 1}),
    "setdefault": lambda cache: cache.setdefault("k", 1),
    "stats": lambda cache: cache.stats(),
    "touch": lambda cache: cache.touch("k"),
    "train": lambda cache: cache.train(),
    "update": lambda cache: cache.update(k=1),
    "values": lambda cache: list(cache.values()),
    "view": lambda cache: cache.view("k"),
}


def test_these_are_all_methods_of_a_cache():
    methods = {name for name in dir(forebay.Cache) if not name.startswith("_") and callable(getattr(forebay.Cache, name))}
    assert methods == {name for name in CALLS if not name.startswith("_")}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_dropped_cache_says_so_whatever_is_called(arena, call):
    cache = arena.cache("c", load=lambda key: key)
    cache["k"] = 1
    assert arena.drop("c") is True
    with pytest.raises(forebay.ClosedError, match="'?c'? was dropped"):
        call(cache)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_cache_of_a_closed_arena_says_so_whatever_is_called(call):
    arena = forebay.open(None, "1MiB")
    cache = arena.cache("c", load=lambda key: key)
    arena.close()
    with pytest.raises(forebay.ClosedError, match="closed"):
        call(cache)


def test_dropping_what_is_not_there_is_false(arena):
    assert arena.drop("nothing") is False


def test_another_ttl_than_the_stored_conflicts(arena):
    arena.cache("c", ttl=10)
    with pytest.raises(forebay.ConflictError):
        arena.cache("c", ttl=20)
    with pytest.raises(forebay.ConflictError):
        arena.cache("c", ttl=None)
    assert arena.cache("c").ttl == 10
    assert arena.cache("c", ttl=10).ttl == 10


def test_too_many_caches_are_a_full_error(arena):
    most = arena.info()["cache_count"]
    for i in range(most):
        arena.cache(f"cache {i}")
    with pytest.raises(forebay.FullError):
        arena.cache("one more")
    assert arena.drop("cache 0")
    arena.cache("one more")


@pytest.mark.parametrize("name", ["", "x" * 48, "ü" * 24, "a\0b", "\ud800"])
def test_a_name_that_does_not_fit_is_a_value_error(arena, name):
    with pytest.raises(ValueError):
        arena.cache(name)
    with pytest.raises(ValueError):
        arena.drop(name)
    assert arena.caches() == []


@pytest.mark.parametrize("name", [1, b"c", None])
def test_a_name_of_another_type_is_a_type_error(arena, name):
    with pytest.raises(TypeError):
        arena.cache(name)
    with pytest.raises(TypeError):
        arena.drop(name)


def test_long_and_foreign_names_work(arena):
    for name in ("x" * 47, "ü" * 23, "日本語", " "):
        assert arena.cache(name).name == name
    assert set(arena.caches()) == {"x" * 47, "ü" * 23, "日本語", " "}


def test_a_value_that_is_too_big_says_the_limit_and_leaves_no_stale_one(arena, cache):
    for value in (b"x" * arena.max_entry, ["x" * arena.max_entry], "x" * arena.max_entry):
        cache["k"] = "old"
        with pytest.raises(forebay.TooBigError, match=str(arena.max_entry)):
            cache["k"] = value
        assert "k" not in cache


@pytest.mark.parametrize("call", ["add", "replace"])
def test_an_add_or_replace_that_is_too_big_raises(arena, cache, call):
    if call == "replace":
        cache["k"] = 1
    with pytest.raises(forebay.TooBigError):
        getattr(cache, call)("k", ["x" * arena.max_entry])


def test_a_value_of_the_largest_size_fits(arena, cache):
    value = b"x" * (arena.max_entry - 64)
    cache["k"] = value
    assert cache["k"] == value


def test_a_key_that_is_too_long_is_a_value_error(cache):
    for call in (cache.get, cache.delete, cache.__getitem__, cache.__contains__, cache.incr):
        with pytest.raises(ValueError):
            call("x" * 5000)
    with pytest.raises(ValueError):
        cache.set("x" * 5000, 1)
    with pytest.raises(ValueError):
        cache.get_many(["a", "x" * 5000])


@pytest.mark.parametrize("key", [1.5, None, [], {}, object(), {1}, ("a", [])])
def test_a_key_of_another_type_is_a_type_error_everywhere(cache, key):
    calls = [
        lambda: cache.get(key),
        lambda: cache[key],
        lambda: key in cache,
        lambda: cache.set(key, 1),
        lambda: cache.add(key, 1),
        lambda: cache.replace(key, 1),
        lambda: cache.delete(key),
        lambda: cache.incr(key),
        lambda: cache.get_many([key]),
        lambda: cache.delete_many([key]),
        lambda: cache.set_many([(key, 1)]),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()
    assert len(cache) == 0


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j, len, [object()], {"a": {"b": object()}}])
def test_a_value_of_another_type_is_a_type_error_and_keeps_the_old_one(cache, value):
    cache["k"] = "old"
    with pytest.raises(TypeError):
        cache["k"] = value
    with pytest.raises(TypeError):
        cache.replace("k", value)
    assert cache["k"] == "old"


def test_arena_and_cache_are_made_by_open_only():
    with pytest.raises(TypeError, match="forebay.open"):
        forebay.Arena()
    with pytest.raises(TypeError, match="Arena.cache"):
        forebay.Cache()
    with pytest.raises(TypeError):
        type("Sub", (forebay.Arena,), {})
    with pytest.raises(TypeError, match="Arena.cache"):  # what is made of Cache, as SharedCache, is no other way to a cache
        type("Sub", (forebay.Cache,), {})()


@pytest.mark.parametrize("how", [pickle.dumps, copy.copy, copy.deepcopy])
def test_an_anonymous_arena_refuses_to_be_copied(how):
    with forebay.open(None, "1MiB") as arena:
        with pytest.raises(TypeError, match="anonymous.*open_fd"):
            how(arena)
        if how is copy.copy:
            assert how(arena.cache("c")).arena is arena
            return
        with pytest.raises(TypeError, match="anonymous.*open_fd"):
            how(arena.cache("c"))


@pytest.mark.parametrize("how", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_closed_arena_refuses_to_be_copied(path, how):
    arena = forebay.open(path, "1MiB")
    cache = arena.cache("c")
    arena.close()
    for each in (arena, cache):
        with pytest.raises(forebay.ClosedError):
            how(each)


def test_types_cannot_be_changed():
    with pytest.raises(TypeError):
        forebay.Cache.get = None
    with pytest.raises(TypeError):
        forebay.Arena.x = 1


def test_read_only_attributes_stay(arena, cache):
    for owner, name in (
        (arena, "path"),
        (arena, "size"),
        (arena, "closed"),
        (cache, "name"),
        (cache, "arena"),
    ):
        with pytest.raises((AttributeError, TypeError)):
            setattr(owner, name, 1)
