r"""Expression trees of one shape over a small grammar, with all of them known: what can be expressed, and how often.

A tree is a full binary one. Each of its inner nodes holds one of :data:`OPERATORS` and each leaf one of three inputs.
"left" passes its left branch on, so that smaller trees are among them; sin and cos look at the left branch alone.

*Relaxed*, a node has a weight for every symbol and its value is the weighted sum over all of them,

.. math:: v = \sum_k w_k\, o_k(\text{left}, \text{right}),

which is the tree itself where the weights are 1 for one symbol and 0 for the others (:func:`evaluate`). It is a
polynomial of the weights with sines and cosines of others, so it is smooth everywhere.

*The truth* (:func:`truth`): trees of depth d are pairs of functions of depth d - 1, of which there are few once equal
ones are merged and counted. So every tree is looked at, though there are billions.

The targets are the twelve of Nguyen (Uy et al. 2011), on domains as in Petersen et al. (2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

OPERATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "left": lambda left, right: left,
    "+": lambda left, right: left + right,
    "−": lambda left, right: left - right,
    "·": lambda left, right: left * right,
    "sin": lambda left, right: left.sin(),
    "cos": lambda left, right: left.cos(),
}
ONE_BRANCH = ("left", "sin", "cos")  #: operators that do not look at the right branch
LEAVES = 3  # inputs of a tree
POINTS = 20  # at which a tree is compared with its target
EXACT = 1e-16  #: an error below it is rounding: what is nearest without being equal is far above (the page shows it)


class Target(NamedTuple):
    """A function to be found.

    Args:
        text: it, in words.
        leaves: names of the three inputs.
        low, high: its domain, in x and y alike.
        function: of x and y, tensors of one shape.
    """

    text: str
    leaves: tuple[str, str, str]
    low: float
    high: float
    function: Callable[[Tensor, Tensor], Tensor]


ONE, TWO = ("1", "x", "x²"), ("1", "x", "y")  # inputs for targets of one variable, and of two
TARGETS: dict[str, Target] = {
    "1": Target("x³ + x² + x", ONE, -1, 1, lambda x, _: x**3 + x**2 + x),
    "2": Target("x⁴ + x³ + x² + x", ONE, -1, 1, lambda x, _: x**4 + x**3 + x**2 + x),
    "3": Target("x⁵ + x⁴ + x³ + x² + x", ONE, -1, 1, lambda x, _: x**5 + x**4 + x**3 + x**2 + x),
    "4": Target("x⁶ + x⁵ + x⁴ + x³ + x² + x", ONE, -1, 1, lambda x, _: x**6 + x**5 + x**4 + x**3 + x**2 + x),
    "5": Target("sin(x²) cos(x) − 1", ONE, -1, 1, lambda x, _: (x**2).sin() * x.cos() - 1),
    "6": Target("sin(x) + sin(x + x²)", ONE, -1, 1, lambda x, _: x.sin() + (x + x**2).sin()),
    "7": Target("log(x + 1) + log(x² + 1)", ONE, 0, 2, lambda x, _: (x + 1).log() + (x**2 + 1).log()),
    "8": Target("√x", ONE, 0, 4, lambda x, _: x.sqrt()),
    "9": Target("sin(x) + sin(y²)", TWO, 0, 1, lambda x, y: x.sin() + (y**2).sin()),
    "10": Target("2 sin(x) cos(y)", TWO, 0, 1, lambda x, y: 2 * x.sin() * y.cos()),
    "11": Target("xʸ", TWO, 0, 1, lambda x, y: x**y),
    "12": Target("x⁴ − x³ + y²/2 − y", TWO, 0, 1, lambda x, y: x**4 - x**3 + y**2 / 2 - y),
}


def inputs(target: Target, x: Tensor, y: Tensor) -> Tensor:
    """The values of a target's leaves at points x and y (P,): (3, P)."""
    named = {"1": torch.ones_like(x), "x": x, "x²": x**2, "y": y}
    return torch.stack([named[leaf] for leaf in target.leaves])


def sample(target: Target, points: int = POINTS, seed: int = 2026) -> tuple[Tensor, Tensor]:
    """Leaves (3, P) and values (P,) of a target at points drawn uniformly in its domain, in double precision."""
    noise = torch.Generator().manual_seed(seed)
    drawn = torch.rand(2, points, generator=noise, dtype=torch.float64)
    x, y = target.low + (target.high - target.low) * drawn
    return inputs(target, x, y), target.function(x, y)


def inner_nodes(depth: int) -> int:
    """Of a tree; it has one leaf more."""
    return 2**depth - 1


def all_trees(depth: int) -> int:
    """In how many ways the symbols of a tree can be chosen.

    >>> [all_trees(depth) for depth in (0, 1, 2)]
    [3, 54, 17496]
    """
    return len(OPERATORS) ** inner_nodes(depth) * LEAVES ** (2**depth)


def evaluate(operators: Tensor, leaves: Tensor, values: Tensor) -> Tensor:
    """The values of relaxed trees.

    Args:
        operators: weights of the inner nodes, level by level from the leaves up, (..., 2^depth - 1, 6).
        leaves: weights of the leaves, (..., 2^depth, 3).
        values: of the inputs, (..., 3, P).

    Returns:
        (..., P).
    """
    branches = leaves @ values  # (..., 2^depth, P)
    first = 0
    while branches.shape[-2] > 1:
        left, right = branches[..., 0::2, :], branches[..., 1::2, :]
        weights = operators[..., first : first + left.shape[-2], :]
        results = torch.stack([operator(left, right) for operator in OPERATORS.values()], -2)  # (..., nodes, 6, P)
        branches = (weights[..., None] * results).sum(-2)
        first += left.shape[-2]
    return branches[..., 0, :]


def error(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean square error in units of the variance of what is wanted, over the last axis: (..., P) to (...)."""
    return (found - wanted).square().mean(-1) / wanted.var(-1, correction=0)


def text(operators: list[int], leaves: list[int], names: tuple[str, ...]) -> str:
    """A tree in words, from the numbers of its symbols, level by level from the leaves up.

    >>> text([1, 4, 3], [1, 0, 2, 2], ("1", "x", "y"))
    '((x + 1) · sin(y))'
    """
    branches, remaining = [names[leaf] for leaf in leaves], list(operators)
    while len(branches) > 1:
        pairs = list(zip(branches[0::2], branches[1::2]))
        level, remaining = remaining[: len(pairs)], remaining[len(pairs) :]
        branches = [written(list(OPERATORS)[one], *pair) for one, pair in zip(level, pairs)]
    return branches[0]


def written(operator: str, left: str, right: str) -> str:
    """An operator and its branches in words."""
    if operator == "left":
        return left
    return f"{operator}({left})" if operator in ONE_BRANCH else f"({left} {operator} {right})"


class Functions(NamedTuple):
    """The different functions that trees of one depth are, F of them.

    Args:
        values: at the points, (F, P).
        trees: how many trees are this function, int64 (F,).
        texts: a shortest tree of each.
    """

    values: Tensor
    trees: Tensor
    texts: list[str]


def functions(values: Tensor, names: tuple[str, ...], depth: int) -> Functions:
    """All functions of trees of a depth, by their values at the points.

    Args:
        values: of the inputs, (3, P).
        names: of the inputs.
        depth: of the trees.
    """
    found = Functions(values, torch.ones(len(values), dtype=torch.int64), list(names))
    for _ in range(depth):
        found = merged(grown(found))
    return found


def grown(below: Functions) -> Functions:
    """A function for each operator and pair of functions that are one level lower; equal ones are not merged."""
    values, trees, texts = [], [], []
    every = below.trees.sum()
    for name, operator in OPERATORS.items():
        if name in ONE_BRANCH:
            values.append(operator(below.values, below.values))
            trees.append(below.trees * every)
            texts += [written(name, left, "") for left in below.texts]
        else:
            values.append(operator(below.values[:, None], below.values[None]).flatten(0, 1))
            trees.append(torch.outer(below.trees, below.trees).flatten())
            texts += [written(name, left, right) for left in below.texts for right in below.texts]
    return Functions(torch.cat(values), torch.cat(trees), texts)


def merged(found: Functions) -> Functions:
    """The same with equal functions, which agree at all points to eight decimals, as one."""
    _, same = torch.unique(found.values.round(decimals=8) + 0.0, dim=0, return_inverse=True)
    trees = torch.zeros(int(same.max()) + 1, dtype=torch.int64).index_add_(0, same, found.trees)
    shortest: dict[int, int] = {}
    for place, group in enumerate(same.tolist()):
        kept = shortest.setdefault(group, place)
        if len(found.texts[place]) < len(found.texts[kept]):
            shortest[group] = place
    places = [shortest[group] for group in range(len(trees))]
    return Functions(found.values[places], trees, [found.texts[place] for place in places])


class Truth(NamedTuple):
    """What the trees of a depth can do for a target.

    Args:
        trees: how many are equal to it.
        of: how many there are.
        ways: in how many ways it is an operator of functions that are one level lower.
        least: the least error of any tree.
        next_least: of any tree that is not equal to it.
        text: a shortest tree with the least error.
    """

    trees: int
    of: int
    ways: int
    least: float
    next_least: float
    text: str

    def chance(self, evaluations: int) -> float:
        """That one of as many trees, drawn at random, is equal to the target."""
        return -math.expm1(evaluations * math.log1p(-self.trees / self.of))


def truth(target: Target, depth: int, points: int = POINTS) -> Truth:
    """Look at every tree of a depth."""
    values, wanted = sample(target, points)
    below = functions(values, target.leaves, depth - 1)
    every = int(below.trees.sum())
    trees, ways, least, next_least, best = 0, 0, math.inf, math.inf, ""
    for row, (left, count) in enumerate(zip(below.values, below.trees.tolist())):
        for name, operator in OPERATORS.items():
            alone = name in ONE_BRANCH
            errors = error(operator(left[None], left[None] if alone else below.values), wanted)
            equal = errors < EXACT
            if equal.any():
                trees += count * (every if alone else int(below.trees[equal].sum()))
                ways += int(equal.sum())
            if not equal.all():
                next_least = min(next_least, errors[~equal].min().item())
            at = int(errors.argmin())
            reached = 0.0 if equal[at] else errors[at].item()
            said = written(name, below.texts[row], "" if alone else below.texts[at])
            if reached < least or (reached == least and len(said) < len(best)):
                least, best = reached, said
    return Truth(trees, all_trees(depth), ways, least, next_least, best)
