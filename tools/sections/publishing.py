# SPDX-License-Identifier: Apache-2.0
"""The section of what is published: wheels and the source distribution, each in a clean environment."""

import shutil

from sections.builds import interpreters, with_wheel
from sections.package import QUICK
from sections.running import BUILD, DIST, VENV, pytest, run

IN_CLEAN = [f"tests/{name}.py" for name in ("cli/test_command_tool", "python/test_cache", "python/test_readme")]


def clean_venv(interpreter, archive):
    """build/clean, made anew: nothing but what an archive brings, and pytest."""
    venv = BUILD / "clean"
    shutil.rmtree(venv, ignore_errors=True)
    install = [VENV / "bin/python", "-m", "pip", "--python", venv / "bin/python", "install"]
    install += ["--quiet", "--disable-pip-version-check", "--no-input"]
    made = (
        run(interpreter, "-m", "venv", "--without-pip", venv)
        and run(*install, archive)
        and run(*install, "-c", "tools/requirements-test.txt", "pytest")
    )
    return venv if made else None


def on_archive(interpreter, archive, *tests):
    """Install what is published into a clean environment and run tests there."""
    venv = clean_venv(interpreter, archive)
    return venv is not None and pytest(venv, "-m", QUICK, *tests)


def from_sdist(archive, interpreter):
    """Build the source distribution as pip does: apart from the tree, with what it says it needs."""
    folder = BUILD / "wheels" / "sdist"
    shutil.rmtree(folder, ignore_errors=True)
    quickly = ["-Csetup-args=-Doptimization=0", "-Csetup-args=-Db_lto=false"]  # that it builds is the question
    pinned = ["--build-constraint", "tools/requirements-build.txt"]
    command = [VENV / "bin/python", "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, *pinned, *quickly]
    if not run(*command, archive, quiet=True):
        return False
    return on_archive(interpreter, next(folder.glob("*.whl")), "tests/wheels/test_clean_install.py")


def repaired(version, interpreter):
    """The wheel for an interpreter is repaired, into dist/, and passes in a clean environment."""
    venv = with_wheel(version, interpreter)
    if venv is None:
        return False
    (built,) = (BUILD / "wheels" / venv.name).glob("*.whl")
    if not run(VENV / "bin/python", "tools/repair-wheel", built, DIST, quiet=True):
        return False
    (archive,) = DIST.glob(f"*-cp{version.replace('.', '')}-*.whl")
    return on_archive(interpreter, archive, "tests/wheels", *IN_CLEAN)


def wheels():
    """what is published, in dist/: wheels, repaired, and the source distribution, each in a clean environment"""
    shutil.rmtree(DIST, ignore_errors=True)
    good = all([repaired(version, interpreter) for version, interpreter in interpreters()])
    if not run(VENV / "bin/python", "-c", "import mesonpy; mesonpy.build_sdist('dist')", quiet=True):
        return False
    return from_sdist(*DIST.glob("*.tar.gz"), interpreters()[0][1]) and good
