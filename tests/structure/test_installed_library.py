# SPDX-License-Identifier: Apache-2.0
"""The library as it is installed: found by pkg-config, used by a stranger's program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tree import RELEASE, ROOT

MESON = Path(sys.executable).with_name("meson")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [MESON, "install", "-C", RELEASE, "--destdir", folder, "--no-rebuild", "--quiet"], check=True
    )
    return folder


@pytest.fixture(scope="module")
def flags(installed):
    config = next(installed.rglob("forebay.pc"))
    environment = os.environ | {
        "PKG_CONFIG_PATH": str(config.parent),
        "PKG_CONFIG_SYSROOT_DIR": str(installed),
    }
    return subprocess.run(
        ["pkg-config", "--cflags", "--libs", "forebay"],
        env=environment, stdout=subprocess.PIPE, text=True, check=True,
    ).stdout.split()


def test_every_public_header_is_installed_and_no_other(installed):
    public = {path.name for path in (ROOT / "include" / "forebay").glob("*.h")}
    assert {path.name for path in installed.rglob("*.h")} == public


def test_a_program_builds_by_pkg_config_and_two_processes_share(installed, flags, tmp_path):
    program = tmp_path / "program"
    source = ROOT / "tests" / "public" / "two_processes.c"
    subprocess.run(
        [os.environ.get("CC", "cc"), "-std=gnu11", "-o", program, source, *flags], check=True
    )
    libraries = next(installed.rglob("libforebay.so.0")).parent
    subprocess.run([program], env=os.environ | {"LD_LIBRARY_PATH": str(libraries)}, check=True, timeout=60)


def test_the_installed_command_finds_its_library(installed):
    command = next(installed.rglob("bin/forebay"))
    done = subprocess.run([command, "--version"], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0 and done.stdout.startswith("forebay ")


def test_manual_pages_and_completion_are_installed_where_they_are_looked_for(installed):
    pages = {path.stem for path in installed.rglob("share/man/man1/*.1")}
    assert {"forebay", "forebay-create", "forebay-stat"} <= pages
    for script in ("bash-completion/completions/forebay", "zsh/site-functions/_forebay", "fish/vendor_completions.d/forebay.fish"):
        assert len(list(installed.rglob(f"share/{script}"))) == 1
