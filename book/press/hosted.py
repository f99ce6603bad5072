"""Where the book stands on the web, as the settings say, and what a site needs there.

That is a sitemap, a page for lost readers, and the picture that others show with a link to the book. A Sphinx
extension writes them. Without an address there are none: a copy on a disk needs none.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from sphinx.application import Sphinx
from sphinx.util import logging

from book.press import browser, paths
from rotvq.page.html import Html, tag

FORM = re.compile(r"https://[\w.-]+/[\w.-]+/[\w.-]+")
ON_GITHUB = re.compile(r"https://github\.com/([\w.-]+)/([\w.-]+)")
CARD = "_static/card.png"
CARD_SIZE = (1200, 630)  # what others ask for
# The first figure of the index under the title, and nothing else.
LAY_OUT = """() => {
  const figure = document.querySelector("article .rv-figure"), title = document.querySelector("article h1");
  const words = title ? title.firstChild.textContent : document.title, main = document.createElement("div");
  main.innerHTML = "<p></p>";
  main.firstChild.textContent = words;
  main.firstChild.style.cssText = "font: 600 44px/1.2 system-ui, sans-serif; margin: 0 0 20px; text-align: center";
  main.style.cssText = "position: fixed; inset: 0; z-index: 9999; padding: 36px 60px; background: #fff; color: #111";
  if (figure) {
    figure.style.cssText = "display: flex; justify-content: center";
    for (const drawing of figure.querySelectorAll("svg")) drawing.style.cssText = "height: 440px; flex: none";
    main.append(figure);
  }
  document.body.append(main);
}"""


def repository(settings: dict) -> str:
    """The address of the repository in the settings, empty if there is none.

    Raises:
        SystemExit: if it is not in the form that links to it are made from.
    """
    address = settings["repository"]["url"] or ""
    if address and (not FORM.fullmatch(address) or address.endswith(".git")):
        raise SystemExit(
            f"_config.yml: repository.url is {address!r}, and should be like https://github.com/OWNER/rotvq"
        )
    return address


def address(settings: dict) -> str:
    """Where the settings say that the book is published, with a slash at its end; empty if nowhere.

    It is `html.baseurl`; without it, the pages of a repository on GitHub, where `.github/workflows/book.yml` publishes.
    """
    if given := settings.get("html", {}).get("baseurl"):
        return given.rstrip("/") + "/"
    found = ON_GITHUB.fullmatch(repository(settings))
    if not found:
        return ""
    owner, name = found.groups()
    root = f"https://{owner.lower()}.github.io/"
    return root if f"{name.lower()}/" == root.removeprefix("https://") else f"{root}{name}/"


def read_settings() -> dict:
    """The settings of the book."""
    return yaml.safe_load(paths.SETTINGS.read_text("utf-8"))


def clone() -> str:
    """How to get the book's sources, in MyST: the command if the repository has an address, else a sentence."""
    found = repository(read_settings())
    if not found:
        return "Take a checkout of the book's repository and go into its folder.\n"
    return f"```sh\ngit clone {found}\ncd {posixpath.basename(found)}\n```\n"


def feedback() -> str:
    """How to report an error, in MyST."""
    found = repository(read_settings())
    if not found:
        return "This copy of the book names no repository. Write to whoever gave it to you.\n"
    return f"""\
- [Open an issue]({found}/issues/new). Every page has a link to that at its foot, which fills in page and edition.
- Or send a change: a page is written in `notebooks/` or in `book/`, and `CONTRIBUTING.md` says how to check it.
"""


def card_is_drawn(base: str) -> bool:
    """Whether the site gets a card: it has an address, and there is a browser to draw it."""
    return bool(base) and browser.missing() is None


def sitemap(base: str, pages: Iterable[str]) -> str:
    """The list of pages for search engines, as sitemaps.org has it.

    Args:
        base: The address of the site, with a slash at its end.
        pages: from the root of the site, without ".html".
    """
    entries = [tag("url", tag("loc", f"{base}{page}.html")) for page in sorted(pages)]
    urls = tag("urlset", *entries, xmlns="http://www.sitemaps.org/schemas/sitemap/0.9")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{urls}\n'


def lost(app: Sphinx) -> Iterator[tuple[str, dict[str, str], str]]:
    """The page `404`, which a host shows for any address that is not there: hence the base of its links."""
    if not (base := app.config.html_baseurl):
        return
    words = [
        tag("h1", "No such page"),
        tag("p", "It may have moved: search, or start at ", tag("a", "the first page", href=f"{base}index.html"), "."),
    ]
    context = {"title": "No such page", "body": Html("\n").join(words), "metatags": f'<base href="{base}">'}
    yield "404", context, "page.html"


def write(app: Sphinx, problem: Exception | None) -> None:
    """Write the sitemap and the card, once the site is there."""
    base = app.config.html_baseurl
    if problem is not None or app.builder.format != "html" or not base:
        return
    root = Path(app.outdir)
    (root / "sitemap.xml").write_text(sitemap(base, app.env.found_docs), "utf-8")
    if card_is_drawn(base):
        draw_card(root / "index.html", root / CARD)
    else:
        logging.getLogger(__name__).info("no card: %s", browser.missing())


def draw_card(page: Path, target: Path) -> None:
    """Draw the picture that others show with a link to the book: its title and the first figure of a page."""
    with browser.browser() as chromium:
        tab = browser.tab(chromium, *CARD_SIZE)
        tab.goto(page.as_uri())
        tab.evaluate(LAY_OUT)
        tab.screenshot(path=target)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("html-collect-pages", lost)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
