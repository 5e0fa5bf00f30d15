# SPDX-License-Identifier: Apache-2.0
"""host_max: all processes of the machine together, as the server's side sees it."""

import asyncio
import contextlib
import fcntl
import gc
import os
import random
import select
import signal
import socket
import threading
import time

import pytest

import forebay
from forking import fork_to_run, wait_for
from pooled import Server, until


class Counter(threading.Thread):
    """A server that counts its connections when one comes: those whose other end is open still."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path = path
        self.connections = set()
        self.most = self.accepted = 0
        self.lock = threading.Lock()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(512)
        self.start()

    def run(self):
        while True:
            connection, _ = self.listener.accept()
            with self.lock:
                self.accepted += 1
                self.connections = {c for c in (*self.connections, connection) if self.is_open(c)}
                self.most = max(self.most, len(self.connections))
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    @staticmethod
    def is_open(connection):
        """The kernel says so, however the other end came to its end."""
        if connection.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(connection, select.POLLRDHUP)
        return not poll.poll(0)

    @property
    def now(self):
        with self.lock:
            return sum(map(self.is_open, self.connections))

    def serve(self, connection):
        with connection, contextlib.suppress(OSError):
            while word := connection.recv(100):
                connection.sendall(word)


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.ask()

    def fileno(self):
        return self.socket.fileno()

    def ask(self):
        self.socket.sendall(b"x")
        assert self.socket.recv(100) == b"x"

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)  # as drivers do, in their words: a child may have it, just after a fork
        self.socket.close()


@pytest.fixture
def counter(folder):
    return Counter(str(folder / "server"))


def pool_of(arena, counter, **options):
    options = {"name": "database", "arena": arena, "host_max": 3, "max_size": 8, "timeout": 30, **options}
    return forebay.Pool(lambda: Client(counter.path), **options)


class Peer:
    """A forked process with a pool of its own that has so many connections out until it is told to end."""

    def __init__(self, arena, counter, number, **options):
        self.go, self.ready = os.pipe(), os.pipe()

        def work():
            pool = pool_of(arena, counter, **options)
            held = [pool.getconn() for _ in range(number)]
            os.write(self.ready[1], b"x")
            os.read(self.go[0], 1)
            for connection in held:
                pool.putconn(connection)
            os.write(self.ready[1], b"x")
            os.read(self.go[0], 1)
            pool.close()

        self.pid = fork_to_run(work)
        self.hear()

    def hear(self):
        assert os.read(self.ready[0], 1) == b"x"

    def give_back(self):
        os.write(self.go[1], b"x")
        self.hear()

    def end(self):
        os.write(self.go[1], b"xx")
        wait_for(self.pid)
        self.close()

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        wait_for(self.pid, -signal.SIGKILL)
        self.close()

    def close(self):
        for descriptor in (*self.go, *self.ready):
            os.close(descriptor)


def test_two_processes_share_one_limit(arena, counter):
    peer = Peer(arena, counter, 2)
    with pool_of(arena, counter) as pool:
        with pool.connection():
            with pytest.raises(forebay.PoolTimeoutError) as caught:
                pool.getconn(timeout=0.1)
            assert "all 3 that host_max allows this machine are held" in str(caught.value)
            assert f"2 by process {peer.pid}" in str(caught.value)
            until(lambda: arena.limits()["database"]["waiting"] == 0)  # a moment after the timeout
            limit = arena.limits()["database"]
            assert (limit["most"], limit["held"]) == (3, 3)
            assert {p["pid"]: p["held"] for p in limit["processes"]} == {peer.pid: 2, os.getpid(): 1}
    peer.end()
    assert counter.most == 3
    assert arena.limits()["database"]["held"] == 0


def test_what_is_idle_elsewhere_is_given_up(arena, counter):
    peer = Peer(arena, counter, 3)
    peer.give_back()  # idle there, below its max_idle
    with pool_of(arena, counter) as pool:
        held = [pool.getconn(timeout=20) for _ in range(3)]
        assert counter.now == 3
        for connection in held:
            pool.putconn(connection)
    peer.end()
    assert counter.most == 3


def test_wait_has_a_turn_too(arena, counter):
    peer = Peer(arena, counter, 3)
    peer.give_back()
    with pool_of(arena, counter, min_size=2) as pool:
        pool.wait(timeout=20)
        assert pool.get_stats()["pool_available"] == 2
    peer.end()
    assert counter.most == 3


class Asking(forebay.Pool):
    """Counts how often it found no permit."""

    asked = 0

    def _await_permits(self):
        self.asked += 1
        super()._await_permits()


def test_without_a_permit_min_size_is_tried_for_now_and_then(arena):
    server = Server()
    with forebay.Pool(server.connect, name="database", arena=arena, host_max=1) as other:
        held = other.getconn()
        with Asking(server.connect, min_size=1, name="database", arena=arena, host_max=1) as pool:
            with pytest.raises(forebay.PoolTimeoutError):
                pool.getconn(timeout=0.05)
            pool.resize(1, 2)
            until(lambda: pool.asked >= 2)
            time.sleep(0.3)
            assert pool.asked <= 6
            other.putconn(held)
            other.close()
            until(lambda: pool.get_stats()["pool_available"] == 1)


def test_an_async_pool_tries_for_min_size_now_and_then(arena):
    server = Server()

    async def work():
        async with forebay.AsyncPool(server.aconnect, min_size=1, name="database", arena=arena, host_max=1) as pool:
            asked = []
            await_permits = pool._await_permits
            pool._await_permits = lambda: (asked.append(1), await_permits())
            await pool.resize(1, 2)
            await asyncio.sleep(0.3)
            assert 1 <= len(asked) <= 3
            other.putconn(held)
            other.close()
            while not pool.get_stats()["pool_available"]:
                await asyncio.sleep(0.01)

    with forebay.Pool(server.connect, name="database", arena=arena, host_max=1) as other:
        held = other.getconn()
        asyncio.run(asyncio.wait_for(work(), 60))


def held(arena):
    return arena.limits()["database"]["held"]


def test_a_dropped_pool_gives_its_permits_back(arena):
    server = Server()
    pool = forebay.Pool(server.connect, min_size=2, name="database", arena=arena, host_max=3)
    pool.wait()
    assert held(arena) == 2
    out = pool.getconn()
    del pool
    until(lambda: held(arena) == 1 and len(server.open()) == 1)  # somebody has it still
    assert not out.closed


def test_a_dropped_async_pool_gives_its_permits_back_though_its_loop_has_ended(arena):
    pools = []

    async def work():
        pools.append(forebay.AsyncPool(object, min_size=2, name="database", arena=arena, host_max=3))
        await pools[0].open(wait=True)

    asyncio.run(work())
    assert held(arena) == 2
    pools.clear()
    gc.collect()
    until(lambda: held(arena) == 0)


def test_a_limit_that_was_dropped_is_why_nothing_is_made(arena):
    server = Server()
    with forebay.Pool(server.connect, name="database", arena=arena, host_max=1) as pool:
        arena.drop_limit("database")
        for _ in range(3):
            with pytest.raises(forebay.PoolTimeoutError, match="was dropped") as caught:
                pool.getconn(timeout=0.2)
            assert isinstance(caught.value.__cause__, forebay.ClosedError)
        assert pool.get_stats()["pool_size"] == 0


def test_what_the_killed_held_is_there_at_once(arena, counter):
    peer = Peer(arena, counter, 3)
    with pool_of(arena, counter) as pool:
        peer.kill()
        held = [pool.getconn(timeout=20) for _ in range(3)]
        for connection in held:
            pool.putconn(connection)


def test_an_object_that_comes_back_goes_to_a_process_that_has_none(arena, counter):
    with pool_of(arena, counter, host_max=1) as pool:
        stop, uses = threading.Event(), []

        def work():
            while not stop.is_set():
                with pool.connection():
                    uses.append(time.monotonic())
                    time.sleep(0.002)

        workers = [threading.Thread(target=work) for _ in range(3)]  # always somebody waits here
        for worker in workers:
            worker.start()
        until(lambda: len(uses) > 10)
        peer = Peer(arena, counter, 1, host_max=1)
        peer.end()
        stop.set()
        for worker in workers:
            worker.join()
    assert counter.most == 1


def test_busy_processes_come_to_equal_shares(arena, counter):
    """Both want all that there is, all the time; the connections settle at 3 and 3."""

    def busy(seconds):
        pool = pool_of(arena, counter, host_max=6)
        end = time.monotonic() + seconds

        def work():
            while time.monotonic() < end:
                with pool.connection():
                    time.sleep(0.001)

        workers = [threading.Thread(target=work) for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        pool.close()

    children = [fork_to_run(lambda: busy(2.5)) for _ in range(2)]

    def are_equal():
        return [p["held"] for p in arena.limits().get("database", {"processes": []})["processes"]] == [3, 3]

    until(are_equal)
    accepted = counter.accepted
    time.sleep(1)
    assert are_equal() and counter.accepted - accepted <= 4  # they stay
    for child in children:
        wait_for(child)
    assert counter.most == 6


def test_another_host_max_is_a_conflict_unless_it_is_changed(arena, counter):
    with pool_of(arena, counter) as pool:
        with pytest.raises(forebay.ConflictError, match="exists with 3 permits, not 4"):
            pool_of(arena, counter, host_max=4)
        with pool_of(arena, counter, host_max=1, update=True):
            with pool.connection():
                with pytest.raises(forebay.PoolTimeoutError):
                    pool.getconn(timeout=0.05)
    with pytest.raises(ValueError, match="has a name="):
        pool_of(arena, counter, name=None)
    with pytest.raises(ValueError, match="at most 256 permits"):
        pool_of(arena, counter, name="other", host_max=10**6)


def test_the_arena_may_be_closed_before_the_pool(path, counter):
    arena = forebay.open(path, "1MiB")
    pool = pool_of(arena, counter, host_max=1)
    out = pool.getconn()
    arena.close()
    with forebay.open(path) as again:
        assert again.limits()["database"]["held"] == 1
        with pytest.raises(forebay.PoolTimeoutError):
            pool.getconn(timeout=0.05)
        pool.putconn(out)
        pool.close()
        assert again.limits()["database"]["held"] == 0
        with pytest.raises(forebay.BusyError, match="is in use"):
            with pool_of(again, counter, host_max=1) as other, other.connection():
                again.drop_limit("database")
        assert again.drop_limit("database") and not again.drop_limit("database")


def test_a_create_that_fails_gives_its_permit_back(arena):
    server = Server()
    server.down = True
    with forebay.Pool(server.connect, name="database", arena=arena, host_max=1) as pool:
        with pytest.raises(forebay.PoolTimeoutError, match="the server is down"):
            pool.getconn(timeout=0.3)
        until(lambda: arena.limits()["database"]["held"] == 0)
        server.down = False
        with pool.connection(timeout=20):
            assert arena.limits()["database"]["held"] == 1


def test_a_child_of_a_fork_takes_permits_of_its_own(arena, counter):
    with pool_of(arena, counter) as pool:
        out = pool.getconn()

        def child():
            with pool.connection():
                held = {p["pid"]: p["held"] for p in arena.limits()["database"]["processes"]}
                assert held == {os.getpid(): 1, os.getppid(): 1}

        wait_for(fork_to_run(child))
        pool.putconn(out)
    assert counter.most == 2


def test_async_pools_share_the_limit_too(arena, counter):
    peer = Peer(arena, counter, 2)

    async def work():
        options = {"name": "database", "arena": arena, "host_max": 3, "max_size": 8}
        async with forebay.AsyncPool(lambda: Client(counter.path), **options) as pool:
            async with pool.connection():
                with pytest.raises(forebay.PoolTimeoutError, match="host_max allows"):
                    await pool.getconn(timeout=0.1)
                peer.give_back()
                async with pool.connection(timeout=20), pool.connection(timeout=20):
                    assert counter.now == 3

    asyncio.run(work())
    peer.end()
    assert counter.most == 3


@pytest.mark.long
def test_a_storm_of_kills_stops_and_forks_never_exceeds_it(arena, counter, folder):
    """Processes use pools of several threads, fork, are killed and stopped; the server counts.

    None is killed between a fork and the child's first step, which takes the parent's
    sockets from it: until then the server cannot know that the parent is dead."""
    most, seconds = 5, 60 if "FOREBAY_SOAK" in os.environ else 8
    forking = os.open(folder / "forking", os.O_RDWR | os.O_CREAT)

    def fork(n, work):
        begun = os.pipe()
        fcntl.lockf(forking, fcntl.LOCK_EX, 1, n)
        pid = fork_to_run(lambda: (os.write(begun[1], b"x"), work()))
        os.read(begun[0], 1)
        fcntl.lockf(forking, fcntl.LOCK_UN, 1, n)
        os.close(begun[0])
        os.close(begun[1])
        return pid

    def kill(n):
        fcntl.lockf(forking, fcntl.LOCK_EX, 1, n)
        os.kill(children[n], signal.SIGKILL)
        wait_for(children[n], -signal.SIGKILL)
        fcntl.lockf(forking, fcntl.LOCK_UN, 1, n)

    def work(n, seed):
        dice = random.Random(seed)
        pool = pool_of(arena, counter, host_max=most, max_size=4, max_lifetime=dice.choice((0.2, 60)))

        def use():
            while True:
                try:
                    with pool.connection(timeout=0.5) as connection:
                        connection.ask()
                        time.sleep(dice.random() * 0.003)
                except forebay.PoolTimeoutError:
                    pass
                time.sleep(dice.random() * 0.005)

        def use_once():
            with contextlib.suppress(forebay.PoolTimeoutError):
                pool.getconn(timeout=0.2).ask()

        for _ in range(3):
            threading.Thread(target=use, daemon=True).start()
        while os.getppid() == parent:
            if dice.random() < 0.2:
                wait_for(fork(n, use_once), None)
            time.sleep(dice.random() * 0.05)
        os._exit(0)

    parent = os.getpid()
    dice = random.Random(7)
    children = [fork_to_run(lambda n=n: work(n, n)) for n in range(6)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        n = dice.randrange(len(children))
        if dice.random() < 0.5:
            kill(n)
            children[n] = fork_to_run(lambda: work(n, dice.random()))
        else:
            os.kill(children[n], signal.SIGSTOP)
            time.sleep(dice.random() * 0.1)
            os.kill(children[n], signal.SIGCONT)
        time.sleep(dice.random() * 0.05)
        assert counter.most <= most
    for n in range(len(children)):
        kill(n)
    os.close(forking)
    assert counter.accepted > 50
    with pool_of(arena, counter, host_max=most) as pool:
        held = [pool.getconn(timeout=20) for _ in range(most)]  # all of them can be had
        for connection in held:
            pool.putconn(connection)
    assert counter.most <= most
