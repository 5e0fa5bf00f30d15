# SPDX-License-Identifier: Apache-2.0
"""What `bench results` takes from the files of the benchmarks."""

import json

import pytest
import results

ABOUT = [{"peer": peer, "shares": shares} for peer, shares in
         (("forebay, bytes", "a mapped file"), ("dict", "nothing"), ("lmdb", "a mapped file"), ("redis-py", "a server"))]  # fmt: skip
SPEED = {
    "date": "2026-01-02", "data": {"records": 10}, "rounds": 3, "peers": ABOUT,
    "rows": [{"op": op, "peer": "dict", "p50_ns": p50, "p99_ns": 9 * p50, "mean_ns": p50} for op in ("get", "set") for p50 in (30.0, 10.0, 20.0)]
    + [{"op": "memory", "peer": "dict", "workers": workers, "bytes": 100 * workers} for workers in (1, 2)],
}  # fmt: skip
TRACES = {
    "date": "2026-01-03",
    "reference": [{"trace": "t", "fraction": fraction, "capacity": 9, "policies": {"LRU": 0.5}} for fraction in ("0.01", "0.1")],
    "equal_entries": [{"trace": "t", "fraction": "0.1", "miss_ratio": 0.4}],
}
MACHINES = {"origin": "postgres", "tier": "redis", "ttl_seconds": 5.0, "machines": 2, "ways": {"dict": {"behind_ms": {"p50": 1.0}, "reads": 7}}}


@pytest.fixture
def folder(tmp_path):
    for name, outcome in (("speed", SPEED), ("traces", TRACES), ("demo", {"date": "2026-01-04", "machines": MACHINES})):
        (tmp_path / f"{name}.json").write_text(json.dumps(outcome))
    return tmp_path


def test_each_part_has_its_figures_and_its_date(folder):
    found = results.collected(folder, {})
    assert found["latency"]["get"] == {"dict": {"p50_ns": 20.0, "p99_ns": 180.0}}
    assert found["memory"]["bytes"] == {"dict": {"1": 100, "2": 200}}
    assert [(point["fraction"], point["forebay"]) for point in found["miss_ratio"]["points"]] == [("0.01", None), ("0.1", 0.4)]
    assert found["staleness"]["ways"] == {"dict": {"p50": 1.0}}
    assert [part["date"] for part in found.values()] == ["2026-01-02", "2026-01-02", "2026-01-03", "2026-01-04"]


def test_where_a_peer_keeps_things_is_one_of_four(folder):
    assert results.collected(folder, {})["latency"]["kinds"] == {"forebay, bytes": "forebay", "dict": "process", "lmdb": "file", "redis-py": "server"}


def test_a_part_that_was_not_measured_again_stays(folder, capsys):
    (folder / "demo.json").unlink()
    assert results.collected(folder, {"staleness": "older"})["staleness"] == "older"
    assert "staleness: there is no" in capsys.readouterr().err
