# SPDX-License-Identifier: Apache-2.0
"""What tests of drivers' pools see from the server's side."""

import contextlib
import os
import signal
import threading
import time

import psycopg

import forebay
from forking import fork_to_run, wait_for


class Database:
    """A view of a PostgreSQL server from outside the pools; `name` is what they connect as."""

    def __init__(self, server, name):
        self.server = server
        self.name = name
        self.conninfo = f"{server.conninfo} application_name={name}"
        self.url = f"{server.url}&application_name={name}"
        self.connection = psycopg.connect(server.conninfo, autocommit=True)

    def ask(self, query, *arguments):
        return self.connection.execute(query, arguments).fetchone()[0]

    def count(self):
        """Connections of the pools that the server counts."""
        return self.ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", self.name)

    def active(self):
        """Those that are in the midst of a command."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND state = 'active'"
        return self.ask(query, self.name)

    def pids(self):
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
        return {pid for (pid,) in self.connection.execute(query, [self.name])}

    def terminate(self, pid):
        """End a connection from the server's side; it is gone when this returns."""
        self.ask("SELECT pg_terminate_backend(%s, 10000)", pid)

    def close(self):
        self.connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = %s", [self.name]
        )
        self.connection.close()


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
        with contextlib.suppress(ProcessLookupError):
            os.kill(children[number], signal.SIGKILL)
        wait_for(children[number], None)
        children.append(fork_to_run(go))
    for child in children[processes // 2 :]:
        wait_for(child)
