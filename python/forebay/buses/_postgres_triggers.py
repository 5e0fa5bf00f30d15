# SPDX-License-Identifier: Apache-2.0
"""Triggers that tell forebay.buses.Postgres which rows change, whoever changes them."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forebay.buses._postgres_bus import PAYLOAD_MAX, check_channel
from forebay.buses._postgres_wire import quoted

if TYPE_CHECKING:
    import psycopg

_TYPES = {  # of key columns: how the JSON of a value is made
    "smallint": "{}", "integer": "{}", "bigint": "{}", "text": "{}", "character varying": "{}",
    "uuid": "pg_catalog.json_build_object('uuid', {})", "date": "pg_catalog.json_build_object('date', {})",
}  # fmt: skip

_TABLE = """
SELECT c.oid, n.nspname, c.relname, c.relkind::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = pg_catalog.to_regclass(%s)"""

_COLUMNS = """
SELECT a.attname, pg_catalog.format_type(a.atttypid, NULL) FROM pg_catalog.pg_attribute a
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped"""

_FUNCTION = """
CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS {fence}
DECLARE
    payload text;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_notify({channel}, {every});
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' AND {old_is_key} THEN
        payload := json_build_array({cache}, {old})::text;
        PERFORM pg_notify({channel}, CASE WHEN octet_length(payload) > {most} THEN {every} ELSE payload END);
    END IF;
    IF TG_OP <> 'DELETE' AND {new_is_key} THEN
        payload := json_build_array({cache}, {new})::text;
        PERFORM pg_notify({channel}, CASE WHEN octet_length(payload) > {most} THEN {every} ELSE payload END);
    END IF;
    RETURN NULL;
END {fence}"""


@dataclass(frozen=True, slots=True)
class _Table:
    oid: int
    schema: str
    name: str

    @property
    def quoted(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.name)}"


def install_trigger(
    connection: psycopg.Connection[Any], table: str | tuple[str, str], key: str | Sequence[str], *, cache: str, channel: str = "forebay"
) -> None:
    """Have a table tell the caches named `cache`, through forebay.buses.Postgres, which rows change: by INSERT, UPDATE,
    DELETE and TRUNCATE, whoever does that, when it is committed.

    table: its name, or (schema, name); a str is looked for as in a query.  key: the column that the cache's keys are of, or several,
    of which the keys are tuples, also if it is one.  Columns of smallint, integer, bigint, text, varchar, uuid and date; of a row where
    one is NULL nothing is told.

    In the transaction that the connection is in, which is the caller's to commit; with autocommit, in one of its own.  It
    makes a function in the table's schema and two triggers of its name; installed again, they are replaced.  The user of
    the connection must be the table's owner, or may create triggers on it and functions in its schema.  It waits for writers of the table.

    ValueError: there is no such table, no such column, or its type is another one."""
    check_channel(channel)
    _check_cache(cache)
    names = [key] if isinstance(key, str) else list(key)
    if not names:
        raise ValueError("key names no column")
    with _transaction(connection):
        where = _find(connection, table)
        types = _types(connection, where, names)
        name = _name(where, cache, channel)
        _execute(connection, _function(where, name, types, isinstance(key, str), cache, channel))
        _make_triggers(connection, where, name)


def remove_trigger(connection: psycopg.Connection[Any], table: str | tuple[str, str], *, cache: str, channel: str = "forebay") -> bool:
    """Take away what install_trigger() made; False: it was not there.  Transactions: as there."""
    check_channel(channel)
    _check_cache(cache)
    with _transaction(connection):
        where = _find(connection, table)
        name = _name(where, cache, channel)
        function = f"{quoted(where.schema)}.{quoted(name)}"
        ((found,),) = _execute(connection, "SELECT pg_catalog.to_regprocedure(%s)", (f"{function}()",))
        for trigger in (name, f"{name}_all"):
            _execute(connection, f"DROP TRIGGER IF EXISTS {quoted(trigger)} ON {where.quoted}")
        _execute(connection, f"DROP FUNCTION IF EXISTS {function}()")
    return found is not None


def _check_cache(cache: Any) -> None:
    if not isinstance(cache, str) or not cache or "\0" in cache:
        raise ValueError(f"cache must be the name of a cache, not {cache!r}")


def _transaction(connection: Any) -> contextlib.AbstractContextManager[Any]:
    import psycopg

    if not isinstance(connection, psycopg.Connection):
        kind = type(connection)
        raise TypeError(f"triggers are installed through a psycopg.Connection, not {kind.__module__}.{kind.__qualname__}")
    return connection.transaction() if connection.autocommit else contextlib.nullcontext()


def _execute(connection: Any, statement: str, arguments: tuple[Any, ...] | None = None) -> list[tuple[Any, ...]]:
    """The rows, whatever the connection's row factory is."""
    from psycopg.rows import tuple_row

    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(statement, arguments)
        return cursor.fetchall() if cursor.description is not None else []


def _find(connection: Any, table: str | tuple[str, str]) -> _Table:
    parts = (table,) if isinstance(table, str) else tuple(table)
    if not 1 <= len(parts) <= 2 or not all(isinstance(part, str) and part and "\0" not in part for part in parts):
        raise ValueError(f"table must be a name, or (schema, name), not {table!r}")
    found = _execute(connection, _TABLE, (".".join(map(quoted, parts)),))
    if not found:
        raise ValueError(f"there is no table {'.'.join(parts)}: a table in a schema is given as (schema, name)")
    ((oid, schema, name, kind),) = found
    if kind not in ("r", "p"):
        raise ValueError(f"{'.'.join(parts)} is no table: of a view, take the tables behind it")
    return _Table(oid, schema, name)


def _types(connection: Any, table: _Table, names: Sequence[str]) -> dict[str, str]:
    """Of the key's columns, by their names."""
    there = dict(_execute(connection, _COLUMNS, (table.oid,)))
    for name in names:
        if name not in there:
            raise ValueError(f"table {table.name} has no column {name}")
        if there[name] not in _TYPES:
            raise ValueError(
                f"column {name} of table {table.name} is of type {there[name]}, and keys may be of {', '.join(sorted(_TYPES))}"
            )
    return {name: there[name] for name in names}


def _name(table: _Table, cache: str, channel: str) -> str:
    what = "\0".join((table.schema, table.name, cache, channel))
    return f"forebay_tell_{hashlib.sha256(what.encode()).hexdigest()[:16]}"


def _literal(text: str) -> str:
    """In a function's body, whatever standard_conforming_strings is."""
    escaped = text.replace("\\", "\\\\").replace("'", "''").replace("$", "\\x24")
    return f"E'{escaped}'"


def _function(table: _Table, name: str, types: dict[str, str], is_scalar: bool, cache: str, channel: str) -> str:
    def json_of(row: str) -> str:
        parts = [form.format(f"{row}.{quoted(column)}") for column, form in ((c, _TYPES[t]) for c, t in types.items())]
        return parts[0] if is_scalar else f"json_build_array({', '.join(parts)})"

    def is_key(row: str) -> str:
        return " AND ".join(f"{row}.{quoted(column)} IS NOT NULL" for column in types)

    fence = "$forebay$"
    while fence in "".join(types):
        fence = f"$_{fence[1:]}"
    return _FUNCTION.format(
        fence=fence, name=f"{quoted(table.schema)}.{quoted(name)}", channel=_literal(channel), cache=_literal(cache) + "::text", most=PAYLOAD_MAX,
        every=_literal(json.dumps([cache])), old=json_of("OLD"), new=json_of("NEW"), old_is_key=is_key("OLD"), new_is_key=is_key("NEW"),
    )  # fmt: skip


def _make_triggers(connection: Any, table: _Table, name: str) -> None:
    function = f"{quoted(table.schema)}.{quoted(name)}"
    for trigger, events, each in ((name, "INSERT OR UPDATE OR DELETE", "ROW"), (f"{name}_all", "TRUNCATE", "STATEMENT")):
        if connection.info.server_version < 140000:
            _execute(connection, f"DROP TRIGGER IF EXISTS {quoted(trigger)} ON {table.quoted}")
            create = "CREATE TRIGGER"
        else:
            create = "CREATE OR REPLACE TRIGGER"
        _execute(connection, f"{create} {quoted(trigger)} AFTER {events} ON {table.quoted} FOR EACH {each} EXECUTE FUNCTION {function}()")
