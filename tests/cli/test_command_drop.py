# SPDX-License-Identifier: Apache-2.0
import ctypes
import os
import signal
import subprocess
import sys

import forebay
import pytest


def test_a_cache_goes_and_the_others_stay(run, run_json, filled):
    assert run("drop", filled, "users").stdout == f"{filled}: dropped the cache 'users'\n"
    with forebay.open(filled) as arena:
        assert arena.caches() == ["plain"]
        assert arena.cache("plain").get("key") == b"\x00value\xff"
        assert arena.cache("users").get(1) is None
    assert run_json("drop", filled, "plain") == {"path": str(filled), "cache": "plain", "dropped": True}


def test_a_cache_goes_while_others_have_the_arena_open(run, filled, holding):
    with holding(filled):
        run("drop", filled, "users")


@pytest.mark.parametrize("name", ["nope", "", "x" * 48, "x" * 5000])
def test_a_missing_cache_is_not_found(refused, filled, name):
    assert f"has no cache '{name[:40]}" in refused("drop", filled, name, code=1)
    with forebay.open(filled) as arena:
        assert sorted(arena.caches()) == ["plain", "users"]


def test_the_file_goes_when_nobody_has_it_open(run, run_json, folder, filled):
    assert run("drop", filled).stdout == f"{filled}: removed\n"
    assert not list(folder.iterdir())
    forebay.open(filled, size="1MiB").close()
    assert run_json("drop", filled) == {"path": str(filled), "cache": None, "dropped": True}


def test_the_file_stays_while_a_process_has_it_open(run, refused, filled, holding):
    with holding(filled) as process:
        text = refused("drop", filled, code=3)
        assert f"is open in process {process.pid}; stop it first, or use --force" in text
        with holding(filled):
            assert "is open in 2 other processes" in refused("drop", filled, code=3)
        assert filled.exists()
    run("drop", filled)


def test_a_stopped_process_has_it_open_too(refused, filled, holding):
    with holding(filled) as process:
        os.kill(process.pid, signal.SIGSTOP)
        assert "is open in process" in refused("drop", filled, code=3)


def test_a_killed_process_does_not_keep_it(run, filled, holding):
    with holding(filled) as process:
        process.kill()
        process.wait()
        run("drop", filled)
    assert not filled.exists()


def test_force_removes_it_from_under_a_process(run, filled, holding):
    with holding(filled) as process:
        run("drop", filled, "--force")
        assert not filled.exists()
        assert process.poll() is None


def test_the_holder_of_a_removed_file_goes_on(run, filled):
    with forebay.open(filled) as arena:
        run("drop", filled, "--force")
        users = arena.cache("users")
        assert users.get(1) == "one"
        users.set(5, "five")
        assert users.get(5) == "five"


@pytest.mark.parametrize("content", [b"", b"precious\n", bytes(2 << 20)])
@pytest.mark.parametrize("words", [[], ["--force"], ["users"]])
def test_a_file_that_is_no_arena_is_refused(refused, folder, content, words):
    (folder / "file").write_bytes(content)
    assert "file" in refused("drop", folder / "file", *words, code=3)
    assert (folder / "file").read_bytes() == content


def test_a_folder_is_refused(refused, folder):
    assert str(folder) in refused("drop", folder, "--force", code=3)
    assert folder.is_dir()


def test_a_missing_file_is_an_error_and_is_not_created(refused, folder):
    assert "there is no such file" in refused("drop", folder / "none", code=3)
    assert "there is no such file" in refused("drop", folder / "none", "cache", code=3)
    assert not list(folder.iterdir())


def lose_power_over_permissions():
    """Root may change any folder, unless it gives up CAP_DAC_OVERRIDE (1) before it executes."""
    PR_CAPBSET_DROP = 24
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, 1, 0, 0, 0) != 0:
        os._exit(99)


def test_a_folder_that_may_not_be_changed_keeps_the_file(refused, filled):
    filled.parent.chmod(0o500)
    try:
        text = refused("drop", filled, code=3, preexec_fn=lose_power_over_permissions)
    finally:
        filled.parent.chmod(0o700)
    assert f"cannot remove {filled}: Permission denied" in text
    assert filled.exists()


def test_through_a_symbolic_link_the_file_itself_goes_and_frees_its_memory(run, filled):
    link = filled.with_name("link")
    link.symlink_to(filled)
    run("drop", link)
    assert not filled.exists()


def test_a_limit_goes_and_the_caches_stay(run, run_json, filled):
    with forebay.open(filled) as arena:
        for name in ("one", "two"):
            arena._limit(name, 2, False)
        assert run("drop", filled, "--limit", "one").stdout == f"{filled}: dropped the limit 'one'\n"
        assert list(arena.limits()) == ["two"]
        assert run_json("drop", filled, "--limit", "two") == {"path": str(filled), "limit": "two", "dropped": True}
        assert sorted(arena.caches()) == ["plain", "users"]


def test_a_limit_in_use_stays(run, refused, filled):
    with forebay.open(filled) as arena, forebay.open(filled) as other:
        limit = arena._limit("database", 2, False)
        permit = limit.take()
        text = refused("drop", filled, "--limit", "database", code=3)
        assert f"the limit 'database' is in use: process {os.getpid()} holds 1 permits and waits for 0; close its pools" in text
        others = other._limit("database", 2, False)
        turn = others.queue()
        assert "and there are others" in refused("drop", filled, "--limit", "database", code=3)
        assert limit.give_back(permit)
        assert "holds 0 permits and waits for 1" in refused("drop", filled, "--limit", "database", code=3)
        others.leave(turn)
        run("drop", filled, "--limit", "database")


def test_a_limit_of_a_killed_process_goes(run, filled):
    hold = "import forebay, os, sys; a = forebay.open(sys.argv[1]); a._limit('database', 1, False).take(); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", hold, filled]).returncode == -signal.SIGKILL
    run("drop", filled, "--limit", "database")


@pytest.mark.parametrize("name", ["nope", "", "x" * 48])
def test_a_missing_limit_is_not_found(refused, filled, name):
    assert f"has no limit '{name}'" in refused("drop", filled, "--limit", name, code=1)


def test_a_cache_and_a_limit_at_once_are_a_mistake(refused, filled):
    assert "one at once" in refused("drop", filled, "users", "--limit", "database", code=2)
    assert "one at once" in refused("drop", filled, "users", "--channel", "news", code=2)
    assert "one at once" in refused("drop", filled, "--limit", "database", "--channel", "news", code=2)
    with forebay.open(filled) as arena:
        assert "users" in arena.caches()


def test_a_channel_goes_once_nobody_listens(run, run_json, refused, filled):
    with forebay.open(filled) as arena:
        channel = arena._channel("news")
        listener = channel.claim(1000)
        text = refused("drop", filled, "--channel", "news", code=3)
        assert f"process {os.getpid()} listens to the channel 'news'; stop it first" in text
        channel.leave(listener)
        assert run("drop", filled, "--channel", "news").stdout == f"{filled}: dropped the channel 'news'\n"
        arena._channel("other")
        assert run_json("drop", filled, "--channel", "other") == {"path": str(filled), "channel": "other", "dropped": True}
        assert arena.channels() == {}
        assert sorted(arena.caches()) == ["plain", "users"]


def test_a_channel_of_a_killed_listener_goes(run, filled):
    hold = "import forebay, os, sys; a = forebay.open(sys.argv[1]); a._channel('news').claim(10**6); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", hold, filled]).returncode == -signal.SIGKILL
    run("drop", filled, "--channel", "news")


@pytest.mark.parametrize("name", ["nope", "", "x" * 48])
def test_a_missing_channel_is_not_found(refused, filled, name):
    assert f"has no channel '{name}'" in refused("drop", filled, "--channel", name, code=1)
