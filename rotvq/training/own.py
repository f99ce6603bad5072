"""Data and parts of one's own in a Config: where they are, and what they were when the run was asked for.

Beside the names of this package, `data` takes a folder or a file (see `.images`), and `estimator`, `quantizer` and
`model` take ``my_package.my_module:Brake`` or ``path/to/file.py:Brake``. A Config notes what lies there behind the
value, in 16 digits of a sha256 (``brake.py:Brake#0123456789abcdef``), so that another content is another run. Of a part
that is its source and what import statements bring in from its folder, or, where it is installed, from its package, and
from the user's other folders on Python's path. What it reads by itself, such as a file of numbers, is not noted.
"""

import ast
import hashlib
import importlib.util
import inspect
import os
import re
import sys
import sysconfig
from collections.abc import Collection, Mapping
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
IMPORTED: dict[str, tuple[Path, str]] = {}  # name of a module that this process imported for a part -> file and text
LENT: set[Path] = set()  # folders of parts that this process has put on Python's path
INSTALLED = re.compile(f"^{re.escape(sysconfig.get_path('stdlib'))}|/(site|dist)-packages(/|$)")
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
    return _noted(field, value if field == "data" else _one_spelling(value))


def _noted(field: str, plain: str) -> str:
    try:
        return f"{plain}#{_digest(field, plain)}"
    except (ValueError, OSError):  # there is no such thing yet: `check` says so
        return plain


def _one_spelling(value: str) -> str:
    """``value`` with a path to a file below the working directory as it is from there."""
    place, _, name = value.rpartition(":")
    path = os.path.relpath(os.path.realpath(place)) if os.path.isfile(place) else os.pardir
    return value if path.startswith(os.pardir) else f"{path}:{name}"


def check(field: str, value: str) -> None:
    """Raise ValueError or DataError where what is named is not there, is no longer what it was, or does not fit."""
    plain = files.PIN.sub("", value)
    if value not in (f"{plain}#{_digest(field, plain)}", plain):
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
    return all(_noted(field, files.PIN.sub("", value)) == value for field, value in named)


def _digest(field: str, value: str) -> str:
    """Of what a value without a digest names, 16 hex digits. ValueError or OSError where that is not there."""
    return images.digest(value) if field == "data" else _digest_of_source(*_find_source(field, value))


def _load(field: str, value: str) -> Any:
    """What ``value`` names, imported once in a process; ValueError in a sentence where that cannot be done."""
    place, _, name = files.PIN.sub("", value).rpartition(":")
    source = _find_source(field, value)
    try:
        module, digest, fault = _import(place, *source)
        found = getattr(module, name, None)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{field} {value!r} cannot be imported ({error!r})") from error
    if found is None:
        has = ", ".join(one for one in vars(module) if not one.startswith("_")) or "nothing"
        raise ValueError(f"{field} {value!r} cannot be imported: {place} has no {name!r}, it has {has}")
    if fault:
        raise ValueError(f"{field} {value!r} {fault}")
    if digest != _digest_of_source(*source):
        raise ValueError(f"{field} {value!r} has changed since this process imported it: start another")
    return found


@cache
def _import(place: str, path: Path, root: Path, within: Path) -> tuple[ModuleType, str, str]:
    """A module of one's own, the digest of its source when it was imported, and what else was executed, or ""."""
    digest, sources = _digest_of_source(path, root, within), _sources(path, root, within)
    before, is_file = {*sys.modules}, place.endswith(".py")
    if not is_file:
        return importlib.import_module(place), digest, _fault(sources, before)
    del sources[path.relative_to(root)]  # it has a name of its own
    spec = importlib.util.spec_from_file_location(f"rotvq_own_{digest}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and pickle look it up
    sys.path.insert(0, str(root))  # so that it finds what lies beside it, as a script does
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(root))
    if str(root) not in sys.path:
        sys.path.append(str(root))  # for imports inside functions
        LENT.add(root)
    return module, digest, _fault(sources, before | {spec.name})


def _fault(sources: Mapping[Path, tuple[Path, str]], before: Collection[str]) -> str:
    """What is wrong with the modules that this process has since ``before``, if they are to be those of ``sources``."""
    for place, (file, text) in sources.items():
        name = ".".join(place.with_suffix("").parts).removesuffix(".__init__")
        first, first_text = IMPORTED.setdefault(name, (file, text))
        there = getattr(sys.modules[name], "__file__", None) if name in sys.modules else file
        if other := next((one for one in (first, there) if one is None or not os.path.samefile(one, file)), ""):
            return f"imports {name} from {file}, and this process has that of {other}: rename one, or start another"
        if first_text != text:
            return f"imports {name}, which has changed since this process imported it: start another"
    folders, known = [*_user_folders(), *LENT], {file.resolve() for file, _ in sources.values()}
    for name in [name for name in sys.modules if name not in before and name.partition(".")[0] not in NOTED_ELSEWHERE]:
        file = Path(getattr(sys.modules[name], "__file__", None) or os.devnull).resolve()
        if file not in known and not INSTALLED.search(str(file)) and any(map(file.is_relative_to, folders)):
            return f"imports {name} of {file} without a statement that names it, so that its source cannot be noted"
    return ""


def _user_folders() -> list[Path]:
    """The folders on Python's path that hold no installed packages, but for those that were put there for a part."""
    folders = [Path(entry).resolve() for entry in sys.path if not INSTALLED.search(entry)]
    return [folder for folder in folders if folder not in LENT]


def _find_source(field: str, value: str) -> tuple[Path, Path, Path]:
    """The file that a value names, the folder from which it imports, and the one in which imports belong to it."""
    place = files.PIN.sub("", value).rpartition(":")[0]
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    if place.endswith(".py"):
        path = Path(place).expanduser()
        if not path.is_file():
            raise ValueError(f"{field} {value!r} cannot be imported: {path} is not there")
        path = path.resolve()
        return path, path.parent, path.parent
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
    sources = _sources(path, root, within)
    parts = (hashlib.sha256(sources[place][1].encode()).digest() for place in sorted(sources))
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def _sources(path: Path, root: Path, within: Path) -> dict[Path, tuple[Path, str]]:
    """A file and all that is imported from the user's folders, but for `NOTED_ELSEWHERE`: the files and their texts.

    By their places below the folder where Python finds them: ``root``, of which what is ``within`` counts, or another.
    """
    sources: dict[Path, tuple[Path, str]] = {}
    waiting, folders = [(path.relative_to(root), path)], [root, *_user_folders()]
    while waiting:
        place, path = waiting.pop()
        sources[place] = path, _text(path)
        for name in _imported(sources[place][1], place.parts[:-1]):
            places = Path(*name, "__init__.py"), Path(*name).with_suffix(".py")
            found = [(one, folder / one) for folder in folders for one in places if (folder / one).is_file()][:1]
            waiting += [
                (one, file)
                for one, file in found
                if one not in sources and (file.is_relative_to(within) or not INSTALLED.search(str(file)))
            ]
    return sources


def _text(path: Path) -> str:
    try:
        return importlib.util.decode_source(path.read_bytes())
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no source of Python ({error}): save it as UTF-8") from None


@lru_cache(maxsize=1024)
def _imported(text: str, package: tuple[str, ...]) -> set[tuple[str, ...]]:
    """Every module, and package around it, that a module in ``package`` may import, and what it takes from them."""
    names = {package}
    tree = ast.Module([], [])
    with suppress(SyntaxError, ValueError):  # importing it says so
        tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(tuple(alias.name.split(".")) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            names.update((*base, alias.name) for alias in node.names)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            given = [one.value for one in node.args[:1] if isinstance(one, ast.Constant)]
            names.update(tuple(one.split(".")) for one in given if isinstance(one, str) and all(one.split(".")))
    parts = {name[:length] for name in names for length in range(1, len(name) + 1)}
    return {name for name in parts if name[0] not in NOTED_ELSEWHERE}
