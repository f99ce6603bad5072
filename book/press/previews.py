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
LEFT_OUT = "script, .headerlink, .claim-more"  # the last is the evidence of a claim
DRAWING = re.compile(r"<svg\b.*?</svg>", re.S)
NO_DRAWING = re.compile(r"<svg data-drawing=\"(\d+)\"></svg>")


class Page(NamedTuple):
    """What previews need of a page: the addresses it links to, and the HTML of what can be linked to, by its id."""

    links: list[str]
    targets: dict[str, str]


def read_page(body: str, depth: int = 0) -> Page:
    """Find the links of a page that lead to a place, and the places that have a preview.

    Args:
        body: The HTML of the page, without the frame that the theme puts around it.
        depth: How many folders below the root of the site it lies.
    """
    drawings: list[str] = []  # they are most of a page, and nothing is looked for in them

    def put_aside(drawing: re.Match) -> str:
        drawings.append(drawing[0])
        return f'<svg data-drawing="{len(drawings) - 1}"></svg>'

    soup = BeautifulSoup(DRAWING.sub(put_aside, body), "html.parser")
    links = [str(link["href"]) for link in soup.select("a[href*='#']:not(.headerlink)")]
    found = {str(target["id"]): _parts(target) for target in soup.select(TARGETS) if target.get("id")}
    for useless in soup.select(LEFT_OUT):
        useless.decompose()
    for link in soup.find_all("a"):
        link.unwrap()
    for element in soup.find_all(True):
        element.attrs.pop("id", None)
        if "src" in element.attrs:
            element["src"] = str(element["src"]).removeprefix("../" * depth)
    put_back = lambda text: NO_DRAWING.sub(lambda place: drawings[int(place[1])], text)  # noqa: E731
    return Page(links, {name: put_back("".join(map(str, parts))) for name, parts in found.items()})


def _parts(target: Tag) -> list[Tag]:
    """The elements that are a target: one, or a term and its definition."""
    if target.name != "dt":
        return [target]
    definition = target.find_next_sibling("dd")
    return [target, definition] if isinstance(definition, Tag) else [target]


def previews(page: str, pages: Mapping[str, Page]) -> dict[str, str | None]:
    """What the links of a page lead to, by their address; None for what stands on the page itself.

    Args:
        page: Its address from the root of the site, without ".html".
        pages: All pages by that address.
    """
    found: dict[str, str | None] = {}
    for link in pages[page].links:
        parts = urlsplit(link)
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), parts.path)) if parts.path else f"{page}.html"
        there, name = path.removesuffix(".html"), unquote(parts.fragment)
        if not parts.scheme and name in (targets := pages[there].targets if there in pages else {}):
            found[link] = None if there == page else targets[name]
    return found


def script(found: Mapping[str, str | None]) -> str:
    """The script that hands previews to `assets/previews.js`."""
    return f"rotvqPreviews({json.dumps(found, ensure_ascii=False, sort_keys=True)});\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    pages: dict[str, Page] = {}

    def keep(app: Sphinx, name: str, template: str, context: dict, doctree: object) -> None:
        if doctree is not None:  # a page of the book, not the search
            pages[name] = read_page(context["body"], name.count("/"))

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
