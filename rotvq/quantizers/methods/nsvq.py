"""NSVQ: noise of the length of the error (Vali and Bäckström 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from rotvq.quantizers.lookup import unit
from rotvq.quantizers.methods.noise import Noise


class NSVQ(Noise):
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
