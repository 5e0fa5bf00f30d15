# SPDX-License-Identifier: Apache-2.0
"""The C program builds against the installed library, with what pkg-config says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    """Run the program; what it prints."""
    installed = tmp_path_factory.mktemp("installed")
    meson = Path(sys.executable).with_name("meson")
    install = [meson, "install", "-C", ROOT / "build" / "release", "--destdir", installed, "--no-rebuild", "--quiet"]
    subprocess.run(install, check=True)
    example = tmp_path_factory.mktemp("example") / "c"
    shutil.copytree(ROOT / "examples" / "c", example)
    environment = os.environ | {
        "PKG_CONFIG_PATH": str(next(installed.rglob("forebay.pc")).parent),
        "PKG_CONFIG_SYSROOT_DIR": str(installed),
        "LD_LIBRARY_PATH": str(next(installed.rglob("libforebay.so.0")).parent),
        "CFLAGS": "-Werror",
    }
    subprocess.run(["make", "--silent"], cwd=example, env=environment, check=True)

    def visits(*arguments):
        return subprocess.run([example / "visits", *arguments], env=environment, capture_output=True, text=True)

    return visits


def test_every_call_is_counted(visits, tmp_path):
    for number in (1, 2, 3):
        printed = visits(tmp_path / "visits.forebay").stdout
        assert re.fullmatch(rf"visit {number}, the first \d+ s ago\n", printed)


def test_what_is_wrong_is_said(visits, tmp_path):
    done = visits(tmp_path / "nowhere" / "visits.forebay")
    assert done.returncode == 1 and "nowhere" in done.stderr
    assert visits().returncode == 2
