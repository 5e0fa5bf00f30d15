# SPDX-License-Identifier: Apache-2.0
"""What tools/repair-wheel adds is in the installed wheel, and is what the interpreter takes."""

import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

CODECS = {"bz2", "lz4", "lzma", "zstd"}
COMMAND = Path(sysconfig.get_path("scripts")) / "forebay"


def libraries(installed):
    return [path for path in installed if path.startswith("forebay.libs/")]


@pytest.fixture(scope="module")
def bill(installed):
    return json.loads(next(path for name, path in installed.items() if "/sboms/" in name).read_text())


def test_its_tag_is_a_manylinux_that_was_earned():
    tags = re.findall(r"^Tag: (.*)$", importlib.metadata.distribution("forebay").read_text("WHEEL"), re.M)
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert tags and all(re.fullmatch(rf"{version}-{version}-manylinux_2_\d+_\w+", tag) for tag in tags)


def test_the_extension_takes_the_libraries_of_the_wheel(installed):
    carried = {re.match(r"lib(\w+)-", Path(path).name)[1] for path in libraries(installed)}
    assert carried == CODECS
    code = "import forebay; print(open('/proc/self/maps').read())"
    done = subprocess.run([sys.executable, "-I", "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    mapped = {path for path in done.stdout.split() if re.search(rf"/lib({'|'.join(CODECS)})\b", path)}
    assert len(mapped) == len(CODECS) and all("/forebay.libs/" in path for path in mapped)


def test_the_command_is_a_program_that_needs_no_library_of_a_codec_or_of_terminals():
    assert COMMAND.read_bytes().startswith(b"\x7fELF")
    done = subprocess.run(["ldd", COMMAND], stdout=subprocess.PIPE, text=True, check=True)
    assert "libc.so" in done.stdout and not re.search(rf"lib({'|'.join(CODECS)}|ncursesw|tinfo)\b", done.stdout)


def test_the_bill_of_materials_has_every_library_with_its_licence(installed, bill):
    hashes = {
        part["evidence"]["occurrences"][0]["location"]: part["hashes"][0]["content"]
        for part in bill["components"]
        if part["hashes"]
    }
    assert hashes == {
        path: hashlib.sha256(installed[path].read_binary()).hexdigest() for path in libraries(installed)
    }
    assert {part["name"] for part in bill["components"]} == {"bzip2", "libzstd", "lz4", "ncurses", "xxhash", "xz-utils"}
    assert bill["metadata"]["component"]["version"] == importlib.metadata.version("forebay")


def test_the_licence_of_each_part_is_there_and_named_in_the_metadata(installed, bill):
    metadata = importlib.metadata.metadata("forebay")
    named = set(metadata["License-Expression"].split(" AND "))
    assert named == {"Apache-2.0", *(part["licenses"][0]["expression"] for part in bill["components"])}
    files = metadata.get_all("License-File")
    assert {f"{part['name']}/copyright" for part in bill["components"]} | {"LICENSE"} == set(files)
    texts = [next(path for name, path in installed.items() if name.endswith(f"/licenses/{file}")) for file in files]
    assert all(len(path.read_text()) > 1000 for path in texts)
