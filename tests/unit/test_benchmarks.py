# SPDX-License-Identifier: Apache-2.0
"""What is said of speed was measured: the README has what results.json has, and a row says how far from its goal it is."""

import json
import os
import xml.etree.ElementTree

import pytest

from benchmarks import report
from benchmarks.measure import Row, alternate


@pytest.fixture(scope="module")
def results():
    with open(report.RESULTS) as file:
        return json.load(file)


def test_the_table_in_the_readme_is_of_the_results(results):
    with open(report.PAGE) as file:
        assert "<!-- bench -->\n" + report.table(results["rows"]) + "<!-- /bench -->" in file.read()


def test_each_row_is_what_its_rounds_say(results):
    for note in results["rows"]:
        fields = {name: note[name] for name in ("what", "peer", "ours", "theirs", "goal", "unit")}
        again = Row(**fields).note()
        assert abs(again["ratio"] - note["ratio"]) < 0.01 and again["verdict"].split()[0] == note["verdict"].split()[0]


def test_the_plot_has_each_row_with_a_goal(results):
    text = "".join(xml.etree.ElementTree.parse(report.PLOT).getroot().itertext())
    assert all(note["what"] in text for note in results["rows"] if note["goal"] is not None)
    assert os.path.getsize(report.PLOT) < 60_000


@pytest.mark.parametrize(
    "ours, goal, verdict",
    [(0.5, 0.5, "met"), (0.6, 0.5, "missed by 20 %"), (3.0, 1.0, "missed by 200 %"), (1.0, None, "-"), (0.1, 0.0, "missed")],
)
def test_a_row_says_whether_its_goal_is_met_or_by_how_much_it_is_missed(ours, goal, verdict):
    row = Row("it", "another", [9.0, ours, 0.1], [1.0], goal)
    assert (row.ratio, row.verdict) == (ours, verdict)


def test_sides_are_measured_in_turn():
    said = []
    sides = [lambda name=name: said.append(name) or float(len(said)) for name in "ab"]
    assert alternate(2, *sides) == [[1.0, 3.0], [2.0, 4.0]] and said == ["a", "b", "a", "b"]
