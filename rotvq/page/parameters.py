"""The check of a notebook's parameters: refuse what papermill was given and the notebook cannot mean.

Papermill injects whatever it is told: ``-p quick false`` gives the string "false", which is true, and a misspelt name
is only a warning in a log.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Mapping

SHOWN = "application/vnd.rotvq.parameters+json"
PLAIN = (bool, int, float, str, list, tuple, types.NoneType)  # what a parameter can be


def check(values: Mapping[str, object], **allowed) -> None:
    """Raise ValueError, with one sentence for each fault, unless all parameters are what the notebook can use.

    In a notebook, the values that passed are left as an output of the type `SHOWN`, from which the page names them.

    Args:
        values: ``globals()`` of the notebook. Each annotated name must have its annotated type: int, float (an int will
            do), str, bool, list[...], X | None; a bool is no int. A plain value whose name is not annotated is an
            unknown parameter, so the check comes before any other assignment.
        allowed: By parameter a closed range (low, high), either end of which may be None, or any other collection of
            the allowed values. Every entry of a list is held to it, and an empty list refused; None is not held to it.
    """
    declared = values.get("__annotations__", {})
    if absent := set(allowed) - set(declared):
        raise TypeError(f"not annotated in the parameters cell: {', '.join(sorted(absent))}")
    known = ", ".join(declared)
    faults = [f"{name} is not a parameter of this notebook, which has {known}" for name in _unknown(values, declared)]
    for name, kind in declared.items():
        kind = eval(kind) if isinstance(kind, str) else kind  # a notebook under `from __future__ import annotations`
        if not _is(values[name], kind):
            said = kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else kind
            faults.append(f"{name} = {values[name]!r} is {type(values[name]).__name__}, and must be {said}")
        elif name in allowed:
            faults += _outside(name, values[name], allowed[name])
    if faults:
        raise ValueError(". ".join(faults) + ". Give typed values: papermill IN.ipynb OUT.ipynb -y '{steps: 100}'")
    if "IPython" in sys.modules:
        from IPython import display, get_ipython

        if get_ipython():
            display.display({SHOWN: {name: values[name] for name in declared}}, raw=True)


def _is(value: object, kind) -> bool:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return any(_is(value, one) for one in typing.get_args(kind))
    if typing.get_origin(kind) is list:
        return isinstance(value, list) and all(_is(entry, *typing.get_args(kind)) for entry in value)
    if kind in (None, types.NoneType):
        return value is None
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _outside(name: str, value, allowed) -> list[str]:
    if value is None:
        return []
    if value == []:
        return [f"{name} is empty, and must have at least one entry"]
    if isinstance(value, list):
        return [fault for entry in value for fault in _outside(name, entry, allowed)]
    if not isinstance(allowed, tuple) or len(allowed) != 2 or any(isinstance(end, str) for end in allowed):
        return [] if value in allowed else [f"{name} = {value!r} must be one of {', '.join(map(str, allowed))}"]
    low, high = allowed
    if (low is None or value >= low) and (high is None or value <= high):
        return []
    ends = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
    return [f"{name} = {value!r} must be {' and '.join(ends)}"]


def _unknown(values: Mapping[str, object], declared: Mapping) -> list[str]:
    """Names of plain values, less IPython's own and constants in capitals."""
    ours = [name for name, value in values.items() if isinstance(value, PLAIN) and name not in (*declared, "In", "Out")]
    return [name for name in ours if not name.startswith("_") and (len(name) == 1 or not name.isupper())]
