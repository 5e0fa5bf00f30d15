# SPDX-License-Identifier: Apache-2.0
"""Tab, pressed in real shells that find the installed scripts in the standard places."""

import contextlib
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import forebay
import pytest
from test_command_tool import COMMANDS

SHARE = Path(sys.prefix) / "share"
MARK = re.compile(rb"\{\{(.*?)\}\}", re.S)

# Each makes Ctrl-G print the line that is being typed.
BASH = """
. /usr/share/bash-completion/bash_completion
bind 'set enable-bracketed-paste off'
bind -x '"\\C-g": printf "{%s}}\\n" "{$READLINE_LINE"'
"""
ZSH = f"""
fpath=({SHARE}/zsh/site-functions $fpath)
autoload -U compinit && compinit -u -D
zstyle ':completion:*' list-prompt ''
show() {{ print -r -- "{{""{{$BUFFER}}""}}" }}
zle -N show && bindkey '^G' show
"""


class Terminal:
    """A shell that believes someone types."""

    def __init__(self, words, folder, command, setup):
        environment = {
            "PATH": f"{Path(command).resolve().parent}:{os.environ['PATH']}", "HOME": str(folder), "TERM": "dumb", "PS1": "",
            "XDG_DATA_DIRS": f"{SHARE}:/usr/share", "LC_ALL": "C.UTF-8", "INPUTRC": "/dev/null",
        }
        self.leader, follower = pty.openpty()
        self.shell = subprocess.Popen(
            words, stdin=follower, stdout=follower, stderr=follower, cwd=folder, env=environment, start_new_session=True
        )
        os.close(follower)
        self.write(setup.strip() + "\n")

    def write(self, text):
        os.write(self.leader, text.encode())

    def becomes(self, typed):
        """The line after Tab."""
        self.write(f"{typed}\t\x07")
        seen = b""
        while not (found := MARK.search(seen)):
            seen += os.read(self.leader, 4096)  # fails when the shell is gone
        self.write("\x15")  # an empty line
        return found[1].decode()

    def close(self):
        self.shell.kill()
        self.shell.wait()
        os.close(self.leader)


@pytest.fixture
def shell(folder, command):
    with contextlib.ExitStack() as stack:

        def shell(setup, *words):
            terminal = Terminal(words, folder, command, setup)
            stack.callback(terminal.close)
            return terminal

        yield shell


@pytest.fixture
def arena(folder):
    with forebay.open(folder / "shop.forebay", size="1MiB") as arena:
        for name in ("users", "prices:eu", "two words"):
            arena.cache(name)
    return folder / "shop.forebay"


def test_bash_completes_commands_options_files_and_caches(shell, arena):
    bash = shell(BASH, "bash", "--noprofile", "--norc", "-i")
    for typed, line in [
        ("forebay ver", "forebay verify "),
        ("forebay help du", "forebay help dump "),
        ("forebay load --no", "forebay load --no-replace "),
        ("forebay stat sh", "forebay stat shop.forebay "),
        ("forebay stat ~/sh", "forebay stat ~/shop.forebay "),
        ("forebay get shop.forebay us", "forebay get shop.forebay users "),
        ("forebay dump ~/shop.forebay --cache us", "forebay dump ~/shop.forebay --cache users "),
        ("forebay dump shop.forebay --cache prices:", "forebay dump shop.forebay --cache prices:eu "),
        ("forebay drop shop.forebay two", "forebay drop shop.forebay two\\ words "),
        ("forebay dump --format m", "forebay dump --format msgpack "),
        ("forebay dump --format=m", "forebay dump --format=msgpack "),
        ("forebay stat none us", "forebay stat none us"),
    ]:
        assert bash.becomes(typed) == line


def test_zsh_completes_commands_options_files_and_caches(shell, arena):
    zsh = shell(ZSH, "zsh", "-f", "-i")
    for typed, line in [
        ("forebay ver", "forebay verify "),
        ("forebay load --no", "forebay load --no-replace "),
        ("forebay stat sh", "forebay stat shop.forebay "),
        ("forebay get ~/shop.forebay us", "forebay get ~/shop.forebay users "),
        ("forebay dump shop.forebay --cache prices:", "forebay dump shop.forebay --cache prices:eu "),
        ("forebay drop shop.forebay two", "forebay drop shop.forebay two\\ words "),
        ("forebay dump --format=m", "forebay dump --format=msgpack "),
    ]:
        assert zsh.becomes(typed) == line


def fish_offers(folder, command, typed):
    environment = os.environ | {
        "PATH": f"{Path(command).resolve().parent}:{os.environ['PATH']}", "XDG_DATA_DIRS": f"{SHARE}:/usr/share", "HOME": str(folder),
    }
    words = ["fish", "--private", "-c", 'complete -C "$argv[1]"', typed]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return [line.split("\t")[0] for line in done.stdout.splitlines()]


def test_fish_completes_commands_options_files_and_caches(folder, command, arena):
    assert fish_offers(folder, command, "forebay ") == [*sorted([*COMMANDS, "demo", "help"])]
    assert fish_offers(folder, command, "forebay load --no") == ["--no-replace"]
    assert fish_offers(folder, command, "forebay stat sh") == ["shop.forebay"]
    assert fish_offers(folder, command, "forebay get ~/shop.forebay ") == ["prices:eu", "two words", "users"]
    assert fish_offers(folder, command, "forebay dump --format=m") == ["--format=msgpack"]


def offered(run, *words):
    return [line.split("\t")[0] for line in run("__complete", *words).stdout.splitlines()]


def test_the_command_says_what_may_come(run, arena):
    assert offered(run, "") == [*COMMANDS, "demo", "help"]
    assert offered(run, "-") == ["--help", "--version"]
    for name in COMMANDS:
        in_help = re.findall(r"^  (-\S+)", run("help", name).stdout.split("\noptions:\n")[1], re.M)
        assert offered(run, name, "-") == in_help
    assert offered(run, "dump", "--json", "-o", "x", "-") == ["--cache", "--format", "--trust", "--help"]
    assert offered(run, "stat", "") == offered(run, "load", "a", "") == offered(run, "dump", "-o", "") == [":files"]
    assert offered(run, "drop", "--", "-") == [":files"]
    assert offered(run, "drop", "--trust", arena, "") == ["users", "prices:eu", "two words"]
    assert offered(run, "get", arena, "users", "") == offered(run, "create", "--size", "") == []
    assert offered(run, "get", arena.parent, "") == offered(run, "get", "/nowhere", "") == []
    assert offered(run, "nonsense", "") == offered(run, "demo", "-") == []


def test_a_name_with_control_characters_is_not_offered(run, arena):
    with forebay.open(arena) as opened:
        opened.cache("a\nb")
    assert offered(run, "drop", arena, "a") == ["users", "prices:eu", "two words"]
