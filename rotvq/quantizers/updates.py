r"""How the codes follow the latents, and what happens to codes that nothing uses.

gradient
    the codebook loss ``beta |q - sg z|^2`` and the optimiser move them.
ema
    a running mean: with n_k latents of mean m_k in this batch and decay d,
    :math:`c_k \leftarrow d\,c_k + (1-d)\,n_k`, then :math:`e_k \leftarrow e_k + (1-d)\frac{n_k}{c_k}(m_k - e_k)`.
    This is the ratio of running sum and running count (van den Oord et al. 2017, appendix A.1), written as the
    SGD step that it is. ``initial_count`` is the weight c_k that the initial code starts with: at 0 a code jumps
    to its first batch mean. An unused code stays where it is.

Counts are kept for either. Statistics are summed over the ranks of torch.distributed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rotvq.quantizers.distributed import broadcast, sum_before_rank, sum_over_ranks

UPDATES = ("gradient", "ema")
PATIENCE = 100  # training calls without use after which revival "unused" replaces a code
SHARE = 0.01  # of the mean running count, under which revival "threshold" replaces a code

#: which codes are dead, by name, from running counts (K,) and training calls since the last use (K,)
REVIVALS = {
    "none": lambda running, idle: torch.zeros_like(idle, dtype=torch.bool),
    "unused": lambda running, idle: idle >= PATIENCE,
    "threshold": lambda running, idle: running < SHARE * running.mean(),
}


@torch.library.custom_op("rotvq::uniform", mutates_args=())
def uniform(like: Tensor, seed: int, call: Tensor) -> Tensor:
    """Numbers of [0, 1) in the shape of ``like``; they depend on the seed and the 0-d integer ``call`` alone."""
    source = torch.Generator().manual_seed((seed * 1_000_003 + int(call)) % 2**32)
    return torch.rand(like.shape, generator=source).to(like.device)


@uniform.register_fake
def _(like, seed, call):
    return torch.empty_like(like, dtype=torch.float32)


@torch.library.custom_op("rotvq::keep", mutates_args=())
def _keep(value: Tensor) -> Tensor:
    return value.clone()


@_keep.register_fake
def _(value):
    return torch.empty_like(value)


def write(state: Tensor, value: Tensor) -> None:
    """``state`` becomes ``value``, in place.

    A compiled backward pass may compute again what it needs of the forward pass, also from state that has been written
    since (torch 2.13 does, and is wrong by one step). It cannot look into an operator of ours: the value is kept.
    """
    state.copy_(_keep(value) if torch.compiler.is_compiling() else value)


def batch_statistics(z: Tensor, indices: Tensor, codebook_size: int, weight: Tensor | None = None):
    """The (weighted) number of latents that chose each code, (K,), and their sum, (K, d); over all ranks."""
    ones = z.new_ones(len(z)) if weight is None else weight.to(z.dtype)
    counts = sum_over_ranks(z.new_zeros(codebook_size).index_add_(0, indices, ones))
    z = z if weight is None else z * ones[:, None]
    return counts, sum_over_ranks(z.new_zeros(codebook_size, z.shape[1]).index_add_(0, indices, z))


def ema_codes(codes: Tensor, running: Tensor, counts: Tensor, sums: Tensor, decay: float) -> Tensor:
    """The codes after one step; ``running`` already contains this batch."""
    rate = (1 - decay) / running.clamp_min(torch.finfo(running.dtype).tiny)
    return codes + torch.where(counts > 0, rate, 0.0)[:, None] * (sums - counts[:, None] * codes)


def fresh_codes(dead: Tensor, latents: Tensor, weight: Tensor | None, draw: Tensor) -> tuple[Tensor, Tensor]:
    """``dead`` (K,), and for each dead code a latent of the joint batch of all ranks, (K, d).

    The i-th of D dead codes takes a latent at random (``draw``, (K,), in [0, 1)) from the i-th of D equal shares of the
    batch: all are distinct where there are enough. Only latents of weight > 0 count; without any, no code is dead.
    """
    kept = torch.arange(1, len(latents) + 1, device=latents.device) if weight is None else (weight > 0).cumsum(0)
    count = kept.new_tensor(len(latents)) if weight is None else (weight > 0).sum()
    start, joint = sum_before_rank(count)
    nth = ((dead.cumsum(0) - 1) * joint + (draw * joint).long().clamp_max(joint - 1)) // dead.sum().clamp_min(1)
    here = dead & (nth >= start) & (nth < start + count)
    fresh = latents.new_zeros(len(dead), latents.shape[1])
    if len(latents) > 0:
        row = torch.searchsorted(kept, nth - start, right=True).clamp_max(len(latents) - 1)
        fresh = torch.where(here[:, None], latents[row], 0.0)
    return dead & (joint > 0), sum_over_ranks(fresh)


class Statistics(nn.Module):
    """What a quantiser remembers of its batches, and the step of the codes that the last one left due.

    calls: training calls so far. running: running counts (K,). idle: calls since the last use (K,). latent_mean: the
    running mean latent (d,). counts, sums: of the last batch, for an EMA step not yet taken.
    """

    def __init__(
        self,
        codebook_size: int,
        dim: int,
        update: str = "gradient",
        decay: float = 0.99,
        initial_count: float = 1.0,
        revival: str = "none",
        centred: bool = False,
    ):
        super().__init__()
        self.update, self.decay, self.revival = update, decay, revival
        ema = update == "ema"
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("running", torch.full((codebook_size,), float(initial_count)))
        self.register_buffer("idle", torch.zeros(codebook_size, dtype=torch.int64))
        self.register_buffer("latent_mean", torch.zeros(dim) if centred else None)
        self.register_buffer("counts", torch.zeros(codebook_size) if ema else None)
        self.register_buffer("sums", torch.zeros(codebook_size, dim) if ema else None)

    @torch.no_grad()
    def settle(self, codes: Tensor, latents: Tensor, weight: Tensor | None, seed: int) -> None:
        """Take the step that is due; then replace dead codes by latents of this batch. ``codes`` change in place."""
        if self.update == "ema":
            write(codes, ema_codes(codes, self.running, self.counts, self.sums, self.decay))
            self.counts.zero_()
            self.sums.zero_()
        if self.revival != "none":
            dead = REVIVALS[self.revival](self.running, self.idle)
            draw = broadcast(uniform(self.running, seed, self.calls))
            dead, fresh = fresh_codes(dead, latents, weight, draw)
            write(codes, torch.where(dead[:, None], fresh, codes))
            self.idle.masked_fill_(dead, 0)
            self.running.copy_(torch.where(dead, self.running.mean(), self.running))

    @torch.no_grad()
    def observe(self, latents: Tensor, indices: Tensor, weight: Tensor | None) -> None:
        """Count this batch."""
        latents = latents.to(self.running.dtype)
        if self.sums is None and self.latent_mean is None:
            counts, _ = batch_statistics(latents[:, :0], indices, len(self.running), weight)
        else:
            counts, sums = batch_statistics(latents, indices, len(self.running), weight)
        if self.sums is not None:
            self.counts.copy_(counts)
            self.sums.copy_(sums)
        if self.latent_mean is not None:
            mean = sums.sum(0) / counts.sum().clamp_min(1)
            step = torch.where(self.calls > 0, 1 - self.decay, 1.0) * (counts.sum() > 0)
            write(self.latent_mean, self.latent_mean + step * (mean - self.latent_mean))
        self.running.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        self.idle.add_(1).masked_fill_(counts > 0, 0)
        write(self.calls, self.calls + 1)
