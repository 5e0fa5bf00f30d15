# SPDX-License-Identifier: Apache-2.0
"""The Cassandra node that tests use: it answers, keeps what was written, and ends with whoever started it."""

import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest
from forebay.testing import servers
from forebay.testing.servers import _cassandra, _programs

pytestmark = pytest.mark.long  # the interpreter makes no difference to servers

needs_cassandra = pytest.mark.cassandra


@pytest.fixture
def jars(cassandra):
    """For tests that start a node of their own; skipped where there is none."""


@needs_cassandra
def test_a_driver_reaches_it(cassandra):
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.policies import DCAwareRoundRobinPolicy

    profile = ExecutionProfile(load_balancing_policy=DCAwareRoundRobinPolicy(cassandra.data_center))
    with Cluster([cassandra.host], cassandra.port, execution_profiles={EXEC_PROFILE_DEFAULT: profile}) as cluster:
        [row] = cluster.connect().execute("SELECT cluster_name, release_version FROM system.local")
        assert row.cluster_name == cassandra.cluster_name
        assert row.release_version.startswith("5.")


@needs_cassandra
def test_what_was_written_is_there_after_it_was_killed(cassandra):
    create = "CREATE KEYSPACE kept WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
    for statement in (create, "CREATE TABLE kept.t (id int PRIMARY KEY, v text)", "INSERT INTO kept.t (id, v) VALUES (1, 'marker')"):
        _cassandra.query(cassandra.address, statement)
    cassandra.restart()
    assert b"marker" in _cassandra.query(cassandra.address, "SELECT v FROM kept.t")
    _cassandra.query(cassandra.address, "DROP KEYSPACE kept")


@needs_cassandra
def test_a_wrong_statement_is_an_error(cassandra):
    with pytest.raises(OSError, match="no viable alternative"):
        _cassandra.query(cassandra.address, "SELEKT")


@needs_cassandra
def test_it_listens_on_loopback_only_and_its_folder_is_private(cassandra):
    inodes = {os.readlink(f"/proc/{cassandra.process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{cassandra.process.pid}/fd")}
    for table in ("tcp", "tcp6"):
        with open(f"/proc/net/{table}") as lines:
            for line in list(lines)[1:]:
                _, place, _, state, *rest = line.split()
                if state == "0A" and f"socket:[{rest[5]}]" in inodes:
                    assert place.startswith("0100007F:"), f"it listens on {place}"
    assert cassandra.log_path.parent.stat().st_mode & 0o077 == 0


@needs_cassandra
@pytest.mark.parametrize(("options", "settings", "why"), [(["--no-such"], None, "no-such"), ([], {"no_such": 1}, "no_such")])
def test_what_does_not_start_says_why(jars, tmp_path, options, settings, why):
    with pytest.raises(RuntimeError, match=f"(?s)did not start.*{why}"):
        servers.start_cassandra(tmp_path, *options, settings=settings)


STARTED_AND_KILLED = """
    import os, signal, sys
    from pathlib import Path
    from forebay.testing import servers
    server = servers.start_cassandra(Path(sys.argv[1]))
    print(server.process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@needs_cassandra
def test_a_node_ends_with_a_process_that_is_killed(jars, tmp_path):
    program = textwrap.dedent(STARTED_AND_KILLED)
    killed = subprocess.run([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True)
    assert killed.returncode == -signal.SIGKILL
    try:
        ended = os.pidfd_open(int(killed.stdout))
    except ProcessLookupError:
        return
    with os.fdopen(ended):
        assert select.select([ended], [], [], 30)[0], "the node outlived who started it"


# ---- without a node ----


@pytest.fixture
def a_java(tmp_path, monkeypatch):
    """A java that is never called."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").touch(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))


def test_without_java_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(_programs, "ELSEWHERE", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(RuntimeError, match="java is not installed"):
        servers.start_cassandra(tmp_path)


def test_without_its_jars_it_says_where_they_should_be(a_java, tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_CASSANDRA_JARS", str(tmp_path / "nowhere"))
    with pytest.raises(RuntimeError, match=r"not in .*/nowhere: tools/cassandra/fetch"):
        servers.start_cassandra(tmp_path)
    with pytest.raises(RuntimeError, match=r"not in .*/here"):
        servers.start_cassandra(tmp_path, jars=tmp_path / "here")
    monkeypatch.delenv("FOREBAY_CASSANDRA_JARS")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match=r"not in .*/build/cassandra/jars"):
        servers.start_cassandra(tmp_path)


@pytest.mark.parametrize("answer", [b"", b"\x84\0\0\0\x02\0\0\0\x09short"])
def test_an_answer_that_is_cut_short_is_an_error(answer):
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:
        asked = pool.submit(_cassandra.query, listener.getsockname(), "SELECT 1")
        with listener.accept()[0] as connection:
            connection.recv(1000)
            connection.sendall(answer)
        with pytest.raises(ConnectionResetError):
            asked.result(30)
