"""The Chromium of the system, driven by playwright: it prints the book and draws its card."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PATIENCE = 3600_000  # milliseconds that a page may take to load: that of the whole book has thousands of formulas


def program() -> str | None:
    """The path of the Chromium that is here; None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def missing() -> str | None:
    """What is not here that a browser needs, and how to get it, as a sentence; None if nothing is missing."""
    if program() is None:
        return f"no Chromium here ({', '.join(NAMES)}): install it (Debian: apt-get install chromium)"
    if importlib.util.find_spec("playwright") is None:
        return "no playwright here, which drives Chromium: run `make setup`, or pip install playwright"
    return None


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium without a window; it ends with the block.

    Raises:
        SystemExit: if Chromium or playwright is missing.
    """
    if problem := missing():
        raise SystemExit(problem)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program(), args=FLAGS)
        yield found
        found.close()


def tab(opened: Browser, width: int, height: int) -> Page:
    """An empty page in light colours, this many pixels wide and high, which waits for what is slow."""
    page = opened.new_page(viewport={"width": width, "height": height}, color_scheme="light")
    page.set_default_timeout(PATIENCE)
    return page
