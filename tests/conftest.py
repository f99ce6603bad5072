"""What several test files share: where the built book is, and what is said when it is not there."""

import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
RENDERED = sorted(
    str(p.relative_to(HTML)) for p in HTML.rglob("*.html") if "_static" not in p.parts and p.name != "search.html"
)
CODE_PAGES = [name for name in RENDERED if name.startswith("code/")]  # the code of each chapter, on a page of its own
PAGES = [name for name in RENDERED if name not in CODE_PAGES]


def built() -> None:
    """Skip, or in continuous integration fail, where the book was not built."""
    if not PAGES:
        missing = "no built book: run `make book`"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
