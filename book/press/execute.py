"""Execute: run each notebook by papermill and make a page of the book of it, if its inputs changed.

The inputs of a page are its script, the modules that this imports, the files that these read, the parameters, the
versions of the software, and the records that it shows. A page holds their digest, and how it was made.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import functools
import hashlib
import json
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from importlib import metadata
from pathlib import Path

import nbformat

from book.press import page_provenance, paths, processes, warm
from book.press.dependencies import PACKAGES, files_used_by
from book.press.pair import KERNEL, scripts
from book.press.processes import Papermill
from rotvq.page.figures import USED
from rotvq.page.parameters import SHOWN
from rotvq.training.files import write_atomically

SOFTWARE = ("torch", "numpy", "scipy", "scikit-learn", "scikit-image", "pandas", "matplotlib", "papermill")
LAST_CELL = "how-made"
LAWS = ("book", "theory")


def run(names: Iterable[str] = (), parameters: Mapping | None = None, force: bool = False, jobs: int = 2) -> None:
    """Execute the notebooks whose inputs changed.

    A notebook runs where this is called, so that a name in its parameters means what it does there, writes temporary
    files to a folder of its own, and reaches the book only when it succeeds. One that fails is kept in
    _build/failed, and the others go on.

    Args:
        names: of the notebooks, such as `10_ste_vs_rotation` or just `10`; all if there are none.
        parameters: values for the notebooks that have parameters of these names.
        force: execute the notebooks whose inputs did not change, too.
        jobs: how many notebooks run at a time, each on one thread.

    Raises:
        SystemExit: if a name or a parameter is unknown, or a notebook fails.
    """
    chosen = scripts(names)
    parameters = dict(parameters or {})
    known = {script: parameter_names(script) if parameters else set() for script in chosen}
    if unknown := set(parameters) - set().union(*known.values()):
        sys.exit(f"no notebook has a parameter {', '.join(sorted(unknown))}")
    _remove_orphans()
    own = {script: {name: value for name, value in parameters.items() if name in known[script]} for script in chosen}
    outdated = {}
    for script in chosen:
        if force or not is_current(page_of(script), script, own[script]):
            outdated[script] = own[script]
        else:
            print(f"run: {script.stem}: unchanged", flush=True)
            _write_last_cell(script)
    if outdated:
        processes.complete(_run_all(outdated, jobs))


async def _run_all(parameters: Mapping[Path, dict], jobs: int) -> None:
    """Bring the pages of these scripts up to date, with these parameters."""
    turns = asyncio.Semaphore(jobs)
    async with PAPERMILL.get(sys.platform, by_command)() as papermill:

        async def run_one(script: Path) -> bool:
            async with turns:
                return await _run_one(script, parameters[script], papermill)

        queue = list(reversed(parameters))  # the pages of theory, which are quick, come last and leave no core idle
        succeeded = await asyncio.gather(*map(run_one, queue))
    if not all(succeeded):
        failed = ", ".join(script.stem for script, success in zip(queue, succeeded) if not success)
        sys.exit(f"failed: {failed} (see _build/failed)")


def _remove_orphans() -> None:
    """Remove the pages whose script is gone."""
    paths.PAGES.mkdir(parents=True, exist_ok=True)
    named = {script.stem for script in scripts()}
    for page in paths.PAGES.glob("*.ipynb"):
        if page.stem not in named:
            page.unlink()


async def _run_one(script: Path, parameters: dict, papermill: Papermill) -> bool:
    """Bring one page up to date; False if its notebook fails."""
    print(f"run: {script.stem} ...", flush=True)
    try:
        await execute(script, parameters, papermill)
    except RuntimeError as error:
        print(f"run: {script.stem}: FAILED\n{error}", file=sys.stderr, flush=True)
        return False
    print(f"run: {script.stem}: {provenance(page_of(script))['seconds']:.1f} s", flush=True)
    _write_last_cell(script)
    return True


# inputs


def digest_files(files: Iterable[Path]) -> str:
    """The sha256 of the names and contents of files in the checkout."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.relative_to(paths.ROOT).as_posix().encode() + b"\0")
        digest.update(_digest_file(path, path.stat().st_mtime_ns))
    return digest.hexdigest()


@functools.cache
def _digest_file(path: Path, modified: int) -> bytes:
    """The sha256 of a file's contents, read once while it is not modified.

    Of a module comments do not count, but where pages show the source, that of a law.
    """
    contents = path.read_bytes()
    parts = path.relative_to(paths.ROOT).parts
    if path.suffix == ".py" and parts[0] in PACKAGES and parts[:2] != LAWS:
        with contextlib.suppress(SyntaxError):  # the notebook says so when it is executed
            contents = ast.dump(ast.parse(contents)).encode()
    return hashlib.sha256(contents).digest()


def inputs_before_execution(script: Path, parameters: Mapping) -> str:
    """A digest of the inputs of a page that are known before it is executed: all but the records."""
    inputs = [digest_files(files_used_by(script)), dict(parameters), software()]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def all_inputs(before_execution: str, records: Iterable[str]) -> str:
    """A digest of all inputs of a page, given the digest of the others and the ids of its records."""
    records = sorted(records)
    committed = page_provenance.committed_records()
    contents = digest_files(committed[name] for name in records if name in committed)
    return hashlib.sha256(json.dumps([before_execution, records, contents]).encode()).hexdigest()[:16]


def is_current(page: Path, script: Path, parameters: Mapping) -> bool:
    """Whether a page was made from what its inputs are now."""
    made = provenance(page)
    if made is None:
        return False
    return made["inputs"] == all_inputs(inputs_before_execution(script, parameters), made["records"])


def software() -> dict[str, str]:
    """The versions of Python and of the packages that a page's numbers depend on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in SOFTWARE}}


def parameter_names(script: Path) -> set[str]:
    """The parameters that papermill sees in the notebook of a script."""
    import papermill

    return set(papermill.inspect_notebook(str(script.with_suffix(".ipynb"))))


# execution


async def execute(script: Path, parameters: dict, papermill: Papermill) -> None:
    """Run the notebook of a script and write its page.

    Raises:
        RuntimeError: if the notebook stops at an error, with the end of stderr. It is then kept in _build/failed.
    """
    before_execution = inputs_before_execution(script, parameters)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        executed = Path(folder, f"{script.stem}.ipynb")
        status, errors = await papermill(script.with_suffix(".ipynb"), executed, parameters)
        if status:
            if executed.exists():
                paths.FAILED.mkdir(parents=True, exist_ok=True)
                shutil.copy(executed, paths.FAILED)
            raise RuntimeError(errors[-4000:])
        notebook = nbformat.read(executed, 4)
    seconds = time.perf_counter() - start
    records, shown = _take_notes(notebook)
    hide_code(notebook)
    made = {
        "inputs": all_inputs(before_execution, records),
        "parameters": shown,
        "records": sorted(records),
        "software": software(),
        "machine": page_provenance.machine(),
        "seconds": round(seconds, 1),
    }
    notebook.metadata = {"kernelspec": KERNEL, "rotvq": made}
    _write(notebook, page_of(script))


@contextlib.asynccontextmanager
async def by_command() -> AsyncIterator[Papermill]:
    """Papermill by its command, where it cannot be had faster."""

    def run(notebook: Path, out: Path, parameters: Mapping) -> Awaitable[tuple[int, str]]:
        command = [sys.executable, "-m", "papermill", notebook, out, "-y", json.dumps(parameters)]
        options = ["--kernel", "python3", "--no-progress-bar", "--start-timeout", "120"]
        return processes.call([*command, *options], cwd=Path.cwd(), temporary=out.parent)

    yield run


# Elsewhere than on Linux a process that has imported a framework may not be forked.
PAPERMILL = {"linux": warm.papermill}


def _take_notes(notebook: nbformat.NotebookNode) -> tuple[set[str], dict]:
    """Remove the outputs that are not for the page; returns the ids of the notebook's records, and its parameters."""
    records, parameters = set(), {}
    for cell in notebook.cells:
        kept = []
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            records.update(data.get(USED, ()))
            parameters.update(data.get(SHOWN, {}))
            if not {USED, SHOWN} & set(data):
                kept.append(output)
        if cell.cell_type == "code":
            cell.outputs = kept
    return records, parameters


def hide_code(notebook: nbformat.NotebookNode) -> None:
    """Of a cell tagged `hide-input` the page shows only the output; all other metadata but what Sphinx needs goes."""
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in ("tags", "mystnb") and value}
        tags = cell.metadata.get("tags", [])
        if "hide-input" in tags:
            cell.metadata["tags"] = ["remove-input" if tag == "hide-input" else tag for tag in tags]


# pages


def provenance(page: Path) -> dict | None:
    """How a page was made: its inputs, parameters, records, software, machine and seconds. None if there is no page."""
    if not page.exists():
        return None
    return json.loads(page.read_text("utf-8"))["metadata"].get("rotvq")


def page_of(script: Path) -> Path:
    """The executed notebook that is the page of a script."""
    return paths.PAGES / f"{script.stem}.ipynb"


def _write_last_cell(script: Path) -> None:
    """Let the page end with how it was made. Written anew each time, since a commit may have happened since."""
    page = page_of(script)
    notebook = nbformat.read(page, 4)
    text = page_provenance.last_cell(script, provenance(page))
    notebook.cells = [cell for cell in notebook.cells if cell.id != LAST_CELL]
    notebook.cells.append(nbformat.v4.new_markdown_cell(text, id=LAST_CELL))
    _write(notebook, page)


def _write(notebook: nbformat.NotebookNode, path: Path) -> None:
    write_atomically(path, nbformat.writes(notebook) + "\n")
