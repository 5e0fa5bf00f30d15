# SPDX-License-Identifier: Apache-2.0
"""Each peer of the benchmark does what the table of peers says, on a small data set and real servers."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgpack
import peer_servers
import peers
import pytest
import report
from report_tables import as_text

BENCH = Path(peers.__file__).resolve().parents[1]
RECORDS = {f"key.{number}": msgpack.packb({"number": number, "text": f"{number} " * 40}) for number in range(250)}
PLACED = len(RECORDS), sum(map(len, RECORDS.values())) + sum(map(len, RECORDS))
NAMES = list(peers.all_peers())


@pytest.fixture(scope="module")
def place():
    folder = peer_servers.let_pass(Path(tempfile.mkdtemp(prefix="forebay-test-", dir="/dev/shm")))
    kinds = {peer.server for peer in peers.all_peers().values() if peer.server}
    running = [peer_servers.start(kind, folder) for kind in sorted(kinds)]
    yield peers.Place(folder, *PLACED)
    for server in running:
        server.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def opened(place):
    """All peers, filled, by name."""
    found = {}
    for name, kind in peers.all_peers().items():
        peer = found[name] = kind(place)
        peer.fill(list(RECORDS.items())[: kind.most])
        peer.ready()
    yield found
    for peer in found.values():
        peer.close()
    assert not list(peers.SHARED_MEMORY.glob(f"*{place.folder.name}-*"))


def given(peer):
    """The records that the peer was given."""
    return dict(list(RECORDS.items())[: peer.most])


@pytest.mark.parametrize("name", NAMES)
def test_what_was_filled_in_is_there(opened, name):
    peer = opened[name]
    found = {key: peer.get(peer.key(key)) for key in given(peer)}
    wanted = {key: peer.value(packed) for key, packed in given(peer).items()}
    if peer.may_miss:
        found = {key: value for key, value in found.items() if value is not None}
        wanted = {key: wanted[key] for key in found}
        assert len(found) > 20
    assert found == wanted


@pytest.mark.parametrize("name", [name for name, peer in peers.all_peers().items() if peer.has_batches and not peer.may_miss])
def test_many_keys_at_once_have_their_values(opened, name):
    peer, keys = opened[name], list(RECORDS)[:20]
    found = peer.get_many([peer.key(key) for key in keys])
    values = list(found.values()) if isinstance(found, dict) else [pair[1] if isinstance(pair, tuple) else pair for pair in found]
    assert len(values) == 20
    assert all(peer.value(RECORDS[key]) in values for key in keys)


@pytest.mark.parametrize("name", [name for name, peer in peers.all_peers().items() if peer.can_set and not peer.may_miss])
def test_what_is_set_is_read(opened, name):
    peer, key = opened[name], "key.7"
    peer.before_sets(RECORDS.items())
    other = peer.value(RECORDS["key.8"])
    peer.set(peer.key(key), other)
    assert peer.get(peer.key(key)) == other
    peer.set(peer.key(key), peer.value(RECORDS[key]))


def test_another_process_finds_what_is_shared_and_nothing_else(opened, place):
    script = Path(__file__).with_name("other_process.py")
    command = [sys.executable, script, BENCH, place.folder, *map(str, PLACED), "key.150"]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    assert found == {name: peer.shared for name, peer in opened.items()}


def test_hits_of_the_client_side_cache_do_not_reach_the_server(opened, place):
    client = opened["redis-py, client-side cache"].client
    client.get("key.1")

    def gets():
        return client.info("commandstats")["cmdstat_get"]["calls"]

    before = gets()
    for _ in range(10):
        client.get("key.1")
    assert gets() == before


def test_each_peer_says_what_it_shares_and_what_it_lacks():
    rows = [peer.about() for peer in peers.all_peers().values()]
    assert not [row["peer"] for row in rows if not all(row.values())]
    private = {row["peer"] for row in rows if row["shares"] == "nothing"}
    assert private == {name for name, peer in peers.all_peers().items() if not peer.shared}


def test_a_peer_that_is_not_installed_is_in_the_table_with_the_reason(monkeypatch):
    monkeypatch.setattr(peers, "MODULES", ("plain_dict", "nobodys_cache"))
    found, left_out = peers.imported.__wrapped__()
    assert list(found) == ["dict", "dict of dicts"]
    table = as_text(report.peers_table([], left_out))
    assert "nobodys_cache  not installed  No module named 'peers.nobodys_cache'" in table


def test_a_server_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no server 'abacus'"):
        peer_servers.start("abacus", tmp_path)


@pytest.mark.parametrize("kind", ["redis", "new redis", "memcached"])
def test_the_version_of_a_server_is_told(kind):
    program, number = peer_servers.version(kind).split()
    assert program == ("memcached" if kind == "memcached" else "redis-server")
    assert int(number.split(".")[0]) >= 1


def test_a_server_that_is_not_installed_is_told_instead_of_its_version(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(peer_servers.servers._programs, "ELSEWHERE", "/nowhere")
    assert peer_servers.version("memcached") == "memcached is not installed"
