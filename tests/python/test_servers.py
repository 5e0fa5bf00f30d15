# SPDX-License-Identifier: Apache-2.0
"""The real servers that tests use: they answer, are private, and end with whoever started them."""

import concurrent.futures
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import psycopg
import pymemcache
import pytest
import redis
from forebay.testing import servers
from forebay.testing.servers import _ports, _postgres, _programs, _resp

pytestmark = pytest.mark.long  # the interpreter makes no difference to servers


def start_valkey(folder, *options, **arguments):
    return servers.start_redis(folder, *options, program="valkey-server", **arguments)


STARTERS = {
    "redis": servers.start_redis,
    "valkey": start_valkey,
    "memcached": servers.start_memcached,
    "postgres": servers.start_postgres,
}
CALLS = {name: f"start_{name}(folder)" for name in STARTERS} | {"valkey": "start_redis(folder, program='valkey-server')"}


def installed(program):
    try:
        return servers.find(program)
    except RuntimeError:
        return None


NAMES = [
    pytest.param(name, marks=pytest.mark.skipif(name == "valkey" and not installed("valkey-server"), reason="no valkey-server here"))
    for name in STARTERS
]


@pytest.fixture
def place():
    """A folder that other users may pass through, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="forebay-servers-") as folder:
        yield Path(folder)


def test_postgres_answers_on_its_socket_and_on_loopback(postgres):
    for conninfo in (postgres.conninfo, postgres.tcp_conninfo):
        with psycopg.connect(conninfo) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("postgres",)
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SHOW max_connections").fetchone() == ("60",)


def test_postgres_wants_its_password_on_loopback(postgres):
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.tcp_conninfo.replace(postgres.password, "another"))


def test_redis_and_memcached_answer(redis_server, memcached_server):
    with redis.Redis(unix_socket_path=str(redis_server.socket_path)) as client:
        assert client.ping()
    client = pymemcache.Client(f"unix:{memcached_server.socket_path}")
    assert client.version()
    client.close()


def test_only_their_user_reaches_the_sockets(postgres, redis_server, memcached_server):
    assert redis_server.socket_path.stat().st_mode & 0o077 == 0
    for server in (postgres, memcached_server):
        assert server.socket_path.parent.stat().st_mode & 0o077 == 0


def test_what_postgres_keeps_is_there_after_a_restart(place):
    with servers.start_postgres(place, "-c", "max_connections=10") as server:
        with psycopg.connect(server.conninfo) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
            connection.commit()
            connection.execute("CHECKPOINT")
            server.restart()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        with psycopg.connect(server.conninfo) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
            assert connection.execute("SHOW max_connections").fetchone() == ("10",)
    assert server.process.poll() is not None


@pytest.mark.parametrize("start", [servers.start_redis, servers.start_memcached])
def test_a_server_with_a_port_answers_there_after_a_restart_too(start, place):
    with start(place, port=0) as server:
        server.restart()
        assert server.address == ("127.0.0.1", server.port)
        with socket.create_connection(server.address, 10):
            pass
    with pytest.raises(OSError):
        socket.create_connection(server.address, 10)


def test_redis_with_a_port_answers_on_its_socket_and_takes_options(place):
    with servers.start_redis(place, "--maxmemory", "7mb", port=0) as server:
        assert server.call("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"7340032"]
        with redis.Redis(port=server.port) as client:
            assert client.config_get("maxmemory") == {"maxmemory": "7340032"}


def test_redis_with_a_password_starts(place):
    with servers.start_redis(place, "--requirepass", "secret") as server:
        with pytest.raises(servers.ReplyError, match="NOAUTH"):
            server.call("GET", "x")


def test_a_server_without_a_port_says_so(redis_server):
    with pytest.raises(RuntimeError, match="without a port"):
        redis_server.address


@pytest.mark.parametrize("start", [servers.start_redis, servers.start_memcached])
def test_a_port_that_is_taken_meanwhile_is_replaced_by_another(start, place, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        mine = taken.getsockname()[1]
        found = servers.free_ports(1)
        offered = iter([[mine], [mine], found])
        monkeypatch.setattr(_ports, "free_ports", lambda count: next(offered))
        with start(place, port=0) as server:
            assert [server.port] == found


@pytest.mark.parametrize("start", [servers.start_redis, servers.start_memcached])
def test_a_port_that_was_named_and_is_taken_is_an_error(start, place):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(RuntimeError, match=r"(?s)did not start.*in use"):
            start(place, port=taken.getsockname()[1])


def test_free_ports_are_not_those_of_clients():
    ports = servers.free_ports(20)
    assert len(set(ports)) == 20
    first_of_clients = int(_ports.CLIENTS.read_text().split()[0])
    assert first_of_clients <= _ports.FIRST + 1000 or max(ports) < first_of_clients


def test_no_free_port_is_an_error(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(_ports, "_candidates", lambda: range(taken.getsockname()[1], taken.getsockname()[1] + 1))
        with pytest.raises(RuntimeError, match="1 free ports .* were not found"):
            servers.free_ports(1)


def test_three_memcacheds_are_three_and_end_together(place):
    with servers.start_memcacheds(place, 3) as three:
        clients = [pymemcache.Client(server.address) for server in three]
        for number, client in enumerate(clients):
            client.set("number", str(number), noreply=False)
        assert [client.get("number") for client in clients] == [b"0", b"1", b"2"]
        for client in clients:
            client.close()
    assert not any(server.running for server in three)


def test_of_memcacheds_none_is_left_if_one_does_not_start(place, monkeypatch):
    started = []
    begin = servers.MemcachedServer.start
    monkeypatch.setattr(servers.MemcachedServer, "start", lambda server: (started.append(server), begin(server))[1])
    (place / "memcached-3").write_text("not a folder")
    with pytest.raises(FileExistsError):
        servers.start_memcacheds(place, 3)
    assert len(started) == 2
    assert not any(server.running for server in started)


@pytest.mark.parametrize("start", [servers.start_redis, servers.start_memcached])
def test_a_held_server_answers_when_it_goes_on(start, place):
    with start(place, port=0) as server, socket.create_connection(server.address) as client:
        server.hold()
        assert server.held
        client.sendall(b"version\r\n")
        assert not select.select([client], [], [], 0.2)[0]
        server.go_on()
        assert select.select([client], [], [], 30)[0]
        server.hold()
    assert not server.running


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_server_answers_again_when_it_is_started(name, place):
    with STARTERS[name](place) as server:
        server.stop()
        with socket.socket(socket.AF_UNIX) as probe, pytest.raises(OSError):
            probe.connect(str(server.socket_path))
        server.start()
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(server.socket_path))
    server.close()


STARTED_AND_KILLED = """
    import os, signal, sys
    from pathlib import Path
    from forebay.testing import servers
    folder = Path(sys.argv[1])
    server = servers.{call}
    print(server.process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_server_ends_with_a_process_that_is_killed(name, place):
    program = textwrap.dedent(STARTED_AND_KILLED.format(call=CALLS[name]))
    killed = subprocess.run([sys.executable, "-c", program, place], stdout=subprocess.PIPE, text=True)
    assert killed.returncode == -signal.SIGKILL
    try:
        ended = os.pidfd_open(int(killed.stdout))
    except ProcessLookupError:
        return
    with os.fdopen(ended):
        assert select.select([ended], [], [], 30)[0], "the server outlived who started it"


@pytest.mark.parametrize(("name", "option"), [("redis", "--no-such"), ("memcached", "--no-such"), ("postgres", "--no-such=1")])
def test_what_does_not_start_says_why(name, option, place):
    with pytest.raises(RuntimeError, match=r"(?s)did not start.*no.such"):
        STARTERS[name](place, option)


def test_redis_says_what_it_does_not_like(redis_server):
    assert redis_server.call("SET", b"key", 5) == "OK"
    assert redis_server.call("EVAL", "return {1, {'a', false}}", 0) == [1, [b"a", None]]
    with pytest.raises(servers.ReplyError, match="WRONGTYPE"):
        redis_server.call("LPUSH", "key", "x")
    assert redis_server.call("DEL", "key") == 1


@pytest.mark.parametrize("answer", [b"", b"$5\r\nab", b"*2\r\n:1\r\n"])
def test_an_answer_that_is_cut_short_is_an_error(answer, place):
    path = place / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            asked = pool.submit(_resp.call, path, "PING")
            connection = listener.accept()[0]
            with connection:
                connection.recv(100)
                connection.sendall(answer)
            with pytest.raises(ConnectionResetError):
                asked.result(30)


def test_a_server_that_is_not_installed_is_named(place, monkeypatch):
    monkeypatch.setattr(_programs, "PACKAGES", {})
    monkeypatch.setattr(_programs, "ELSEWHERE", "")
    monkeypatch.setattr(_postgres, "POSTGRES_BINARIES", "nowhere/*")
    monkeypatch.setenv("PATH", str(place))
    for name, program in (("redis", "redis-server"), ("memcached", "memcached"), ("postgres", "postgres"), ("valkey", "valkey-server")):
        with pytest.raises(RuntimeError, match=f"{program} is not installed"):
            STARTERS[name](place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as another user")
@pytest.mark.parametrize("name", ["memcached", "postgres"])
def test_a_folder_that_the_servers_user_may_not_enter_is_named(name, place):
    inner = place / "inner"
    inner.mkdir()
    place.chmod(0o700)
    with pytest.raises(RuntimeError, match=f"may not pass through {place}: choose another folder"):
        STARTERS[name](inner)
