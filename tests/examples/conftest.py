# SPDX-License-Identifier: Apache-2.0
"""The examples are run as their READMEs say, in folders of their own, on a shop and an arena of the test's."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class Program:
    """A running example, whose output is in the file `log`."""

    def __init__(self, process, log):
        self.process, self.log = process, log

    def asked(self):
        """Every key that the database was asked for until now, as the log has it."""
        lists = re.findall(r"asked the database for \[(.*)\]", self.log.read_text())
        return [int(key) for keys in lists for key in keys.split(",")]

    def ended(self):
        return self.process.poll() is not None


class Shop:
    """A database, an arena and how examples are run on them."""

    def __init__(self, folder):
        self.folder = folder
        self.database, self.arena = folder / "shop.sqlite", folder / "shop.forebay"
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = os.environ | {"SHOP_DATABASE": str(self.database), "SHOP_ARENA": str(self.arena), "PATH": path}
        self.run(".", "python", "make_shop.py", self.database)

    def run(self, example, *command, **environment):
        """Run a command in an example's folder to its end; what it prints."""
        return subprocess.run(
            command, cwd=EXAMPLES / example, env=self.environment | environment,
            stdout=subprocess.PIPE, text=True, check=True, timeout=120,
        ).stdout

    @contextlib.contextmanager
    def running(self, example, *command, **environment):
        """A command that runs in an example's folder: a Program, which ends in order at the end of the block."""
        log = Path(tempfile.mkstemp(prefix="log-", dir=self.folder)[1])
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=EXAMPLES / example, env=self.environment | environment,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )
        try:
            yield Program(process, log)
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        except BaseException:
            print(log.read_text())
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):  # whoever is left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def shop():
    folder = Path(tempfile.mkdtemp(prefix="forebay-test-", dir="/dev/shm"))
    yield Shop(folder)
    shutil.rmtree(folder)
