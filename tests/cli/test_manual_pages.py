# SPDX-License-Identifier: Apache-2.0
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_command_tool import COMMANDS

PAGES = {"forebay": []} | {f"forebay-{name}": [name] for name in [*COMMANDS, "demo"]}


@pytest.fixture(params=PAGES.values(), ids=PAGES)
def page(request, run, folder):
    """A file with the page, and the words behind `forebay help` that it is of."""
    file = folder / "page.1"
    file.write_text(run("help", "--man", *request.param).stdout)
    return file, request.param


def rendered(file):
    environment = os.environ | {"MANWIDTH": "200", "MAN_KEEP_FORMATTING": "", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["man", "--warnings", "-l", file], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def test_each_page_is_sound_and_has_what_the_help_says(run, page):
    file, words = page
    lint = subprocess.run(["mandoc", "-Tlint", "-Wwarning", file], capture_output=True, text=True)
    assert (lint.stdout, lint.returncode) == ("", 0)
    text = rendered(file)
    headings = re.findall(r"^[A-Z ]+$", text, re.M)
    assert [heading for heading in headings if heading != "COMMANDS"] == [
        "NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", *(["SEE ALSO"] if words else []),
    ]
    explained = run("help", *words).stdout
    squeezed = " ".join(text.split())
    for line in explained.split("\n\noptions:")[0].splitlines()[2:] if words else []:
        assert " ".join(line.split()) in squeezed


@pytest.mark.parametrize("name", [*COMMANDS, "demo"])
def test_a_page_has_the_options_of_the_help_and_no_others(run, folder, name):
    (folder / "page.1").write_text(run("help", "--man", name).stdout)
    options = rendered(folder / "page.1").split("\nOPTIONS\n")[1].split("\nEXIT STATUS\n")[0]
    explained = run("help", name).stdout.split("\noptions:\n")[1]
    assert re.findall(r"^ {7}(-\S+)", options, re.M) == re.findall(r"^  (-\S+)", explained, re.M)


def test_the_date_of_a_page_can_be_given(run):
    for epoch, date in [("0", "1970-01-01"), ("1800000000", "2027-01-15")]:
        assert f'"{date}"' in run("help", "--man", env=os.environ | {"SOURCE_DATE_EPOCH": epoch}).stdout


def test_a_page_of_no_command_is_none(refused):
    assert "unknown command 'stats'; did you mean 'stat'?" in refused("help", "--man", "stats", code=2)


def test_the_pages_are_installed_with_the_command(run):
    installed = Path(sys.prefix) / "share" / "man" / "man1"
    assert {path.stem for path in installed.glob("forebay*.1")} == set(PAGES)
    listed = re.findall(r"^  ([a-z]+) ", run("--help").stdout.split("exit codes")[0], re.M)
    assert {f"forebay-{name}" for name in listed} | {"forebay"} == set(PAGES)
