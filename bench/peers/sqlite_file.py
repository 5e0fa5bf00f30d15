# SPDX-License-Identifier: Apache-2.0
import platform
import sqlite3

from peers import Peer, Place, blocks

FIND = "SELECT value FROM entry WHERE key = ?"
STORE = "INSERT OR REPLACE INTO entry VALUES (?, ?)"


class Sqlite(Peer):
    name = "sqlite3"
    mode = "a table in /dev/shm, WITHOUT ROWID, WAL, no sync, mapped; a transaction for each call"
    shares = "a file"
    lacks = "eviction, expiry; one writer at a time"

    @classmethod
    def version(cls) -> str:
        return f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"

    def __init__(self, place: Place) -> None:
        self.folder = place.folder / "sqlite"
        self.folder.mkdir(exist_ok=True)
        self.connection = sqlite3.connect(self.folder / "entries", isolation_level=None)
        for setting in ("journal_mode = WAL", "synchronous = OFF", f"mmap_size = {8 * place.bytes}"):
            self.connection.execute(f"PRAGMA {setting}")
        self.connection.execute("CREATE TABLE IF NOT EXISTS entry (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")

    def get(self, key):
        row = self.connection.execute(FIND, (key,)).fetchone()
        return None if row is None else row[0]

    def set(self, key, value):
        self.connection.execute(STORE, (key, value))

    def get_many(self, keys):
        marks = ",".join("?" * len(keys))
        return dict(self.connection.execute(f"SELECT key, value FROM entry WHERE key IN ({marks})", keys))

    def fill(self, items) -> None:
        self.connection.execute("BEGIN")
        self.connection.executemany(STORE, items)
        self.connection.execute("COMMIT")

    def file_bytes(self) -> int:
        return blocks(self.folder)

    def files(self) -> str:
        return str(self.folder)

    def close(self) -> None:
        self.connection.close()


PEERS = [Sqlite]
