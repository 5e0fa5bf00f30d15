# SPDX-License-Identifier: Apache-2.0
"""Real PostgreSQL, Redis and memcached servers for tests, on sockets in a folder of the caller's.

    with servers.start_postgres(folder) as server:
        connection = psycopg.connect(server.conninfo)

They are the programs that the machine has installed, with nothing in them and nothing
of the machine's configuration, not to be reached by other users, and end with close(),
or with the thread that started them.  A process that is root starts PostgreSQL and
memcached, which refuse to be, as another user.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

__all__ = ["PostgresServer", "Server", "postgres_version", "start_memcached", "start_postgres", "start_redis", "version"]

START_SECONDS = 60.0  # a loaded machine; what fails to start is seen at once
STOP_SECONDS = 10.0
ELSEWHERE = "/usr/sbin:/usr/local/sbin:/usr/bin"  # where servers are that PATH may not name
POSTGRES_BINARIES = "usr/lib/postgresql/*/bin"  # Debian's, of which none is on PATH
# Not the caller's: a preloaded sanitizer and the like are about the caller.
ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}

_Server = TypeVar("_Server", bound="Server")


def find(program: str) -> str:
    """Where the program is; RuntimeError if it is not installed."""
    path = shutil.which(program) or shutil.which(program, path=ELSEWHERE)
    if path is None:
        raise RuntimeError(f"{program} is not installed")
    return path


def find_postgres(program: str) -> str:
    """A program of PostgreSQL, all from one place: on PATH, or the newest of Debian's."""
    server = shutil.which("postgres")
    if server is not None:
        return str(Path(server).resolve().with_name(program))
    folders = [folder for folder in Path("/").glob(POSTGRES_BINARIES) if (folder / "postgres").exists()]
    if not folders:
        raise RuntimeError("postgres is not installed")
    return str(max(folders, key=lambda folder: float(folder.parent.name)) / program)


def version(program: str, option: str = "--version") -> str:
    """What the program says of its version."""
    return subprocess.run([program, option], capture_output=True, text=True, check=True).stdout.strip()


def postgres_version() -> str:
    return version(find_postgres("postgres"))


# ---- users ----


def _server_user(*wanted: str) -> pwd.struct_passwd | None:
    """Who is to run a server that refuses to be root; None: the caller."""
    if os.geteuid() != 0:
        return None
    for name in (*wanted, "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("root cannot run this server, and there is no user 'nobody'")


def _own_folder(folder: Path, name: str, user: pwd.struct_passwd | None) -> Path:
    """A folder in which only the server's user can do anything, the sockets included."""
    own = folder / name
    own.mkdir(mode=0o700, exist_ok=True)
    if user is not None:
        folder.chmod(folder.stat().st_mode | 0o011)
        for parent in own.absolute().parents:
            if not parent.stat().st_mode & 0o001:
                raise RuntimeError(f"the server is to run as {user.pw_name}, who may not pass through {parent}: choose another folder")
        os.chown(own, user.pw_uid, user.pw_gid)
    return own


def _command(command: Sequence[str], user: pwd.struct_passwd | None, dies_by: signal.Signals) -> list[str]:
    """As that user, ending by that signal when the thread that starts it ends, however it does."""
    options = ["--pdeathsig", dies_by.name.removeprefix("SIG")]
    if user is not None:
        options += ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    if user is None and shutil.which("setpriv") is None:
        return list(command)
    return [find("setpriv"), *options, "--", *command]


# ---- servers ----


class Server:
    """A server process that answers on socket_path."""

    stop_signal = signal.SIGKILL

    def __init__(self, command: Sequence[str], socket_path: Path, user: pwd.struct_passwd | None = None) -> None:
        self.socket_path = socket_path
        self.log_path = socket_path.with_name(f"{Path(command[0]).name}.log")
        self.user = user
        self._command = _command(command, user, self.stop_signal)
        self.start()

    def start(self) -> None:
        """Start it again after stop(): the same server, with what it keeps on the disk."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENVIRONMENT, cwd="/", start_new_session=True
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.close()
            raise

    def _wait_until_it_answers(self) -> None:
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self._command} did not start: {self.log()[-2000:]}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket_path)) == 0

    def log(self) -> str:
        """What it wrote since it was first started."""
        return self.log_path.read_text(errors="replace")

    def stop(self) -> None:
        """End it at once: its clients lose their connections, and none answers.  Not to be used again before start()."""
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.socket_path.unlink(missing_ok=True)

    def restart(self) -> None:
        """stop() and start()."""
        self.stop()
        self.start()

    def run_on(self, cpus: set[int]) -> None:
        """Run all threads of it on these CPUs."""
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            os.sched_setaffinity(int(thread), cpus)

    def close(self) -> None:
        """End it; closing again does nothing."""
        if self.process.poll() is None:
            self.stop()

    def __enter__(self: _Server) -> _Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def start_redis(folder: Path, *options: str) -> Server:
    """On folder/redis.sock, without persistence; `options` as on its command line."""
    path = folder / "redis.sock"
    return Server(
        [find("redis-server"), "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", "--save", "",
         "--appendonly", "no", "--dir", str(folder), *options], path)  # fmt: skip


def start_memcached(folder: Path, *options: str) -> Server:
    """On folder/memcached/memcached.sock; `options` as on its command line."""
    user = _server_user("memcache")
    path = _own_folder(folder, "memcached", user) / "memcached.sock"
    return Server([find("memcached"), "-s", str(path), "-a", "0700", "-t", "1", *options], path, user)


class PostgresServer(Server):
    """A PostgreSQL server: by its socket (conninfo, url) and by loopback (tcp_conninfo), as its superuser."""

    stop_signal = signal.SIGQUIT  # its children go with it, and no shared memory is left
    username = "postgres"
    database = "postgres"

    def __init__(self, folder: Path, port: int, password: str, command: Sequence[str], user: pwd.struct_passwd | None) -> None:
        self.folder, self.port, self.password = folder, port, password
        super().__init__(command, folder / f".s.PGSQL.{port}", user)

    @property
    def host(self) -> str:
        """What libpq calls the host of a unix socket: its folder."""
        return str(self.folder)

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

def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _init_database(data: Path, password: str, user: pwd.struct_passwd | None) -> None:
    secret = data.with_name("password")
    secret.touch(mode=0o600)
    secret.write_text(password)
    if user is not None:
        os.chown(secret, user.pw_uid, user.pw_gid)
    command = [find_postgres("initdb"), "-D", str(data), "-U", PostgresServer.username, "-E", "UTF8", "--no-locale", "--no-sync",
               "--wal-segsize=1", "--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile", str(secret)]  # fmt: skip
    done = subprocess.run(
        _command(command, user, signal.SIGTERM), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=ENVIRONMENT, cwd="/", text=True,
    )  # fmt: skip
    secret.unlink()
    if done.returncode != 0:
        raise RuntimeError(f"initdb failed: {done.stdout[-2000:]}")


def start_postgres(folder: Path, *options: str) -> PostgresServer:
    """A new, empty cluster in folder/postgres, with its socket there and a free port of loopback.

    60 connections at most, nothing made sure to be on the disk; `options` as on its
    command line, as "-c", "max_connections=10"."""
    user = _server_user("postgres")
    own = _own_folder(folder, "postgres", user)
    password = secrets.token_hex(16)
    _init_database(own / "data", password, user)
    settings = {
        "max_connections": "60", "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "16MB",
        "max_wal_size": "64MB", "autovacuum_naptime": "1h", "dynamic_shared_memory_type": "mmap", "unix_socket_directories": str(own),
        "unix_socket_permissions": "0700", "listen_addresses": "127.0.0.1", "log_timezone": "UTC", "timezone": "UTC",
    }  # fmt: skip
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    for attempt in (1, 2, 3):
        port = _free_port()
        command = [find_postgres("postgres"), "-D", str(own / "data"), "-p", str(port), *words, *options]
        try:
            return PostgresServer(own, port, password, command, user)
        except RuntimeError as error:  # another may have taken the port meanwhile
            if attempt == 3 or "Address already in use" not in str(error):
                raise
    raise AssertionError("three attempts end above")
