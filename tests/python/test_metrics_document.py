# SPDX-License-Identifier: Apache-2.0
"""docs/metrics.md: its table of metrics and that of log records, against what there is."""

import ast
import re
from pathlib import Path

import forebay
from forebay.metrics import Collector

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
LEVELS = {"info": "INFO", "warning": "WARNING", "error": "ERROR", "exception": "ERROR"}


def rows(first_cell):
    """The rows of the table whose first heading this is."""
    table = DOCUMENT.read_text().split(f"\n| {first_cell} |")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_the_table_has_what_is_exported(arena):
    cache = arena.cache("packed", codec="zstd", share="1MiB", limit="8MiB")
    cache.set_many({n: {"id": n, "text": f"customer {n} of the shop at {n * 7919} Long Street"} for n in range(3000)})
    assert cache.train() or cache.stats()["dictionary"] is not None
    arena._limit("database", 3, False)
    channel = arena._channel("news")
    listener = channel.claim(1000)
    assert channel.begin(listener) and channel.beat(listener, channel.now())
    tier = arena._tier("redis://127.0.0.1:6379/0")
    assert tier.say(False, False)
    with forebay.Pool(object, min_size=0) as pool:
        exported = {
            family.name + ("_total" if family.type == "counter" else ""): (
                family.type, {", ".join(sample.labels) for sample in family.samples},
            )
            for family in Collector(arena, pools=[pool]).collect()
        }  # fmt: skip
    listed = rows("metric")
    assert len(listed) == len(exported)
    assert {name.strip("`"): (kind, {labels}) for name, kind, labels, meaning in listed if meaning} == exported


def logged():
    """(level, message with … for each of its arguments) of all calls in the package that log."""
    for file in sorted(Path(forebay.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(
                        value=ast.Name(id="_log" | "logger" | "dictionary"),
                        attr=("info" | "warning" | "error" | "exception") as level,
                    ),
                    args=[ast.Constant(value=str(text)), *_],
                ):
                    yield LEVELS[level], re.sub(r"%[-.\d]*[a-z]", "…", text)


def test_the_table_has_what_is_logged():
    listed = {(level, re.match("`([^`]+)`", message)[1]) for _, level, message in rows("logger")}
    assert listed == set(logged())
    assert {logger.strip("`") for logger, *_ in rows("logger")} == {"forebay.dictionary", "forebay.loading", "forebay.pool"}
