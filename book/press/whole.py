"""All pages of the built site as one page, which Chromium can print: its links lead to places on the page itself.

The page stands beside the site and takes pictures and styles from it. Every id begins with the name of its page, since
two pages may use the same one. Parts are headings of the first rank, chapters of the second, and so on.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import yaml

from book.press import paths
from rotvq.page.html import Html, tag

ARTICLE = re.compile(r'<article class="bd-article">(.*?)</article>', re.S)
STYLES = re.compile(r'<link [^>]*rel="stylesheet"[^>]*>')
TITLE = re.compile(r"<h1>(.*?)<a class=\"headerlink\"", re.S)
ELEMENT = re.compile(r"""<[a-zA-Z](?:"[^"]*"|'[^']*'|[^'">])*>""")
IDS = re.compile(r'(\s(?:id|for|aria-labelledby|aria-describedby)=")([^"]+)"')
ADDRESSES = re.compile(r'(\s(?:href|xlink:href|src)=")([^"]*)"')
PARTS_OF_A_DRAWING = re.compile(r"url\(#([^)]+)\)")
HEADING = re.compile(r"(</?h)([1-5])\b")
ONLINE = " data-online"  # in place of the address of what is on the site and not in print


class Part(NamedTuple):
    """A part of the book: its title, empty for the first page, and its pages from the root of the site."""

    title: str
    pages: list[str]


def contents(file: Path = paths.ROOT / "book" / "_toc.yml") -> list[Part]:
    """The parts of the book in the order of its table of contents."""
    found = yaml.safe_load(file.read_text("utf-8"))
    parts = [Part(one["caption"], [chapter["file"] for chapter in one["chapters"]]) for one in found["parts"]]
    return [Part("", [found["root"]]), *parts]


def name(page: str) -> str:
    """The id of a page on the one page: its name, of a chapter that of its file."""
    return page.removeprefix("notebooks/").replace("/", "-")


def place(page: str, fragment: str) -> str:
    """The id on the one page of what has this id on a page of the site."""
    return f"{name(page)}--{fragment}" if fragment else name(page)


def new_address(address: str, page: str, pages: frozenset[str], site: str, online: str) -> str | None:
    """Where an address of a page leads, as seen from the one page.

    Args:
        address: A link or a picture, as a page of the site has it.
        page: That page, such as `notebooks/10_ste_vs_rotation`.
        pages: All pages that stand on the one page.
        site: The path from the one page to the root of the site.
        online: The address of the site on the web, with a slash at its end; empty if it has none.

    Returns:
        the new address, or None for what is on the site and not in print.
    """
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return address
    there = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(parts.path))) if parts.path else page
    target = there.removesuffix(".html")
    if target in pages and there != target or not parts.path:
        return f"#{place(target, parts.fragment)}"
    if there.startswith(("_images/", "_static/")):
        return f"{site}/{there}"
    return f"{online}{there}" if online else None


def article(text: str, page: str, pages: frozenset[str], site: str, online: str = "") -> Html:
    """What a page of the site says, with ids, addresses and ranks of headings as the one page needs them.

    Args:
        text: The HTML of the page, as it was built.
        page: The page, as in `new_address`.
        pages: as there.
        site: as there.
        online: as there.
    """

    def identify(match: re.Match) -> str:
        names = " ".join(place(page, one) for one in match[2].split())
        return f'{match[1]}{names}"'

    def address(match: re.Match) -> str:
        found = new_address(html.unescape(match[2]), page, pages, site, online)
        return ONLINE if found is None else f'{match[1]}{html.escape(found)}"'

    def element(match: re.Match) -> str:
        return ADDRESSES.sub(address, IDS.sub(identify, match[0]))

    body = ELEMENT.sub(element, ARTICLE.search(text)[1])
    body = PARTS_OF_A_DRAWING.sub(lambda match: f"url(#{place(page, match[1])})", body)
    body = HEADING.sub(lambda match: f"{match[1]}{int(match[2]) + 1}", body)
    return tag("article", Html(body), id=name(page), class_="bd-article")


def title(text: str) -> Html:
    """The title of a page with its number, in HTML."""
    return Html(TITLE.search(ARTICLE.search(text)[1])[1])


def one_page(root: Path, parts: list[Part], cover: Html, style: str, site: str, online: str = "") -> str:
    """The whole book as one HTML page.

    Args:
        root: The folder of the built site.
        parts: of the book, with their pages.
        cover: What stands before the contents.
        style: CSS after that of the site.
        site: as in `new_address`.
        online: as in `new_address`.

    Raises:
        SystemExit: if a page was not built.
    """
    texts = {page: _built(root, page) for part in parts for page in part.pages}
    first = texts[parts[0].pages[0]]
    links = Html("\n".join(STYLES.findall(first)).replace('="_static/', f'="{site}/_static/'))
    body = Html("\n".join([cover, _contents(parts, texts), *_bodies(parts, texts, site, online)]))
    main = tag("main", tag("div", body, class_="bd-article-container"), class_="bd-content")
    inside = tag("title", "rotvq") + links + tag("style", Html(style))
    head = tag("head", Html('<meta charset="utf-8">'), Html(inside))
    whole = tag("html", head, tag("body", main), lang="en", data_theme="light", data_mode="light")
    return f"<!DOCTYPE html>\n{whole}\n"


def _built(root: Path, page: str) -> str:
    file = root / f"{page}.html"
    if not file.exists():
        raise SystemExit(f"no built page {page}: run `make book` first")
    return file.read_text("utf-8")


def _contents(parts: list[Part], texts: Mapping[str, str]) -> Html:
    """The table of contents: a list of links for each part."""
    lists = []
    for part in parts:
        entries = [tag("li", tag("a", title(texts[page]), href=f"#{name(page)}")) for page in part.pages]
        caption = [tag("p", part.title, class_="whole-part")] if part.title else []
        lists += [*caption, tag("ul", *entries)]
    return tag("nav", tag("h1", "Contents"), *lists, class_="whole-contents")


def _bodies(parts: list[Part], texts: Mapping[str, str], site: str, online: str) -> Iterator[Html]:
    pages = frozenset(texts)
    for part in parts:
        if part.title:
            yield tag("h1", part.title, class_="whole-part")
        for page in part.pages:
            yield article(texts[page], page, pages, site, online)
