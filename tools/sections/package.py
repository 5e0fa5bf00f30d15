# SPDX-License-Identifier: Apache-2.0
"""Sections of the Python package, of what is written about it, and of what is run beside it."""

import shutil

from sections.builds import extra_venv, interpreters, release, wheel, with_wheel
from sections.running import BUILD, VENV, output, pytest, run, show

QUICK = "not long and not cassandra"  # tests where only the interpreter changes


def docs():
    """the documentation site, warnings are errors"""
    return (
        run("tools/setup", "docs")
        and release()
        and run(VENV / "bin/python", "-m", "mkdocs", "build", quiet=True, NO_MKDOCS_2_WARNING="1")  # its --quiet is not strict
        and pytest(VENV, "tests/site")
    )


def python():
    """the installed wheel, what is quick"""
    return release() and pytest(VENV, "-m", QUICK, "tests/python")


def servers():
    """the installed wheel, what is marked long: most of it is with servers"""
    return release() and pytest(VENV, "-m", "long and not cassandra", "tests/python")


def pythons():
    """the wheel on every other CPython from 3.11 up, what is quick"""
    good = True
    for version, interpreter in interpreters()[1:]:
        venv = with_wheel(version, interpreter)
        good &= venv is not None and pytest(venv, "-m", QUICK, "tests/python")
    return good


def examples():
    """the programs of examples/, on real servers"""
    return release() and pytest(VENV, "tests/examples")


def bench():
    """the peers of the benchmark, and its plots, on real servers"""
    return run("tools/setup", "bench") and release() and pytest(VENV, "tests/bench")


def pyasan():
    """the extension under AddressSanitizer"""
    interpreter = interpreters()[0][1]
    venv = extra_venv("pyasan", interpreter)
    return wheel(venv, "-Db_sanitize=address", "-Db_lto=false") and pytest(
        venv,
        "-m",
        QUICK,
        "tests/python",
        # with the C++ library, whose throw it watches: a driver's extension loads that later
        LD_PRELOAD=" ".join(output("cc", f"-print-file-name={name}") for name in ("libasan.so", "libstdc++.so.6")),
        ASAN_OPTIONS="detect_leaks=0",  # the interpreter's own
        PYTHONMALLOC="malloc",
    )


def cassandra():
    """the package with a Cassandra node, from Maven's jars"""
    if not shutil.which("java") or not shutil.which("mvn"):
        show("skipped: there is no java or no mvn here; make test-cassandra installs them")
        return None
    jars = str(BUILD / "cassandra" / "jars")
    return (
        run("tools/setup", "cassandra")
        and run("tools/cassandra/fetch")
        and release()
        and pytest(VENV, "-m", "cassandra", "tests/python", FOREBAY_CASSANDRA_JARS=jars)
    )
