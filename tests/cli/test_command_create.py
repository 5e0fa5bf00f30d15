# SPDX-License-Identifier: Apache-2.0
import os
import stat

import forebay
import pytest


def test_makes_an_arena_of_this_size_that_python_opens(run, folder):
    path = folder / "new"
    text = run("create", path, "--size", "3MiB").stdout
    assert text.startswith(f"{path}: an arena of 3 MiB")
    with forebay.open(path) as arena:
        assert arena.size == 3 << 20
        arena.cache("c").set("k", "v")


def test_reserves_all_its_space_and_no_more(run_json, folder):
    made = run_json("create", folder / "new", "--size=2MiB")
    assert made["path"] == str(folder / "new") and made["size"] == 2 << 20
    assert made["blocks_bytes"] == 2 << 20 == os.stat(folder / "new").st_blocks * 512
    assert 0 < made["max_entry"] < made["size"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1MiB", 1 << 20),
        ("1.5mib", 3 << 19),
        ("2 MiB", 2 << 20),
        ("2MB", 2_000_000),
        ("1200kB", 1_200_000),
        ("1048576", 1 << 20),
    ],
)
def test_sizes_mean_what_they_mean_in_python(run_json, folder, text, size):
    made = run_json("create", folder / "a", "--size", text)["size"]
    assert made == size // 4096 * 4096
    with forebay.open(folder / "b", size=text) as arena:
        assert arena.size == made


NO_SIZES = ["", "much", "-5", "1.MiB", ".5MiB", "64QiB", "64M", "1MiBs", "0x100000", "9" * 20, "9e9", "1.5"]


@pytest.mark.parametrize("text", NO_SIZES)
def test_what_is_no_size_is_a_usage_error_and_makes_nothing(refused, folder, text):
    assert "is no size; write it like 64MiB" in refused("create", folder / "a", "--size", text, code=2)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("text", ["0", "1023KiB", "129GiB", "17179869183GiB"])
def test_a_size_out_of_range_is_a_usage_error(refused, folder, text):
    assert "an arena takes 1MiB to 128GiB" in refused("create", folder / "a", "--size", text, code=2)
    assert not list(folder.iterdir())


def test_without_a_size_it_asks_for_one(refused, folder):
    assert "--size is missing" in refused("create", folder / "a", code=2)


def test_the_mode_is_0600_unless_given(run, folder):
    run("create", folder / "a", "--size", "1MiB")
    assert stat.S_IMODE(os.stat(folder / "a").st_mode) == 0o600
    run("create", folder / "b", "--size", "1MiB", "--mode", "0640")
    assert stat.S_IMODE(os.stat(folder / "b").st_mode) == 0o640


@pytest.mark.parametrize("mode", ["", "0800", "rw", "0400", "0", "01600", "-1"])
def test_what_is_no_mode_is_a_usage_error(refused, folder, mode):
    text = refused("create", folder / "a", "--size", "1MiB", "--mode", mode, code=2)
    assert "is no mode; write octal permissions" in text
    assert not list(folder.iterdir())


def test_an_arena_that_exists_is_left_as_it_is(refused, filled):
    text = refused("create", filled, "--size", "4MiB", code=3)
    assert "is an arena already" in text
    with forebay.open(filled) as arena:
        assert arena.size == 2 << 20
        assert arena.cache("users").get(1) == "one"


def test_a_file_that_is_something_else_is_left_as_it_is(refused, folder):
    (folder / "notes").write_text("mine\n" * 100)
    text = refused("create", folder / "notes", "--size", "1MiB", code=3)
    assert "notes" in text
    assert (folder / "notes").read_text() == "mine\n" * 100


@pytest.mark.parametrize("name", ["missing/new", "file/new", "."])
def test_a_path_that_cannot_be_is_an_error_that_names_it(refused, folder, name):
    (folder / "file").write_text("x")
    path = folder / name
    assert str(path) in refused("create", path, "--size", "1MiB", code=3)
    assert os.listdir(folder) == ["file"]


def test_more_than_the_file_system_holds_is_an_error_and_leaves_nothing(refused, folder):
    assert "new" in refused("create", folder / "new", "--size", "128GiB", code=3)
    assert not list(folder.iterdir())
