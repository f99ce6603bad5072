"""From notebooks to pages: pair -> run (papermill) -> build (Jupyter Book).

    python -m rotvq book pair [--check]     notebooks/NN.py -> notebooks/NN.ipynb, without outputs
    python -m rotvq book run [NAME ...]     notebooks/NN.ipynb -> book/notebooks/NN.ipynb, executed
    python -m rotvq book build              book/ -> _build/html, where every warning is an error
    python -m rotvq book all                the three, one after the other

Each step does only what changed, and says how long it took.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import time

from rotvq.notebooks import ROOT, digest, pair, run

HTML = ROOT / "_build" / "html"


def build(force: bool = False) -> None:
    """Render the book with Jupyter Book, unless nothing changed since it was last rendered without a warning."""
    stamp, now = HTML.parent / "rendered", digest(_rendered_from())
    if not force and stamp.exists() and stamp.read_text() == now and (HTML / "index.html").exists():
        return print("build: unchanged")
    print("build: rendering ...", flush=True)
    start = time.perf_counter()
    stamp.unlink(missing_ok=True)
    shutil.rmtree(HTML, ignore_errors=True)  # Sphinx would neither copy a changed asset nor repeat an old warning
    command = [sys.executable, "-m", "jupyter_book", "build", "book", "--all", "-W", "--keep-going", "-n", "-q"]
    if code := subprocess.call(command, cwd=ROOT):
        sys.exit(code)
    stamp.write_text(now)
    print(f"build: {time.perf_counter() - start:.1f} s, {(HTML / 'index.html').relative_to(ROOT)}")


def _rendered_from() -> list[pathlib.Path]:
    pages = [p for p in (ROOT / "book").rglob("*") if p.is_file()]
    return [*pages, ROOT / "_config.yml", ROOT / "environment.yml", *(ROOT / "rotvq").glob("*.py")]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m rotvq book", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("pair").add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    for name in ("run", "all"):
        step = steps.add_parser(name)
        step.add_argument("names", nargs="*", help="such as 10 or 10_ste_vs_rotation")
        step.add_argument("--parameters", type=json.loads, default={}, help="JSON, such as '{\"steps\": 100}'")
        step.add_argument("--force", action="store_true", help="run what did not change, too")
    steps.add_parser("build").add_argument("--force", action="store_true", help="render anew")
    args = parser.parse_args(argv)
    start = time.perf_counter()
    if args.step in ("pair", "all"):
        pair(check=getattr(args, "check", False))
    if args.step in ("run", "all"):
        run(args.names, args.parameters, args.force)
    if args.step in ("build", "all"):
        build(args.force)
    print(f"book {args.step}: {time.perf_counter() - start:.1f} s")
