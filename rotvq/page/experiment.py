"""An experiment of one's own: arms and cells as a notebook's parameters give them, as a block of runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from rotvq.page import parameters
from rotvq.runs.grids import Block
from rotvq.training.config import FIELDS, Config

PAIRS = {field.name for field in fields(Config) if field.type.startswith("tuple")}  # a list of two is one value


def block(arms: Mapping[str, Mapping], cells: Mapping[str, Mapping], seeds: int, /, **base: Any) -> Block:
    """Arms crossed with cells, on the seeds from 0.

    Args:
        arms: By label the fields of :class:`.Config` that an arm sets; see :func:`spread`.
        cells: By label those of the conditions.
        seeds: How many.
        base: Fields of every run that neither sets.

    Raises:
        ValueError: A field is unknown, has a value that it cannot have, with others or at all, or has no effect; there
            are fewer than two arms; or two arms, or two cells, are the same runs.
    """
    _check_fields(arms, cells, base)
    whole = Block(spread(arms), spread(cells) or {"": {}}, range(seeds), base)
    if len(whole.arms) < 2:
        given = ", ".join(whole.arms) or "none"
        raise ValueError(f"arms are {given}: at least two are compared; a second one is STE: {{estimator: ste}}")
    if not all(whole.arms):
        raise ValueError("arms: one has no name, by which the page could call it")
    cells_of: dict[tuple, str] = {}
    for cell, conditions in whole.cells.items():
        seen: dict[str, str] = {}
        for arm, changes in whole.arms.items():
            try:
                (config,) = replace(whole, arms={arm: changes}, cells={cell: conditions}, seeds=[0]).configs()
            except (ValueError, SystemExit) as error:
                said = error if isinstance(error, Exception) else repr(error)
                unread = parameters.unread_number(base | conditions | changes)
                raise ValueError(f"{', '.join(filter(None, (arm, cell)))}: {said}{unread}") from None
            if (other := seen.setdefault(config.id, arm)) != arm:
                raise ValueError(f"arms: {other} and {arm} are the same run" + f" in {cell}" * bool(cell))
        if (other := cells_of.setdefault(tuple(seen), cell)) != cell:
            raise ValueError(f"cells: {other} and {cell} are the same runs")
    return whole


def _check_fields(arms: Mapping[str, Mapping], cells: Mapping[str, Mapping], base: Mapping[str, Any]) -> None:
    """Raise ValueError where a field is unknown, or has no effect since all that goes before it sets it, too."""
    by_arms, by_cells = (set.intersection(*map(set, named.values())) if named else set() for named in (arms, cells))
    parts = [(f"arms: {label}", changes, set()) for label, changes in arms.items()]
    parts += [(f"cells: {label}", changes, by_arms) for label, changes in cells.items()]
    own = {name: value for name, value in base.items() if name not in ("data", "steps")}  # which are always there
    for where, changes, set_before in [*parts, ("common", own, by_arms | by_cells)]:
        if unknown := [name for name in changes if name not in FIELDS or name == "seed"]:
            allowed = ", ".join(name for name in FIELDS if name != "seed")
            raise ValueError(f"{where} sets {', '.join(map(repr, unknown))}: a field is one of {allowed}")
        if idle := [name for name in changes if name in set_before]:
            raise ValueError(f"{where} sets {', '.join(idle)}, which has no effect: what goes before it sets it, too")


def spread(named: Mapping[str, Mapping]) -> dict[str, dict]:
    """Arms or cells, of which a list in a field makes one for each of its values.

    >>> spread({"STE": {"estimator": "ste", "gamma": [0.1, 1]}, "clipped": {"estimator": "clipped", "clip": [0.5, 2]}})
    {'STE, gamma 0.1': {'estimator': 'ste', 'gamma': 0.1}, 'STE, gamma 1': {'estimator': 'ste', 'gamma': 1}, \
'clipped': {'estimator': 'clipped', 'clip': (0.5, 2)}}
    """
    found: dict[str, dict] = {}
    for label, changes in named.items():
        values = {name: _values(name, value) for name, value in changes.items()}
        if nested := [name for name in values if any(isinstance(one, list) for one in values[name])]:
            raise ValueError(f"{label!r} sets {', '.join(nested)} to a list in a list: give one list of its values")
        if empty := [name for name in values if not values[name]]:
            raise ValueError(f"{label!r} sets {', '.join(empty)} to an empty list: there would be none of it")
        for choice in itertools.product(*values.values()):
            one = dict(zip(values, choice))
            said = [f"{name} {_said(one[name])}" for name in values if len(values[name]) != 1]
            whole = ", ".join(filter(None, (label.strip(), *said)))
            if whole in found:
                raise ValueError(f"two are called {whole!r}")
            found[whole] = one
    return found


def _values(name: str, value: Any) -> list:
    """The values that a field takes; of a field that is a pair, a list of two numbers is one."""
    several = value if isinstance(value, list) else [value]
    if name not in PAIRS:
        return several
    pairs = several if any(isinstance(one, list) or one is None for one in several) else [several]
    return [tuple(pair) if isinstance(pair, list) else pair for pair in pairs]


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
