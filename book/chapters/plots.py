"""What is drawn on axes, in panels narrow enough for a phone: every seed and the mean, ratios of pairs, maps."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from rotvq.analysis.stats import Paired
from rotvq.analysis.wording import includes_one
from rotvq.page.figures import ARMS, MUTED, Arm

PANEL = (3.0, 2.2)  # inches
STRONG = 3.0  # the ratio from which on the tint of a map is strongest
Row = tuple[str, Paired, Arm]  # a label, the ratio, how it is drawn
Ratios = Mapping[str, Mapping[str, Paired | None]]  # row label -> column label -> ratio
LOWER, HIGHER = "#1d5fa8", "#a8480a"  # the full colours of a map, below 1 and above


def panel() -> tuple[plt.Figure, plt.Axes]:
    """One of several panels: as wide as the others whatever its ticks are called, so that rows of them line up."""
    fig, ax = plt.subplots(figsize=PANEL)
    fig.subplots_adjust(left=0.22, right=0.97)
    fig.add_artist(plt.Rectangle((0, 0), 1, 1, fill=False, linewidth=0))  # what is saved is never narrower
    return fig, ax


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
        names.append(wrapped(name) + (f"\n({pair.diverged} diverged)" if pair.diverged else ""))
    ax.set_xscale("log")
    log_ticks(ax.xaxis)
    ax.set_yticks(range(len(rows)), names)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.grid(axis="y", visible=False)


wrapped = partial(textwrap.fill, width=24, break_on_hyphens=False)  # a label in lines that a phone has room for


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

    Each number stands in its cell, in brackets where its interval contains 1, with † where pairs diverged. A missing
    cell stays empty.
    """
    columns = list(dict.fromkeys(column for row in pairs.values() for column in row))
    size = 9 if len(columns) < 6 else 7.5
    for y, row in enumerate(pairs.values()):
        for x, column in enumerate(columns):
            pair = row.get(column)
            if not pair or not pair.n:
                continue
            ax.add_patch(plt.Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=tint(pair.mean), linewidth=0))
            text = f"({pair.mean:.2f})" if includes_one(pair) else f"{pair.mean:.2f}"
            ax.text(x, y, text + "†" * bool(pair.diverged), color="#000000", size=size, ha="center", va="center")
    turn = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if turned_height(columns) else {}
    ax.set_xticks(range(len(columns)), columns, **turn)
    ax.set_yticks(range(len(pairs)), [wrapped(row) for row in pairs])
    ax.set(xlim=(-0.55, len(columns) - 0.45), ylim=(len(pairs) - 0.45, -0.55))
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


def tint(ratio: float) -> str:
    """A pale blue below 1 and a pale orange above, stronger the further from 1; black is read on every one of them.

    >>> tint(0.9), tint(1.1), tint(11)
    ('#d9e4f1', '#f1e1d7', '#cb916c')
    """
    strength = min(1.0, abs(math.log(ratio)) / math.log(STRONG))
    share = 0.12 + 0.48 * strength
    return to_hex([1 - share * (1 - part) for part in to_rgb(LOWER if ratio < 1 else HIGHER)])


def turned_height(columns: Sequence[str]) -> float:
    """The height in inches of column labels that must be turned to fit; 0 where they fit."""
    longest = max(map(len, columns))
    return 0.06 * longest if longest * len(columns) > 40 else 0.0
