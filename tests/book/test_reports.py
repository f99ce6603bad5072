"""Reports of others: one rule places all of them, and what they leave open is compared in every way."""

import re

import pytest
from conftest import ROOT
from samples import CONFIGS, store

from book.chapters import reports
from book.chapters.recommend import Entry
from book.chapters.reports import AGREES, DEPENDS, DISAGREES, NOT_GIVEN, OPEN, REPORTS, Placed, Report
from book.chapters.settings import COLUMNS
from rotvq.analysis import stats
from rotvq.analysis.study import Runs
from rotvq.runs.grids import PAIR

BELOW, ABOVE, EQUAL, WIDE = (0.80, 0.82, 0.84), (1.20, 1.22, 1.24), (0.99, 1.00, 1.01), (0.70, 1.00, 1.40)
BIBLIOGRAPHY = re.findall(r"^@\w+\{(\S+),", (ROOT / "book" / "references.bib").read_text("utf-8"), re.M)


def ratio(*values):
    return stats.ratio(values, [1.0] * len(values))


def report(**fields) -> Report:
    return Report("a report", "{cite}`fifty2025rotation`", "it is so", "a setting", **fields)


def placed(values, **fields) -> Placed:
    """A report of a rise, and a comparison in each cell; of three starts where there are three."""
    one = report(said="higher", **({"update": "gradient"} | fields))
    return Placed(one, {cell: Entry(v and ratio(*v)) for cell, v in zip(one.cells(), values, strict=True)})


@pytest.mark.parametrize(
    "said, values, word",
    [
        ("lower", BELOW, AGREES),
        ("lower", ABOVE, DISAGREES),
        ("lower", WIDE, OPEN),
        ("higher", ABOVE, AGREES),
        ("higher", BELOW, DISAGREES),
        ("same", EQUAL, AGREES),
        ("same", ABOVE, DISAGREES),
        ("same", WIDE, OPEN),
        ("same", (0.93, 0.95, 0.97), OPEN),  # below 1, and not outside 5 %
        ("higher", (None, 1.3, 1.4), OPEN),  # a run diverged
        ("higher", (1.3,), OPEN),  # one pair has no interval
    ],
)
def test_the_rule_of_a_cell(said, values, word):
    assert reports.fit(said, ratio(*values)) == word


@pytest.mark.parametrize(
    "given, count", [({}, 3), ({"start": "k-means"}, 1), ({"update": NOT_GIVEN}, 9), ({"update": None}, 0)]
)
def test_what_is_not_given_is_compared_in_every_way(given, count):
    cells = report(**({"update": "gradient"} | given)).cells()
    assert len(cells) == count
    for start, fields in COLUMNS.items() if count >= 3 else ():
        assert len(
            [cell for cell, got in cells.items() if cell.endswith(f", {start}") and fields.items() <= got.items()]
        )


@pytest.mark.parametrize(
    "values, verdict",
    [
        ((ABOVE, ABOVE, ABOVE), AGREES),
        ((BELOW, BELOW, BELOW), DISAGREES),
        ((ABOVE, ABOVE, BELOW), f"{DEPENDS} on the start"),
        ((ABOVE, ABOVE, WIDE), f"{DEPENDS} on the start"),
        ((ABOVE, None, ABOVE), AGREES),  # not run from one of them
        ((None, None, None), reports.ABSENT),
    ],
)
def test_the_verdict_over_three_starts(values, verdict):
    assert placed(values).verdict == verdict


def test_a_verdict_names_all_that_is_not_given():
    both = placed([ABOVE] * 8 + [BELOW], update=NOT_GIVEN)
    assert both.verdict == f"{DEPENDS} on the update and the start"
    assert both.here == "9 settings, 0.82 to 1.2: agrees in 8, disagrees in 1"
    assert placed((ABOVE,), start="k-means").here == "gradient, k-means: 1.22 (1.17 to 1.27)"
    assert placed((ABOVE, BELOW, ABOVE)).here.startswith("uniform 1/K: 1.22 (1.17 to 1.27); k-means: 0.82")


def test_placing_takes_fresh_seeds_and_skips_what_nobody_planned(tmp_path):
    found = reports.place(Runs(CONFIGS, store(tmp_path)), report(said="higher", update="gradient"))
    assert {cell: entry.pair and entry.pair.n for cell, entry in found.entries.items()} == {
        "gradient, uniform 1/K": 5,
        "gradient, k-means": 10,
        "gradient, k-means after warm-up": None,
    }
    assert found.verdict == f"{DEPENDS} on the start"
    nowhere = reports.place(Runs(CONFIGS, store(tmp_path / "other")), report(said="higher", update="normalised"))
    assert nowhere.verdict == reports.ABSENT


def test_opposite_reports_of_one_setting():
    rise, fall = (Placed(report(said=said, update="gradient", start="k-means"), {"x": None}) for said in PAIR_SAID)
    usage = Placed(report(said="lower", metric="test_usage", update="gradient", start="k-means"), {"x": None})
    assert reports.opposed([rise, fall]) == ["x"]
    assert reports.opposed([rise, rise]) == reports.opposed([rise, usage]) == []


PAIR_SAID = ("higher", "lower")


def test_counts_add_up():
    rows = [placed((ABOVE,), start="k-means"), placed((BELOW,), start="k-means"), placed((ABOVE, BELOW, WIDE))]
    found = reports.counts(rows)
    assert (found["placed"], found[AGREES], found[DISAGREES], found[DEPENDS], found[OPEN]) == (3, 1, 1, 1, 0)
    assert found["all"] == len(REPORTS) == found["placed"] + found["left"]


@pytest.mark.parametrize("one", REPORTS, ids=lambda one: f"{one.name}, {one.source}")
def test_every_report_has_a_source_and_either_a_cell_or_no_judgement(one):
    cited = re.findall(r"\{cite\}`([\w,]+)`", one.source + one.setting)
    assert cited or one.source.startswith("[")
    assert set(cited) <= set(BIBLIOGRAPHY)
    assert bool(one.cells()) == bool(one.said in reports.RULES)
    assert one.metric in reports.METRICS and list(one.arms) == list(PAIR)


def test_the_tables_have_every_report_once():
    rows = [Placed(one, {cell: Entry(None) for cell in one.cells()}) for one in REPORTS if one.cells()]
    both = reports.compared(rows), reports.left_out()
    assert [len(re.findall(r"^\* - \*\*", text, re.M)) for text in both] == [len(rows), len(REPORTS) - len(rows)]
    for one in REPORTS:
        assert sum(str(one) in text for text in both) == 1
