# SPDX-License-Identifier: Apache-2.0
"""Sections of the C library and of the command."""

from sections.builds import ASSERTS, build, debug, release
from sections.running import BUILD, ENVIRONMENT, VENV, output, pytest, run, show


def meson_test(folder, *suites, wrapper=None, **environment):
    tests = [VENV / "bin/meson", "test", "-C", BUILD / folder, "--no-rebuild"]
    for suite in suites:
        tests += ["--suite", suite]
    if not output(*tests, "--list"):
        show(f"no tests in {suites}")
        return False
    words = ["--wrapper", wrapper] if wrapper else []
    if "FOREBAY_SOAK" in ENVIRONMENT:
        words += ["-t", "0"]  # no time limits
    return run(*tests, "--print-errorlogs", *words, **environment)


def checked(*suites):
    """Run suites with asserts on, without sanitizers."""
    return debug() and meson_test("debug", *suites)


def structure():
    """layers, symbols, headers, files"""
    return debug() and release() and pytest(VENV, "tests/structure")


def unit():
    """the C tests, asserts on"""
    return checked("unit", "public")


def asan():
    """the C tests under AddressSanitizer and UBSan"""
    return build("asan", *ASSERTS, "-Db_sanitize=address,undefined") and meson_test("asan", "unit", "public")


def tsan():
    """threads playing processes under ThreadSanitizer"""
    # Its runtime does not know the address layouts of the newest kernels.
    fixed = ["setarch", "-R"]
    wrapper = " ".join(fixed) if run(*fixed, "true", quiet=True) else None
    return build("tsan", *ASSERTS, "-Db_sanitize=thread") and meson_test(
        "tsan", "public", "threads", wrapper=wrapper, TSAN_OPTIONS="halt_on_error=1 second_deadlock_stack=1"
    )


def torture():
    """the n-th allocation, the n-th system call fails"""
    return checked("torture")


def stress():
    """kills, stops and forks at random moments"""
    return checked("stress")


def step():
    """killed, or stopped and resumed, at every instruction"""
    return checked("step")


def instructions():
    """no more instructions for a get, a set, a get_many than recorded"""
    return release() and pytest(VENV, "tests/instructions")


def model():
    """the protocols under a model checker"""
    return checked("model")


def fuzz():
    """each fuzz target, FOREBAY_FUZZ_SECONDS (10) long"""
    options = [*ASSERTS, "-Db_sanitize=address,undefined", "-Db_lundef=false", "-Dfuzz=true"]
    return build("fuzz", *options, compiler=output("tools/clang")) and meson_test("fuzz", "fuzz")


def cli():
    """the forebay command"""
    return release() and pytest(VENV, "tests/cli")
