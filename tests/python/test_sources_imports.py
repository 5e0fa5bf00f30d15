# SPDX-License-Identifier: Apache-2.0
"""forebay.sources imports a driver when a source of it is made, and says what to install."""

import ast
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import forebay
import forebay.sources

DRIVERS = {"asyncpg", "cassandra", "psycopg", "redis", "sqlite3", "valkey"}


def python(program):
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(program):
    return set(ast.literal_eval(python(f"{program}\nimport sys; print(sorted(sys.modules))")))


def test_nothing_is_imported_before_it_is_used():
    assert not DRIVERS & loaded_by("import forebay, forebay.sources")
    assert not {"asyncio", "forebay._pool", "forebay.sources"} & loaded_by("import forebay")


@pytest.mark.parametrize("name", ["Cassandra", "Postgres", "Redis", "SourceError"])
def test_the_class_alone_imports_no_driver(name):
    assert not DRIVERS & loaded_by(f"import forebay; forebay.sources.{name}")


@pytest.mark.parametrize(
    ("package", "extra", "call"),
    [
        ("psycopg", "postgres", "Postgres(lambda: None, table='t', key='id')"),
        ("cassandra-driver", "cassandra", "Cassandra(lambda: None, table='t', key='id')"),
    ],
)
def test_a_driver_that_is_not_installed_is_named_with_its_extra(package, extra, call):
    program = f"""
import sys
sys.modules["psycopg"] = sys.modules["cassandra"] = None
import forebay
try:
    forebay.sources.{call}
except ImportError as error:
    assert error.name == {package!r}
    print(error)
"""
    name = call.partition("(")[0]
    assert python(program).strip() == (
        f"forebay.sources.{name} needs {package}, which is not installed: pip install 'forebay[{extra}]'"
    )


def test_there_is_an_extra_for_each_driver():
    project = Path(__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    wanted = {"redis": "redis", "valkey": "valkey", "memcached": "pymemcache", "postgres": "psycopg", "asyncpg": "asyncpg",
              "cassandra": "cassandra-driver"}  # fmt: skip
    for extra, package in wanted.items():
        (requirement,) = extras[extra]
        assert requirement.startswith(f"{package}>=")


def test_names_are_public_and_documented():
    assert set(forebay.sources.__all__) <= set(dir(forebay.sources))
    assert "sources" in dir(forebay)
    for name in forebay.sources.__all__:
        found = getattr(forebay.sources, name)
        assert found.__module__ == "forebay.sources"
        assert len(found.__doc__) > 20
        if name != "SourceError":
            assert "key" in inspect.signature(found).parameters
    for name in ("nothing", "_nothing"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(forebay.sources, name)
    assert issubclass(forebay.sources.SourceError, (forebay.Error, RuntimeError))
