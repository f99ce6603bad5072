"""A Sphinx extension: KaTeX typesets mathematics while the book is rendered, so that a page needs no script for it.

A formula is HTML for the eye and MathML for a screen reader. Its styles and fonts are in `assets/vendor/katex`; a
browser loads those fonts that a page uses.
"""

from __future__ import annotations

import functools
import re
from html import unescape
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.locale import _
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

from book.press import paths
from rotvq.page.html import Html, tag

if TYPE_CHECKING:
    from py_mini_racer import MiniRacer
    from sphinx.writers.html5 import HTML5Translator

KATEX = paths.ROOT / "book" / "assets" / "vendor" / "katex" / "katex.min.js"
NEW_LINE = r"\\"
MARKED = re.compile(r'<span class="tex">(.*?)</span>', re.S)
LOGGER = logging.getLogger(__name__)


@functools.cache
def engine() -> MiniRacer:
    """A JavaScript engine that has read KaTeX."""
    from py_mini_racer import MiniRacer

    found = MiniRacer()
    found.eval(KATEX.read_text("utf-8"))
    return found


@functools.cache
def typeset(formula: str, display: bool = False) -> Html:
    """A formula in TeX as HTML, in a line of text or on lines of its own.

    Raises:
        ValueError: if KaTeX does not understand it.
    """
    from py_mini_racer import JSEvalException

    options = {"displayMode": display, "strict": "error"}
    try:
        return Html(engine().call("katex.renderToString", formula, options))
    except JSEvalException as problem:
        said = next((line for line in str(problem).splitlines() if "KaTeX" in line), str(problem))
        raise ValueError(said.strip()) from None


def aligned(text: str) -> str:
    r"""What a formula on lines of its own means, as Sphinx reads it: `\\` ends a line, and so does an empty one.

    >>> aligned("a")
    'a'
    >>> aligned(r"a &= b\\ c &= d")
    '\\begin{split}a &= b\\\\ c &= d\\end{split}'
    """
    lines = [part for part in text.split("\n\n") if part.strip()]
    split = [rf"\begin{{split}}{line}\end{{split}}" if NEW_LINE in line else line for line in lines]
    return split[0] if len(split) == 1 else rf"\begin{{aligned}}{NEW_LINE.join(split)}\end{{aligned}}"


def _typeset(node: nodes.Node, formula: str, display: bool) -> Html:
    """A formula as HTML; one that is not understood is a warning, and stays as it is."""
    try:
        return typeset(formula, display)
    except ValueError as problem:
        LOGGER.warning("%s", problem, location=node)
        return tag("code", formula)


def with_formulas(page: str) -> str:
    """HTML in which the formulas that code has marked, ``<span class="tex">x^2</span>``, are typeset."""
    return MARKED.sub(lambda found: typeset(unescape(found[1])), page)


def _typeset_marked(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    if "body" in context:
        context["body"] = with_formulas(context["body"])


def visit_inline(writer: HTML5Translator, node: nodes.math) -> None:
    """Write a formula in a line of text."""
    writer.body += [writer.starttag(node, "span", "", CLASS="math"), _typeset(node, node.astext(), False), "</span>"]
    raise nodes.SkipNode


def visit_block(writer: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on lines of its own, with its number if it has one."""
    writer.body.append(writer.starttag(node, "div", CLASS="math"))
    if node["number"]:
        writer.body.append(f'<span class="eqno">({get_node_equation_number(writer, node)})')
        writer.add_permalink_ref(node, _("Link to this equation"))
        writer.body.append("</span>")
    formula = node.astext() if node["nowrap"] else aligned(node.astext())
    writer.body += [_typeset(node, formula, True), "</div>\n"]
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.add_html_math_renderer("katex", (visit_inline, None), (visit_block, None))
    app.connect("html-page-context", _typeset_marked)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
