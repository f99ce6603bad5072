"""The code that a run executes, and its digest: what a record depends on.

A run starts at `rotvq.training.train.train` and reaches each definition that is named there, each that those name, and
so on through `rotvq.quantizers` and `rotvq.training`. Of a registry, a dictionary literal at module level with strings
for keys, it reaches the entries whose key is a value of its Config or a string in code that it reaches. The digest is
over all statements reached, in that order, with a number for each definition that is named.

So a digest changes with any statement that the run may execute. It stays when an estimator, a method, a model, an image
set or a field of Config is added, when a definition moves to another module or is imported otherwise, and when a
comment, a docstring or an annotation changes.

Limits: a class counts whole, and so does what is named in a branch that the run does not take. Code would be missed
that is found by a name put together at run time, in a registry that a function fills, or in one that is given to a
function which iterates over it; ``tests/runs/test_code_path.py`` traces runs to see that there is none.
"""

import ast
import hashlib
from functools import cache
from itertools import chain, filterfalse
from pathlib import Path
from typing import Any, NamedTuple

from rotvq.training import own
from rotvq.training.checks import allowed_names
from rotvq.training.config import Config

PACKAGE = Path(__file__).parents[1]
ROOMS = ("quantizers", "training")
LEFT_OUT = {"annotation", "returns", "type_comment", "type_params", "ctx", "kind", "simple"}  # of a syntax tree
ITERATING = (ast.For, ast.comprehension, ast.BinOp, ast.Dict)  # a registry named right inside one is used whole

Name = tuple[str, str]  # a module, and a name that it defines
ENTRY = ("rotvq.training.train", "train")


class Part(NamedTuple):
    """A definition, or one entry of a registry."""

    nodes: list[ast.AST]
    code: str  # the nodes in normal form
    references: list[Name]  # the definitions that are named in it, in order
    strings: set[str]  # those in it that may be keys of a registry


class Sources:
    """The modules of the package in ``folder``, all read at once: later edits of its files are not seen.

    Raises ValueError where an import or a statement at module level cannot be followed.
    """

    def __init__(self, folder: Path = PACKAGE):
        self.modules: dict[str, Module] = {}
        for path in chain(*((folder / room).rglob("*.py") for room in ROOMS)):
            words = ("rotvq", *path.relative_to(folder).with_suffix("").parts)
            name = ".".join(words).removesuffix(".__init__")
            self.modules[name] = Module(name, path.read_text("utf-8"), self)

    def digest(self, config: Config) -> str:
        """The digest of the code that the run of ``config`` executes, 16 hex digits."""
        return self._digest(self._words(config))

    def reached(self, config: Config) -> dict[Name, list[Part]]:
        """What the run of ``config`` reaches, in order; of a registry the entries that it can look up."""
        return self._reached(self._words(config))

    def _words(self, config: Config) -> frozenset[str]:
        words = {value for value in config.as_dict().values() if isinstance(value, str)}
        for part in own.PARTS:  # one's own may use any of its kind; its own source is in its name
            words |= set(allowed_names()[part]) if own.is_own(part, getattr(config, part)) else set()
        return frozenset(words)

    @cache  # noqa: B019  (one object a process)
    def _digest(self, words: frozenset[str]) -> str:
        reached = self._reached(words)
        numbers = {name: number for number, name in enumerate(reached)}
        lines = (f"{part.code} {[numbers[name] for name in part.references]}" for part in chain(*reached.values()))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    @cache  # noqa: B019
    def _reached(self, words: frozenset[str]) -> dict[Name, list[Part]]:
        """Look up the words of a config, then the strings found on the way too, until they bring in no more."""
        reached: dict[Name, list[Part]] = {}
        names = [ENTRY]
        while names:
            module, name = names.pop()
            if (module, name) not in reached:
                entries = self.modules[module].parts(name)
                parts = [part for key, part in entries.items() if key is None or key in words]
                reached[module, name] = parts
                names += [reference for part in parts for reference in part.references][::-1]
        found = words.union(*(part.strings for part in chain(*reached.values())))
        return reached if found == words else self._reached(found)

    def find(self, module: str, name: str) -> Name | str:
        """What a name of a module means. Raises ValueError where the module is in no room, or has no such name."""
        meaning = self.modules[module].find(name) if module in self.modules else None
        if meaning is None:
            raise ValueError(f"a run may execute {name} of {module}, which is not found in {' or '.join(ROOMS)}")
        return meaning


class Module:
    """A parsed module: the statements that define each of its names, and the path of each name that it imports."""

    def __init__(self, name: str, text: str, sources: Sources):
        self.name, self.sources = name, sources
        self.imported: dict[str, str] = {}
        self.statements: dict[str, list[ast.stmt]] = {}
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._import(node)
        for node in filterfalse(_is_inert, tree.body):
            self._define(node)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        is_from = isinstance(node, ast.ImportFrom)
        for alias in node.names:
            path, local = f"{node.module}.{alias.name}" if is_from else alias.name, alias.asname or alias.name
            hidden = local == "*" or (is_from and node.level > 0) or (local == path and path.startswith("rotvq"))
            if hidden or self.imported.setdefault(local, path) != path:
                raise ValueError(f"{self.name}, line {node.lineno}: it takes 'from rotvq.room import name'")

    def _define(self, node: ast.stmt) -> None:
        """File a statement under the names that it defines, and under those defined before that it alters or calls."""
        leaves = [leaf for head in _heads(node) for leaf in ast.walk(head) if isinstance(leaf, ast.Name)]
        names = {leaf.id for leaf in leaves if isinstance(leaf.ctx, ast.Store) or leaf.id in self.statements}
        if not names:
            raise ValueError(f"{self.name}, line {node.lineno}: what this does to a run cannot be followed")
        for name in names:
            self.statements.setdefault(name, []).append(node)

    def find(self, name: str) -> Name | str | None:
        """What a name means here: a definition in `ROOMS`, the path of an import from elsewhere, or nothing."""
        path = self.imported.get(name)
        if name in self.statements:
            return self.name, name
        if path is None or path in self.sources.modules:
            return None
        home, _, original = path.rpartition(".")
        return self.sources.find(home, original) if home.startswith("rotvq") else path

    def meaning(self, node: ast.AST) -> Name | str | None:
        """The same for a name in a syntax tree, or an attribute of a module."""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            path = self.imported.get(node.value.id)
            return self.sources.find(path, node.attr) if path in self.sources.modules else None
        return self.find(node.id) if isinstance(node, ast.Name) else None

    @cache  # noqa: B019
    def parts(self, name: str) -> dict[str | None, Part]:
        """The entries of a registry by key, in the order of the keys; any other definition whole, under None."""
        entries = sorted(self.registry(name).items())
        return {key: self._part([node]) for key, node in entries} or {None: self._part(self.statements[name])}

    def registry(self, name: str) -> dict[str, ast.expr]:
        """The entries of a registry by key; none where ``name`` is something else."""
        first, *others = (getattr(node, "value", None) for node in self.statements[name])
        if others or not isinstance(first, ast.Dict) or not all(map(_is_string, first.keys)):
            return {}
        return {key.value: item for key, item in zip(first.keys, first.values, strict=True)}

    def _part(self, nodes: list[ast.AST]) -> Part:
        references, strings = [], set()
        return Part(nodes, repr(self._read(nodes, references, strings)), references, strings)

    def _read(self, node: Any, references: list[Name], strings: set[str]) -> Any:
        """The normal form of a syntax tree; what it names is noted in ``references`` and ``strings``."""
        if isinstance(node, list):
            return [self._read(item, references, strings) for item in node if not _is_inert(item)]
        if not isinstance(node, ast.AST):
            return node
        if meaning := self.meaning(node):
            references += [meaning] if isinstance(meaning, tuple) else []
            return "name" if isinstance(meaning, tuple) else meaning
        if isinstance(node, ast.Compare):
            strings = set()  # what is compared is not looked up
        if isinstance(node, ITERATING) or getattr(node, "attr", None) in ("items", "values"):
            names = [self.meaning(child) for child in ast.iter_child_nodes(node)]
            used = [self.sources.modules[name[0]].registry(name[1]) for name in names if isinstance(name, tuple)]
            strings.update(*used)
        if _is_string(node):
            strings.add(node.value)
        if isinstance(node, ast.AnnAssign):
            node = ast.Assign([node.target], node.value)
        fields = ((key, value) for key, value in ast.iter_fields(node) if key not in LEFT_OUT)
        read = [(key, self._read(value, references, strings)) for key, value in fields if value not in (None, [])]
        if isinstance(node, ast.ClassDef):  # the fields of a dataclass or NamedTuple, in order
            read += [item.target.id for item in node.body if isinstance(item, ast.AnnAssign)]
        return (type(node).__name__, *read)


def _heads(node: ast.stmt) -> list[ast.expr]:
    """The parts of a statement at module level that name what it defines, alters or calls."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [ast.Name(node.name, ast.Store()), *node.decorator_list]
    if isinstance(node, ast.Assign):
        return node.targets
    if isinstance(node, ast.AnnAssign | ast.AugAssign):
        return [node.target]
    return [node.value] if isinstance(node, ast.Expr) else []


def _is_string(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_inert(node: ast.AST) -> bool:
    """A docstring or another statement that is only a constant; an import; a declaration without a value; pass."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    declared = isinstance(node, ast.AnnAssign) and node.value is None
    return declared or isinstance(node, ast.Import | ast.ImportFrom | ast.Pass)


@cache
def today() -> Sources:
    """The sources of this package, as they are at the first call in a process."""
    return Sources()


def digest(config: Config) -> str:
    """The digest of the code that the run of ``config`` executes today, 16 hex digits.

    >>> digest(Config(seed=1)) == digest(Config(seed=2)) != digest(Config(quantizer="fsq"))
    True
    """
    return today().digest(config)
