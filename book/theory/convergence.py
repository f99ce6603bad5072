"""Laws of chapter 8: what can be proved about convergence.

They draw losses of their own and ask nothing of the pairs (z, q), so they run on one kind of pair.
"""

from __future__ import annotations

import torch

from book.algebra import dot, norm, pull_back
from book.statements import AtMost, law
from book.theory.inputs import GENERIC


@law(chapter=8, kinds=GENERIC, members=("ste", "rotation"))
def gradient_error(member, draw, n, d):
    "|G^T grad f(q) - grad f(z)| <= (h_max + |grad f(q)|/|z|)|q - z| for an h_max-smooth f, and h_max |q - z| for STE."
    z, q, f = draw(n, d).double(), draw(n, d).double(), lambda v: torch.sin(v)  # gradient of -sum(cos), so h_max = 1
    error = norm(pull_back(member, z, q, f(q)) - f(z))
    slope = norm(f(q)) / norm(z) if member == "rotation" else 0
    return AtMost(error, (1 + slope) * norm(q - z), 1 + norm(q) / norm(z))


@law(chapter=8, kinds=GENERIC)
def relative_gradient_error(draw, n, d):
    "|G^T grad f(q) - grad f(z)| <= h_max r |q - z| + |grad f(z)| |q - z|/|z|: the second part is relative."
    z, q, f = draw(n, d).double(), draw(n, d).double(), lambda v: torch.sin(v)
    error = norm(pull_back("rotation", z, q, f(q)) - f(z))
    r = norm(q) / norm(z)
    return AtMost(error, r * norm(q - z) + norm(f(z)) * norm(q - z) / norm(z), 1 + r)


def longest_step(h_max: float) -> float:
    """The largest step size with which descent is promised, ``1/h_max``."""
    return 1 / h_max


@law(chapter=8, kinds=GENERIC)
def biased_descent(draw, n, d, t):
    """f(z - eta u) <= f(z) - eta/2 |grad f(z)|^2 + eta/2 |u - grad f(z)|^2 for an h_max-smooth f, eta <= 1/h_max and

    any u: one at random, long or short, the gradient itself, and what the rotation hands on. On a bowl of curvature
    h_max a step of 1/h_max attains it.
    """
    z, q, noise = draw(3, n, d).double()
    scales, phase = draw(1, d).double().exp(), draw(1, d).double()
    h_max = float(scales.max())
    waves = lambda v: -(scales * torch.cos(v + phase)).sum(-1, keepdim=True), lambda v: scales * torch.sin(v + phase)
    bowl = lambda v: h_max * dot(v, v) / 2, lambda v: h_max * v
    found = {}
    for name, (f, gradient) in {"waves": waves, "bowl": bowl}.items():
        slope = gradient(z)
        steps = {"random": noise, "long": 100 * noise, "gradient": slope}
        steps["rotation"] = pull_back("rotation", z, q, gradient(q))
        for kind, u in steps.items():
            size = h_max * (d + dot(z, z) + dot(z - u / h_max, z - u / h_max)) + (dot(u, u) + dot(slope, slope)) / h_max
            for eta in (t * longest_step(h_max), longest_step(h_max)):
                bound = f(z) - eta / 2 * dot(slope, slope) + eta / 2 * dot(u - slope, u - slope)
                found[f"{name}, {kind}, {eta * h_max:.1f}"] = AtMost(f(z - eta * u), bound, size)
            if name == "bowl":
                found[f"attained, {kind}"] = (f(z - eta * u), bound, size)
    return found


@law(chapter=8, kinds=GENERIC, dims=(1, 2, 3, 8))
def relative_floor(draw, d, t):
    """Along every path of the rotation with |q - z| <= k |z|, k < 1, eta <= 1/h_max, the mean of |grad f(z)|^2 is

    at most 2 (f_0 - f_min)/((1 - k) eta T) + ((1 + k)/(1 - k))^2 h_max^2 mean|q - z|^2.
    """
    paths, steps, k = 8, 100, t
    weights, phase = draw(1, d).double().abs() + 0.1, draw(1, d).double()
    h_max, grad = float(weights.max()), lambda v: weights * torch.sin(v + phase)
    f = lambda v: -(weights * torch.cos(v + phase)).sum(-1, keepdim=True)  # noqa: E731
    z = draw(paths, d).double()
    start, slopes, errors = f(z), [], []
    for direction in draw(steps, paths, d).double():
        e = 0.5 * k * norm(z) * direction / norm(direction).clamp_min(0.5)
        slopes.append(norm(grad(z)) ** 2)
        errors.append(norm(e) ** 2)
        z = z - pull_back("rotation", z, z + e, grad(z + e)) / h_max
    bound = 2 * (start + weights.sum()) * h_max / ((1 - k) * steps)
    bound = bound + ((1 + k) / (1 - k) * h_max) ** 2 * torch.stack(errors).mean(0)
    return AtMost(torch.stack(slopes).mean(0), bound, h_max)
