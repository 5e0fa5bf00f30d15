# SPDX-License-Identifier: Apache-2.0
"""Pools and forks: the child of a fork never uses a parent's object, nor ends it on the wire."""

import asyncio
import contextlib
import gc
import os
import socket
import threading

import pytest

import forebay
from forking import fork_to_run, wait_for
from pooled import Call, Server, until


class Wire:
    """A connection to an echo server that says goodbye when it is closed or collected."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)

    def fileno(self):
        return self.socket.fileno()

    def ask(self, word):
        self.socket.sendall(word)
        return self.socket.recv(100)

    def close(self):
        self.socket.sendall(b"goodbye")
        self.socket.close()

    def __del__(self):
        try:
            self.close()
        except OSError:
            pass


class Echo(threading.Thread):
    """Echoes; notes what was said on each connection, and its end."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.said = []
        self.ended = 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.start()

    def run(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, contextlib.suppress(OSError):  # it may not wait for the answer
            while word := connection.recv(100):
                self.said.append(word)
                connection.sendall(word)
        self.ended += 1


@pytest.fixture
def echo(folder):
    return Echo(str(folder / "echo"))


@pytest.fixture
def connect(echo, folder):
    return lambda: Wire(str(folder / "echo"))


def test_a_child_makes_its_own_and_says_nothing_on_the_parents(echo, connect):
    with forebay.Pool(connect, min_size=2, max_size=3) as pool:
        pool.wait()
        out = pool.getconn()

        def child():
            stats = pool.get_stats()
            assert (stats["pool_size"], stats["requests_num"]) == (0, 0)
            with pool.connection() as own:
                assert own is not out and own.ask(b"child") == b"child"
            pool.putconn(out)  # a parent's: nothing happens
            assert out.fileno() >= 0 and pool.get_stats()["returns_bad"] == 0
            pool.close()
            gc.collect()

        wait_for(fork_to_run(child))
        assert out.ask(b"parent") == b"parent"
        pool.putconn(out)
        with pool.connection() as connection:
            assert connection.ask(b"again") == b"again"
    until(lambda: echo.said.count(b"goodbye") == 2 + 2)  # the child's own two, and the parent's
    del out, connection


def test_a_child_that_ends_as_programs_do_says_nothing_on_the_parents(echo, connect):
    with forebay.Pool(connect) as pool:
        pool.wait()
        pid = os.fork()
        if pid == 0:
            try:
                gc.collect()
            finally:
                os.execv("/bin/true", ["true"])
        wait_for(pid)
        with pool.connection() as connection:
            assert connection.ask(b"still here") == b"still here"
        assert b"goodbye" not in echo.said


def test_interpreter_exit_in_a_child_says_nothing_on_the_parents(folder, echo):
    import subprocess
    import sys

    program = f"""
import os, sys, forebay
sys.path.insert(0, {str(os.path.dirname(__file__))!r})
from test_pool_fork import Wire
pool = forebay.Pool(lambda: Wire({str(folder / "echo")!r}))
pool.wait()
if os.fork() == 0:
    sys.exit()
os.wait()
with pool.connection() as connection:
    assert connection.ask(b"parent") == b"parent"
    os.write(1, b"well")
    os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "well", done.stderr
    assert echo.said == [b"parent"]


def test_the_server_sees_the_end_of_a_killed_parent_while_its_child_lives(echo, connect):
    read, write = os.pipe()

    def parent():
        pool = forebay.Pool(connect)
        pool.wait()
        child = fork_to_run(lambda: os.read(read, 1))
        os.write(1, b"")
        assert child > 0
        os.kill(os.getpid(), 9)

    wait_for(fork_to_run(parent), -9)
    until(lambda: echo.ended == 1)  # the child has no socket of it any more
    os.write(write, b"x")
    os.close(read)
    os.close(write)


def test_files_are_left_alone(folder):
    opened = []

    def create():
        opened.append(open(folder / f"file-{len(opened)}", "w+"))
        return opened[-1]

    with forebay.Pool(create) as pool:
        pool.wait()
        inode = os.fstat(opened[0].fileno()).st_ino

        def child():
            assert os.fstat(opened[0].fileno()).st_ino == inode

        wait_for(fork_to_run(child))


def test_who_waits_in_the_parent_is_not_waiting_in_the_child():
    server = Server()
    with forebay.Pool(server.connect, max_size=1, timeout=30) as pool:
        out = pool.getconn()
        waiting = Call(pool.getconn)
        until(lambda: pool.get_stats()["requests_waiting"] == 1)

        def child():
            assert pool.get_stats()["requests_waiting"] == 0
            with pool.connection(timeout=10) as own:
                assert own is not out

        wait_for(fork_to_run(child))
        pool.putconn(out)
        pool.putconn(waiting.result())


def test_a_fork_while_a_worker_is_in_a_hook():
    server = Server()
    with forebay.Pool(server.connect, max_size=2, timeout=30) as pool:
        server.gate.clear()
        waiting = Call(pool.getconn)
        until(lambda: server.attempts == 1)

        def child():
            server.gate = threading.Event()
            server.gate.set()
            with pool.connection(timeout=10):
                pass

        wait_for(fork_to_run(child))
        server.gate.set()
        pool.putconn(waiting.result())


def test_a_block_that_forks_ends_in_both(echo, connect):
    with forebay.Pool(connect) as pool:
        read, write = os.pipe()
        with pool.connection() as connection:
            pid = os.fork()
        try:
            if pid == 0:
                assert pool.get_stats()["pool_size"] == 0
                os.write(write, b"x")
        finally:
            if pid == 0:
                os._exit(0)
        wait_for(pid)
        assert os.read(read, 1) == b"x"
        assert pool.get_stats()["pool_available"] == 1 and connection.ask(b"a") == b"a"
        os.close(read)
        os.close(write)


def test_an_async_pool_in_a_child_works_in_a_loop_of_its_own():
    server = Server()

    async def use(pool):
        async with pool.connection(timeout=10) as connection:
            return connection.number

    async def parent():
        async with forebay.AsyncPool(server.aconnect) as pool:
            assert await use(pool) == 1

            def child():
                asyncio._set_running_loop(None)
                assert asyncio.run(use(pool)) == 2

            wait_for(fork_to_run(child))
            assert await use(pool) == 1

    asyncio.run(parent())
