"""Previews of links: what the build finds, and what a browser shows from file://, on hover, on focus and on touch."""

import json
import re

import pytest
from conftest import BOOK, CODE_PAGES, HTML, PAGES, built

from book.press.mathematics import typeset
from book.press.previews import previews, read_page, script

THEOREM = (
    '<div class="proof theorem admonition" id="thm-x"><p class="admonition-title">Theorem 1'
    '<a class="headerlink" href="#thm-x">#</a></p><div class="section"><p>Let '
    + typeset("z")
    + ' be, see <a href="#equation-e">(1)'
    '</a> and <a href="#thm-x">itself</a>. <a class="rv-claim" href="40.html#A-001">A-001</a></p>'
    '<div class="math" id="equation-e"><span class="eqno">(1)</span>' + typeset("a<b", True) + "</div></div></div>"
)
FIGURE = (
    '<figure id="fig-x"><img alt="picture" src="../_images/x.svg"><svg viewBox="0 0 1 1"><defs><path id="p"></path>'
    '</defs></svg><figcaption>Caption<a class="headerlink" href="#fig-x">#</a></figcaption></figure>'
)
TERMS = (
    '<dl class="glossary"><dt id="term-a">A</dt><dt id="term-b">B</dt><dd><p>Both.</p></dd><dt id="term-c">C</dt></dl>'
)
CLAIM = (
    '<details class="claim" id="A-001"><summary>A-001 true</summary><p>Why</p><p class="claim-more">long</p></details>'
)
BODIES = {
    "index": '<h2 id="part">Part</h2><p><a title="old" href="notebooks/one.html#thm-x">Theorem 1</a></p>'
    '<p><a href="notebooks/one.html#fig-x">Fig. 1</a> <a href="#part">Part</a> <a href="https://a.b/one.html#thm-x">x</a>'
    ' <a href="notebooks/one.html#nothing">none</a> <a href="other.html#thm-x">none</a></p>',
    "notebooks/one": f'{THEOREM}{FIGURE}{TERMS}{CLAIM}<p id="below"><a href="#thm-x">Theorem 1</a> '
    '<a href="#term-a">a</a> <a href="../index.html#part">Part</a></p>',
    "notebooks/two": '<p><a href="one.html#fig-x">Fig. 1</a></p>',
}
SITE = {name: read_page(body, name) for name, body in BODIES.items()}


def test_targets_are_theorems_equations_figures_terms_and_claims():
    targets = SITE["notebooks/one"].targets
    assert set(targets) == {"thm-x", "equation-e", "fig-x", "term-a", "term-b", "term-c", "A-001"}
    assert "a&lt;b" in targets["equation-e"] and targets["equation-e"] in targets["thm-x"]
    assert 'src="_images/x.svg"' in targets["fig-x"] and '<path id="p">' in targets["fig-x"]
    assert "A</dt><dd><p>Both." in targets["term-a"] and "B</dt><dd>" in targets["term-b"]
    assert "Why" in targets["A-001"] and "long" not in targets["A-001"]


def test_a_page_gets_what_its_links_lead_to_and_no_more():
    there = SITE["notebooks/one"].targets
    assert previews("index", SITE) == {
        "notebooks/one.html#thm-x": there["thm-x"],
        "notebooks/one.html#fig-x": there["fig-x"],
    }
    assert previews("notebooks/one", SITE) == {"#equation-e": None, "#thm-x": None, "#term-a": None}


@pytest.fixture
def opened(chromium, tmp_path):
    """opened(page, **context options) -> the page from file://, with real styles; fails on any error."""
    contexts, problems = [], []
    assets = (BOOK / "assets").as_uri()
    for name, body in BODIES.items():
        page, data = tmp_path / f"{name}.html", tmp_path / "_static" / "previews" / f"{name}.js"
        for path in (page, data):
            path.parent.mkdir(parents=True, exist_ok=True)
        data.write_text(script(previews(name, SITE)), "utf-8")
        root = "../" * name.count("/") or "./"
        page.write_text(
            f'<!doctype html><html lang="en" data-content_root="{root}"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="{assets}/previews.css">'
            f'<link rel="stylesheet" href="{assets}/vendor/katex/katex.min.css">'
            f'<script defer src="{assets}/previews.js"></script></head><body>'
            f'<article class="bd-article" style="margin-top: 20rem">{body}'
            '<p style="height: 2000px">rest</p></article></body></html>',
            "utf-8",
        )
    (tmp_path / "_images").mkdir()
    (tmp_path / "_images" / "x.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>')

    def go(name, **options):
        context = chromium.new_context(**{"viewport": {"width": 700, "height": 700}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: problems.append(e.message))
        page.on("requestfailed", lambda r: problems.append(r.url))
        page.goto((tmp_path / f"{name}.html").as_uri())
        return page

    yield go
    for context in contexts:
        context.close()
    assert problems == []


BOX = "#rv-preview:not(.rv-unready)"


def link(page, href):
    return page.locator(f'article > p a[href="{href}"]')


def test_hover_shows_the_target_typeset_and_moves_nothing(opened):
    page = opened("index")
    here = link(page, "notebooks/one.html#thm-x")
    boxes = "() => [...document.querySelectorAll('p, h2')].map((e) => JSON.stringify(e.getBoundingClientRect()))"
    before, height = page.evaluate(boxes), page.evaluate("document.documentElement.scrollHeight")
    assert page.locator("script[src*=previews\\/]").count() == 0, "loaded before anybody pointed at a link"
    here.hover()
    page.wait_for_selector(BOX)
    assert page.locator("#rv-preview .katex").count() == 2 and here.get_attribute("title") is None
    assert page.locator("#rv-preview").inner_text().startswith("Theorem 1")
    assert (
        page.locator("#rv-preview :is(a, script, [id])").evaluate_all(
            "all => all.filter((e) => !e.closest('svg')).length"
        )
        == 0
    )
    assert page.evaluate("document.documentElement.scrollHeight") == height
    text, box = here.bounding_box(), page.locator("#rv-preview").bounding_box()
    assert box["y"] >= text["y"] + text["height"] or box["y"] + box["height"] <= text["y"]
    page.mouse.move(box["x"] + 20, box["y"] + 20)  # into the box, where it has to stay
    page.wait_for_timeout(400)
    assert page.locator(BOX).is_visible()
    page.mouse.move(690, 5)
    page.locator("#rv-preview").wait_for(state="hidden")
    assert page.evaluate(boxes) == before


def test_a_figure_of_another_page_finds_its_picture(opened):
    page = opened("notebooks/two")
    link(page, "one.html#fig-x").hover()
    page.wait_for_selector(BOX)
    assert page.locator("#rv-preview img").evaluate("e => e.decode().then(() => e.naturalWidth)") == 9


def test_focus_shows_and_escape_closes(opened):
    page = opened("notebooks/one")
    here = link(page, "#thm-x")
    here.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")  # as a keyboard gets there
    page.wait_for_selector(BOX)
    assert here.get_attribute("aria-describedby") == "rv-preview"
    assert page.locator("#rv-preview").get_attribute("role") == "tooltip"
    page.keyboard.press("Escape")
    assert not page.locator("#rv-preview").is_visible() and here.get_attribute("aria-describedby") is None
    page.keyboard.press("Tab")
    page.wait_for_selector(f"{BOX} dd")
    assert "Both." in page.locator("#rv-preview").inner_text()


def test_no_preview_of_what_a_link_stands_in_or_what_has_none(opened):
    page = opened("notebooks/one")
    for here in (page.locator('#thm-x a[href="#thm-x"]').last, link(page, "../index.html#part")):
        here.hover()
        page.wait_for_timeout(600)
        assert not page.locator("#rv-preview").is_visible()


def test_first_tap_shows_and_second_follows(opened):
    page = opened("index", has_touch=True, is_mobile=True, viewport={"width": 390, "height": 700})
    here = link(page, "notebooks/one.html#thm-x")
    here.tap()
    page.wait_for_selector(BOX)
    box = page.locator("#rv-preview").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and page.url.endswith("index.html")
    page.touchscreen.tap(200, 20)
    assert not page.locator("#rv-preview").is_visible()
    here.tap()
    page.wait_for_selector(BOX)
    here.tap()
    page.wait_for_url("**/notebooks/one.html#thm-x")
    link(page, "../index.html#part").tap()  # without a preview: the first tap follows
    page.wait_for_url("**/index.html#part")


@pytest.mark.parametrize("motion, seconds", [("reduce", "0s"), ("no-preference", "0.12s")])
def test_it_fades_in_unless_asked_not_to(opened, motion, seconds):
    page = opened("index", reduced_motion=motion)
    link(page, "notebooks/one.html#thm-x").hover()
    page.wait_for_selector(BOX)
    assert page.locator("#rv-preview").evaluate("e => getComputedStyle(e).transitionDuration") == seconds


def test_every_page_of_the_book_has_its_previews():
    built()
    for name in set(PAGES) - set(CODE_PAGES) - {"genindex.html"}:
        text = (HTML / "_static" / "previews" / name).with_suffix(".js").read_text("utf-8")
        found = json.loads(text.removeprefix("rotvqPreviews(").removesuffix(");\n"))
        page = (HTML / name).read_text("utf-8")
        assert all(f'href="{href}"' in page.replace("&amp;", "&") for href in found)
        marks = len(re.findall('class="rv-claim[ "]', page))
        assert (marks > 0) <= any("40_claims.html#" in href for href in found), name
