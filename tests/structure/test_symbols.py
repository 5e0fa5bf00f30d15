# SPDX-License-Identifier: Apache-2.0
"""What the built things show to the world."""

import re
import subprocess
import zipfile

import pytest
from tree import BUILD, LAYERS, RELEASE, WHEELS, files, name


def exported(library):
    text = subprocess.run(
        ["nm", "-D", "--defined-only", library], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return {line.split()[-1] for line in text.splitlines()}


@pytest.fixture(scope="module")
def library():
    path = RELEASE / "src" / "libforebay.so"
    if not path.exists():
        pytest.fail("run `make build` first")
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    wheels = list(WHEELS.glob("*.whl"))
    if len(wheels) != 1:
        pytest.fail("run `make build` first")
    folder = tmp_path_factory.mktemp("wheel")
    zipfile.ZipFile(wheels[0]).extractall(folder)
    return folder


def test_the_library_exports_only_what_the_headers_declare(library):
    text = "\n".join(path.read_text() for path in files("*.h", under="include"))
    declared = set(re.findall(r"FOREBAY_API[^;]*?\b(forebay_\w+)\(", text))
    assert exported(library) == declared


def test_the_extension_exports_only_its_init_function(wheel):
    extensions = list(wheel.rglob("*.so"))
    assert [path.name.split(".")[0] for path in extensions] == ["_core"]
    assert exported(extensions[0]) == {"PyInit__core"}


def test_the_wheel_carries_the_command_and_the_types_but_no_library(wheel):
    carried = {str(path.relative_to(wheel)) for path in wheel.rglob("*") if path.is_file()}
    assert {"forebay/__init__.py", "forebay/_core.pyi", "forebay/py.typed"} <= carried
    assert [path for path in carried if path.endswith("scripts/forebay")]
    assert not [path for path in carried if re.search(r"libforebay|\.h$|\.pc$|\.a$|\.c$", path)]


# Headers only, inline: the extension packs Python values with them and calls nothing of the layer.
SHARED_WITH_PYTHON = {"value/msgpack.h", "value/skip.h"}


@pytest.mark.parametrize("folder, shared", [("cli", set()), ("python", SHARED_WITH_PYTHON)])
def test_only_public_headers_are_included_by(folder, shared):
    wrong = []
    for path in files("*.c", "*.h", under=folder):
        for opening, header in re.findall(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', path.read_text(), re.M):
            layer = header.split("/")[0]
            private = not (path.parent / header).is_file() if opening == '"' else layer in LAYERS
            if private and header not in shared:
                wrong.append(f"{name(path)}: {header}")
    assert not wrong


def test_the_extension_calls_only_public_functions():
    objects = sorted((BUILD / "wheel-venv").rglob("python/**/*.o"))
    assert objects, "run `make build` first"
    wanted = set()
    for path in objects:
        text = subprocess.run(["nm", "-u", path], stdout=subprocess.PIPE, text=True, check=True).stdout
        wanted |= {line.split()[-1] for line in text.splitlines()}
    assert not [symbol for symbol in wanted if symbol.startswith("fb_")]
    assert [symbol for symbol in wanted if symbol.startswith("forebay_")]
