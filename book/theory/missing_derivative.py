"""Laws of chapter 1: cells, the losses and whom they reach, straight-through in a cell and on average, EMA."""

from __future__ import annotations

import torch
from torch import Tensor

from book.algebra import distances, norm, unit
from book.statements import AtMost, law
from book.theory.inputs import GENERIC
from book.theory.one_equation import gradients
from rotvq.quantizers.estimators import straight_through
from rotvq.quantizers.lookup import nearest
from rotvq.quantizers.updates import ema_codes

CODES = 8


def nearest_face(z: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """How far z is from the nearest face of its cell, (n, 1), and the unit normal that leads there, (n, d)."""
    squares, k = distances(z, codes) ** 2, nearest(z, codes)
    between = distances(codes[k], codes)
    faces = (squares - squares.gather(1, k[:, None])) / (2 * between)
    distance, beyond = faces.masked_fill(between == 0, torch.inf).min(1, keepdim=True)
    return distance, unit(codes[beyond.squeeze(1)] - codes[k])


# cells


def beyond_the_faces(z: Tensor, codes: Tensor) -> Tensor:
    """``<z, q_j - q_k> - (|q_j|^2 - |q_k|^2)/2`` for all z, k and j, (n, K, K): above 0 where z is nearer to q_j."""
    z, codes = z.double(), codes.double()
    height = z @ codes.mT - norm(codes).squeeze(-1) ** 2 / 2  # (n, K)
    return height[:, None, :] - height[:, :, None]


@law(chapter=1, kinds=GENERIC)
def half_spaces(z, draw):
    """z has the code q_k where <z, q_j - q_k> <= (|q_j|^2 - |q_k|^2)/2 for all j: a cell is half-spaces intersected.

    For another code one of these fails, the worst by half of what its |z - q_k|^2 is above the least.
    """
    codes = draw(CODES, z.shape[-1])
    k, beyond = nearest(z, codes)[:, None], beyond_the_faces(z, codes).amax(-1)  # (n, K): the worst j for each k
    squares = distances(z.double(), codes.double()) ** 2
    scale = (norm(z) + norm(codes).max()) ** 2
    return {
        "its code": AtMost(beyond.gather(1, k), 0.0, scale),
        "every code": (beyond, (squares - squares.gather(1, k)) / 2, scale),
    }


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
    "A step shorter than the distance delta to the nearest face changes no code; one a little longer, across it, does."
    z, codes, step = z.double(), draw(CODES, z.shape[-1]).double(), draw(*z.shape).double()
    delta, normal = nearest_face(z, codes)
    before = nearest(z, codes)
    inside, across = z + 0.999 * delta * unit(step), z + 1.001 * delta * normal
    return {
        "shorter": (codes[nearest(inside, codes)], codes[before]),
        "longer": ((nearest(across, codes) != before).double(), torch.ones(len(z))),
    }


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


POINTS = 64  # of the dither: their mean is exact where a multiple of 1/64 of them has the upper code


@law(chapter=1, dims=(1,), kinds=GENERIC)
def dithered(n, t, draw):
    """The expected loss has the slope h((k + 1/2)D - y); straight-through is h(m - y) on average.

    Its bias is h D (p - 1/2), its variance h^2 D^2 p(1 - p), and its mean squared error h^2 D^2/4 at every m.
    """
    h, D = draw(2).double().exp()
    k, y, p = draw(n, 1).double().mul(3).round(), draw(n, 1).double(), (1 + int(62 * t)) / POINTS
    codes = D * torch.arange(-30, 31, dtype=torch.float64)[:, None]
    dither = D * ((torch.arange(POINTS, dtype=torch.float64) + 0.5) / POINTS - 0.5)

    def losses(m, estimate):
        """The loss of every z = m + dither, each looked up, and what the estimator hands to it."""
        z = (m + dither)[..., None].requires_grad_()
        q = codes[nearest(z.detach(), codes)]
        loss = h * (estimate(z, q).squeeze(-1) - y) ** 2 / 2
        return loss.detach(), torch.autograd.grad(loss.sum(), z)[0].squeeze(-1)

    m, step = (k + p) * D, D / POINTS
    above, below = (losses(m + side * step, straight_through)[0].mean(1) for side in (1, -1))
    slope = (above - below) / (2 * step)
    felt = losses(m, straight_through)[1]
    mean, spread, error = felt.mean(1), felt.var(1, correction=0), (felt - slope[:, None]).square().mean(1)
    m, k, y = m[:, 0], k[:, 0], y[:, 0]
    size = h * (D + m.abs() + y.abs())
    return {
        "slope": (slope, h * ((k + 0.5) * D - y), POINTS * size * (1 + (m.abs() + y.abs()) / D)),
        "mean": (mean, h * (m - y), size),
        "bias": (mean - slope, h * D * (p - 0.5), POINTS * size * (1 + (m.abs() + y.abs()) / D)),
        "variance": (spread, (h * D) ** 2 * p * (1 - p), size**2),
        "error": (error, (h * D) ** 2 / 4, POINTS * size**2 * (1 + (m.abs() + y.abs()) / D)),
    }
