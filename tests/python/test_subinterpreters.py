# SPDX-License-Identifier: Apache-2.0
import sys
import textwrap
import threading

import pytest

import forebay

try:
    import _interpreters as interpreters  # 3.13
except ImportError:
    import _xxsubinterpreters as interpreters

OWN_GIL = sys.version_info >= (3, 13)  # before, CPython's datetime module needs a shared one


def create(own_gil=OWN_GIL):
    if sys.version_info >= (3, 13):
        return interpreters.create("isolated" if own_gil else "legacy")
    return interpreters.create(isolated=own_gil)


def run_isolated(code, **values):
    """Run code in an interpreter, with a GIL of its own where that works; raise what it raised."""
    preamble = f"import sys; sys.path[:] = {sys.path!r}\n" + "".join(
        f"{name} = {value!r}\n" for name, value in values.items()
    )
    interpreter = create()
    try:
        if sys.version_info >= (3, 13):
            failure = interpreters.run_string(interpreter, preamble + textwrap.dedent(code))
            assert failure is None, failure.formatted
        else:
            interpreters.run_string(interpreter, preamble + textwrap.dedent(code))
    finally:
        interpreters.destroy(interpreter)


WORK = """
import forebay
with forebay.open(path) as arena:
    cache = arena.cache("c")
    for i in range(2000):
        cache.set((name, i % 100), {"name": name, "i": i})
        assert cache[name, i % 100] == {"name": name, "i": i}
        cache.incr("n")
    assert len(cache.get_many([(name, i) for i in range(100)])) == 100
    try:
        cache["k"] = object()
    except TypeError:
        pass
    else:
        raise AssertionError
    try:
        cache["nothing"]
    except forebay.MissError:
        pass
"""


def test_another_interpreter_uses_the_arena(path):
    with forebay.open(path, "4MiB") as arena:
        run_isolated(WORK, path=str(path), name="sub")
        assert arena.cache("c")["sub", 99] == {"name": "sub", "i": 1999}
        assert arena.cache("c")["n"] == 2000


def test_interpreters_in_threads_run_at_once(path):
    with forebay.open(path, "4MiB") as arena:
        errors = []

        def work(name):
            try:
                run_isolated(WORK, path=str(path), name=name)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(f"sub {i}",)) for i in range(3)]
        for thread in threads:
            thread.start()
        run_main = arena.cache("c")
        for i in range(2000):
            run_main.set("main", [i])
            assert run_main["main"] == [i]
        for thread in threads:
            thread.join(120)
        assert errors == []
        assert run_main["n"] == 6000
        assert arena.verify() == []


def test_interpreters_come_and_go_without_leaks(path):
    forebay.open(path, "1MiB").close()
    code = """
    import forebay
    arena = forebay.open(path)   # left open: the interpreter's end closes it
    cache = arena.cache("c")
    cache["k"] = [1]
    keep = [arena, cache]
    keep.append(keep)
    """
    for _ in range(10):
        run_isolated(code, path=str(path))
    with forebay.open(path) as arena:
        assert arena.info()["rows_used"] == 1
        assert arena.cache("c")["k"] == [1]


def test_types_and_errors_belong_to_their_interpreter(path):
    code = """
    import forebay
    assert id(forebay.Cache) != theirs
    assert id(forebay.MissError) != error
    """
    run_isolated(code, theirs=id(forebay.Cache), error=id(forebay.MissError))


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 12), reason="only 3.12 has own GILs without a datetime module for them"
)
def test_where_an_own_gil_does_not_work_the_import_error_says_so():
    interpreter = create(own_gil=True)
    try:
        with pytest.raises(interpreters.RunFailedError, match="ImportError.*share the GIL"):
            interpreters.run_string(interpreter, f"import sys; sys.path[:] = {sys.path!r}; import forebay")
    finally:
        interpreters.destroy(interpreter)


def test_batches_are_made_and_exported_in_an_interpreter_but_not_streamed():
    run_isolated("""
    import forebay

    class Cursor:
        description = [("a",), ("b",)]
        left = [[(1, "x"), (None, "y")], []]

        def fetchmany(self, size):
            return self.left.pop(0)

    (batch,) = forebay.batches(Cursor())
    assert batch.to_tuples() == [(1, "x"), (None, "y")]
    batch.__arrow_c_array__()
    for source in (batch, forebay.batches(Cursor())):
        try:
            source.__arrow_c_stream__()
        except RuntimeError as error:
            assert "main interpreter" in str(error)
        else:
            raise AssertionError
    """)
