"""Plots: every point is drawn, ticks can be read, numbers stand in the map, and missing runs do not break a page."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from samples import ARMS as TWO
from samples import CELLS, CONFIGS, contrast, drawn, store

from rotvq.analysis import stats
from rotvq.analysis.study import Runs, Study
from rotvq.page import plots
from rotvq.page.figures import ARMS
from rotvq.runs.grids import Block

ONE = stats.ratio([1.0, 2.0, 4.0], [1.0, 1.0, 1.0])
LOWER, LOST = stats.ratio([0.5, 0.52], [1.0, 1.0]), stats.ratio([None, 2.0, 2.2], [1.0, 1.0, 1.0])


@pytest.fixture
def study(tmp_path):
    return Study(Runs(CONFIGS, store(tmp_path)), Block(TWO, CELLS))


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def test_seeds_draws_each_seed_and_their_mean():
    fig = drawn(label="arm")
    lines = fig.axes[0].lines
    assert [list(line.get_ydata()) for line in (lines[0], lines[2])] == [[1.0, 2.0, 3.0], [1.5, 2.0, 3.0]]
    assert [text.get_text() for text in fig.axes[0].get_legend().get_texts()] == ["arm"]
    plt.close(fig)


def test_seeds_that_all_diverged_have_no_mean(ax):
    plots.seeds(ax, [1, 2], [[1.0, np.nan], [3.0, np.nan]], "ste")
    assert ax.lines[-1].get_ydata()[0] == 2 and np.isnan(ax.lines[-1].get_ydata()[1])


def test_paired_ratios_draws_every_point_the_mean_and_the_interval(ax):
    plots.paired_ratios(ax, [("first", ONE, ARMS["ste"]), ("second", LOST, ARMS["zero"])])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["second\n(1 diverged)", "first"]
    xs = [tuple(np.round(line.get_xdata(), 9)) for line in ax.lines]
    assert {(1.0, 2.0, 4.0), (2.0,), (2.0, 2.2), tuple(np.round([ONE.low, ONE.high], 9))} <= set(xs)


@pytest.mark.parametrize(
    "low, high", [(0.0066, 0.0143), (0.98, 1.03), (0.5, 12), (1e-4, 1e5), (0.2, 0.21), (3, 3.0001)]
)
def test_log_ticks_are_a_few_plain_numbers_in_sight(ax, low, high):
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    plots.log_ticks(ax.xaxis)
    ticks, labels = ax.get_xticks(), [label.get_text() for label in ax.get_xticklabels()]
    assert 2 <= len(ticks) <= 6 and all(low <= tick <= high for tick in ticks)
    assert [float(label.replace(",", "")) for label in labels] == pytest.approx(ticks)


def test_a_map_says_every_ratio_and_whether_it_is_separated(ax):
    plots.heatmap(ax, {"a": {"x": LOWER, "y": ONE}, "b": {"x": LOST, "y": None}})
    assert [text.get_text() for text in ax.texts] == ["0.51", "(2.00)", "2.10†"]
    assert len(ax.patches) == 3, "what is missing stays empty"


@pytest.mark.parametrize("ratio", np.geomspace(0.1, 10, 25))
def test_a_number_in_a_map_can_be_read(ax, ratio):
    plots.heatmap(ax, {"a": {"x": stats.ratio([ratio, ratio * 1.01], [1.0, 1.0])}})
    assert contrast(ax.texts[0].get_color(), ax.patches[0].get_facecolor()[:3]) >= 4.5


def alt(figure):
    return figure._repr_mimebundle_()["text/plain"]


def test_dots_have_a_row_for_each_set_of_seeds(study):
    words = alt(plots.dots(study, against="STE"))
    assert words.count("uniform: ") == words.count("k-means: ") == words.count("k-means, seeds 100–109: ") == 1


def test_curves_have_a_panel_for_each_cell_and_metric(study):
    figure = plots.curves(study, ["test_mse", "r", "usage"])
    assert figure._repr_mimebundle_()["text/html"].count("<svg") == 6
    assert "uniform, k-means" in alt(figure)


def test_many_arms_have_their_legend_in_a_panel_of_its_own(tmp_path):
    from rotvq.runs.grids import expand

    configs = expand(estimator=["ste", "rotation", "zero", "reflection"], seed=[0, 1])
    study = Study(
        Runs(configs, store(tmp_path, configs)), Block({name: {"estimator": name} for name in ARMS}, {"": {}})
    )
    assert plots.curves(study)._repr_mimebundle_()["text/html"].count("<svg") == 2


@pytest.mark.parametrize("rows, columns, against", [("cell", "step", "STE"), ("arm", "cell", ("STE", "uniform"))])
def test_effect_map_is_over_two_of_arm_cell_and_step(study, rows, columns, against):
    assert "k-means" in alt(plots.effect_map(study, against=against, rows=rows, columns=columns))


def test_a_map_has_room_for_long_labels(tmp_path):
    """Where cells vanish the layout engine warns, and a warning is an error here."""
    cells = {f"a start with a long name, {name}": fields for name, fields in CELLS.items()}
    study = Study(Runs(CONFIGS, store(tmp_path)), Block(TWO, cells))
    plots.effect_map(study, against="STE", rows="arm", columns="cell")


def test_effect_map_refuses_to_choose(study):
    with pytest.raises(ValueError, match="a map over arm and step needs one cell, not uniform, k-means"):
        plots.effect_map(study, against="STE", rows="arm", columns="step")


def test_without_a_record_a_figure_says_so(tmp_path):
    study = Study(Runs(CONFIGS, store(tmp_path, [])), Block(TWO, CELLS))
    for figure in (
        plots.dots(study, against="STE"),
        plots.curves(study),
        plots.curves(study, "r"),
        plots.effect_map(study, against="STE", rows="cell", columns="step"),
    ):
        assert alt(figure) == "No run of this figure has a record."
