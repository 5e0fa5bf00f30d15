# SPDX-License-Identifier: Apache-2.0
"""An installed wheel, or source distribution, is whole: package, command, every codec."""

import importlib.metadata
import subprocess
import sysconfig
from pathlib import Path

import forebay
import pytest
from forebay import codec

COMMAND = Path(sysconfig.get_path("scripts")) / "forebay"


def test_the_package_is_the_installed_one():
    assert Path(forebay.__file__).is_relative_to(sysconfig.get_path("platlib"))


def test_package_command_and_metadata_are_of_one_version():
    done = subprocess.run([COMMAND, "--version"], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == f"forebay {forebay.__version__}\n"
    assert importlib.metadata.version("forebay") == forebay.__version__


def test_nothing_else_is_needed():
    wanted = importlib.metadata.requires("forebay")
    assert not [requirement for requirement in wanted if "extra ==" not in requirement]


def test_every_python_file_of_the_tree_is_installed(installed):
    python = Path(__file__).parents[2] / "python"
    there = {str(path.relative_to(python)) for path in python.rglob("*.py")}
    assert there and there <= set(installed)


@pytest.mark.parametrize("name", codec.codecs())
def test_bytes_come_back_from(name):
    data = b"forebay " * 1000
    packed = codec.compress(data, name)
    assert len(packed) < len(data)
    assert codec.decompress(packed, name) == data


def test_package_and_command_see_one_arena(tmp_path):
    path = tmp_path / "test.forebay"
    subprocess.run([COMMAND, "create", path, "--size", "2MiB"], check=True, stdout=subprocess.DEVNULL)
    with forebay.open(path) as arena:
        arena.cache("users").set(42, {"name": "Ada"})
    done = subprocess.run(
        [COMMAND, "get", path, "users", "42", "--type", "int"], stdout=subprocess.PIPE, text=True, check=True
    )
    assert "Ada" in done.stdout
    subprocess.run([COMMAND, "verify", path], check=True, stdout=subprocess.DEVNULL)
