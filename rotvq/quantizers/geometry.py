"""The turns from a = z/|z| to b = q/|q|, in a form that is right for every finite z and q.

``R`` is the smallest rotation with ``R a = b``, here two reflections; ``H`` is the reflection with ``H a = b``.
Textbook forms fail near half turns and at norms of 1e-30 or 1e30.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

R_MAX = 2.0**63  # r is capped here: r g stays finite in float32 for |g| up to 2**64


def dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(-1, keepdim=True)


def norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, 2, -1, keepdim=True)


def directions(z: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``a = z/|z|``, ``b = q/|q|`` and ``r = |q|/|z|``, finite for every finite input.

    Norms are taken after dividing by the largest entry, so 1e-30 and 1e30 are as good as 1. Where z or q is exactly 0
    there is no direction: a = b = 0, which makes every turn the identity, and r is 0 if only q vanishes, else 1.
    """
    top_z, top_q = (x.abs().amax(-1, keepdim=True) for x in (z, q))
    both = (top_z > 0) & (top_q > 0)
    a, b = z / torch.where(both, top_z, torch.inf), q / torch.where(both, top_q, torch.inf)
    norm_a, norm_b = norm(a).clamp_min(1), norm(b).clamp_min(1)
    r = (norm_b / norm_a * (top_q / top_z)).clamp_max(R_MAX)
    return a / norm_a, b / norm_b, torch.where(both, r, (top_z == 0).to(r.dtype))


def geometry(z: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """``r = |q|/|z|`` and the angle theta between z and q in radians, each (...); theta is 0 where undefined."""
    a, b, r = directions(z, q)
    return r.squeeze(-1), 2 * torch.atan2(norm(a - b), norm(a + b)).squeeze(-1)


def _orthogonal(x: Tensor, y: Tensor) -> Tensor:
    """``x`` without its part along ``y``: a + b and a - b are orthogonal, but not to the last digit of a small one."""
    return torch.addcmul(x, dot(x, y), y, value=-0.25)  # where x is small, |y|^2 is 4


def _rotation(a: Tensor, b: Tensor, g: Tensor) -> Tensor:
    """``R^T g = H_a H_m g``: two successive reflections, m along the bisector s = a + b.

    The textbook form divides by 1 + cos(theta) and loses the norm near theta = pi; this one keeps it. At b = -a (up to
    rounding) the plane of the half turn is free: here that of a and of whichever of the first two axes is farther.
    """
    s = _orthogonal(a + b, a - b)
    half_turn = norm(s) <= 4 * torch.finfo(a.dtype).eps
    head = a[..., :2]
    first = head[..., :1].abs() <= head[..., -1:].abs()
    axis = torch.cat([first, ~first], -1)[..., : head.shape[-1]].to(a.dtype)
    s = torch.addcmul(s, torch.where(half_turn, dot(head, axis), 0.0), a, value=-1)
    s[..., :2] += torch.where(half_turn, norm(a), 0.0) * axis
    v = torch.addcmul(g, dot(s, g) / norm(s).square().clamp_min(torch.finfo(a.dtype).tiny), s, value=-2)
    return torch.addcmul(v, dot(a, v), a, value=-2)


def _reflection(a: Tensor, b: Tensor, g: Tensor) -> Tensor:
    """``H g`` with ``H = I - 2uu^T`` and u the direction of a - b; the identity where a = b (up to rounding)."""
    u = _orthogonal(a - b, a + b)
    u = torch.where((length := norm(u)) > 4 * torch.finfo(a.dtype).eps, u / length, 0.0)
    return torch.addcmul(g, dot(u, g), u, value=-2)


TURNS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "identity": lambda a, b, g: g,
    "rotation": _rotation,
    "reflection": _reflection,
}  #: ``T^T g`` from a, b, g
