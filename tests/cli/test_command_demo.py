# SPDX-License-Identifier: Apache-2.0
"""`forebay demo` is a front for python3 -m forebay.demo: which interpreter, which errors."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = """
import sys
print("demo", *sys.argv[1:], sep="|")
sys.exit(7)
"""


@pytest.fixture
def package(tmp_path):
    """An environment whose PYTHONPATH has a package forebay with a demo that prints its arguments."""
    folder = tmp_path / "path" / "forebay"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "demo.py").write_text(PACKAGE)
    return os.environ | {"PYTHONPATH": str(folder.parent), "FOREBAY_PYTHON": sys.executable}


def test_all_arguments_and_the_exit_code_are_handed_through(run, package):
    done = run("demo", "--size", "x y", "--help", "-q", "--", "", env=package, code=7)
    assert done.stdout == "demo|--size|x y|--help|-q|--|\n"


def test_the_demo_of_the_package_answers(run):
    text = run("demo", "--help", env=os.environ | {"FOREBAY_PYTHON": sys.executable}).stdout
    assert "--workers" in text and "--seconds" in text
    assert "--origin" in text and "postgresql://" in text and "--tier" in text and "redis+cluster://host:port" in text


@pytest.mark.parametrize("option, engine", [("--origin", "memcached"), ("--tier", "sqlite"), ("--tier", "ftp://host")])
def test_an_engine_that_there_is_not_is_refused_with_those_that_there_are(run, option, engine):
    done = run("demo", option, engine, env=os.environ | {"FOREBAY_PYTHON": sys.executable}, code=2)
    assert f"argument {option}: is one of " in done.stderr and "redis://..." in done.stderr


def test_the_interpreter_beside_the_command_is_preferred(command, package, tmp_path):
    bin = tmp_path / "bin"
    bin.mkdir()
    copy = bin / "forebay"
    shutil.copy(command, copy)
    (bin / "python3").write_text('#!/bin/sh\nif [ "$1" = -c ]; then exit 0; fi\necho beside "$@"\n')
    (bin / "python3").chmod(0o755)
    environment = {k: v for k, v in package.items() if k != "FOREBAY_PYTHON"}
    environment["LD_LIBRARY_PATH"] = str(Path(command).resolve().parent.parent / "src")
    done = subprocess.run([copy, "demo", "--x"], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("beside -m forebay.demo --x\n", 0), done.stderr
    environment["FOREBAY_PYTHON"] = sys.executable
    done = subprocess.run([copy, "demo", "--x"], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("demo|--x\n", 7), done.stderr


@pytest.fixture
def bare(tmp_path):
    """An interpreter without site packages, so without forebay."""
    script = tmp_path / "bare-python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    script.chmod(0o755)
    return os.environ | {"FOREBAY_PYTHON": str(script)}


def test_without_the_package_it_says_how_to_get_it(refused, bare):
    text = refused("demo", env=bare, code=3)
    assert f"{bare['FOREBAY_PYTHON']} has no module forebay.demo; install it with" in text
    assert "set FOREBAY_PYTHON" in text


def test_an_interpreter_that_is_not_there_is_an_error(refused):
    text = refused("demo", env=os.environ | {"FOREBAY_PYTHON": "/nowhere/python3"}, code=3)
    assert "cannot run /nowhere/python3; set FOREBAY_PYTHON" in text


def test_a_package_that_does_not_load_shows_the_reason(run, package):
    Path(package["PYTHONPATH"], "forebay", "__init__.py").write_text("raise ImportError('no such symbol')")
    done = run("demo", env=package, code=3)
    assert "ImportError: no such symbol" in done.stderr
    assert "cannot load the package forebay, for the reason above" in done.stderr


def test_what_is_no_interpreter_is_an_error(refused):
    assert "did not start properly" in refused("demo", env=os.environ | {"FOREBAY_PYTHON": "false"}, code=3)
