# SPDX-License-Identifier: Apache-2.0
"""A server process of the caller's: started, asked whether it answers, stopped, held, started again."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from forebay.testing.servers._ports import HOST
from forebay.testing.servers._programs import ENVIRONMENT, command_as

START_SECONDS = 60.0  # a loaded machine; what fails to start is seen at once
STOP_SECONDS = 10.0

_Server = TypeVar("_Server", bound="Server")


class Server:
    """A server process that answers on socket_path, on port of host (loopback), or on both; what it has not is None.

    It ends with close(), or with the thread that started it.  Not for several threads at once."""

    stop_signal = signal.SIGKILL
    start_seconds = START_SECONDS
    host = HOST

    def __init__(
        self, command: Sequence[str], folder: Path, user: pwd.struct_passwd | None = None, *,
        socket_path: Path | None = None, port: int | None = None,
    ) -> None:  # fmt: skip
        self.socket_path, self.port, self.user = socket_path, port, user
        self.log_path = folder / f"{Path(command[0]).name}.log"
        self.log_path.unlink(missing_ok=True)
        self.held = False
        self._command = command_as(command, user, self.stop_signal)
        self.start()

    @property
    def address(self) -> tuple[str, int]:
        """Where it answers by TCP; RuntimeError if it does not."""
        if self.port is None:
            raise RuntimeError("this server was started without a port")
        return HOST, self.port

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def start(self) -> None:
        """Start it again after stop(): the same server, with what it keeps on the disk."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment(), cwd="/", start_new_session=True
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.close()
            raise

    def _environment(self) -> dict[str, str]:
        return ENVIRONMENT

    def _wait_until_it_answers(self) -> None:
        end = time.monotonic() + self.start_seconds
        while not self._answers():
            if not self.running or time.monotonic() > end:
                raise RuntimeError(f"{self._command} did not start: {self.log()[-2000:]}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket_path)) == 0

    def log(self) -> str:
        """What it wrote since it was first started."""
        return self.log_path.read_text(errors="replace")

    def stop(self) -> None:
        """End it at once: its clients lose their connections, and none answers.  Not to be used again before start()."""
        self.process.send_signal(self.stop_signal)
        self.go_on()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.socket_path is not None:
            self.socket_path.unlink(missing_ok=True)

    def restart(self) -> None:
        """stop() and start()."""
        self.stop()
        self.start()

    def hold(self) -> None:
        """Stop the process (SIGSTOP): connections stay, the kernel takes new ones, nothing is answered before go_on().

        Of a server of many processes, as PostgreSQL's, only the first is held."""
        self.process.send_signal(signal.SIGSTOP)
        # Its threads stop one after another: wait for the last.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self.held = True

    def go_on(self) -> None:
        """End hold()."""
        self.process.send_signal(signal.SIGCONT)
        self.held = False

    def run_on(self, cpus: set[int]) -> None:
        """Run all threads of it on these CPUs."""
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            os.sched_setaffinity(int(thread), cpus)

    def close(self) -> None:
        """End it; closing again does nothing."""
        if self.running:
            self.stop()

    def __enter__(self: _Server) -> _Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class ServerList(list[_Server]):
    """Servers that end together, with close() or the end of a with block."""

    def close(self) -> None:
        for server in self:
            server.close()

    def __enter__(self) -> ServerList[_Server]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
