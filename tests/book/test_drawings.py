"""Drawings of the experiment pages: a panel for each part, every ratio in words, and words where no run is."""

import pandas as pd
import pytest
from samples import ARMS as TWO
from samples import CELLS, CONFIGS, store

from book.chapters import drawings
from book.chapters.recommend import Levels
from rotvq.analysis import stats
from rotvq.analysis.study import Runs, Study
from rotvq.page.figures import ARMS
from rotvq.runs.grids import Block, expand


@pytest.fixture
def study(tmp_path):
    return Study(Runs(CONFIGS, store(tmp_path)), Block(TWO, CELLS))


def panels(figure) -> int:
    return figure._repr_mimebundle_()["text/html"].count("<svg")


def alt(figure):
    return figure._repr_mimebundle_()["text/plain"]


def test_dots_have_a_row_for_each_set_of_seeds(study):
    words = alt(drawings.dots(study, against="STE"))
    assert words.count("uniform: ") == words.count("k-means: ") == words.count("k-means, seeds 100–109: ") == 1


def test_dots_of_many_arms_and_cells_have_a_panel_a_cell(tmp_path, monkeypatch):
    configs = expand(estimator=["ste", "rotation", "zero"], init=["uniform", "kmeans"], seed=[0, 1])
    arms = TWO | {"zero": {"estimator": "zero"}}
    study = Study(Runs(configs, store(tmp_path, configs)), Block(arms, CELLS))
    assert panels(drawings.dots(study, against="STE")) == 1
    monkeypatch.setattr(drawings, "CROWDED", 3)
    assert panels(drawings.dots(study, against="STE")) == 2
    assert "k-means, zero: " in alt(drawings.dots(study, against="STE"))


def test_curves_have_a_panel_for_each_cell_and_metric(study):
    figure = drawings.curves(study, ["test_mse", "r", "usage"])
    assert figure._repr_mimebundle_()["text/html"].count("<svg") == 6
    assert "uniform, k-means" in alt(figure)


def test_many_arms_have_their_legend_in_a_panel_of_its_own(tmp_path):
    configs = expand(estimator=["ste", "rotation", "zero", "reflection"], seed=[0, 1])
    study = Study(
        Runs(configs, store(tmp_path, configs)), Block({name: {"estimator": name} for name in ARMS}, {"": {}})
    )
    assert drawings.curves(study)._repr_mimebundle_()["text/html"].count("<svg") == 2


@pytest.mark.parametrize("rows, columns, against", [("cell", "step", "STE"), ("arm", "cell", ("STE", "uniform"))])
def test_effect_map_is_over_two_of_arm_cell_and_step(study, rows, columns, against):
    assert "k-means" in alt(drawings.effect_map(study, against=against, rows=rows, columns=columns))


def test_a_map_has_room_for_long_labels(tmp_path):
    """Where cells vanish the layout engine warns, and a warning is an error here."""
    cells = {f"a start with a long name, {name}": fields for name, fields in CELLS.items()}
    study = Study(Runs(CONFIGS, store(tmp_path)), Block(TWO, cells))
    drawings.effect_map(study, against="STE", rows="arm", columns="cell")


def test_effect_map_refuses_to_choose(study):
    with pytest.raises(ValueError, match="a map over arm and step needs one cell, not uniform, k-means"):
        drawings.effect_map(study, against="STE", rows="arm", columns="step")


def test_without_a_record_a_figure_says_so(tmp_path):
    study = Study(Runs(CONFIGS, store(tmp_path, [])), Block(TWO, CELLS))
    for figure in (
        drawings.dots(study, against="STE"),
        drawings.curves(study),
        drawings.curves(study, "r"),
        drawings.effect_map(study, against="STE", rows="cell", columns="step"),
    ):
        assert alt(figure) == "No run of this figure has a record."


def test_maps_and_ratios_leave_out_empty_panels_and_say_every_ratio():
    pair = stats.ratio([0.5, 0.52, 0.54], [1.0, 1.0, 1.0])
    figure = drawings.maps(
        {"one": {"row": {"column": pair, "none": None}}, "two": {"row": {"column": None}}}, "Ratios", "x"
    )
    assert panels(figure) == 1 and alt(figure) == "Ratios. one, row, column: 0.52."
    figure = drawings.ratios({"one": [("first", pair, ARMS["ste"])], "two": []}, "Ratios", "x")
    assert panels(figure) == 1 and alt(figure) == "Ratios. one, first: 0.52."


def test_several_studies_are_panels_of_one_map(study):
    figure = drawings.effect_map({"a": study, "b": study}, against="STE", rows="cell", columns="step")
    assert panels(figure) == 2 and "a, uniform, 500: 0." in alt(figure) and "b, k-means, 2,000: 1." in alt(figure)


# of one page


def test_ratio_against_r0_says_where_every_start_lies(study):
    figure = drawings.ratio_against_r0(study, {"as it is": (CELLS, ARMS["rotation"])})
    assert "uniform: r0 1, ratio 0." in alt(figure) and "k-means: r0 1, ratio 1." in alt(figure)


@pytest.mark.parametrize("run, heading", [(CONFIGS[:0], "uniform: test MSE, not run"), (None, "uniform: test MSE")])
def test_a_sweep_is_drawn_with_and_without_records(run, heading, tmp_path):
    values = (0.1, 0.25, 1.0)
    configs = expand(gamma=list(values), estimator=["ste", "rotation"], init="uniform", seed=[0, 1])
    records = store(tmp_path, configs if run is None else run)
    sweep = Study(
        Runs(configs, records), Block(TWO, {f"γ = {x:g}": {"gamma": x} for x in values}, base=CELLS["uniform"])
    )
    figure = drawings.sweep({"uniform": sweep}, "γ", {"uniform": {"STE": "γ = 1"} if run is None else {}})
    assert panels(figure) == 1 and f">{heading}</text>" in figure._repr_mimebundle_()["text/html"]


def test_a_sweep_has_a_second_axis_where_it_is_asked_for(tmp_path):
    configs = expand(gamma=[0.1, 1.0], estimator=["ste", "rotation"], init="uniform", seed=[0, 1])
    cells = {f"γ = {x:g}": {"gamma": x} for x in (0.1, 1.0)}
    studies = {"uniform": Study(Runs(configs, store(tmp_path, configs)), Block(TWO, cells, base=CELLS["uniform"]))}
    drawn = drawings.sweep(studies, "γ", {"uniform": {}}, also=("γ elsewhere", 0.125))
    (below,) = drawn._figs[0].axes
    (top,) = below.child_axes
    assert top.get_xlabel() == "γ elsewhere" and [tick.get_text() for tick in top.get_xticklabels()] == ["0.1"]
    places = [axis.transData.transform((x, 1.0))[0] for axis, x in ((below, 0.8), (top, 0.1))]
    assert places[0] == pytest.approx(places[1])  # 0.8 here is 0.1 there
    assert "A second axis on top has γ elsewhere: 0.12 times as much." in alt(drawn)
    assert "second axis" not in alt(drawings.sweep(studies, "γ", {"uniform": {}}))


def test_between_has_a_panel_a_start(study):
    assert panels(drawings.between(study, CELLS, list(TWO), "t", "nothing")) == 2


def test_every_run_has_a_panel_a_metric_and_sorts_the_arms(study):
    figure = drawings.every_run(study, ["test_mse", "seconds"])
    assert panels(figure) == 2 and alt(figure).index("rotation: 0.") < alt(figure).index("STE: 0.")


def test_every_run_shows_the_seeds_that_are_asked_for(study):
    explored, fresh = (drawings.every_run(study, ["test_mse"], fresh=fresh) for fresh in (False, True))
    lowest = {fresh: min(mean for mean, _ in study.best(fresh=fresh).values()) for fresh in (False, True)}
    assert lowest[False] != lowest[True]
    assert f"{lowest[False]:.4f}" in alt(explored) and f"{lowest[True]:.4f}" in alt(fresh)


def test_along_has_a_line_a_start_and_says_every_ratio():
    rows = {
        "short": {1.0: stats.ratio([0.5, 0.6], [1.0, 1.0]), 30.0: stats.ratio([1.2, 1.3], [1.0, 1.0])},
        "long": {1.0: None},
    }
    figure = drawings.along(rows, "rate", "Test MSE")
    (ax,) = figure._figs[0].axes
    (short, long) = ax.containers
    assert short.lines[0].get_xdata().tolist() == [1.0, 30.0] and len(long.lines[0].get_xdata()) == 0
    assert alt(figure) == "Test MSE. short at 1: 0.55; short at 30: 1.25."


def test_batch_differences_say_what_was_not_run(study):
    gaps = {("STE", "uniform"): pd.DataFrame([[0.5, 0.1]], columns=[1, 500])}
    text = drawings.batch_differences(gaps, study)._repr_mimebundle_()["text/html"]
    assert ">uniform: relative difference</text>" in text and ">k-means: relative difference, not run</text>" in text


def test_folds_are_drawn_for_every_start():
    mse = pd.DataFrame({"STE": [0.1, 0.2], "rotation": [0.2, 0.1]}, index=[0, 100])
    pictures = [f"{k} and its twin" for k in range(5)]
    assert panels(drawings.fold_by_fold({"a": mse, "b": mse}, pictures, "Two starts.")) == 2


def test_ratios_say_which_side_is_better_unless_their_label_does():
    pair = stats.ratio([0.5, 0.52, 0.54], [1.0, 1.0, 1.0])

    def axis(xlabel: str) -> str:
        figure = drawings.ratios({"": [("first", pair, ARMS["ste"])]}, "Ratios", xlabel)
        return figure._figs[0].axes[0].get_xlabel()

    assert axis("regret") == "regret (← better)" and axis("error (← lower)") == "error (← lower)"


def test_ratios_by_length_have_a_line_a_way_and_a_star_at_the_best(monkeypatch):
    monkeypatch.setattr(drawings.plt, "close", lambda *_: None)
    pair = stats.ratio([1.0, 2.0, 3.0], [2.0, 3.0, 5.0])
    rows = {
        "slow": {"short": (0.01, pair), "fitted": (1.0, pair), "warm": (1.0, pair)},
        "fast": {"short": (0.01, None)},
    }
    figure = drawings.by_length(rows, "warm", ("slow", "fitted"))
    (ax,) = figure._figs[0].axes
    line, star = (
        (one for one in ax.lines if one.get_label() == "slow"),
        (one for one in ax.lines if one.get_marker() == "*"),
    )
    assert list(next(line).get_xdata()) == [0.01, 1.0] and next(star).get_xdata() == [1.0]
    assert {"after a warm-up", "lowest error: STE", "STE better", "rotation better"} == {
        one.get_text() for one in ax.texts
    }
    assert "slow, warm, r0 1: " in alt(figure) and "fast" not in alt(figure)


def test_levels_have_a_panel_a_start_and_leave_out_what_was_not_run(study):
    cells = {f"slow, {cell}": fields for cell, fields in CELLS.items()}
    wider = Study(study.runs, Block(TWO, cells))
    starts = dict.fromkeys([*CELLS, "none"], "from here")
    figure = drawings.levels(Levels(wider, {"slow": "slow", "fast": "fast"}, starts))
    assert panels(figure) == len(CELLS) and "slow, uniform, STE: " in alt(figure) and "fast" not in alt(figure)
    assert alt(drawings.levels(Levels(wider, {"fast": "fast"}, {"none": "n"}))) == "No run of this figure has a record."


@pytest.mark.parametrize(
    "title, lines",
    [
        ("uniform, slower codes: |q| / |z|", ["uniform, slower codes:", "|q| / |z|"]),
        ("uniform, far off: |z − q| / |z|", ["uniform, far off:", "|z − q| / |z|"]),
        ("uniform, slow codes in all: |z − q|", ["uniform, slow codes in all:", "|z − q|"]),
        ("codes from k-means and half-way in", ["codes from k-means and", "half-way in"]),
    ],
)
def test_lines_of_a_title_part_no_length_no_quotient_and_no_hyphenated_word(title, lines):
    assert drawings._in_lines(title).replace("\u00a0", " ").split("\n") == lines
