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
    "|G^T grad f(q) - grad f(z)| <= (S + |grad f(q)|/|z|)|q - z| for an S-smooth f, and S|q - z| for STE."
    z, q, f = draw(n, d).double(), draw(n, d).double(), lambda v: torch.sin(v)  # gradient of -sum(cos), so S = 1
    error = norm(pull_back(member, z, q, f(q)) - f(z))
    slope = norm(f(q)) / norm(z) if member == "rotation" else 0
    return AtMost(error, (1 + slope) * norm(q - z), 1 + norm(q) / norm(z))


@law(chapter=8, kinds=GENERIC)
def relative_gradient_error(draw, n, d):
    "|G^T grad f(q) - grad f(z)| <= S r |q - z| + |grad f(z)| |q - z|/|z|: the second part is relative."
    z, q, f = draw(n, d).double(), draw(n, d).double(), lambda v: torch.sin(v)
    error = norm(pull_back("rotation", z, q, f(q)) - f(z))
    r = norm(q) / norm(z)
    return AtMost(error, r * norm(q - z) + norm(f(z)) * norm(q - z) / norm(z), 1 + r)


@law(chapter=8, kinds=GENERIC)
def biased_descent(draw, n, d, t):
    "f(z - eta u) <= f(z) - eta/2 |grad f(z)|^2 + eta/2 |u - grad f(z)|^2 for eta <= 1/S and any u."
    z, u = draw(n, d).double(), draw(n, d).double()
    f = lambda v: -v.cos().sum(-1, keepdim=True)  # noqa: E731
    right = f(z) - t / 2 * norm(z.sin()) ** 2 + t / 2 * norm(u - z.sin()) ** 2
    return AtMost(f(z - t * u), right, d)
