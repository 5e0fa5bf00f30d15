# SPDX-License-Identifier: Apache-2.0
"""A layer knows only those below it: in its includes and in what it calls."""

import re
import subprocess

import pytest
from tree import BUILD, LAYERS, ROOT, files, name


def quoted_includes(path):
    return re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.M)


def rank(layer):
    assert layer in LAYERS, f"src/{layer} is not in LAYERS: where does it stand?"
    return LAYERS.index(layer)


def upward(layer, includes):
    return [other for other in includes if rank(other.split("/")[0]) > rank(layer)]


def test_includes_only_point_down():
    wrong = {
        name(path): bad
        for path in files("*.c", "*.h", under="src")
        if (bad := upward(path.parent.name, quoted_includes(path)))
    }
    assert not wrong


def test_includes_name_the_layer():
    wrong = {
        name(path): bad
        for path in files("*.c", "*.h", under="src")
        if (bad := [i for i in quoted_includes(path) if not (ROOT / "src" / i).is_file()])
    }
    assert not wrong


def test_an_upward_include_would_be_caught():
    assert upward("base", ["base/hash.h", "cache/slot.h"]) == ["cache/slot.h"]
    assert upward("cache", ["base/hash.h", "cache/slot.h", "arena/rows.h"]) == []


def symbols(object_file):
    """What an object defines and what it wants, of our own names."""
    text = subprocess.run(["nm", object_file], stdout=subprocess.PIPE, text=True, check=True).stdout
    rows = [line.split()[-2:] for line in text.splitlines()]
    ours = [(kind, symbol) for kind, symbol in rows if re.match("fb_|forebay_", symbol)]
    return {s for kind, s in ours if kind not in "Uw"}, {s for kind, s in ours if kind == "U"}


# Calls upward that are meant: declared below, defined above, bound when linking.
HOOKS = {"fb_arena_recover"}  # arena/recover.h: the arena knows when, the cache knows how


def test_calls_only_point_down():
    objects = sorted((BUILD / "debug" / "src" / "libforebay_core.a.p").glob("*.o"))
    if not objects:
        pytest.fail("run `make test SECTIONS=unit` first")
    tables = {path: symbols(path) for path in objects}
    layer_of = {path: path.name.split("_")[0] for path in objects}
    home = {symbol: path for path, (defined, _) in tables.items() for symbol in defined}
    upward_calls = {
        symbol: f"{path.name} calls {symbol} of {home[symbol].name}"
        for path, (_, wanted) in tables.items()
        for symbol in wanted
        if symbol in home and rank(layer_of[home[symbol]]) > rank(layer_of[path])
    }
    assert not [text for symbol, text in upward_calls.items() if symbol not in HOOKS]
    assert HOOKS == set(upward_calls), "a hook that is none any more"
