# SPDX-License-Identifier: Apache-2.0
"""Where Django looks for a backend's DatabaseWrapper."""

from __future__ import annotations

import threading
from typing import Any

import forebay
from forebay.pools._missing import missing

try:
    from django.core.exceptions import ImproperlyConfigured  # type: ignore[import-untyped]
    from django.db.backends.base.base import NO_DB_ALIAS  # type: ignore[import-untyped]
    from django.db.backends.postgresql import base  # type: ignore[import-untyped]
except ImportError as error:
    raise missing("django", "django") from error

_Base: Any = base.DatabaseWrapper
_making = threading.Lock()


class DatabaseWrapper(_Base):  # type: ignore[misc]  # not typed
    """Django's for PostgreSQL, whose pool is a forebay.pools.psycopg.ConnectionPool."""

    _connection_pools: dict[str, Any] = {}  # by alias, in this process and its children

    @property
    def pool(self) -> Any:
        """The alias's; None: no pool is asked for."""
        options = self.settings_dict["OPTIONS"].get("pool")
        if self.alias == NO_DB_ALIAS or not options:
            return None
        with _making:
            if self.alias not in self._connection_pools:
                self._connection_pools[self.alias] = self._make_pool({} if options is True else dict(options))
            return self._connection_pools[self.alias]

    def _make_pool(self, options: dict[str, Any]) -> Any:
        from forebay.pools.psycopg import ConnectionPool

        if self.settings_dict.get("CONN_MAX_AGE", 0) != 0:
            raise ImproperlyConfigured("a pool keeps connections, and so does CONN_MAX_AGE: leave it at 0 with OPTIONS['pool']")
        options.setdefault("name", f"django-{self.alias}")
        options["arena"] = _arena_of(options.get("arena"), options.pop("arena_size", None))
        if self.settings_dict["CONN_HEALTH_CHECKS"]:
            options.setdefault("check", ConnectionPool.check_connection)
        parameters = self.get_connection_params() | {"autocommit": True}  # Django turns it off where it wants a transaction
        return ConnectionPool(kwargs=parameters, open=False, configure=self._configure_new, **options)

    def _configure_new(self, connection: Any) -> None:
        """Time zone and role, for all who will have the connection."""
        configure = getattr(self, "_configure_connection", None) or self._configure_timezone  # 5.2; 5.1
        configure(connection)


def _arena_of(arena: Any, size: int | str | None) -> forebay.Arena | None:
    if arena is None and size is not None:
        raise ImproperlyConfigured("OPTIONS['pool'] has an arena_size but no arena")
    if arena is None or isinstance(arena, forebay.Arena):
        return arena
    return forebay.open(arena, size)
