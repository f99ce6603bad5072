r"""Actions that are codes: a point z plus noise plays a code, and the gradient of the value that it expects is known.

Of the values :math:`V_k` of K codes :math:`e_k`, a policy in z expects :math:`\bar V(z) = \sum_k p_k(z) V_k`. Two
policies have a gradient that can be written down. The *nearest* code of :math:`z + \sigma\varepsilon`, normal
:math:`\varepsilon`: moving z pushes probability through the faces of the cells,

.. math:: \nabla\bar V(z) = \sum_{\text{faces } kl} (V_l - V_k)\, n_{kl} \int_{kl} \varphi_\sigma(y - z)\, dy,

where :math:`n_{kl}` points from code k to code l. In two dimensions a face is a piece of a line, and its integral a
density times a difference of two normal distribution functions (:func:`face_gradient`). The *softmax* of
:math:`-|z - e_k|^2 / 2s^2`, from which Gumbel noise draws:
:math:`\nabla\bar V = \mathrm{Cov}_p(e, V) / s^2` (:func:`softmax_gradient`).

An estimate of it from one play is one of these: a member of the book's family, from the slope :math:`g = \nabla_e V` at
the code that was played; :func:`gumbel_estimate` from the same slope; :func:`score_estimate` from the value alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.special import ndtr

from rotvq.quantizers.geometry import dot, norm


class Faces(NamedTuple):
    """The faces between the cells of codes in the plane, E of them.

    Args:
        codes: the two codes on both sides, int64 (E, 2).
        middle: the point half-way between these, (E, 2).
        normal: the unit vector from the first to the second, (E, 2).
        low, high: the ends of the face along ``(-normal_y, normal_x)``, seen from ``middle``; infinite of a ray, (E,).
    """

    codes: Tensor
    middle: Tensor
    normal: Tensor
    low: Tensor
    high: Tensor


def along(normal: Tensor) -> Tensor:
    """The normal turned by a quarter: the direction of the face, (..., 2)."""
    return torch.stack([-normal[..., 1], normal[..., 0]], -1)


def faces(codes: Tensor) -> Faces:
    """The faces of codes (K, 2), no two of which are equal.

    >>> found = faces(torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]))
    >>> found.codes.tolist(), found.low.tolist(), found.high.tolist()
    ([[0, 1], [1, 2]], [-inf, -inf], [inf, inf])
    """
    codes = codes.double()
    pairs = torch.combinations(torch.arange(len(codes)))
    first, second = codes[pairs[:, 0]], codes[pairs[:, 1]]
    middle, normal = (first + second) / 2, (second - first) / norm(second - first)
    # p = middle + t along is no farther from the first than from code j: t <along, e_j - e_first> <= room
    others = codes - first[:, None]
    slope = (along(normal)[:, None] * others).sum(-1)
    room = (codes.square().sum(-1) - first.square().sum(-1, keepdim=True)) / 2 - (middle[:, None] * others).sum(-1)
    own = torch.zeros_like(slope, dtype=torch.bool).scatter_(1, pairs, True)
    end = room / slope
    low = torch.where((slope < 0) & ~own, end, -torch.inf).amax(1)
    high = torch.where((slope > 0) & ~own, end, torch.inf).amin(1)
    shut = ((slope == 0) & (room < 0) & ~own).any(1)
    kept = (low < high) & ~shut
    return Faces(pairs[kept], middle[kept], normal[kept], low[kept], high[kept])


def face_gradient(z: Tensor, values: Tensor, found: Faces, sigma: float) -> Tensor:
    """The gradient of the value that the nearest code of z + sigma noise expects, (N, 2) in the dtype of z.

    Args:
        z: points, (N, 2).
        values: of every code in the context of each point, (N, K).
        found: the faces of the codes.
        sigma: standard deviation of the noise.
    """
    far = z.double()[:, None] - found.middle  # (N, E, 2)
    across, place = (far * found.normal).sum(-1) / sigma, (far * along(found.normal)).sum(-1)
    density = (-across.square() / 2).exp() / (sigma * (2 * torch.pi) ** 0.5)
    through = density * (ndtr((found.high - place) / sigma) - ndtr((found.low - place) / sigma))
    gained = values.double()[:, found.codes[:, 1]] - values.double()[:, found.codes[:, 0]]
    return ((through * gained) @ found.normal).to(z.dtype)


def logits(z: Tensor, codes: Tensor, s: float) -> Tensor:
    """``-|z - e_k|^2 / 2 s^2`` up to what all codes share, (..., K)."""
    return (z @ codes.t() - codes.square().sum(-1) / 2) / s**2


def softmax_gradient(z: Tensor, values: Tensor, codes: Tensor, s: float) -> Tensor:
    """The gradient of the value that a code drawn from the softmax expects, (N, d); arguments as above."""
    share = logits(z, codes, s).softmax(-1)
    gained = values - (share * values).sum(-1, keepdim=True)
    return (share * gained) @ codes / s**2


def play(y: Tensor, codes: Tensor) -> Tensor:
    """The nearest code of each y (..., d): int64 (...)."""
    return logits(y, codes, 1.0).argmax(-1)


def gumbel_noise(shape: tuple[int, ...], noise: torch.Generator) -> Tensor:
    """Draws from the Gumbel distribution."""
    return -torch.empty(shape).exponential_(generator=noise).log()


def gumbel_estimate(weights: Tensor, codes: Tensor, g: Tensor, s: float, temperature: float) -> Tensor:
    """What Gumbel straight-through passes to z: ``G^T g`` with ``G = Cov_y(e) / (temperature s^2)``, (..., d).

    It plays the code of the largest weight, and its gradient is that of the mixture ``sum_k y_k e_k``, where
    ``y = softmax((logits + noise) / temperature)``: no rotation, but one symmetric matrix, so a member of the equation
    of this book.

    Args:
        weights: y, (..., K).
        codes: (K, d).
        g: the slope at the code that was played, (..., d).
        s: width of the softmax.
        temperature: of the relaxation.
    """
    worth = g @ codes.t()
    return (weights * (worth - dot(weights, worth))) @ codes / (temperature * s**2)


def score_estimate(noise: Tensor, value: Tensor, baseline: Tensor, sigma: float) -> Tensor:
    """REINFORCE: ``(V - b) noise / sigma``, (..., d), from the value of the play alone (Williams 1992)."""
    return (value - baseline)[..., None] * noise / sigma
