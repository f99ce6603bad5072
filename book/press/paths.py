"""Where things lie in the checkout: what is written by hand, and what is made from it."""

from __future__ import annotations

import os

from rotvq.training.files import CHECKOUT

ROOT = CHECKOUT
SETTINGS = ROOT / "_config.yml"
NOTEBOOKS = ROOT / "notebooks"  # percent scripts and the notebooks written from them
RECORDS = ROOT / "data" / "records"
PAGES = ROOT / "book" / "notebooks"  # executed notebooks
GENERATED = ROOT / "book" / "generated"  # parts of pages
SITE = ROOT / "_build" / "html"
DOWNLOAD = ROOT / "_build" / "download"  # the book as one file
FAILED = ROOT / "_build" / "failed"  # notebooks that stopped at an error
SETTLED = {
    "OMP_NUM_THREADS": "1",  # two processes do not wait for each other, and results are those of the records
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # of a kernel
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # these two write into pages, else
    "RAY_USAGE_STATS_ENABLED": "0",
}


def environment(**more: str) -> dict[str, str]:
    """The environment of a process that imports `rotvq` and `book` from this checkout, and no other that is installed.

    Args:
        **more: variables to add or to replace.
    """
    searched = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **SETTLED, "PYTHONPATH": os.pathsep.join(searched), **more}
