"""What several test files share: where the built book is, and what is said when it is not there."""

import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
PAGES = sorted(
    str(p.relative_to(HTML)) for p in HTML.rglob("*.html") if "_static" not in p.parts and p.name != "search.html"
)


def built() -> None:
    """Skip, or in continuous integration fail, where the book was not built."""
    if not PAGES:
        missing = "no built book: run `make book`"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
