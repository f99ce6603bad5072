r"""How the codes follow the latents, and what happens to codes that nothing uses.

gradient  the codebook loss beta |q - sg z|^2 and the optimiser move them.
ema       a running mean: with n_k latents of mean m_k in this batch and decay d,
          :math:`c_k \leftarrow d\,c_k + (1-d)\,n_k`, then :math:`e_k \leftarrow e_k + (1-d)\frac{n_k}{c_k}(m_k - e_k)`.
          This is the ratio of running sum and running count (van den Oord et al. 2017, appendix A.1), written as the
          SGD step that it is. ``initial_count`` is the weight c_k that the initial code starts with: at 0 a code jumps
          to its first batch mean. An unused code stays where it is.

Counts are kept for either. Statistics are summed over the ranks of torch.distributed.
"""

from __future__ import annotations

import torch
from torch import Tensor

UPDATES = ("gradient", "ema")
PATIENCE = 100  # training calls without use after which revival "unused" replaces a code
SHARE = 0.01  # of the mean running count, under which revival "threshold" replaces a code


def distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def batch_statistics(z: Tensor, indices: Tensor, weight: Tensor, codebook_size: int) -> tuple[Tensor, Tensor]:
    """The (weighted) number of latents that chose each code, (K,), and their sum, (K, d); over all ranks."""
    counts = torch.zeros(codebook_size, dtype=z.dtype, device=z.device).index_add_(0, indices, weight)
    sums = torch.zeros(codebook_size, z.shape[1], dtype=z.dtype, device=z.device)
    sums.index_add_(0, indices, z * weight[:, None])
    if distributed():
        torch.distributed.all_reduce(counts)
        torch.distributed.all_reduce(sums)
    return counts, sums


def ema_codes(codes: Tensor, running: Tensor, counts: Tensor, sums: Tensor, decay: float) -> Tensor:
    """The codes after one step; ``running`` already contains this batch."""
    rate = (1 - decay) / running.clamp_min(torch.finfo(running.dtype).tiny)
    return codes + torch.where(counts > 0, rate, 0.0)[:, None] * (sums - counts[:, None] * codes)


REVIVALS = {  # which codes are dead, from running counts (K,) and training calls since the last use (K,)
    "none": lambda running, idle: torch.zeros_like(idle, dtype=torch.bool),
    "unused": lambda running, idle: idle >= PATIENCE,
    "threshold": lambda running, idle: running < SHARE * running.mean(),
}


def revive(codes: Tensor, dead: Tensor, latents: Tensor, weight: Tensor, generator=None) -> Tensor:
    """Codes with the dead ones replaced by random latents of this batch (those of weight > 0); rank 0 draws for all."""
    draw = torch.multinomial(weight.cpu(), len(codes), replacement=True, generator=generator).to(latents.device)
    fresh = latents[draw].to(codes.dtype)
    if distributed():
        torch.distributed.broadcast(fresh, 0)
    return torch.where(dead[:, None], fresh, codes)
