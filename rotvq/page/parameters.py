"""The check of a notebook's parameters: refuse what papermill was given and the notebook cannot mean.

Papermill injects whatever it is told: ``-p quick false`` gives the string "false", which is true, and a misspelt name
is only a warning in a log. :data:`RULES` says of every parameter of the book what it may be; a notebook says so itself
where it means something else by a name.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import math
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rotvq.analysis.wording import slug
from rotvq.page.html import tag
from rotvq.runs import engines
from rotvq.runs.grids import CHAPTERS, FRESH, PROFILES, SEED
from rotvq.training import checks, files, images
from rotvq.training.config import Config
from rotvq.training.train import find_device

SHOWN = "application/vnd.rotvq.parameters+json"
CODE = types.ModuleType | types.FunctionType | types.BuiltinFunctionType | type | type(typing.Optional)  # no parameter
BANNER = "This page was run with values of a reader"
OF_THE_BOOK = "Numbers, tables and figures are of these; sentences, and what they conclude, are of the book's runs."
DEVICES = ("cpu", "cuda", "mps", "xpu")  # kinds that compute: "meta" would train nothing
WORKERS_PER_CORE = 8  # at most


class Entries(NamedTuple):
    """A list: what each entry may be, and how many. Two entries that a page names alike are refused everywhere."""

    each: Any
    least: int = 1
    most: int = 64


# from a value, and the values of all parameters, the fault of the value as the rest of a sentence, or None
Rule = Callable[[Any, Mapping], str | None]


def _estimator(value: str, _: Mapping) -> str | None:
    return _refusal(lambda: Config(estimator=value).check())


def _rival(value: str, _: Mapping) -> str | None:
    arms = [arm for block in CHAPTERS["16_rivals"].blocks.values() for arm in block.arms]
    if value in arms:
        return None
    said = _refusal(lambda: Config(quantizer=value).check())
    return said and f"{said}; or one of the arms {', '.join(map(repr, dict.fromkeys(arms)))}"


def _data(value: str, _: Mapping) -> str | None:
    return _refusal(lambda: images.find(value)) if value else None


def _device(value: str, values: Mapping) -> str | None:
    kind, _, number = value.partition(":")
    if kind not in DEVICES or (":" in value and (kind == "cpu" or not number.isdecimal())):
        return "must be cpu, cuda, cuda:1, ..."
    elsewhere = "ray" in str(values.get("engine"))  # the runs are in a cluster, which may have what is not here
    return None if elsewhere else _refusal(lambda: find_device(value))


def _engine(value: str, _: Mapping) -> str | None:
    most = WORKERS_PER_CORE * (os.cpu_count() or 1)

    def enter() -> None:
        engine = engines.find_engine(value)
        if "ray" not in value:  # entering that would start a cluster
            with engine as entered:
                if entered.workers > most:
                    raise ValueError(f"{entered.workers} workers, and at most {most} are useful here")
        elif not importlib.util.find_spec("ray"):
            raise ValueError("the package ray is not there: pip install 'rotvq[ray]'")

    return _refusal(enter) if value else None


def _store(value: str, _: Mapping) -> str | None:
    """A folder of records that is there, or that can be made in one that is."""
    try:
        path = Path(value).expanduser()
        if not value or path.is_dir():
            return None
        if "\0" in value or value != value.strip() or path.exists() or not path.absolute().parent.is_dir():
            return "must be a folder, or a new one in a folder that is there"
        return None if os.access(path.absolute().parent, os.W_OK | os.X_OK) else "cannot be made: no right to write"
    except (OSError, ValueError, RuntimeError) as error:  # the last one where there is no such user
        return f"is no name of a folder ({error})"


def folder(value: str, _: Mapping) -> str | None:
    """Fault of a folder that must be there; empty: the book's own."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        if not value or Path(value).expanduser().is_dir():
            return None
    return "is not there, or is no folder"


def _refusal(call: Callable[[], Any]) -> str | None:
    """Why ``call`` raises, or None."""
    try:
        call()
    except (ValueError, OSError, SystemExit) as error:
        return f"is refused: {error if isinstance(error, Exception) else repr(error)}"
    return None


def beginnings(ids: Iterable[str]) -> Rule:
    """Fault of what no id begins with."""
    known = sorted(ids)
    return lambda value, _: (
        None
        if value and any(one.startswith(value) for one in known)
        else f"begins no id: they are {known[0]} to {known[-1]}"
    )


COMPARED = Entries(_estimator, least=2)  # estimators of which the first is what the others are compared with
_names = checks.allowed_names()
_STEPS = (1, 10**9)  # what they cost is compared with the cap before anything is trained
# What a parameter may be: a closed range, whose ends may be None; any other collection, of the allowed values; a rule.
# A list is held to it entry by entry. None is always allowed where the type has it.
RULES: dict[str, Any] = {
    # which runs, and where they are trained
    "profile": PROFILES,
    "engine": _engine,
    "device": _device,
    "records": _store,
    "cap": (0, 1e6),
    "steps": _STEPS,
    "seeds": (1, FRESH),  # from FRESH on they confirm
    "seed": SEED,
    "live_steps": (1, 5000),  # of runs that a page trains for a look, which no cap counts
    "data": _data,
    **dict.fromkeys(("arms", "cells", "common"), lambda value, _: None),  # :func:`.experiment.block` looks at them
    # fields of Config, one value or several
    "estimators": Entries(_estimator),
    "init": _names["init"],
    "gamma": (0, 1e6),
    "gammas": Entries((1e-6, 1e6), least=3, most=16),  # from fewer nothing is chosen
    "rates": Entries((1e-9, 1e3), least=3, most=16),
    "scales": Entries((1e-6, 1e6), most=16),
    "mixes": Entries((0, 1), most=16),
    "warmups": Entries((1, 10**6), most=16),
    "decays": Entries((0, 1e3), least=2, most=16),
    "dims": Entries((1, 4096), most=16),
    "codebook_sizes": Entries((2, 8192), most=16),
    "rivals": _rival,
}


def check(values: Mapping[str, object], **allowed: Any) -> None:
    """Raise ValueError, with one sentence for each fault, unless all parameters are what the notebook can use.

    Environment variables are held to :func:`.files.check_environment`, as on the command line.

    In a notebook, the values that passed are left as an output of the type `SHOWN`, from which the page names them.

    Args:
        values: ``globals()`` of the notebook. Each annotated name must have its annotated type: int, float (an int will
            do), str, bool, list[...], dict[...], Optional[X] (of X | None papermill does not see the parameter); a bool
            is no int. Numbers are finite, and a page has one name for one entry of a list. Any other name that was
            assigned before is an unknown parameter: see :func:`_unknown`.
        allowed: By parameter what it may be, in place of the entry of :data:`RULES`.

    Raises:
        TypeError: The notebook itself is wrong: it allows what it does not annotate, or annotates what has no rule.
    """
    declared = values.get("__annotations__", {})
    rules = RULES | allowed
    if absent := set(allowed) - set(declared):
        raise TypeError(f"not annotated in the parameters cell: {', '.join(sorted(absent))}")
    if free := [name for name, kind in declared.items() if name not in rules and kind not in (bool, "bool")]:
        raise TypeError(f"say in the check cell what these may be: {', '.join(free)}")
    known = ", ".join(declared)
    environment = _refusal(files.check_environment)
    faults = [f"the environment {environment}"] if environment else []
    faults += [f"{name} is not a parameter of this notebook, which has {known}" for name in _unknown(values, declared)]
    quoted, unread = False, ""  # whether a string came in the place of something else, and of a number
    for name, kind in declared.items():
        kind = eval(kind) if isinstance(kind, str) else kind  # a notebook under `from __future__ import annotations`
        if not _is(values[name], kind):
            place, value, kind = _misfit(name, values[name], kind)
            said = kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else kind
            faults.append(f"{place} = {value!r} is {type(value).__name__}, and must be {said}")
            quoted = quoted or isinstance(value, str)
            unread = unread or unread_number({place: value} if _is(0.5, kind) else {})
        elif values[name] is not None:
            faults += [f"{name} {fault}" for fault in _faults(values[name], rules.get(name, (None, None)), values)]
    if faults:
        raise ValueError(
            ". ".join(faults) + unread + ". Give typed values: papermill IN.ipynb OUT.ipynb -y '{steps: 100}'" * quoted
        )
    if _shell():
        from IPython import display

        shown = {name: values[name] for name in declared}
        display.display({SHOWN: shown}, raw=True)
        if said := _banner(shown, _shell().user_ns["In"]):
            display.display({"text/html": tag("div", said, class_="admonition warning"), "text/plain": said}, raw=True)


def _banner(shown: Mapping[str, object], cells: Iterable[str]) -> str:
    """What a page says first where a parameter has another value than the cell that declares it gives; else empty."""
    nodes = [node for cell in cells for node in ast.parse(cell).body if isinstance(node, ast.AnnAssign)]
    defaults = {node.target.id: ast.literal_eval(node.value) for node in reversed(nodes) if node.target.id in shown}
    own = ", ".join(f"{name} = {value!r}" for name, value in shown.items() if value != defaults.get(name, value))
    return own and f"{BANNER}: {own}. {OF_THE_BOOK}"


def _is(value: object, kind) -> bool:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(_is(value, one) for one in inner)
    if origin is list:
        return isinstance(value, list) and all(_is(entry, *inner) for entry in value)
    if origin is dict:
        return isinstance(value, dict) and all(_is(k, inner[0]) and _is(v, inner[1]) for k, v in value.items())
    if kind in (None, types.NoneType):
        return value is None
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _misfit(name: str, value: object, kind) -> tuple[str, object, Any]:
    """The first entry of a value that is not of its kind, or the value itself: its name, what it is, its kind."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kind = next(one for one in typing.get_args(kind) if one is not types.NoneType)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    entries = []
    if origin is list and isinstance(value, list):
        entries = [(f"{name}[{i}]", entry, *inner) for i, entry in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        entries = [(f"a key of {name}", key, inner[0]) for key in value]
        entries += [(f"{name}[{key!r}]", entry, inner[1]) for key, entry in value.items()]
    return next((entry for entry in entries if not _is(*entry[1:])), (name, value, kind))


def unread_number(values: Mapping[str, object]) -> str:
    """What to say where a value is a string that Python reads as a number and YAML does not; else empty.

    >>> unread_number({"init": "kmeans", "lr": "1e-3"})
    ', and YAML takes 1e-3 for text: write 1.0e-3'
    """
    matches = (re.fullmatch(r"([-+]?\d+)(\.\d*)?e([-+]?)(\d+)", str(value), re.IGNORECASE) for value in values.values())
    found = next(filter(None, matches), None)
    if found is None:
        return ""
    whole, rest, sign, exponent = found.groups()
    return f", and YAML takes {found[0]} for text: write {whole}{rest or '.0'}e{sign or '+'}{exponent}"


def _faults(value: Any, rule: Any, values: Mapping) -> list[str]:
    """Every fault of a value, as the rest of a sentence."""
    if isinstance(value, list):
        each, least, most = rule if isinstance(rule, Entries) else Entries(rule)
        said = [fault for entry in value for fault in _faults(entry, each, values)]
        names = [slug(entry) for entry in value]
        alike = [(value[names.index(name)], value[i]) for i, name in enumerate(names) if name in names[:i]]
        if not least <= len(value) <= most:
            count = f"has {len(value)} entries" if value else "is empty"
            said.append(f"{count}, and must have at least {least} and at most {most}")
        return said + [
            f"has {two!r} twice" if one == two else f"has {one!r} and {two!r}, which a page names alike, {slug(one)!r}"
            for one, two in alike
        ]
    if isinstance(value, float) and not math.isfinite(value):
        return [f"= {value} must be a finite number"]
    if callable(rule):
        said = rule(value, values)
        return [f"= {value!r} {said}"] if said else []
    return [f"= {value!r} must be {said}" for said in _outside(value, rule)]


def _outside(value: Any, allowed: Collection) -> Iterator[str]:
    """What a value must be and is not."""
    if not isinstance(allowed, tuple) or len(allowed) != 2 or any(isinstance(end, str) for end in allowed):
        if value not in allowed:
            yield f"one of {', '.join(map(str, allowed))}"
        return
    low, high = allowed
    if (low is not None and value < low) or (high is not None and value > high):
        yield " and ".join([f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None))


def _shell():
    """IPython's shell, where the notebook runs in one."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return get_ipython()


def _unknown(values: Mapping[str, object], declared: Mapping) -> list[str]:
    """Names that were assigned before the check cell first ran and are no parameters, whatever they look like.

    IPython keeps the code of every cell, that which papermill injects among them. Elsewhere every value counts that is
    no code and no name of Python's own.
    """
    if "In" in values and (shell := _shell()):
        cells = shell.user_ns["In"]
        assigned = [name for cell in cells[: cells.index(cells[-1])] for name in _assigned(cell)]
    else:
        assigned = [name for name in values if not (name.startswith("__") and name.endswith("__"))]
    unknown = [name for name in assigned if name not in declared and not isinstance(values.get(name), CODE)]
    return list(dict.fromkeys(unknown))


def _assigned(cell: str) -> Iterator[str]:
    for statement in ast.parse(cell).body:
        targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
        for target in targets:
            yield from (node.id for node in ast.walk(target or ast.Pass()) if isinstance(node, ast.Name))
