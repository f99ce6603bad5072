"""Laws of chapter 1: cells, the losses and whom they reach, straight-through in a cell and on average, EMA."""

from __future__ import annotations

import torch
from torch import Tensor

from book.algebra import distances, norm
from book.statements import AtMost, law
from book.theory.inputs import GENERIC
from book.theory.one_equation import gradients
from rotvq.quantizers.estimators import straight_through
from rotvq.quantizers.lookup import nearest
from rotvq.quantizers.updates import ema_codes

CODES = 8


def margin(z: Tensor, codes: Tensor) -> Tensor:
    """How far z is from the nearest face of its cell, (n, 1)."""
    squares, k = distances(z, codes) ** 2, nearest(z, codes)
    between = distances(codes[k], codes)
    faces = (squares - squares.gather(1, k[:, None])) / (2 * between)
    return faces.masked_fill(between == 0, torch.inf).amin(1, keepdim=True)


# cells


@law(chapter=1, kinds=GENERIC)
def half_spaces(z, draw):
    "z has the code e_k where <z, e_j - e_k> <= (|e_j|^2 - |e_k|^2)/2 for all j: a cell is half-spaces intersected."
    codes = draw(CODES, z.shape[-1])
    k = nearest(z, codes)
    side = (z[:, None].double() * (codes - codes[k][:, None]).double()).sum(-1)
    squares = norm(codes).squeeze(-1) ** 2
    return AtMost(side, (squares - squares[k][:, None]) / 2, norm(codes).max() * (norm(z) + norm(codes).max()))


@law(chapter=1, kinds=GENERIC)
def convex(z, draw, t):
    "On the segment between two points of a cell every point is in that cell."
    codes = draw(CODES, z.shape[-1])
    k = nearest(z, codes)
    same = k[:, None] == k
    points = (1 - t) * z[:, None] + t * z  # (n, n, d): every pair
    mine = norm(points - codes[k][:, None]).squeeze(-1)
    best = distances(points.flatten(0, 1), codes).amin(1).view_as(mine)
    return AtMost(mine * same, best * same, mine + 1)


@law(chapter=1, kinds=GENERIC, roundings=0)
def locally_constant(z, draw):
    "A step shorter than the distance to the nearest face changes nothing: off the faces the derivative is 0."
    z, codes, step = z.double(), draw(CODES, z.shape[-1]).double(), draw(*z.shape).double()
    moved = z + 0.999 * margin(z, codes) * step / norm(step)
    return codes[nearest(moved, codes)], codes[nearest(z, codes)]


# the losses


@law(chapter=1)
def who_gets_what(z, q, g):
    "Of <g, z_q> + |q - sg z|^2 + |z - sg q|^2 z receives g + 2(z - q), from the outer terms, and q 2(q - z)."
    z, q = z.clone().requires_grad_(), q.clone().requires_grad_()
    loss = (g * straight_through(z, q)).sum() + (q - z.detach()).square().sum() + (z - q.detach()).square().sum()
    to_z, to_q = gradients(loss, z, q, g=torch.ones((), dtype=z.dtype))
    z, q = z.detach(), q.detach()
    scale = norm(g) + norm(z) + norm(q)
    return {"to z": (to_z, g + 2 * (z - q), scale), "to q": (to_q, 2 * (q - z), scale)}


@law(chapter=1, kinds=GENERIC)
def ema_is_sgd(z, draw, t):
    """An EMA step is a gradient step on the codebook loss with the step size (1 - decay)/(2 c_k).

    c_k is the running count after the batch. It is also the ratio of the running sum and the running count.
    """
    codes, old = draw(CODES, z.shape[-1]).requires_grad_(), draw(CODES).abs() + 0.1
    k = nearest(z, codes)
    (gradient,) = gradients((codes[k] - z).square().sum(), codes, g=torch.ones((), dtype=z.dtype))
    codes = codes.detach()
    chosen = torch.nn.functional.one_hot(k, CODES).to(z.dtype)
    counts, sums = chosen.sum(0), chosen.T @ z
    running = t * old + (1 - t) * counts
    moved = ema_codes(codes, running, counts, sums, t)
    ratio = (t * old[:, None] * codes + (1 - t) * sums) / running[:, None]
    scale = norm(codes) + norm(z).max()
    return {
        "step": (moved, codes - (1 - t) / (2 * running[:, None]) * gradient, scale),
        "ratio": (moved, torch.where(counts[:, None] > 0, ratio, codes), scale),
    }


# straight-through on average: codes k D, z = m + u with u uniform on (-D/2, D/2), L(q) = h (q - y)^2/2, m = (k + p) D


@law(chapter=1, dims=(1,), kinds=GENERIC)
def dithered(n, t, draw):
    """The expected loss has the slope h((k + 1/2)D - y); straight-through is h(m - y) on average.

    Its bias is h D (p - 1/2), its variance h^2 D^2 p(1 - p), and its mean squared error h^2 D^2/4 at every m.
    """
    h, D, y, k, p = 2.0, draw(n).double().abs() + 0.1, draw(n).double(), draw(n).double().mul(3).round(), t
    low, high, m = k * D, (k + 1) * D, (k + p) * D

    def expected(share):  # of the loss, with the share of the upper code
        return (1 - share) * h * (low - y) ** 2 / 2 + share * h * (high - y) ** 2 / 2

    slope = (expected(1.0) - expected(0.0)) / D  # linear in m, so this is its derivative
    at = torch.stack([h * (low - y), h * (high - y)])
    weight = torch.tensor([1 - p, p], dtype=torch.float64)[:, None]
    mean = (weight * at).sum(0)
    variance, error = (weight * (at - mean) ** 2).sum(0), (weight * (at - slope) ** 2).sum(0)
    size = h * (D + m.abs() + y.abs())
    return {
        "slope": (slope, h * ((k + 0.5) * D - y), size),
        "mean": (mean, h * (m - y), size),
        "bias": (mean - slope, h * D * (p - 0.5), size),
        "variance": (variance, (h * D) ** 2 * p * (1 - p), size**2),
        "error": (error, (h * D) ** 2 / 4, size**2),
    }
