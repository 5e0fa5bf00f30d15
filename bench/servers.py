# SPDX-License-Identifier: Apache-2.0
"""Real redis and memcached servers on unix sockets, started and stopped by the benchmarks."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

START_SECONDS = 10.0


def end_on_sigterm() -> None:
    """SIGTERM unwinds the stack as Ctrl-C does: servers, processes and files go."""

    def handler(number: int, frame: object) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, handler)


class Server:
    """A server process; ends with close(), and with the benchmark itself."""

    def __init__(self, command: list[str], socket_path: Path) -> None:
        self.socket_path = socket_path
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            self.wait_until_it_answers()
        except BaseException:
            self.close()
            raise

    def wait_until_it_answers(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(self.socket_path)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError(f"{self.process.args} did not start")

    def run_on(self, cpus: set[int]) -> None:
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            os.sched_setaffinity(int(thread), cpus)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.socket_path.unlink(missing_ok=True)


def find(program: str) -> str:
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise RuntimeError(f"{program} is not installed")
    return path


def start_redis(folder: Path, *options: str) -> Server:
    """Without persistence; `options` as on its command line."""
    path = folder / "redis.sock"
    return Server(
        [find("redis-server"), "--port", "0", "--unixsocket", str(path), "--save", "",
         "--appendonly", "no", "--dir", str(folder), *options], path)  # fmt: skip


def start_memcached(folder: Path, *options: str) -> Server:
    path = folder / "memcached.sock"
    user = ["-u", "nobody"] if os.geteuid() == 0 else []  # it refuses to run as root
    if user:
        folder.chmod(0o777)
    return Server([find("memcached"), "-s", str(path), "-a", "0777", "-t", "1", *user, *options], path)
