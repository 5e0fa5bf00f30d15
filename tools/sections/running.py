# SPDX-License-Identifier: Apache-2.0
"""Commands that sections run: shown as they are, with what they print, and with what failed in them."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
VENV = BUILD / "venv"
DIST = ROOT / "dist"
ENVIRONMENT = os.environ | {"PATH": f"{VENV / 'bin'}:{os.environ['PATH']}"}

# A line of pytest, meson test or cmocka that names what failed.
FAILURE = re.compile(r"(FAILED|ERROR) tests/|\s*\d+/\d+ .* (FAIL|TIMEOUT|ERROR) |\[  FAILED  \] [a-z]")


class Shown(threading.local):
    """Where a thread's section is shown, and what failed in it."""

    def __init__(self):
        self.file = sys.stdout
        self.failures = []


shown = Shown()


def show(*words):
    print(*words, file=shown.file, flush=True)


def pass_on(lines, kept, file, failures):
    """Show the lines as they come, or keep them; and note which of them say what failed."""
    for line in lines:
        if kept is None:
            print(line, end="", file=file, flush=True)
        else:
            kept.append(line)
        if FAILURE.match(line):
            failures.append(line.strip())


def run(*command, quiet=False, **environment):
    """Run a command in the root folder; true if it succeeds.  A quiet one's output is shown only if it fails."""
    words = [str(word) for word in command]
    show("+", " ".join(word.removeprefix(f"{ROOT}/") for word in words))
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        env=ENVIRONMENT | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    kept = []
    reader = threading.Thread(target=pass_on, args=(process.stdout, kept if quiet else None, shown.file, shown.failures), daemon=True)
    reader.start()
    good = process.wait() == 0
    reader.join(10)  # no longer: what a test may have left running has the pipe, too
    if quiet and not good:
        show("".join(kept))
    return good


def output(*command):
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout.strip()


def pytest(venv, *arguments, **environment):
    return run(venv / "bin/python", "-m", "pytest", *arguments, **environment)
