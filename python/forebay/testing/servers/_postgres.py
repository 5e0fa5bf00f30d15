# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server, on a unix socket and on a free port of loopback."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from forebay.testing.servers._ports import on_free_ports
from forebay.testing.servers._programs import ENVIRONMENT, command_as, own_folder, server_user, version
from forebay.testing.servers._server import Server

POSTGRES_BINARIES = "usr/lib/postgresql/*/bin"  # Debian's, of which none is on PATH


def find_postgres(program: str) -> str:
    """A program of PostgreSQL, all from one place: on PATH, or the newest of Debian's."""
    server = shutil.which("postgres")
    if server is not None:
        return str(Path(server).resolve().with_name(program))
    folders = [folder for folder in Path("/").glob(POSTGRES_BINARIES) if (folder / "postgres").exists()]
    if not folders:
        raise RuntimeError("postgres is not installed")
    return str(max(folders, key=lambda folder: float(folder.parent.name)) / program)


def postgres_version() -> str:
    return version(find_postgres("postgres"))


class PostgresServer(Server):
    """A PostgreSQL server: by its socket (conninfo, url) and by loopback (tcp_conninfo), as its superuser."""

    stop_signal = signal.SIGQUIT  # its children go with it, and no shared memory is left
    username = "postgres"
    database = "postgres"

    def __init__(self, folder: Path, port: int, password: str, command: Sequence[str], user: pwd.struct_passwd | None) -> None:
        self.folder, self.password = folder, password
        self.host = str(folder)  # what libpq calls the host of a unix socket
        super().__init__(command, folder, user, socket_path=folder / f".s.PGSQL.{port}", port=port)

    @property
    def conninfo(self) -> str:
        return f"host='{self.host}' port={self.port} user={self.username} dbname={self.database}"

    @property
    def url(self) -> str:
        return f"postgresql://{self.username}@/{self.database}?host={self.host}&port={self.port}"

    @property
    def tcp_conninfo(self) -> str:
        return f"host=127.0.0.1 port={self.port} user={self.username} password={self.password} dbname={self.database}"

    def _answers(self) -> bool:
        """It listens before it can answer: a query is what shows."""
        ready = [find_postgres("pg_isready"), "--quiet", "-h", self.host, "-p", str(self.port)]
        return subprocess.run(ready, env=ENVIRONMENT).returncode == 0


def _init_database(data: Path, password: str, user: pwd.struct_passwd | None) -> None:
    secret = data.with_name("password")
    secret.touch(mode=0o600)
    secret.write_text(password)
    if user is not None:
        os.chown(secret, user.pw_uid, user.pw_gid)
    command = [find_postgres("initdb"), "-D", str(data), "-U", PostgresServer.username, "-E", "UTF8", "--no-locale", "--no-sync",
               "--wal-segsize=1", "--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile", str(secret)]  # fmt: skip
    done = subprocess.run(
        command_as(command, user, signal.SIGTERM), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=ENVIRONMENT, cwd="/", text=True,
    )  # fmt: skip
    secret.unlink()
    if done.returncode != 0:
        raise RuntimeError(f"initdb failed: {done.stdout[-2000:]}")


def start_postgres(folder: Path, *options: str) -> PostgresServer:
    """A new, empty cluster in folder/postgres, with its socket there and a free port of loopback.

    60 connections at most, nothing made sure to be on the disk; `options` as on its
    command line, as "-c", "max_connections=10"."""
    user = server_user("postgres")
    own = own_folder(folder, "postgres", user)
    password = secrets.token_hex(16)
    _init_database(own / "data", password, user)
    settings = {
        "max_connections": "60", "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "16MB",
        "max_wal_size": "64MB", "autovacuum_naptime": "1h", "dynamic_shared_memory_type": "mmap", "unix_socket_directories": str(own),
        "unix_socket_permissions": "0700", "listen_addresses": "127.0.0.1", "log_timezone": "UTC", "timezone": "UTC",
    }  # fmt: skip
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def start(port: int) -> PostgresServer:
        command = [find_postgres("postgres"), "-D", str(own / "data"), "-p", str(port), *words, *options]
        return PostgresServer(own, port, password, command, user)

    return on_free_ports(1, start)
