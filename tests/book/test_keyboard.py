"""The built book without a mouse: what Tab reaches, what keys do, and where nothing moves by itself."""

import pytest
from conftest import HTML, built

SOME = ["index.html", "notebooks/45_guide.html", "notebooks/25_drift.html", "notebooks/40_claims.html", "play.html"]
FOCUSED = "() => document.activeElement"
NAME = "(e) => (e.ariaLabel || e.labels?.[0]?.textContent || e.textContent || e.placeholder || '').trim()"
TOO_MANY = 400  # presses of Tab, where the place that is looked for is not reached


@pytest.fixture
def opened(chromium):
    """opened(name, **options) -> a page of the built book, from the disk."""
    built()
    contexts = []

    def go(name, **options):
        contexts.append(chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}))
        page = contexts[-1].new_page()
        page.goto((HTML / name).as_uri())
        return page

    yield go
    for context in contexts:
        context.close()


def focused(page):
    """The element that has the focus."""
    return page.evaluate_handle(FOCUSED).as_element()


def tab_until(page, selector):
    """Press Tab until an element that matches has the focus; returns the names of all that had it on the way."""
    names = []
    for _ in range(TOO_MANY):
        page.keyboard.press("Tab")
        names.append(focused(page).evaluate(NAME))
        if focused(page).evaluate("(e, selector) => e.matches(selector)", selector):
            return names
    raise AssertionError(f"{selector} is not reached: {names}")


@pytest.mark.parametrize("name", SOME)
def test_the_first_tab_shows_the_way_past_the_frame(opened, name):
    page = opened(name)
    page.keyboard.press("Tab")
    assert focused(page).evaluate(NAME) == "Skip to main content"
    page.wait_for_function("() => document.activeElement.getBoundingClientRect().top >= 0")  # it slides in
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused(page).evaluate("(e) => !!e.closest('#main-content')")


def picture(page, element, around=5):
    """An element as it is seen, with what surrounds it, in pixels of the page."""
    box = element.bounding_box()
    place = {"x": box["x"] - around, "y": box["y"] - around}
    return page.screenshot(clip={**place, **{side: box[side] + 2 * around for side in ("width", "height")}})


@pytest.mark.parametrize("name", SOME)
def test_what_has_the_focus_is_marked(opened, name):
    page = opened(name, reduced_motion="reduce")
    tab_until(page, "article.bd-article *")
    for _ in range(3):
        here = focused(page)
        page.keyboard.press("Escape")  # a preview may lie over it
        marked = picture(page, here)
        here.evaluate("(e) => e.blur()")
        assert picture(page, here) != marked
        here.focus()
        page.keyboard.press("Tab")


def test_a_preview_opens_on_focus_and_escape_closes_it(opened):
    page = opened("notebooks/25_drift.html")
    tab_until(page, "article.bd-article p a.reference[href^='#']")
    box = page.locator("#rv-preview:not(.rv-unready)")
    box.wait_for()
    link = focused(page)
    page.keyboard.press("Escape")
    assert not box.is_visible() and focused(page).evaluate("(e, link) => e === link", link)


def test_the_filters_of_the_ledger_are_reached_and_work(opened):
    page = opened("notebooks/40_claims.html")
    shown = page.locator("details.claim:visible")
    everything = shown.count()
    names = tab_until(page, ".rv-claims-bar button")
    assert {"Search the claims", "verdict", "source", "chapter", "kind", "Open all"} <= set(names)
    page.keyboard.press("Enter")
    assert page.locator("details.claim[open]").count() == everything
    for _ in range(4):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowDown")
    assert 0 < shown.count() < everything and "verdict=" in page.url
    page.keyboard.press("Tab")


@pytest.mark.parametrize("name", ["codebook", "field", "collapse", "angle", "drift"])
def test_a_figure_that_moves_is_reached_and_left_again(opened, name):
    page = opened("play.html")
    page.locator(f".mv-{name} svg.mv-svg").wait_for()
    controls = page.locator(f".mv-{name} :is(input, select, button, [tabindex='0'])").count()
    tab_until(page, f".mv-{name} *")
    reached = 1
    while focused(page).evaluate(f"(e) => !!e.closest('.mv-{name}')"):
        page.keyboard.press("Tab")
        reached += 1
        assert reached <= controls + 1, "Tab does not leave it"
    assert reached == controls + 1


@pytest.mark.parametrize("name", SOME)
def test_nothing_moves_where_a_reader_asked_for_none(opened, name):
    page = opened(name, reduced_motion="reduce")
    assert page.get_by_role("button", name="Play").count() == 0
    page.evaluate("() => document.fonts.ready")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)  # what loads late has come
    before = page.screenshot()
    page.wait_for_timeout(300)
    assert page.evaluate("document.getAnimations().filter((a) => a.playState === 'running').length") == 0
    assert page.screenshot() == before
