# SPDX-License-Identifier: Apache-2.0
"""What forebay.tiers imports, and that what it has says what it is."""

import ast
import subprocess
import sys

import pytest

import forebay
import forebay.buses
import forebay.tiers

DRIVERS = {"redis", "valkey", "pymemcache", "pylibmc", "psycopg", "asyncio", "socket"}


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
