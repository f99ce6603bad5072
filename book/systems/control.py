r"""A control task with nearest-code actions: a mass in a swirling wind, pushed to a goal by one of a few thrusts.

The state is a place p and a velocity v in the plane; an episode has a goal. A thrust e gives

.. math:: v' = v + h (3 e - v + w(p)), \quad p' = p + h v', \quad
          \text{cost} = h \big(|p' - \text{goal}|^2 + 0.05\, |v'|^2 + 0.05\, |e|^2\big),

with :math:`w(p) = (\sin 3 p_y, -\sin 3 p_x)` and h = 0.1. Thrusts are 16 codes: eight directions, full and a quarter.
The model is known, so a policy network is trained through it, step by step through the whole episode; where the thrust
is a code, the gradient passes by an estimator. REINFORCE sees the costs alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from book.systems import actions, bandit, runs
from rotvq import ESTIMATORS
from rotvq.quantizers.geometry import norm
from rotvq.training.seeds import generator

STEP, PUSH, DRAG, EFFORT = 0.1, 3.0, 1.0, 0.05  # h, and the weights of thrust, drag, and of velocity and thrust in cost
CURVE = 10  # evaluations of the test episodes, evenly apart
OBSERVED = 6  # numbers: place, velocity, goal


@dataclass(frozen=True)
class Task:
    """One run.

    Args:
        estimator: a key of :data:`rotvq.ESTIMATORS`; "gumbel", which draws from the softmax; "reinforce"; "continuous",
            whose thrust is any vector up to the length 1, in training and in the test; "snapped", the same in training
            alone.
        off: whether there is a 17th code, no thrust, of length 0.
        noise: standard deviation of what is added to z in training, and the width s of the softmax.
        rate: of Adam.
        width: of the policy's two hidden layers.
        horizon: steps of an episode, T.
        batch: episodes of an update.
        steps: updates.
        tested: episodes of the test.
        seed: of weights, episodes and noise.
    """

    estimator: str = "ste"
    off: bool = False
    noise: float = 0.2
    rate: float = 1e-2
    width: int = 32
    horizon: int = 30
    batch: int = 32
    steps: int = 100
    tested: int = 256
    seed: int = 0


def thrusts(off: bool = False) -> Tensor:
    """The codes, (16, 2), or (17, 2) with no thrust among them."""
    angles = torch.arange(8) * math.pi / 4
    directions = torch.stack([angles.cos(), angles.sin()], -1)
    return torch.cat([directions, directions / 4, torch.zeros(int(off), 2)])


def move(p: Tensor, v: Tensor, goal: Tensor, e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A step of the model from places, velocities, goals and thrusts (B, 2): the next two, and the costs (B,)."""
    wind = torch.stack([(3 * p[:, 1]).sin(), -(3 * p[:, 0]).sin()], -1)
    v = v + STEP * (PUSH * e - DRAG * v + wind)
    p = p + STEP * v
    squares = [x.square().sum(-1) for x in (p - goal, v, e)]
    return p, v, STEP * (squares[0] + EFFORT * (squares[1] + squares[2]))


def policy(case: Task) -> nn.Sequential:
    """What is observed (B, 6) to points z (B, 2)."""
    weights = generator(case.seed, "weights")
    layers = [nn.Linear(a, b) for a, b in ((OBSERVED, case.width), (case.width, case.width), (case.width, 2))]
    for layer in layers:
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=weights)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


def begin(episodes: int, noise: torch.Generator) -> tuple[Tensor, Tensor]:
    """Places and goals of new episodes, uniform in [-1, 1]^2: (B, 2) each."""
    return tuple(2 * torch.rand(episodes, 2, generator=noise) - 1 for _ in range(2))


class Thruster:
    """From points z to thrusts, by the rule of a case.

    Args:
        case: of which estimator, noise and off count.
    """

    def __init__(self, case: Task):
        self.case, self.codes = case, thrusts(case.off)

    def tested(self, z: Tensor) -> Tensor:
        """Without noise: the nearest code, or for "continuous" z itself, at most of length 1."""
        return limited(z) if self.case.estimator == "continuous" else self.codes[actions.play(z, self.codes)]

    def trained(self, z: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """With noise and a gradient to z; of REINFORCE, which has none, the logarithm of the density, (B,)."""
        case, codes = self.case, self.codes
        if case.estimator == "gumbel":
            scores = actions.logits(z, codes, case.noise)
            weights = (scores + actions.gumbel_noise(tuple(scores.shape), noise)).softmax(-1)
            mixture = weights @ codes
            return codes[weights.argmax(-1)] + (mixture - mixture.detach()), None
        y = z + case.noise * torch.randn(z.shape, generator=noise)
        if case.estimator in ("continuous", "snapped"):
            return limited(y), None
        q = codes[actions.play(y, codes)]
        if case.estimator == "reinforce":
            return q, -(y.detach() - z).square().sum(-1) / (2 * case.noise**2)
        return ESTIMATORS[case.estimator](y, q), None


def limited(z: Tensor) -> Tensor:
    """z, cut to the length 1."""
    return z / norm(z).clamp_min(1)


def loss(net: nn.Module, thruster: Thruster, noise: torch.Generator) -> Tensor:
    """What an update descends on a batch of new episodes: their cost, or for REINFORCE what has its gradient's mean."""
    case = thruster.case
    p, goal = begin(case.batch, noise)
    v = torch.zeros_like(p)
    costs, logs = [], []
    for _ in range(case.horizon):
        e, log = thruster.trained(net(torch.cat([p, v, goal], 1)), noise)
        p, v, cost = move(p, v, goal, e)
        costs.append(cost)
        logs.append(log)
    costs = torch.stack(costs)  # (T, B)
    if case.estimator != "reinforce":
        return costs.sum(0).mean()
    to_go = costs.flip(0).cumsum(0).flip(0).detach()
    ahead = to_go - to_go.mean(1, keepdim=True)  # the baseline: the mean over the batch, step by step
    return (torch.stack(logs) * ahead).sum(0).mean()


@torch.no_grad()
def test_cost(act, tested: int, horizon: int) -> float:
    """Mean cost of an episode; ``act`` takes what is observed (B, 6) to thrusts. Every seed has the same episodes."""
    p, goal = begin(tested, torch.Generator().manual_seed(2026))
    v, total = torch.zeros_like(p), 0.0
    for _ in range(horizon):
        p, v, cost = move(p, v, goal, act(torch.cat([p, v, goal], 1)))
        total = total + cost
    return total.mean().item()


def random_cost(case: Task) -> float:
    """Mean cost of an episode whose thrusts are codes taken at random."""
    codes, noise = thrusts(case.off), torch.Generator().manual_seed(2027)
    return test_cost(lambda seen: codes[torch.randint(len(codes), (len(seen),), generator=noise)], 2048, case.horizon)


def train(case: Task) -> dict:
    """Train one case; deterministic on a given machine.

    Returns:
        ``cost`` of a test episode after the last update; ``curve``, that after every tenth of them; ``random``, that
        of codes taken at random; ``size`` of the gradient of the weights, the mean norm in the first updates.
    """
    net, thruster = policy(case), Thruster(case)
    optimizer, noise = torch.optim.Adam(net.parameters(), case.rate), generator(case.seed, "noise")
    every, curve, sizes = max(1, case.steps // CURVE), [], []
    for step in range(1, case.steps + 1):
        optimizer.zero_grad()
        loss(net, thruster, noise).backward()
        if step <= every:
            sizes.append(torch.cat([p.grad.flatten() for p in net.parameters()]).norm().item())
        optimizer.step()
        if step % every == 0:
            curve.append(test_cost(lambda seen: thruster.tested(net(seen)), case.tested, case.horizon))
    return {"cost": curve[-1], "curve": curve, "random": random_cost(case), "size": sum(sizes) / len(sizes)}


#: fields of the arms, by their names on the page
ARMS = {name: bandit.ARMS[name] for name in bandit.CONFIRMED} | {
    "snapped": {"estimator": "snapped"},
    "continuous": {"estimator": "continuous"},
}
RATES = {f"{rate:g}": {"rate": rate} for rate in (3e-3, 3e-2)}


def arms(*names: str) -> dict[str, Mapping]:
    """Some of :data:`ARMS`."""
    return {name: ARMS[name] for name in names}


EXPERIMENT = runs.Experiment(
    "control_34",
    train,
    {
        "confirm": runs.crossed(Task(), ARMS, seeds=runs.CONFIRM),
        "off": runs.crossed(Task(off=True), arms("STE", "rotation", "R", "r I")),
        "main": runs.crossed(Task(), ARMS),
        "rates": runs.crossed(Task(), arms("STE", "rotation", "REINFORCE"), RATES),
    },
    smoke={"rate": 1e-2, "steps": 4, "horizon": 4, "batch": 4, "tested": 8},
    seconds=6.0,
)
