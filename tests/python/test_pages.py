# SPDX-License-Identifier: Apache-2.0
"""Every page of the documentation does what it says; pages.py tells how it is run."""

import doctest
import importlib
import os
import pkgutil
import sys
from pathlib import Path

import psycopg
import pytest
import redis
import yaml

import forebay
import pages

DOCS = pages.ROOT / "docs"
TEXTS = {str(path.relative_to(DOCS)): path.read_text() for path in sorted(DOCS.rglob("*.md"))}
TEXTS["CONTRIBUTING.md"] = (pages.ROOT / "CONTRIBUTING.md").read_text()
WITH_PROGRAMS = {page for page, text in TEXTS.items() if any(block.language in ("sh", "console") for block in pages.blocks(text))}
PEOPLE = [(1, "Ada", "compilers"), (2, "Grace", "compilers"), (3, "Alan", None)]


# ---- what a page has by other names than it shows ----


def names_of_driver_pools(request):
    postgres, redis_server, memcached = (request.getfixturevalue(name) for name in ("postgres", "redis_server", "memcached_server"))
    yield {
        "database": postgres.conninfo,
        "url": postgres.url,
        "sqlalchemy_url": postgres.url.replace("postgresql://", "postgresql+psycopg://"),
        "redis_url": f"unix://{redis_server.socket_path}",
        "memcached": f"unix:{memcached.socket_path}",
    }


def names_of_sources(request):
    postgres, redis_server = (request.getfixturevalue(name) for name in ("postgres", "redis_server"))
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        connection.execute("CREATE TABLE users (id int PRIMARY KEY, name text, team text)")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO users VALUES (%s, %s, %s)", PEOPLE)
        yield {"database": postgres.conninfo, "url": postgres.url, "redis_url": f"unix://{redis_server.socket_path}"}
        connection.execute("DROP TABLE users")
    redis_server.call("FLUSHALL")


def names_of_coherence(request):
    postgres, redis_server = (request.getfixturevalue(name) for name in ("postgres", "redis_server"))
    yield {"database": postgres.conninfo, "redis_path": str(redis_server.socket_path)}
    with psycopg.connect(postgres.conninfo) as connection:
        connection.execute("DROP TABLE IF EXISTS people")
    redis_server.call("FLUSHALL")


def names_of_tiers(request):
    redis_server = request.getfixturevalue("redis_server")
    yield {"socket_path": str(redis_server.socket_path)}
    redis_server.call("FLUSHALL")


def names_of_redis(request):
    redis_server = request.getfixturevalue("redis_server")
    yield {"redis_url": f"unix://{redis_server.socket_path}"}
    redis_server.call("FLUSHALL")


def names_of_postgres(request):
    yield {"database": request.getfixturevalue("postgres").conninfo}


def names_of_testing(request):
    yield {"folder": request.getfixturevalue("tmp_path"), "redis": redis}


def names_of_metrics(request):
    yield {"path": str(request.getfixturevalue("path"))}
    forebay.metrics.trace(False)


NAMES = {
    "guides/coherence.md": names_of_coherence,
    "guides/driver-pools.md": names_of_driver_pools,
    "guides/sources.md": names_of_sources,
    "guides/testing.md": names_of_testing,
    "guides/tiers.md": names_of_tiers,
    "metrics.md": names_of_metrics,
    "moving/local-redis.md": names_of_redis,
    "moving/psycopg-pool.md": names_of_postgres,
}
ELSEWHERE = {"guides/sources.md": ["Cassandra"]}  # test_sources_cassandra.py


@pytest.fixture
def names(request, page):
    yield from NAMES[page](request) if page in NAMES else iter([{}])


def is_long(page):
    """Pages with servers or programs: no interpreter makes a difference to these."""
    return page in WITH_PROGRAMS or (page in NAMES and page != "metrics.md")


@pytest.mark.parametrize("page", [pytest.param(page, marks=pytest.mark.long if is_long(page) else ()) for page in TEXTS])
def test_the_page_does_what_it_says(page, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = pages.sections(TEXTS[page], lambda title: title not in ELSEWHERE.get(page, []))
    shown = sum(block.title is None for block in pages.blocks(text))
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        # nothing in the home folder; a worker that is told to end while it is being forked may miss it, and 30 s are waited for it
        "GUNICORN_CMD_ARGS": "--no-control-socket --graceful-timeout 2",
    }
    assert pages.run(text, names, environment) >= shown


@pytest.mark.parametrize("text", [text for page in TEXTS.values() for text in pages.shown(page, "yaml")])
def test_yaml_of_a_page_can_be_parsed(text):
    assert isinstance(yaml.safe_load(text), dict)


@pytest.mark.parametrize(
    "name", ["forebay", *(f"forebay.{module.name}" for module in pkgutil.iter_modules(forebay.__path__))]
)
def test_examples_of_docstrings_do_what_they_say(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


# ---- pages.py finds what is wrong ----


def run(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return pages.run(text, {}, dict(os.environ))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```python\n>>> 1 + 1\n3\n```\n", "- 3\n    + 2"),
        ("```python\nassert 1 == 2\n```\n", ""),
        ("```sh\ntrue\nfalse\ntrue\n```\n", "false\n\nended with 1"),
        ("```console\n$ echo yes\nno\n```\n", "printed:\nyes\nand not:\nno"),
        ("```sh\nexit\n```\n", "the shell ended"),
        ("```yaml\na: 1\n```\n", "line 2: a block in yaml has no title and no reason"),
        ("```\n$ rm\n```\n", "line 2: a block in no language"),
        ("<!-- sh not run here: x -->\n```console\n$ false\n```\n", "ended with 1"),
    ],
)
def test_a_page_that_is_not_true_fails(text, complaint, tmp_path, monkeypatch):
    with pytest.raises(AssertionError) as error:
        run(text, tmp_path, monkeypatch)
    assert complaint in str(error.value)


PAGE = """
<!-- not run: it takes a cluster -->
```yaml
a: 1
```

```python
>>> import pathlib; n = 1
```

```python title="answer/program.py"
import sys
print(42, sys.argv[1:])
```

- in a list

  ```console
  $ python3 answer/program.py \\
      and more
  42 ['and', ...]
  $ python3 -m http.server --bind 127.0.0.1 8000 &
  $ python3 -c 'import socket; print(socket.create_connection(("127.0.0.1", 8000)).getpeername()[1])'
  8000
  $ kill %1; wait
  $ echo /dev/shm/shop
  /dev/shm/shop
  ```

```python
n += 1
```

```python
>>> n, pathlib.Path("answer/program.py").exists()
(2, True)
```
"""


def test_blocks_run_in_order_with_files_servers_and_names(tmp_path, monkeypatch):
    assert run(PAGE, tmp_path, monkeypatch) == 8


SERVER = """
```sh
{ echo up >&3; sleep 1000; } 3>pipe &
```

```python
with open("pipe") as pipe:
    assert pipe.readline() == "up\\n"
```
"""


def test_servers_end_with_their_page(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    run(SERVER, tmp_path, monkeypatch)
    os.set_blocking(pipe, True)
    assert os.read(pipe, 1) == b""  # nobody has the other end any more
    os.close(pipe)
