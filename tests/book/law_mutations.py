"""A mutation: one thing replaced, with which a law must fail. The tests of a chapter hold a table of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from book.statements import find
from rotvq.quantizers.estimators import ESTIMATORS, Estimator

SOUND = dict(ESTIMATORS)
SEEDS = (0, 1)


class Mutation(NamedTuple):
    """What is replaced: an attribute of a module or class, or the row of an estimator."""

    where: Any
    name: str
    by: Any

    def __str__(self) -> str:
        return f"{getattr(self.where, '__name__', 'estimator').rpartition('.')[2]}.{self.name}"


def row(name: str, by: str | Estimator) -> Mutation:
    """The row of one estimator replaced by another."""
    return Mutation(ESTIMATORS, name, SOUND[by] if isinstance(by, str) else by)


def parameters(table: dict[Callable, list[Mutation]]) -> list:
    """(law, mutation) pairs for ``pytest.mark.parametrize``, with ids."""
    import pytest

    return [
        pytest.param(law.__name__, mutation, id=f"{law.__name__}-{mutation}")
        for law, mutations in table.items()
        for mutation in mutations
    ]


def assert_holds(name: str, seeds=(0, 1, 2)) -> None:
    """The law holds in every precision it is tried in."""
    law = find(name)
    for dtype in law.dtypes:
        law.require(dtype=dtype, seeds=seeds)


@cache
def holds(name: str) -> bool:
    """Whether a law holds without a mutation; asked before each of its mutations, and computed once."""
    return find(name).check(seeds=SEEDS).claim


def fails(name: str) -> bool:
    """Whether a law fails in one of its dimensions on one of the draws; the first such draw is enough."""
    law = find(name)
    return any(not law.check(dims=[d], seeds=[seed]).claim for seed, d in itertools.product(SEEDS, law.dims[::-1]))


def assert_turned(name: str, mutation: Mutation, monkeypatch) -> None:
    """The law holds, and does not with the mutation."""
    assert holds(name), f"{name} fails without the mutation"
    if mutation.where is ESTIMATORS:
        monkeypatch.setitem(ESTIMATORS, mutation.name, mutation.by)
    else:
        monkeypatch.setattr(mutation.where, mutation.name, mutation.by)
    assert fails(name), f"{name} does not see {mutation}"
