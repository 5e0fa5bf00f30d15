# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/tiers.md, on a real server; and what is imported when."""

import ast
import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import forebay
import forebay.buses
import forebay.tiers

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tiers.md"
DRIVERS = {"redis", "valkey", "pymemcache", "pylibmc", "psycopg", "asyncio", "socket"}


def test_the_document_does_what_it_says(redis_server):
    for block in DOCUMENT.read_text().split("```python\n")[1:]:
        assert block.split("```")[0].endswith("\n\n"), block
    try:
        outcome = doctest.testfile(
            str(DOCUMENT), module_relative=False, globs={"socket_path": str(redis_server.unix_path)}, optionflags=doctest.ELLIPSIS
        )
    finally:
        redis_server.call("FLUSHALL")
    assert outcome.attempted >= 15
    assert outcome.failed == 0


def python(program):
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_tiers_and_buses_imports_no_driver():
    loaded = set(ast.literal_eval(python("import forebay; forebay.tiers, forebay.buses; import sys; print(sorted(sys.modules))")))
    assert {"forebay.tiers", "forebay.buses"} <= loaded
    assert not DRIVERS & loaded


def test_forebay_alone_imports_neither():
    loaded = set(ast.literal_eval(python("import forebay, sys; print(sorted(sys.modules))")))
    assert not {"forebay.tiers", "forebay.buses", "forebay._shared", *DRIVERS} & loaded


def test_public_names_are_there_and_documented():
    for name in forebay.tiers.__all__:
        assert getattr(forebay.tiers, name).__doc__, name
    for module in (forebay.tiers, forebay.buses):
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            module.nothing


def test_shared_cache_is_public_and_documented():
    assert "SharedCache" in forebay.__all__ and forebay.SharedCache.__module__ == "forebay"
    for name, member in vars(forebay.SharedCache).items():
        if not name.startswith("_"):
            assert member.__doc__, name
