"""Laws of chapter 8: what can be proved about convergence.

They draw losses of their own and ask nothing of the pairs (z, q), so they run on one kind of pair.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from book.algebra import dot, norm, pull_back
from book.statements import AtMost, law
from book.theory.inputs import GENERIC


class Waves:
    """A smooth loss that is not convex, ``f(x) = -sum_i a_i cos(x_i + p_i)`` with a_i > 0.

    Attributes:
        h_max: The Lipschitz constant of its gradient.
        least: Its minimum.
    """

    def __init__(self, draw: Callable, d: int):
        self.a, self.phase = draw(1, d).double().exp(), draw(1, d).double()
        self.h_max, self.least = float(self.a.max()), -float(self.a.sum())

    def at(self, x: Tensor) -> Tensor:
        return -(self.a * torch.cos(x + self.phase)).sum(-1, keepdim=True)

    def gradient(self, x: Tensor) -> Tensor:
        return self.a * torch.sin(x + self.phase)


class Bowl(Waves):
    """``f(x) = h_max |x|^2/2``."""

    def at(self, x: Tensor) -> Tensor:
        return self.h_max * dot(x, x) / 2

    def gradient(self, x: Tensor) -> Tensor:
        return self.h_max * x


@law(chapter=8, kinds=GENERIC, members=("ste", "rotation"))
def gradient_error(member, draw, n, d):
    "|G^T grad f(q) - grad f(z)| <= (h_max + |grad f(q)|/|z|)|q - z| for an h_max-smooth f, and h_max |q - z| for STE."
    (z, q), f = draw(2, n, d).double(), Waves(draw, d)
    slope = norm(f.gradient(q)) / norm(z) if member == "rotation" else 0
    bound = (f.h_max + slope) * norm(q - z)
    error = norm(pull_back(member, z, q, f.gradient(q)) - f.gradient(z))
    return AtMost(error, bound, f.h_max * d * (1 + norm(q) / norm(z)))


@law(chapter=8, kinds=GENERIC)
def relative_gradient_error(draw, n, d):
    "|G^T grad f(q) - grad f(z)| <= h_max r |q - z| + |grad f(z)| |q - z|/|z|: the second part is relative."
    (z, q), f = draw(2, n, d).double(), Waves(draw, d)
    error = norm(pull_back("rotation", z, q, f.gradient(q)) - f.gradient(z))
    r = norm(q) / norm(z)
    return AtMost(error, (f.h_max * r + norm(f.gradient(z)) / norm(z)) * norm(q - z), f.h_max * d * (1 + r))


def longest_step(h_max: float) -> float:
    """The largest step size with which descent is promised, ``1/h_max``."""
    return 1 / h_max


@law(chapter=8, kinds=GENERIC)
def biased_descent(draw, n, d, t):
    """f(z - eta u) <= f(z) - eta/2 |grad f(z)|^2 + eta/2 |u - grad f(z)|^2 for any u and eta <= 1/h_max.

    Here f is h_max-smooth. The u tried are one at random, long or short, the gradient itself, and what the rotation
    hands on. On a bowl of curvature h_max a step of 1/h_max attains the bound.
    """
    (z, q, noise), found = draw(3, n, d).double(), {}
    for name, f in {"waves": Waves(draw, d), "bowl": Bowl(draw, d)}.items():
        slope, longest = f.gradient(z), longest_step(f.h_max)
        steps = {"random": noise, "long": 100 * noise, "gradient": slope}
        steps["rotation"] = pull_back("rotation", z, q, f.gradient(q))
        for (kind, u), share in itertools.product(steps.items(), (t, 1.0)):
            eta = share * longest
            end, bound = z - eta * u, f.at(z) + eta / 2 * (dot(u - slope, u - slope) - dot(slope, slope))
            size = f.h_max * (d + dot(z, z) + dot(end, end)) + (dot(u, u) + dot(slope, slope)) / f.h_max
            found[f"{name}, {kind}, {share:.1f}"] = AtMost(f.at(end), bound, size)
            if name == "bowl" and share == 1:
                found[f"attained, {kind}"] = (f.at(end), bound, size)
    return found


@law(chapter=8, kinds=GENERIC, dims=(1, 2, 3, 8))
def relative_floor(draw, d, t):
    """Paths of the rotation with errors of at most k < 1 times |z| have a bound on the mean of |grad f(z)|^2.

    Along every path with |q - z| <= k |z| and eta <= 1/h_max it is at most 2 (f_0 - f_min)/((1 - k) eta T) +
    ((1 + k)/(1 - k))^2 h_max^2 mean|q - z|^2.
    """
    paths, steps, k, f = 8, 100, t, Waves(draw, d)
    found = {}
    for share in (1.0, 0.3):
        eta, z = share * longest_step(f.h_max), draw(paths, d).double()
        start, slopes, errors = f.at(z), [], []
        for direction in draw(steps, paths, d).double():
            e = k * norm(z) * direction / norm(direction).clamp_min(0.5)
            slopes.append(dot(f.gradient(z), f.gradient(z)))
            errors.append(dot(e, e))
            z = z - eta * pull_back("rotation", z, z + e, f.gradient(z + e))
        bound = 2 * (start - f.least) / ((1 - k) * eta * steps)
        bound = bound + ((1 + k) / (1 - k) * f.h_max) ** 2 * torch.stack(errors).mean(0)
        found[f"eta = {share}/h_max"] = AtMost(torch.stack(slopes).mean(0), bound, f.h_max**2)
    return found
