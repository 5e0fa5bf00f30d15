# SPDX-License-Identifier: Apache-2.0
"""What tools/repair-wheel refuses; what it makes is looked at by tests/wheels."""

import importlib.util
from importlib.machinery import SourceFileLoader

import pytest
from tree import ROOT


@pytest.fixture(scope="module")
def tool():
    loader = SourceFileLoader("repair_wheel", str(ROOT / "tools" / "repair-wheel"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def test_a_part_whose_licence_is_not_known_is_refused(tool):
    with pytest.raises(SystemExit, match="licence of brotli is not known: look at it and add it"):
        tool.licence_of("brotli", "1.0")


@pytest.mark.parametrize(
    ("version", "licence"), [("5.4.1-1", "LicenseRef-Public-Domain"), ("5.6.0-1", "0BSD"), ("5.10.1-1", "0BSD")]
)
def test_the_licence_of_liblzma_is_that_of_its_version(tool, version, licence):
    assert tool.licence_of("xz-utils", version) == licence


def test_a_library_of_no_package_is_refused(tool):
    with pytest.raises(SystemExit, match="dpkg-query.*libnowhere.so.1 failed"):
        tool.package_of("libnowhere-0123abcd.so.1")


def test_a_library_is_found_by_the_name_it_had(tool):
    assert tool.package_of("libzstd-0123abcd.so.1") == "libzstd1"


def test_a_command_that_needs_shared_libraries_is_refused(tool):
    files = {"forebay-1.0.dist-info/METADATA": b"", "forebay-1.0.data/scripts/forebay": b"#!python\n"}
    with pytest.raises(SystemExit, match="build it where libzstd, .* are there as static libraries"):
        tool.complete(files)


def test_metadata_without_our_licence_is_refused(tool):
    with pytest.raises(SystemExit, match="does not name our licence"):
        tool.with_licences(b"Name: forebay\n", [], [])
