"""Laws of chapter 8: what can be proved about convergence.

They draw losses of their own and ask nothing of the pairs (z, q), so they run on one kind of pair.
"""

from __future__ import annotations

import torch

from book.algebra import norm, pull_back
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


@law(chapter=8, kinds=GENERIC)
def biased_descent(draw, n, d, t):
    "f(z - eta u) <= f(z) - eta/2 |grad f(z)|^2 + eta/2 |u - grad f(z)|^2 for eta <= 1/h_max and any u."
    z, u = draw(n, d).double(), draw(n, d).double()
    f = lambda v: -v.cos().sum(-1, keepdim=True)  # noqa: E731
    right = f(z) - t / 2 * norm(z.sin()) ** 2 + t / 2 * norm(u - z.sin()) ** 2
    return AtMost(f(z - t * u), right, d)


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
