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
    """

    def __init__(self, seed: int = 0, deviation: float = 1e-3):
        super().__init__(seed)
        self.deviation = deviation

    def direction(self, gap: Tensor) -> Tensor:
        return gap + self.deviation * self.normal(gap) if self.deviation else gap


class Dynamic(nn.Module):
    r"""Dynamic STE as a gain: :math:`d^*_k / |z - e_k|^2`, d*_k the least squared distance of a latent to its code.

    Tang et al., "StableVQ", 2026 (arXiv 2609.26774). The best latent of each code keeps its gradient, the others lose
    theirs with their distance. The least is taken over the latents of the batch that chose the code; a latent that is
    its code has weight 1 (the paper names no guard there).
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
    """Add ``weight * L(z)``, its gradient in z multiplied by 1/weight: dL/dz at z itself, decoders hardly moved."""
    carrier = z.detach() + (z - z.detach()) / weight
    return weight * objective(carrier)


def hessian(z: Tensor, z_q: Tensor, objective: Callable[[Tensor], Tensor]) -> Tensor:
    """Add 0, with gradient ``H (z - q)`` in z: with g from the straight-through estimator, dL/dz to second order."""
    with torch.enable_grad():
        q = z_q.detach().requires_grad_()
        (g,) = torch.autograd.grad(objective(q), q, create_graph=True)
        (bend,) = torch.autograd.grad(g, q, (z - q).detach()) if g.requires_grad else (torch.zeros_like(q),)
    return ((z - z.detach()) * bend).sum()


class SecondPass(nn.Module):
    """A quantiser that in training also looks at the loss: Fifty et al. 2025, section 5, "exact" and "Hessian".

    ``objective`` maps latents, shaped as the input, to the reconstruction loss that is being minimised; every training
    call needs it. A decoder with batch statistics sees both passes.
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

    Raises ValueError where an option is given that the method fixes. source: a key of the bibliography. second_pass:
    training calls need an ``objective``.

    >>> QUANTIZERS["nsvq"](4, 16)(torch.zeros(3, 4)).z_q.shape
    torch.Size([3, 4])
    """

    make: Callable[..., nn.Module]
    source: str
    fixed: tuple[str, ...] = field(default=())
    second_pass: bool = False

    def __call__(self, dim: int, codebook_size: int, **options) -> nn.Module:
        if given := [name for name in options if name in self.fixed]:
            raise ValueError(f"{given[0]} is part of this method: leave out {', '.join(self.fixed)}")
        return self.make(dim, codebook_size, **options)


QUANTIZERS: dict[str, Rival] = {
    "vq": Rival(VectorQuantizer, "vandenoord2017vqvae"),
    "simvq": Rival(lambda d, k, **o: VectorQuantizer(d, k, form="linear", **{"init": "normal"} | o), "zhu2025simvq",
                   ("form", "update", "decay", "initial_count", "revival")),
    "dynamic": Rival(lambda d, k, **o: VectorQuantizer(d, k, "ste", gain=Dynamic(k), **o), "tang2026stablevq",
                     ("estimator", "gain", "clip", "mix", "warmup")),
    "nsvq": Rival(_vector(NoiseSubstitution), "vali2022nsvq", (*_INSIDE, "beta", "gamma", "update")),
    "diveq": Rival(_vector(Directional), "vali2026diveq", (*_INSIDE, "beta", "gamma", "update")),
    "diveq_detach": Rival(_vector(lambda seed: Directional(seed, 0.0)), "vali2026diveq",
                          (*_INSIDE, "beta", "gamma", "update")),
    "sf_diveq": Rival(Segments, "vali2026diveq", _OWN),
    "gumbel": Rival(Gumbel, "jang2017categorical", _OWN),
    "gumbel_soft": Rival(lambda d, k, **o: Gumbel(d, k, hard=False, **o), "jang2017categorical", (*_OWN, "hard")),
    "fsq": Rival(FSQ, "mentzer2024fsq", (*_OWN, "init", "init_scale", "generator")),
    "exact": Rival(lambda d, k, **o: SecondPass(VectorQuantizer(d, k, "zero", **o), exact), "fifty2025rotation",
                   _INSIDE[:4], True),
    "hessian": Rival(lambda d, k, **o: SecondPass(VectorQuantizer(d, k, "ste", **o), hessian), "fifty2025rotation",
                     _INSIDE[:4], True),
}  # fmt: skip
