"""A Sphinx extension: for each page a script with what its links lead to, which `assets/previews.js` shows.

The script `_static/previews/PAGE.js` maps an address, as a link of the page has it, to the HTML of its target: a
theorem, an equation, a figure, a claim, a source or a term. A target on the same page has no HTML there, since it can
be copied from the page. A browser loads the script once a reader first points at a link. A script, unlike a file of
data, is also loaded from a disk.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag  # comes with the theme, which needs it
from sphinx.application import Sphinx

TARGETS = "div.proof, div.math, figure, div.citation, .claim, dl.glossary > dt"
# Most of a page, in which nothing is looked for: drawings, code, and formulas, of which this is the beginning.
WHOLE = re.compile(r'<svg\b.*?</svg>|<pre\b.*?</pre>|<span class="katex">', re.S)
SPAN = re.compile(r"<(/?)span\b[^>]*>")
ASIDE = re.compile(r'<span data-aside="(\d+)"></span>')


class Page(NamedTuple):
    """What previews need of a page: the addresses it links to, and the HTML of what can be linked to, by its id."""

    links: list[str]
    targets: dict[str, str]


def put_aside(body: str) -> tuple[str, list[str]]:
    """The HTML of a page with an empty element for each drawing, block of code and formula, and these in their order.

    >>> put_aside('<p><span class="katex"><span>x</span></span> is <svg><path/></svg>.</p>')[0]
    '<p><span data-aside="0"></span> is <span data-aside="1"></span>.</p>'
    """
    rest: list[str] = []
    aside: list[str] = []
    end = 0
    while found := WHOLE.search(body, end):
        rest += [body[end : found.start()], f'<span data-aside="{len(aside)}"></span>']
        end = _end_of_span(body, found.start()) if found[0].startswith("<span") else found.end()
        aside.append(body[found.start() : end])
    return "".join([*rest, body[end:]]), aside


def _end_of_span(body: str, start: int) -> int:
    """Where the span that starts here ends, with those inside it."""
    depth = 0
    for found in SPAN.finditer(body, start):
        depth += -1 if found[1] else 1
        if depth == 0:
            return found.end()
    raise ValueError(f"a span does not end: {body[start : start + 60]}")


def read_page(body: str, page: str) -> Page:
    """Find the links of a page that lead to a place, and the places that have a preview.

    Args:
        body: The HTML of the page, without the frame that the theme puts around it.
        page: Its address from the root of the site, without ".html". Pictures of a target are found from the root.
    """
    rest, aside = put_aside(body)
    soup = BeautifulSoup(rest, "html.parser")
    links = [str(link["href"]) for link in soup.select("a[href*='#']:not(.headerlink)")]
    for evidence in soup.select(".claim-more"):
        evidence.decompose()  # no preview shows it, and it is most of a claim
    for picture in soup.select("img[src*='_images/']"):
        picture["src"] = _from_root(page, str(picture["src"]))
    found = {}
    for target in soup.select(TARGETS):
        if target.get("id"):
            text = "".join(map(str, _parts(target)))
            found[str(target["id"])] = ASIDE.sub(lambda place: aside[int(place[1])], text)
    return Page(links, found)


def _parts(target: Tag) -> list[Tag]:
    """The elements that are a target: one, or a term and its definition."""
    if target.name != "dt":
        return [target]
    definition = target.find_next_sibling("dd")
    return [target, definition] if isinstance(definition, Tag) else [target]


def _from_root(page: str, address: str) -> str:
    """An address that a page uses, as seen from the root of the site."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), address))


def previews(page: str, pages: Mapping[str, Page]) -> dict[str, str | None]:
    """What the links of a page lead to, by their address; None for what stands on the page itself.

    Args:
        page: Its address from the root of the site, without ".html".
        pages: All pages by that address.
    """
    found: dict[str, str | None] = {}
    for link in pages[page].links:
        parts = urlsplit(link)
        there = _from_root(page, parts.path).removesuffix(".html") if parts.path else page
        name = unquote(parts.fragment)
        if not parts.scheme and there in pages and name in pages[there].targets:
            found[link] = None if there == page else pages[there].targets[name]
    return found


def script(found: Mapping[str, str | None]) -> str:
    """The script that hands previews to `assets/previews.js`."""
    return f"rotvqPreviews({json.dumps(found, ensure_ascii=False, sort_keys=True)});\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    pages: dict[str, Page] = {}

    def keep(app: Sphinx, name: str, template: str, context: dict, doctree: object) -> None:
        if doctree is not None:  # a page of the book, not the search
            pages[name] = read_page(context["body"], name)

    def write(app: Sphinx, problem: Exception | None) -> None:
        if problem is not None or app.builder.format != "html":
            return
        for name in pages:
            path = Path(app.outdir, "_static", "previews", f"{name}.js")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(script(previews(name, pages)), "utf-8")

    app.connect("html-page-context", keep)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
