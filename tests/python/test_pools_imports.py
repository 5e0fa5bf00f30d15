# SPDX-License-Identifier: Apache-2.0
"""forebay.pools imports a driver when its module is asked for, and says what to install."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import forebay.pools

DRIVERS = {
    "asyncpg": "asyncpg", "django.postgresql.base": "django", "psycopg": "psycopg", "pymemcache": "pymemcache", "redis": "redis",
    "redis_asyncio": "redis", "sqlalchemy": "sqlalchemy", "valkey": "valkey", "valkey_asyncio": "valkey",
}  # fmt: skip
FOLDER = Path(forebay.pools.__file__).parent


def python(program):
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_of_a_driver_is_imported_before_its_module():
    loaded = ast.literal_eval(python("import forebay, forebay.pools, sys; print(sorted(sys.modules))"))
    wrong = {"asyncio", "socket", *DRIVERS.values(), "sqlite3"}
    assert not wrong & set(loaded)
    assert "forebay._pool" not in loaded


@pytest.mark.parametrize("module", [*DRIVERS, "sqlite3"])
def test_a_module_imports_no_other_driver(module):
    loaded = ast.literal_eval(python(f"import forebay.pools.{module}, sys; print(sorted(sys.modules))"))
    mine = {DRIVERS.get(module, "sqlite3")}
    others = set(DRIVERS.values()) - mine
    if module.startswith("django"):
        others -= {"psycopg"}  # Django's own backend needs it
    assert not others & set(loaded)


@pytest.mark.parametrize("module", DRIVERS)
def test_a_driver_that_is_not_installed_is_named_with_its_extra(module):
    driver = DRIVERS[module]
    program = f"""
import sys
sys.modules[{driver!r}] = None
try:
    import forebay.pools.{module}
except ImportError as error:
    assert error.name == {driver!r}
    print(error)
"""
    assert python(program).strip() == (
        f"forebay.pools.{driver} needs {driver}, which is not installed: pip install 'forebay[{driver}]'"
    )


def test_there_is_an_extra_for_each_driver():
    project = Path(__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    of_sources = {"cassandra", "memcached", "postgres"}  # test_sources_imports.py
    assert set(extras) == set(DRIVERS.values()) | of_sources
    for name in DRIVERS.values():
        assert any(package.lower().startswith(name) for package in extras[name])


def test_each_module_has_a_docstring_with_an_example():
    for module in (*DRIVERS, "sqlite3"):
        path = FOLDER / (module.replace(".", "/") + ".py")
        if module.startswith("django"):
            path = FOLDER / "django" / "__init__.py"
        assert "    " in (ast.get_docstring(ast.parse(path.read_text()), clean=False) or ""), module
