"""The whole book as one PDF: tagged, with an outline and page numbers, printed by Chromium from the built site."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from book.press import paths
from book.press.browser import browser, tab
from book.press.edition import Edition
from book.press.whole import Part, contents, one_page
from rotvq.page.html import Html, tag

if TYPE_CHECKING:
    from playwright.sync_api import Page

STYLE = paths.ROOT / "book" / "assets" / "whole.css"
WHOLE = paths.SITE.parent / "whole.html"
SCALE = 0.8  # letters of 16 px are 9.6 points high
MARGINS = {"top": "18mm", "bottom": "18mm", "left": "18mm", "right": "18mm"}
WIDTH = round((210 - 2 * 18) / 25.4 * 96 / SCALE)  # of the text on A4, in px
LONGEST_TABLE = 150  # rows; a longer list of runs is for the screen
NUMBER = tag(
    "p", tag("span", class_="pageNumber"), style="width: 100%; text-align: center; font: 8px sans-serif; color: #555"
)
TIMES = re.compile(rb"/(CreationDate|ModDate) \(D:[^)]*\)")

# Opens what is closed, leaves out lists of runs and links to what is not in print, and makes what is too wide fit.
PREPARE = """([width, longest]) => {
  for (const e of document.querySelectorAll("details")) {
    const rows = e.querySelectorAll("tr").length;
    if (rows > longest) e.replaceWith(`A table of ${rows - 1} rows, left out in print.`);
    else e.open = true;
  }
  for (const e of document.querySelectorAll("p > [data-online]:only-child")) e.parentElement.hidden = true;
  const wide = "table, .katex-display > .katex, .rv-figure svg, img, .rv-figure";
  const share = (e) => {
    const room = e.parentElement.clientWidth || width;
    return room / Math.max(e.scrollWidth, e.getBoundingClientRect().width);
  };
  for (let depth = 0; depth < 3; depth++) {  // reads apart from writes: after each write a read lays out the whole book
    const left = [...document.querySelectorAll(wide)].filter((e) => !e.style.zoom);
    const found = left.map((e) => [e, share(e)]).filter(([, part]) => part < 0.998);
    const outermost = found.filter(([e]) => !found.some(([other]) => other !== e && other.contains(e)));
    for (const [e, part] of outermost) e.style.zoom = part;
  }
}"""


def printed(this: Edition, online: str = "", parts: Sequence[Part] | None = None) -> bytes:
    """Print the built site.

    Args:
        this: The edition, for the first page and the time of the PDF.
        online: The address of the site on the web, with a slash at its end; empty if it has none.
        parts: of the book; all of them if None.

    Raises:
        SystemExit: if there is no Chromium.
    """
    with browser() as chromium:
        style = STYLE.read_text("utf-8")
        whole = one_page(paths.SITE, parts or contents(), cover(this, online), style, paths.SITE.name, online)
        WHOLE.write_text(whole, "utf-8")
        page = tab(chromium, WIDTH, 1000)
        page.emulate_media(media="print")
        try:
            page.goto(WHOLE.as_uri())
            return with_time(print_page(page), this.time)
        finally:
            WHOLE.unlink()


def print_page(page: Page) -> bytes:
    """Print a page that Chromium has loaded, once its fonts are there."""
    page.evaluate("() => document.fonts.ready")
    page.evaluate(PREPARE, [WIDTH, LONGEST_TABLE])
    return page.pdf(
        format="A4",
        scale=SCALE,
        margin=MARGINS,
        print_background=True,
        display_header_footer=True,
        header_template="<span></span>",
        footer_template=NUMBER,
        tagged=True,
        outline=True,
    )


def cover(this: Edition, online: str) -> Html:
    """The first page of the book; it names the site, if that has an address."""
    return tag(
        "header",
        tag("h1", "rotvq"),
        tag("p", "What should flow back through vector quantisation"),
        tag("p", "the rotvq authors"),
        tag("p", f"Version {this.version}, {this.commit}"),
        *([tag("p", tag("a", online, href=online))] if online else []),
        class_="whole-cover",
    )


def with_time(pdf: bytes, when: datetime) -> bytes:
    """The PDF, made at another time: that of the commit, so that the same book gives the same bytes.

    A PDF says at which byte its parts begin, so the text that is put in is as long as the one that was there.

    Args:
        pdf: as Chromium writes it, with times such as `D:20261126213000+00'00'`.
        when: The time to say.
    """
    written = when.astimezone(UTC).strftime("D:%Y%m%d%H%M%S+00'00'").encode()

    def replace(match: re.Match) -> bytes:
        new = b"/" + match[1] + b" (" + written + b")"
        if len(new) != len(match[0]):
            raise ValueError(f"a time in an unknown form: {match[0].decode()}")
        return new

    return TIMES.sub(replace, pdf)
