"""The figures of the experiment pages, from a :class:`.Study`: first those of several pages, then those of one.

All of them show every run. Where no run of a figure has a record it says so.
"""

from __future__ import annotations

import itertools
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, NullLocator

from book.chapters import plots
from book.chapters.recommend import Levels
from rotvq.analysis.stats import Paired
from rotvq.analysis.study import Key, Study
from rotvq.analysis.wording import seed_ranges, title
from rotvq.page.figures import ARMS, MUTED, SPARE, WIDTH, Arm, Figure, arms

CROWDED = 24  # rows of arms and cells, from which on a panel is too tall and their names too long
LINEAR = ("usage", "perplexity", "theta_deg", "psnr", "within_share", "z_product", "q_product")  # no log axis

# of several pages


def dots(study: Study, metric: str = "test_mse", *, against: str | Key) -> Figure:
    """The ratios of `tables.comparisons`: each pair a point; fresh seeds have a row of their own below the others.

    Of many arms and cells each cell has a panel.
    """
    phases = {fresh: study.pairs(metric, against=against, fresh=fresh) for fresh in (False, True)}
    keys = [key for key in study.members if any(pairs.get(key) for pairs in phases.values())]
    varied = [place for place in (1, 0) if len({key[place] for key in keys}) > 1] or [1 if keys and keys[0][1] else 0]
    crowded = len(varied) > 1 and len(keys) > CROWDED
    styles, panels = arms(study.arms), {}
    for key, (fresh, pairs) in itertools.product(keys, phases.items()):
        if pairs.get(key):
            name = key[0] if crowded else ", ".join(key[place] for place in varied)
            label = f"{name}, seeds {seed_ranges(study.seeds(True))}" if fresh else name
            panels.setdefault(key[1] if crowded else "", []).append((label, pairs[key], styles[key[0]]))
    xlabel = f"{title(metric)}, ratio to {against if isinstance(against, str) else ', '.join(against)}"
    words = f"{title(metric)} relative to {against}: a dot a pair of runs, their geometric mean and its 95 % interval"
    return ratios(panels, words, xlabel)


def ratios(panels: Mapping[str, Sequence[plots.Row]], words: str, xlabel: str) -> Figure:
    """`paired_ratios`, a panel a title. ``words`` say what the ratios are; all of them follow in the description.

    The axis says that left is better, unless ``xlabel`` has an arrow of its own.
    """
    if "←" not in xlabel:
        xlabel += " (← better)"
    figs, said = [], []
    for name, rows in panels.items():
        if rows:
            fig, ax = plt.subplots(figsize=(WIDTH, 0.7 + 0.42 * len(rows)), layout="constrained")
            plots.paired_ratios(ax, rows)
            ax.set(xlabel=xlabel, title=name)
            figs.append(fig)
            said += [f"{', '.join(filter(None, (name, label)))}: {pair.mean:.3g}" for label, pair, _ in rows]
    return _figure(figs, f"{words}. {'; '.join(said)}.")


def curves(
    study: Study,
    metrics: str | Sequence[str] = "test_mse",
    *,
    cells: Iterable[str] | None = None,
    arms_shown: Iterable[str] | None = None,
) -> Figure:
    """Metrics over training, a panel a cell and metric: a thin line a seed that explores, a thick one their mean.

    ``test_`` metrics are drawn at the stops, the others from the trace of batches. A line ends where its run diverged.
    """
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    cells = [cell for cell in cells or study.cells if any(cell == key[1] for key in study.members)]
    shown = [arm for arm in arms_shown or study.arms if any(arm == key[0] for key in study.members)]
    styles, figs = arms(study.arms), []
    for cell, metric in itertools.product(cells, metrics):
        fig, ax = plots.panel()
        found = {arm: study.curve(arm, cell, metric) for arm in shown}
        for arm, curve in found.items():
            if curve.size:
                plots.seeds(ax, curve.columns.tolist(), curve.to_numpy(), styles[arm])
        _axes(ax, metric, sorted({step for curve in found.values() for step in curve.columns}))
        ax.set_title(_in_lines(f"{cell}: {title(metric)}" if cell else title(metric)))
        figs.append(fig)
    words = f"{', '.join(map(title, metrics))} over training for {', '.join(shown)}, in each of: {', '.join(cells)}. "
    figs = with_legend(figs, [styles[arm] for arm in shown]) if figs else []
    return _figure(figs, words + "Thin lines are seeds, thick ones their means.")


def _in_lines(words: str) -> str:
    """A title of a panel in lines of 30 letters, which part no length, no quotient of two and no hyphenated word."""
    whole = re.sub(r"\|[^|]+\|( / \|[^|]+\|)?", lambda length: length[0].replace(" ", "\u00a0"), words)
    return textwrap.fill(whole, 30, break_on_hyphens=False)


def _axes(ax, metric: str, steps: Sequence[int]) -> None:
    split, _, rest = metric.partition("_")
    evaluated = split in ("test", "validation")
    ax.set(xlabel="step", ylabel="")
    if evaluated and len(steps) > 1:
        ax.set_xscale("log", base=2)
        ax.set_xticks(steps, [f"{step:,}" for step in steps])
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if (rest if evaluated else metric) not in LINEAR:
        ax.set_yscale("log")
        plots.log_ticks(ax.yaxis)


def with_legend(figs: list, styles: Sequence[Arm]) -> list:
    """The legend in the first panel, or, of more than three arms, in a panel of its own before it."""
    if len(styles) <= 3:
        figs[0].axes[0].legend()
        return figs
    fig, ax = plt.subplots(figsize=(plots.PANEL[0], 0.3 + 0.21 * len(styles)))
    for arm in styles:
        ax.plot([], [], label=arm.label, **arm.line)
    ax.legend(loc="upper left", borderaxespad=0)
    ax.axis("off")
    return [fig, *figs]


def effect_map(
    study: Study | Mapping[str, Study], *, against: str | Key, rows: str, columns: str, xlabel: str = ""
) -> Figure:
    """A map of the ratios of test MSE over two of 'arm', 'cell' and 'step', on the seeds that explore.

    ``study`` is one, or several by the titles of their panels. ValueError where the third has more than one value.
    """
    panels = {"": study} if isinstance(study, Study) else study
    found = {name: _ratios_over(one, against, rows, columns) for name, one in panels.items()}
    return maps(found, f"Test MSE relative to {against}", xlabel or columns)


def _ratios_over(study: Study, against: str | Key, rows: str, columns: str) -> plots.Ratios:
    labels = {
        "arm": list(dict.fromkeys(arm for arm, _ in study.members if arm != against)),
        "cell": list(dict.fromkeys(cell for _, cell in study.members)),
        "step": study.steps if "step" in (rows, columns) else [None],
    }
    (rest,) = set(labels) - {rows, columns}
    if len(labels[rest]) > 1:
        raise ValueError(f"a map over {rows} and {columns} needs one {rest}, not {', '.join(map(str, labels[rest]))}")
    found: dict[str, dict[str, Paired | None]] = {}
    for values in itertools.product(labels[rows], labels[columns], labels[rest]):
        place = dict(zip((rows, columns, rest), values))
        pair = study.pair(place["arm"], place["cell"], against=against, at=place["step"])
        row, column, _ = (f"{value:,}" if isinstance(value, int) else value for value in values)
        found.setdefault(row, {})[column] = pair
    return found


def maps(panels: Mapping[str, plots.Ratios], words: str, xlabel: str) -> Figure:
    """`heatmap`, a panel a title. ``words`` say what the ratios are; all of them follow in the description."""
    figs, said = [], []
    for name, rows in panels.items():
        shown = {(row, column): pair for row, found in rows.items() for column, pair in found.items() if pair}
        if shown:
            height = 0.8 + 0.34 * len(rows) + plots.turned_height(list(dict.fromkeys(column for _, column in shown)))
            columns = {column for found in rows.values() for column in found}
            width = WIDTH if len(panels) == 1 or len(columns) > 5 else plots.PANEL[0] + 1
            fig, ax = plt.subplots(figsize=(width, height), layout="constrained")
            plots.heatmap(ax, rows)
            ax.set(xlabel=xlabel, title=name)
            figs.append(fig)
            said += [f"{', '.join(filter(None, (name, *place)))}: {pair.mean:.2f}" for place, pair in shown.items()]
    return _figure(figs, f"{words}. {'; '.join(said)}.")


def _figure(figs: list, alt: str) -> Figure:
    """These panels; in place of none, words that say so."""
    if figs:
        return Figure(figs, alt)
    fig, ax = plt.subplots(figsize=(plots.PANEL[0], 0.3))
    ax.text(0.5, 0.5, "not run", ha="center", va="center")
    ax.axis("off")
    return Figure(fig, "No run of this figure has a record.")


# of one page

NAMES_AT = {  # chapter 11: where the name of a start stands beside its points, in points
    "uniform 1/K": (2, 15),
    "k-means × 0.01": (38, -16),
    "k-means × 0.1": (-4, 17),
    "k-means × 0.3": (-6, -30),
    "k-means": (-34, 14),
    "normal": (34, 0),
    "k-means × 3": (42, 0),
    "k-means × 10": (-2, 15),
    "k-means after warm-up": (-62, -10),
}


def ratio_against_r0(study: Study, kinds: Mapping[str, tuple[Iterable[str], Arm]]) -> Figure:
    """Chapter 11: test MSE, rotation / STE, against r0 of the first batch.

    Args:
        study: STE and the rotation.
        kinds: By label the cells and how they are drawn.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
    ax.axhline(1, color=MUTED, linewidth=1)
    said = []
    for kind, (cells, arm) in kinds.items():
        ax.plot([], [], arm.marker, color=arm.color, alpha=0.6, label=kind)
        for cell in cells:
            ratio = study.values("rotation", cell, "test_mse") / study.values("STE", cell, "test_mse")
            found = pd.DataFrame({"r0": study.values("STE", cell, "r", at=1), "ratio": ratio}).dropna()
            if found.empty:
                continue
            ax.plot(found.r0, found.ratio, arm.marker, color=arm.color, alpha=0.6)
            middle = np.exp(np.log(found).mean())
            said.append(f"{cell}: r0 {middle.r0:.2g}, ratio {middle.ratio:.2f}")
            if cell in NAMES_AT:
                place = {"xytext": NAMES_AT[cell], "textcoords": "offset points", "ha": "center", "va": "center"}
                ax.annotate(cell, (middle.r0, middle.ratio), size=8, **place)
    ax.set(xscale="log", yscale="log", xlabel="$r_0$ of the first batch", ylabel="test MSE, rotation / STE")
    ax.margins(x=0.12, y=0.1)
    _name_halves(ax)
    plots.log_ticks(ax.xaxis)
    plots.log_ticks(ax.yaxis)
    ax.legend(loc="upper left")
    return Figure(fig, "The ratio of test MSE against r0, a point a seed. " + "; ".join(said) + ".")


def sweep(
    studies: Mapping[str, Study],
    name: str,
    taken: Mapping[str, Mapping[str, str]],
    also: tuple[str, float] | None = None,
) -> Figure:
    """Chapter 12: test MSE against what is varied, a panel a start; a ring where validation chose.

    Args:
        studies: By start; their cells are called "name = value".
        name: What is varied.
        taken: By start the cell that each arm takes.
        also: The same in another unit, on an axis on top: its name, and how many of it one is.
    """
    figs = []
    for start, study in studies.items():
        fig, ax = plots.panel()
        values, heading = [float(cell.split(" = ")[1]) for cell in study.cells], f"{start}: test MSE, not run"
        for arm, drawn in arms(study.arms).items():
            cells = {cell: study.values(arm, cell, "test_mse") for cell in study.cells}
            found = pd.DataFrame(cells).dropna(how="all")
            plots.seeds(ax, values, found if len(found) else [[math.nan] * len(values)], drawn)
            if len(found):
                heading = f"{start}: test MSE"
                ax.set_yscale("log")
                plots.log_ticks(ax.yaxis)
            if cell := taken[start].get(arm):
                chosen = float(cell.split(" = ")[1]), study.mean(arm, cell, "test_mse")
                ax.plot(*chosen, "o", markersize=11, markerfacecolor="none", color=drawn.color)
        ax.set(xscale="log", xlabel=name, title=heading)
        ax.set_xticks(values, [f"{x:g}" for x in values], size=7.5 if len(values) > 3 else None)
        ax.xaxis.set_minor_locator(NullLocator())
        if also:
            _second_axis(ax, *also, values)
        figs.append(fig)
    figs[0].axes[0].legend()
    words = f"test MSE against {name} from {' and from '.join(studies)}, for STE and the rotation."
    return Figure(figs, words + (f" A second axis on top has {also[0]}: {also[1]:.2g} times as much." if also else ""))


def _second_axis(ax, name: str, times: float, values: Sequence[float]) -> None:
    """The values in another unit, on top, where it has the powers of ten between them."""
    top = ax.secondary_xaxis("top", functions=(lambda x: x * times, lambda x: x / times))
    least, most = (math.log10(pick(values) * times) for pick in (min, max))
    powers = [10.0**k for k in range(math.ceil(least), math.floor(most) + 1)]
    top.set_xticks(powers, [f"{x:g}" for x in powers], size=7.5)
    top.set_xlabel(name, size=8)
    top.xaxis.set_minor_locator(NullLocator())


def between(study: Study, starts: Iterable[str], names: Sequence[str], xlabel: str, what: str) -> Figure:
    """Chapter 14: test MSE along arms that lead from STE to the rotation, a panel a start.

    Args:
        study: The arms.
        starts: Its cells that are shown.
        names: The arms in their order.
        xlabel: What varies between them.
        what: Those in the middle, in words.
    """
    figs = []
    for start in starts:
        fig, ax = plots.panel()
        values = pd.DataFrame({arm: study.values(arm, start, "test_mse") for arm in names})
        ax.plot(range(len(names)), values.T, color=MUTED, linewidth=0.7)
        for place, arm in enumerate(names):
            drawn = ARMS.get(arm.lower(), ARMS["interpolated"])
            ax.plot([place] * len(values), values[arm], drawn.marker, color=drawn.color, alpha=0.6)
        ax.set(yscale="log", xlabel=xlabel, title=f"{start}: test MSE")
        plots.log_ticks(ax.yaxis)
        labels = [arm.removeprefix("clip ").removeprefix("t = ") for arm in names]
        ax.set_xticks(range(len(names)), labels, rotation=30, ha="right", rotation_mode="anchor")
        figs.append(fig)
    words = f"Test MSE from STE over {what} to the rotation, from uniform and from k-means codes; a line a seed."
    return Figure(figs, words)


def along(rows: Mapping[str, Mapping[float, Paired | None]], xlabel: str, words: str) -> Figure:
    """Ratios to STE against an amount, a line with intervals for each of up to four rows; below 1 STE is worse.

    Args:
        rows: By the name of a line the ratio at each amount.
        xlabel: What the amount is.
        words: What the ratios are, as in "Test MSE, rotation / STE".
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained")
    ax.axhline(1, color=MUTED, linewidth=1)
    said = []
    for (start, row), color, marker in zip(rows.items(), SPARE["colors"], "osD^"):
        found = {amount: pair for amount, pair in row.items() if pair and pair.n > 1}
        middle, low, high = ([getattr(pair, part) for pair in found.values()] for part in ("mean", "low", "high"))
        reach = [[m - x for m, x in zip(middle, low)], [x - m for m, x in zip(middle, high)]]
        ax.errorbar(list(found), middle, reach if found else None, marker=marker, color=color, capsize=3, label=start)
        said += [f"{start} at {amount:g}: {pair.mean:.2f}" for amount, pair in found.items()]
    ax.margins(y=0.15)  # room for the names of the halves
    _name_halves(ax)
    amounts = sorted({amount for row in rows.values() for amount in row})
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=words[0].lower() + words[1:])
    ax.set_xticks(amounts, [f"{amount:,g}" for amount in amounts])
    ax.xaxis.set_minor_locator(NullLocator())
    plots.log_ticks(ax.yaxis)
    fig.legend(loc="outside upper right", ncols=3 if len(rows) == 3 else 2)
    return Figure(fig, f"{words}. {'; '.join(said)}.")


def by_length(
    rows: Mapping[str, Mapping[str, tuple[float, Paired | None]]], apart: str, best: tuple[str, str]
) -> Figure:
    """Ratios rotation / STE against r0, a line with intervals for each way in which codes move.

    Args:
        rows: By way, then by start: r0 and the ratio.
        apart: A start that is on no line, since r0 does not say all of it.
        best: The way and the start of the lowest error without a warm-up, which gets a star.
    """
    fig, ax = plt.subplots(figsize=(WIDTH, 4.0), layout="constrained")
    ax.axhline(1, color=MUTED, linewidth=1)
    beside = {"textcoords": "offset points", "size": 9}
    said, highest = [], {}
    for (way, row), color, marker in zip(rows.items(), SPARE["colors"], "osD"):
        found = {start: (r0, pair) for start, (r0, pair) in row.items() if pair}
        line = sorted((r0, pair.mean) for start, (r0, pair) in found.items() if start != apart)
        ax.plot([r0 for r0, _ in line], [mean for _, mean in line], color=color, label=way)
        for start, (r0, pair) in found.items():
            reach = [[pair.mean - pair.low], [pair.high - pair.mean]]
            ax.errorbar(r0, pair.mean, reach, marker=marker, color=color, capsize=3)
            said.append(f"{way}, {start}, r0 {r0:.2g}: {pair.mean:.2f}")
        if best[0] == way and best[1] in found:
            place = found[best[1]][0], found[best[1]][1].mean
            ax.plot(*place, "*", color=color, markersize=17, markeredgecolor="white", zorder=10)
            ax.annotate("lowest error: STE", place, (10, -20), **beside)
        if apart in found:
            highest[found[apart][1].mean] = found[apart][0]
    if highest:
        top = max(highest)
        ax.annotate("after a warm-up", (highest[top], top), (-8, 0), ha="right", **beside)
    _name_halves(ax)
    ax.set(xscale="log", yscale="log", ylabel="test MSE, rotation / STE", xlim=(6e-3, 14))
    ax.set_xlabel("length of a code over that of its latent at the start, $r_0$")
    plots.log_ticks(ax.yaxis)
    fig.legend(loc="outside upper left", ncols=1)
    return Figure(fig, f"Test MSE, rotation / STE, by how long codes are at the start. {'; '.join(said)}.")


def _name_halves(ax) -> None:
    """Who is better in which half of a picture of the ratios rotation / STE."""
    for height, half in ((0.97, "STE better"), (0.03, "rotation better")):
        place = {"transform": ax.transAxes, "ha": "right", "va": "top" if height > 0.5 else "bottom", "size": 9}
        ax.text(0.99, height, half, color=MUTED, **place)


def every_run(study: Study, metrics: Sequence[str], *, fresh: bool = False) -> Figure:
    """A row an arm, the lowest mean error on top; every run a point, a bar at their mean, by start."""
    order = sorted(study.best(fresh=fresh).items(), key=lambda item: item[1])
    names = [arm for arm, _ in reversed(order)]
    marks = dict(zip(study.cells, zip("osD", SPARE["colors"])))
    figs = []
    for metric in metrics:
        fig, ax = plt.subplots(figsize=(WIDTH, 0.9 + 0.34 * len(names)), layout="constrained")
        for cell, (marker, color) in marks.items():
            ax.plot([], [], marker, color=color, label=cell)
            shift = {"uniform 1/K": 0.16, "k-means": -0.16}.get(cell, 0.0)
            for height, arm in enumerate(names):
                values = study.values(arm, cell, metric, fresh=fresh)
                ax.plot(values, [height + shift] * len(values), marker, color=color, alpha=0.6)
                ax.plot([values.mean()], [height + shift], "|", color=color, markersize=12, markeredgewidth=2)
        ax.set_xscale("log")
        plots.log_ticks(ax.xaxis)
        ax.set_yticks(range(len(names)), names)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel(_with_better_side(metric))
        fig.legend(loc="outside upper right", ncols=3)
        figs.append(fig)
    said = "; ".join(f"{arm}: {mean:.4f} ({cell})" for arm, (mean, cell) in order)
    words = f"{', '.join(map(title, metrics))} of every run, by arm and start. Lowest mean test MSE: "
    return Figure(figs, f"{words}{said}.")


def _with_better_side(metric: str) -> str:
    """A metric as the name of an axis, of an error or a time with the side that is better."""
    if metric == "seconds":
        return "seconds a run (← better)"
    return title(metric) + " (← better)" * ("mse" in metric)


def levels(found: Levels) -> Figure:
    """Chapter 19: mean test MSE of STE and of the rotation, a panel a start, a row a way in which the codes move."""
    styles, figs = {"STE": ARMS["ste"], "rotation": ARMS["rotation"]}, []
    ends = min(found.means.values(), default=1.0), max(found.means.values(), default=1.0)
    for start, words in found.starts.items():
        rows = [way for way in reversed(found.ways) if any(key[:2] == (way, start) for key in found.means)]
        if not rows:
            continue
        fig, ax = plt.subplots(figsize=(WIDTH, 1.0 + 0.36 * len(rows)), layout="constrained")
        for height, way in enumerate(rows):
            means = {arm: found.means[way, start, arm] for arm in styles if (way, start, arm) in found.means}
            ax.plot(list(means.values()), [height] * len(means), color=MUTED, linewidth=1)
            for arm, mean in means.items():
                ax.plot([mean], [height], styles[arm].marker, color=styles[arm].color, markersize=6)
        ax.set(xscale="log", xlim=(0.9 * ends[0], 1.1 * ends[1]), ylim=(-0.6, len(rows) - 0.4), title=words)
        ax.set_yticks(range(len(rows)), [plots.wrapped(found.ways[way]) for way in rows])
        plots.log_ticks(ax.xaxis)
        ax.grid(axis="y", visible=False)
        figs.append(fig)
    if figs:
        for arm, drawn in styles.items():
            figs[0].axes[0].plot([], [], drawn.marker, color=drawn.color, label=arm)
        figs[0].legend(loc="outside upper right", ncols=2)
        figs[-1].axes[0].set_xlabel("test MSE in thousandths (← better)")
    said = "; ".join(f"{', '.join(key)}: {mean:.2f}" for key, mean in found.means.items())
    return _figure(figs, f"Mean test MSE in thousandths. {said}.")


def batch_differences(gaps: Mapping[tuple[str, str], pd.DataFrame], study: Study) -> Figure:
    """Chapter 17: the relative difference of the two sums in every traced batch, a panel a weight decay."""
    figs = []
    for cell in study.cells:
        fig, ax = plots.panel()
        heading = f"{cell}: relative difference, not run"
        for arm, drawn in arms(study.arms).items():
            ax.plot([], [], drawn.marker, color=drawn.color, label=arm)
            if (arm, cell) in gaps:
                heading, found = f"{cell}: relative difference", gaps[arm, cell]
                shown = found.T.clip(lower=1e-7).to_numpy()
                ax.plot(found.columns, shown, drawn.marker, color=drawn.color, markersize=3, alpha=0.6)
        ax.axhline(1e-3, color=MUTED, linewidth=1)
        ax.set(yscale="log", xlabel="step", title=heading)
        figs.append(fig)
    figs[0].axes[0].legend()
    words = "The relative difference of the two sums in every traced batch, for STE and the rotation, a panel a weight"
    return Figure(figs, f"{words} decay.")


def fold_by_fold(mse: Mapping[str, pd.DataFrame], pictures: Sequence[str], words: str) -> Figure:
    """Chapter 18: test MSE of every run by the photographs it is tested on, a panel a start; a line joins a seed.

    Args:
        mse: By start a row a seed, a column an arm, STE before the rotation.
        pictures: The photographs of each fold.
        words: The description of the figure.
    """
    styles, figs = [ARMS["ste"], ARMS["rotation"]], []
    for start, found in mse.items():
        fig, ax = plt.subplots(figsize=(4.0, 2.8))
        for seed, row in found.iterrows():
            x = seed % 5 + 0.22 * (((seed >= 100) + (seed >= 105)) - 1)
            ax.plot([x - 0.05, x + 0.05], row, color=MUTED, linewidth=1)
            for place, value, arm in zip((x - 0.05, x + 0.05), row, styles):
                ax.plot([place], [value], arm.marker, color=arm.color)
        for arm in styles:
            ax.plot([], [], arm.marker, color=arm.color, label=arm.label)
        ax.set_yscale("log")
        plots.log_ticks(ax.yaxis)
        labels = [picture.replace(" and ", "\n") for picture in pictures]
        ax.set_xticks(range(5), labels, rotation=35, ha="right", size=8)
        ax.set(title=f"{start}: test MSE", xlim=(-0.5, 4.5))
        ax.legend()
        figs.append(fig)
    return Figure(figs, words)
