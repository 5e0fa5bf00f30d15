# SPDX-License-Identifier: Apache-2.0
"""`forebay top`: screens as text, and on a terminal.  What it draws of given figures: tests/unit/test_top_pages.c."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import forebay
import pytest
from terminal import Terminal

WORKER = """
import sys, forebay, itertools, select
arena = forebay.open(sys.argv[1])
users, pages = arena.cache("users", ttl=300), arena.cache("pages", codec="lz4")
limit = arena._limit("database", 5, False)
tier = arena._tier("redis://127.0.0.1:6379/0")
assert tier.say(sys.argv[2] == "0", False)
assert limit.take()
for n in itertools.count():
    if users.get(n % 500) is None:
        users.set(n % 500, {"name": "Ada"})
    if pages.get(n % 50) is None:
        pages.set(n % 50, "<p>a page</p>" * 100)
    if n % 10 == 0:
        assert tier.add("misses" if n % 40 == 0 else "hits", 1)
    if n == 1000:
        print("works", flush=True)
    if n % 100 == 0 and select.select([sys.stdin], [], [], 0.001 if n > 1000 else 0)[0]:
        break
"""


@pytest.fixture
def workers(path):
    """Four processes at work on the arena; their pids."""
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", WORKER, path, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for n in range(4)
        ]
        assert [process.stdout.readline() for process in processes] == ["works\n"] * 4
        yield [process.pid for process in processes]
        for process in processes:
            process.stdin.close()


@pytest.fixture
def watch(command, path):
    """Start `forebay top` on a terminal."""
    with contextlib.ExitStack() as stack:

        def watch(*options, at=path, width=80, height=24, **environment):
            words = [command, "top", at, "--interval", "0.1", *options]
            return stack.enter_context(contextlib.closing(Terminal(words, width, height, **environment)))

        yield watch


# ---- as text ----


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40)])
def test_a_screen_shows_four_workers_at_work(run, path, workers, width, height):
    options = ["--once", "--interval", "0.5", "--width", str(width), "--height", str(height)]
    lines = run("top", path, *options, env=os.environ | {"LC_ALL": "C.UTF-8"}).stdout.splitlines()
    assert len(lines) == height and max(map(len, lines)) <= width
    assert lines[0].startswith(f" forebay top  {path} ") and re.search(r"every 0\.5s  \d\d:\d\d:\d\d$", lines[0])
    assert lines[1].startswith(" 2 MiB in memory  caches 2/") and "rows 5/" in lines[1]
    assert re.match(r" ops/s +[1-9][\d.]*k? .*█$", lines[2])
    assert re.search(r"hit ratio +(100%|9\d\.\d%)", "\n".join(lines))
    (memory,) = [line for line in lines if line.startswith(" memory used")]
    assert {"░", "·"} <= set(memory)
    (users,) = [line for line in lines if line.startswith("   users ")]
    (pages,) = [line for line in lines if line.startswith("   pages ")]
    assert users.split()[1] == "500" and pages.split()[1] == "50"
    assert re.search("[█▓]{3}", users) and re.search("[█▓]", pages)
    for pid in workers:
        (line,) = [line for line in lines if re.match(rf" +{pid} ", line)]
        assert line.split()[1:4] == ["1", "1", "0"]  # a row, a permit, waiting for none
    assert sum("this one" in line for line in lines) == 1
    (limit,) = [line for line in lines if " database " in line]
    assert limit.endswith(" 4/5") and "█" in limit and "·" in limit
    (tier,) = [line for line in lines if " 127.0.0.1:" in line]
    assert re.search(r" 7\d\.\d%  4, 1 out$", tier)
    assert sum(line.rstrip().endswith("1 tier out") or "1 tier out  " in line for line in lines) == 1
    assert "q quit" in lines[-1]


def test_where_the_locale_is_not_utf8_all_is_ascii(run, path, workers):
    for options, locale in ([], "C"), (["--ascii"], "C.UTF-8"):
        done = run("top", path, "--once", "--interval", "0.2", *options, env=os.environ | {"LC_ALL": locale})
        assert done.stdout.isascii() and re.search(r"memory used +[\d.]+% [#=:.-]+", done.stdout)


def test_a_screen_of_one_cache(run, path, workers):
    text = run("top", path, "--once", "--interval", "0.2", "--cache", "users").stdout
    assert text.splitlines()[2] == " cache users" and re.search(r" hits +[1-9]", text)
    assert re.search(r"ttl +5m\n", text) and re.search(r"entries +500\n", text)


def test_caches_are_sorted_as_asked(run, filled):
    for column, order in ("name", ["plain", "users"]), ("entries", ["users", "plain"]):
        text = run("top", filled, "--once", "--interval", "0.1", "--sort", column).stdout
        assert re.findall(r"^   (plain|users) ", text, re.M) == order


def test_batch_prints_screens_until_it_is_ended(command, filled):
    words = [command, "top", filled, "--batch", "--interval", "0.1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(2 * 25)]
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM
    assert lines[0].startswith(" forebay top") and lines[25].startswith(" forebay top")
    assert lines[24] == "\n" and "\x1b" not in "".join(lines)


def test_a_reader_that_goes_away_ends_it(command, filled):
    words = [command, "top", filled, "--batch", "--interval", "0.1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 0 and process.stderr.read() == ""


def test_counts_as_no_get_and_makes_no_cache(run, run_json, filled):
    before = run_json("stat", filled)
    run("top", filled, "--once", "--interval", "0.1")
    after = run_json("stat", filled)
    assert after["caches"] == before["caches"] and len(after["rows"]) == len(before["rows"])


def test_the_document_shows_a_screen_as_it_is():
    root = Path(__file__).resolve().parents[2]
    screen = (root / "tests/unit/screens/arena-80x24.txt").read_text()
    assert f"```text\n{screen}```\n" in (root / "docs/top.md").read_text()


def test_it_explains_itself(run):
    text = run("top", "--help").stdout
    assert text.startswith("usage: forebay top PATH") and max(map(len, text.splitlines())) <= 100


# ---- mistakes ----


def test_without_a_terminal_it_says_what_to_do(refused, filled):
    assert "use --once or --batch" in refused("top", filled, code=3)


@pytest.mark.parametrize("name", ["dumb", "no-such-terminal", ""])
def test_a_terminal_that_cannot_do_it_is_refused(watch, filled, name):
    terminal = watch(at=filled, TERM=name)
    assert terminal.end() == 3
    assert "TERM" in terminal.text and "--once or --batch" in terminal.text.replace("\n", "")
    assert terminal.modes == terminal.modes_before and b"\x1b" not in terminal.raw


def test_an_arena_that_is_not_there_or_not_one_is_refused(refused, folder, path):
    assert "there is no such file" in refused("top", folder / "none", "--once", code=3)
    (folder / "text").write_bytes(b"no arena" * 1000)
    assert "not an arena" in refused("top", folder / "text", "--once", code=3)
    with open(path, "r+b") as file:
        file.seek(8)  # the format's version
        file.write((999).to_bytes(4, "little"))
    assert "format" in refused("top", path, "--once", code=3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--interval", "0"], "--interval"),
        (["--interval", "0.01"], "--interval"),
        (["--sort", "colour"], "there is no column 'colour'"),
        (["--color", "green"], "give auto, always or never"),
        (["--width", "59"], "--width"),
        (["--height", "17"], "--height"),
        (["--cache", "x" * 48], "--cache"),
    ],
)
def test_wrong_options_are_refused(refused, filled, options, said):
    assert said in refused("top", filled, "--once", *options, code=2)


def test_a_cache_that_is_not_there_is_said(refused, filled):
    assert "there is no cache 'none'" in refused("top", filled, "--once", "--cache", "none", code=1)


# ---- on a terminal ----


def test_keys_choose_a_cache_go_into_it_and_back_and_quit(watch, filled):
    terminal = watch("--sort", "name", at=filled)
    terminal.wait_for("CACHE*", "plain", "users", "this one")
    terminal.press("j")
    terminal.wait_for("> plain")
    terminal.press("\x1bOB")  # down
    terminal.wait_for("> users")
    terminal.press("\x1b[A")  # up, of a terminal that does not know that it is asked for other keys
    terminal.wait_for("> plain")
    terminal.press("G")
    terminal.wait_for("> users")
    terminal.press("\r")
    terminal.wait_for("cache users", "dictionary   none", "escape: back")
    terminal.press("\x1b")
    terminal.wait_for("> users", "plain")
    terminal.press("q")
    assert terminal.end() == 0


def test_keys_sort_pause_help_and_change_the_interval(watch, filled):
    terminal = watch("--sort", "name", at=filled)
    terminal.wait_for("s sort: name", "every 0.1s")
    terminal.press("s+")
    terminal.wait_for("s sort: entries", "every 0.2s")
    terminal.press("p")
    terminal.wait_for("PAUSED")
    terminal.press("?")
    terminal.wait_for("choose a cache", "any key: back")
    terminal.press("x ")
    terminal.wait_until(lambda: "PAUSED" not in terminal.text and "users" in terminal.text)
    terminal.press("q")
    assert terminal.end() == 0


def test_operations_show_while_they_are_done(watch, path):
    with forebay.open(path) as arena:
        cache = arena.cache("busy")
        terminal = watch()
        terminal.wait_for("busy")

        def is_seen():
            cache.set("key", 1)
            assert cache.get("key") == 1
            return re.search(r"busy +1 +[1-9]", terminal.text)

        terminal.wait_until(is_seen)


def test_another_size_is_filled(watch, filled):
    terminal = watch(at=filled, LINES="20", COLUMNS="70")  # of before it was resized
    terminal.wait_for("users")
    terminal.resize(140, 40)
    terminal.wait_for("EXPIR/s")
    assert "q quit" in terminal.lines[39]
    terminal.resize(50, 10)
    terminal.wait_for("needs 60x18")
    terminal.resize(80, 24)
    terminal.wait_for("users", "q quit")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_given_back_at_the_end(watch, run_json, filled, end):
    terminal = watch(at=filled, TERM="xterm-256color")
    terminal.wait_until(lambda: b"users" in terminal.raw)
    assert b"\x1b[?1049h" in terminal.raw and terminal.modes != terminal.modes_before
    if end == signal.SIGINT:
        terminal.press("\x03")  # Ctrl-C
    else:
        terminal.process.send_signal(end)
    assert terminal.end() == -end
    assert terminal.modes == terminal.modes_before
    assert terminal.raw.rindex(b"\x1b[?1049l") > terminal.raw.rindex(b"users")
    assert len(run_json("stat", filled)["rows"]) == 1  # of stat itself


def test_colours_are_used_unless_they_are_not_wanted(watch, filled):
    terminals = [
        watch(at=filled),
        watch("--color=always", at=filled, NO_COLOR="1"),
        watch(at=filled, NO_COLOR="1"),
        watch("--color=never", at=filled),
    ]
    for terminal in terminals:
        terminal.wait_for("free")
    colours = [{terminal.cell(x, y).fg for x in range(80) for y in range(24)} for terminal in terminals]
    assert len(colours[0]) > 1 and colours[1] == colours[0] and colours[2] == colours[3] == {"default"}


def test_a_terminal_without_utf8_gets_ascii(watch, filled):
    terminal = watch(at=filled, LC_ALL="C")
    terminal.wait_for("# raw", ". free")
    assert terminal.raw.isascii()


def test_an_arena_that_is_removed_and_made_anew_is_noticed(watch, filled):
    terminal = watch(at=filled)
    terminal.wait_for("users")
    filled.unlink()
    terminal.wait_for("REMOVED")
    filled.write_bytes(b"no arena" * 1000)
    terminal.wait_for("REPLACED", "o opens that")
    terminal.press("o")
    terminal.wait_for("the new file cannot be opened")
    filled.unlink()
    with forebay.open(filled, size="4MiB") as arena:
        arena.cache("made anew")
        terminal.wait_for("REPLACED")
        terminal.press("o")
        terminal.wait_for("4 MiB in memory", "made anew")
    assert "users" not in terminal.text


def test_a_cache_that_is_dropped_is_noticed(watch, filled):
    terminal = watch("--cache", "users", at=filled)
    terminal.wait_for("cache users", "dictionary")
    with forebay.open(filled) as arena:
        arena.drop("users")
    terminal.wait_for("It was dropped.")


def test_an_arena_that_is_truncated_ends_it_with_the_reason(watch, filled):
    terminal = watch(at=filled, TERM="xterm-256color")
    terminal.wait_until(lambda: b"users" in terminal.raw)
    os.truncate(filled, 4096)
    assert terminal.end() == 3
    assert terminal.modes == terminal.modes_before
    assert b"forebay top: " in terminal.raw.rpartition(b"\x1b[?1049l")[2]
