"""One style of figure for the light page, the dark page, the printed page and the screen reader.

A figure is drawn once, with placeholder colours for ink, paper and grey. `Figure` writes it as an inline SVG in which
the placeholders have become CSS variables of the page, so that it follows the theme, together with a PNG for places
that show no HTML. The colours of the arms are fixed: each has a contrast of at least 3 to both the white and the dark
page, and each arm differs from the others by line and marker as well, so that colour is never the only sign.
"""

from __future__ import annotations

import ast
import base64
import io
import itertools
import os
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import display
from torch import Tensor

from rotvq import ESTIMATORS
from rotvq.page.html import Html, tag

WIDTH = 4.6  # inches: on a page of 390 px the text of such a figure is still 10 px tall
INK, PAPER, MUTED = "#010203", "#fdfcfb", "#7f7e7d"  # placeholders, swapped in the SVG
CSS = {
    INK: "var(--pst-color-text-base, currentColor)",
    PAPER: "var(--pst-color-background, #fff)",
    MUTED: "var(--pst-color-text-muted, #777)",
}
PNG = "image/png"
USED = "application/vnd.rotvq.records+json"
OF_A_PAGE = "NOTEBOOK_OF_A_PAGE"  # an environment variable: nobody opens the notebook, which becomes a page


class Arm(NamedTuple):
    """How one arm of an experiment is drawn, everywhere in the book."""

    label: str
    color: str
    linestyle: str | tuple
    marker: str

    @property
    def line(self) -> dict:
        """Keyword arguments for `ax.plot`."""
        return {"color": self.color, "linestyle": self.linestyle, "marker": self.marker}


_DASHDOTDOT = (0, (4, 1.5, 1, 1.5, 1, 1.5))
_LONG = (0, (7, 2))
FIXED = {  # by the name of an estimator
    "ste": Arm("STE", "#d0620f", "--", "o"),
    "rotation": Arm("rotation", "#2a7ad2", "-", "s"),
    "rotation_only": Arm("rotation only", "#128f96", "-.", "D"),
    "scale_only": Arm("scale only", "#bd5298", ":", "v"),
    "clipped": Arm("clipped", "#7a6ede", _DASHDOTDOT, "P"),
    "interpolated": Arm("interpolated", "#9466b8", _LONG, "X"),
    "fading": Arm("fading", "#5a7d2b", _LONG, "s"),
    "reflection": Arm("reflection", "#3f8f3c", "-", "^"),
    "radial_free": Arm("radial-free rotation", "#97792c", "-.", "<"),
    "radial_free_scale": Arm("radial-free scale", "#b3684f", ":", ">"),
    "constant": Arm("constant", "#7c8288", _LONG, "h"),
    "zero": Arm("zero", "#7c8288", ":", "x"),
    "mean_scale": Arm("mean scale", "#c84f72", _DASHDOTDOT, "d"),
    "mean_rotation": Arm("mean rotation", "#4685a6", _DASHDOTDOT, "p"),
}
SPARE = {  # 8 colours, 5 lines and 7 markers, out of step with one another: no two of 35 have one line and one marker
    "colors": ("#b5483c", "#5c8a1f", "#8a63c9", "#1f8a70", "#b8741a", "#c24a9e", "#4a7fb5", "#86803a"),
    "linestyles": ("-", "--", "-.", _LONG, _DASHDOTDOT),
    "markers": ("*", "H", "1", "2", "3", "4", "+"),
}


def spare(label: str, number: int) -> Arm:
    """The spare style of this number, counted from 0, or from the end with -1."""
    return Arm(label, *(choices[number % len(choices)] for choices in SPARE.values()))


def every_arm(estimators: Iterable[str]) -> dict[str, Arm]:
    """How each estimator is drawn: as fixed above, or, where nobody fixed it, in a spare style from the end."""
    drawn, numbers = {}, itertools.count(-1, -1)
    for name in estimators:
        drawn[name] = FIXED[name] if name in FIXED else spare(name.replace("_", " "), next(numbers))
    return drawn


class Arms(dict[str, Arm]):
    """How each estimator is drawn; one of the reader's own, such as brake.py:Brake, in the last spare style."""

    def __missing__(self, name: str) -> Arm:
        if ":" not in name:
            raise KeyError(name)
        return spare(name, -1)


ARMS = Arms(every_arm(ESTIMATORS))


def label(estimator: str) -> str:
    """What an estimator is called in tables and figures; one of the reader's own by its path."""
    return ARMS[estimator].label if estimator in ARMS else estimator


def arms(fields: Mapping[str, Mapping]) -> dict[str, Arm]:
    """How the arms of a study are drawn, by their labels, from the fields that each sets.

    The arm that sets an estimator and nothing else, or the first that sets it at all, takes that estimator's colour,
    line and marker; the others take spare ones in their order, so that an arm looks the same in every figure of a
    study. No two are drawn alike.

    >>> found = arms({"STE": {"estimator": "ste"}, "STE, gamma 1": {"estimator": "ste", "gamma": 1.0}})
    >>> [arm.marker for arm in found.values()]
    ['o', '*']
    """
    own: dict[str, str] = {}  # estimator -> the label of the arm that takes its style
    for label, changes in sorted(fields.items(), key=lambda item: len(item[1]) > 1):
        own.setdefault(changes.get("estimator"), label)
    drawn, numbers = {}, itertools.count()
    for label, changes in fields.items():
        name = changes.get("estimator")
        taken = name in ARMS and own[name] == label
        drawn[label] = ARMS[name]._replace(label=label) if taken else spare(label, next(numbers))
    return drawn


def style() -> dict:
    """The rc parameters of every figure: `plt.rcParams.update(style())`."""
    return {
        "figure.figsize": (WIDTH, 0.62 * WIDTH),
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "svg.fonttype": "none",  # text stays text: selectable, searchable, in the font of the page
        "svg.hashsalt": "rotvq",  # the same figure gives the same bytes
        "font.size": 10,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "legend.fontsize": 9,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.6,
        "lines.markersize": 4.5,
        "image.cmap": "gray",
        "grid.color": MUTED,
        **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    }


class Figure:
    """One or several matplotlib figures as one picture with a description. The figures are closed.

    Args:
        fig: A figure or several: side by side where there is room, below one another on a phone or if ``stacked``.
        alt: What the picture shows, in a sentence or two, for those who do not see it.

    Raises:
        ValueError: alt is empty.
    """

    def __init__(self, fig: plt.Figure | Iterable[plt.Figure], alt: str, *, stacked: bool = False):
        if not alt.strip():
            raise ValueError("alt is empty: say in a sentence what the figure shows")
        figs = [fig] if isinstance(fig, plt.Figure) else list(fig)
        svgs = [_svg(one) for one in figs]
        for one in figs:
            plt.close(one)
        self._figs, self._stacked = figs, stacked
        self._bundle = {
            "text/html": tag("div", *svgs, class_="rv-figure" + " rv-stacked" * stacked, role="img", aria_label=alt),
            "text/plain": alt,
        }

    def _repr_mimebundle_(self, include=None, exclude=()):
        """HTML, words, and for what shows no HTML a PNG, unless it is excluded: it takes as long as the HTML."""
        if PNG in (exclude or ()):
            return self._bundle
        pngs = [_png(one) for one in self._figs]
        return self._bundle | {PNG: base64.b64encode(_one_of(pngs, self._stacked)).decode()}


def strips(rows: Mapping[str, Tensor], alt: str) -> Figure:
    """Images in rows, each row with its title: floats in [0, 1] of shape (n, channels, height, width)."""
    figs = []
    for title, row in rows.items():
        fig, ax = plt.subplots(figsize=(WIDTH, 0.85))
        seen = row if row.shape[1] in (1, 3) else row.mean(1, keepdim=True)  # other channels are no colours
        ax.imshow(torch.cat(list(seen.clamp(0, 1)), 2).permute(1, 2, 0).numpy(), vmin=0, vmax=1)
        ax.set_title(title)
        ax.axis("off")
        figs.append(fig)
    return Figure(figs, alt, stacked=True)


def _svg(fig) -> Html:
    """The figure as an SVG element whose ink, paper and grey are variables of the page."""
    out = io.StringIO()
    with plt.rc_context(style()):
        fig.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # figure_1, axes_1, ...: an id may stand only once on a page
    for placeholder, variable in CSS.items():
        text = text.replace(placeholder, variable)
    width = 1.2 * float(re.search(r'width="([\d.]+)pt"', text)[1])  # its text is at most as large as the page's
    text = text.replace("<svg ", f'<svg aria-hidden="true" style="max-width: min(100%, {width:.4g}pt)" ', 1)
    return Html(re.sub(r"\s*\n\s*", "\n", text))


def _png(fig) -> bytes:
    out = io.BytesIO()
    fig.savefig(out, format="png", dpi=150, bbox_inches="tight", facecolor="white")
    return out.getvalue()


def _one_of(pngs: list[bytes], stacked: bool) -> bytes:
    if len(pngs) == 1:
        return pngs[0]
    axis = int(stacked)  # stacked, height and width change places, twice
    images = [plt.imread(io.BytesIO(png))[..., :3].swapaxes(0, axis) for png in pngs]
    height = max(len(image) for image in images)
    padded = [np.pad(i, ((0, height - len(i)), (0, 0), (0, 0)), constant_values=1.0) for i in images]
    out = io.BytesIO()
    matplotlib.image.imsave(out, np.hstack(padded).swapaxes(0, axis).copy(), format="png")
    return out.getvalue()


def glue(name: str, value) -> None:
    """Record a value under a name for the text: `{glue:text}`name:.2f`` or `{glue:figure} name`.

    Writes the record that `myst_nb.glue` writes, without loading Sphinx into the notebook. Nothing but the book shows a
    record, so a second output is for those who open the notebook: a figure as it is, a value after its name. It is
    left out where :data:`OF_A_PAGE` is set.
    """
    if getattr(value, "ndim", None) == 0:  # a number of numpy or torch
        value = value.item()
    text = value if isinstance(value, str) and _is_prose(value) else repr(value)
    mime = getattr(value, "_repr_mimebundle_", None)
    for_the_book = OF_A_PAGE in os.environ
    not_drawn = {PNG} if for_the_book else ()
    bundle = mime(exclude=not_drawn) if mime else {"text/plain": text}
    if hasattr(value, "to_html"):  # a pandas table
        bundle["text/html"] = value.to_html(border=0)
    png = bundle.pop(PNG, None)
    prefix = "application/papermill.record/"
    display(
        {prefix + kind: data for kind, data in bundle.items()},
        raw=True,
        metadata={"scrapbook": {"name": name, "mime_prefix": prefix}},
    )
    if not for_the_book:
        shown = {PNG: png} if png else bundle
        display(shown | {"text/plain": f"{name}: {bundle['text/plain']}"}, raw=True)


def _is_prose(text: str) -> bool:
    """False for words such as '2,000' that the text would read as a value of Python, there (2, 0)."""
    try:
        ast.literal_eval(text)
        return False
    except (SyntaxError, ValueError):
        return True


def used(runs: Iterable) -> None:
    """Say which runs the page shows, as Configs or ids: it names them, and is executed again when a record changes."""
    display({USED: sorted({getattr(run, "id", run) for run in runs})}, raw=True)


class Line:
    """A line of a page's output that says how far something is, and stays as it was last."""

    def __init__(self, text: str):
        self._handle = display({"text/plain": text}, raw=True, display_id=True)  # None outside of a notebook

    def say(self, text: str) -> None:
        """Show this in place of what was said before."""
        if self._handle:
            self._handle.update({"text/plain": text}, raw=True)
