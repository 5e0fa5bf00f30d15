# SPDX-License-Identifier: Apache-2.0
"""What tests of drivers' pools see from the server's side."""

import asyncio
import contextlib
import os
import signal
import threading
import time

import psycopg

import forebay
from forking import fork_to_run, wait_for

killed = set()  # pids of processes whose connections are the server's to notice


class Database:
    """A view of a PostgreSQL server from outside the pools; `name` is what they connect as."""

    def __init__(self, server, name):
        self.server = server
        self.name = name
        self.connection = psycopg.connect(server.conninfo, autocommit=True)

    @property
    def application(self):
        """As which a process connects."""
        return f"{self.name}-{os.getpid()}"

    @property
    def conninfo(self):
        return f"{self.server.conninfo} application_name={self.application}"

    @property
    def url(self):
        return f"{self.server.url}&application_name={self.application}"

    def ask(self, query, *arguments):
        return self.connection.execute(query, arguments).fetchone()[0]

    def rows(self):
        """The pools' connections that the server counts: process, backend, state."""
        query = "SELECT application_name, pid, state FROM pg_stat_activity WHERE starts_with(application_name, %s)"
        rows = self.connection.execute(query, [f"{self.name}-"]).fetchall()
        return [(int(name.rpartition("-")[2]), pid, state) for name, pid, state in rows]

    def count(self):
        """Those of processes that were not killed: a killed one's backend goes on until it wants to answer."""
        return sum(process not in killed for process, _, _ in self.rows())

    def active(self):
        """Those that are in the midst of a command."""
        return sum(state == "active" for _, _, state in self.rows())

    def pids(self):
        return {pid for _, pid, _ in self.rows()}

    def terminate(self, pid):
        """End a connection from the server's side; it is gone when this returns."""
        self.ask("SELECT pg_terminate_backend(%s, 10000)", pid)

    def close(self):
        for pid in self.pids():
            self.terminate(pid)
        self.connection.close()


@contextlib.contextmanager
def stopped(pid):
    """A server, or a backend, that stands still: it does not see that a client hangs up."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def keeps(condition):
    """It is so, and stays so for a while."""
    for _ in range(50):
        assert condition()
        time.sleep(0.001)
    return True


async def akeeps(condition):
    for _ in range(50):
        assert condition()
        await asyncio.sleep(0.001)
    return True


class Watch(threading.Thread):
    """Looks all the time how many there are; `most` is the most that were seen."""

    def __init__(self, count):
        super().__init__(daemon=True)
        self.count = count
        self.most = 0
        self.looks = 0
        self.over = threading.Event()
        self.error = None

    def run(self):
        try:
            while not self.over.wait(0.001):
                self.most = max(self.most, self.count())
                self.looks += 1
        except Exception as error:
            self.error = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *unused):
        self.over.set()
        self.join(30)
        if self.error is not None:
            raise self.error


def storm(path, work, *, processes, seconds):
    """work(arena) again and again in each of the processes, some of which are killed and replaced.

    Its own end is when it returns; nothing of it is left."""

    def go():
        with forebay.open(path) as arena:
            end = time.monotonic() + seconds
            work(arena, lambda: time.monotonic() < end)

    children = [fork_to_run(go) for _ in range(processes)]
    for number in range(processes // 2):
        time.sleep(seconds / processes)
        killed.add(children[number])
        os.kill(children[number], signal.SIGKILL)  # not reaped yet, so it is there
        wait_for(children[number], None)
        children.append(fork_to_run(go))
    for child in children[processes // 2 :]:
        wait_for(child)
