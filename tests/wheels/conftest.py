# SPDX-License-Identifier: Apache-2.0
"""What `tools/test wheels` runs in clean environments, on what is published: nothing of the tree is used but these tests."""

import importlib.metadata

import pytest


@pytest.fixture(scope="session")
def installed():
    """The files of the installed package, by name: importlib.metadata's PackagePath."""
    return {str(path): path for path in importlib.metadata.files("forebay")}
