# SPDX-License-Identifier: Apache-2.0
"""Caches that can be checked by name: Forebay, and others beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..adapter import AdapterFactory
from ..suite import Settings


@contextmanager
def forebay(settings: Settings) -> Iterator[tuple[AdapterFactory, str]]:
    from .forebay_adapter import ForebayAdapter, version

    yield ForebayAdapter, version()


@contextmanager
def diskcache(settings: Settings) -> Iterator[tuple[AdapterFactory, str]]:
    from .diskcache_adapter import DiskcacheAdapter, version

    yield DiskcacheAdapter, version()


@contextmanager
def dogpile_memcached(settings: Settings) -> Iterator[tuple[AdapterFactory, str]]:
    from .dogpile_adapter import version, with_a_server

    with with_a_server(settings.budget_bytes) as factory:
        yield factory, version()


PEERS = {"forebay": forebay, "diskcache": diskcache, "dogpile-memcached": dogpile_memcached}
"""A context manager for each: the factory, and the versions of what is checked."""
