# SPDX-License-Identifier: Apache-2.0
"""Rules for files: licence line, names, a test for each, no trace of a machine."""

import re
from collections import Counter

from tree import ROOT, files, name

SPDX = "SPDX-License-Identifier: Apache-2.0"
CODE = ("*.c", "*.h", "*.py", "*.pyi", "*.pml", "*.cc", "meson.build", "meson.options", "*.toml", "*.yaml", "Makefile")
SAME_NAME_ALLOWED = {"__init__.py", "__main__.py", "conftest.py"}


def is_script(path):
    return not path.suffix and path.read_bytes()[:2] == b"#!"


def test_each_file_names_its_licence():
    scripts = [path for path in files("*") if is_script(path)]
    wrong = [name(p) for p in files(*CODE) + scripts if SPDX not in "".join(p.read_text()[:300])]
    assert not wrong


def test_file_names_are_unique_in_the_tree():
    names = Counter(path.name for path in files("*.c", "*.h", "*.py", "*.cc"))
    assert not [n for n, count in names.items() if count > 1 and n not in SAME_NAME_ALLOWED]


def test_each_source_file_has_a_test_file_or_is_named_in_one():
    tests = {path.stem: path.read_text() for path in files("test_*.c", under="tests/unit")}
    untested = [
        name(path)
        for path in files("*.c", under="src")
        if f"test_{path.stem}" not in tests
        and not any(re.search(rf"\b{path.stem}\.c\b", text) for text in tests.values())
    ]
    assert not untested


def test_each_c_test_is_built():
    """A file that no meson.build names is a test that never runs."""
    forgotten = []
    for path in files("*.c", "*.cc", under="tests"):
        build = path.parent / "meson.build"
        if not build.exists() or not re.search(rf"'{path.stem}(\.cc?)?'", build.read_text()):
            forgotten.append(name(path))
    assert not forgotten


def test_no_file_names_a_folder_of_some_machine():
    folders = "|".join(["home", "root", "work", "Users", "opt/wheels"])
    pattern = re.compile(rf"(?<![\w.~$}}*-])/(?:{folders})/")
    wrong = []
    for path in files("*"):
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        wrong += [f"{name(path)}: {line.strip()}" for line in text.splitlines() if pattern.search(line)]
    assert not wrong


def test_links_in_the_documents_lead_somewhere():
    broken = []
    for path in files("*.md"):
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
            if not re.match("https?:|mailto:", link) and not (path.parent / link).exists():
                broken.append(f"{name(path)}: {link}")
    assert not broken


def test_the_version_is_written_once():
    project = (ROOT / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in project
    assert not re.search(r"^version\s*=", project, re.M)
    version = re.search(r"version: '([\d.]+)'", (ROOT / "meson.build").read_text()).group(1)
    elsewhere = [name(p) for p in files("*.c", "*.h", "*.py", "meson.build") if f'"{version}"' in p.read_text()]
    assert not elsewhere
