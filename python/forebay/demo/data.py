# SPDX-License-Identifier: Apache-2.0
"""The demo's data: the cities in SQLite, and the ids that the workers read."""

from __future__ import annotations

import json
import random
import sqlite3
from array import array
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

SEED = 20240607
ZIPF_EXPONENT = 0.99
SEQUENCE_LENGTH = 200_000  # ids per worker, read round and round
FILE = "cities.sqlite"
COLUMNS = ("geonameid", "name", "latitude", "longitude", "countrycode", "population",
           "timezone", "admin1code", "alternatenames")  # fmt: skip

Record = dict[str, Any]


def row_of_record(record: Record) -> list[Any]:
    *plain, names = (record[column] for column in COLUMNS)
    return [*plain, json.dumps(names, ensure_ascii=False)]


def record_of_row(row: Sequence[Any]) -> Record:
    record = dict(zip(COLUMNS, row))
    record["alternatenames"] = json.loads(record["alternatenames"])
    return record


def connect(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{folder / FILE}?mode=ro", uri=True)


class Database:
    """The source of the records."""

    def __init__(self, folder: Path) -> None:
        self.connection = connect(folder)
        self.query = f"SELECT {', '.join(COLUMNS)} FROM city WHERE geonameid "
        self.query_one = self.query + "= ?"
        self.queries = 0
        self.records_read = 0

    def record(self, number: int) -> Record:
        self.queries += 1
        self.records_read += 1
        return record_of_row(self.connection.execute(self.query_one, (number,)).fetchone())

    def records(self, numbers: list[int]) -> dict[int, Record]:
        """In one query."""
        self.queries += 1
        marks = ", ".join("?" * len(numbers))
        rows = self.connection.execute(f"{self.query}IN ({marks})", numbers).fetchall()
        self.records_read += len(rows)
        return {row[0]: record_of_row(row) for row in rows}


def fill_database(folder: Path, cities: list[Record]) -> int:
    """One row per city; returns the bytes of the file."""
    columns = ", ".join(COLUMNS[1:])
    database = sqlite3.connect(folder / FILE)
    try:
        database.execute(f"CREATE TABLE city (geonameid INTEGER PRIMARY KEY, {columns})")
        marks = ", ".join("?" * len(COLUMNS))
        database.executemany(f"INSERT INTO city VALUES ({marks})", map(row_of_record, cities))
        database.commit()
    finally:
        database.close()
    return (folder / FILE).stat().st_size


def write_ids(folder: Path, ids: list[int], workers: int) -> None:
    """For each worker the ids of its warm-up and of its zipfian reads."""
    ranked = ids[:]
    random.Random(SEED).shuffle(ranked)  # the hot ones are not neighbours in the file
    weights = list(accumulate(1 / rank**ZIPF_EXPONENT for rank in range(1, len(ranked) + 1)))
    for number in range(workers):
        chance = random.Random(SEED + 1 + number)
        warm = ids[:]
        chance.shuffle(warm)
        reads = chance.choices(ranked, cum_weights=weights, k=SEQUENCE_LENGTH)
        array("q", warm).tofile(open(folder / f"warm-{number}", "wb"))
        array("q", reads).tofile(open(folder / f"reads-{number}", "wb"))


def read_ids(path: Path) -> array[int]:
    ids: array[int] = array("q")
    ids.frombytes(path.read_bytes())
    return ids
