"""Unit vectors, lengths, angles, and the turns that take ``a`` to ``b``: finite for every finite input."""

from collections.abc import Callable

import torch
from torch import Tensor

R_MAX = 2.0**63  # r is capped here: r g stays finite in float32 for |g| up to 2**64


def dot(x: Tensor, y: Tensor) -> Tensor:
    """Inner products along the last dimension, (..., 1)."""
    return (x * y).sum(-1, keepdim=True)


def norm(x: Tensor) -> Tensor:
    """Euclidean norms along the last dimension, (..., 1)."""
    return torch.linalg.vector_norm(x, 2, -1, keepdim=True)


def unit(x: Tensor) -> Tensor:
    """``x / |x|`` along the last dimension, right for norms of 1e-30 and 1e30; 0 stays 0 and passes gradients."""
    # a vector without an entry as large as the smallest normal number counts as 0: its gradient would be infinite
    top = x.detach().abs().amax(-1, keepdim=True)
    x = x / torch.where(top >= torch.finfo(x.dtype).tiny, top, 1.0)
    length = norm(x)
    return x / torch.where(length > 0, length, 1.0)


def directions(z: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``a = z/|z|``, ``b = q/|q|``, both (..., d), and ``r = |q|/|z|``, (..., 1)."""
    # where z or q is exactly 0, a = b = 0, which makes every turn the identity, and r is 0 if only q vanishes, else 1
    top_z, top_q = (x.abs().amax(-1, keepdim=True) for x in (z, q))
    both = (top_z > 0) & (top_q > 0)  # entries are divided by the largest: norms of 1e-30 and 1e30 are as good as 1
    a, b = z / torch.where(both, top_z, torch.inf), q / torch.where(both, top_q, torch.inf)
    norm_a, norm_b = norm(a).clamp_min(1), norm(b).clamp_min(1)
    r = (norm_b / norm_a * (top_q / top_z)).clamp_max(R_MAX)
    return a / norm_a, b / norm_b, torch.where(both, r, (top_z == 0).to(r.dtype))


def geometry(z: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """``r = |q|/|z|`` and the angle between z and q in radians, each (...); the angle is 0 where it is undefined."""
    a, b, r = directions(z, q)
    return r.squeeze(-1), 2 * torch.atan2(norm(a - b), norm(a + b)).squeeze(-1)


def _rotation(a: Tensor, b: Tensor, g: Tensor) -> Tensor:
    """``R^T g = H_a H_m g``: two successive reflections, m along the bisector a + b; ``R a = b``."""
    # The textbook form divides by 1 + cos(theta) and loses the norm near theta = pi; this one keeps it. At b = -a (up
    # to rounding) any plane through a will do: that of a and of whichever of the first two axes is farther from it.
    bisector = _orthogonal(a + b, a - b)
    half_turn = norm(bisector) <= 4 * torch.finfo(a.dtype).eps
    head = a[..., :2]
    first_is_farther = head[..., :1].abs() <= head[..., -1:].abs()
    axis = torch.cat([first_is_farther, ~first_is_farther], -1)[..., : head.shape[-1]].to(a.dtype)
    bisector = torch.addcmul(bisector, torch.where(half_turn, dot(head, axis), 0.0), a, value=-1)
    bisector[..., :2] += torch.where(half_turn, norm(a), 0.0) * axis
    square = norm(bisector).square().clamp_min(torch.finfo(a.dtype).tiny)
    reflected = torch.addcmul(g, dot(bisector, g) / square, bisector, value=-2)
    return torch.addcmul(reflected, dot(a, reflected), a, value=-2)


def _reflection(a: Tensor, b: Tensor, g: Tensor) -> Tensor:
    """``H g`` with ``H = I - 2uu^T`` and u the direction of a - b; the identity where a = b (up to rounding)."""
    difference = _orthogonal(a - b, a + b)
    length = norm(difference)
    u = torch.where(length > 4 * torch.finfo(a.dtype).eps, difference / length, 0.0)
    return torch.addcmul(g, dot(u, g), u, value=-2)


def _orthogonal(x: Tensor, y: Tensor) -> Tensor:
    """``x`` without its part along ``y``: a + b and a - b are orthogonal, but not to the last digit of a small one."""
    return torch.addcmul(x, dot(x, y), y, value=-0.25)  # where x is small, |y|^2 is 4


TURNS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "identity": lambda a, b, g: g,
    "rotation": _rotation,
    "reflection": _reflection,
}  #: ``T^T g`` from unit vectors a and b and from g, all (..., d)
TURN_COSTS = {"identity": 0, "rotation": 4, "reflection": 3}  # inner products of d numbers that each takes
