"""The language in which a row of the ledger names its evidence, and the one place that parses it.

A row names statements (:mod:`book.statements`), each with the words it is called with; all of them have to hold::

    evidence  = statement { " and " statement }
    statement = name [ "(" word { ", " word } ")" ]

Four statements compare runs: ``lower``, ``higher``, ``close`` and ``between``. Their words are a metric, two arms, for
``close`` a share, for ``between`` two numbers, and then the cell in which the arms are compared::

    arms      = settings " / " settings
    settings  = setting { " + " setting }
    setting   = field "=" value | estimator
    value     = number | text | "none" | low ".." high
    condition = settings { " | " settings }             in at least one of these
              | "at=" step                              at an earlier stop of the runs

so that ``lower(test_mse, rotation + gamma=0.05 / ste, init=uniform | init=kmeans, at=500)`` says that with gamma = 0.05
the rotation has a lower test error after 500 steps than STE has at the default gamma, from uniform codes or from
k-means. Several conditions are crossed. Every field of :class:`.Config` that is not named is at its default.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from rotvq.training.config import Config

STATEMENT = re.compile(r"(\w+)(?:\((.+)\))?")
TYPES = {field.name: field.type for field in fields(Config)}


class Call(NamedTuple):
    """A statement's name and the words it is called with."""

    name: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.words)})" if self.words else self.name


def parse_evidence(text: str) -> list[Call]:
    """The statements that a row names.

    Raises:
        ValueError: It is not written so.

    >>> parse_evidence("value and cited(fifty2025rotation, Fifty, 2025)")
    [Call(name='value', words=()), Call(name='cited', words=('fifty2025rotation', 'Fifty', '2025'))]
    """
    calls = []
    for part in _split(text, " and ") if text else ():
        match = STATEMENT.fullmatch(part)
        if not match:
            raise ValueError(f"evidence is a name or name(word, ...), several joined by ' and ', not {text!r}")
        name, words = match.groups()
        calls.append(Call(name, tuple(_split(words, ", ")) if words else ()))
    return calls


def _split(text: str, separator: str) -> list[str]:
    """The parts of a text between separators that stand outside of brackets."""
    parts: list[str] = []
    for piece in text.split(separator):
        if parts and parts[-1].count("(") > parts[-1].count(")"):
            parts[-1] += separator + piece
        else:
            parts.append(piece)
    return parts


@dataclass(frozen=True)
class Comparison:
    """Two arms, in one cell or in several of which one is enough.

    Attributes:
        metric: A column of a record.
        arms: The settings of the one and of the other.
        cells: The settings of each cell.
        at: The step of the stop at which they are compared; None for the last.
    """

    metric: str
    arms: tuple[str, str]
    cells: tuple[str, ...]
    at: int | None

    def configs(self, cell: str) -> list[Config]:
        """The two runs in a cell, up to the seed; ValueError where a setting does not exist."""
        return [parse_settings(f"{cell} + {arm}") for arm in self.arms]


def parse_comparison(metric: str, arms: str, conditions: Sequence[str]) -> Comparison:
    """A comparison from the words of a row.

    >>> comparison = parse_comparison("test_mse", "rotation / ste", ["init=uniform | init=kmeans", "lr=0.1", "at=500"])
    >>> comparison.arms, comparison.cells, comparison.at
    (('rotation', 'ste'), ('init=uniform + lr=0.1', 'init=kmeans + lr=0.1'), 500)
    """
    first, second = arms.split(" / ")
    stops = [int(word.removeprefix("at=")) for word in conditions if word.startswith("at=")]
    choices = [word.split(" | ") for word in conditions if not word.startswith("at=")]
    cells = tuple(" + ".join(settings) for settings in itertools.product(*choices))
    return Comparison(metric, (first, second), cells, stops[0] if stops else None)


def parse_settings(text: str) -> Config:
    """The Config that settings describe; a later setting goes before an earlier one. ValueError for one that is none.

    >>> parse_settings("init=uniform + clipped + clip=0.5..2").clip
    (0.5, 2.0)
    """
    values = {}
    for setting in filter(None, text.split(" + ")):
        name, equals, value = setting.partition("=")
        if equals:
            values[name] = _value(TYPES.get(name, "str"), value)
        else:
            values["estimator"] = name
    return Config.from_dict(values).check()


def _value(type_: str, text: str) -> Any:
    """A field's value from its text, by the annotation of the field."""
    if type_.endswith("None") and text == "none":
        return None
    if type_.startswith("tuple"):
        low, high = text.split("..")
        return float(low), float(high)
    return text if type_ == "str" else float(text)
