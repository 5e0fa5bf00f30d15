# SPDX-License-Identifier: Apache-2.0
"""The library as it is installed: found by pkg-config, used by a stranger's program."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import forebay
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


@pytest.fixture(scope="module")
def build_and_run(installed, flags, tmp_path_factory):
    """Compile a C file against the installed library and run it; what it prints."""

    def build_and_run(source):
        program = tmp_path_factory.mktemp("program") / "program"
        subprocess.run([os.environ.get("CC", "cc"), "-std=gnu11", "-o", program, source, *flags], check=True)
        libraries = next(installed.rglob("libforebay.so.0")).parent
        environment = os.environ | {"LD_LIBRARY_PATH": str(libraries)}
        return subprocess.run(
            [program], env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=60
        ).stdout

    return build_and_run


def test_every_public_header_is_installed_and_no_other(installed):
    public = {path.name for path in (ROOT / "include" / "forebay").glob("*.h")}
    assert {path.name for path in installed.rglob("*.h")} == public


def test_a_program_builds_by_pkg_config_and_two_processes_share(build_and_run):
    build_and_run(ROOT / "tests" / "public" / "two_processes.c")


PRINT_VERSION = """
#include <stdio.h>
#include <forebay/forebay.h>
int main(void) { puts(forebay_version()); }
"""


def test_the_library_its_command_pkg_config_and_the_package_are_of_one_version(installed, build_and_run, tmp_path):
    version = re.search(r"version: '([\d.]+)'", (ROOT / "meson.build").read_text()).group(1)
    (tmp_path / "print_version.c").write_text(PRINT_VERSION)
    assert build_and_run(tmp_path / "print_version.c") == f"{version}\n"
    command = next(installed.rglob("bin/forebay"))  # which finds its library
    done = subprocess.run([command, "--version"], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == f"forebay {version}\n"
    assert f"Version: {version}\n" in next(installed.rglob("forebay.pc")).read_text()
    assert forebay.__version__ == importlib.metadata.version("forebay") == version


def test_manual_pages_and_completion_are_installed_where_they_are_looked_for(installed):
    pages = {path.stem for path in installed.rglob("share/man/man1/*.1")}
    assert {"forebay", "forebay-create", "forebay-stat"} <= pages
    for script in ("bash-completion/completions/forebay", "zsh/site-functions/_forebay", "fish/vendor_completions.d/forebay.fish"):
        assert len(list(installed.rglob(f"share/{script}"))) == 1
