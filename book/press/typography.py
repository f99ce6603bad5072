"""A Sphinx extension: what belongs together in a line stays together, and a minus is one.

A browser may break a line before the full stop that follows a formula, and between a number and its unit. Numbers that
Python wrote have a hyphen for a minus. And a figure of several panels has so many columns as leave their text legible.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

from book.press.mathematics import typeset

CLOSING = re.compile(r"^[.,;:!?)\]%’”]+")  # stands right behind a formula
OPENING = re.compile(r"[(\[‘“]+$")
MINUS = re.compile(r"(?<![\w.\-–])-(?=\.?\d)")
UNIT = re.compile(r"(?<=\d) %|^ %(?!\w)")
COUNT = re.compile(r"\bn = (?=\d)")
SPREAD = re.compile(r"(?<=\d) (to|±) (?=[−+]?\d)")
BARS = re.compile(r"\|[^|]{1,12}\|")
HYPHEN = re.compile(r"\b(?:k-means|warm-up|\d+–\d+)")
CELL = re.compile(r"<(t[dh])\b[^>]*>.*?</\1>", re.S)
NOT_TEXT = ("<code", "<pre", "<svg", "katex")
TEXT = re.compile(r"(?<=>)[^<>]+(?=<)")
PANELS = re.compile(r'<div class="rv-figure".*?</div>', re.S)
WIDTH = re.compile(r"max-width: min\(100%, ([\d.]+)pt\)")  # at which the text of a panel is as large as the page's
LEAST = 0.7  # of that width: narrower, its text is not legible
UNBROKEN = 20  # letters of TeX that a line has room for, also where a formula may be broken
AFTER_TRANSLATION = 600  # which looks for words of a cell that are then in one piece
VERBATIM = (nodes.literal, nodes.literal_block, nodes.raw, nodes.math, nodes.math_block, addnodes.desc_signature)


def set_text(text: str) -> str:
    """A text with a minus before its numbers, and none of them apart from its unit.

    >>> set_text("by -0.5 %, n = 5, seeds 100-109, 5e-16").replace("\\u00a0", "~")
    'by −0.5~%, n~=~5, seeds 100-109, 5e-16'
    """
    return COUNT.sub("n\u00a0=\u00a0", UNIT.sub("\u00a0%", MINUS.sub("−", text)))


def set_cell(text: str) -> str:
    """The HTML of a text in a cell, whose narrow lines part neither an interval, a length nor a hyphenated word.

    >>> set_cell("0.4 (0.3 to 0.5)").replace("\\u00a0", "~"), set_cell("|z - q|").replace("\\u00a0", "~")
    ('0.4 (0.3~to~0.5)', '|z~-~q|')
    >>> set_cell("k-means")
    '<span class="rv-kept">k-means</span>'
    """
    text = SPREAD.sub("\u00a0\\1\u00a0", set_text(text))
    text = BARS.sub(lambda length: length[0].replace(" ", "\u00a0"), text)
    return HYPHEN.sub(r'<span class="rv-kept">\g<0></span>', text)


def with_set_cells(body: str) -> str:
    """A page in which the text of the cells of tables is set; cells with code, drawings or formulas stay.

    >>> with_set_cells("<td>-0.5</td><td><code>-1</code></td><td><small>5 %</small></td>").replace("\\u00a0", "~")
    '<td>−0.5</td><td><code>-1</code></td><td><small>5~%</small></td>'
    """

    def mend(cell: re.Match) -> str:
        if any(mark in cell[0] for mark in NOT_TEXT):
            return cell[0]
        return TEXT.sub(lambda text: set_cell(text[0]), cell[0])

    return CELL.sub(mend, body)


def with_columns(body: str) -> str:
    """A page in which the columns of a figure, in `rotvq.css`, are no narrower than its widest panel needs.

    >>> svg = '<svg style="max-width: min(100%, 200pt)"></svg>'
    >>> with_columns(f'<div class="rv-figure" role="img">{svg}</div>')[:50]
    '<div style="--rv-column: 140pt" class="rv-figure" '
    """

    def mend(figure: re.Match) -> str:
        widths = [float(width) for width in WIDTH.findall(figure[0])]
        return f'<div style="--rv-column: {LEAST * max(widths, default=0):.0f}pt"{figure[0].removeprefix("<div")}'

    return PANELS.sub(mend, body)


def keep_together(formula: nodes.math) -> None:
    """Put a formula and the punctuation on either side of it into a part of a line that is not broken."""
    if len(formula.astext()) > UNBROKEN and not _in_one_piece(formula.astext()):
        return
    line, at = formula.parent, formula.parent.index(formula)
    before, after = (
        line[i] if 0 <= i < len(line) and isinstance(line[i], nodes.Text) else "" for i in (at - 1, at + 1)
    )
    opening, closing = OPENING.search(before), CLOSING.search(after)
    if not opening and not closing:
        return
    kept = nodes.inline("", "", classes=["rv-kept"])
    if closing:
        line[at + 1] = nodes.Text(after[closing.end() :])
    line[at] = kept
    if opening:
        line[at - 1] = nodes.Text(before[: opening.start()])
        kept += nodes.Text(opening[0])
    kept += formula
    if closing:
        kept += nodes.Text(closing[0])


def _in_one_piece(formula: str) -> bool:
    try:
        return typeset(formula).count('class="katex-base"') == 1
    except ValueError:  # the writer says what is wrong
        return False


def set_page(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Set the text of a page, once all that was computed stands in it."""
    for text in list(doctree.findall(nodes.Text)):
        above = text.parent
        while above is not None and not isinstance(above, VERBATIM):
            above = above.parent
        if above is None and (changed := set_text(text)) != text:
            text.parent.replace(text, nodes.Text(changed))
    for formula in list(doctree.findall(nodes.math)):
        keep_together(formula)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""

    def set_cells(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
        context["body"] = with_columns(with_set_cells(context.get("body", "")))

    app.connect("doctree-resolved", set_page)
    app.connect("html-page-context", set_cells, priority=AFTER_TRANSLATION)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
