# SPDX-License-Identifier: Apache-2.0
"""What forebay.buses imports, and that what it has says what it is."""

import ast
import subprocess
import sys

import pytest

import forebay


def test_no_driver_is_imported_before_it_is_used():
    program = "import forebay.buses, sys; forebay.buses.Redis, forebay.buses.Postgres, forebay.buses.install_trigger; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    assert not {"psycopg", "redis", "valkey"} & set(ast.literal_eval(done.stdout))


def test_without_psycopg_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ImportError, match=r"needs psycopg, which is not installed: pip install 'forebay\[psycopg\]'"):
        forebay.buses.Postgres("")


@pytest.mark.parametrize("name", forebay.buses.__all__)
def test_what_is_public_says_what_it_is(name):
    assert getattr(forebay.buses, name).__doc__
