"""The built book in a browser: light, dark and on a phone; offline; and found by its search."""

import contextlib
import functools
import http.server
import os
import threading

import pytest
from conftest import CHROMIUM, CODE_PAGES, HTML, PAGES, built

from book.press.browser import FLAGS

LONGEST_CODE = sorted(CODE_PAGES, key=lambda name: (HTML / name).stat().st_size)[-1:]  # they are all alike
MODES = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        missing = "no browser here: install Chromium (Debian: apt-get install chromium) to test the built book"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    built()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site():
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(HTML)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def opened(browser, site, name, mode="light"):
    """A loaded page, its mathematics typeset; `page.problems` lists what a reader's browser would complain about."""
    context = browser.new_context(**MODES[mode])
    page, page.problems = (page := context.new_page()), []

    def route(request):
        if request.request.url.startswith((site, "data:", "blob:")):
            request.continue_()
        else:
            page.problems.append(f"asks another host: {request.request.url}")
            request.abort()

    context.route("**/*", route)
    page.on("console", lambda m: page.problems.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: page.problems.append(e.message))
    page.on("response", lambda r: page.problems.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    page.goto(site + name, wait_until="load")
    page.evaluate("() => window.MathJax?.startup?.promise")
    yield page
    context.close()


def test_there_are_pages():
    built()
    assert {"index.html", "references.html", "reproduce.html"} < set(PAGES)


NAMELESS = (
    "img:not([alt]), img[alt=''], .rv-figure:not([aria-label]),"
    " svg[role=img]:not([aria-label]):not([aria-labelledby]):not(mjx-container *)"
)
# relative luminance and contrast as in WCAG 2.1; of what is painted, text on the nearest background: in a figure the
# last area painted under it, else that of the page
CONTRAST = """(es) => es.map((e) => {
  const rgb = (s) => s.match(/[\\d.]+/g).map(Number);
  const lum = (c) => { const f = (x) => (x /= 255) <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
                       return 0.2126 * f(c[0]) + 0.7152 * f(c[1]) + 0.0722 * f(c[2]); };
  const style = getComputedStyle(e), ink = lum(rgb(e instanceof SVGElement ? style.fill : style.color));
  const box = e.getBoundingClientRect(), x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
  const under = e instanceof SVGElement && [...e.ownerSVGElement.querySelectorAll("path, rect")].filter((p) => {
    const fill = getComputedStyle(p).fill, area = p.getBoundingClientRect();
    return fill !== "none" && (rgb(fill)[3] ?? 1) === 1 && !p.closest("defs")
      && p.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING
      && area.left <= x && x <= area.right && area.top <= y && y <= area.bottom;
  }).pop();
  let b = e; while (b && (rgb(getComputedStyle(b).backgroundColor)[3] ?? 1) === 0) b = b.parentElement;
  const page = getComputedStyle(b ?? document.documentElement).backgroundColor;
  const paper = lum(rgb(under ? getComputedStyle(under).fill : page));
  return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
})"""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [*PAGES, *LONGEST_CODE])
def test_page(browser, site, name, mode):
    with opened(browser, site, name, mode) as page:
        assert page.locator("html").get_attribute("data-theme") == ("dark" if mode == "dark" else "light")
        typeset = page.locator(".math").evaluate_all("es => es.map(e => !!e.querySelector('mjx-container svg'))")
        assert all(typeset), "a formula was not typeset"
        assert page.locator("mjx-merror, [data-mjx-error], .system-message").count() == 0
        assert page.locator("article").locator(NAMELESS).count() == 0, "a picture without words for it"
        page.locator("details").evaluate_all("es => es.forEach(e => { e.open = true })")
        wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"the page scrolls sideways by {wide} px"
        assert all(c >= 4.5 for c in page.locator(".rv-figure svg text").evaluate_all(CONTRAST))
        assert all(c >= 4.5 for c in page.locator("article .highlight span[class]").evaluate_all(CONTRAST)), "faint"
        sizes = page.locator(".rv-figure svg").evaluate_all(
            "es => es.map(e => 10 * e.getBoundingClientRect().width / e.viewBox.baseVal.width)"
        )
        assert all(px >= 9 for px in sizes), "letters under 9 px"  # figures.style() writes them 10 units high
        if mode == "phone":
            page.set_viewport_size({"width": 320, "height": 844})
            wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"the narrowest phones scroll sideways by {wide} px"
        assert page.locator("details.hide, .tag_parameters").count() == 0, "a bar of hidden code, or a parameters cell"
        assert page.problems == []


@pytest.mark.parametrize("phrase", ["codebook collapse"])
def test_search_finds(browser, site, phrase):
    with opened(browser, site, f"search.html?q={phrase.replace(' ', '+')}") as page:
        page.wait_for_selector("#search-results ul.search li a[href*='index.html']")  # results come one by one
        found = page.locator("#search-results ul.search li a").evaluate_all("es => es.map(e => e.pathname)")
        assert "/index.html" in found
        assert page.problems == []


def test_a_page_opened_from_the_disk_works(browser):
    """A reader without a server: no request fails, and mathematics is typeset."""
    with opened(browser, HTML.as_uri() + "/", "notebooks/00_quickstart.html") as page:
        assert page.locator("mjx-container").count() > 0
        assert page.problems == []
