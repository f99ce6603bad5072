"""What the experiment pages draw: runs over training, paired ratios, maps of an effect. Every seed is in sight.

The first half draws on axes, the second takes a :class:`~rotvq.analysis.study.Study` and gives a
:class:`~rotvq.page.figures.Figure`, made of panels narrow enough for a phone.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from torch import Tensor

from rotvq.analysis.stats import Paired
from rotvq.analysis.study import Key, Study
from rotvq.analysis.wording import seed_ranges, separated, title
from rotvq.page.figures import ARMS, MUTED, WIDTH, Arm, Figure, arms

LINEAR = ("usage", "perplexity", "theta_deg", "psnr", "within_share", "z_product", "q_product")
PANEL = (3.0, 2.2)  # inches
STRONG = 3.0
Row = tuple[str, Paired, Arm]  # a label, the ratio, how it is drawn
Ratios = Mapping[str, Mapping[str, Paired | None]]  # row label -> column label -> ratio
EFFECT = LinearSegmentedColormap.from_list("effect", ["#1d5fa8", "#8d8f92", "#a8480a"])  # lower, equal, higher


def strips(rows: Mapping[str, Tensor], alt: str) -> Figure:
    """Images in rows, each row with its title: floats in [0, 1] of shape (n, channels, side, side)."""
    figs = []
    for title_, row in rows.items():
        fig, ax = plt.subplots(figsize=(WIDTH, 0.85))
        ax.imshow(torch.cat(list(row), 2).permute(1, 2, 0).numpy(), vmin=0, vmax=1)
        ax.set_title(title_)
        ax.axis("off")
        figs.append(fig)
    return Figure(figs, alt)


def seeds(ax, x: Sequence[float], ys, arm: Arm | str, label: str | None = None) -> None:
    """Every seed as a thin line and their mean as a thick one. `ys` has shape (seeds, len(x)); nan is left out."""
    arm = ARMS[arm] if isinstance(arm, str) else arm
    ys = np.atleast_2d(np.asarray(ys, dtype=float))
    for y in ys:
        ax.plot(x, y, color=arm.color, linewidth=0.7, alpha=0.45)
    marked = {**arm.line, "marker": arm.marker if len(x) <= 12 else None}
    mean = np.ma.masked_invalid(ys).mean(axis=0).filled(np.nan)
    ax.plot(x, mean, label=label or arm.label, **marked)


def paired_ratios(ax, rows: Sequence[Row]) -> None:
    """Paired ratios on a logarithmic axis, a row each, the first on top, with a line at 1.

    Every pair is a point in the marker of its arm, their geometric mean a diamond, their interval a bar. Pairs that
    diverged have no ratio: the row counts them.
    """
    ax.axvline(1.0, color=MUTED, linewidth=1)
    names = []
    for height, (name, pair, arm) in enumerate(reversed(rows)):
        d = np.asarray(pair.differences)
        spread = 0.12 * ((np.arange(len(d)) % 3) - 1)  # the points of a row do not hide one another
        ax.plot(d, height + 0.18 + spread / 2, arm.marker, color=arm.color, markersize=5, alpha=0.6)
        if pair.n > 1:
            ax.plot([pair.low, pair.high], [height - 0.16] * 2, color=arm.color, linewidth=2, solid_capstyle="butt")
        ax.plot([pair.mean], [height - 0.16], "D", color=arm.color, markersize=6)
        names.append(_wrapped(name) + (f"\n({pair.diverged} diverged)" if pair.diverged else ""))
    ax.set_xscale("log")
    log_ticks(ax.xaxis)
    ax.set_yticks(range(len(rows)), names)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.grid(axis="y", visible=False)


def _wrapped(name: str) -> str:
    return textwrap.fill(name, 24, break_on_hyphens=False)


def log_ticks(axis) -> None:
    """Up to six labelled ticks, in plain numbers, on a logarithmic axis of any span."""
    low, high = sorted(axis.get_view_interval())
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    for mantissas in ([1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7]):
        ticks = [m * 10.0**k for k in decades for m in mantissas if low <= m * 10.0**k <= high]
        if len(ticks) > 3:
            break
    else:
        ticks = [t for t in MaxNLocator(4).tick_values(low, high) if low <= t <= high]
    ticks = ticks[:: math.ceil(len(ticks) / 6)]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:,.10g}")


def heatmap(ax, pairs: Ratios) -> None:
    """A map of ratios, coloured by their logarithm: blue below 1, orange above.

    The colour is full from a factor of `STRONG` on. Each number stands in its cell, in brackets where its interval
    holds 1, with † where pairs diverged. A missing cell stays empty.
    """
    columns = list(dict.fromkeys(column for row in pairs.values() for column in row))
    size = 9 if len(columns) < 6 else 7.5
    for y, row in enumerate(pairs.values()):
        for x, column in enumerate(columns):
            pair = row.get(column)
            if not pair or not pair.n:
                continue
            color, ink = shade(pair.mean)
            ax.add_patch(plt.Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=color, linewidth=0))
            text = f"({pair.mean:.2f})" if separated(pair) == "not separated" else f"{pair.mean:.2f}"
            text += "†" * bool(pair.diverged)
            ax.text(x, y, text, color=ink, size=size, ha="center", va="center")
    turn = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if _turned(columns) else {}
    ax.set_xticks(range(len(columns)), columns, **turn)
    ax.set_yticks(range(len(pairs)), [_wrapped(row) for row in pairs])
    ax.set(xlim=(-0.55, len(columns) - 0.45), ylim=(len(pairs) - 0.45, -0.55))
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


def shade(ratio: float) -> tuple[tuple[float, ...], str]:
    """The colour of a ratio in `heatmap`, and black or white for the text on it: whichever has more contrast."""
    color = EFFECT(0.5 + 0.5 * math.log(ratio) / math.log(STRONG))
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]  # of WCAG: beyond 0.179 black wins
    return color, "#000000" if luminance > 0.179 else "#ffffff"


def _turned(columns: Sequence[str]) -> float:
    """The height in inches of column labels that must be turned to fit; 0 where they fit."""
    longest = max(map(len, columns))
    return 0.06 * longest if longest * len(columns) > 40 else 0.0


def dots(study: Study, metric: str = "test_mse", *, against: str | Key) -> Figure:
    """The ratios of `Study.table`: each pair a point; fresh seeds have a row of their own below the others."""
    phases = [(fresh, study.pairs(metric, against=against, fresh=fresh)) for fresh in (False, True)]
    styles, rows = arms(study.arms), []
    keys = [key for key in study.members if any(pairs.get(key) for _, pairs in phases)]
    varied = [place for place in (1, 0) if len({key[place] for key in keys}) > 1] or [1 if keys and keys[0][1] else 0]
    for key in keys:
        name = ", ".join(key[place] for place in varied)
        for fresh, pairs in phases:
            if pairs.get(key):
                label = f"{name}, seeds {seed_ranges(study.seeds(True))}" if fresh else name
                rows.append((label, pairs[key], styles[key[0]]))
    xlabel = f"{title(metric)}, ratio to {against if isinstance(against, str) else ', '.join(against)}"
    words = f"{title(metric)} relative to {against}: a dot a pair of runs, their geometric mean and its 95 % interval"
    return ratios({"": rows}, words, xlabel)


def ratios(panels: Mapping[str, Sequence[Row]], words: str, xlabel: str) -> Figure:
    """`paired_ratios` a panel.

    Args:
        panels: By their titles.
        words: What the ratios are; the description of the figure goes on with all of them.
        xlabel: What stands below each panel.
    """
    figs, said = [], []
    for name, rows in panels.items():
        if not rows:
            continue
        fig, ax = plt.subplots(figsize=(WIDTH, 0.7 + 0.42 * len(rows)), layout="constrained")
        paired_ratios(ax, rows)
        ax.set(xlabel=xlabel, title=name)
        figs.append(fig)
        said += [f"{', '.join(filter(None, (name, label)))}: {pair.mean:.3g}" for label, pair, _ in rows]
    return Figure(figs, f"{words}. {'; '.join(said)}.") if figs else _not_run()


def curves(
    study: Study,
    metrics: str | Sequence[str] = "test_mse",
    *,
    cells: Iterable[str] | None = None,
    arms_shown: Iterable[str] | None = None,
) -> Figure:
    """Metrics over training, on the seeds that explore: a thin line a seed, a thick one their mean.

    There is a panel a cell and metric. ``test_`` metrics are drawn at the stops, the others from the
    trace of batches. A line ends where its run diverged.
    """
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    cells = [cell for cell in cells or study.cells if any(cell == key[1] for key in study.members)]
    shown = [arm for arm in arms_shown or study.arms if any(arm == key[0] for key in study.members)]
    styles, figs = arms(study.arms), []
    for cell, metric in itertools.product(cells, metrics):
        fig, ax = plt.subplots(figsize=PANEL)
        steps: set[int] = set()
        for arm in shown:
            curve = study.curve(arm, cell, metric)
            if curve.size:
                seeds(ax, curve.columns.tolist(), curve.to_numpy(), styles[arm])
                steps.update(curve.columns)
        _axes(ax, metric, sorted(steps))
        ax.set_title("\n".join(textwrap.wrap(f"{cell}: {title(metric)}" if cell else title(metric), 38)))
        figs.append(fig)
    if not figs:
        return _not_run()
    figs = _with_legend(figs, [styles[arm] for arm in shown])
    words = f"{', '.join(map(title, metrics))} over training for {', '.join(shown)}, in each of: {', '.join(cells)}. "
    return Figure(figs, words + "Thin lines are seeds, thick ones their means.")


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
        log_ticks(ax.yaxis)


def _with_legend(figs: list, styles: Sequence[Arm]) -> list:
    """The legend in the first panel, or, of more than three arms, in a panel of its own before it."""
    if len(styles) <= 3:
        figs[0].axes[0].legend()
        return figs
    fig, ax = plt.subplots(figsize=(PANEL[0], 0.3 + 0.21 * len(styles)))
    for arm in styles:
        ax.plot([], [], label=arm.label, **arm.line)
    ax.legend(loc="upper left", borderaxespad=0)
    ax.axis("off")
    return [fig, *figs]


def effect_map(
    study: Study | Mapping[str, Study], *, against: str | Key, rows: str, columns: str, xlabel: str = ""
) -> Figure:
    """A map of the ratios of test MSE over two of 'arm', 'cell' and 'step', on the seeds that explore.

    Args:
        study: One, or several by the titles of their panels.
        against: The reference, as in :meth:`.Study.pair`.
        rows: What a row is.
        columns: What a column is.
        xlabel: What stands below the columns; empty: the same word.

    Raises:
        ValueError: The third of them has more than one value.
    """
    panels = {"": study} if isinstance(study, Study) else study
    found = {name: _ratios_of(one, against, rows, columns) for name, one in panels.items()}
    return maps(found, f"Test MSE relative to {against}", xlabel or columns)


def _ratios_of(study: Study, against: str | Key, rows: str, columns: str) -> Ratios:
    labels = {
        "arm": list(dict.fromkeys(arm for arm, _ in study.members if arm != against)),
        "cell": list(dict.fromkeys(cell for _, cell in study.members)),
        "step": study.steps if "step" in (rows, columns) else [None],
    }
    (rest,) = set(labels) - {rows, columns}
    if len(labels[rest]) > 1:
        raise ValueError(f"a map over {rows} and {columns} needs one {rest}, not {', '.join(map(str, labels[rest]))}")
    found: dict[str, dict[str, Paired | None]] = {}
    for row, column, other in itertools.product(labels[rows], labels[columns], labels[rest]):
        place = {rows: row, columns: column, rest: other}
        pair = study.pair(place["arm"], place["cell"], against=against, at=place["step"])
        found.setdefault(_name(row), {})[_name(column)] = pair
    return found


def maps(panels: Mapping[str, Ratios], words: str, xlabel: str) -> Figure:
    """A `heatmap` a panel.

    Args:
        panels: By their titles.
        words: What the ratios are; the description of the figure goes on with all of them.
        xlabel: What stands below the columns.
    """
    figs, said = [], []
    for name, rows in panels.items():
        shown = {(row, column): pair for row, found in rows.items() for column, pair in found.items() if pair}
        if not shown:
            continue
        height = 0.8 + 0.34 * len(rows) + _turned(list(dict.fromkeys(column for _, column in shown)))
        width = WIDTH if len(panels) == 1 else PANEL[0] + 1
        fig, ax = plt.subplots(figsize=(width, height), layout="constrained")
        heatmap(ax, rows)
        ax.set(xlabel=xlabel, title=name)
        figs.append(fig)
        said += [f"{', '.join(filter(None, (name, *place)))}: {pair.mean:.2f}" for place, pair in shown.items()]
    return Figure(figs, f"{words}. {'; '.join(said)}.") if figs else _not_run()


def _not_run() -> Figure:
    """In place of a figure of which no run has a record."""
    fig, ax = plt.subplots(figsize=(PANEL[0], 0.3))
    ax.text(0.5, 0.5, "not run", ha="center", va="center")
    ax.axis("off")
    return Figure(fig, "No run of this figure has a record.")


def _name(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else value
