# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/coherence.md, on the servers of the tests; and what forebay.buses imports."""

import ast
import doctest
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

import forebay

pytestmark = pytest.mark.long  # the interpreter makes no difference to servers

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "coherence.md"


def test_the_document_does_what_it_says(postgres, redis_server):
    for block in DOCUMENT.read_text().split("```python\n")[1:]:
        assert block.split("```")[0].endswith("\n\n"), block
    names = {"database": postgres.conninfo, "redis_path": str(redis_server.socket_path)}
    try:
        outcome = doctest.testfile(str(DOCUMENT), module_relative=False, globs=names)
    finally:
        with psycopg.connect(postgres.conninfo) as connection:
            connection.execute("DROP TABLE IF EXISTS people")
        redis_server.call("FLUSHALL")
    assert outcome.attempted >= 20
    assert outcome.failed == 0


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
