"""The house: five rooms of a small module, imports one way, and code that says what it means."""

import ast
import functools
import pkgutil
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

import rotvq

ROOMS = {"quantizers", "training", "runs", "analysis", "page"}
MOST_LINES = 10675
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
PUBLIC_AT_0_1 = {  # what `from rotvq import ...` has given since version 0.1.0
    "CLIPS",
    "ESTIMATORS",
    "Codebook",
    "Details",
    "Estimator",
    "Quantized",
    "VectorQuantizer",
    "estimator",
    "nearest",
    "rotate",
    "straight_through",
}
TABLES = {"rotvq/quantizers/registry.py", "rotvq/runs/grids.py"}  # may say `# fmt: skip`: read as tables


def tracked(*patterns: str) -> list[Path]:
    """Files that git knows, or would add, and that exist."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(ROOT / path for path in set(listed) if (ROOT / path).is_file())


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


MODULES = tracked("rotvq/*.py")
CODE = tracked("*.py")
TEXTS = [  # tests and recipes make up modules, and the change log names what was
    path
    for path in tracked("*.py", "*.md", "*.yml", "*.toml", "Makefile")
    if path.name not in ("CHANGELOG.md", "CONTRIBUTING.md") and not path.is_relative_to(ROOT / "tests")
]


# a small module in five rooms


def test_the_module_is_small():
    assert sum(len(path.read_text("utf-8").splitlines()) for path in MODULES) <= MOST_LINES


def test_there_are_five_rooms_and_nothing_lies_between_them():
    inside = [path.relative_to(ROOT / "rotvq").parts for path in MODULES]
    assert {parts[0] for parts in inside if len(parts) > 1} == ROOMS
    assert {parts[0] for parts in inside if len(parts) == 1} == {"__init__.py", "__main__.py"}


def test_the_contract_is_short_and_names_every_room():
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    (contract,) = re.findall(r"^\[tool\.importlinter\].*?(?=^\[tool\.(?!importlinter)|\Z)", text, re.M | re.S)
    assert len(contract.strip().splitlines()) <= 10
    layers = [layer.removeprefix("rotvq.") for contract in CONTRACTS for layer in contract.get("layers", [])]
    assert layers == ["book", "__main__", "page", "analysis", "runs", "training", "quantizers"]


def test_every_room_of_the_tests_is_a_room_of_the_house():
    folders = {path.relative_to(ROOT / "tests").parts[0] for path in tracked("tests/*/*.py")}
    assert folders == ROOMS | {"book"}


BOOK = re.compile(r"^\s*(?:from|import) book\b|(?:import_module\(|__import__\()\W*book\b|[\"']book\.[\w.]+[\"']", re.M)


@pytest.mark.parametrize(
    "text", ["from book.press import build", "    import book", 'import_module("book")', 'run(name="book.press")']
)
def test_a_use_of_the_book_is_seen(text):
    assert BOOK.search(text)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_the_module_does_not_know_the_book(path):
    """Neither imported, inside a function or at the top, nor named in a string that could be imported."""
    assert not BOOK.search(path.read_text("utf-8"))


def test_public_names_stay():
    assert set(rotvq.__all__) >= PUBLIC_AT_0_1
    assert all(hasattr(rotvq, name) for name in rotvq.__all__)


# code that says what it means; what ruff has no rule for


def negated(node: ast.AST) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)


def riddles(text: str) -> list[str]:
    """Each conditional expression inside another, and each ceiling written as ``-(-a // b)``, by its line."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.IfExp):
            inner = [child for child in ast.walk(node) if isinstance(child, ast.IfExp) and child is not node]
            found += [f"line {node.lineno}: a conditional expression in a conditional expression"] * bool(inner)
        if negated(node) and isinstance(node.operand, ast.BinOp) and isinstance(node.operand.op, ast.FloorDiv):
            found += [f"line {node.lineno}: write math.ceil"] * negated(node.operand.left)
    return found


@pytest.mark.parametrize(
    "text, count",
    [
        ("1 if a else 2 if b else 3", 1),
        ("f(1 if a else [2 if b else 3])", 1),
        ("-(-a // b)", 1),
        ("-(a // b)", 0),
        ("-a // b", 0),
    ],
)
def test_a_riddle_is_seen(text, count):
    assert len(riddles(text)) == count


@pytest.mark.parametrize("path", CODE, ids=name)
def test_there_are_no_riddles(path):
    assert not riddles(path.read_text("utf-8"))


def test_only_tables_are_laid_out_by_hand():
    by_hand = {name(path) for path in CODE if re.search(r"# fmt: (?:skip|off)$", path.read_text("utf-8"), re.M)}
    assert by_hand <= TABLES


def test_no_test_file_imports_another():
    """What several of them need is in tests/conftest.py, samples.py, small_book.py or notebook_cells.py."""
    imports = re.compile(r"^\s*(?:from|import) (test_\w+)", re.M)
    others = {name(path): set(imports.findall(path.read_text("utf-8"))) - {path.stem} for path in tracked("tests/*.py")}
    assert not {path for path in others if others[path]}


# what texts name is there

PARTS = "|".join({path.relative_to(ROOT / "book").parts[0].removesuffix(".py") for path in tracked("book/*.py")})
NAMES = re.compile(rf"(?<![\w./-])(?:rotvq|book\.(?:{PARTS}))(?:\.[A-Za-z_]\w*)+")
PATHS = re.compile(r"(?<![\w./-])(?:rotvq|book|tests|data|notebooks)(?:/[\w.-]+)+")
NO_NAMES = {"rotvq.css", "rotvq.room"}  # a file of assets, and what stands for any
GENERATED = ("book/notebooks", "book/generated")


@functools.cache
def is_there(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def lies_there(path: str) -> bool:
    """A file or a folder; a page may be named without its suffix, and NN stands for the number of any."""
    if "NN" in path or path.startswith(GENERATED):
        return True
    return any((ROOT / f"{path}{suffix}").exists() for suffix in ("", ".py", ".md"))


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_names_and_paths_that_are_mentioned_exist(path):
    text = path.read_text("utf-8")
    if path.name == "CONTRIBUTING.md":  # its blocks are files to be: test_contributing.py writes them
        text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    names = {mention for mention in NAMES.findall(text) if not is_there(mention)}
    paths = {mention for mention in PATHS.findall(text) if not lies_there(mention.rstrip("."))}
    assert not paths | names - NO_NAMES
