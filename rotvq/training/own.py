"""Data and parts of one's own in a Config: where they are, and what they were when the run was asked for.

Beside the names of this package, `data` takes a folder or a file (see `.images`), and `estimator`, `quantizer` and
`model` take ``my_package.my_module:Brake`` or ``path/to/file.py:Brake``. A Config notes what lies there behind the
value, in 16 digits of a sha256 (``brake.py:Brake#0123456789abcdef``), so that another content is another run. Of a part
that is its source and whatever it imports from the same folder, or, where it is installed, from the same package.
"""

import ast
import hashlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from rotvq.quantizers.base import Quantizer
from rotvq.quantizers.estimators import ESTIMATORS, Estimator
from rotvq.quantizers.registry import METHODS, Method
from rotvq.training import files, images
from rotvq.training.models import MODELS, VQVAE

PARTS = ("estimator", "quantizer", "model")  # fields that may name a part of one's own
FORMS = "my_package.my_module:Name or path/to/file.py:Name"
QUANTIZER_FIELDS = (  # fields of a Config that a quantiser takes under the same name
    *("estimator", "clip", "mix", "warmup", "centre", "lookup", "init", "init_scale"),
    *("update", "decay", "initial_count", "revival", "revival_at", "beta", "gamma", "convention"),
    *("project_to", "temperature"),
)
NOTED_ELSEWHERE = ("rotvq", "torch")  # in a record: the digest of the code, the version
GIVEN = ("check", "generator", "engine", "process_group", "gain")  # what it is given beside them


def estimator(name: str) -> Estimator | nn.Module:
    """The estimator called ``name``; one's own is an Estimator, or a class that is called without arguments."""
    if ":" not in name:
        return ESTIMATORS[name]
    found = _load("estimator", name)
    if isinstance(found, type) and issubclass(found, Estimator | nn.Module):
        try:
            found = found()
        except Exception as error:
            raise ValueError(f"estimator {name!r} cannot be made without arguments ({error!r})") from None
    elif not isinstance(found, Estimator):
        raise ValueError(f"estimator {name!r} must be an Estimator, or a class of it or of torch.nn.Module")
    return found


def quantizer(name: str) -> Method:
    """The method called ``name``; one's own is a Method, or a class of Quantizer that takes some of its options."""
    if ":" not in name:
        return METHODS[name]
    found = _load("quantizer", name)
    if isinstance(found, Method):
        return found
    if not (isinstance(found, type) and issubclass(found, Quantizer)):
        raise ValueError(f"quantizer {name!r} must be a Method, or a class of Quantizer")
    taken = inspect.signature(found).parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in taken.values())
    fixed = () if takes_all else tuple(option for option in (*QUANTIZER_FIELDS, *GIVEN) if option not in taken)
    return Method(found, source="", replaces="", cost="", fixed=fixed)


def model(name: str) -> Any:
    """The model called ``name``; one's own is a class of VQVAE or a partial of one."""
    if ":" not in name:
        return MODELS[name]
    found = _load("model", name)
    base = found.func if isinstance(found, partial) else found
    if not (isinstance(base, type) and issubclass(base, VQVAE)):
        raise ValueError(f"model {name!r} must be a class of VQVAE, or a functools.partial of one")
    return found


def is_own(field: str, value: str) -> bool:
    """Whether the value of a field of Config names something of one's own."""
    return ":" in value and field in (*PARTS, "data")


def pin(field: str, value: str) -> str:
    """``value`` with the digest of what it names now; as it is where it has one, or names nothing of one's own."""
    if not is_own(field, value) or files.PIN.search(value):
        return value
    try:
        return f"{value}#{_digest(field, value)}"
    except (ValueError, OSError):  # there is no such thing yet: `check` says so
        return value


def check(field: str, value: str) -> None:
    """Raise ValueError or DataError where what is named is not there, is no longer what it was, or does not fit."""
    plain = files.PIN.sub("", value)
    if f"{plain}#{_digest(field, plain)}" != pin(field, value):
        raise ValueError(f"{field} {value!r} has changed since: to run what is there now, ask for {plain!r}")
    if field == "estimator":
        _try(value)
    elif field != "data":
        {"quantizer": quantizer, "model": model}[field](value)


def _try(name: str) -> None:
    """Call an estimator once; ValueError where it does not give a z_q for z and q."""
    z, member = torch.linspace(0.5, 2, 6).view(2, 3), estimator(name)
    try:
        with torch.random.fork_rng(devices=[]):
            shape = member(z, z + 0.25).shape
    except Exception as error:
        raise ValueError(f"estimator {name!r} cannot be called with z and q ({error!r})") from None
    if shape != z.shape:
        raise ValueError(f"estimator {name!r} gives the shape {tuple(shape)} for z and q of {tuple(z.shape)}")


def is_current(values: Mapping[str, Any]) -> bool:
    """Whether the fields of a Config that name something of one's own name what lies there now."""
    named = [(field, values[field]) for field in (*PARTS, "data") if is_own(field, values[field])]
    return all(pin(field, files.PIN.sub("", value)) == value for field, value in named)


def _digest(field: str, value: str) -> str:
    """Of what a value without a digest names, 16 hex digits. ValueError or OSError where that is not there."""
    return _digest_of_data(value) if field == "data" else _digest_of_source(*_find_source(field, value))


@cache  # it may be large, and a process loads it once
def _digest_of_data(value: str) -> str:
    return files.digest(images.find(value))


def _load(field: str, value: str) -> Any:
    """What ``value`` names, imported once in a process; ValueError in a sentence where that cannot be done."""
    place, _, name = files.PIN.sub("", value).rpartition(":")
    source = _find_source(field, value)
    try:
        module, digest = _import(place, *source)
        found = getattr(module, name)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{field} {value!r} cannot be imported ({error!r})") from error
    if digest != _digest_of_source(*source):
        raise ValueError(f"{field} {value!r} has changed since this process imported it: start another")
    return found


@cache
def _import(place: str, path: Path, root: Path, within: Path) -> tuple[ModuleType, str]:
    """A module of one's own, and the digest of its source when it was imported."""
    digest = _digest_of_source(path, root, within)
    if str(root) not in sys.path:
        sys.path.append(str(root))  # so that it finds what lies beside it, as a script does
    if not place.endswith(".py"):
        return importlib.import_module(place), digest
    spec = importlib.util.spec_from_file_location(f"rotvq_own_{digest}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and pickle look it up
    spec.loader.exec_module(module)
    return module, digest


def _find_source(field: str, value: str) -> tuple[Path, Path, Path]:
    """The file that a value names, the folder from which it imports, and the one in which imports belong to it."""
    place = files.PIN.sub("", value).rpartition(":")[0]
    if place.endswith(".py"):
        path = Path(place).expanduser().resolve()
        if not path.is_file():
            raise ValueError(f"{field} {value!r} cannot be imported: {path} is not there")
        return path, path.parent, path.parent
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        spec = importlib.util.find_spec(place)  # this imports the packages around it
    except (Exception, SystemExit) as error:
        raise ValueError(f"{field} {value!r} cannot be imported ({error!r}): it takes {FORMS}") from None
    if spec is None or not str(spec.origin).endswith(".py"):
        raise ValueError(f"{field} {value!r} cannot be imported, there is no source of {place!r}: it takes {FORMS}")
    path = Path(spec.origin)
    root = path.parents[place.count(".") + (path.name == "__init__.py")]
    is_installed = root.name in ("site-packages", "dist-packages")
    return path, root, root / place.partition(".")[0] if is_installed else root


def _digest_of_source(path: Path, root: Path, within: Path) -> str:
    """Of a file, and of what it and they import within a folder, but for `NOTED_ELSEWHERE`."""
    texts: dict[Path, str] = {}
    waiting = [path]
    while waiting:
        path = waiting.pop()
        texts[path] = path.read_text("utf-8")
        package = path.relative_to(root).parts[:-1] if path.is_relative_to(root) else ()
        stems = [root.joinpath(*name) for name in _imported(texts[path], package) if name[0] not in NOTED_ELSEWHERE]
        found = {place for stem in stems for place in (stem.with_suffix(".py"), stem / "__init__.py")}
        waiting += [one for one in found - texts.keys() if one.is_relative_to(within) and one.is_file()]
    parts = (hashlib.sha256(texts[path].encode()).digest() for path in sorted(texts))
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


@lru_cache(maxsize=1024)
def _imported(text: str, package: tuple[str, ...]) -> set[tuple[str, ...]]:
    """Every module, and package around it, that a module in ``package`` may import, and what it takes from them."""
    names: set[tuple[str, ...]] = set()
    tree = ast.Module([], [])
    with suppress(SyntaxError):  # importing it says so
        tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(tuple(alias.name.split(".")) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            names.update((*base, alias.name) for alias in node.names)
    return {name[:length] for name in names for length in range(1, len(name) + 1)}
