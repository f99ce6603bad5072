"""A Sphinx extension: how long the theory takes to read, as ``{{ theory_minutes }}`` in a page.

What is folded away, such as proofs, and code do not count; a formula counts as a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import jupytext
from sphinx.application import Sphinx

from book.press import chapter_map, paths

WORDS_A_MINUTE = 200  # of somebody who reads with attention
FOLDED = re.compile(r"^(?P<fence>`{3,}|:{3,})\{dropdown\}.*?^(?P=fence)$", re.S | re.M)
FORMULA = re.compile(r"\$\$.*?\$\$|\$[^$]+\$", re.S)
MARKUP = re.compile(r"^\s*(`{3,}.*|:{3,}.*|:[\w-]+:.*|\([\w-]+\)=)$", re.M)  # fences, their options, and labels


def minutes(texts: Iterable[str]) -> int:
    """To read texts in MyST, in minutes, to the next ten.

    >>> minutes(["one two three"])
    10
    """
    words = 0
    for text in texts:
        shown = FORMULA.sub(" formula ", MARKUP.sub("", FOLDED.sub("", text)))
        words += len(re.findall(r"\w[\w'-]*", shown))
    return -10 * (-words // (10 * WORDS_A_MINUTE))


def theory() -> list[str]:
    """The text of each chapter of theory, without its code."""
    found = []
    for chapter in chapter_map.THEORY:
        (path,) = paths.NOTEBOOKS.glob(f"{chapter:02}_*.py")
        cells = jupytext.read(path).cells
        found.append("\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown"))
    return found


def _offer(app: Sphinx, config) -> None:
    config.myst_substitutions = {**config.myst_substitutions, "theory_minutes": minutes(theory())}


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", _offer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
