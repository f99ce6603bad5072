r"""How the codes follow the latents, and what happens to codes that nothing uses.

"gradient": the codebook loss ``beta |q - sg z|^2`` and the optimiser move them. "ema": a running mean; with n_k
latents of mean m_k in this batch and decay d, :math:`c_k \leftarrow d\,c_k + (1-d)\,n_k`, then
:math:`e_k \leftarrow e_k + (1-d)\frac{n_k}{c_k}(m_k - e_k)`. This is the ratio of running sum and running count (van
den Oord et al. 2017, appendix A.1), written as the SGD step that it is. ``initial_count`` is the weight c_k that the
initial code starts with: at 0 a code jumps to its first batch mean. An unused code stays. Counts are kept for either.
Statistics are summed over the ranks of torch.distributed.
"""

import torch
from torch import Tensor, nn

from rotvq.quantizers.distributed import broadcast, sum_before_rank, sum_over_ranks
from rotvq.quantizers.operators import uniform, write

UPDATES = ("gradient", "ema")
PATIENCE = 100  # training calls without use after which revival "unused" replaces a code
SHARE = 0.01  # of the mean running count, under which revival "threshold" replaces a code
#: which codes are dead, by name, from running counts (K,) and training calls since the last use (K,)
REVIVALS = {
    "none": lambda running, idle: torch.zeros_like(idle, dtype=torch.bool),
    "unused": lambda running, idle: idle >= PATIENCE,
    "threshold": lambda running, idle: running < SHARE * running.mean(),
}


def counts_per_code(indices: Tensor, codebook_size: int, dtype: torch.dtype, mask: Tensor | None = None) -> Tensor:
    """How many latents chose each code, over all ranks: (K,). indices: (N,). mask: bool, (N,), or None: all count."""
    counted = torch.ones_like(indices, dtype=dtype) if mask is None else mask.to(dtype)
    return sum_over_ranks(counted.new_zeros(codebook_size).index_add_(0, indices, counted))


def sums_per_code(z: Tensor, indices: Tensor, codebook_size: int, mask: Tensor | None = None) -> Tensor:
    """The sum of the latents z (N, d) that chose each code, over all ranks: (K, d). indices, mask: (N,)."""
    counted = z if mask is None else z * mask.to(z.dtype)[:, None]
    return sum_over_ranks(z.new_zeros(codebook_size, z.shape[1]).index_add_(0, indices, counted))


def ema_codes(codes: Tensor, running: Tensor, counts: Tensor, sums: Tensor, decay: float) -> Tensor:
    """The codes (K, d) after an EMA step, from c_k with this batch and n_k, (K,), and the sums n_k m_k, (K, d)."""
    rate = (1 - decay) / running.clamp_min(torch.finfo(running.dtype).tiny)
    return codes + torch.where(counts > 0, rate, 0.0)[:, None] * (sums - counts[:, None] * codes)


def fresh_codes(dead: Tensor, latents: Tensor, mask: Tensor | None, draw: Tensor) -> tuple[Tensor, Tensor]:
    """``dead`` (K,), and for each dead code a latent of the joint batch of all ranks, (K, d)."""
    # The i-th of D dead codes takes a latent at random (draw, (K,), in [0, 1)) from the i-th of D equal shares of the
    # batch: all are distinct where there are enough. Only latents that the mask keeps count; without any, none is dead.
    counted = latents.new_ones(len(latents), dtype=torch.bool) if mask is None else mask
    rank_in_batch, count = counted.cumsum(0), counted.sum()
    first, total = sum_before_rank(count)
    rank_among_dead = dead.cumsum(0) - 1
    offset_in_share = (draw * total).long().clamp_max(total - 1)
    target = (rank_among_dead * total + offset_in_share) // dead.sum().clamp_min(1)  # in the joint batch
    is_here = dead & (target >= first) & (target < first + count)
    fresh = latents.new_zeros(len(dead), latents.shape[1])
    if len(latents) > 0:
        row = torch.searchsorted(rank_in_batch, target - first, right=True).clamp_max(len(latents) - 1)
        fresh = torch.where(is_here[:, None], latents[row], 0.0)
    return dead & (total > 0), sum_over_ranks(fresh)


class Statistics(nn.Module):
    """What a quantiser remembers of its batches, and the update of the codes that the last batch left pending."""

    def __init__(
        self, codebook_size: int, dim: int, update: str, decay: float, initial_count: float, revival: str, centred: bool
    ):
        super().__init__()
        self.update, self.decay, self.revival = update, decay, revival
        ema = update == "ema"
        self.register_buffer("calls", torch.tensor(0))  # training calls so far
        self.register_buffer("running", torch.full((codebook_size,), float(initial_count)))  # counts
        self.register_buffer("idle", torch.zeros(codebook_size, dtype=torch.int64))  # calls since the last use
        self.register_buffer("latent_mean", torch.zeros(dim) if centred else None)  # running
        self.register_buffer("counts", torch.zeros(codebook_size) if ema else None)  # for an EMA step not yet taken
        self.register_buffer("sums", torch.zeros(codebook_size, dim) if ema else None)

    @torch.no_grad()
    def apply_pending_update(self, codes: Tensor, latents: Tensor, mask: Tensor | None, seed: int) -> None:
        """Take the EMA step of the last batch; then replace dead codes by latents of this one. Both in place."""
        if self.update == "ema":
            write(codes, ema_codes(codes, self.running, self.counts, self.sums, self.decay))
            self.counts.zero_()
            self.sums.zero_()
        if self.revival != "none":
            dead = REVIVALS[self.revival](self.running, self.idle)
            draw = broadcast(uniform(self.running, seed, self.calls))
            dead, fresh = fresh_codes(dead, latents, mask, draw)
            write(codes, torch.where(dead[:, None], fresh, codes))
            self.idle.masked_fill_(dead, 0)
            self.running.copy_(torch.where(dead, self.running.mean(), self.running))

    @torch.no_grad()
    def count_batch(self, latents: Tensor, indices: Tensor, mask: Tensor | None) -> None:
        """Count this batch: latents (N, d), indices (N,), mask (N,) or None."""
        latents = latents.to(self.running.dtype)
        counts = counts_per_code(indices, len(self.running), latents.dtype, mask)
        if self.sums is not None or self.latent_mean is not None:
            sums = sums_per_code(latents, indices, len(self.running), mask)
        if self.sums is not None:
            self.counts.copy_(counts)
            self.sums.copy_(sums)
        if self.latent_mean is not None:
            mean = sums.sum(0) / counts.sum().clamp_min(1)
            rate = torch.where(self.calls > 0, 1 - self.decay, 1.0) * (counts.sum() > 0)
            write(self.latent_mean, self.latent_mean + rate * (mean - self.latent_mean))
        self.running.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        self.idle.add_(1).masked_fill_(counts > 0, 0)
        write(self.calls, self.calls + 1)
