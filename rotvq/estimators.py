r"""What flows back through vector quantisation: one equation and its family.

Every estimator here is ``z_q = sg[G] z + sg[q - G z]``. Its value is ``q``, whatever ``G``; its gradient is

.. math:: \frac{\partial L}{\partial z} = G^\top g, \qquad g = \frac{\partial L}{\partial z_q}.

So an estimator *is* its pull-back :math:`g \mapsto G^\top g`. With :math:`a = z/|z|`, :math:`b = q/|q|` and
:math:`r = |q|/|z|` the whole family is one composition of a turn, a scale, a projection and a mix:

.. math:: G^\top g = (1-t)\,g + t\,\mathrm{clip}(r)\,P\,T^\top g, \qquad T \in \{I, R, H\},\ P \in \{I,\ I - aa^\top\}.

``R`` is the smallest rotation and ``H`` the reflection that take ``a`` to ``b``. The cost is O(d) a vector; no
d x d matrix is ever formed. The rotation is from Fifty et al., "Restructuring Vector Quantization with the Rotation
Trick", ICLR 2025 (arXiv 2410.06424); the straight-through estimator from Bengio et al., 2013 (arXiv 1308.3432).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from rotvq.chunks import rowwise

R_MAX = 2.0**63  # r is capped here: r g stays finite in float32 for |g| up to 2**64


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(-1, keepdim=True)


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, 2, -1, keepdim=True)


def directions(z: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``a = z/|z|``, ``b = q/|q|`` and ``r = |q|/|z|``, finite for every finite input.

    Norms are taken after dividing by the largest entry, so 1e-30 and 1e30 are as good as 1. Where z or q is exactly 0
    there is no direction: a = b = 0, which makes every turn the identity, and r is 0 if only q vanishes, else 1.
    """
    top_z, top_q = (x.abs().amax(-1, keepdim=True) for x in (z, q))
    both = (top_z > 0) & (top_q > 0)
    a, b = z / torch.where(both, top_z, torch.inf), q / torch.where(both, top_q, torch.inf)
    norm_a, norm_b = _norm(a).clamp_min(1), _norm(b).clamp_min(1)
    r = (norm_b / norm_a * (top_q / top_z)).clamp_max(R_MAX)
    return a / norm_a, b / norm_b, torch.where(both, r, (top_z == 0).to(r.dtype))


def geometry(z: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """``r = |q|/|z|`` and the angle theta between z and q in radians, each (...); theta is 0 where undefined."""
    a, b, r = directions(z, q)
    return r.squeeze(-1), 2 * torch.atan2(_norm(a - b), _norm(a + b)).squeeze(-1)


def _orthogonal(x: Tensor, y: Tensor) -> Tensor:
    """``x`` without its part along ``y``: a + b and a - b are orthogonal, but not to the last digit of a small one."""
    return torch.addcmul(x, _dot(x, y), y, value=-0.25)  # where x is small, |y|^2 is 4


def _rotation(a: Tensor, b: Tensor, g: Tensor) -> Tensor:
    """``R^T g = H_a H_m g``: two successive reflections, m along the bisector s = a + b.

    The textbook form divides by 1 + cos(theta) and loses the norm near theta = pi; this one keeps it. At b = -a (up to
    rounding) the plane of the half turn is free: here that of a and of whichever of the first two axes is farther.
    """
    s = _orthogonal(a + b, a - b)
    half_turn = _norm(s) <= 4 * torch.finfo(a.dtype).eps
    head = a[..., :2]
    first = head[..., :1].abs() <= head[..., -1:].abs()
    axis = torch.cat([first, ~first], -1)[..., : head.shape[-1]].to(a.dtype)
    s = torch.addcmul(s, torch.where(half_turn, _dot(head, axis), 0.0), a, value=-1)
    s[..., :2] += torch.where(half_turn, _norm(a), 0.0) * axis
    v = torch.addcmul(g, _dot(s, g) / _norm(s).square().clamp_min(torch.finfo(a.dtype).tiny), s, value=-2)
    return torch.addcmul(v, _dot(a, v), a, value=-2)


def _reflection(a: Tensor, b: Tensor, g: Tensor) -> Tensor:
    """``H g`` with ``H = I - 2uu^T`` and u the direction of a - b; the identity where a = b (up to rounding)."""
    u = _orthogonal(a - b, a + b)
    u = torch.where((length := _norm(u)) > 4 * torch.finfo(a.dtype).eps, u / length, 0.0)
    return torch.addcmul(g, _dot(u, g), u, value=-2)


TURNS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "identity": lambda a, b, g: g, "rotation": _rotation, "reflection": _reflection}  #: ``T^T g`` from a, b, g


@dataclass(frozen=True)
class Estimator:
    """One member of the family; call it for the value, :meth:`pull_back` for the gradient alone.

    G is a constant of the graph: whatever stands inside it (a mix, a gain, a centre, the codes) gets no gradient from
    the loss, not even a zero one. A scale cannot be learned this way; :mod:`rotvq.meta` has one that can.

    turn: ``T``, a key of :data:`TURNS`. clip: bounds ``(lo, hi)`` on ``r``; equal bounds make a constant scale.
    radial: False removes the part of the gradient along z (``P = I - aa^T``). pooled: ``r`` is replaced by its mean
    over all vectors of the call. mix: ``t``, the share of the member against the straight-through estimator.

    >>> Estimator("rotation", mix=0.5).pull_back(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0]), torch.ones(2))
    tensor([0.7800, 0.5400])
    """

    turn: str
    clip: tuple[float, float] = (0.0, float("inf"))
    radial: bool = True
    pooled: bool = False
    mix: float = 1.0
    formula: str = ""
    source: str = ""

    def __post_init__(self):
        if self.turn not in TURNS:
            raise ValueError(f"unknown turn {self.turn!r}: one of {', '.join(TURNS)}")
        if not 0 <= self.clip[0] <= self.clip[1]:
            raise ValueError(f"clip is {self.clip}: it needs 0 <= lo <= hi")
        if not 0 <= self.mix <= 1:
            raise ValueError(f"mix is {self.mix}: it needs 0 <= mix <= 1")

    @property
    def constant(self) -> bool:
        """True where G = alpha I, which needs neither z nor q."""
        return self.turn == "identity" and self.radial and self.clip[0] == self.clip[1]

    @property
    def cost(self) -> int:
        """Inner products of d numbers that a pull-back takes per vector, norms among them."""
        turns = {"identity": 0, "rotation": 4, "reflection": 3}
        return 0 if self.constant else 2 + turns[self.turn] + (not self.radial)

    def __call__(self, z: Tensor, q: Tensor, *, centre=None, mix=None, gain=None) -> Tensor:
        """``sg[G] z + sg[q - G z]``: the value of q, bit for bit and in its dtype; ``G^T g`` to z, nothing to q.

        z, q: floating point, shape (..., d). centre: G turns and scales about this point, shape (d,), not about 0.
        mix: overrides ``t``, a number or a 0-d tensor. gain: a further factor on the scale, shape (..., 1), for
        instance one a code. Raises ValueError where the shapes of z and q differ.
        """
        if z.shape != q.shape:
            raise ValueError(f"z has shape {tuple(z.shape)}, q has {tuple(q.shape)}: they must be equal")
        return _Quantise.apply(z, q.detach(), centre, mix if mix is None else torch.as_tensor(mix), gain, self)

    def pull_back(self, z: Tensor, q: Tensor, g: Tensor, *, centre=None, mix=None, gain=None) -> Tensor:
        """``G^T g`` in g's dtype; half precision is computed in float32. Differentiable in g only: G is a constant."""
        t = self.mix if mix is None else mix
        if self.pooled:
            return self._pull_back(g, z, q, gain, centre, t).to(g.dtype)
        return rowwise(partial(self._pull_back, centre=centre, t=t), g, z, q, gain)

    def _pull_back(self, g: Tensor, z: Tensor, q: Tensor, gain: Tensor | None, centre: Tensor | None, t) -> Tensor:
        v = g.to(torch.promote_types(torch.promote_types(z.dtype, q.dtype), torch.float32))
        if self.constant:
            out = v * self.clip[0] if self.clip[0] != 1 else v
        else:
            z, q = (x.detach().to(v.dtype).contiguous() for x in (z, q))
            v = v.contiguous()  # channels first in memory, all that follows is three times as slow
            if centre is not None:
                z, q = z - centre.detach(), q - centre.detach()
            a, b, r = directions(z, q)
            out = (r.mean() if self.pooled else r).clamp(*self.clip) * TURNS[self.turn](a, b, v)
            out = out if self.radial else out - _dot(a, out) * a
        out = out if gain is None else out * gain.detach()
        return out if isinstance(t, float) and t == 1 else v + t * (out - v)


class _Quantise(torch.autograd.Function):
    """Value q, gradient ``G^T g``: the one place where the forward and the backward pass disagree on purpose."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z, q, centre, mix, gain, estimator):
        return q.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        z, q, centre, mix, gain, ctx.estimator = inputs
        ctx.dtype = z.dtype
        ctx.save_for_backward(z, q, centre, mix, gain)

    @staticmethod
    def backward(ctx, g):
        z, q, centre, mix, gain = ctx.saved_tensors
        out = ctx.estimator.pull_back(z, q, g, centre=centre, mix=mix, gain=gain)
        return out.to(ctx.dtype), None, None, None, None, None


CLIPS = {"conservative": (0.8, 1.2), "medium": (0.5, 2.0), "aggressive": (0.1, 10.0)}  #: ranges by name
_ANY, _ONE = (0.0, float("inf")), (1.0, 1.0)
_FIFTY, _BENGIO, _ARTICLE = "fifty2025rotation", "bengio2013estimating", "su2024rotation"

ESTIMATORS: dict[str, Estimator] = {
    "ste": Estimator("identity", _ONE, formula=r"g", source=_BENGIO),
    "rotation": Estimator("rotation", _ANY, formula=r"r R^\top g", source=_FIFTY),
    "rotation_only": Estimator("rotation", _ONE, formula=r"R^\top g", source=_FIFTY),
    "scale_only": Estimator("identity", _ANY, formula=r"r g", source="control"),
    "clipped": Estimator("rotation", CLIPS["medium"], formula=r"\mathrm{clip}(r) R^\top g", source=_ARTICLE),
    "interpolated": Estimator("rotation", _ANY, mix=0.5, formula=r"(1-t)g + t r R^\top g", source=_ARTICLE),
    "reflection": Estimator("reflection", _ANY, formula=r"r H g", source=_FIFTY),
    "radial_free": Estimator("rotation", _ANY, radial=False, formula=r"r P R^\top g", source=_FIFTY),
    "radial_free_scale": Estimator("identity", _ANY, radial=False, formula=r"r P g", source="control"),
    "mean_rotation": Estimator("rotation", _ANY, pooled=True, formula=r"\bar r R^\top g", source="control"),
    "mean_scale": Estimator("identity", _ANY, pooled=True, formula=r"\bar r g", source="control"),
    "constant": Estimator("identity", (0.5, 0.5), formula=r"\alpha g", source=_ARTICLE),
    "zero": Estimator("identity", (0.0, 0.0), formula=r"0", source=_ARTICLE),
}  #: the family by name, each with its formula and the key of its source in the bibliography


def estimator(name: str | Estimator, clip: str | tuple[float, float] | None = None, mix: float | None = None):
    """The Estimator called ``name``, with its clip (a range, or a key of :data:`CLIPS`) or its mix replaced.

    >>> estimator("clipped", clip="aggressive").clip
    (0.1, 10.0)
    """
    if not isinstance(name, Estimator) and name not in ESTIMATORS:
        raise ValueError(f"unknown estimator {name!r}: one of {', '.join(ESTIMATORS)}")
    member = name if isinstance(name, Estimator) else ESTIMATORS[name]
    if isinstance(clip, str):
        if clip not in CLIPS:
            raise ValueError(f"unknown clip {clip!r}: a pair (lo, hi) or one of {', '.join(CLIPS)}")
        clip = CLIPS[clip]
    member = member if clip is None else replace(member, clip=tuple(map(float, clip)))
    return member if mix is None else replace(member, mix=float(mix))


def straight_through(z: Tensor, q: Tensor) -> Tensor:
    """The straight-through estimator (Bengio et al. 2013): value q, gradient g.

    >>> z = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> torch.autograd.grad(straight_through(z, torch.tensor([0.0, 2.0])).sum(), z)
    (tensor([1., 1.]),)
    """
    return ESTIMATORS["ste"](z, q)


def rotate(z: Tensor, q: Tensor) -> Tensor:
    r"""The rotation trick (Fifty et al. 2025): value q, gradient :math:`r R^\top g`, for z and q of shape (..., d).

    >>> z = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> torch.autograd.grad(rotate(z, torch.tensor([0.0, 2.0])).sum(), z)
    (tensor([0.5600, 0.0800]),)
    """
    return ESTIMATORS["rotation"](z, q)
