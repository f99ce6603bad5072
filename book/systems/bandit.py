r"""A contextual bandit whose actions are codes, with values that are known for all of them.

A policy network takes a context x to a point z; what is played is the nearest code of z plus noise. The value of code k
in context x is that of a function of the action's vector,

.. math:: V(x, e) = -\tfrac12 |e - t(x)|^2 + A \sum_{m=1}^{8} \cos(\langle\omega_m, e\rangle + \varphi_m(x)),

so that every estimator can be given what it needs: its slope at the code played, or its value alone. There is a small
set of contexts, and each step plays once in each, so the gradient of the expected value is an exact sum over contexts
of :func:`.face_gradient`. ``measure`` holds every estimator against it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from book.systems import actions, runs
from rotvq import ESTIMATORS
from rotvq.quantizers.geometry import geometry, unit
from rotvq.training.seeds import generator

FAMILY = ("ste", "rotation", "rotation_only", "scale_only")
MEASURED = (*FAMILY, "gumbel", "reinforce", "plain")  #: estimators that are held against the truth at every stop
STOPS = (0.0, 0.1, 0.4, 1.0)  #: shares of the steps at which they are
CURVE = 20  # evaluations of the regret, evenly apart
CONTEXT, RIPPLES, FREQUENCY = 8, 8, 6.0  # numbers of a context; ripples of the value, and how many radians a unit
MEMORY, REPLAYED, CRITIC_RATE = 64, 256, 3e-3  # of the critic: plays a context kept, plays a step, rate of Adam
FOLLOWS = 0.1  # how fast the baseline of a context follows its values
LEAST = 1e-4  # of a regret, so that two have a ratio


@dataclass(frozen=True)
class Case:
    """One run.

    Args:
        estimator: a key of :data:`rotvq.ESTIMATORS`; "gumbel", which draws from the softmax; "reinforce"; "plain",
            which plays no code in training but the point itself; "exact", the gradient that they estimate.
        given: what an estimator is told of a play: "slope", the gradient of V at the code; or "value", from which a
            critic learns a slope. REINFORCE always has the value alone.
        norms: of the codes: "equal", or "unequal", log-normal with standard deviation 1/2 of the logarithm.
        shift: how far all codes, and the points where z starts, lie from the origin.
        ripple: A.
        gamma: weight of the commitment loss |y - q|^2, a sum over the d numbers, a mean over plays.
        noise: sigma, and the width s of the softmax.
        temperature: of "gumbel".
        codes: K.
        dim: d.
        rate: of Adam.
        contexts: N.
        width: of the policy's one hidden layer.
        steps: of Adam; each plays once in every context.
        draws: plays by which ``measure`` judges an estimator, in every context.
        seed: of problem, weights and noise.
    """

    estimator: str = "ste"
    given: str = "slope"
    norms: str = "unequal"
    shift: float = 0.0
    ripple: float = 0.0
    gamma: float = 0.0
    noise: float = 0.3
    temperature: float = 1.0
    codes: int = 32
    dim: int = 2
    rate: float = 3e-3
    contexts: int = 64
    width: int = 64
    steps: int = 1000
    draws: int = 512
    seed: int = 0


class Problem:
    """Contexts, codes and values; the same for all arms of a seed.

    Args:
        case: of which seed, norms, shift, ripple and sizes count.
    """

    def __init__(self, case: Case):
        noise = generator(case.seed, "codebook")

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=noise)

        self.case = case
        self.contexts = normal(case.contexts, CONTEXT)
        directions, sizes = unit(normal(case.codes, case.dim)), (normal(case.codes, 1) / 2).exp()
        hidden = (self.contexts @ normal(CONTEXT, 16) / CONTEXT**0.5).tanh()
        self.centre = case.shift * unit(normal(case.dim))
        self.codes = self.centre + directions * (sizes if case.norms == "unequal" else 1.0)
        self.target = self.centre + hidden @ normal(16, case.dim) / 4
        self.frequencies = FREQUENCY * unit(normal(RIPPLES, case.dim))
        self.phases = self.contexts @ normal(CONTEXT, RIPPLES)
        every = self.codes.expand(case.contexts, -1, -1)
        self.values, self.slopes = self.value(every), self.slope(every)  # (N, K), (N, K, d)

    def _angles(self, e: Tensor) -> tuple[Tensor, Tensor]:
        """What e (N, ..., d) lacks to the target, and the angles of the ripples, (N, ..., RIPPLES)."""
        shape = (len(e),) + (1,) * (e.ndim - 2) + (-1,)
        return self.target.view(shape) - e, (e - self.centre) @ self.frequencies.t() + self.phases.view(shape)

    def value(self, e: Tensor) -> Tensor:
        """V of actions e (N, ..., d), context by context: (N, ...)."""
        lack, angles = self._angles(e)
        return self.case.ripple * angles.cos().sum(-1) - lack.square().sum(-1) / 2

    def slope(self, e: Tensor) -> Tensor:
        """The gradient of V in e, in the shape of e."""
        lack, angles = self._angles(e)
        return lack - self.case.ripple * angles.sin() @ self.frequencies

    def repeat(self, context: int, times: int) -> Problem:
        """The same codes and values, with one context many times."""
        one = copy.copy(self)
        for name in ("contexts", "target", "phases", "values", "slopes"):
            part = getattr(self, name)[context]
            setattr(one, name, part.expand(times, *part.shape))
        return one

    @cached_property
    def faces(self) -> actions.Faces:
        """Of the codes, in the plane alone."""
        return actions.faces(self.codes)

    def regret(self, indices: Tensor) -> Tensor:
        """Mean regret of codes (N,), 1 being that of a code taken at random: 0-d."""
        best = self.values.amax(1)
        lost = best - self.values.gather(1, indices[:, None])[:, 0]
        return lost.mean() / (best - self.values.mean(1)).mean()


def policy(case: Case) -> nn.Sequential:
    """Contexts (N, 8) to points (N, d)."""
    weights = generator(case.seed, "weights")
    net = nn.Sequential(nn.Linear(CONTEXT, case.width), nn.Tanh(), nn.Linear(case.width, case.dim))
    for layer in (net[0], net[2]):
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=weights)
        nn.init.zeros_(layer.bias)
    net[2].bias.data += Problem(case).centre
    return net


class Plays:
    """One play or many in each context, from points z (N, d): what an estimator may look at.

    Args:
        problem: of N contexts.
        z: the points, (N, d).
        draws: plays in each context, S.
        noise: where they are drawn from.
        softmax: whether codes are drawn from the softmax; else by the nearest code.
        antithetic: whether each draw of the normal noise comes with its opposite, half of S later.
    """

    def __init__(
        self,
        problem: Problem,
        z: Tensor,
        draws: int,
        noise: torch.Generator,
        *,
        softmax: bool = False,
        antithetic: bool = False,
    ):
        case, codes = problem.case, problem.codes
        self.problem, self.weights, z = problem, None, z.detach()
        if softmax:
            drawn = actions.gumbel_noise((len(z), draws, len(codes)), noise)
            self.weights = ((actions.logits(z, codes, case.noise)[:, None] + drawn) / case.temperature).softmax(-1)
            self.indices = self.weights.argmax(-1)
        else:
            some = torch.randn(len(z), draws // 2 if antithetic else draws, case.dim, generator=noise)
            self.noise = torch.cat([some, -some], 1) if antithetic else some
            self.y = z[:, None] + case.noise * self.noise
            self.indices = actions.play(self.y, codes)
        self.q = codes[self.indices]  # (N, S, d)
        self.values = problem.values.gather(1, self.indices)  # (N, S)

    def slopes(self) -> Tensor:
        """The gradient of V at the codes played, (N, S, d)."""
        return self.problem.slopes.gather(1, self.indices[..., None].expand(-1, -1, self.problem.case.dim))

    def estimate(self, name: str, g: Tensor | None = None, baseline: Tensor | None = None) -> Tensor:
        """The gradient at z that an estimator makes of each play, uphill: (N, S, d).

        Args:
            name: of the estimator.
            g: the slope at each code, (N, S, d); None: the true one.
            baseline: of REINFORCE, (N,).
        """
        case = self.problem.case
        if name == "reinforce":
            return actions.score_estimate(self.noise, self.values, baseline[:, None], case.noise)
        if name == "plain":
            return self.problem.slope(self.y)
        g = self.slopes() if g is None else g
        if name == "gumbel":
            return actions.gumbel_estimate(self.weights, self.problem.codes, g, case.noise, case.temperature)
        return ESTIMATORS[name].pull_back(self.y, self.q, g)


def truth(problem: Problem, z: Tensor, noise: torch.Generator, *, softmax: bool = False) -> tuple[Tensor, Tensor]:
    """The gradient of the expected value at points z, twice: (N, d) each.

    Both are exact, and the same, for the softmax and in the plane. Elsewhere they are two independent means of
    antithetic plays, 16 times as many as an estimator is judged by.
    """
    case, z = problem.case, z.detach()
    if softmax or case.dim == 2:
        exact = (
            actions.softmax_gradient(z, problem.values, problem.codes, case.noise)
            if softmax
            else actions.face_gradient(z, problem.values, problem.faces, case.noise)
        )
        return exact, exact
    halves = [[], []]
    for half in halves:
        for _ in range(8):
            plays = Plays(problem, z, case.draws, noise, antithetic=True)
            half.append(plays.estimate("reinforce", baseline=plays.values.mean(1)).mean(1))
    return tuple(torch.stack(half).mean(0) for half in halves)


def measure(problem: Problem, net: nn.Module, noise: torch.Generator) -> dict[str, dict[str, float]]:
    """Each of :data:`MEASURED` against the gradient that it estimates, where a policy stands.

    Products of two means are taken between halves of the plays, which makes them unbiased.

    Returns:
        By estimator, of the numbers of all contexts together: ``cosine`` of its mean with the truth e, and
        ``cosine_weights`` of the two gradients of the policy's weights; ``gain`` <mean, e> / |e|^2; ``bias``
        |mean - e| / |e|; ``noise``, the standard deviation of one play over |e|; ``error``, that of the mean.
    """
    case, found = problem.case, {}
    z = net(problem.contexts)
    exact = {softmax: truth(problem, z, noise, softmax=softmax) for softmax in (False, True)}

    def of_weights(gradient: Tensor) -> Tensor:
        parts = torch.autograd.grad(z, list(net.parameters()), gradient, retain_graph=True)
        return torch.cat([part.flatten() for part in parts])

    plays = {softmax: Plays(problem, z, case.draws, noise, softmax=softmax) for softmax in (False, True)}
    for name in MEASURED:
        softmax = name == "gumbel"
        given = plays[softmax]
        estimates = given.estimate(name, baseline=given.values.mean(1))
        means, truths = [half.mean(1) for half in estimates.chunk(2, 1)], exact[softmax]
        found[name] = compare(means, truths)
        weights = compare(list(map(of_weights, means)), list(map(of_weights, truths)))
        size = product(*truths).clamp_min(1e-12)
        variance = estimates.var(1).sum()
        found[name] |= {
            "cosine_weights": weights["cosine"],
            "noise": (variance / size).sqrt().item(),
            "error": (variance / case.draws / size).sqrt().item(),
        }
    return found


def product(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of all numbers."""
    return (a * b).sum()


def compare(means: list[Tensor], truths: list[Tensor]) -> dict[str, float]:
    """Cosine, gain and bias of an estimator, from two independent means of it and two of the truth."""
    size = product(*truths).clamp_min(1e-12)
    own = product(*means).clamp_min(1e-12)
    common = product(sum(means), sum(truths)) / 4
    apart = product(means[0] - truths[0], means[1] - truths[1]).clamp_min(0)
    return {
        "cosine": (common / (own * size).sqrt()).item(),
        "gain": (common / size).item(),
        "bias": (apart / size).sqrt().item(),
    }


class Critic(nn.Module):
    """V, learned from the values of plays alone; its slope is what an estimator is given then."""

    def __init__(self, case: Case):
        super().__init__()
        self.draw = generator(case.seed, "revival")
        self.net = nn.Sequential(
            *(nn.Linear(CONTEXT + case.dim, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
        )
        for layer in self.net[::2]:
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=self.draw)
            nn.init.zeros_(layer.bias)
        self.optimizer = torch.optim.Adam(self.net.parameters(), CRITIC_RATE)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def learn(self, contexts: Tensor, q: Tensor, values: Tensor) -> None:
        """A step on plays drawn from the last ones: q (N, d) and values (N,) are new."""
        self.seen = [*self.seen, (torch.cat([contexts, q], 1), values)][-MEMORY:]
        given, wanted = (torch.cat(parts) for parts in zip(*self.seen))
        chosen = torch.randint(len(given), (REPLAYED,), generator=self.draw)
        loss = (self.net(given[chosen])[:, 0] - wanted[chosen]).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def slope(self, contexts: Tensor, q: Tensor) -> Tensor:
        """The gradient of what it thinks of q (N, d)."""
        q = q.clone().requires_grad_()
        (g,) = torch.autograd.grad(self.net(torch.cat([contexts, q], 1)).sum(), q)
        return g


def train(case: Case) -> dict:
    """Train one case; deterministic on a given machine.

    Returns:
        ``regret`` of the nearest code of z, in the mean over the evaluations of the last quarter, at least 1e-4;
        ``total_regret``, over all of them; ``curve``, all of them; ``played``, the mean regret of what was played while
        learning; ``stops``: at shares :data:`STOPS` of the steps what :func:`measure` says, and :func:`shape`.
    """
    problem, net = Problem(case), policy(case)
    optimizer = torch.optim.Adam(net.parameters(), case.rate)
    noise, judged = generator(case.seed, "noise"), generator(case.seed, "order")
    baseline = problem.values.mean(1)  # until it has seen more
    critic = Critic(case) if case.given == "value" else None
    wanted = [round(share * case.steps) for share in STOPS]
    every = max(1, case.steps // CURVE)
    curve, played, stops = [], [], []
    for step in range(case.steps + 1):
        if step in wanted:
            stops.append({"step": step, **shape(problem, net), "estimators": measure(problem, net, judged)})
        if step == case.steps:
            break
        z = net(problem.contexts)
        if case.estimator == "exact":
            uphill = truth(problem, z, judged)[0]
        else:
            plays = Plays(problem, z, 1, noise, softmax=case.estimator == "gumbel")
            g = None
            if critic:
                critic.learn(problem.contexts, plays.q[:, 0], plays.values[:, 0])
                g = critic.slope(problem.contexts, plays.q[:, 0])[:, None]
            uphill = plays.estimate(case.estimator, g, baseline)[:, 0]
            if case.gamma:
                uphill = uphill - 2 * case.gamma * (plays.y - plays.q)[:, 0]
            baseline = baseline + FOLLOWS * (plays.values[:, 0] - baseline)
            played.append(problem.regret(plays.indices[:, 0]).item())
        optimizer.zero_grad()
        z.backward(-uphill / len(z))
        optimizer.step()
        if (step + 1) % every == 0:
            with torch.no_grad():
                curve.append(problem.regret(actions.play(net(problem.contexts), problem.codes)).item())
    last = curve[-max(1, len(curve) // 4) :]
    return {
        "regret": max(sum(last) / len(last), LEAST),
        "total_regret": max(sum(curve) / len(curve), LEAST),
        "played": sum(played) / len(played) if played else None,
        "curve": curve,
        "stops": stops,
    }


@torch.no_grad()
def shape(problem: Problem, net: nn.Module) -> dict[str, float]:
    """Mean |z|, r and angle in degrees over the contexts, without noise."""
    z = net(problem.contexts)
    r, theta = geometry(z, problem.codes[actions.play(z, problem.codes)])
    return {"z": z.norm(dim=-1).mean().item(), "r": r.mean().item(), "theta": theta.rad2deg().mean().item()}


#: fields of the arms, by their names on the page
ARMS: Mapping[str, Mapping] = {
    "STE": {"estimator": "ste"},
    "rotation": {"estimator": "rotation"},
    "R": {"estimator": "rotation_only"},
    "r I": {"estimator": "scale_only"},
    "Gumbel": {"estimator": "gumbel"},
    "REINFORCE": {"estimator": "reinforce"},
    "plain": {"estimator": "plain"},
    "exact": {"estimator": "exact"},
}
NORMS = {"unequal": {"norms": "unequal"}, "equal": {"norms": "equal"}}
VALUES = {"smooth": {"ripple": 0.0}, "ripples": {"ripple": 0.1}}
RATES = {f"{rate:g}": {"rate": rate} for rate in (1e-3, 1e-2)}
GAMMAS = {f"{gamma:g}": {"gamma": gamma} for gamma in (0.1, 1.0)}
NOISES = {f"{noise:g}": {"noise": noise} for noise in (0.1, 1.0)}
TEMPERATURES = {f"{temperature:g}": {"temperature": temperature} for temperature in (0.3, 3.0)}
ROUGH = Case(ripple=0.1)


def arms(*names: str) -> dict[str, Mapping]:
    """Some of :data:`ARMS`."""
    return {name: ARMS[name] for name in names}


CONFIRMED = arms("STE", "rotation", "R", "r I", "Gumbel", "REINFORCE")
MEMBERS = arms("STE", "rotation", "R", "r I")
SMOKE = {"norms": "unequal", "ripple": 0.1, "rate": 3e-3, "noise": 0.3}  # one cell of each kind
SMOKE |= {"steps": 10, "contexts": 8, "codes": 8, "width": 8, "draws": 32}
EXPERIMENT = runs.Experiment(
    "34_discrete_actions",
    train,
    {
        "confirm": runs.crossed(Case(), CONFIRMED, {"unequal": NORMS["unequal"]}, VALUES, seeds=runs.CONFIRM),
        "equal": runs.crossed(Case(norms="equal"), arms("STE", "rotation"), VALUES, seeds=runs.CONFIRM),
        "path": runs.crossed(ROUGH, arms("exact"), seeds=runs.CONFIRM),
        "main": runs.crossed(Case(), ARMS, NORMS, VALUES),
        "rates": runs.crossed(ROUGH, ARMS, RATES),
        "critic": runs.crossed(replace(ROUGH, given="value"), arms("STE", "rotation", "Gumbel")),
        "commitment": runs.crossed(Case(), MEMBERS, VALUES, GAMMAS),
        "origin": runs.crossed(replace(ROUGH, shift=4.0), MEMBERS),
        "noise": runs.crossed(ROUGH, CONFIRMED, NOISES),
        "temperature": runs.crossed(ROUGH, arms("Gumbel"), TEMPERATURES),
        "dim": runs.crossed(replace(ROUGH, dim=8, codes=64, draws=256), CONFIRMED, NORMS),
    },
    smoke=SMOKE,
    seconds=3.0,
)
