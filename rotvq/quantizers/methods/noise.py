"""Random numbers of a quantiser, from its own seed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rotvq.quantizers.distributed import world
from rotvq.quantizers.updates import uniform, write


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
        """U(0, 1), neither end included, in the shape of ``like``; at least float32."""
        u = uniform(like.detach(), self.seed + 7919 * world()[0], self.calls)
        write(self.calls, self.calls + 1)
        return u.clamp(2.0**-25, 1 - 2.0**-24)

    def normal(self, like: Tensor) -> Tensor:
        return torch.special.ndtri(self.uniform(like))
