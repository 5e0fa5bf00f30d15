# SPDX-License-Identifier: Apache-2.0
"""What sections test: builds of the library, virtual environments with the wheel.  Each is made once, when it is first wanted."""

import functools
import os
import shutil

from sections.running import BUILD, ROOT, VENV, output, run

# Where nobody watches, a warning is an error; elsewhere a newer compiler's is not.
WARNINGS = f"-Dwerror={'true' if 'CI' in os.environ else 'false'}"
ASSERTS = ["-Dbuildtype=debugoptimized", "-Db_ndebug=false", "-Db_lto=false"]


@functools.cache
def build(folder, *options, compiler=None):
    """Configure build/`folder` unless it is, and compile it."""
    path = BUILD / folder
    if not (path / "build.ninja").exists():
        shutil.rmtree(path, ignore_errors=True)
        choice = {"CC": compiler} if compiler else {}
        if not run("meson", "setup", path, *options, quiet=True, **choice):
            return False
    return run("meson", "compile", "-C", path, "--ninja-args=--quiet")


def debug():
    return build("debug", *ASSERTS, WARNINGS)


@functools.cache
def release():
    """What `make build` makes: the library and the command, the wheel in build/venv."""
    return run("tools/build", quiet=True)


def extra_venv(name, interpreter):
    """build/`name`: a virtual environment for the wheel and its tests, made once."""
    venv = BUILD / name
    lists = [ROOT / f"tools/requirements-{purpose}.txt" for purpose in ("build", "test")]
    wanted = interpreter + "".join(file.read_text() for file in lists)
    stamp = venv / ".requirements"
    if stamp.exists() and stamp.read_text() == wanted:
        return venv
    shutil.rmtree(venv, ignore_errors=True)
    install = [venv / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    if not run(interpreter, "-m", "venv", venv) or not run(*install, *(f"-r{file}" for file in lists)):
        return None
    stamp.write_text(wanted)
    return venv


def interpreters():
    """[version, path] of every CPython from 3.11 up, the one of build/venv first."""
    return [line.split(" ", 1) for line in output("tools/pythons").splitlines()]


@functools.cache
def wheel(venv, *options):
    """Build the wheel with a virtual environment and install it there."""
    return venv is not None and run("tools/wheel", venv, *options, quiet=True)


def with_wheel(version, interpreter):
    """The virtual environment of an interpreter, with the wheel and its tests' packages; None if that fails."""
    if interpreter == interpreters()[0][1]:
        return VENV if release() else None
    venv = extra_venv(f"python{version}", interpreter)
    return venv if wheel(venv) else None
