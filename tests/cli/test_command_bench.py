# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import time

import forebay
import pytest

QUICK = ["--seconds", "0.05", "--size", "4MiB"]
JOBS = ["get_hot", "get", "get_many", "set"]


WORKERS = [[], ["--threads", "2"], ["--processes", "2"], ["--threads", "2", "--processes", "2"]]


@pytest.mark.parametrize("workers", WORKERS)
def test_measures_every_operation_and_no_value_is_wrong(run_json, workers):
    facts = run_json("bench", *QUICK, *workers)
    assert [job["name"] for job in facts["jobs"]] == JOBS
    for job in facts["jobs"]:
        assert job["keys"] > 1000 and job["wrong"] == 0
        assert job["hits"] > job["keys"] / 2
        assert 0.05 <= job["seconds"] < 5
        assert job["per_second"] == pytest.approx(job["keys"] / job["seconds"])
    assert facts["threads"] * facts["processes"] == 2 ** (len(workers) // 2)


def test_the_text_has_a_line_for_each_operation(run):
    lines = run("bench", *QUICK).stdout.splitlines()
    assert lines[0].startswith("arena 4 MiB, ") and "values of 500 bytes, 1 process of 1 thread" in lines[0]
    assert [line.split(",")[0] for line in lines[3:]] == ["get", "get", "get_many", "set"]


def test_values_and_keys_are_as_many_and_as_large_as_asked_for(run_json):
    facts = run_json("bench", *QUICK, "--value-size", "1KiB", "--entries", "50")
    assert (facts["value_size"], facts["entries"], facts["size"]) == (1024, 50, 4 << 20)
    get = facts["jobs"][1]
    assert get["hits"] == get["keys"]


def test_a_value_of_one_byte_is_measured_too(run_json):
    assert run_json("bench", *QUICK, "--value-size", "1")["jobs"][0]["hits"] > 0


def test_a_file_is_made_and_removed(run_json, folder):
    run_json("bench", folder / "new", *QUICK, "--processes", "2")
    assert not list(folder.iterdir())


def test_an_arena_that_exists_is_left_as_it_is(refused, filled):
    assert "is an arena already" in refused("bench", filled, *QUICK, code=3)
    with forebay.open(filled) as arena:
        assert sorted(arena.caches()) == ["plain", "users"]


def test_a_path_that_cannot_be_is_an_error(refused, folder):
    assert "missing" in refused("bench", folder / "missing" / "new", *QUICK, code=3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [[], ["--processes", "2", "--threads", "2"]])
def test_an_interrupted_one_leaves_neither_file_nor_process(command, folder, number, workers):
    words = [command, "bench", folder / "new", "--size", "4MiB", "--seconds", "60", *workers]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, process_group=0, **pipes) as process:
        time.sleep(0.5)
        assert list(folder.iterdir())
        process.send_signal(number)
        out, error = process.communicate(timeout=20)
    assert (process.returncode, out) == (3, "")
    assert error == "forebay bench: interrupted; nothing is left behind\n"
    assert not list(folder.iterdir())
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_a_killed_worker_is_reported_and_leaves_no_file(command, folder):
    words = [command, "bench", folder / "new", "--size", "4MiB", "--seconds", "60", "--processes", "2"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(0.5)
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            children = [int(word) for word in file.read().split()]
        assert len(children) == 2
        os.kill(children[0], signal.SIGKILL)
        out, error = process.communicate(timeout=20)
    assert (process.returncode, out) == (3, "")
    assert "a worker died" in error
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--seconds", "0"], "is no --seconds"),
        (["--seconds", "x"], "is no --seconds"),
        (["--seconds", "1.2.3"], "is no --seconds"),
        (["--seconds", "3601"], "is no --seconds"),
        (["--size", "many"], "is no --size"),
        (["--size", "1KiB"], "at least 1MiB"),
        (["--value-size", "0"], "is no --value-size"),
        (["--threads", "0"], "is no --threads"),
        (["--threads", "65"], "is no --threads"),
        (["--processes", "-1"], "is no --processes"),
        (["--processes", "9", "--threads", "9"], "at most 64 threads"),
        (["--entries", "1.5"], "is no --entries"),
    ],
)
def test_a_number_that_makes_no_sense_is_a_usage_error(refused, words, reason):
    assert reason in refused("bench", *words, code=2)


def test_values_that_no_entry_can_hold_are_an_error(refused, folder):
    assert "too large for this arena" in refused("bench", folder / "new", *QUICK, "--value-size", "3MiB", code=3)
    assert not list(folder.iterdir())
