"""Random numbers of a quantiser from its own seed, and the two bases of methods that draw them."""

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor, nn

from rotvq.quantizers.base import Quantizer
from rotvq.quantizers.codebook import Codebook
from rotvq.quantizers.distributed import world
from rotvq.quantizers.geometry import norm, unit
from rotvq.quantizers.operators import seed_of, uniform, write


class Noise(nn.Module):
    """Numbers that depend on a seed, the rank and the number of the call alone, so that a run can be continued.

    >>> first, again = Noise(seed=1), Noise(seed=1)
    >>> torch.equal(first.normal(torch.empty(3)), again.normal(torch.empty(3)))
    True
    """

    def __init__(self, seed: int = 0):
        super().__init__()
        self.seed = seed
        self.register_buffer("calls", torch.tensor(0))

    def uniform(self, like: Tensor) -> Tensor:
        """U(0, 1), neither end included, float32, in the shape of ``like``."""
        u = uniform(like.detach(), self.seed + 7919 * world()[0], self.calls)
        write(self.calls, self.calls + 1)
        return u.clamp(2.0**-25, 1 - 2.0**-24)

    def normal(self, like: Tensor) -> Tensor:
        """N(0, 1), float32, in the shape of ``like``."""
        return torch.special.ndtri(self.uniform(like))


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

    def __init__(self, dim: int, codebook_size: int, init="uniform", init_scale=1.0, generator=None, **options):
        super().__init__(dim, codebook_size, **options)
        self.codebook = Codebook(codebook_size, dim, init, init_scale, generator=generator)
        self.noise = Noise(seed_of(generator))

    @property
    def codes(self) -> Tensor:
        return self.codebook.codes
