r"""What flows back through vector quantisation: one equation and its family.

Every estimator here is ``z_q = sg[G] z + sg[q - G z]``. Its value is ``q``, whatever ``G``; its gradient is
:math:`\partial L/\partial z = G^\top g` with :math:`g = \partial L/\partial z_q`. With :math:`a = z/|z|`,
:math:`b = q/|q|`, :math:`r = |q|/|z|` the family is one composition of a turn, a scale, a projection, a gain and a mix:

.. math:: G^\top g = (1-t)\,g + t\,s\,P\,\mathrm{clip}(r)\,T^\top g, \quad T \in \{I, R, H\},\ P \in \{I, I - aa^\top\}.

``R`` is the smallest rotation and ``H`` the reflection that take ``a`` to ``b``. The cost is O(d) a vector; no
d x d matrix is ever formed. The rotation is from Fifty et al., "Restructuring Vector Quantization with the Rotation
Trick", ICLR 2025 (arXiv 2410.06424); the straight-through estimator from Bengio et al., 2013 (arXiv 1308.3432).
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import List  # noqa: UP035  (torch 2.5 cannot read list[float])

import torch
from torch import Tensor

from rotvq.quantizers.blockwise import map_rows
from rotvq.quantizers.geometry import TURN_COSTS, TURNS, directions, dot, norm
from rotvq.quantizers.operators import with_known_signature

CLIPS = {"conservative": (0.8, 1.2), "medium": (0.5, 2.0), "aggressive": (0.1, 10.0)}  #: ranges by name
ANY_SCALE, UNIT_SCALE = (0.0, float("inf")), (1.0, 1.0)
SMALLEST, LARGEST = 2.0**-20, 2.0**20  # norms between these: products of three stay finite and exact in float32


def _finite(z: Tensor, q: Tensor) -> Tensor:
    """Which rows count in a mean over the call, bool (..., 1)."""
    return (z.isfinite() & q.isfinite()).all(-1, keepdim=True)


def _length_fade(z: Tensor, q: Tensor) -> Tensor:
    """``max(0, 1 - |q|/|z|)``, (..., 1): the straight-through estimator once a code is as long as its latent."""
    return (1 - directions(z, q)[2]).clamp_min(0)


def _error_fade(z: Tensor, q: Tensor) -> Tensor:
    """``min(1, sqrt(E|z - q|^2 / E|z - E z|^2))`` over the finite vectors of the call, 0-d: it falls as codes fit."""
    rows, codes = (x.reshape(-1, x.shape[-1]) for x in (z, q))
    counts = _finite(rows, codes)
    rows, codes = torch.where(counts, rows, 0.0), torch.where(counts, codes, 0.0)
    sizes = torch.maximum(rows.abs().amax(-1), codes.abs().amax(-1))
    size = torch.cat([sizes, sizes.new_zeros(1)]).amax()  # squares of entries over the largest stay in range
    rows, codes = (x / torch.where(size > 0, size, 1.0) for x in (rows, codes))
    mean = rows.sum(0) / counts.sum().clamp_min(1)
    spread = torch.where(counts, rows - mean, 0.0).square().sum()
    error = (rows - codes).square().sum()
    return torch.where(error < spread, error / torch.where(spread > 0, spread, 1.0), 1.0).sqrt()


def _cap_fade(z: Tensor, q: Tensor) -> Tensor:
    """``min(1, |z| / (2 |q - z|))``, (..., 1), so that ``|G - I| <= 1/2``."""
    size = torch.maximum(z.abs().amax(-1, keepdim=True), q.abs().amax(-1, keepdim=True))
    z, q = (x / torch.where(size > 0, size, 1.0) for x in (z, q))
    length, distance = norm(z), norm(q - z)
    return torch.where(length < 2 * distance, length / torch.where(distance > 0, 2 * distance, 1.0), 1.0)


#: factors on ``t`` by name, from latents and codes about the centre; of the whole call or one a vector
FADES = {"none": None, "length": _length_fade, "error": _error_fade, "cap": _cap_fade}
Clip = str | tuple[float, float]  # a key of CLIPS or a range
Maybe = Tensor | None
Floats = List[float]  # noqa: UP006


@dataclass(frozen=True)
class Estimator:
    """One member of the family; call it for the value, :meth:`pull_back` for the gradient alone.

    G is a constant of the graph: whatever stands inside it (a mix, a gain, a centre, the codes) gets no gradient from
    the loss, not even a zero one. A scale cannot be learned this way; :mod:`.learned_gain` has one that can. Raises
    ValueError on an unknown turn or fade, and on a clip or mix out of range.

    Args:
        turn: ``T``, a key of :data:`.TURNS`.
        clip: bounds ``(lo, hi)`` on ``r``; equal bounds make a constant scale.
        radial: False removes the part of the gradient along z (``P = I - aa^T``).
        pooled: True replaces ``r`` by its mean over the finite vectors of the call.
        mix: ``t`` in [0, 1], the share of this member against the straight-through estimator.
        fade: a factor on ``t`` that falls as codes fit, a key of :data:`.FADES`.
        formula: ``G^T g`` in LaTeX, for tables.
        source: its key in the bibliography, or "control".

    >>> Estimator("rotation", mix=0.5).pull_back(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0]), torch.ones(2))
    tensor([0.7800, 0.5400])
    """

    turn: str
    clip: tuple[float, float] = ANY_SCALE
    radial: bool = True
    pooled: bool = False
    mix: float = 1.0
    fade: str = "none"
    formula: str = ""
    source: str = ""

    def __post_init__(self):
        if self.turn not in TURNS:
            raise ValueError(f"unknown turn {self.turn!r}: one of {', '.join(TURNS)}")
        if not 0 <= self.clip[0] <= self.clip[1]:
            raise ValueError(f"clip is {self.clip}: it needs 0 <= lo <= hi")
        if not 0 <= self.mix <= 1:
            raise ValueError(f"mix is {self.mix}: it needs 0 <= mix <= 1")
        if self.fade not in FADES:
            raise ValueError(f"unknown fade {self.fade!r}: one of {', '.join(FADES)}")

    @property
    def is_constant(self) -> bool:
        """G is alpha I, which needs neither z nor q."""
        return self.turn == "identity" and self.radial and self.clip[0] == self.clip[1] and self.fade == "none"

    @property
    def takes_whole_calls(self) -> bool:
        """G of a vector depends on the others of the call."""
        return not self.is_constant and self.pooled or self.fade == "error"

    @property
    def has_short_form(self) -> bool:
        """:meth:`_short_form` is the pull-back too."""
        return self.turn == "rotation" and not self.pooled

    @property
    def cost(self) -> int:
        """Inner products of d numbers that a pull-back takes per vector, norms among them."""
        if self.is_constant:
            return 0
        fade = 0 if self.fade == "none" else 2  # each fade takes two norms of its own
        if self.has_short_form:
            return 5 + fade
        return 2 + TURN_COSTS[self.turn] + (not self.radial) + fade

    def __call__(self, z: Tensor, q: Tensor, *, centre=None, mix=None, gain=None) -> Tensor:
        """``sg[G] z + sg[q - G z]``: the value of q, bit for bit and in its dtype; ``G^T g`` to z, nothing to q.

        Args:
            z: latents, floating point, (..., d).
            q: their codes, of the same shape; ValueError if it is another.
            centre: the point about which G turns and scales, (d,); None: the origin.
            mix: overrides ``t``, a number or a 0-d tensor.
            gain: the further factor ``s``, (..., 1), for instance one a code; None: 1.
        """
        if z.shape != q.shape:
            raise ValueError(f"z has shape {tuple(z.shape)}, q has {tuple(q.shape)}: they must be equal")
        return _Estimate.apply(z, q.detach(), centre, mix if mix is None else torch.as_tensor(mix), gain, self)

    def pull_back(self, z: Tensor, q: Tensor, g: Tensor, *, centre=None, mix=None, gain=None) -> Tensor:
        """``G^T g``, the gradient that reaches z when g reaches z_q; half precision is computed in float32.

        g and what is returned have shape (..., d) and one dtype. It is differentiable in g only, since G is a constant.
        The other arguments are those of :meth:`__call__`.
        """
        if torch.compiler.is_compiling() and self.has_short_form and g.device.type == "cpu" and not g.requires_grad:
            return _compiled_pull_back(g, z, q, centre, mix, gain, list(self.clip), self.radial, self.mix, self.fade)
        pull_back = partial(self._pull_back, centre=centre, t=self.mix if mix is None else mix)
        if self.takes_whole_calls:  # so its rows cannot be taken in blocks
            return pull_back(g, z, q, gain).to(g.dtype)
        return map_rows(pull_back, g, z, q, gain)

    def _pull_back(self, g: Tensor, z: Tensor, q: Tensor, gain: Tensor | None, centre: Tensor | None, t) -> Tensor:
        g = g.to(torch.promote_types(torch.promote_types(z.dtype, q.dtype), torch.float32))  # half in float32
        gain = None if gain is None else gain.detach()
        if self.is_constant:
            return _gain_and_mix(g, g if self.clip[0] == 1 else g * self.clip[0], gain, t)
        z, q = (x.detach().to(g.dtype).contiguous() for x in (z, q))
        g = g.contiguous()  # channels first in memory, all that follows is three times as slow
        if centre is not None:
            z, q = z - centre.detach(), q - centre.detach()
        if self.fade != "none":
            t = t * FADES[self.fade](z, q)
        if self.has_short_form and g.device.type == "cpu" and not torch.compiler.is_compiling():
            return self._short_form(g, z, q, gain, t)
        return self._composition(g, z, q, gain, t)

    def _composition(self, g: Tensor, z: Tensor, q: Tensor, gain: Tensor | None, t) -> Tensor:
        """The equation as it stands: right for every member, z and q."""
        a, b, r = directions(z, q)
        if self.pooled:
            counts = _finite(z, q)
            r = torch.where(counts, r, 0.0).sum() / counts.sum().clamp_min(1)
        pulled = r.clamp(*self.clip) * TURNS[self.turn](a, b, g)
        if not self.radial:
            pulled = pulled - dot(a, pulled) * a
        return _gain_and_mix(g, pulled, gain, t)

    def _short_form(self, g: Tensor, z: Tensor, q: Tensor, gain: Tensor | None, t) -> Tensor:
        r"""The same for the rotation in half the passes over memory: G^T g lies in the span of g, z and q.

        .. math:: R^\top g = g + \Big(2\langle b, g\rangle - \sigma\Big) a - \sigma b,
                  \qquad \sigma = \frac{\langle a, g\rangle + \langle b, g\rangle}{1 + \langle a, b\rangle}
        """
        norm_z, norm_q = norm(z), norm(q)
        a_g, b_g, one_plus_a_b = dot(z, g) / norm_z, dot(q, g) / norm_q, 1 + dot(z, q) / (norm_z * norm_q)
        # left to the composition: angles above 120 degrees, where sigma loses digits, and norms out of the ordinary
        fine = (one_plus_a_b > 0.5) & (norm_z.minimum(norm_q) > SMALLEST) & (norm_z.maximum(norm_q) < LARGEST)
        try:
            all_fine = bool(fine.all())
        except RuntimeError:  # under vmap no value can be looked at
            return self._composition(g, z, q, gain, t)
        sigma = (a_g + b_g) / one_plus_a_b
        # <a, R^T g> = <R a, g> = <b, g>, so the projection P R^T g = R^T g - <b, g> a takes one <b, g> away
        along_a = (2 * b_g if self.radial else b_g) - sigma
        scale = (norm_q / norm_z).clamp(*self.clip)
        scale = t * (scale if gain is None else scale * gain)
        pulled = (g * (scale + (1 - t))).addcmul_(z, scale / norm_z * along_a)
        pulled = pulled.addcmul_(q, scale / norm_q * -sigma)
        if not all_fine:
            rest = ~fine.squeeze(-1)
            t = t[rest] if isinstance(t, Tensor) and t.ndim else t
            pulled[rest] = self._composition(g[rest], z[rest], q[rest], None if gain is None else gain[rest], t)
        return pulled


def _gain_and_mix(g: Tensor, pulled: Tensor, gain: Tensor | None, t: float | Tensor) -> Tensor:
    """``(1 - t) g + t s pulled`` with the gain s."""
    pulled = pulled if gain is None else pulled * gain
    return pulled if isinstance(t, float) and t == 1 else g + t * (pulled - g)


@torch.library.custom_op("rotvq::pulled_back", mutates_args=())
def _compiled_pull_back(
    g: Tensor,
    z: Tensor,
    q: Tensor,
    centre: Maybe,
    mix: Maybe,
    gain: Maybe,
    clip: Floats,
    radial: bool,
    t: float,
    fade: str,
) -> Tensor:
    """The rotation's pull-back as one node of a compiled graph: it looks at values, which a graph cannot."""
    member = Estimator("rotation", tuple(clip), radial, mix=t, fade=fade)
    return member.pull_back(z, q, g, centre=centre, mix=mix, gain=gain)


@_compiled_pull_back.register_fake
def _(g, *others):
    return torch.empty_like(g, memory_format=torch.contiguous_format)


class _Estimate(torch.autograd.Function):
    """Value q, gradient ``G^T g``: the one place where the forward and the backward pass disagree on purpose."""

    generate_vmap_rule = True

    @staticmethod
    @with_known_signature
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
        to_z = ctx.estimator.pull_back(z, q, g, centre=centre, mix=mix, gain=gain)
        return to_z.to(ctx.dtype), None, None, None, None, None


_FIFTY, _BENGIO, _SU = "fifty2025rotation", "bengio2013estimating", "su2024rotation"
#: the family by name; a new estimator costs one row here, and its table, law and colour follow
ESTIMATORS: dict[str, Estimator] = {
    "ste": Estimator("identity", UNIT_SCALE, formula=r"g", source=_BENGIO),
    "rotation": Estimator("rotation", formula=r"r R^\top g", source=_FIFTY),
    "rotation_only": Estimator("rotation", UNIT_SCALE, formula=r"R^\top g", source=_FIFTY),
    "scale_only": Estimator("identity", formula=r"r g", source="control"),
    "clipped": Estimator("rotation", CLIPS["medium"], formula=r"\mathrm{clip}(r) R^\top g", source=_SU),
    "no_gain": Estimator("rotation", (0.0, 1.0), formula=r"\min(r, 1) R^\top g", source="control"),
    "interpolated": Estimator("rotation", mix=0.5, formula=r"(1-t)g + t r R^\top g", source=_SU),
    "fading": Estimator("rotation", fade="error", formula=r"(1-t)g + t r R^\top g", source="control"),
    "fading_length": Estimator(
        "rotation", fade="length", formula=r"(1-(1-r)_+)g + (1-r)_+ r R^\top g", source="control"
    ),
    "capped": Estimator("rotation", fade="cap", formula=r"(1-t)g + t r R^\top g, |t(G-I)| \le 1/2", source="control"),
    "reflection": Estimator("reflection", formula=r"r H g", source=_FIFTY),
    "radial_free": Estimator("rotation", radial=False, formula=r"r P R^\top g", source=_FIFTY),
    "radial_free_scale": Estimator("identity", radial=False, formula=r"r P g", source="control"),
    "mean_rotation": Estimator("rotation", pooled=True, formula=r"\bar r R^\top g", source="control"),
    "mean_scale": Estimator("identity", pooled=True, formula=r"\bar r g", source="control"),
    "constant": Estimator("identity", (0.5, 0.5), formula=r"\alpha g", source=_SU),
    "zero": Estimator("identity", (0.0, 0.0), formula=r"0", source=_SU),
}


def estimator(name: str | Estimator, clip: Clip | None = None, mix: float | None = None) -> Estimator:
    """The estimator called ``name``, with its clip or its mix replaced; ValueError on what does not exist.

    Args:
        name: a key of :data:`ESTIMATORS`, or an :class:`Estimator`.
        clip: a range ``(lo, hi)`` or a key of :data:`CLIPS`; None keeps that of the estimator.
        mix: in [0, 1]; None keeps that of the estimator.

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
    if clip is not None:
        member = replace(member, clip=tuple(map(float, clip)))
    return member if mix is None else replace(member, mix=float(mix))


def default_estimator(dim: int) -> str:
    """The estimator of codes of so many dimensions: of one, ``G z = q`` has no turn, and a factor without bound."""
    return "ste" if dim == 1 else "rotation"


def straight_through(z: Tensor, q: Tensor) -> Tensor:
    """The straight-through estimator (Bengio et al. 2013): value q, gradient g, for z and q of shape (..., d).

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
