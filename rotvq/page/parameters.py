"""The check cell of a notebook: refuse what papermill was given and the notebook cannot mean.

Papermill injects whatever it is told: `-p quick false` gives the string "false", which is true, and a misspelt name
is only a warning in a log. So the second cell of each notebook is

    from rotvq import parameters
    parameters.check(globals(), steps=(1, None), estimators=ESTIMATORS, seeds=(1, 100))

The types come from the annotations of the `parameters` cell; the keywords say which values are allowed.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Mapping

SHOWN = "application/vnd.rotvq.parameters+json"


def check(values: Mapping[str, object], **allowed) -> None:
    """Raise ValueError, with one sentence for each fault, unless all parameters are what the notebook can use.

    `values` is `globals()` of the notebook. Each annotated name must have its annotated type: `int`, `float` (an int
    will do), `str`, `bool`, `list[...]`, `X | None`. A bool is no int. A keyword allows values: a pair `(low, high)`
    is a closed range, either end of which may be None; any other collection names the allowed values. In a list, every
    entry is held to it, and an empty list is refused; None is not held to it. A plain value whose name is not
    annotated is an unknown parameter, so the check comes before any other assignment.

    In a notebook, the values that passed are left as an output of the type `SHOWN`, from which the page names them.
    """
    declared = values.get("__annotations__", {})
    known = ", ".join(declared)
    faults = [f"{name} is not a parameter of this notebook, which has {known}" for name in _unknown(values, declared)]
    for name, kind in declared.items():
        value = values[name]
        if not _is(value, kind):
            faults.append(f"{name} = {value!r} is {type(value).__name__}, and must be {_name(kind)}")
        elif name in allowed:
            faults.extend(_outside(name, value, allowed[name]))
    if absent := set(allowed) - set(declared):
        raise TypeError(f"not annotated in the parameters cell: {', '.join(sorted(absent))}")
    if faults:
        raise ValueError(". ".join(faults) + ". Give typed values: papermill IN.ipynb OUT.ipynb -y '{steps: 100}'")
    if "IPython" in sys.modules:
        from IPython import display, get_ipython

        if get_ipython():
            display.display({SHOWN: {name: values[name] for name in declared}}, raw=True)


def _is(value, kind) -> bool:
    if isinstance(kind, str):  # a notebook under `from __future__ import annotations`
        kind = eval(kind)  # the annotation is the notebook's own code
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return any(_is(value, k) for k in typing.get_args(kind))
    if typing.get_origin(kind) is list:
        return isinstance(value, list) and all(_is(v, typing.get_args(kind)[0]) for v in value)
    if kind in (None, types.NoneType):
        return value is None
    if kind is float:
        kind = (int, float)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _outside(name, value, allowed) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list):
        if not value:
            return [f"{name} is empty, and must have at least one entry"]
        return [fault for v in value for fault in _outside(name, v, allowed)]
    if isinstance(allowed, tuple) and len(allowed) == 2 and not any(isinstance(end, str) for end in allowed):
        low, high = allowed
        if (low is None or value >= low) and (high is None or value <= high):
            return []
        ends = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
        return [f"{name} = {value!r} must be {' and '.join(ends)}"]
    return [] if value in allowed else [f"{name} = {value!r} must be one of {', '.join(map(str, allowed))}"]


def _unknown(values, declared) -> list[str]:
    """Names of plain values, less IPython's own and imported constants."""
    plain = (bool, int, float, str, list, tuple, types.NoneType)
    return [
        name
        for name, value in values.items()
        if isinstance(value, plain)
        and name not in (*declared, "In", "Out")
        and not name.startswith("_")
        and not (name.isupper() and len(name) > 1)
    ]


def _name(kind) -> str:
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)
