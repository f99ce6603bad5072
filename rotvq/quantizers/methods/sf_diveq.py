"""SF-DiVeQ: the curve through the codes in place of the codes (Vali et al. 2026)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rotvq.quantizers.base import Assigned, Quantizer
from rotvq.quantizers.codebook import Codebook
from rotvq.quantizers.lookup import nearest, unit
from rotvq.quantizers.methods.noise import Noise


class SFDiVeQ(Quantizer):
    r"""SF-DiVeQ: quantise to the curve of segments ``e_1 e_2, e_2 e_3, ...`` instead of to the codes.

    Vali et al., "DiVeQ: Differentiable Vector Quantization Using the Reparameterization Trick", ICLR 2026
    (arXiv 2509.26469). In training each segment offers one random point ``(1 - t) e_i + t e_{i+1}``; with the nearest
    of them and u, v the noisy directions from z to its two ends,
    ``z_q = z + |e_i - z| sg[(1-t) u] + |e_{i+1} - z| sg[t v]``: codes and encoder learn from the reconstruction alone.
    Evaluation takes the nearest point of the segments that meet at the nearest code. indices name segments in training,
    nearest codes in evaluation; a point between codes has no code, so ``codes[indices]`` is not z_q.

    >>> Segments(2, 2, init=torch.tensor([[0.0, 0.0], [2.0, 0.0]])).eval()(torch.tensor([[0.5, 3.0]])).z_q
    tensor([[0.5000, 0.0000]], grad_fn=...)
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        deviation: float = 1e-3,
        init="uniform",
        init_scale: float = 1.0,
        memory: int = 64 << 20,
        generator=None,
        **shape,
    ):
        super().__init__(dim, codebook_size, **shape)
        if codebook_size < 2:
            raise ValueError(f"codebook_size is {codebook_size}: a segment needs 2 codes")
        self.deviation, self.memory = deviation, memory
        self.codebook = Codebook(codebook_size, dim, init, init_scale, generator=generator)
        self.noise = Noise(0 if generator is None else generator.initial_seed())

    @property
    def codes(self) -> Tensor:
        return self.codebook.codes

    def assign(self, z: Tensor, codes: Tensor) -> Tensor:
        return nearest(z, codes, memory=self.memory)

    def quantise(self, z: Tensor, keep: Tensor | None) -> Assigned:
        if self.training and not self.codebook.ready:
            self.codebook.start(z.detach().reshape(-1, self.dim) if keep is None else z.detach()[keep])
        codes = self.codes
        if not self.training:
            indices = self.assign(z, codes)
            q = self._closest(z.detach(), indices, codes)
            return Assigned(q, q, indices)
        t = self.noise.uniform(codes[:-1, :1]).to(codes.dtype)
        indices = self.assign(z, (1 - t) * codes[:-1] + t * codes[1:])
        t, ends = t[indices], (F.embedding(indices, codes), F.embedding(indices + 1, codes))
        z_q = z
        for end, share in zip(ends, (1 - t, t)):
            gap = end - z
            away = unit((gap + self.deviation * self.noise.normal(gap)).detach())
            z_q = z_q + torch.linalg.vector_norm(gap, dim=-1, keepdim=True) * (share * away)
        return Assigned(z_q, (1 - t) * ends[0] + t * ends[1], indices)

    def _closest(self, z: Tensor, indices: Tensor, codes: Tensor) -> Tensor:
        """The nearer of the closest points of the two segments that meet at a code."""
        best = F.embedding(indices, codes)
        for step in (-1, 1):
            here, there = F.embedding(indices, codes), F.embedding((indices + step).clamp(0, len(codes) - 1), codes)
            along = there - here
            length = along.square().sum(-1, keepdim=True)
            t = ((along * (z - here)).sum(-1, keepdim=True) / torch.where(length > 0, length, 1.0)).clamp(0, 1)
            point = here + t * along
            nearer = (z - point).square().sum(-1, keepdim=True) < (z - best).square().sum(-1, keepdim=True)
            best = torch.where(nearer, point, best)
        return best
