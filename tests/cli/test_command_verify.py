# SPDX-License-Identifier: Apache-2.0
import json
import subprocess

import forebay
import pytest


def test_a_sound_arena_gives_exit_code_0(run, run_json, filled):
    assert run("verify", filled).stdout == f"{filled}: sound\n"
    assert run_json("verify", filled) == {"path": str(filled), "violations": [], "sound": True}


def test_an_arena_in_use_is_sound(run, path, holding):
    with holding(path), forebay.open(path) as arena:
        cache = arena.cache("c")
        for i in range(5000):
            cache.set(i, bytes(500))
        assert run("verify", path).stdout.endswith(": sound\n")


def damaged(path, verify):
    """Flip bytes of the file, one at a time, until the arena is no longer sound; what verify says then."""
    content = path.read_bytes()
    for at in range(64, len(content), 8):
        if any(content[at : at + 8]):
            path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
            done = verify(path)
            facts = json.loads(done.stdout)
            assert done.returncode == (0 if facts["sound"] else 1)
            assert facts["sound"] == (not facts["violations"])
            if not facts["sound"]:
                return facts
    raise AssertionError("verify accepts any damage")


def test_each_violation_is_printed_and_gives_exit_code_1(run, filled, command):
    def verify(path):
        return subprocess.run([command, "verify", path, "--json"], capture_output=True, text=True, timeout=60)

    facts = damaged(filled, verify)
    lines = run("verify", filled, code=1).stdout.splitlines()
    assert lines[:-1] == facts["violations"]
    assert lines[-1].startswith(f"{filled}: damaged, {len(facts['violations'])} violation")


@pytest.mark.parametrize("content", [b"text\n", bytes(1 << 20), b"\xff" * (2 << 20)])
def test_a_file_that_is_no_arena_is_damaged(run, run_json, folder, content):
    (folder / "file").write_bytes(content)
    facts = run_json("verify", folder / "file", code=1)
    assert facts["sound"] is False and len(facts["violations"]) == 1
    assert run("verify", folder / "file", code=1).stdout.endswith(": damaged, 1 violation\n")
    assert (folder / "file").read_bytes() == content


def test_a_truncated_arena_is_damaged(run_json, filled):
    with open(filled, "r+b") as file:
        file.truncate(1 << 20)
    assert run_json("verify", filled, code=1)["sound"] is False


def test_a_missing_file_is_an_error_and_is_not_created(refused, folder):
    assert "there is no such file" in refused("verify", folder / "none", code=3)
    assert "there is no such file" in refused("verify", folder / "none", "--json", code=3)
    assert not list(folder.iterdir())


def test_a_folder_is_an_error(refused, folder):
    assert str(folder) in refused("verify", folder, code=3)
