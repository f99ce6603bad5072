"""A Sphinx extension: what a browser's tab, a search engine and a link preview show of a page.

Its title, a description, its card, and the icon of the book. The description is the box "In short" of a chapter, or the
first paragraph of a page that has none.
"""

from __future__ import annotations

import html
import re
import unicodedata

from docutils import nodes
from sphinx.application import Sphinx

from book.press import hosted

BOXES = ("In short", "The answer", "简而言之")
LONGEST = 200  # letters; what is longer is cut off by those who show it
SYMBOLS = {
    "partial": "∂",
    "in": "∈",
    "le": "≤",
    "ge": "≥",
    "ne": "≠",
    "top": "ᵀ",
    "infty": "∞",
    "approx": "≈",
    "times": "×",
    "pm": "±",
    "to": "→",
}
SPACING = re.compile(r"\\(?:left|right|mathrm|mathbf|operatorname|text|[,;!:> ])")
SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z])|(?<=[。？！])\s*")


def plain(formula: str) -> str:
    r"""A short formula in TeX as text: `|q|/|z|` stays, `\theta` is θ.

    >>> plain(r"r_0 = |q|/|z|"), plain(r"\theta \le \pi")
    ('r_0 = |q|/|z|', 'θ ≤ π')
    """
    without = SPACING.sub("", formula).replace("{", "").replace("}", "")
    found = re.sub(r"\\([a-zA-Z]+)", lambda match: _symbol(match[1]), without)
    return found.replace("\\", "").replace("^ᵀ", "ᵀ").replace("∂ ", "∂")


def _symbol(name: str) -> str:
    """A command of TeX as a letter; its name where there is none."""
    kind = "CAPITAL" if name[0].isupper() else "SMALL"
    try:
        return SYMBOLS.get(name) or unicodedata.lookup(f"GREEK {kind} LETTER {name.upper()}")
    except KeyError:
        return name


def shortened(text: str, longest: int = LONGEST) -> str:
    """The first sentences of a text, as many as fit; of a first sentence that does not, its first words."""
    sentences = SENTENCE.split(" ".join(text.split()))
    if len(sentences[0]) > longest:
        return f"{sentences[0][: longest - 1].rsplit(' ', 1)[0].rstrip(',;:')}…"
    found = sentences[0]
    for sentence in sentences[1:]:
        space = "" if found.endswith(("。", "？", "！")) else " "
        if len(found) + len(space) + len(sentence) > longest:
            break
        found += space + sentence
    return found


def text_of(node: nodes.Node) -> str:
    """The text of a paragraph, its formulas as text, without markup and the numbers of its sources."""
    if isinstance(node, nodes.math):
        return plain(node.astext())
    if isinstance(node, nodes.Text):
        return str(node)
    if isinstance(node, nodes.raw) or "bibtex-citation" in node["classes"]:
        return ""
    return "".join(map(text_of, node.children))


def description(doctree: nodes.document) -> str:
    """What a page says, in a sentence or a few: its box, or its first paragraph. Empty for a page without either."""
    paragraphs = list(doctree.findall(nodes.paragraph))
    boxed = [text_of(one) for one in paragraphs if _title(one) in BOXES]
    free = [text_of(one) for one in paragraphs if isinstance(one.parent, nodes.section)]
    said = boxed or [text for text in free if text][:1]
    return shortened(re.sub(r"\s+([.,;:)，。；：、）])", r"\1", " ".join(said)))


def _title(paragraph: nodes.paragraph) -> str:
    """The title of the box in which a paragraph stands; empty for one in no box."""
    box: nodes.Node | None = paragraph.parent
    while box is not None and not isinstance(box, nodes.admonition):
        box = box.parent
    titles = [] if box is None else box.children[:1]
    return "".join(one.astext() for one in titles if isinstance(one, nodes.title))


def add_head(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Give a page its icon and, if it is one of the book, its title and description."""
    context["favicon_url"] = context["pathto"]("_static/favicon.svg", resource=True)
    if page == app.config.root_doc:
        context["docstitle"] = ""  # its title begins with the name of the book
    if doctree is None:
        return
    base, words = app.config.html_baseurl, description(doctree)
    title = app.env.titles[page].astext()
    named = {"description": words} if words else {}
    properties = {"og:type": "article", "og:title": title, "og:site_name": app.config.html_title}
    if words:
        properties["og:description"] = words
    if base:
        properties["og:url"] = f"{base}{page}.html"
    if hosted.card_is_drawn(base):
        properties["og:image"] = f"{base}{hosted.CARD}"
        named["twitter:card"] = "summary_large_image"
    tags = [*(_meta("name", *one) for one in named.items()), *(_meta("property", *one) for one in properties.items())]
    context["metatags"] += "\n".join(tags)


def _meta(kind: str, name: str, content: str) -> str:
    return f'<meta {kind}="{name}" content="{html.escape(content)}">'


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("html-page-context", add_head)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
