"""From notebooks to pages: pair, run (papermill), build (Jupyter Book).

    python -m book.press pair [--check]     notebooks/NN.py -> notebooks/NN.ipynb, without outputs
    python -m book.press run [NAME ...]     pair, and notebooks/NN.ipynb -> book/notebooks/NN.ipynb, executed
    python -m book.press run NAME --dry-run what that would train, and about how long
    python -m book.press build              book/ -> _build/html, where every warning is an error
    python -m book.press build --only NAME  one page as it was last executed -> _build/only
    python -m book.press all                the three, one after the other
    python -m book.press pdf                _build/html -> one PDF of the whole book, in _build/download
    python -m book.press zip                _build/html -> one zip of the site, beside it
    python -m book.press stamp NAME ...     pages in Chinese hold again, once somebody has brought them up to date

Each step does only what changed, and says how long it took. Two of them, pdf and zip, write a whole file, and
SHA256SUMS beside it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

from book.press import plan
from book.press.build import build
from book.press.download import write_pdf, write_zip
from book.press.execute import run
from book.press.pair import check_notebooks, write_notebooks
from book.press.translations import stamp


def parser() -> argparse.ArgumentParser:
    """The command line of ``python -m book.press``."""
    parser = argparse.ArgumentParser(
        prog="python -m book.press", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("pair").add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    for name in ("run", "all"):
        step = steps.add_parser(name)
        step.add_argument("names", nargs="*", help="such as 10 or 10_ste_vs_rotation")
        step.add_argument("--parameters", type=_values, default={}, help="JSON, such as '{\"steps\": 100}'")
        step.add_argument("--force", action="store_true", help="run what did not change, too")
    steps.choices["run"].add_argument("--dry-run", action="store_true", help="say what would be trained, no more")
    steps.add_parser("build").add_argument("--force", action="store_true", help="render anew")
    steps.choices["build"].add_argument("--only", default="", metavar="NAME", help="one page alone, into _build/only")
    for name in ("pdf", "zip"):
        steps.add_parser(name)
    steps.add_parser("stamp").add_argument("names", nargs="+", help="such as guide, of book/zh/guide.md")
    for name in ("build", "all"):
        steps.choices[name].add_argument("--allow-stale", action="store_true", help="render stale records, too")
    return parser


def _values(text: str) -> dict:
    """The values of parameters by name."""
    try:
        values = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON ({error}): write it as '{{\"steps\": 100}}'") from None
    if not isinstance(values, dict):
        raise argparse.ArgumentTypeError(f"{text!r} names no parameter: write it as '{{\"steps\": 100}}'")
    return values


def main(words: Sequence[str] | None = None) -> None:
    """Do the steps that a command line names."""
    args = parser().parse_args(words)
    start = time.perf_counter()
    if args.step == "pair" and args.check:
        check_notebooks()
    elif args.step in ("pair", "run", "all"):
        write_notebooks()
    if args.step == "run" and (args.parameters or args.dry_run):
        plan.say(args.names, args.parameters)
    if args.step == "all" or (args.step == "run" and not args.dry_run):
        run(args.names, args.parameters, args.force)
    if args.step == "build":
        build(args.force, args.allow_stale, args.only)
    if args.step == "all":
        build(args.force, args.allow_stale)
    if args.step == "pdf":
        write_pdf()
    if args.step == "zip":
        write_zip()
    if args.step == "stamp":
        stamp(args.names)
    print(f"book {args.step}: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
