"""What pages say of rows: it rests on their verdicts, and each is asserted."""

from __future__ import annotations

import re

import pytest
from conftest import HTML, ROOT, built

from book.ledger import claims
from book.ledger.page import quoted
from book.press import mathematics

PAGES = {name: (ROOT / "notebooks" / f"{name}.py").read_text("utf-8") for name in ("40_claims", "43_got_right")}
SAYS = re.compile(r'(?:stands|require_verdict)\("([a-z -]+)", ("[^)]*)\)')
EXAMPLE = re.compile(r'^    "([a-z -]+)": ("[ABP]-\d{3}"),$', re.M)


def said(page: str) -> list[tuple[str, list[str]]]:
    """The verdicts that a page asserts, with the ids of their rows."""
    found = [*SAYS.findall(PAGES[page]), *EXAMPLE.findall(PAGES[page])]
    return [(verdict, re.findall(r'"([ABP]-\d{3})"', ids)) for verdict, ids in found]


@pytest.mark.parametrize("page", PAGES)
def test_every_row_that_the_page_speaks_of_is_asserted(page):
    prose = "".join(line for line in PAGES[page].splitlines(True) if line.startswith("#"))
    spoken = set(re.findall(r"(?:#|claim:)([ABP]-\d{3})", prose))
    assert len(spoken) > 20 and spoken <= {row for _, ids in said(page) for row in ids}


@pytest.mark.parametrize("page", PAGES)
def test_the_rows_have_these_verdicts(page):
    for verdict, ids in said(page):
        claims.require_verdict(verdict, *ids)


def test_another_verdict_is_refused():
    with pytest.raises(AssertionError, match="the page says true: A-023 is false"):
        claims.require_verdict("true", "A-022", "A-023")
    with pytest.raises(ValueError, match="no row A-999"):
        claims.require_verdict("true", "A-999")


def test_the_author_and_the_derivation():
    own = {row.id for row in claims.load() if row.by_the_author}
    assert {"A-001", "A-056", "A-260"} <= own and not own & {"A-057", "A-183", "A-258", "P-001", "B-001"}


def test_every_formula_of_a_quotation_is_typeset():
    quotes = [claim.quote for claim in claims.load() if claim.quote and "$" in claim.quote]
    assert len(quotes) > 100
    for quote in quotes:
        shown = mathematics.with_formulas(str(quoted(quote)))
        assert shown.count('class="katex"') == quote.count("$") / 2 and 'class="tex"' not in shown


def test_a_quotation_is_escaped_once():
    marked = str(quoted("a < b & $x < 1$"))
    assert marked == 'a &lt; b &amp; <span class="tex">x &lt; 1</span>'
    assert "x&lt;1" in re.sub("<[^>]*>", "", mathematics.with_formulas(marked)).replace(" ", "")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_bar_of_the_ledger_sticks_to_the_window_and_covers_no_row_at_first(chromium, width):
    built()
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.goto((HTML / "notebooks" / "40_claims.html").as_uri())
    bar, row = page.locator(".rv-claims-bar"), page.locator(".rv-claims details").first
    bar.evaluate("bar => bar.scrollIntoView({ block: 'center' })")
    assert bar.bounding_box()["y"] + bar.bounding_box()["height"] <= row.bounding_box()["y"]
    page.evaluate("scrollBy(0, 2000)")
    assert 0 <= bar.bounding_box()["y"] < 100
    page.locator(".rv-claims details").evaluate_all("rows => rows.forEach((row) => (row.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
