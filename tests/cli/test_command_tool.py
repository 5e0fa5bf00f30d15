# SPDX-License-Identifier: Apache-2.0
"""What all subcommands have in common: help, mistakes, output that cannot be written."""

import os
import subprocess

import forebay
import pytest

COMMANDS = ["create", "stat", "top", "verify", "get", "drop", "dump", "load", "bench"]


def test_version_is_that_of_the_package(run):
    assert run("--version").stdout == f"forebay {forebay.__version__}\n"


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_help_names_every_command_and_the_exit_codes(run, words):
    text = run(*words).stdout
    assert all(f"  {name} " in text for name in [*COMMANDS, "demo"])
    assert "exit codes:\n  0  success\n" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(run, name):
    done = run(name, "--help")
    assert done.stdout.startswith(f"usage: forebay {name} ")
    assert ("--json" in done.stdout) == (name != "top") and done.stderr == ""
    assert run("help", name).stdout == done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_help_wins_over_missing_arguments(run):
    assert run("get", "--type", "int", "-h").stdout.startswith("usage: forebay get")


def test_nothing_typed_prints_the_help_as_an_error(run):
    done = run(code=2)
    assert done.stdout == "" and done.stderr.startswith("usage: forebay COMMAND")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("crate", "create"), ("stats", "stat"), ("vreify", "verify"), ("gte", "get"), ("ver", "verify")],
)
def test_a_misspelled_command_suggests_the_nearest(refused, typed, meant):
    assert f"unknown command '{typed}'; did you mean '{meant}'?" in refused(typed, code=2)


def test_a_word_like_no_command_suggests_none(refused):
    assert "did you mean" not in refused("frobnicate", code=2)
    assert "did you mean" not in refused("x" * 5000, code=2)
    assert "did you mean" not in refused("", code=2)


@pytest.mark.parametrize(
    ("words", "typed", "meant"),
    [
        (["--verson"], "--verson", "--version"),
        (["create", "x", "--sise", "1MiB"], "--sise", "--size"),
        (["stat", "--jsno", "x"], "--jsno", "--json"),
        (["drop", "--forse"], "--forse", "--force"),
        (["get", "--tpye=int"], "--tpye", "--type"),
        (["bench", "--value", "5"], "--value", "--value-size"),
        (["verify", "--hlep"], "--hlep", "--help"),
    ],
)
def test_a_misspelled_option_suggests_the_nearest(refused, words, typed, meant):
    assert f"unknown option '{typed}'; did you mean '{meant}'?" in refused(*words, code=2)


@pytest.mark.parametrize("name", ["create", "stat", "verify", "get", "drop", "dump", "load"])
def test_a_missing_argument_shows_what_is_needed(refused, name):
    assert f"an argument is missing: forebay {name} PATH" in refused(name, code=2)


def test_an_argument_too_many_is_named(refused):
    assert "'c' is one argument too many" in refused("drop", "a", "b", "c", code=2)


def test_an_option_without_its_value_says_so(refused):
    assert "'--size' needs a value: --size SIZE" in refused("create", "x", "--size", code=2)
    assert "'--json' takes no value" in refused("stat", "x", "--json=yes", code=2)


def test_control_characters_of_what_was_typed_do_not_reach_the_terminal(refused):
    assert "\x1b" not in refused("\x1b[2J", code=2)
    assert "\x1b" not in refused("stat", "/nowhere/\x1b[2J", code=3)


def test_after_two_hyphens_nothing_is_an_option(run, folder):
    run("create", "--size=1MiB", "--", "--json", cwd=folder)
    assert (folder / "--json").exists()


@pytest.mark.parametrize("name", ["stat", "verify"])
def test_a_reader_that_went_away_is_no_error(command, filled, name):
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([command, name, filled], stdout=write_end, stderr=subprocess.PIPE, timeout=60)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", [["stat"], ["stat", "--json"], ["verify"], ["dump"], ["get", "plain", "key", "--raw"]])
def test_output_that_meets_a_full_disk_is_an_error(command, filled, words):
    with open("/dev/full", "w") as full:
        words = [command, words[0], filled, *words[1:]]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 3
    assert "cannot write the output: No space left on device" in done.stderr


def test_with_stdout_closed_the_arena_is_not_printed_over(command, filled):
    before = filled.read_bytes()[:4096]
    done = subprocess.run(["sh", "-c", '"$0" stat "$1" >&- 2>&- <&-', command, filled], timeout=60)
    assert done.returncode == 0
    assert filled.read_bytes()[:64] == before[:64]
    with forebay.open(filled) as arena:
        assert arena.cache("plain").get("key") == b"\x00value\xff"
        assert not arena.verify()
