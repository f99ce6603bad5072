"""The rules of axe-core on every page of the built book, in light and in dark."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import CODE_PAGES, HTML, PAGES, built

from book.press.browser import PATIENCE

# What the theme does and the book cannot mend, by rule and the place's selector, with the reason. Exact: one that a
# page no longer has fails, too.
OF_THE_THEME: dict[tuple[str, str], str] = {}
COLOURS = ["color-contrast", "link-in-text-block"]  # the only rules that depend on them
LONGEST_CODE = sorted(CODE_PAGES, key=lambda name: (HTML / name).stat().st_size)[-1:]  # they are all alike
AT_ONCE = "* { transition: none !important }"  # colours as they will be, not half way from light to dark
# A screen reader reads the MathML of a formula, which axe does not: here what KaTeX writes for the eye stands for it.
# Half of a page are the words of its code, which have a style a kind: of each kind the first stands for all.
FIRST_OF_ITS_KIND = """es => { const seen = new Set(); es.forEach((e) => {
    if (seen.has(e.className)) e.replaceWith(...e.childNodes); seen.add(e.className); }) }"""
PLAIN_FORMULAS = "es => es.forEach((e) => { e.textContent = e.textContent; e.removeAttribute('aria-hidden') })"


def violations(page, rules=None):
    """What axe finds: the rule, the place and its markup."""
    options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
    found = Axe().run(page, options=options).response["violations"]
    return {(one["id"], str(node["target"][0])): node["html"][:300] for one in found for node in one["nodes"]}


@pytest.fixture(scope="module")
def tab(chromium):
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    yield page
    page.close()


@pytest.mark.parametrize("name", [*PAGES, *LONGEST_CODE])
def test_no_rule_is_broken(tab, name):
    built()
    tab.emulate_media(color_scheme="light")
    tab.goto((HTML / name).as_uri())
    tab.add_style_tag(content=AT_ONCE)
    tab.locator(".katex-html").evaluate_all(PLAIN_FORMULAS)
    tab.locator(".highlight pre span[class]").evaluate_all(FIRST_OF_ITS_KIND)
    light = violations(tab)
    tab.emulate_media(color_scheme="dark")
    tab.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    dark = violations(tab, COLOURS)
    ours = {place: markup for place, markup in {**light, **dark}.items() if place not in OF_THE_THEME}
    assert ours == {}
    assert set(OF_THE_THEME) <= {*light, *dark}, "no longer there"


def test_a_picture_without_words_is_found(tab):
    built()
    text = (HTML / "play.html").read_text("utf-8")
    page = re.sub("<script.*?</script>", "", text, flags=re.S)  # else figures that move take the place of pictures
    without = re.sub(r'(<img [^>]*?)alt="[^"]+"', r"\1", page)
    assert without != page
    tab.goto((HTML / "play.html").as_uri())
    found = []
    for content in (page, without):
        tab.set_content(content, wait_until="domcontentloaded")
        found.append({rule for rule, _ in violations(tab, ["image-alt"])})
    assert found == [set(), {"image-alt"}]
