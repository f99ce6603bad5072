"""A record's digest covers the code that its run executes, and no more than that code can change it."""

from __future__ import annotations

import ast
import importlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from few_images import FEW

from rotvq.quantizers.registry import METHODS
from rotvq.runs import code_path
from rotvq.runs.code_path import PACKAGE, ROOMS, Sources
from rotvq.training import images
from rotvq.training.checks import allowed_names
from rotvq.training.config import Config
from rotvq.training.train import train

NAMES = {**allowed_names(), "data": images.SETS}
CONFIGS = {f"{field} {value}": Config(**{field: value}) for field, values in NAMES.items() for value in values}


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A copy of the package."""
    folder = tmp_path_factory.mktemp("package")
    for room in ROOMS:
        shutil.copytree(PACKAGE / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def digests(original) -> dict[str, str]:
    """The digest of each of CONFIGS."""
    sources = Sources(original)
    return {name: sources.digest(config) for name, config in CONFIGS.items()}


@pytest.fixture
def copy(tmp_path, original) -> Path:
    """A copy of the package that may be edited."""
    return Path(shutil.copytree(original, tmp_path / "rotvq"))


@pytest.fixture
def changed(copy, digests) -> Callable[[], set[str]]:
    """Those of CONFIGS whose digest the edits of ``copy`` have changed."""

    def names() -> set[str]:
        sources = Sources(copy)
        return {name for name, config in CONFIGS.items() if sources.digest(config) != digests[name]}

    return names


def edit(path: Path, function: Callable[[str], str]) -> None:
    before = path.read_text()
    after = function(before)
    assert after != before
    path.write_text(after)


def insert(path: Path, after: str, text: str) -> None:
    """Text below the one line that starts so."""
    (line,) = [line for line in path.read_text().splitlines(keepends=True) if line.startswith(after)]
    edit(path, lambda whole: whole.replace(line, line + text))


def test_digests_of_code_paths_differ(original, digests):
    """Names that some code always names, such as defaults, count for every run; all others for those that set them."""
    for field in ("quantizer", "model", "norm", "data", "optimizer", "init", "estimator"):
        shared = len(NAMES[field]) - len({digests[f"{field} {name}"] for name in NAMES[field]})
        assert shared <= 2, field
    assert Sources(original).digest(Config(gamma=3.0, seed=9, steps=7)) == digests["estimator rotation"]


# What is added or written otherwise changes no digest


def add_estimator(folder: Path) -> None:
    insert(folder / "quantizers/estimators.py", "ESTIMATORS", '    "tripled": Estimator("identity", (3.0, 3.0)),\n')


def add_method(folder: Path) -> None:
    (folder / "quantizers/methods/new.py").write_text(
        "from rotvq.quantizers.vector import VectorQuantizer\n\n\nclass New(VectorQuantizer):\n    learned = False\n"
    )
    registry = folder / "quantizers/registry.py"
    insert(registry, "METHODS", '    "new": Method(New, "new2026", "nothing", "$NKd$"),\n')
    insert(registry, "from dataclasses", "from rotvq.quantizers.methods.new import New\n")


def add_model(folder: Path) -> None:
    insert(folder / "training/models.py", "MODELS", '    "wide": partial(VQVAE, width=64),\n')


def add_image_set(folder: Path) -> None:
    path = folder / "training/images.py"
    insert(path, "LOADERS", '    "blank": lambda fold: (torch.zeros(8, 1, 28, 28),) * 3,\n')
    insert(folder / "training/files.py", "FILES", '    "blank/blank.gz": ("https://nowhere", "0", "1"),\n')


def add_field(folder: Path) -> None:
    insert(folder / "training/config.py", "    steps: int", '    colour: str = "red"  #: of nothing\n')


class Plain(ast.NodeTransformer):
    """Drops docstrings and annotations, but for the fields of classes."""

    def visit(self, node):
        in_class = isinstance(node, ast.ClassDef)
        for name in ("returns", "annotation"):
            if hasattr(node, name) and not isinstance(node, ast.AnnAssign):
                setattr(node, name, None)
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
            first, *rest = node.body
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = rest or [ast.Pass()]
        for statement in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            if isinstance(statement, ast.AnnAssign) and not in_class and statement.value:
                plain = ast.Assign([statement.target], statement.value)
                node.body[node.body.index(statement)] = ast.copy_location(plain, statement)
        return self.generic_visit(node)


def write_plainly(folder: Path) -> None:
    """No comment, docstring or annotation is left anywhere, and every line is broken otherwise."""
    for path in folder.rglob("*.py"):
        tree = ast.fix_missing_locations(Plain().visit(ast.parse(path.read_text())))
        path.write_text(ast.unparse(tree))


def say_more(folder: Path) -> None:
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                node.body.insert(0, ast.Expr(ast.Constant("More is said.")))
                node.returns = ast.Name("object")
        path.write_text("# More is said.\n" + ast.unparse(ast.fix_missing_locations(tree)))


@pytest.mark.parametrize(
    "change",
    [add_estimator, add_method, add_model, add_image_set, add_field, write_plainly, say_more],
    ids=lambda change: change.__name__,
)
def test_no_digest_changes(copy, changed, change):
    change(copy)
    assert changed() == set()


def test_a_field_with_a_name_that_no_registry_holds_changes_no_digest(original, digests):
    class Extended(Config):
        def as_dict(self):
            return {**super().as_dict(), "colour": "red"}

    assert Sources(original).digest(Extended()) == digests["estimator rotation"]


def move(folder: Path, path: Path) -> bool:
    """Move the first function of a module to a module of its own, with the imports that it needs."""
    text, module = path.read_text(), ".".join(["rotvq", *path.relative_to(folder).with_suffix("").parts])
    tree = ast.parse(text)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.decorator_list]
    if not functions:
        return False
    function = functions[0]
    defined = code_path.Module(module, text, None).statements.keys() - {function.name}
    used = sorted({leaf.id for leaf in ast.walk(function) if isinstance(leaf, ast.Name)} & defined)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    lines = [*map(ast.unparse, imports), *(f"from {module} import {name}" for name in used), ast.unparse(function)]
    path.with_stem(f"{path.stem}_moved").write_text("\n".join(lines))
    home = f"{module}_moved"
    tree.body[tree.body.index(function)] = ast.parse(f"from {home} import {function.name}").body[0]
    path.write_text(ast.unparse(tree))
    return True


def test_functions_can_move_to_other_modules(copy, changed):
    moved = [move(copy, path) for path in sorted(copy.rglob("*.py"))]
    assert sum(moved) > 12
    assert changed() == set()


# What is executed changes the digests of the runs that execute it


def touch(folder: Path, place: str) -> None:
    """Put a statement into a function, or a call around an entry: ``name``, ``class.name`` or ``registry[key]``."""
    outer, _, inner = place.rstrip("]").replace("[", ".").partition(".")
    modules = Sources(folder).modules
    (name,) = [name for name, module in modules.items() if outer in module.statements]
    path = folder.joinpath(*name.split(".")[1:]).with_suffix(".py")
    tree = ast.parse(path.read_text())
    line = modules[name].statements[outer][0].lineno
    (node,) = [node for node in tree.body if node.lineno == line]
    if "[" in place:
        at = [key.value for key in node.value.keys].index(inner)
        node.value.values[at] = ast.Call(ast.Name("touched"), [node.value.values[at]], [])
    else:
        if inner:
            (node,) = [function for function in node.body if getattr(function, "name", "") == inner]
        node.body.append(ast.parse("assert True").body[0])
    path.write_text(ast.unparse(ast.fix_missing_locations(tree)))


SUBSTITUTES = {"nsvq", "diveq", "diveq_detach"}
LATTICES = {"fsq", "lfq", "bsq"}  # those that draw no number: a VectorQuantizer may draw its codes
REACHES = {
    "fit": lambda c: True,
    "evaluate": lambda c: True,
    "Quantizer.forward": lambda c: True,
    "FSQ.round": lambda c: c.quantizer == "fsq",
    "ErrorSubstitution.forward": lambda c: c.quantizer in SUBSTITUTES,
    "Noise.normal": lambda c: c.quantizer not in LATTICES,
    "hessian": lambda c: c.quantizer == "hessian",
    "METHODS[gumbel]": lambda c: c.quantizer == "gumbel",
    "_kmeans": lambda c: c.init == "kmeans",
    "_reflection": lambda c: c.estimator == "reflection",
    "ESTIMATORS[scale_only]": lambda c: c.estimator == "scale_only",
    "_cosine": lambda c: "cosine" in (c.lookup, c.schedule),  # one word for both
    "REVIVALS[threshold]": lambda c: c.revival == "threshold",
    "ResidualBlock.forward": lambda c: c.model.startswith("residual_"),
    "NORMS[group]": lambda c: c.norm == "group" or c.quantizer in ("lfq", "bsq"),  # their digits come in a "group"
    "_crops": lambda c: c.data == "photographs",
    "_cifar10": lambda c: c.data == "cifar10",
}


@pytest.mark.parametrize("place", REACHES)
def test_a_statement_changes_the_digests_of_the_runs_that_reach_it(copy, changed, place):
    touch(copy, place)
    assert changed() == {name for name, config in CONFIGS.items() if REACHES[place](config)}


# How names are followed, in a package of a few lines

TRAIN = """
from rotvq.quantizers import tools
from rotvq.quantizers.tools import helper

def train(config):
    return helper(config) + TABLE[config.data] + tools.other()

TABLE = {"a": tools.first, "b": tools.second}
"""
TOOLS = """
from collections import namedtuple
from functools import cache
import math

SIZE = 3

@cache
def helper(x):
    def inner(y):
        return SIZE * y
    return inner(x) + Kind().size

class Base:
    size = 1

class Kind(Base):
    one: int
    two: int
    def method(self):
        from math import sqrt
        return sqrt(constant)

constant: int = 2
def other(value="c"): return math.pi
def first(): return LATER[KEY]
def second(): return 2
def third(): return 3
KEY = "c"
LATER = {"c": third, "d": second}
"""
CHANGES = [  # what is replaced in tools.py, by what, and whether data a and data b change
    ("SIZE = 3", "SIZE = 4", True, True),
    ("SIZE = 3", "SIZE: int = 3", False, False),
    ("@cache", "@cache  # for ever", False, False),
    ("@cache\n", "", True, True),
    ("inner(x)", "inner(-x)", True, True),
    ("    size = 1", "    size = 2", True, True),
    ("Kind(Base)", "Kind()", True, True),
    ("one: int\n    two: int", "two: int\n    one: int", True, True),
    ("one: int", "one: float", False, False),
    ("from math import sqrt", "from cmath import sqrt", True, True),
    ("import math\n", "import cmath as math\n", True, True),
    ("constant: int = 2", "constant: int = 3", True, True),
    ('value="c"', 'value="d"', True, True),
    ("def third(): return 3", "def third(): return 4", True, False),  # b does not reach the registry
    ("def second(): return 2", "def second(): return 3", False, True),
    ("def first():", "def first():\n    'Says.'\n    x: int\n    pass\n   ", False, False),
    ("def other(", "def another(): return 7\nother = another\ndef was(", True, True),
    ('"d": second', '"d": second, "e": first', False, False),
    ("return LATER[KEY]", "return [f for f in LATER]", True, False),
    ("KEY =", "@helper.register\ndef _(x): return 1\nKEY =", True, True),
    ("KEY =", "helper.register(cache)\nKEY =", True, True),
    ("LATER = {", "LATER = {}\nLATER.update(c=second)\nOTHER = {", True, True),  # the call might alter second
    ('"d": second}', '"d": second}\nLATER["f"] = first', True, False),
    ('KEY = "c"', 'KEY = "c"\nKEY += ""', True, False),
    ("SIZE = 3", "SIZE = 3\ndef unused(): return helper", False, False),
]


def package(folder: Path, train: str = TRAIN, tools: str = TOOLS) -> Sources:
    for room, name, text in (("training", "train", train), ("quantizers", "tools", tools)):
        (folder / room).mkdir(parents=True, exist_ok=True)
        (folder / room / f"{name}.py").write_text(text)
    return Sources(folder)


def both(sources: Sources) -> list[str]:
    return [sources.digest(Config(data=data)) for data in ("a", "b")]


@pytest.mark.parametrize("old, new, a, b", CHANGES)
def test_what_counts(tmp_path, old, new, a, b):
    assert old in TOOLS
    before = both(package(tmp_path))
    after = both(package(tmp_path, tools=TOOLS.replace(old, new)))
    assert [x != y for x, y in zip(before, after)] == [a, b]


@pytest.mark.parametrize("use", ["REG.values()", "[f for f in REG]", "REG.items()", "{**REG}", "REG | {}"])
def test_a_registry_that_is_used_whole_counts_whole(tmp_path, use):
    tools = "def x(): return 1\ndef y(): return 2\nREG = {'x': x, 'y': y}\ndef helper(): return " + use
    train = "from rotvq.quantizers.tools import helper\ndef train(config): return helper()"
    before = both(package(tmp_path, train, tools))
    assert both(package(tmp_path, train, tools.replace("return 2", "return 3"))) != before
    looked_up = tools.replace(use, "REG['x'] if 'y' == key else REG.get('x')")
    before = both(package(tmp_path, train, looked_up))
    assert both(package(tmp_path, train, looked_up.replace("return 2", "return 3"))) == before
    assert both(package(tmp_path, train, looked_up.replace("return 1", "return 3"))) != before


def test_one_of_two_functions_with_the_same_name_is_told_from_the_other(tmp_path):
    one = "def f(): return 1\n"
    train = (
        "from rotvq.quantizers.tools import f as g\nfrom rotvq.training.more import f\n"
        "def train(config): return f(), g(), f()"
    )
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "more.py").write_text("def f(): return 2\n")
    before = both(package(tmp_path, train, one))
    assert both(package(tmp_path, train.replace("return f(), g(), f()", "return f(), g(), g()"), one)) != before


CANNOT = [
    "from rotvq.training.more import *",
    "from .more import x",
    "from . import more",
    "import rotvq.training.more",
    "from a import f\ndef g():\n    from b import f",
    "print('a call')",
    "torch.backends.deterministic = True",
    "for i in range(3):\n    x = i",
    "if x:\n    y = 1",
    "try:\n    import x\nexcept ImportError:\n    x = None",
]


@pytest.mark.parametrize("text", CANNOT)
def test_what_cannot_be_followed_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"rotvq\.quantizers\.tools, line \d"):
        package(tmp_path, tools=text)


@pytest.mark.parametrize(
    "text", ["from rotvq.runs.records import x", "from rotvq.quantizers.none import x", "from rotvq import x"]
)
def test_names_that_are_not_found_are_refused(tmp_path, text):
    sources = package(tmp_path, train=f"{text}\ndef train(config): return x")
    with pytest.raises(ValueError, match="a run may execute x of rotvq"):
        both(sources)


def test_later_edits_are_not_seen(copy, digests):
    sources = Sources(copy)
    touch(copy, "fit")
    assert sources.digest(Config()) == digests["estimator rotation"] != Sources(copy).digest(Config())


def test_the_package_itself_does_nothing_when_it_is_imported():
    """Its own __init__ is in no room: a statement there that can change a run would be refused."""
    code_path.Module("rotvq", (PACKAGE / "__init__.py").read_text(), code_path.today())


# All that real runs execute is reached


def lines(sources: Sources, config: Config) -> dict[Path, list[range]]:
    """The lines of all parts that the run of a config reaches, by file."""
    found: dict[Path, list[range]] = {}
    for (module, _), parts in sources.reached(config).items():
        path = PACKAGE.joinpath(*module.split(".")[1:])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in (node for part in parts for node in part.nodes):
            leaves = [leaf for leaf in ast.walk(node) if hasattr(leaf, "lineno")]
            first, last = min(leaf.lineno for leaf in leaves), max(leaf.end_lineno for leaf in leaves)
            found.setdefault(file, []).append(range(first, last + 1))
    return found


class Recorded(dict):
    """A registry that notes which of its values are taken."""

    def __init__(self, entries: dict, taken: set[str]):
        super().__init__(entries)
        self.taken = taken

    def __getitem__(self, key):
        self.taken.add(key)
        return super().__getitem__(key)

    def get(self, key, default=None):
        self.taken |= {key} & self.keys()
        return super().get(key, default)

    def values(self):
        self.taken |= set(self)
        return super().values()

    def items(self):
        self.taken |= set(self)
        return super().items()


@pytest.fixture
def taken(monkeypatch) -> dict[code_path.Name, set[str]]:
    """Each registry of the package, and the keys that are looked up in it from now on."""
    found: dict[code_path.Name, set[str]] = {}
    sources = code_path.today()
    modules = [importlib.import_module(name) for name in sources.modules]
    for name, module in sources.modules.items():
        for registry in (own for own in module.statements if module.registry(own)):
            original = getattr(sys.modules[name], registry)
            recorded = Recorded(original, found.setdefault((name, registry), set()))
            for home in modules:
                for local in [local for local, value in vars(home).items() if value is original]:
                    monkeypatch.setattr(home, local, recorded)
    return found


def executed(config: Config) -> set[tuple[Path, int, str]]:
    """Every function of the rooms that the run of a config enters: file, line and name."""
    seen = set()

    def note(frame, event, _):
        if event == "call":
            seen.add(frame.f_code)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, "check", lambda self: self)  # it refuses or does nothing
        sys.setprofile(note)
        try:
            train(config)
        finally:
            sys.setprofile(None)
    inside = [(Path(code.co_filename), code.co_firstlineno, code.co_qualname) for code in seen]
    return {one for one in inside if any(one[0].is_relative_to(PACKAGE / room) for room in ROOMS)}


INPUT = PACKAGE / "training" / "config.py"  # what a Config says of itself is a run's input and not its code


def missed(config: Config, seen: set[tuple[Path, int, str]], reached: dict[Path, list[range]]) -> set[str]:
    return {
        f"{file.name} {name}"
        for file, line, name in seen
        if file != INPUT and not any(line in part for part in reached.get(file, []))
    }


SMALL = {"data": FEW, "steps": 6, "batch": 8, "dim": 8, "codebook_size": 8, "init_latents": 64}
OPTIONS = {  # each value of a field is used in some run
    "norm": ("none", "batch", "group", "latent"),
    "lookup": ("euclidean", "cosine", "normalised"),
    "centre": ("origin", "codebook", "latents"),
    "init": ("uniform", "normal", "latents", "kmeans"),
    "update": ("gradient", "ema"),
    "revival": ("none", "unused", "threshold"),
    "convention": ("mean", "token", "image"),
    "optimizer": ("adam", "adamw", "sgd"),
    "pretrain_steps": (0, 2),
    "warmup": (0, 3),
    "latent_scale": (2.0, 1.0, 1.0, 1.0),
    "weight_decay": (0.0, 0.1),
    "gamma_rule": ("constant", "over_r"),
    "gain": ("none", "learned"),
}
TRACED = [
    *(
        {"estimator": estimator, **{field: values[i % len(values)] for field, values in OPTIONS.items()}}
        | ({"centre": "origin", "gain": "none"} if estimator in ("ste", "constant", "zero") else {})  # would do nothing
        for i, estimator in enumerate(allowed_names()["estimator"])
    ),
    *({"quantizer": name, "init": "normal"} for name in METHODS),
    {"centre_offset": 1.0, "clip": (0.5, 2.0), "mix": 0.5},
    {"data": "fashion-mnist", "steps": 1},
    {"data": "fashion-mnist-mini", "steps": 1},
    {"data": "photographs", "steps": 1},
]


@pytest.mark.parametrize("fields", TRACED, ids=lambda fields: " ".join(map(str, fields.values()))[:40])
def test_all_that_a_run_executes_is_in_its_digest(fields, taken):
    if "data" in fields:
        images._load.cache_clear()
    fixed = METHODS[fields.get("quantizer", "vq")].fixed
    config = Config(**SMALL | {field: value for field, value in fields.items() if field not in fixed})
    seen, sources = executed(config), code_path.today()
    assert {name for _, _, name in seen} >= {"fit", "evaluate"}
    assert missed(config, seen, lines(sources, config)) == set()
    reached = sources.reached(config)
    for (module, name), keys in taken.items():
        entries = sources.modules[module].parts(name)
        assert all(entries[key] in reached.get((module, name), []) for key in keys), (module, name, keys)


def test_a_function_that_is_not_reached_is_missed():
    """The trace sees what the finder leaves out, and the other way round."""
    config = Config(**SMALL)
    seen, reached = executed(config), lines(code_path.today(), config)
    file, line = next((file, line) for file, line, name in seen if name == "nearest")
    others = [part for part in reached[file] if line not in part]
    assert missed(config, seen, {**reached, file: others}) == {"lookup.py nearest"}
    assert "_kmeans" not in {name for _, _, name in seen}
