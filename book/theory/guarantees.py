r"""Laws of the chapter "What can be guaranteed": mixes of the rotation with STE, the trap, transport, heads.

All estimators here are ``G_t = I + t (G_mu - I)``, G_mu the rotation trick about a centre mu, with a weight t in [0, 1]
a latent, or the rotation with its gain kept at most 1. With e = q - z

.. math:: \|G_t - I\|_2 = t\,|e|/|z - \mu| .
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from book.algebra import angle, apply, dot, identity, jacobian, nearest, norm, outer, pull_back, rotation, unit
from book.statements import AtMost, law
from book.theory.conserved import CARRIERS, SMALL, inner, mean_product
from book.theory.inputs import GENERIC
from rotvq.quantizers.estimators import ESTIMATORS

CHAPTER = 26
NO_GAIN_PAST_ONE = ESTIMATORS["no_gain"]  #: min(r, 1) R


# weights of the mix


def capped_weight(z: Tensor, q: Tensor, centre: Tensor, cap: float) -> Tensor:
    """``t = min(1, cap |z - centre|/|q - z|)`` of each latent, shape (n, 1): then ``|G_t - I| <= cap``."""
    distance = norm(q - z)
    return (cap * norm(z - centre) / distance.clamp_min(1e-300)).clamp_max(1.0)


def fading_weight(z: Tensor, q: Tensor) -> Tensor:
    """``t = min(1, sqrt(E|z - q|^2 / Var z))`` of a batch, one number: it falls to 0 as the codes fit."""
    spread = z - z.mean(0)
    return (mean_product(q - z, q - z) / mean_product(spread, spread)).sqrt().clamp_max(1.0)


def mixed(z: Tensor, q: Tensor, g: Tensor, centre: Tensor, t: Tensor | float) -> Tensor:
    """``G_t^T g``, with one t a latent or one for all."""
    return g + t * (pull_back("rotation", z, q, g, centre=centre) - g)


def mixed_jacobian(z: Tensor, q: Tensor, centre: Tensor, t: Tensor) -> Tensor:
    """``G_t`` (n, d, d)."""
    eye = identity(z)
    return eye + t.unsqueeze(-1) * (jacobian("rotation", z, q, centre=centre) - eye)


def spectral(matrix: Tensor) -> Tensor:
    """The largest singular value, shape (n, 1)."""
    return torch.linalg.matrix_norm(matrix, 2).unsqueeze(-1)


# the capped turn


@law(CHAPTER, kinds=("generic", "close", "lopsided"), dims=SMALL)
def cap_holds(z, q, mu, t):
    "The capped turn has |G_t - I| = min(cap, |q - z|/|z - mu|): never further from STE than the cap."
    z, q, mu = z.double(), q.double(), mu.double()
    weight = capped_weight(z, q, mu, t)
    found = spectral(mixed_jacobian(z, q, mu, weight) - identity(z))
    return found, (norm(q - z) / norm(z - mu)).clamp_max(t), 1 + norm(q - mu) / norm(z - mu)


@law(CHAPTER, kinds=("generic", "close", "opposite", "lopsided"))
def never_uphill(z, q, g, mu, t):
    "<g, G_t^T g> >= (1 - cap) |g|^2: a capped step never has an obtuse angle with g, whatever the turn."
    z, q, g, mu = z.double(), q.double(), g.double(), mu.double()
    felt = mixed(z, q, g, mu, capped_weight(z, q, mu, t))
    return AtMost((1 - t) * dot(g, g), dot(g, felt), dot(g, g) * (1 + norm(q - mu) / norm(z - mu)))


class Waves:
    """A loss without quantiser, ``f(x) = sum_j a_j cos(<w_j, x> + p_j)``: not convex, and smooth."""

    def __init__(self, draw: Callable, d: int):
        self.a, self.w, self.phase = draw(6).double(), draw(6, d).double(), draw(6).double()

    @property
    def h_max(self) -> float:
        """A bound of its second derivative."""
        return float((self.a.abs() * dot(self.w, self.w).squeeze(-1)).sum())

    def at(self, x: Tensor) -> Tensor:
        return (self.a * torch.cos(x @ self.w.T + self.phase)).sum(-1, keepdim=True)

    def gradient(self, x: Tensor) -> Tensor:
        return -(self.a * torch.sin(x @ self.w.T + self.phase)) @ self.w


def near_codes(draw: Callable, n: int, d: int) -> tuple[Tensor, Tensor]:
    """Latents and codes at distances of all sizes, from 1e-3 to 1."""
    z, e = draw(2, n, d).double()
    return z, z + unit(e) * 10 ** (-3 * torch.linspace(0, 1, n, dtype=torch.float64))[:, None]


@law(CHAPTER, kinds=GENERIC)
def capped_gradient_error(draw, n, d, mu, t):
    "|G_t^T grad f(q) - grad f(z)| <= (1 + cap) h_max |q - z| + cap |grad f(z)|."
    f, mu = Waves(draw, d), mu.double()
    z, q = near_codes(draw, n, d)
    felt = mixed(z, q, f.gradient(q), mu, capped_weight(z, q, mu, t))
    bound = (1 + t) * f.h_max * norm(q - z) + t * norm(f.gradient(z))
    return AtMost(norm(felt - f.gradient(z)), bound, f.h_max)


@law(CHAPTER, kinds=GENERIC)
def capped_descent(draw, n, d, mu, t):
    """A step of size eta <= 1/h_max against G_t^T grad f(q) does not raise f where grad f(z) is long enough.

    Long enough is |grad f(z)| >= (1 + cap)/(1 - cap) h_max |q - z|. Nothing is asked of the path, of r, or of the
    angle.
    """
    f, mu, cap = Waves(draw, d), mu.double(), t / 2
    z, q = near_codes(draw, 40 * n, d)
    felt = mixed(z, q, f.gradient(q), mu, capped_weight(z, q, mu, cap))
    holds = norm(f.gradient(z)) >= (1 + cap) / (1 - cap) * f.h_max * norm(q - z)
    found = {"cases": AtMost(1.0, holds.double().sum(), 1.0)}
    for share in (1.0, t):
        rise = f.at(z - share * felt / f.h_max) - f.at(z)
        found[f"rise, {share:.1f}"] = AtMost(rise * holds, 0.0, f.h_max)
    return found


@law(CHAPTER, kinds=GENERIC, dims=SMALL)
def capped_average(draw, d, mu, t):
    """Along every path of the capped turn the mean of |grad f(z)|^2 has a bound.

    For z <- z - eta G_t^T grad f(q), eta <= 1/h_max, q anywhere, it is at most 2 (f_0 - f_min)/((1 - cap) eta T) +
    ((1 + cap)/(1 - cap))^2 h_max^2 mean|q - z|^2.
    """
    f, mu, cap, paths, steps = Waves(draw, d), mu.double(), t / 2, 16, 100
    found = {}
    for share, reach in ((1.0, 0.01), (0.3, 0.01), (1.0, 3.0)):  # of 1/h_max, and how far codes lie
        z, eta = draw(paths, d).double(), share / f.h_max
        start, slopes, errors = f.at(z), [], []
        for e in reach * draw(steps, paths, d).double():
            q = z + e
            slopes.append(dot(f.gradient(z), f.gradient(z)))
            errors.append(dot(e, e))
            z = z - eta * mixed(z, q, f.gradient(q), mu, capped_weight(z, q, mu, cap))
        fall = start + f.a.abs().sum()  # f is nowhere below -sum |a|
        floor = ((1 + cap) / (1 - cap) * f.h_max) ** 2 * torch.stack(errors).mean(0)
        bound = 2 * fall / ((1 - cap) * eta * steps) + floor
        found[f"eta = {share}/h_max, errors of {reach}"] = AtMost(torch.stack(slopes).mean(0), bound, f.h_max)
    return found


@law(CHAPTER, kinds=("generic", "close", "lopsided"))
def cost_of_mixing(z, q, g, mu, t):
    "A mix gives up the balance by <g, q - mu> - <G_t^T g, z - mu> = (1 - t) <g, e>."
    z, q, g, mu = z.double(), q.double(), g.double(), mu.double()
    gap = dot(g, q - mu) - dot(mixed(z, q, g, mu, t), z - mu)
    return gap, (1 - t) * dot(g, q - z), norm(g) * (norm(z - mu) + norm(q - mu))


# the fading turn and its relatives


@law(CHAPTER, kinds=GENERIC, dims=SMALL)
def fading_is_of_second_order(draw, n, d, mu):
    """The fading turn is at t^2 E|q - z|^2 = t^4 Var z from STE, where the rotation is at E|q - z|^2 = t^2 Var z.

    The distance is E[|G_t - I|^2 |z - mu|^2]. For centroid codes t <= 1 without the cap.
    """
    z, mu = draw(max(n, 5), d).double(), mu.double()
    index = torch.arange(len(z)) % 2
    q = torch.stack([z[index == k].mean(0) for k in range(2)])[index]
    t, spread = fading_weight(z, q), z - z.mean(0)

    def distance(weight: Tensor) -> Tensor:
        away = spectral(mixed_jacobian(z, q, mu, weight.expand(len(z), 1)) - identity(z)) * norm(z - mu)
        return away.square().mean()

    variance, error = mean_product(spread, spread), mean_product(q - z, q - z)
    return {
        "fading": (distance(t), t**4 * variance, variance),
        "rotation": (distance(torch.ones_like(t)), error, variance),
        "no cap needed": AtMost(error, variance, variance),
    }


@law(CHAPTER, kinds=GENERIC, dims=SMALL)
def moves_along(draw, n, d, U, t):
    """Move latents, codes and centre by x -> s U x + v, and every weight stays and every gradient turns by U.

    This holds for the turn about a centre that moves along, capped or fading, and for min(r, 1) R. It does not hold
    about a centre that stays.
    """
    z, g, codes = draw(n, d).double(), draw(n, d).double(), draw(7, d).double()
    s, v, U = 0.5 + t, draw(d).double(), U.double()
    answers = []
    for move in (lambda x: x, lambda x: s * x @ U.T + v):
        x, k = move(z), move(codes)
        q, centre, felt = k[nearest(x, k)], k.mean(0), g if not answers else g @ U.T
        weights = {"turn": 1.0, "capped": capped_weight(x, q, centre, t), "fading": fading_weight(x, q)}
        gradients = {name: mixed(x, q, felt, centre, weight) for name, weight in weights.items()}
        gradients["no gain past one"] = NO_GAIN_PAST_ONE.pull_back(x, q, felt, centre=centre)
        away = norm(q - centre) / norm(x - centre)
        answers.append((gradients, away))
    (before, r), (after, _) = answers
    size = norm(g) * (1 + r) * 10
    q = codes[nearest(z, codes)]
    stays = mixed(z + v, q + v, g, torch.zeros(d), 1.0) - mixed(z, q, g, torch.zeros(d), 1.0)
    found = {name: (after[name], before[name] @ U.T, size) for name in before}
    return found | {"a centre that stays": AtMost(torch.tensor(1e-3).double(), norm(stays).max(), 1.0)}


@law(CHAPTER, kinds=("generic", "close", "opposite", "lopsided"), dims=SMALL)
def no_gain_past_one(z, q, g, mu):
    """min(r, 1) R about mu never lengthens a gradient, and lies no further from STE than |q - z|/|z - mu|.

    The distance |G - I| is |q - z|/|z - mu| where r <= 1, and 2 sin(theta/2) <= |q - z|/|z - mu| where r > 1.
    """
    z, q, g, mu = z.double(), q.double(), g.double(), mu.double()
    x, y = z - mu, q - mu
    r, half = norm(y) / norm(x), angle(x, y) / 2
    G = torch.stack([NO_GAIN_PAST_ONE.pull_back(z, q, e.expand_as(z), centre=mu) for e in identity(z)], -2)
    distance = spectral(G - identity(z))
    stated = torch.where(r <= 1, norm(q - z) / norm(x), 2 * half.sin())
    return {
        "length": AtMost(norm(NO_GAIN_PAST_ONE.pull_back(z, q, g, centre=mu)), norm(g), norm(g)),
        "distance": (distance, stated, 1.0),
        "nearer": AtMost(distance, norm(q - z) / norm(x), 1 + r),
    }


# what no rule can be


def nearest_in_triangle(point: Tensor, corners: list[Tensor]) -> Tensor:
    """The point of the triangle with these corners that is nearest to ``point``; all of shape (d,)."""
    origin = corners[0]
    sides = torch.stack([corner - origin for corner in corners[1:]], -1)
    share = torch.linalg.lstsq(sides, (point - origin)[:, None], driver="gelsd").solution[:, 0]
    inside = origin + sides @ share
    candidates = [inside] if bool((share >= 0).all() and share.sum() <= 1) else []
    for i in range(3):
        start, end = corners[i], corners[(i + 1) % 3]
        along = inner(point - start, end - start) / inner(end - start, end - start).clamp_min(1e-300)
        candidates.append(start + along.clamp(0, 1) * (end - start))
    return min(candidates, key=lambda candidate: float(norm(candidate - point)))


def spoiler(z: Tensor, q: Tensor, rule: Tensor, rival: Tensor) -> tuple[Tensor, bool]:
    """A second code, and whether it must be the better one, with which ``rule`` ends worse than ``rival``.

    Both are where a step takes the latent. The code is q mirrored in a hyperplane that has one of them on its far side
    and z, q and the other on its near side.
    """
    for better, lone, others in ((True, rival, [z, rule, q]), (False, rule, [z, rival, q])):
        foot = nearest_in_triangle(lone, others)
        normal, middle = unit(lone - foot), (lone + foot) / 2
        if norm(lone - foot) > 1e-9 * (1 + norm(lone)):
            return q - 2 * inner(q - middle, normal) * normal, better
    raise ValueError("both steps end on the segment from z to q: no code tells them apart")


@law(CHAPTER, kinds=GENERIC, dims=(2, 3, 8))
def no_rule_is_never_worse(draw, t, d):
    """Whatever a rule does with z, q and g, some loss makes its step worse than one of STE or of the rotation.

    There are a second code and a loss with this g at q for which one step of the rule ends with a higher loss than one
    step of STE or one step of the rotation, whichever it differs from.
    """
    z, q, g = draw(3, d).double()
    step = {name: z - t * pull_back(name, z[None], q[None], g[None])[0] for name in ESTIMATORS}
    rivals = [step.pop("ste"), step.pop("rotation")]
    found = {}
    for name, rule in {**step, "anything": z + draw(d).double()}.items():
        for number, rival in enumerate(rivals):
            if norm(rule - rival) < 1e-9:  # the same step
                continue
            code, better = spoiler(z, q, rule, rival)
            codes, losses = torch.stack([q, code]), torch.tensor([0.0, -1.0 if better else 1.0]).double()
            at_rule, at_rival = (losses[nearest(end[None], codes)] for end in (rule, rival))
            found[f"{name}, same start {number}"] = (nearest(z[None], codes).double(), torch.zeros(1), 1.0)
            found[f"{name}, worse {number}"] = AtMost(at_rival, at_rule - 1, 1.0)
    return found


# usage: a trap, and what revival does


def descend(
    member: str, z: Tensor, g: Tensor, codes: Tensor, centre: Tensor, steps: int = 100
) -> tuple[Tensor, Tensor]:
    """The path of z <- z - eta G^T g with g fixed and the nearest code looked up anew: (steps + 1, n, d), and all eta.

    A step is a fiftieth of the distance from the centre.
    """
    path, sizes = [z], []
    for _ in range(steps):
        felt = pull_back(member, path[-1], codes[nearest(path[-1], codes)], g, centre=centre)
        sizes.append(0.02 * norm(path[-1] - centre) / norm(felt))
        path.append(path[-1] - sizes[-1] * felt)
    return torch.stack(path), torch.stack(sizes)


def bounded_cells(draw: Callable, d: int) -> dict[str, Tensor]:
    """Codes (K, d) of which the first has a bounded cell: the others lie around it, at lengths of their own.

    In the directions of a frame and its negatives the cell is a box, in those of a simplex it is one.
    """
    frame = torch.linalg.qr(draw(d, d).double())[0]
    around = {"box": torch.cat([frame, -frame]), "simplex": torch.cat([frame, -unit(frame.sum(0, keepdim=True))])}
    cells = {}
    for name, directions in around.items():
        q, lengths = draw(1, d).double(), draw(len(directions), 1).double().exp()
        cells[name] = torch.cat([q, q + lengths * directions])
    return cells


def time_to_leave(z: Tensor, velocity: Tensor, codes: Tensor) -> Tensor:
    """When z + time * velocity, (n, d), leaves the cell of the first of the codes: (n, 1), infinite if never."""
    q, others = codes[:1], codes[1:]
    rise = velocity @ (others - q).T
    room = (norm(z[:, None] - others) ** 2 - norm(z - q)[:, None] ** 2).squeeze(-1) / 2
    return torch.where(rise > 0, room / rise, torch.inf).amin(1, keepdim=True)


def inside(draw: Callable, n: int, codes: Tensor) -> Tensor:
    """Points (n, d) of the bounded cell of the first of the codes: somewhere on the way from it to the face."""
    q, way = codes[:1], draw(n, codes.shape[-1]).double()
    return q + draw(n, 1).double().sigmoid() * time_to_leave(q, way, codes) * way


def caged(draw: Callable, n: int, codes: Tensor) -> tuple[Tensor, Tensor]:
    """A centre (d,) in the bounded cell of the first of the codes, and latents (n, d) in it with the ball about it."""
    d = codes.shape[-1]
    q, others = codes[:1], codes[1:]
    centre = inside(draw, 1, codes)
    to_faces = (norm(centre - others) ** 2 - norm(centre - q) ** 2) / (2 * norm(others - q))
    distances = 0.9 * to_faces.min() * draw(n, 1).double().sigmoid()
    return centre[0], centre + distances * unit(draw(n, d))


@law(CHAPTER, kinds=GENERIC, dims=SMALL, members=CARRIERS, roundings=3000)
def trap(member, draw, n, d):
    """If G(z - mu) = q - mu, a step eta against G^T g changes |z - mu|^2 by -2 eta <g, q - mu> + eta^2 |G^T g|^2.

    So if the ball about mu through z lies in the cell of q and <g, q - mu> >= 0, steps that are short against |z - mu|
    never leave that cell. All the eta together are at most |z - mu|^2/(2 <g, q - mu>), but for the squares of the
    steps: after that time the flow has ended.
    """
    found = {}
    for name, codes in bounded_cells(draw, d).items():
        (centre, z), g = caged(draw, n, codes), draw(n, d).double()
        towards = codes[:1] - centre
        across = g - dot(g, towards) / dot(towards, towards) * towards
        gradients = {"inwards": g * dot(g, towards).sign()} | ({"across": across} if d > 1 else {})
        for way, g in gradients.items():
            path, sizes = descend(member, z, g, codes, centre)
            squares, felt = dot(path - centre, path - centre), norm(path[1:] - path[:-1])
            stated, case = squares[:-1] - 2 * sizes * dot(g, towards) + felt**2, f"{name}, {way}"
            spent = 2 * sizes.sum(0) * dot(g, towards) - (felt**2).sum(0)
            reach = norm(path - centre)[:-1]
            scale = reach * (reach + norm(path)[:-1]) + sizes * norm(g) * norm(towards)
            found[f"{case}: law"] = (squares[1:], stated, scale)
            found[f"{case}: stays"] = (nearest(path, codes).double(), torch.zeros(()), 1.0)
            found[f"{case}: time"] = AtMost(spent, squares[0], squares[0])
    return found


@law(CHAPTER, kinds=GENERIC, dims=SMALL, members=CARRIERS)
def long_steps_leave(member, draw, n, d, t):
    """However small the step size, near mu one step leaves every bounded cell, whatever g is, if q is not mu.

    There |G^T g| = |g| |q - mu|/|z - mu| has no bound.
    """
    found = {}
    for name, codes in bounded_cells(draw, d).items():
        (centre, z), g = caged(draw, n, codes), draw(n, d).double()
        across = 2 * d * norm(codes - codes[:1]).max()  # more than the width of the cell
        for rate in (0.1 * t, 1e-3 * t, 1e-6 * t):
            longest = norm(z - centre)  # a start further away could lie outside
            near = (rate * norm(g) * norm(codes[:1] - centre) / (2 * across)).minimum(longest)
            start = centre + near * unit(z - centre)
            end = start - rate * pull_back(member, start, codes[nearest(start, codes)], g, centre=centre)
            found[f"{name}, {rate:.0e}: before"] = (nearest(start, codes).double(), torch.zeros(n), 1.0)
            found[f"{name}, {rate:.0e}: leaves"] = ((nearest(end, codes) > 0).double(), torch.ones(n), 1.0)
    return found


@law(CHAPTER, kinds=GENERIC, dims=SMALL)
def ste_leaves(draw, n, d):
    """From every place in a bounded cell and for every g STE leaves it along a straight line, for good.

    It leaves at the time at which the ray z - time g crosses a face.
    """
    found, steps, share = {}, 25, 1 / 10.5
    for name, codes in bounded_cells(draw, d).items():
        z, g = inside(draw, n, codes), draw(n, d).double()
        leaves, path = time_to_leave(z, -g, codes), [z]
        for _ in range(steps):
            at = path[-1]
            path.append(at - share * leaves * pull_back("ste", at, codes[nearest(at, codes)], g))
        out = (nearest(torch.stack(path), codes) > 0).double()
        found[f"{name}: in"] = (out[:11], torch.zeros(11, n), 1.0)
        found[f"{name}: out"] = (out[11:], torch.ones(steps - 10, n), 1.0)
        found[f"{name}: straight"] = (path[-1], z - steps * share * leaves * g, norm(z) + norm(path[-1]))
    return found


def least_error(z: Tensor, codes: Tensor) -> Tensor:
    """``E min_k |z - q_k|^2``."""
    return (z.unsqueeze(1) - codes).square().sum(-1).amin(1).mean()


def idle_code(z: Tensor, codes: Tensor) -> int:
    """A code that no latent uses."""
    counts = torch.bincount(nearest(z, codes), minlength=len(codes))
    return int(counts.argmin())


@law(CHAPTER, kinds=GENERIC, dims=SMALL)
def revival_is_safe(draw, n, d):
    "Wherever a code that no latent uses is put, E min|z - q_k|^2 does not rise; put on a latent, it falls."
    z, codes = draw(n, d).double(), torch.cat([draw(5, d).double(), 50 + draw(1, d).double()])
    k, before = idle_code(z, codes), least_error(z, codes)
    anywhere, there = codes.clone(), codes.clone()
    anywhere[k], there[k] = draw(d).double(), z[0]
    gain = (z[0] - codes).square().sum(-1).min() / n
    return {
        "anywhere": AtMost(least_error(z, anywhere), before, before + 1e-9),
        "on a latent": AtMost(least_error(z, there), before - gain, before + 1e-9),
    }


# geometry


def change_along(x: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """The rate of a transported v at x where the path has the velocity w: the equation of transport."""
    return (dot(x, w) * v + dot(x, v) * w - dot(w, v) * x) / dot(x, x)


def transported(v: Tensor, path: Callable[[Tensor], tuple[Tensor, Tensor]], steps: int = 40) -> Tensor:
    r"""Levi-Civita transport of v along a path in the metric \|dz\|^2/\|z\|^2, by Runge-Kutta.

    ``path`` gives the places x and velocities w at times in [0, 1] of shape (times, 1, 1), each of shape (times, n, d).
    """
    h = 1 / steps
    x, w = path(torch.linspace(0, 1, 2 * steps + 1, dtype=torch.float64).view(-1, 1, 1))  # ends and middles of steps

    def change(i: int, v: Tensor) -> Tensor:
        return change_along(x[i], v, w[i])

    for start in range(0, 2 * steps, 2):
        first = change(start, v)
        second = change(start + 1, v + h / 2 * first)
        third = change(start + 1, v + h / 2 * second)
        fourth = change(start + 2, v + h * third)
        v = v + h / 6 * (first + 2 * second + 2 * third + fourth)
    return v


def winding(z: Tensor, q: Tensor, wiggle: float, turns: int = 0) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A path from z to q in their plane that goes ``turns`` times more about 0 than the shortest.

    Without wiggle and turns it is the shortest in |dz|^2/|z|^2, a logarithmic spiral.
    """
    a, theta = unit(z), angle(z, q)
    u = unit(q) - dot(a, unit(q)) * a
    u = unit(u - dot(a, u) * a)
    growth, swept = (norm(q) / norm(z)).log(), theta + 2 * math.pi * turns

    def at(time: Tensor) -> tuple[Tensor, Tensor]:
        bump, slope = wiggle * (math.pi * time).sin() ** 2, wiggle * math.pi * (2 * math.pi * time).sin()
        length, turned = norm(z) * (time * growth + bump).exp(), time * swept - bump
        x = length * (turned.cos() * a + turned.sin() * u)
        across = length * (turned.cos() * u - turned.sin() * a)
        return x, (growth + slope) * x + (swept - slope) * across

    return at


def christoffel(x: Tensor) -> Tensor:
    """The Christoffel symbols of |dz|^2/|z|^2 at points x (n, d), from derivatives of the metric: [n, upper, i, j]."""

    def metric(at: Tensor) -> Tensor:
        return torch.eye(len(at), dtype=torch.float64) / (at @ at)

    slopes = torch.stack([torch.autograd.functional.jacobian(metric, one) for one in x])  # d_l g_ij as [n, i, j, l]
    lower = (slopes.permute(0, 2, 1, 3) + slopes.permute(0, 2, 3, 1) - slopes.permute(0, 3, 1, 2)) / 2
    return dot(x, x)[..., None, None] * lower  # the inverse of the metric is |x|^2 I


def length_of(path: Callable[[Tensor], tuple[Tensor, Tensor]], steps: int = 200) -> Tensor:
    """The length of a path in the metric |dz|^2/|z|^2, (n, 1), by the trapezoidal rule."""
    x, w = path(torch.linspace(0, 1, steps + 1, dtype=torch.float64).view(-1, 1, 1))
    return torch.trapezoid(norm(w) / norm(x), dx=1 / steps, dim=0)


TURNS = (-2, -1, 1)  #: by how many turns about 0 a path goes more than the shortest


@law(CHAPTER, kinds=("generic", "close", "opposite"), dims=(2, 3, 8), tolerance=1e-4)
def levi_civita(z, q, g, t):
    r"""rR is the Levi-Civita transport of |dz|^2/|z|^2 along the shortest path from z to q, in every dimension.

    Any other path in the plane of z and q gives the same, whichever way and however often it winds about 0.
    """
    z, q, g = z.double(), q.double(), g.double()
    stated, scale = norm(q) / norm(z) * apply(rotation(z, q), g), norm(q) / norm(z) * norm(g)
    shortest, (start, end) = winding(z, q, 0.0), torch.tensor([0.0, 1.0]).double().view(2, 1, 1, 1)
    (_, leaves), (_, arrives) = shortest(start), shortest(end)
    paths = {"shortest": (shortest, 40)} | {f"wiggle {w:.1f}": (winding(z, q, w), 60) for w in (t, -1.5 * t)}
    paths |= {f"{turns:+d} turns": (winding(z, q, t, turns), 40 + 100 * abs(turns)) for turns in TURNS}
    found = {
        "package": (apply(jacobian("rotation", z, q), g), stated, scale * 2 / norm(unit(z) + unit(q))),
        "a geodesic": (transported(leaves[0], shortest), arrives[0], norm(arrives[0]) + norm(q)),
    }
    for name, (path, steps) in paths.items():
        found[name] = (transported(g, path, steps), stated, scale)
        found[f"{name}: no shorter"] = AtMost(length_of(shortest), length_of(path), 1.0)
    return found


@law(CHAPTER, kinds=GENERIC, dims=(1, 2, 3, 8), tolerance=1e-9)
def transport_equation(draw, n, d):
    """Transport in |dz|^2/|z|^2 is that of the metric's Levi-Civita connection.

    Along a velocity w it adds (<x, w> v + <x, v> w - <w, v> x)/|x|^2 to v, which is minus the Christoffel symbols of
    the metric applied to w and v.
    """
    x, v, w = draw(3, min(n, 8), d).double()
    stated = -torch.einsum("nkij,ni,nj->nk", christoffel(x), w, v)
    return change_along(x, v, w), stated, norm(v) * norm(w) / norm(x)


def off(x: Tensor) -> Tensor:
    """The projector ``I - aa^T`` on what is orthogonal to x."""
    return identity(x) - outer(unit(x), unit(x))


@law(CHAPTER, kinds=("generic", "close", "parallel", "lopsided"))
def sphere(z, q, g):
    """P_a R^T = R^T P_b: behind a normalisation of z the rotation turns what of g is tangent at q and drops the rest.

    Its length stays. STE lets the part along q through, by sin(theta).
    """
    z, q, g = z.double(), q.double(), g.double()
    R, scale = rotation(z, q), 2 / norm(unit(z) + unit(q))
    felt = apply(off(z), pull_back("rotation_only", z, q, g))
    return {
        "identity": (off(z) @ R.mT, R.mT @ off(q), scale.unsqueeze(-1)),
        "gradient": (felt, apply(R.mT, apply(off(q), g)), norm(g) * scale),
        "length": (norm(felt), norm(apply(off(q), g)), norm(g) * scale),
        "STE": (norm(apply(off(z), unit(q))), angle(z, q).sin(), 1.0),
    }


# heads


@law(CHAPTER, kinds=GENERIC, dims=SMALL, members=CARRIERS, roundings=3000)
def heads(member, draw, n, d):
    "Each head j has a balance law of its own: <(E_j, b_j), dL> = E<g_j, q_j>, with one codebook or with one a head."
    h, books, count = draw(n, d + 2).double(), draw(3, 9, d).double(), 3
    E = draw(count, d, d + 2).double().requires_grad_()
    b = draw(count, d).double().requires_grad_()
    V, y, found = draw(count * d, 5).double(), draw(n, 5).double(), {}
    for name, codes in {"one codebook": books[:1].expand(count, -1, -1), "one a head": books}.items():
        z = torch.einsum("hdx,nx->nhd", E, h) + b
        q = torch.stack([codes[i][nearest(z[:, i].detach(), codes[i])] for i in range(count)], 1)
        z_q = ESTIMATORS[member](z, q)
        loss = (torch.tanh(z_q.flatten(1) @ V) - y).square().sum()
        g, slope_E, slope_b = torch.autograd.grad(loss, (z_q, E, b))
        left = torch.stack([inner(E[i], slope_E[i]) + inner(b[i], slope_b[i]) for i in range(count)])
        size = (norm(g) * (norm(z) * (1 + norm(q) / norm(z)))).sum(0).squeeze(-1)
        found[name] = (left, dot(g, q).sum(0).squeeze(-1), size)
    return found
