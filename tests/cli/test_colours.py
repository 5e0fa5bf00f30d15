# SPDX-License-Identifier: Apache-2.0
import os
import re
import subprocess

import forebay
import pytest


@pytest.fixture
def on_terminal(command):
    """What the command prints on a terminal."""

    def on_terminal(*words, **variables):
        leader, follower = os.openpty()
        environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        environment |= {"TERM": "xterm"} | variables
        subprocess.run([command, *words], stdout=follower, env=environment, timeout=60)  # it fits into the terminal's buffer
        os.close(follower)
        with os.fdopen(leader, "rb", buffering=0) as file:
            text = b"".join(iter(lambda: read(file), b"")).decode()
        return text.replace("\r\n", "\n")

    def read(file):
        try:
            return file.read(4096)
        except OSError:  # EIO: all is read
            return b""

    return on_terminal


def without_pids(text):
    return re.sub(r"pid \d+ *", "pid ", text)


def test_stat_has_colours_on_a_terminal_and_the_same_text_elsewhere(run, on_terminal, filled):
    with forebay.open(filled) as arena:
        pool = forebay.Pool(dict, max_size=2, name="pool", arena=arena, host_max=3)
        shown = on_terminal("stat", filled)
        plain = run("stat", filled).stdout
        pool.close()
    assert "\x1b[1marena       \x1b[0m" in shown and "\x1b[1mlimits" in shown
    assert "\x1b" not in plain
    assert without_pids(re.sub(r"\x1b\[[0-9;]*m", "", shown)) == without_pids(plain)


def test_what_is_wrong_stands_out(on_terminal, filled, folder, holding):
    assert on_terminal("verify", filled).endswith(": \x1b[32msound\x1b[0m\n")
    (folder / "damaged").write_bytes(b"x" * 100_000)
    assert ": \x1b[1;31mdamaged, 1 violation\x1b[0m\n" in on_terminal("verify", folder / "damaged")
    with holding(filled) as process:
        process.kill()
        process.wait()
        assert f"  pid {process.pid:<8d} \x1b[33mdead, " in on_terminal("stat", filled)


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}])
def test_the_environment_can_forbid_colours(on_terminal, filled, variables):
    assert "\x1b" not in on_terminal("stat", filled, **variables)
    assert "\x1b" in on_terminal("stat", filled, "--color=always", **variables)


def test_an_empty_no_color_forbids_nothing(on_terminal, filled):
    assert "\x1b" in on_terminal("stat", filled, NO_COLOR="")


@pytest.mark.parametrize("name", ["stat", "verify"])
def test_the_option_decides(run, on_terminal, refused, filled, name):
    assert "\x1b" in run(name, filled, "--color", "always").stdout
    assert "\x1b" not in run(name, filled, "--color", "auto").stdout
    assert "\x1b" not in on_terminal(name, filled, "--color=never")
    assert "give auto, always or never" in refused(name, filled, "--color=sometimes", code=2)


@pytest.mark.parametrize("words", [["stat", "--json"], ["stat", "--prometheus"], ["verify", "--json"]])
def test_what_machines_read_has_no_colours(run, filled, words):
    assert "\x1b" not in run(words[0], filled, words[1], "--color=always").stdout
