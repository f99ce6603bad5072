r"""Control tasks with nearest-code actions: a mass in a swirling wind, and gymnasium's pendulum.

**The wind.** A mass is pushed to a goal by one of a few thrusts. The state is a place p and a velocity v in the plane;
an episode has a goal. A thrust e gives

.. math:: v' = v + h (3 e - v + w(p)), \quad p' = p + h v', \quad
          \text{cost} = h \big(|p' - \text{goal}|^2 + 0.05\, |v'|^2 + 0.05\, |e|^2\big),

with :math:`w(p) = (\sin 3 p_y, -\sin 3 p_x)` and h = 0.1. Thrusts are 16 codes: eight directions, full and a quarter.
**The pendulum** is in :mod:`book.systems.pendulum`.

The model is known, so a policy network is trained through it, step by step through the whole episode; where the action
is a code, the gradient passes by an estimator. REINFORCE sees the costs alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from book.systems import actions, bandit, pendulum, runs
from rotvq import ESTIMATORS
from rotvq.quantizers.geometry import norm
from rotvq.training.seeds import generator

STEP, PUSH, DRAG, EFFORT = 0.1, 3.0, 1.0, 0.05  # h, and the weights of thrust, drag, and of velocity and thrust in cost
CURVE = 10  # evaluations of the test episodes, evenly apart

State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Task:
    """One run.

    Args:
        task: a key of :data:`WORLDS`.
        estimator: a key of :data:`rotvq.ESTIMATORS`; "gumbel", which draws from the softmax; "reinforce"; "continuous",
            whose action is any vector up to the length 1, in training and in the test; "snapped", the same in training
            alone.
        off: whether there is a 17th code, no action, of length 0.
        noise: standard deviation of what is added to z in training, and the width s of the softmax.
        rate: of Adam.
        clip: the largest norm of the gradient that Adam is given; 0: any.
        width: of the policy's two hidden layers.
        bounded: whether the policy ends in a tanh, so that z is in [-1, 1]^d.
        horizon: steps of an episode in training, T.
        episode: steps of an episode of the test.
        batch: episodes of an update.
        steps: updates.
        tested: episodes of the test.
        seed: of weights, episodes and noise.
    """

    task: str = "wind"
    estimator: str = "ste"
    off: bool = False
    noise: float = 0.2
    rate: float = 1e-2
    clip: float = 0.0
    width: int = 32
    bounded: bool = False
    horizon: int = 30
    episode: int = 30
    batch: int = 32
    steps: int = 100
    tested: int = 256
    seed: int = 0


def thrusts(off: bool = False) -> Tensor:
    """The codes, (16, 2), or (17, 2) with no thrust among them."""
    angles = torch.arange(8) * math.pi / 4
    directions = torch.stack([angles.cos(), angles.sin()], -1)
    return torch.cat([directions, directions / 4, torch.zeros(int(off), 2)])


def begin(episodes: int, noise: torch.Generator) -> State:
    """Places, velocities and goals of new episodes, (B, 2) each: places and goals uniform in [-1, 1]^2, at rest."""
    p, goal = (2 * torch.rand(episodes, 2, generator=noise) - 1 for _ in range(2))
    return p, torch.zeros_like(p), goal


def seen(state: State) -> Tensor:
    """What a policy sees: (B, 6)."""
    return torch.cat(state, 1)


def move(state: State, e: Tensor) -> tuple[State, Tensor]:
    """A step of the model by thrusts (B, 2): the next state, and the costs (B,)."""
    p, v, goal = state
    wind = torch.stack([(3 * p[:, 1]).sin(), -(3 * p[:, 0]).sin()], -1)
    v = v + STEP * (PUSH * e - DRAG * v + wind)
    p = p + STEP * v
    squares = [x.square().sum(-1) for x in (p - goal, v, e)]
    return (p, v, goal), STEP * (squares[0] + EFFORT * (squares[1] + squares[2]))


class World(NamedTuple):
    """What is controlled.

    Args:
        begin: states of as many new episodes, drawn by a generator.
        seen: a state to what a policy sees, (B, n).
        move: a state and actions (B, d) to the next state and the costs (B,).
        codes: the actions that are codes, (K, d), with or without the one of length 0.
    """

    begin: Callable[[int, torch.Generator], State]
    seen: Callable[[State], Tensor]
    move: Callable[[State, Tensor], tuple[State, Tensor]]
    codes: Callable[[bool], Tensor]


WORLDS = {
    "wind": World(begin, seen, move, thrusts),
    "pendulum": World(pendulum.begin, pendulum.seen, pendulum.move, pendulum.line),
    "pendulum, arc": World(pendulum.begin, pendulum.seen, pendulum.move, pendulum.arc),
}


def policy(case: Task) -> nn.Sequential:
    """What is seen (B, n) to points z (B, d)."""
    weights, world = generator(case.seed, "weights"), WORLDS[case.task]
    observed = world.seen(world.begin(1, torch.Generator())).shape[1]
    dim = world.codes(case.off).shape[1]
    layers = [nn.Linear(a, b) for a, b in ((observed, case.width), (case.width, case.width), (case.width, dim))]
    for layer in layers:
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=weights)
        nn.init.zeros_(layer.bias)
    last = nn.Tanh() if case.bounded else nn.Identity()
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2], last)


class Thruster:
    """From points z to actions, by the rule of a case.

    Args:
        case: of which task, estimator, noise and off count.
    """

    def __init__(self, case: Task):
        self.case, self.codes = case, WORLDS[case.task].codes(case.off)

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
    case, world = thruster.case, WORLDS[thruster.case.task]
    state = world.begin(case.batch, noise)
    costs, logs = [], []
    for _ in range(case.horizon):
        e, log = thruster.trained(net(world.seen(state)), noise)
        state, cost = world.move(state, e)
        costs.append(cost)
        logs.append(log)
    costs = torch.stack(costs)  # (T, B)
    if case.estimator != "reinforce":
        return costs.sum(0).mean()
    to_go = costs.flip(0).cumsum(0).flip(0).detach()
    ahead = to_go - to_go.mean(1, keepdim=True)  # the baseline: the mean over the batch, step by step
    return (torch.stack(logs) * ahead).sum(0).mean()


@torch.no_grad()
def test_cost(act: Callable[[Tensor], Tensor], case: Task) -> float:
    """Mean cost of an episode; ``act`` takes what is seen (B, n) to actions. Every seed has the same episodes."""
    world, total = WORLDS[case.task], 0.0
    state = world.begin(case.tested, torch.Generator().manual_seed(2026))
    for _ in range(case.episode):
        state, cost = world.move(state, act(world.seen(state)))
        total = total + cost
    return total.mean().item()


def random_cost(case: Task) -> float:
    """Mean cost of an episode whose actions are codes taken at random."""
    codes, noise = WORLDS[case.task].codes(case.off), torch.Generator().manual_seed(2027)

    def act(seen: Tensor) -> Tensor:
        return codes[torch.randint(len(codes), (len(seen),), generator=noise)]

    return test_cost(act, replace(case, tested=2048))


def train(case: Task) -> dict:
    """Train one case; deterministic on a given machine.

    Returns:
        ``cost`` of a test episode after the last update; ``curve``, that after every tenth of them; ``random``, that
        of codes taken at random; ``size`` of the gradient of the weights, the mean norm in the first updates, before
        it is clipped.
    """
    net, thruster = policy(case), Thruster(case)
    optimizer, noise = torch.optim.Adam(net.parameters(), case.rate), generator(case.seed, "noise")
    every, curve, sizes = max(1, case.steps // CURVE), [], []
    for step in range(1, case.steps + 1):
        optimizer.zero_grad()
        loss(net, thruster, noise).backward()
        if step <= every:
            sizes.append(torch.cat([p.grad.flatten() for p in net.parameters()]).norm().item())
        if case.clip:
            nn.utils.clip_grad_norm_(net.parameters(), case.clip)
        optimizer.step()
        if step % every == 0:
            curve.append(test_cost(lambda seen: thruster.tested(net(seen)), case))
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


SWING = Task("pendulum, arc", clip=1.0, bounded=True, horizon=60, episode=200, batch=128, steps=200)
LINE = replace(SWING, task="pendulum")

EXPERIMENT = runs.Experiment(
    "control_34",
    train,
    {
        "confirm": runs.crossed(Task(), ARMS, seeds=runs.CONFIRM),
        "off": runs.crossed(Task(off=True), arms("STE", "rotation", "R", "r I")),
        "main": runs.crossed(Task(), ARMS),
        "rates": runs.crossed(Task(), arms("STE", "rotation", "REINFORCE"), RATES),
        "pendulum": runs.crossed(SWING, ARMS, seeds=runs.CONFIRM),
        "pendulum, line": runs.crossed(LINE, arms("STE", "rotation"), seeds=runs.CONFIRM),
    },
    smoke={"rate": 1e-2, "steps": 4, "horizon": 4, "episode": 4, "batch": 4, "tested": 8},
    seconds=6.0,
)
