# SPDX-License-Identifier: Apache-2.0
"""Random operations against a model dict.

In a large arena nothing may be evicted, so every result must be exact.  In a
tiny one a read gives the model's value or a miss, never anything else.  The
same again with three worker processes that take turns in doing the operations.
"""

import datetime
import multiprocessing.connection
import os
import pickle
import shutil
import tempfile
import traceback
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import forebay

SOAK = os.environ.get("FOREBAY_SOAK") == "1"
ABSENT = uuid.uuid4()  # no value of the model; crosses pipes
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

# Few keys, so that operations meet; of all types, so that 1, "1", b"1" and True meet too.
KEYS = st.sampled_from(
    [
        0,
        1,
        "1",
        b"1",
        True,
        False,
        "",
        b"",
        -1,
        2**70,
        ("a", 1),
        (),
        ((1,), "x"),
        "k" * 200,
        uuid.UUID(int=7),
        datetime.date(2024, 2, 29),
    ]
    + list(range(2, 30))
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(INT64_MIN, INT64_MAX)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
)
VALUES = (
    SCALARS
    | st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4),
        max_leaves=12,
    )
    | st.integers(0, 20_000).map(lambda n: b"\xa5" * n)
    | st.integers(0, 20_000).map(lambda n: "é" * n)
)


class Direct:
    """Operations by this process."""

    def __init__(self, path, size):
        self.arena = forebay.open(path, size)
        self.cache = self.arena.cache("c")

    def call(self, name, *arguments, **keywords):
        return getattr(self.cache, name)(*arguments, **keywords)

    def close(self):
        self.arena.close()


def serve(connection, cache):
    while True:
        name, arguments, keywords = connection.recv()
        try:
            result = True, getattr(cache, name)(*arguments, **keywords)
        except Exception as error:
            result = False, error
        connection.send(result)


class Workers:
    """Operations by three forked processes in turn; every 40th operation one of them is killed and replaced."""

    def __init__(self, path, size):
        self.arena = forebay.open(path, size)
        self.cache = self.arena.cache("c")
        self.count = 0
        self.workers = [self.start() for _ in range(3)]

    def start(self):
        ours, theirs = multiprocessing.connection.Pipe()
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                serve(theirs, self.cache)
            except EOFError:
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        theirs.close()
        return pid, ours

    def stop(self, worker, signal=9):
        pid, connection = worker
        connection.close()
        os.kill(pid, signal)
        os.waitpid(pid, 0)

    def call(self, name, *arguments, **keywords):
        self.count += 1
        turn = self.count % 3
        if self.count % 40 == 0:
            self.stop(self.workers[turn])
            self.workers[turn] = self.start()
        connection = self.workers[turn][1]
        connection.send((name, arguments, keywords))
        good, result = connection.recv()
        if not good:
            raise result
        return result

    def close(self):
        for worker in self.workers:
            self.stop(worker)
        self.arena.close()


class CacheMachine(RuleBasedStateMachine):
    caller = Direct
    size = "64MiB"
    exact = True  # nothing may be evicted

    @initialize()
    def open(self):
        self.folder = Path(tempfile.mkdtemp(prefix="forebay-test-", dir="/dev/shm"))
        self.target = self.caller(self.folder / "x.forebay", self.size)
        self.model = {}

    def teardown(self):
        if hasattr(self, "target"):
            try:
                assert self.target.arena.verify() == []
            finally:
                self.target.close()
                shutil.rmtree(self.folder)

    # A dict takes 1 and True for one key: the model's keys are the encoded ones.
    def known(self, key):
        return self.model.get(forebay._core._encode_key(key), self)

    def note(self, key, value):
        self.model[forebay._core._encode_key(key)] = value

    def forget(self, key):
        self.model.pop(forebay._core._encode_key(key), None)

    def check(self, key, got, missing):
        wanted = self.known(key)
        if got == missing:
            assert wanted is self or not self.exact
            if not self.exact:
                self.forget(key)  # what was evicted stays away
        else:
            assert wanted is not self, f"{key!r} should be absent, not {got!r}"
            assert type(got) is type(wanted)
            assert got == wanted

    def sync(self, key):
        """Where eviction is possible: whether the key is still there, before an operation that depends on it."""
        if not self.exact and not self.target.call("__contains__", key):
            self.forget(key)

    def try_to_store(self, call):
        """False if there was no room: then the older value is gone too."""
        try:
            return True, call()
        except forebay.FullError:
            assert not self.exact
            return False, None

    @rule(key=KEYS, value=VALUES)
    def set(self, key, value):
        stored, result = self.try_to_store(lambda: self.target.call("set", key, value))
        assert result is None
        if stored:
            self.note(key, value)
        else:
            self.forget(key)

    @rule(key=KEYS, value=VALUES)
    def set_item(self, key, value):
        stored, _ = self.try_to_store(lambda: self.target.call("__setitem__", key, value))
        if stored:
            self.note(key, value)
        else:
            self.forget(key)

    @rule(key=KEYS, value=VALUES, ttl=st.sampled_from([None, 1000, 0.5e6, datetime.timedelta(days=2)]))
    def set_with_ttl(self, key, value, ttl):
        stored, _ = self.try_to_store(lambda: self.target.call("set", key, value, ttl=ttl))
        if stored:
            self.note(key, value)
        else:
            self.forget(key)

    @rule(key=KEYS, value=VALUES)
    def add(self, key, value):
        self.sync(key)
        absent = self.known(key) is self
        stored, result = self.try_to_store(lambda: self.target.call("add", key, value))
        if not stored:
            return
        if self.exact:
            assert result is absent
        if result:
            self.note(key, value)
        else:
            assert not absent

    @rule(key=KEYS, value=VALUES)
    def replace(self, key, value):
        self.sync(key)
        absent = self.known(key) is self
        stored, result = self.try_to_store(lambda: self.target.call("replace", key, value))
        if not stored:
            return
        if self.exact:
            assert result is not absent
        if result:
            assert not absent
            self.note(key, value)

    @rule(key=KEYS)
    def get(self, key):
        self.check(key, self.target.call("get", key, ABSENT), ABSENT)

    @rule(key=KEYS)
    def get_item(self, key):
        try:
            got = self.target.call("__getitem__", key)
        except forebay.MissError as miss:
            assert miss.args == (key,)
            got = ABSENT
        self.check(key, got, ABSENT)

    @rule(key=KEYS)
    def contains(self, key):
        present = self.target.call("__contains__", key)
        assert not present or self.known(key) is not self
        assert present or self.known(key) is self or not self.exact

    @rule(key=KEYS)
    def delete(self, key):
        self.sync(key)
        there = self.known(key) is not self
        result = self.target.call("delete", key)
        assert result is there or not self.exact and not result
        self.forget(key)

    @rule(key=KEYS, delta=st.integers(INT64_MIN, INT64_MAX) | st.integers(-5, 5), initial=st.integers(-5, 5))
    def incr(self, key, delta, initial):
        self.sync(key)
        before = self.known(key)
        old = initial if before is self else before
        expected = None
        if type(old) is not int or not INT64_MIN <= old <= INT64_MAX:
            expected = forebay.TypeMismatchError
        elif not INT64_MIN <= old + delta <= INT64_MAX:
            expected = forebay.OverflowError
        try:
            result = self.target.call("incr", key, delta, initial=initial)
        except (forebay.TypeMismatchError, forebay.OverflowError) as error:
            assert type(error) is expected
        except forebay.FullError:
            assert not self.exact
            self.sync(key)
        else:
            assert expected is None
            assert result == old + delta
            self.note(key, result)

    @rule(items=st.lists(st.tuples(KEYS, VALUES), max_size=20), as_pairs=st.booleans())
    def set_many(self, items, as_pairs):
        items = items if as_pairs else dict(items)
        pairs = items if as_pairs else list(items.items())
        try:
            self.target.call("set_many", items)
            failed = []
        except forebay.FullError as error:
            assert not self.exact
            failed = error.failed_keys
            assert failed
        for key, value in pairs:
            self.note(key, value)
        for key in failed:
            self.forget_if_absent(key)

    def forget_if_absent(self, key):
        if not self.target.call("__contains__", key):
            self.forget(key)

    @rule(keys=st.lists(KEYS, max_size=40, unique_by=lambda key: key))
    def get_many(self, keys):
        got = self.target.call("get_many", keys)
        assert list(got) == [key for key in keys if key in got]
        for key in keys:
            self.check(key, got.get(key, ABSENT), ABSENT)

    @rule(keys=st.lists(KEYS, max_size=20))
    def delete_many(self, keys):
        for key in keys:
            self.sync(key)
        there = {forebay._core._encode_key(key) for key in keys if self.known(key) is not self}
        result = self.target.call("delete_many", keys)
        assert result == len(there) or not self.exact and result < len(there)
        for key in keys:
            self.forget(key)

    @rule(key=KEYS, bad=st.sampled_from([{1, 2}, 1j, [object]]))
    def refused(self, key, bad):
        for call in (("set", key, bad), ("set_many", [(key, 1), (key, bad)]), ("add", key, bad)):
            with pytest.raises(TypeError):
                self.target.call(*call)

    @rule()
    def clear(self):
        self.target.call("clear")
        self.model.clear()

    @invariant()
    def length_is_right(self):
        if hasattr(self, "target"):
            length = self.target.call("__len__")
            assert length == len(self.model) if self.exact else length <= len(self.model)


class TinyMachine(CacheMachine):
    size = "1MiB"
    exact = False

    @rule(start=st.integers(0, 1000), size=st.integers(1, 20_000))
    def flood(self, start, size):
        """Push everything else towards eviction."""
        for key in range(start, start + 2 * 2**20 // (size + 100) // 8):
            stored, _ = self.try_to_store(lambda: self.target.cache.set(("flood", key), b"f" * size))
            if stored:
                self.note(("flood", key), b"f" * size)
            else:
                self.forget(("flood", key))


class WorkersMachine(CacheMachine):
    caller = Workers


class TinyWorkersMachine(TinyMachine):
    caller = Workers


@pytest.mark.parametrize(
    ("machine", "examples", "steps"),
    [(CacheMachine, 25, 50), (TinyMachine, 50, 50), (WorkersMachine, 15, 50), (TinyWorkersMachine, 15, 50)],
)
def test_random_operations_agree_with_a_model(machine, examples, steps):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples * (50 if SOAK else 1),
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_errors_cross_the_pipes_of_workers_unchanged():
    error = pickle.loads(pickle.dumps(forebay.MissError(("a", 1))))
    assert error.args == (("a", 1),)
