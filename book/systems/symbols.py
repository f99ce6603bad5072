r"""Symbols by gradient: every node of an expression tree chooses its symbol as the nearest code of a point z.

The codes of the K symbols of a node are the K axes, :math:`e_k = \ell_k \hat e_k`, so that a code is a weight of 1 for
one symbol, :math:`w = q / \ell`. The loss of the tree that was chosen has a slope in all weights,

.. math:: g_k = \ell_k^{-1}\, \frac{\partial L}{\partial v}\, o_k(\text{left}, \text{right}),

so it tells of every symbol, chosen or not, what a little more of it would do. An estimator takes g to z. All twelve
targets are searched side by side, from many starts each; a step looks at one tree a start, whatever the arm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from book.systems import actions, expressions, runs
from book.systems.expressions import EXACT, LEAVES, OPERATORS, TARGETS
from rotvq import ESTIMATORS
from rotvq.quantizers.geometry import unit
from rotvq.training.seeds import generator

CURVE = 20  # evenly apart, the evaluations at which the share of starts that have ended is noted


@dataclass(frozen=True)
class Case:
    """One run: all targets.

    Args:
        estimator: a key of :data:`rotvq.ESTIMATORS`; "gumbel", which draws from the softmax of
            ``-|z - e_k|^2 / 2 noise^2``; or without a gradient "random", which draws each tree anew, and "climb", which
            draws one node anew and keeps the new tree if it is no worse.
        length: of z at the start, in a random direction; codes have the length 1.
        lengths: of the codes: "equal", or "unequal", log-normal with standard deviation 1/2 of the logarithm.
        noise: standard deviation of what is added to z before its nearest code is taken; width of "gumbel"'s softmax.
        temperature: of "gumbel".
        optimizer: "adam" or "sgd".
        rate: of the optimizer.
        gamma: weight of the commitment loss |y - q|^2, a sum over the numbers of a node and over nodes.
        depth: of the trees.
        starts: of each target, S.
        steps: trees that a start looks at.
        seed: of starts and noise; the points of the targets are the same for all.
    """

    estimator: str = "ste"
    length: float = 1.0
    lengths: str = "equal"
    noise: float = 0.1
    temperature: float = 1.0
    optimizer: str = "adam"
    rate: float = 0.03
    gamma: float = 0.0
    depth: int = 3
    starts: int = 32
    steps: int = 300
    seed: int = 0


def data() -> tuple[Tensor, Tensor]:
    """The leaves and values of all targets: (12, 1, 3, P) and (12, 1, P)."""
    samples = [expressions.sample(target) for target in TARGETS.values()]
    return tuple(torch.stack(part)[:, None] for part in zip(*samples))


class Nodes:
    """The inner nodes of all trees, or all their leaves: what their points z are, and what they choose.

    Args:
        case: of the run.
        nodes: of a tree, N.
        symbols: of a node, K.
        draw: where starts and lengths of codes are drawn from.
    """

    def __init__(self, case: Case, nodes: int, symbols: int, draw: torch.Generator):
        self.case, self.symbols = case, symbols
        self.shape = (len(TARGETS), case.starts, nodes)
        spread = torch.randn(symbols, generator=draw, dtype=torch.float64) / 2
        self.lengths = spread.exp() if case.lengths == "unequal" else torch.ones_like(spread)
        self.codes = self.lengths.diag()
        self.z = case.length * self.directions(draw)
        self.y = self.weights = None

    def directions(self, draw: torch.Generator) -> Tensor:
        """Uniform on the sphere, one a node: (12, S, N, K)."""
        return unit(torch.randn(*self.shape, self.symbols, generator=draw, dtype=torch.float64))

    def choose(self, draw: torch.Generator) -> Tensor:
        """The number of the symbol of each node, (12, S, N)."""
        case = self.case
        if case.estimator == "gumbel":
            drawn = actions.gumbel_noise(tuple(self.z.shape), draw).double()
            self.weights = ((actions.logits(self.z, self.codes, case.noise) + drawn) / case.temperature).softmax(-1)
            return self.weights.argmax(-1)
        self.y = self.z + case.noise * torch.randn(*self.z.shape, generator=draw, dtype=torch.float64)
        return actions.play(self.y, self.codes)

    def pulled(self, chosen: Tensor, g: Tensor) -> Tensor:
        """What the estimator makes of the slope g in the weights, and the commitment loss: (12, S, N, K)."""
        case, g, q = self.case, g / self.lengths, self.codes[chosen]
        if case.estimator == "gumbel":
            passed = actions.gumbel_estimate(self.weights, self.codes, g, case.noise, case.temperature)
            return passed + 2 * case.gamma * (self.z - q)
        return ESTIMATORS[case.estimator].pull_back(self.y, q, g) + 2 * case.gamma * (self.y - q)


Trees = list[Tensor]  # the symbols of inner nodes (12, S, 2^depth - 1) and of leaves (12, S, 2^depth), level by level


class Gradient:
    """The points of all nodes, moved by what an estimator makes of the slope.

    Args:
        case: of the run.
    """

    slopes = True  #: whether it is given the slope of the loss in the weights

    def __init__(self, case: Case):
        starts, self.draw = generator(case.seed, "weights"), generator(case.seed, "noise")
        sizes = {expressions.inner_nodes(case.depth): len(OPERATORS), 2**case.depth: LEAVES}
        self.nodes = [Nodes(case, nodes, symbols, starts) for nodes, symbols in sizes.items()]
        kinds = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
        self.optimizer = kinds[case.optimizer]([one.z for one in self.nodes], case.rate)

    def propose(self) -> Trees:
        """The trees to look at."""
        return [one.choose(self.draw) for one in self.nodes]

    def learn(self, trees: Trees, losses: Tensor, slopes: list[Tensor]) -> None:
        """Take in the losses (12, S) of these trees and the slopes in their weights."""
        for one, chosen, g in zip(self.nodes, trees, slopes):
            one.z.grad = one.pulled(chosen, g)
        self.optimizer.step()


class Random(Gradient):
    """Every tree is drawn anew, with each symbol as likely as any other."""

    slopes = False

    def learn(self, trees: Trees, losses: Tensor, slopes: list[Tensor]) -> None:
        for one in self.nodes:
            one.z = one.directions(self.draw)


class Climb(Gradient):
    """From the same first tree: one node is drawn anew, and the new tree kept if it is no worse."""

    slopes = False

    def __init__(self, case: Case):
        super().__init__(case)
        self.best: Trees | None = None

    def propose(self) -> Trees:
        if self.best is None:
            return super().propose()
        trees = [one.clone() for one in self.best]
        where = torch.randint(sum(one.shape[-1] for one in trees), trees[0].shape[:2], generator=self.draw)
        for one, nodes in zip(trees, self.nodes):
            drawn = torch.randint(nodes.symbols, trees[0].shape[:2], generator=self.draw)
            here = where[..., None] == torch.arange(one.shape[-1])
            one[here] = drawn[..., None].expand_as(one)[here]
            where = where - one.shape[-1]
        return trees

    def learn(self, trees: Trees, losses: Tensor, slopes: list[Tensor]) -> None:
        if self.best is None:
            self.best, self.least = trees, losses
        better = losses <= self.least
        self.best = [torch.where(better[..., None], new, old) for new, old in zip(trees, self.best)]
        self.least = torch.where(better, losses, self.least)


SEARCHES = {"random": Random, "climb": Climb}  #: by the name of the estimator; of all others Gradient


def look(trees: Trees, values: Tensor, wanted: Tensor, slopes: bool) -> tuple[Tensor, list[Tensor]]:
    """The errors of trees, (12, S), and where asked the slopes of log(1 + error) in the weights of their nodes.

    Args:
        trees: the symbols.
        values: of the inputs, (12, 1, 3, P).
        wanted: of the targets, (12, 1, P).
        slopes: whether they are asked for.
    """
    weights = [one_hot(one, symbols).double() for one, symbols in zip(trees, (len(OPERATORS), LEAVES))]
    for one in weights:
        one.requires_grad_(slopes)
    errors = expressions.error(expressions.evaluate(*weights, values), wanted)
    return errors.detach(), list(torch.autograd.grad(errors.log1p().sum(), weights)) if slopes else []


def numbered(trees: Trees) -> Tensor:
    """A number for each tree, the same for none but the same symbols: int64 (12, S)."""
    number = torch.zeros(trees[0].shape[:2], dtype=torch.int64)
    for one, symbols in zip(trees, (len(OPERATORS), LEAVES)):
        for node in one.unbind(-1):
            number = number * symbols + node
    return number


def train(case: Case) -> dict:
    """Run one case; deterministic on a given machine.

    Returns:
        By target: ``found``, the share of its starts that looked at a tree that is equal to it; ``looked``, the trees
        that its starts looked at until then, or until the end; ``error``, the geometric mean over its starts of the
        least error they saw, at least :data:`.EXACT`; ``curve``, ``found`` after every twentieth of the steps. And
        over all targets and starts, ``different``, the mean share of the trees looked at that are different ones, and
        ``z``, the mean length of the points of inner nodes at the end.
    """
    values, wanted = data()
    search = SEARCHES.get(case.estimator, Gradient)(case)
    least = torch.full((len(TARGETS), case.starts), torch.inf, dtype=torch.float64)
    looked = torch.full(least.shape, case.steps)
    every, curve, numbers = max(1, case.steps // CURVE), [], []
    for step in range(1, case.steps + 1):
        trees = search.propose()
        errors, slopes = look(trees, values, wanted, search.slopes)
        search.learn(trees, errors, slopes)
        looked = torch.where((errors < EXACT) & (least >= EXACT), step, looked)
        least = torch.minimum(least, errors)
        numbers.append(numbered(trees))
        if step % every == 0:
            curve.append((least < EXACT).double().mean(1))
    seen = torch.stack(numbers, -1).sort(-1).values
    different = 1 + (seen.diff(dim=-1) != 0).sum(-1)
    return {
        "targets": {
            name: {
                "found": (least[i] < EXACT).double().mean().item(),
                "looked": int(looked[i].sum()),
                "error": least[i].clamp_min(EXACT).log().mean().exp().item(),
                "curve": [shares[i].item() for shares in curve],
            }
            for i, name in enumerate(TARGETS)
        },
        "different": (different / case.steps).mean().item(),
        "z": search.nodes[0].z.norm(dim=-1).mean().item(),
    }


class Swaps(NamedTuple):
    """Trees, and what becomes of the loss log(1 + error) where one node has another symbol, M swaps a tree.

    Args:
        expected: what the slope says of each, to first order: (12, S, M).
        real: what it is: (12, S, M).
    """

    expected: Tensor
    real: Tensor


def swaps(trees: Trees) -> Swaps:
    """Every swap of one symbol for another, with no choice left out."""
    values, wanted = data()
    errors, slopes = look(trees, values, wanted, True)
    expected, real = [], []
    for kind, (chosen, g) in enumerate(zip(trees, slopes)):
        symbols = g.shape[-1]
        for node in range(chosen.shape[-1]):
            here = chosen[..., node, None]
            for shift in range(1, symbols):
                other = (here + shift) % symbols
                expected.append((g[..., node, :].gather(-1, other) - g[..., node, :].gather(-1, here))[..., 0])
                swapped = [one.clone() for one in trees]
                swapped[kind][..., node] = other[..., 0]
                real.append(look(swapped, values, wanted, False)[0].log1p() - errors.log1p())
    return Swaps(torch.stack(expected, -1), torch.stack(real, -1))


#: fields of the arms, by their names on the page
ARMS: Mapping[str, Mapping] = {
    "STE": {"estimator": "ste", "noise": 0.1},
    "rotation": {"estimator": "rotation", "noise": 0.1},
    "R": {"estimator": "rotation_only", "noise": 0.1},
    "r I": {"estimator": "scale_only", "noise": 0.1},
    "Gumbel": {"estimator": "gumbel", "noise": 0.6},
}
MEMBERS = {name: ARMS[name] for name in ("STE", "rotation", "R", "r I")}
GUMBEL = {"Gumbel": ARMS["Gumbel"]}
BLIND: Mapping[str, Mapping] = {"climb": {"estimator": "climb"}, "random": {"estimator": "random"}}
LENGTHS = {name: {"length": length} for name, length in {"¼": 0.25, "1": 1.0, "4": 4.0}.items()}
RATES = {f"{rate:g}": {"rate": rate} for rate in (0.003, 0.01, 0.1, 0.3)}
NOISES = {f"{noise:g}": {"noise": noise} for noise in (0.0, 0.3)}
WIDTHS = {f"{noise:g}": {"noise": noise} for noise in (0.3, 1.0)}  # of the softmax
GAMMAS = {f"{gamma:g}": {"gamma": gamma} for gamma in (0.1, 1.0)}
SGD = {f"{rate:g}": {"optimizer": "sgd", "rate": rate} for rate in (0.1, 1.0)}
UNEQUAL = {"unequal": {"lengths": "unequal"}}
SMOKE = {"length": 1.0, "rate": 0.03, "gamma": 0.0, "optimizer": "adam", "lengths": "equal"}
SMOKE |= {"depth": 2, "starts": 2, "steps": 4}  # each arm, with each noise
EXPERIMENT = runs.Experiment(
    "35_symbols",
    train,
    {
        "confirm": runs.crossed(Case(), ARMS, LENGTHS, seeds=runs.CONFIRM),
        "blind": runs.crossed(Case(), BLIND, seeds=runs.CONFIRM),
        "main": runs.crossed(Case(), ARMS, LENGTHS),
        "blind, explored": runs.crossed(Case(), BLIND),
        "rates": runs.crossed(Case(), ARMS, RATES),
        "noise": runs.crossed(Case(), MEMBERS, NOISES) + runs.crossed(Case(), GUMBEL, WIDTHS),
        "lengths": runs.crossed(Case(), ARMS, UNEQUAL),
        "commitment": runs.crossed(Case(), MEMBERS, GAMMAS),
        "sgd": runs.crossed(Case(), MEMBERS, SGD),
    },
    smoke=SMOKE,
    seconds=6.5,
)
