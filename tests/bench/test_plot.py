# SPDX-License-Identifier: Apache-2.0
"""`bench plot` draws each plot from a small file, the same each time, and says what is wrong with others."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import plot
import plot_style
import pytest
import results

ROOT = Path(plot.__file__).resolve().parents[1]
SMALL = Path(__file__).with_name("small_results.json")
KEPT = ROOT / "docs" / "plots"


def small():
    return json.loads(SMALL.read_text())


def written(tmp_path, found):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(found))
    return path


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The folder of all plots, made by the command."""
    folder = tmp_path_factory.mktemp("plots")
    subprocess.run([sys.executable, ROOT / "bench", "plot", SMALL, "-o", folder], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.mark.parametrize("name", plot.PLOTS)
def test_each_plot_is_drawn_with_colours_for_the_dark(drawn, name):
    svg = (drawn / f"{name}.svg").read_text()
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert "prefers-color-scheme:dark" in svg and plot_style.TEAL in svg
    used = set(plot_style.IN_THE_DARK)
    others = {f"#{part[:6]}" for part in svg.replace("stroke: #", "fill: #").split("fill: #")[1:]} - used
    assert not others


def test_a_plot_is_the_same_each_time_it_is_made(drawn, tmp_path):
    plot.plot(SMALL, tmp_path, list(plot.PLOTS))
    for name in plot.PLOTS:
        assert (tmp_path / f"{name}.svg").read_bytes() == (drawn / f"{name}.svg").read_bytes()


@pytest.mark.parametrize("path", sorted(KEPT.glob("*.svg")), ids=lambda path: path.name)
def test_plots_in_the_documentation_are_those_of_the_results_that_are_kept(path, tmp_path):
    plot.plot(results.RESULTS, tmp_path, [path.stem])
    assert (tmp_path / path.name).read_bytes() == path.read_bytes(), "run make plots"


def test_a_plot_by_itself_needs_no_other_part(tmp_path):
    path = written(tmp_path, {"memory": small()["memory"]})
    assert [made.name for made in plot.plot(path, tmp_path, ["memory"])] == ["memory.svg"]


@pytest.mark.parametrize("name", plot.PLOTS)
def test_a_part_that_is_missing_is_an_error_with_the_command_that_measures_it_and_nothing_is_written(tmp_path, name):
    found = small()
    del found[name]
    with pytest.raises(plot.PlotError, match=f"there is no {name} in the results: run .*, then python bench results"):
        plot.plot(written(tmp_path, found), tmp_path / "plots", list(plot.PLOTS))
    assert not (tmp_path / "plots").exists()


@pytest.mark.parametrize(("part", "key"), [("latency", "get"), ("memory", "bytes"), ("miss_ratio", "points"), ("staleness", "ways")])
def test_a_part_that_is_not_whole_is_an_error(tmp_path, part, key):
    found = small()
    del found[part][key]
    with pytest.raises(plot.PlotError, match=f"{part} is not whole, KeyError\\('{key}'\\)"):
        plot.plot(written(tmp_path, found), tmp_path, list(plot.PLOTS))


def test_a_part_that_nobody_draws_is_an_error(tmp_path):
    with pytest.raises(plot.PlotError, match="has weather, which is no plot; there are latency"):
        plot.read(written(tmp_path, small() | {"weather": {}}))


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_file_that_holds_no_results_is_an_error(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(plot.PlotError, match="python bench results writes it"):
        plot.read(path)


def test_the_command_ends_with_the_error(tmp_path):
    ended = subprocess.run([sys.executable, ROOT / "bench", "plot", tmp_path / "none.json", "-o", tmp_path], stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("bench plot: ") and "No such file" in ended.stderr


def test_names_that_would_overlap_are_apart_and_near_where_they_belong():
    assert plot.spread([0.1, 0.5, 0.5, 0.9], 0.2) == pytest.approx([0.1, 0.4, 0.6, 0.9])
    assert plot.spread([0.0, 0.1, 0.15], 0.2) == pytest.approx([-0.35 / 3, 0.25 / 3, 0.85 / 3])
