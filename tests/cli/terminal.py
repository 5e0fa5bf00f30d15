# SPDX-License-Identifier: Apache-2.0
"""A terminal for tests: a command runs in it, what it draws can be read."""

import fcntl
import os
import select
import struct
import subprocess
import termios
import time

import pyte

WAIT = 30  # seconds until a test gives up; it goes on as soon as what it waits for is there


class Terminal:
    """A command on a pseudo-terminal of its own, which it controls."""

    def __init__(self, words, width=80, height=24, **environment):
        self.raw = b""
        self._screen = pyte.Screen(width, height)
        self._stream = pyte.ByteStream(self._screen)
        self._main, terminal = os.openpty()
        self._set_size(width, height)
        self.modes_before = termios.tcgetattr(self._main)
        changed = os.environ | {"TERM": "screen", "LC_ALL": "C.UTF-8", "NO_COLOR": ""} | environment
        self.process = subprocess.Popen(
            [os.fspath(word) for word in words],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=changed,
            preexec_fn=lambda: os.login_tty(terminal),
        )
        os.close(terminal)

    def _set_size(self, width, height):
        fcntl.ioctl(self._main, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def resize(self, width, height):
        self._screen.resize(height, width)
        self._set_size(width, height)

    def press(self, keys):
        os.write(self._main, keys.encode())

    @property
    def lines(self):
        return list(self._screen.display)

    @property
    def text(self):
        return "\n".join(self.lines)

    @property
    def modes(self):
        """As `modes_before`: what the terminal does with what is typed."""
        return termios.tcgetattr(self._main)

    @property
    def cell(self):
        """The cell at (column, line)."""
        return lambda column, line: self._screen.buffer[line][column]

    def _read(self, seconds):
        """False: nothing came, or the command is gone."""
        if not select.select([self._main], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._main, 65536)
        except OSError:  # nobody has the terminal open any more
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)

    def wait_for(self, *words):
        """Until all of these are on the screen at once."""
        end = time.monotonic() + WAIT
        while not all(word in self.text for word in words):
            assert self._read(max(end - time.monotonic(), 0)), (words, self.text)
        return self.text

    def wait_until(self, condition):
        end = time.monotonic() + WAIT
        while not condition():
            assert self._read(max(end - time.monotonic(), 0)), self.text

    def end(self):
        """Wait for the command's end; its exit code."""
        while self._read(WAIT):
            pass
        return self.process.wait(WAIT)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._main)
