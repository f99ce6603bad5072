"""The two bases of methods that draw random numbers."""

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor, nn

from rotvq.quantizers.base import Quantizer
from rotvq.quantizers.codebook import Codebook, Start
from rotvq.quantizers.distributed import group_of_call
from rotvq.quantizers.geometry import norm, unit
from rotvq.quantizers.operators import Noise, seed_of


class ErrorSubstitution(nn.Module, ABC):
    """Base of the estimators ``z_q = z + |q - z| sg[v/|v|]``, called as ``estimator(z, q)``; evaluation gives q."""

    def __init__(self, seed: int = 0):
        super().__init__()
        self.noise = Noise(seed)

    @abstractmethod
    def direction(self, error: Tensor) -> Tensor:
        """``v``, in the shape of the error ``q - z``, (..., d)."""

    @final
    def forward(self, z: Tensor, q: Tensor) -> Tensor:
        if not self.training:
            return q
        error = q - z
        return z + norm(error) * unit(self.direction(error.detach())).to(error.dtype)


class RandomQuantizer(Quantizer):
    """Base of the quantisers with a learned codebook and noise; init, init_scale, generator: see :class:`.Codebook`."""

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        init: str | Tensor | Start = "uniform",
        init_scale: float = 1.0,
        generator: torch.Generator | None = None,
        *,
        frozen: bool = False,
        **options,
    ):
        super().__init__(dim, codebook_size, **options)
        starts_with = self.process_group
        self.codebook = Codebook(
            codebook_size, self.code_dim, init, init_scale, generator=generator, process_group=starts_with
        )
        self.noise = Noise(seed_of(generator))
        self.frozen = frozen

    @property
    def codes(self) -> Tensor:
        return self.codebook.codes

    def start_codes(self, z: Tensor, mask: Tensor | None) -> None:
        """In training, start codes that wait for latents z (..., code_dim), of which ``mask`` (...) counts."""
        if self.training and not self.codebook.ready:
            self.codebook.start_once(z.detach(), self._counted(z.detach(), mask), group_of_call(self.process_group))
