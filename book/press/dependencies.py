"""What a page depends on in the repository: the modules that its script imports, and the files that these read.

Imports are read from the source, wherever in it they stand, and followed from module to module. So a page is executed
again when code changes that it can reach, and not when another page's code does.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from book.press import paths

PACKAGES = ("rotvq", "book")
# What a module reads, or a page through it: patterns below the checkout.
READS = {
    "rotvq.training.files": ["data/*.txt", "data/fashion-mnist/*"],
    "book.bench.gpu_report": ["data/records/gpu/*/*.json"],
    "book.systems.speech": ["data/*.txt", "data/speech/*"],
    "book.chapters.rounding": ["data/rounding.csv"],
    "book.ledger.claims": ["book/claims.yml"],
    "book.ledger.mentions": ["notebooks/*.py", "book/_toc.yml"],
    "book.ledger.evidence.references": ["book/references.bib"],
    "book.systems.classifier": ["data/classifier/*"],
    "book.systems.plays": ["data/shakespeare/*"],
}
# What a module imports by names that stand nowhere in its source.
LOADS = {"book.all_statements": ["book/theory/[!_]*.py", "book/ledger/evidence/[!_]*.py"]}
# What imports others only to refuse values that they would refuse: they change no page.
CHECKS = {"rotvq.page.parameters"}


def files_used_by(script: Path) -> set[Path]:
    """Every file of the repository, other than records, that the page of a script depends on; the script is one."""
    modules = modules_used_by(script)
    read = [file for name in modules for file in _matching(READS.get(name, []))]
    return {script, *modules.values(), *read}


def modules_used_by(script: Path) -> dict[str, Path]:
    """The modules of this repository that a script imports, directly or through others: their files by their names.

    A package is one of them where a name is taken from it, and not where it only lies on the way to a module.
    """
    found: dict[str, Path] = {}
    names = [_module_of(name) for name in _imported(script.read_text("utf-8"), package="")]
    while names:
        name = names.pop()
        if name is None or name in found:
            continue
        path = found[name] = _file_of(name)
        if name in CHECKS:
            continue
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        names += [_module_of(imported) for imported in _imported(path.read_text("utf-8"), package)]
        names += [_name_of(module) for module in _matching(LOADS.get(name, []))]
    return found


def _matching(patterns: list[str]) -> list[Path]:
    return [path for pattern in patterns for path in paths.ROOT.glob(pattern)]


def _name_of(path: Path) -> str:
    """The name of a module, from its file."""
    return ".".join(path.relative_to(paths.ROOT).with_suffix("").parts)


def _module_of(name: str) -> str | None:
    """The module of this repository that has this name or defines it; None for any other name."""
    return next((module for module in (name, name.rpartition(".")[0]) if _file_of(module)), None)


def _file_of(name: str) -> Path | None:
    """The source of a module of this repository; None for any other name."""
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return None
    path = paths.ROOT.joinpath(*parts)
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


@functools.cache
def _imported(source: str, package: str) -> frozenset[str]:
    """The full names of all that a source imports, wherever in it; relative ones start from `package`."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:  # the notebook says so when it is executed
        return frozenset()
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    members = [
        f"{_base(node, package)}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    return frozenset(modules + members)


def _base(node: ast.ImportFrom, package: str) -> str:
    """The full name of what a `from ... import` imports from."""
    if not node.level:
        return node.module
    parents = package.split(".")
    above = parents[: len(parents) - (node.level - 1)]  # one dot is the package itself
    return ".".join([*above, node.module] if node.module else above)
