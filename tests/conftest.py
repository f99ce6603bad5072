"""What several test files share: where the built book is, a browser, and what is said where one of them is missing.

And the environment of all tests, set before torch is imported, so that `pytest` is the same with make and without.
"""

import collections
import functools
import itertools
import os
import pathlib

import pytest

from book.press.browser import FLAGS, program

os.environ.update(OMP_NUM_THREADS="1", PYDEVD_DISABLE_FILE_VALIDATION="1", RAY_USAGE_STATS_ENABLED="0")

ROOT = pathlib.Path(__file__).parents[1]
BOOK = ROOT / "book"
HTML = ROOT / "_build" / "html"
NO_PAGES = ("search.html", "404.html")
RENDERED = sorted(
    str(p.relative_to(HTML)) for p in HTML.rglob("*.html") if "_static" not in p.parts and p.name not in NO_PAGES
)
CODE_PAGES = [name for name in RENDERED if name.startswith("code/")]  # the code of each chapter, on a page of its own
PAGES = [name for name in RENDERED if name not in CODE_PAGES]

CHROMIUM = program()
LONGEST = (  # files with a test, or a fixture that several tests share, that takes longest
    "test_contributing.py",
    "test_press_execute.py",
    "test_press_build.py",
    "test_ledger_mutation.py",
    "test_peer.py",
    "test_ranks.py",
    "test_scheduler.py",  # Ray starts a cluster here,
    "test_own.py",  # and here
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first: what two processes share out at the end is short, so that they end together."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_terminal_summary(terminalreporter) -> None:
    """Seconds of the files that take longest, fixtures included, so that a slow suite can be made quicker."""
    seconds = collections.Counter()
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        if hasattr(report, "duration"):
            seconds[report.nodeid.partition("::")[0]] += report.duration
    if sum(seconds.values()) < 60:  # a few tests, chosen by hand
        return
    terminalreporter.section(f"seconds by file, of {sum(seconds.values()):.0f}")
    for name, spent in seconds.most_common(30):
        terminalreporter.write_line(f"{spent:7.1f} {name}")


def built() -> None:
    """Skip, or in continuous integration fail, where the book was not built."""
    if not PAGES:
        missing = "no built book: run `make book`"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)


@pytest.fixture(scope="session")
def small_site(tmp_path_factory):
    """small_site(address) -> the folder of the small book, rendered once for each address of the repository."""
    from small_book import rendered

    return functools.cache(lambda address: rendered(tmp_path_factory.mktemp("small"), address))


@pytest.fixture(scope="module")
def chromium():
    """A browser, or a skipped test; in continuous integration, a failed one."""
    if not CHROMIUM:
        missing = "no browser here: install Chromium (Debian: apt-get install chromium) to test the figures that move"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
