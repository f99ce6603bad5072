"""Build: render book/ with Jupyter Book to _build/html, where every warning is an error."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import yaml

from book.press import chapter_map, hosted, page_provenance, paths, processes
from book.press.execute import digest_files, page_of, provenance
from book.press.pair import scripts


def build(force: bool = False, allow_stale: bool = False, only: str = "") -> None:
    """Render the book, unless nothing changed since it was last rendered without a warning.

    Args:
        force: render it even so.
        allow_stale: render pages that show a stale record, one that today's code is known not to reproduce.
        only: render the page of this notebook alone, such as 10, with no links to others, and not into the book.

    Raises:
        SystemExit: if a page has not been executed or shows a stale record, or rendering ends with a warning.
    """
    chosen = scripts([only] if only else ())
    if missing := [script.stem for script in chosen if not page_of(script).exists()]:
        sys.exit(
            f"not executed yet: {', '.join(missing)}. `python -m book.press run` executes pages, `build --only NAME` "
            "renders one alone"
        )
    if only:
        _render_one(chosen[0].stem)
        return
    if not allow_stale:
        _refuse_stale_records()
    paths.GENERATED.mkdir(exist_ok=True)
    (paths.GENERATED / "records.md").write_text(page_provenance.every_record(), "utf-8")
    (paths.GENERATED / "chapter_map.md").write_text(chapter_map.chapter_map(), "utf-8")
    (paths.GENERATED / "clone.md").write_text(hosted.clone(), "utf-8")
    (paths.GENERATED / "feedback.md").write_text(hosted.feedback(), "utf-8")
    stamp, inputs = paths.SITE.parent / "rendered", digest_files(_inputs())
    index = paths.SITE / "index.html"
    if not force and index.exists() and stamp.exists() and stamp.read_text() == inputs:
        print("build: unchanged")
        return
    print("build: rendering ...", flush=True)
    start = time.perf_counter()
    stamp.unlink(missing_ok=True)
    shutil.rmtree(paths.SITE, ignore_errors=True)  # Sphinx would neither copy a changed asset nor repeat a warning
    status, problems = _render()
    print(problems, end="", file=sys.stderr)
    if status:
        sys.exit(status)
    stamp.write_text(inputs)
    print(f"build: {time.perf_counter() - start:.1f} s, {index.relative_to(paths.ROOT)}")


def _refuse_stale_records() -> None:
    for page in sorted(paths.PAGES.glob("*.ipynb")):
        if stale := page_provenance.stale(provenance(page)["records"]):
            sys.exit(
                f"{page.stem} shows {len(stale)} stale records, such as {stale[0]}: delete and train them, or pass"
                " --allow-stale to render the page as it is"
            )


def _inputs() -> list[Path]:
    """What the site is rendered from: the pages with their assets, the settings, and the docstrings of rotvq."""
    pages = [path for path in (paths.ROOT / "book").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    sources = (paths.ROOT / "rotvq").rglob("*.py")
    return [*pages, paths.SETTINGS, paths.ROOT / "environment.yml", *sources]


def _render() -> tuple[int, str]:
    """Render the book; returns the exit status of Jupyter Book and its warnings."""
    return _jupyter_book(paths.SITE.parent / "config.yml", "-W", "--keep-going", "-n", "-q")


def _jupyter_book(config: Path, *options: str | Path) -> tuple[int, str]:
    config.parent.mkdir(exist_ok=True)
    config.write_text(yaml.safe_dump(with_buttons(yaml.safe_load(paths.SETTINGS.read_text("utf-8")))))
    program = Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", "book", "--config", config, "--all", *options]
    with tempfile.TemporaryDirectory() as folder:
        return processes.complete(processes.call(command, cwd=paths.ROOT, temporary=Path(folder)))


def _render_one(name: str) -> None:
    """Render one page as it was last executed; what it says of other pages leads nowhere, so warnings are not shown."""
    folder = paths.SITE.parent / "only"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    contents = folder / "contents.yml"
    contents.write_text(f"format: jb-book\nroot: references\nchapters: [{{file: notebooks/{name}}}]\n")
    status, problems = _jupyter_book(folder / "config.yml", "--toc", contents, "--path-output", folder, "-qq")
    if status:
        sys.exit(problems)
    print(f"build: {(folder / '_build' / 'html' / 'notebooks' / f'{name}.html').relative_to(paths.ROOT)}")


def with_buttons(config: dict) -> dict:
    """The settings with buttons to Binder, Colab and the repository, if it has an address, and where the site is."""
    if base := hosted.address(config):
        config = {**config, "html": {**config["html"], "baseurl": base}}
    if not hosted.repository(config):
        return config
    launch = {
        "notebook_interface": "jupyterlab",
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
    }
    return {**config, "launch_buttons": launch, "html": {**config["html"], "use_repository_button": True}}
