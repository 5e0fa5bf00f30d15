# SPDX-License-Identifier: Apache-2.0
"""docs/internals/arena-format.md says what src/arena/arena_layout.h says."""

import re

import pytest
from tree import ROOT

DOCUMENT = (ROOT / "docs/internals/arena-format.md").read_text()
HEADER = (ROOT / "src/arena/arena_layout.h").read_text()
# heading of the document: structure of the header
SECTIONS = {
    "Rows": "arena_row", "Caches": "arena_cache", "Counters": "arena_counters", "Segment table": "arena_segment",
    "Dictionaries": "arena_dictionary", "Channels": "arena_channel", "Tiers": "arena_tier",
}  # fmt: skip


def size_of(structure):
    (size,) = re.findall(rf"static_assert\(sizeof\({structure}\) == (\d+),", HEADER)
    return size


def test_the_version_is_that_of_the_header():
    (version,) = re.findall(r"#define ARENA_FORMAT_VERSION (\d+)u", HEADER)
    assert DOCUMENT.startswith(f"# The arena's format, version {version}\n")
    assert f"| version, header_size | 4, 4 | {version}; " in DOCUMENT
    assert set(re.findall(r'"fixed for format (\d+)"', HEADER)) == {version}


@pytest.mark.parametrize("section", SECTIONS)
def test_sizes_are_those_of_the_header(section):
    (size,) = re.findall(rf"^## {section} \((\d+) bytes", DOCUMENT, re.M)
    assert size == size_of(SECTIONS[section])


def test_the_geometry_has_the_size_of_the_header():
    assert f"| geometry | {size_of('arena_geometry')} | below |" in DOCUMENT


def test_the_parts_of_the_file_come_in_the_order_of_the_header():
    (document,) = re.findall(r"^\[superblock \](.*)\[index", DOCUMENT, re.M)
    (header,) = re.findall(r"^ \*   \[superblock\](.*)\[index", HEADER, re.M)
    assert re.findall(r"\[(.*?)\]", document) == re.findall(r"\[(.*?)\]", header)
