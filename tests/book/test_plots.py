"""Plots: every point is drawn, ticks can be read, and numbers stand in the map."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from samples import contrast, drawn

from book.chapters import plots
from rotvq.analysis import stats
from rotvq.page.figures import ARMS

ONE = stats.ratio([1.0, 2.0, 4.0], [1.0, 1.0, 1.0])
LOWER, LOST = stats.ratio([0.5, 0.52], [1.0, 1.0]), stats.ratio([None, 2.0, 2.2], [1.0, 1.0, 1.0])


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


def test_panels_are_as_wide_whatever_their_ticks_are_called():
    widths = set()
    for scale in (1, 0.01):
        fig, ax = plots.panel()
        ax.plot([1, 2], [scale, 2 * scale])
        fig.canvas.draw()
        widths.add(round(fig.get_tightbbox().width, 2))
        plt.close(fig)
    assert len(widths) == 1 and min(widths) == pytest.approx(plots.PANEL[0], abs=0.05)
