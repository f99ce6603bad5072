"""The built book in a browser: light, dark and on a phone; offline; and found by its search."""

import contextlib
import functools
import gzip
import http.server
import os
import re
import threading
from urllib.parse import unquote, urlsplit

import pytest
from conftest import CHROMIUM, CODE_PAGES, HTML, PAGES, built

from book.press.browser import FLAGS

LONGEST_CODE = sorted(CODE_PAGES, key=lambda name: (HTML / name).stat().st_size)[-1:]  # they are all alike
WIDE, PHONE = (1280, 900), (390, 844)
ZOOMED = {"200 %": (640, 450), "400 %, or the narrowest phones": (320, 844)}  # a wide window, in pixels of a page
MODES = {"phone": (PHONE, "light"), "light": (WIDE, "light"), "dark": (WIDE, "dark")}  # size and colours
STILL = "notebooks/24_conserved.html"  # has figures, formulas and code
PATIENCE = 120_000  # milliseconds, for a machine that is busy with other tests
NO_OTHER_HOST = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


@pytest.fixture(scope="module")
def browser():
    """One context of a browser: what pages share, as the typesetting of mathematics, is read and compiled once."""
    if not CHROMIUM:
        missing = "no browser here: install Chromium (Debian: apt-get install chromium) to test the built book"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    built()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, NO_OTHER_HOST])
        yield browser.new_context()
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


def turn(page, mode):
    """Give the window this size, ask for these colours, and wait until the page has been painted so."""
    (width, height), colors = MODES[mode]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=colors)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


@contextlib.contextmanager
def opened(browser, site, name, mode="light"):
    """A loaded page with its fonts; `page.problems` lists what a reader's browser would complain about."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.problems = []

    def asked(request):
        if not request.url.startswith((site, "data:", "blob:")):
            page.problems.append(f"asks another host: {request.url}")

    page.on("request", asked)
    page.on("console", lambda m: page.problems.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: page.problems.append(e.message))
    page.on("response", lambda r: page.problems.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    turn(page, mode)
    page.goto(site + name, wait_until="load")
    page.evaluate("() => document.fonts.ready")
    yield page
    page.close()


def test_there_are_pages():
    built()
    assert {"index.html", "references.html", "reproduce.html"} < set(PAGES)


NAMELESS = (
    "img:not([alt]), img[alt=''], .rv-figure:not([aria-label]), svg[role=img]:not([aria-label]):not([aria-labelledby])"
)
# relative luminance and contrast as in WCAG 2.1; of what is painted, text on the nearest background: in a figure the
# last area painted under it, else that of the page
CONTRAST = """(es) => {
  const rgb = (s) => s.match(/[\\d.]+/g).map(Number), opaque = (s) => s !== "none" && (rgb(s)[3] ?? 1) === 1;
  const lum = (c) => { const f = (x) => (x /= 255) <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
                       return 0.2126 * f(c[0]) + 0.7152 * f(c[1]) + 0.0722 * f(c[2]); };
  const areas = new Map();  // of a figure, what is painted all over
  const painted = (svg) => areas.get(svg) ?? areas.set(svg, [...svg.querySelectorAll("path, rect")]
    .filter((p) => !p.closest("defs") && opaque(getComputedStyle(p).fill))
    .map((p) => ({p, area: p.getBoundingClientRect()}))).get(svg);
  return es.map((e) => {
    const style = getComputedStyle(e), ink = lum(rgb(e instanceof SVGElement ? style.fill : style.color));
    const box = e.getBoundingClientRect(), x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
    const under = e instanceof SVGElement && painted(e.ownerSVGElement).filter(({p, area}) =>
      area.left <= x && x <= area.right && area.top <= y && y <= area.bottom
      && p.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING).pop();
    let b = e; while (b && (rgb(getComputedStyle(b).backgroundColor)[3] ?? 1) === 0) b = b.parentElement;
    const page = getComputedStyle(b ?? document.documentElement).backgroundColor;
    const paper = lum(rgb(under ? getComputedStyle(under.p).fill : page));
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  });
}"""
BEYOND = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
LETTERS = "es => es.map(e => 10 * e.getBoundingClientRect().width / e.viewBox.baseVal.width)"  # written 10 units high


def seen(page):
    """What a reader sees of the page as it is now: its theme, how far it scrolls sideways, letters and contrasts."""
    return {
        "theme": page.locator("html").get_attribute("data-theme"),
        "beyond": page.evaluate(BEYOND),
        "letters": page.locator(".rv-figure svg").evaluate_all(LETTERS),
        "figures": page.locator(".rv-figure svg text").evaluate_all(CONTRAST),
        "code": page.locator("article .highlight span[class]").evaluate_all(CONTRAST),
    }


ASKED_FOR = "() => performance.getEntriesByType('resource').map((e) => e.name)"
PACKED = (".woff2", ".png", ".jpg")  # a server sends these as they are
FRAME, TEXT = 260_000, 450_000  # bytes that a page may take: what is around it, and itself with figures and tables


@functools.cache
def weight(path):
    """The bytes of a file as a server sends it."""
    contents = path.read_bytes()
    return len(contents if path.suffix in PACKED else gzip.compress(contents, 6))


def sent(page):
    """What a browser has been sent for a page: the page itself, and styles, scripts, fonts and pictures."""
    paths = {unquote(urlsplit(url).path).lstrip("/") for url in page.evaluate(ASKED_FOR)}
    own = unquote(urlsplit(page.url).path).lstrip("/")
    return weight(HTML / own), sum(weight(HTML / path) for path in paths - {own})


def open_details(page):
    page.locator("details").evaluate_all("es => es.forEach(e => { e.open = true })")


@pytest.mark.parametrize("name", [*PAGES, *LONGEST_CODE])
def test_page(browser, site, name):
    """Loaded once, by a phone; then the window is made wide, and dark."""
    with opened(browser, site, name, "phone") as page:
        typeset = page.locator(".math").evaluate_all("es => es.map(e => !!e.querySelector('.katex math'))")
        assert all(typeset), "a formula was not typeset"
        assert page.locator(".katex-error, .system-message").count() == 0
        assert page.locator("article").locator(NAMELESS).count() == 0, "a picture without words for it"
        assert page.locator("details.hide, .tag_parameters").count() == 0, "a bar of hidden code, or a parameters cell"
        text, frame = sent(page)
        assert frame <= FRAME and text <= TEXT, f"{frame} and {text} bytes"
        open_details(page)
        for mode, (_, colors) in MODES.items():
            turn(page, mode)
            now = seen(page)
            assert now["theme"] == colors
            assert now["beyond"] <= 0, f"{mode}: the page scrolls sideways by {now['beyond']} px"
            assert all(px >= 9 for px in now["letters"]), f"{mode}: letters under 9 px"
            assert all(c >= 4.5 for c in now["figures"]), f"{mode}: a figure is faint"
            assert all(c >= 4.5 for c in now["code"]), f"{mode}: code is faint"
        for zoom, (width, height) in ZOOMED.items():
            page.set_viewport_size({"width": width, "height": height})
            beyond = page.evaluate(BEYOND)
            assert beyond <= 0, f"{zoom}: the page scrolls sideways by {beyond} px"
        assert page.problems == []


@pytest.mark.parametrize("name", sorted(PAGES, key=lambda name: (HTML / name).stat().st_size)[-5:])
def test_a_long_page_is_there_within_two_seconds(browser, site, name):
    """With all its mathematics. Processor time of the page, so that a busy machine does not count."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(site + name, wait_until="load")
    page.evaluate("() => document.fonts.ready")
    metrics = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
    page.close()
    assert 0 < metrics["TaskDuration"] < 2


def test_mathematics_needs_no_script(browser, site):
    page = browser.browser.new_page(java_script_enabled=False)
    page.goto(site + "notebooks/06_collapse.html")
    first = page.locator(".katex-html").first.bounding_box()
    assert first["width"] > 5 and first["height"] > 5
    page.close()


def test_a_page_that_became_so_is_as_one_that_is_loaded_so(browser, site):
    """Which is why one load shows how a page is on a phone, on a wide screen and in the dark."""
    with opened(browser, site, STILL, "phone") as turned:
        open_details(turned)
        for mode in ("light", "dark"):
            turn(turned, mode)
            with opened(browser, site, STILL, mode) as loaded:
                open_details(loaded)
                want = seen(loaded)
                assert want["figures"] and want["code"]
                assert seen(turned) == {**want, "letters": pytest.approx(want["letters"])}
                assert loaded.problems == []
        assert turned.problems == []


CUT_SHORT = re.compile(r"<t[dh][^>]*>[^<]*(?:\.\.\.|…)</t[dh]>")  # as pandas does it with a long text and a long table


@pytest.mark.parametrize("name", PAGES)
def test_tables_show_their_cells_whole(name):
    assert CUT_SHORT.findall((HTML / name).read_text("utf-8")) == []


NOT_PROSE = re.compile(r"<(pre|code|script|style|annotation|svg)\b.*?</\1>", re.S)


@pytest.mark.parametrize("name", PAGES)
def test_no_formula_is_left_as_it_was_written(name):
    page = (HTML / name).read_text("utf-8")
    article = page[page.index("<article") : page.index("</article>")]
    assert re.findall(r">([^<]*\$[^<]*)<", NOT_PROSE.sub("", article)) == []


@pytest.mark.parametrize("phrase", ["codebook collapse"])
def test_search_finds(browser, site, phrase):
    with opened(browser, site, f"search.html?q={phrase.replace(' ', '+')}") as page:
        page.wait_for_selector("#search-results ul.search li a[href*='index.html']")  # results come one by one
        found = page.locator("#search-results ul.search li a").evaluate_all("es => es.map(e => e.pathname)")
        assert "/index.html" in found
        assert page.problems == []


def test_a_page_opened_from_the_disk_works(browser):
    """A reader without a server: no request fails, and mathematics has its fonts."""
    with opened(browser, HTML.as_uri() + "/", "notebooks/00_quickstart.html") as page:
        fonts = page.evaluate("() => [...document.fonts].filter((e) => e.status === 'loaded').map((e) => e.family)")
        assert {"KaTeX_Main", "KaTeX_Math"} <= set(fonts)
        assert page.problems == []
