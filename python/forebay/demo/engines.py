# SPDX-License-Identifier: Apache-2.0
"""The databases and tiers of the demo's machines: the user's, by URL, or started here."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from forebay.demo.processes import DemoError, Progress, Resources
from forebay.testing import servers


class Engine(NamedTuple):
    """What workers connect to."""

    kind: str  # "sqlite", "postgres", "cassandra", "redis", "redis-cluster", "memcached"
    url: str
    own: bool  # it was started here


class Kind(NamedTuple):
    scheme: str  # of the URL of one that is there
    driver: str  # a module; empty: none
    install: str  # pip's name of it
    find: Callable[[], object]  # RuntimeError: the program is not there
    package: str  # apt's name
    start: Callable[[Path], Any]
    url_of: Callable[[Any], str]


def _redis_url(server: Any) -> str:
    return f"redis://{server.host}:{server.port}"


def _cluster_url(cluster: Any) -> str:
    return "redis+cluster://{}:{}".format(*cluster.addresses[0])


KINDS = {
    "postgres": Kind("postgresql", "psycopg", "'psycopg[binary]'", lambda: servers.find_postgres("postgres"), "postgresql",
                     servers.start_postgres, lambda server: str(server.url)),
    "cassandra": Kind("cassandra", "cassandra", "cassandra-driver", lambda: servers.find("java"), "openjdk-17-jre-headless",
                      servers.start_cassandra, lambda server: f"cassandra://{server.host}:{server.port}"),
    "redis": Kind("redis", "redis", "redis", lambda: servers.find("redis-server"), "redis-server",
                  lambda folder: servers.start_redis(folder, port=0), _redis_url),
    "redis-cluster": Kind("redis+cluster", "redis", "redis", lambda: servers.find("redis-server"), "redis-server",
                          servers.start_redis_cluster, _cluster_url),
    "memcached": Kind("memcached", "pymemcache", "pymemcache", lambda: servers.find("memcached"), "memcached",
                      lambda folder: servers.start_memcached(folder, "-m", "256", port=0), lambda server: f"memcached://{server.host}:{server.port}"),
}  # fmt: skip
ORIGINS = ("sqlite", "postgres", "cassandra", "redis")
TIERS = ("none", "redis", "redis-cluster", "memcached")
WITHOUT_SERVER = ("sqlite", "none")


def parse(text: str, kinds: tuple[str, ...]) -> Engine:
    """Of --origin or --tier; ValueError says what there is."""
    if text in kinds:
        return Engine(text, "", True)
    scheme, separator, place = text.partition("://")
    for kind in kinds:
        if kind not in WITHOUT_SERVER and scheme == KINDS[kind].scheme and separator and place:
            return Engine(kind, text, False)
    urls = ", ".join(f"{KINDS[kind].scheme}://..." for kind in kinds if kind not in WITHOUT_SERVER)
    raise ValueError(f"is one of {', '.join(kinds)}, or the URL of a server that is there: {urls}")


def require(engine: Engine, option: str) -> None:
    """DemoError: a driver or a program is missing."""
    if engine.kind in WITHOUT_SERVER:
        return
    kind = KINDS[engine.kind]
    if importlib.util.find_spec(kind.driver) is None:
        raise DemoError(f"{option} {engine.kind} needs a driver: pip install {kind.install}")
    if engine.own:
        try:
            kind.find()
        except RuntimeError as error:
            raise DemoError(
                f"{option} {engine.kind}: {error}; apt-get install {kind.package}, or give the URL of a server that is there: {kind.scheme}://..."
            ) from None


def start(engine: Engine, role: str, resources: Resources, progress: Progress) -> Engine:
    """The engine with a URL; a server that is started here ends with the resources."""
    if engine.kind in WITHOUT_SERVER or not engine.own:
        return engine
    progress.show(f"starting {engine.kind} as the {role}")
    folder = resources.folder / role
    folder.mkdir(mode=0o711)
    resources.folder.chmod(0o711)  # servers that refuse to be root pass through
    kind = KINDS[engine.kind]
    try:
        server = kind.start(folder)
    except (RuntimeError, TimeoutError) as error:
        raise DemoError(f"{engine.kind} did not start: {error}") from None
    resources.engines.append(server)
    return engine._replace(url=kind.url_of(server))
