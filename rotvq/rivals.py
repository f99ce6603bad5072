r"""Rivals and baselines behind the call of :class:`.VectorQuantizer`: ``module(x) -> Quantized(z_q, indices, loss)``.

Some replace the estimator (NSVQ, DiVeQ), one the gain (dynamic STE), one the form of the codebook (SimVQ), two look at
the loss itself (exact, Hessian); the others are quantisers of their own, in :mod:`rotvq.alternatives`.
:data:`QUANTIZERS` names them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rotvq.alternatives import FSQ, Gumbel, Noise, Segments
from rotvq.interface import Details, Quantized, Quantizer
from rotvq.lookup import unit
from rotvq.quantizer import VectorQuantizer


class NoiseSubstitution(Noise):
    """NSVQ: ``z + |q - z| sg[n/|n|]`` with n ~ N(0, I): the error of quantisation, in a random direction.

    Vali and Bäckström, "NSVQ: Noise Substitution in Vector Quantization for Machine Learning", IEEE Access 2022. The
    codes learn from the reconstruction, through the norm. Evaluation gives q.

    >>> z, q = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])
    >>> NoiseSubstitution(seed=0)(z, q).norm().round(), NoiseSubstitution().eval()(z, q)
    (tensor(5.), tensor([[3., 4.]]))
    """

    def direction(self, gap: Tensor) -> Tensor:
        return self.normal(gap)

    def forward(self, z: Tensor, q: Tensor) -> Tensor:
        if not self.training:
            return q
        gap = q - z
        away = unit(self.direction(gap.detach())).to(gap.dtype)
        return z + torch.linalg.vector_norm(gap, dim=-1, keepdim=True) * away


class Directional(NoiseSubstitution):
    """DiVeQ: ``z + |q - z| sg[v/|v|]`` with ``v = q - z + s n`` and n ~ N(0, I): the same, towards the code.

    Vali et al., ICLR 2026 (arXiv 2509.26469); s is ``deviation``. For s = 0 (their DiVeQ-detach) the value is q and,
    with w the direction from z to q, ``dL/dz = (I - w w^T) g`` and ``dL/dq = w w^T g``.

    >>> z, q = torch.zeros(1, 2, requires_grad=True), torch.tensor([[2.0, 0.0]])
    >>> Directional(deviation=0.0)(z, q).sum().backward()                       # g = (1, 1), w = (1, 0)
    >>> z.grad
    tensor([[0., 1.]])
    """

    def __init__(self, seed: int = 0, deviation: float = 1e-3):
        super().__init__(seed)
        self.deviation = deviation

    def direction(self, gap: Tensor) -> Tensor:
        return gap + self.deviation * self.normal(gap) if self.deviation else gap


class Dynamic(nn.Module):
    r"""Dynamic STE as a gain: :math:`d^*_k / |z - e_k|^2`, d*_k the least squared distance of a latent to its code.

    Tang et al., "StableVQ", 2026 (arXiv 2609.26774), eq. 4. The best latent of each code keeps its gradient, the others
    lose theirs with their distance. The least is taken over the latents of the batch that chose the code; read to the
    letter, the minimum of eq. 4 is over all latents of the batch. A latent that is its code has weight 1 (the paper
    names no guard there).

    >>> z, q = torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1)
    >>> Dynamic(codebook_size=1)(z, q, torch.tensor([0, 0]), None)
    tensor([[1.0000],
            [0.2500]])
    """

    def __init__(self, codebook_size: int):
        super().__init__()
        self.codebook_size = codebook_size

    def forward(self, z: Tensor, q: Tensor, indices: Tensor, keep: Tensor | None) -> Tensor:
        squares = (z - q).to(torch.promote_types(z.dtype, torch.float32)).square().sum(-1)
        counted = squares if keep is None else torch.where(keep, squares, torch.inf)
        least = squares.new_full((self.codebook_size,), torch.inf)
        least = least.scatter_reduce(0, indices.flatten(), counted.flatten(), "amin")
        weight = torch.where(squares > 0, least[indices] / squares.clamp_min(torch.finfo(squares.dtype).tiny), 1.0)
        return weight.clamp_max(1).unsqueeze(-1)


def exact(z: Tensor, z_q: Tensor, objective: Callable[[Tensor], Tensor], weight: float = 1e-6) -> Tensor:
    """Add ``weight * L(z)``, its gradient in z multiplied by 1/weight: dL/dz at z itself, decoders hardly moved.

    >>> z = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> exact(z, torch.zeros(2), lambda z: z.square().sum()).backward()
    >>> z.grad
    tensor([2., 4.])
    """
    carrier = z.detach() + (z - z.detach()) / weight
    return weight * objective(carrier)


def hessian(z: Tensor, z_q: Tensor, objective: Callable[[Tensor], Tensor]) -> Tensor:
    """Add 0, with gradient ``H (z - q)`` in z: with g from the straight-through estimator, dL/dz to second order.

    >>> z = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> hessian(z, torch.zeros(2), lambda z: (z**3).sum() + z.square().sum()).backward()    # H = 2 at q = 0
    >>> z.grad
    tensor([2., 4.])
    """
    with torch.enable_grad():
        q = z_q.detach().requires_grad_()
        (g,) = torch.autograd.grad(objective(q), q, create_graph=True)
        (bend,) = torch.autograd.grad(g, q, (z - q).detach()) if g.requires_grad else (torch.zeros_like(q),)
    return ((z - z.detach()) * bend).sum()


class SecondPass(nn.Module):
    """A quantiser that in training also looks at the loss: Fifty et al. 2025, section 5, "exact" and "Hessian".

    ``objective`` maps latents, shaped as the input, to the reconstruction loss that is being minimised; every training
    call needs it. A decoder with batch statistics sees both passes. "Hessian" differentiates inside the call, which
    ``torch.compile`` does not take; everything else here compiles without a graph break.

    >>> quantizer = SecondPass(VectorQuantizer(dim=2, codebook_size=4, estimator="zero"), exact)
    >>> z_q, indices, loss = quantizer(torch.ones(3, 2), objective=lambda z: z.square().mean())
    """

    def __init__(self, quantizer: Quantizer, correction: Callable[[Tensor, Tensor, Callable], Tensor]):
        super().__init__()
        self.quantizer, self.correction = quantizer, correction

    def forward(self, x: Tensor, mask: Tensor | None = None, details: bool = False,
                objective: Callable[[Tensor], Tensor] | None = None) -> Quantized | Details:  # fmt: skip
        out = self.quantizer(x, mask, details)
        if not self.training:
            return out
        if objective is None:
            raise ValueError("in training this quantiser needs the objective: module(x, objective=latents -> loss)")
        return out._replace(loss=out.loss + self.correction(x, out.z_q, objective))

    def encode(self, x: Tensor) -> Tensor:
        return self.quantizer.encode(x)

    def decode(self, indices: Tensor) -> Tensor:
        return self.quantizer.decode(indices)

    def __getattr__(self, name: str):
        """dim, codebook, gamma and the like are those of the quantiser inside."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("quantizer"), name)


def _seed(options: dict) -> int:
    generator = options.get("generator")
    return 0 if generator is None else generator.initial_seed()


def _vector(estimator: Callable[[int], nn.Module]):
    """A VectorQuantizer with a module for its estimator and without the two losses, from which it would learn twice."""
    return lambda dim, size, **options: VectorQuantizer(
        dim, size, estimator(_seed(options)), beta=0.0, gamma=0.0, **options
    )


_INSIDE = ("estimator", "clip", "mix", "warmup", "centre")
_OWN = (*_INSIDE, "lookup", "update", "decay", "initial_count", "revival", "beta", "gamma")


@dataclass(frozen=True)
class Rival:
    """How to make a quantiser: ``rival(dim, codebook_size, **options)``. Options in ``fixed`` belong to the method.

    source: a key of the bibliography. replaces: the part of :class:`.VectorQuantizer` in whose place it stands. cost:
    of a training step of N latents in d dimensions with K codes, to leading order. second_pass: training calls need an
    ``objective``. Raises ValueError where an option is given that the method fixes.

    >>> QUANTIZERS["nsvq"](4, 16)(torch.zeros(3, 4)).z_q.shape
    torch.Size([3, 4])
    >>> QUANTIZERS["nsvq"](4, 16, gamma=0.25)
    Traceback (most recent call last):
    ...
    ValueError: gamma is part of this method: leave out estimator, clip, mix, warmup, centre, beta, gamma, update
    """

    make: Callable[..., nn.Module]
    source: str
    replaces: str
    cost: str
    fixed: tuple[str, ...] = field(default=())
    second_pass: bool = False

    def __call__(self, dim: int, codebook_size: int, **options) -> nn.Module:
        if given := [name for name in options if name in self.fixed]:
            raise ValueError(f"{given[0]} is part of this method: leave out {', '.join(self.fixed)}")
        return self.make(dim, codebook_size, **options)


#: every quantiser by name; :mod:`rotvq.facts` has one checkable fact of each
QUANTIZERS: dict[str, Rival] = {
    "vq": Rival(VectorQuantizer, "vandenoord2017vqvae", "nothing", "$NKd$"),
    "simvq": Rival(lambda d, k, **o: VectorQuantizer(d, k, form="linear", **{"init": "normal"} | o), "zhu2025simvq",
                   "the codes, by one learned map of fixed ones", "$NKd + Kd^2$",
                   ("form", "update", "decay", "initial_count", "revival")),
    "dynamic": Rival(lambda d, k, **o: VectorQuantizer(d, k, "ste", gain=Dynamic(k), **o), "tang2026stablevq",
                     "the gain of STE", "$NKd$", ("estimator", "gain", "clip", "mix", "warmup")),
    "nsvq": Rival(_vector(NoiseSubstitution), "vali2022nsvq", "estimator and losses", "$NKd$, $Nd$ normal numbers",
                  (*_INSIDE, "beta", "gamma", "update")),
    "diveq": Rival(_vector(Directional), "vali2026diveq", "estimator and losses", "$NKd$, $Nd$ normal numbers",
                   (*_INSIDE, "beta", "gamma", "update")),
    "diveq_detach": Rival(_vector(lambda seed: Directional(seed, 0.0)), "vali2026diveq", "estimator and losses",
                          "$NKd$", (*_INSIDE, "beta", "gamma", "update")),
    "sf_diveq": Rival(Segments, "vali2026diveq", "lookup, estimator and losses", "$NKd$, $2Nd$ normal numbers", _OWN),
    "gumbel": Rival(Gumbel, "jang2017categorical", "lookup, estimator and losses",
                    "$2NKd$, $NK$ uniform numbers, the whole matrix", _OWN),
    "gumbel_soft": Rival(lambda d, k, **o: Gumbel(d, k, hard=False, **o), "jang2017categorical",
                         "lookup, estimator and losses", "$2NKd$, $NK$ uniform numbers, the whole matrix",
                         (*_OWN, "hard")),
    "fsq": Rival(FSQ, "mentzer2024fsq", "codebook, lookup, estimator and losses", "$Nd\\log K$",
                 (*_OWN, "init", "init_scale", "generator")),
    "exact": Rival(lambda d, k, **o: SecondPass(VectorQuantizer(d, k, "zero", **o), exact), "fifty2025rotation",
                   "the estimator", "$NKd$, the decoder twice", _INSIDE[:4], True),
    "hessian": Rival(lambda d, k, **o: SecondPass(VectorQuantizer(d, k, "ste", **o), hessian), "fifty2025rotation",
                     "the estimator", "$NKd$, the decoder twice, a Hessian-vector product", _INSIDE[:4], True),
}  # fmt: skip
