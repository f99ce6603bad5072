"""The code that a run executes, and its digest: what a record depends on.

A run starts in `rotvq.training.train.fit` and reaches the definitions that this names, those that they name, and so on
through `rotvq.quantizers` and `rotvq.training`. A registry, a dictionary at module level with names for keys, counts
only by the entries that the run can look up: those named by its Config or by a string in code that it reaches. So a
new estimator, method or model, a new field of Config, a comment, a docstring, an annotation, an import or a move to
another module leaves every digest as it was; a changed or renamed definition changes the digests of the runs that
reach it, and of no others.

What is found is found by name: too much may count (a definition named in a branch that this run does not take), but
nothing that the run executes is left out, as long as the code it runs is named in code and not computed.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rotvq.training.config import Config

PACKAGE = Path(__file__).parents[1]
ENTRY = ("rotvq.training.train", "fit")
ROOMS = ("rotvq.quantizers", "rotvq.training")

Name = tuple[str, str]  # a module and a name that it defines


@dataclass(frozen=True)
class Part:
    """A definition, or one entry of a registry: its code in normal form, what it names, and the strings in it."""

    code: str
    names: frozenset[Name]
    strings: frozenset[str]


class Sources:
    """The definitions of the package that lies in ``folder``, parsed when they are first asked for."""

    def __init__(self, folder: Path = PACKAGE):
        self.folder = folder
        self._parts: dict[Name, Part | dict[str, Part] | None] = {}

    @cache  # noqa: B019  (as many as there are modules)
    def module(self, name: str) -> Module | None:
        """The module of this name, or None where it is no module of a room that runs reach."""
        if not name.startswith(ROOMS):
            return None
        path = self.folder.joinpath(*name.split(".")[1:])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        return Module(name, ast.parse(file.read_text("utf-8")), self) if file.exists() else None

    def part(self, name: Name) -> Part | dict[str, Part] | None:
        """A definition, a registry as its entries, or None for what no module here defines."""
        if name not in self._parts:
            module = self.module(name[0])
            self._parts[name] = module.part(name[1]) if module else None
        return self._parts[name]

    def reached(self, words: frozenset[str], entry: Name = ENTRY) -> Iterator[Part]:
        """Every part that is reached from ``entry`` by a run whose Config holds these words."""
        seen: set[Name] = set()
        registries: list[dict[str, Part]] = []
        names, parts, words = [entry], [], set(words)
        while names or parts:
            if parts:
                part = parts.pop()
                yield part
                words |= part.strings
                names += part.names
            elif (name := names.pop()) not in seen:
                seen.add(name)
                part = self.part(name)
                if isinstance(part, dict):
                    registries.append(dict(part))
                elif part is not None:
                    parts.append(part)
            parts += [entries.pop(key) for entries in registries for key in words & entries.keys()]


class Module:
    """A parsed module: its definitions by name, and where the names that it imports are defined."""

    def __init__(self, name: str, tree: ast.Module, sources: Sources):
        self.name, self.sources = name, sources
        self.nodes: dict[str, ast.stmt] = {}
        self.imported: dict[str, Name] = {}
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module:
                self.imported |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                self.nodes[node.name] = node
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)]
                self.nodes |= dict.fromkeys(names, node)

    def resolve(self, local: str, attribute: str | None = None) -> Name | None:
        """Where ``local``, or ``local.attribute`` where local is an imported module, is defined; else None."""
        if local in self.nodes:
            return None if attribute else (self.name, local)
        if local not in self.imported:
            return None
        package, name = self.imported[local]
        if self.sources.module(f"{package}.{name}"):
            return self.sources.module(f"{package}.{name}").resolve(attribute) if attribute else None
        module = self.sources.module(package)
        return module.resolve(name) if module and not attribute else None

    def part(self, name: str) -> Part | dict[str, Part] | None:
        node = self.nodes.get(name)
        if node is None:
            return None
        value = getattr(node, "value", None)
        if isinstance(value, ast.Dict) and value.keys and all(_is_string(key) for key in value.keys):
            return {key.value: self._part(item) for key, item in zip(value.keys, value.values, strict=True)}
        return self._part(node)

    def _part(self, node: ast.AST) -> Part:
        reader = _Reader(self)
        code = reader.read(node)
        return Part(repr(code), frozenset(reader.names), frozenset(reader.strings))


class _Reader:
    """Reads a syntax tree into its normal form, and notes what it names."""

    LEFT_OUT = {"annotation", "returns", "type_comment", "type_params", "ctx", "kind"}

    def __init__(self, module: Module):
        self.module, self.names, self.strings = module, set(), set()

    def read(self, node):
        if isinstance(node, list):
            return [self.read(item) for item in node if not _is_inert(item)]
        if isinstance(node, ast.Name) and (name := self.module.resolve(node.id)):
            self.names.add(name)
            return ("Name", name[1])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if name := self.module.resolve(node.value.id, node.attr):
                self.names.add(name)
                return ("Name", name[1])
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.strings.add(node.value)
        if not isinstance(node, ast.AST):
            return node
        fields = ((key, value) for key, value in ast.iter_fields(node) if key not in self.LEFT_OUT)
        return (type(node).__name__, *((key, self.read(value)) for key, value in fields if value not in (None, [])))


def _is_string(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_inert(node: ast.AST) -> bool:
    """A docstring or another statement that is only a constant; an import; a declaration without a value."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Import | ast.ImportFrom) or isinstance(node, ast.AnnAssign) and node.value is None


SOURCES = Sources()


def words(config: Config) -> frozenset[str]:
    """The names that a config holds."""
    return frozenset(value for value in config.as_dict().values() if isinstance(value, str))


def digest(config: Config, sources: Sources = SOURCES) -> str:
    """The digest of the code that the run of ``config`` executes, 16 hex digits; the code is read once a process."""
    return _digest(words(config), sources)


@cache
def _digest(words: frozenset[str], sources: Sources) -> str:
    code = sorted({part.code for part in sources.reached(words)})
    return hashlib.sha256("\n".join(code).encode()).hexdigest()[:16]
