"""SF-DiVeQ: the curve through the codes in place of the codes (Vali et al. 2026)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from rotvq.quantizers.base import Assigned
from rotvq.quantizers.geometry import dot, norm, unit
from rotvq.quantizers.lookup import nearest
from rotvq.quantizers.losses import weighted_losses
from rotvq.quantizers.methods.noise import RandomQuantizer
from rotvq.quantizers.options import refuse_out_of_range


class SFDiVeQ(RandomQuantizer):
    r"""SF-DiVeQ: quantise to the curve of segments ``e_1 e_2, e_2 e_3, ...`` instead of to the codes.

    Vali, Bäckström and Solin, "DiVeQ: Differentiable Vector Quantization Using the Reparameterization Trick", ICLR 2026
    (arXiv 2509.26469). In training each segment offers one random point ``(1 - t) e_i + t e_{i+1}``; with the nearest
    of them and u, v the noisy directions from z to its two ends,
    :math:`z_q = z + |e_i - z|\,\mathrm{sg}[(1-t)\,u] + |e_{i+1} - z|\,\mathrm{sg}[t\,v]`. Codes and encoder learn from
    the reconstruction alone. Evaluation takes the nearest point of the segments that meet at the nearest code. indices
    name segments in training, nearest codes in evaluation; a point between codes has no code, so ``codes[indices]`` is
    not z_q. There are at least 2 codes. ``deviation`` is that of the noise in the directions, ``memory`` and
    ``engine`` are those of the lookup, see :func:`.nearest`; others are those of :class:`.Quantizer`, and init,
    init_scale and generator of the codes.

    >>> SFDiVeQ(2, 2, init=torch.tensor([[0.0, 0.0], [2.0, 0.0]])).eval()(torch.tensor([[0.5, 3.0]])).z_q
    tensor([[0.5000, 0.0000]], grad_fn=...)
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        deviation: float = 1e-3,
        memory: int | None = None,
        engine: str | None = None,
        **options,
    ):
        refuse_out_of_range(deviation=deviation, memory=memory)
        super().__init__(dim, codebook_size, **options)
        if codebook_size < 2:
            raise ValueError(f"codebook_size is {codebook_size}: a segment needs 2 codes")
        self.deviation, self.memory, self.engine = deviation, memory, engine

    def assign(self, z: Tensor, codes: Tensor) -> Tensor:
        return nearest(z, codes, memory=self.memory, engine=self.engine)

    def quantise(self, z: Tensor, mask: Tensor | None) -> Assigned:
        self.start_codes(z, mask)
        codes = self.codes_in_use
        if self.training:
            z_q, q, indices = self._nearest_of_random_points(z, codes)
        else:
            indices = self.assign(z, codes)
            z_q = q = self._projection(z.detach(), indices, codes)
        return Assigned(z_q, q, indices, weighted_losses(z, q, self.beta, self.gamma, mask))

    def _nearest_of_random_points(self, z: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z_q, the point itself, and the index of its segment."""
        t = self.noise.uniform(codes[:-1, :1]).to(codes.dtype)
        indices = self.assign(z, (1 - t) * codes[:-1] + t * codes[1:])
        t, start, end = t[indices], F.embedding(indices, codes), F.embedding(indices + 1, codes)
        z_q = z
        for code, share in ((start, 1 - t), (end, t)):
            error = code - z
            direction = unit((error + self.deviation * self.noise.normal(error)).detach())
            z_q = z_q + norm(error) * (share * direction)
        return z_q, (1 - t) * start + t * end, indices

    def _projection(self, z: Tensor, indices: Tensor, codes: Tensor) -> Tensor:
        """The nearer of the closest points of the two segments that meet at a code."""
        code = best = F.embedding(indices, codes)
        for step in (-1, 1):
            along = F.embedding((indices + step).clamp(0, len(codes) - 1), codes) - code
            length = along.square().sum(-1, keepdim=True)
            t = (dot(along, z - code) / torch.where(length > 0, length, 1.0)).clamp(0, 1)
            point = code + t * along
            nearer = (z - point).square().sum(-1, keepdim=True) < (z - best).square().sum(-1, keepdim=True)
            best = torch.where(nearer, point, best)
        return best
