"""From notebooks to pages: pair -> run (papermill) -> build (Jupyter Book).

    python -m book.press pair [--check]     notebooks/NN.py -> notebooks/NN.ipynb, without outputs
    python -m book.press run [NAME ...]     pair, and notebooks/NN.ipynb -> book/notebooks/NN.ipynb, executed
    python -m book.press build              book/ -> _build/html, where every warning is an error
    python -m book.press all                the three, one after the other

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

import yaml

from book.press import page_provenance
from book.press.execute import PAGES, ROOT, digest, made_from, pair, run

HTML = ROOT / "_build" / "html"
GENERATED = ROOT / "book" / "generated"


def build(force: bool = False, allow_stale: bool = False) -> None:
    """Render the book with Jupyter Book, unless nothing changed since it was last rendered without a warning.

    Exits when a page shows a stale record, one that today's code is known not to reproduce, unless `allow_stale`.
    """
    for page in sorted(PAGES.glob("*.ipynb")):
        if (ids := page_provenance.stale(made_from(page)["records"])) and not allow_stale:
            sys.exit(
                f"{page.stem} shows {len(ids)} stale records, such as {ids[0]}: delete and train them, or pass"
                " --allow-stale to render the page as it is"
            )
    GENERATED.mkdir(exist_ok=True)
    (GENERATED / "records.md").write_text(page_provenance.every_record(), "utf-8")
    stamp, now = HTML.parent / "rendered", digest(_rendered_from())
    if not force and stamp.exists() and stamp.read_text() == now and (HTML / "index.html").exists():
        return print("build: unchanged")
    print("build: rendering ...", flush=True)
    start = time.perf_counter()
    stamp.unlink(missing_ok=True)
    shutil.rmtree(HTML, ignore_errors=True)  # Sphinx would neither copy a changed asset nor repeat an old warning
    config = HTML.parent / "config.yml"
    config.parent.mkdir(exist_ok=True)
    config.write_text(yaml.safe_dump(with_buttons(yaml.safe_load((ROOT / "_config.yml").read_text()))))
    program = pathlib.Path(sys.executable).with_name("jupyter-book")
    options = ["--all", "-W", "--keep-going", "-n", "-q"]
    command = [program, "build", "book", "--config", config, *options]
    if code := subprocess.call(command, cwd=ROOT, stdout=subprocess.DEVNULL):
        sys.exit(code)
    stamp.write_text(now)
    print(f"build: {time.perf_counter() - start:.1f} s, {(HTML / 'index.html').relative_to(ROOT)}")


def with_buttons(config: dict) -> dict:
    """The settings with buttons to Binder, Colab and the repository, if the repository has an address."""
    if not config["repository"]["url"]:
        return config
    launch = {
        "notebook_interface": "jupyterlab",
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
    }
    return {**config, "launch_buttons": launch, "html": {**config["html"], "use_repository_button": True}}


def _rendered_from() -> list[pathlib.Path]:
    pages = [p for p in (ROOT / "book").rglob("*") if p.is_file()]
    return [*pages, ROOT / "_config.yml", ROOT / "environment.yml", *(ROOT / "rotvq").rglob("*.py")]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m book.press", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("pair").add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    for name in ("run", "all"):
        step = steps.add_parser(name)
        step.add_argument("names", nargs="*", help="such as 10 or 10_ste_vs_rotation")
        step.add_argument("--parameters", type=json.loads, default={}, help="JSON, such as '{\"steps\": 100}'")
        step.add_argument("--force", action="store_true", help="run what did not change, too")
    steps.add_parser("build").add_argument("--force", action="store_true", help="render anew")
    for name in ("build", "all"):
        steps.choices[name].add_argument("--allow-stale", action="store_true", help="render stale records, too")
    args = parser.parse_args(argv)
    start = time.perf_counter()
    if args.step in ("pair", "run", "all"):
        pair(check=getattr(args, "check", False))
    if args.step in ("run", "all"):
        run(args.names, args.parameters, args.force)
    if args.step in ("build", "all"):
        build(args.force, args.allow_stale)
    print(f"book {args.step}: {time.perf_counter() - start:.1f} s")
