"""Notebooks: a percent script and its pair, and the pair executed by papermill into a page of the book.

An executed notebook carries the key of what it follows from: its script, the module, the data, the parameters, the
versions, and the records that it said it `used`. It is executed again when that key is another one.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

import nbformat

from book.press import page_provenance
from book.press.page_provenance import RECORDS, ROOT, store

SCRIPTS, PAGES = ROOT / "notebooks", ROOT / "book" / "notebooks"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}  # a name that every venv has
SOFTWARE = ("torch", "numpy", "scipy", "scikit-learn", "scikit-image", "pandas", "matplotlib", "papermill")


# pair


def scripts(names: Iterable[str] = ()) -> list[pathlib.Path]:
    """The percent scripts, all or those named (`10_ste_vs_rotation` or just `10`)."""
    every = sorted(SCRIPTS.glob("[0-9][0-9]_*.py"))
    if not every:
        sys.exit(f"no notebooks in {SCRIPTS.name}/: the book is built in a checkout, with rotvq installed by `make`")
    chosen = [p for p in every if not names or p.stem in names or p.stem[:2] in names]
    if unknown := set(names) - {p.stem for p in chosen} - {p.stem[:2] for p in chosen}:
        sys.exit(f"no notebook {', '.join(sorted(unknown))}: there are {', '.join(p.stem for p in every)}")
    return chosen


def paired(script: pathlib.Path) -> str:
    """The text of a script's notebook: no outputs, numbered cell ids, so that equal scripts give equal bytes."""
    import jupytext

    notebook = jupytext.read(script)
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
    return nbformat.writes(notebook) + "\n"


def pair(check: bool = False) -> None:
    """Write each script's notebook, or with `check` exit with the names of those that differ."""
    differ = []
    for script in scripts():
        notebook, text = script.with_suffix(".ipynb"), paired(script)
        if not notebook.exists() or notebook.read_text("utf-8") != text:
            differ.append(notebook.name)
            if not check:
                notebook.write_text(text, "utf-8")
    orphans = {p.stem for p in SCRIPTS.glob("*.ipynb")} - {p.stem for p in scripts()}
    if orphans:
        sys.exit(f"notebooks without a script: {', '.join(sorted(orphans))}")
    if check and differ:
        sys.exit(f"not what the script says, run `make notebooks`: {', '.join(differ)}")
    print(f"pair: {len(differ)} written, {len(scripts())} in all" if not check else "pair: all agree")


# run


def digest(paths: Iterable[pathlib.Path]) -> str:
    h = hashlib.sha256()
    for path in sorted(paths):
        h.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
        h.update(hashlib.sha256(path.read_bytes()).digest())
    return h.hexdigest()


@functools.cache
def _common() -> dict[str, str]:
    """What every notebook depends on."""
    data = [p for p in (ROOT / "data").rglob("*") if p.is_file() and RECORDS not in p.parents]
    data += (ROOT / "book").glob("[!_]*.yml")  # the ledger of claims
    modules = [p for p in (ROOT / "rotvq").rglob("*.py") if p.name not in ("__main__.py", "book.py")]
    versions = {name: metadata.version(name) for name in SOFTWARE}
    return {"rotvq": digest(modules), "data": digest(data), "python": platform.python_version(), **versions}


def source(script: pathlib.Path, parameters: Mapping) -> str:
    """What a page follows from that is known before it is executed, as a digest."""
    return hashlib.sha256(json.dumps([digest([script]), parameters, _common()], sort_keys=True).encode()).hexdigest()


def key(source: str, records: Iterable[str]) -> str:
    """The same, with the records that it used."""
    present = digest(store()[i] for i in records if i in store())
    return hashlib.sha256(json.dumps([source, sorted(records), present]).encode()).hexdigest()[:16]


def run(names: Iterable[str] = (), parameters: Mapping | None = None, force: bool = False, jobs: int = 2) -> None:
    """Execute the notebooks whose page is not what it follows from, `jobs` at a time, each on one thread.

    `parameters` go to the notebooks that know them. A notebook runs in a temporary folder and reaches the book only
    when it succeeds; one that fails is kept in _build/failed, and the rest go on.
    """
    chosen, parameters = scripts(names), dict(parameters or {})
    known = {script: _parameters(script) if parameters else set() for script in chosen}
    if unknown := set(parameters) - set().union(*known.values()):
        sys.exit(f"no notebook has a parameter {', '.join(sorted(unknown))}")
    PAGES.mkdir(parents=True, exist_ok=True)
    for orphan in {p.stem for p in PAGES.glob("*.ipynb")} - {p.stem for p in scripts()}:
        (PAGES / f"{orphan}.ipynb").unlink()

    def one(script: pathlib.Path) -> bool:
        mine = {k: v for k, v in parameters.items() if k in known[script]}
        page = PAGES / f"{script.stem}.ipynb"
        made = made_from(page)
        if not force and made and made["key"] == key(source(script, mine), made["records"]):
            print(f"run: {script.stem}: unchanged", flush=True)
        else:
            print(f"run: {script.stem} ...", flush=True)
            if not _execute(script, mine, page):
                return False
            print(f"run: {script.stem}: {made_from(page)['seconds']:.1f} s", flush=True)
        _finish(page, script)
        return True

    with ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(one, chosen))
    if not all(done):
        sys.exit(f"failed: {', '.join(p.stem for p, ok in zip(chosen, done) if not ok)} (see _build/failed)")


def made_from(page: pathlib.Path) -> dict | None:
    """How a page was made, or None when it was not."""
    return json.loads(page.read_text("utf-8"))["metadata"].get("rotvq") if page.exists() else None


def _parameters(script: pathlib.Path) -> set[str]:
    import papermill

    return set(papermill.inspect_notebook(str(script.with_suffix(".ipynb"))))


def papermill(notebook: pathlib.Path, out: pathlib.Path, parameters: Mapping) -> None:
    """The command, in the folder of `out`; RuntimeError with the end of what it said where it fails.

    A process of its own, since papermill changes the directory of the one that it is in. Of the caller's environment
    it gets neither IPython's start-up files nor a second thread.
    """
    command = [sys.executable, "-m", "papermill", notebook, out, "-y", json.dumps(parameters)]
    options = ["--kernel", "python3", "--no-progress-bar", "--start-timeout", "120"]
    environment = {**os.environ, "IPYTHONDIR": str(out.parent / "ipython"), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run([*command, *options], cwd=out.parent, env=environment, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(ran.stderr[-4000:])


def _execute(script: pathlib.Path, parameters: dict, page: pathlib.Path) -> bool:
    from rotvq.page.figures import USED
    from rotvq.page.parameters import SHOWN

    before = source(script, parameters)
    with tempfile.TemporaryDirectory() as folder:
        ran, start = pathlib.Path(folder, page.name), time.perf_counter()
        try:
            papermill(script.with_suffix(".ipynb"), ran, parameters)
        except RuntimeError as error:
            failed = ROOT / "_build" / "failed" / page.name
            failed.parent.mkdir(parents=True, exist_ok=True)
            if ran.exists():
                shutil.copy(ran, failed)
            print(f"run: {script.stem}: FAILED\n{error}", file=sys.stderr, flush=True)
            return False
        seconds, notebook = time.perf_counter() - start, nbformat.read(ran, 4)
    records, shown = set(), {}
    for cell in notebook.cells:
        cell.metadata = {k: v for k, v in cell.metadata.items() if k in ("tags", "mystnb") and v}
        said = [output.get("data", {}) for output in cell.get("outputs", [])]
        records.update(*(data[USED] for data in said if USED in data))
        shown.update(*(data[SHOWN] for data in said if SHOWN in data))
        if said:
            cell.outputs = [out for out, data in zip(cell.outputs, said) if not {USED, SHOWN} & set(data)]
    notebook.metadata = {
        "kernelspec": KERNEL,
        "rotvq": {
            "key": key(before, records),
            "parameters": shown,
            "records": sorted(records),
            "software": {"python": platform.python_version(), **{n: metadata.version(n) for n in SOFTWARE}},
            "machine": page_provenance.machine(),
            "seconds": round(seconds, 1),
        },
    }
    _write(page, nbformat.writes(notebook) + "\n")
    return True


def _write(path: pathlib.Path, text: str) -> None:
    """Whole or absent, and untouched when it would not change."""
    if path.exists() and path.read_text("utf-8") == text:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, path)


def _finish(page: pathlib.Path, script: pathlib.Path) -> None:
    """Let the page end with how it was made. Written anew each time, since a commit may have happened since."""
    text = page_provenance.page(script, made_from(page))
    notebook = nbformat.read(page, 4)
    notebook.cells = [c for c in notebook.cells if c.id != "colophon"]
    notebook.cells.append(nbformat.v4.new_markdown_cell(text, id="colophon"))
    _write(page, nbformat.writes(notebook) + "\n")
