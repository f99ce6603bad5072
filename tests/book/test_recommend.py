"""Advice: the rule on both sides of each bound, and tables whose every field is a comparison."""

import html.parser
import math

import pytest
from samples import ARMS, CELLS, CONFIGS, store

from book.chapters import recommend
from book.chapters.recommend import EITHER, OPEN, ROTATION, STE, Entry, Table
from rotvq.analysis import stats
from rotvq.analysis.study import Runs, Study
from rotvq.runs.grids import Block


def ratio(*values):
    return stats.ratio(values, [1.0] * len(values))


@pytest.mark.parametrize(
    "values, word",
    [
        ((0.80, 0.82, 0.84), ROTATION),
        ((1.20, 1.22, 1.24), STE),
        ((0.99, 1.00, 1.01), EITHER),
        ((0.97, 0.971, 0.972), EITHER),  # its interval excludes 1: a difference, and one too small to matter
        ((0.94, 0.945, 0.95), ROTATION),
        ((0.70, 1.00, 1.40), OPEN),
        ((0.50,), OPEN),  # one pair has no interval
        ((None, 1.3, 1.4), STE),  # the rotation diverged, and was worse elsewhere
        ((None, 0.7, 0.71), OPEN),
        ((None, None), STE),
    ],
)
def test_the_rule(values, word):
    assert recommend.advice(ratio(*values)) == word


def test_both_diverged_advises_nothing():
    assert recommend.advice(stats.ratio([None, None], [None, None])) == OPEN
    assert recommend.advice(None) == "not run"


def test_widened_keeps_the_mean_and_takes_a_wider_interval():
    pair = ratio(0.80, 0.82, 0.84, 0.86)
    wide = recommend.widened(pair, 20)
    assert wide.mean == pytest.approx(pair.mean) and (wide.low < pair.low, wide.high > pair.high) == (True, True)
    assert wide.level == pytest.approx(1 - 0.05 / 20)
    assert recommend.widened(pair, 1).low == pytest.approx(pair.low)


@pytest.fixture
def study(tmp_path):
    return Study(Runs(CONFIGS, store(tmp_path)), Block(ARMS, CELLS))


def test_fresh_seeds_speak_once_they_are_as_many(study, tmp_path):
    found = recommend.known(study, "k-means")
    assert (found.pair.n, found.seeds, found.word) == (10, "confirmed", STE)
    explored = recommend.known(study, "uniform")
    assert (explored.pair.n, explored.seeds, explored.word) == (5, "explored", ROTATION)
    for last, said in ((103, "explored"), (104, "fresh, 5 of 10")):
        done = [c for c in CONFIGS if c.seed <= last]
        part = Study(Runs(CONFIGS, store(tmp_path / str(last), done)), Block(ARMS, CELLS))
        assert recommend.known(part, "k-means").seeds == said


def test_what_nobody_planned_or_ran_is_not_run(study, tmp_path):
    assert str(recommend.known(study, "nowhere")) == "not run"
    empty = Study(Runs(CONFIGS, store(tmp_path / "empty", [])), Block(ARMS, CELLS))
    assert str(recommend.known(empty, "uniform")) == "not run"


class Cells(html.parser.HTMLParser):
    """The words of each cell of a table, and its links."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "a":
            self.links.append(dict(attributes)["href"])

    def handle_data(self, data):
        self.rows[-1][-1] += data


def test_a_table_says_word_ratio_n_and_seeds_of_every_entry(study):
    rows = {cell: {"r0": "0.1 < 1", "use": recommend.known(study, cell)} for cell in CELLS}
    bundle = Table(["r0", "use"], rows, dict.fromkeys(rows, "10_ste_vs_rotation"))._repr_mimebundle_()
    found = Cells(bundle["text/html"])
    assert found.rows[0] == ["", "r0", "use"] and found.links == ["10_ste_vs_rotation.html"] * 2
    for row, (cell, values) in zip(found.rows[1:], rows.items()):
        pair = values["use"].pair
        assert row[:2] == [cell, "0.1 < 1"]
        assert all(part in row[2] for part in (values["use"].word, f"{pair.mean:.3g} (", f"n = {pair.n}"))
        assert str(values["use"]) in bundle["text/plain"]


def test_only_advice_is_coloured():
    assert "background" in Entry(ratio(0.8, 0.82, 0.84)).cell()
    assert not any("background" in Entry(pair).cell() for pair in (ratio(0.7, 1.4), ratio(1.0, 1.001), None))


def test_named_are_the_comparisons_that_were_run(study):
    rows = {"a": {"x": recommend.known(study, "uniform"), "y": Entry(None), "z": "words"}}
    assert Table(["x", "y", "z"], rows, {"a": "10"}).named() == {("a", "x"): rows["a"]["x"]}


class Means:
    """Stands for a Study whose means are known."""

    arms = ("STE", "rotation")
    known = {("slow, short", "STE"): 0.013, ("slow, short", "rotation"): 0.007, ("fast, short", "STE"): 0.006}

    def mean(self, arm, cell, metric):
        assert metric == "test_mse"
        return self.known.get((cell, arm), math.nan)


def test_levels_mark_the_lowest_of_each_start():
    levels = recommend.Levels(Means(), {"slow": "slowly", "fast": "fast"}, {"short": "short ones", "long": "long ones"})
    assert levels.lowest() == {"short": ("fast", "STE")}
    shown = levels._repr_mimebundle_()
    assert shown["text/plain"].splitlines() == [
        "slow, short, STE: 13.00",
        "slow, short, rotation: 7.00",
        "fast, short, STE: 6.00",
    ]
    assert "<td>13.00 / 7.00</td>" in shown["text/html"] and "<td><strong>6.00</strong></td>" in shown["text/html"]
    assert shown["text/html"].count("<td></td>") == 2
