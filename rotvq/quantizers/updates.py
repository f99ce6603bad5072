r"""How the codes follow the latents, and what happens to codes that nothing uses.

"gradient": the codebook loss ``beta |q - sg z|^2`` and the optimiser move them. "ema": a running mean; with n_k
latents of mean m_k in this step and decay d, :math:`c_k \leftarrow d\,c_k + (1-d)\,n_k`, then
:math:`e_k \leftarrow e_k + (1-d)\frac{n_k}{c_k}(m_k - e_k)`. This is the ratio of running sum and running count (van
den Oord et al. 2017, appendix A.1), written as the SGD step that it is. ``initial_count`` is the weight c_k that the
initial code starts with: at 0 a code jumps to its first batch mean. An unused code stays. Counts are kept for either.

A step is all training calls up to a backward pass through the quantiser, or through any of its calls: one codebook may
be called several times in a model, and moves once. What a step counted moves the codes at the start of the next one.
"""

import warnings

import torch
from torch import Tensor

from rotvq.quantizers.distributed import Group, broadcast, sum_before_rank, sum_over_ranks, world
from rotvq.quantizers.operators import WideState, can_look, choose, increase, uniform, wide, write

UPDATES = ("gradient", "ema")
LONG_STEP = 1000  # calls without a backward pass of which the user is told
#: which codes are dead, by name, from what is remembered of the batches and a bound; its default
REVIVALS = {
    "none": (lambda of, at: torch.zeros_like(of.idle, dtype=torch.bool), 0.0),
    "unused": (lambda of, at: of.idle >= at, 100.0),  # steps
    "threshold": (lambda of, at: of.running < at * of.running.mean(), 0.01),  # share of uniform use
    "count": (lambda of, at: of.latents_a_step() < at, 2.0),  # latents
}


def counts_per_code(
    indices: Tensor, codebook_size: int, dtype: torch.dtype, mask: Tensor | None = None, group: Group = "world"
) -> Tensor:
    """How many latents chose each code, over all ranks: (K,). indices: (N,). mask: bool, (N,), or None: all count."""
    counted = torch.ones_like(indices, dtype=dtype) if mask is None else mask.to(dtype)
    return sum_over_ranks(counted.new_zeros(codebook_size).index_add_(0, indices, counted), group)


def sums_per_code(
    z: Tensor, indices: Tensor, codebook_size: int, mask: Tensor | None = None, group: Group = "world"
) -> Tensor:
    """The sum of the latents z (N, d) that chose each code, over all ranks: (K, d). indices, mask: (N,)."""
    counted = z if mask is None else torch.where(mask[:, None], z, 0.0)
    return sum_over_ranks(z.new_zeros(codebook_size, z.shape[1]).index_add_(0, indices, counted), group)


def ema_codes(codes: Tensor, running: Tensor, counts: Tensor, sums: Tensor, decay: float) -> Tensor:
    """The codes (K, d) after an EMA step, from c_k with this step and n_k, (K,), and the sums n_k m_k, (K, d)."""
    rate = (1 - decay) / running.clamp_min(torch.finfo(running.dtype).tiny)
    return codes + torch.where(counts > 0, rate, 0.0)[:, None] * (sums - counts[:, None] * codes)


def fresh_codes(
    dead: Tensor, latents: Tensor, mask: Tensor | None, draw: Tensor, group: Group = "world"
) -> tuple[Tensor, Tensor]:
    """``dead`` (K,), and for each dead code a latent of the joint batch of all ranks, (K, d)."""
    # The i-th of D dead codes takes a latent at random (draw, (K,), in [0, 1)) from the i-th of D equal shares of the
    # batch: all are distinct where there are enough. Only latents that the mask keeps count; without any, none is dead.
    counted = latents.new_ones(len(latents), dtype=torch.bool) if mask is None else mask
    rank_in_batch, count = counted.cumsum(0), counted.sum()
    first, total = sum_before_rank(count, group)
    rank_among_dead = dead.cumsum(0) - 1
    offset_in_share = (draw * total).long().clamp_max(total - 1)
    target = (rank_among_dead * total + offset_in_share) // dead.sum().clamp_min(1)  # in the joint batch
    is_here = dead & (target >= first) & (target < first + count)
    fresh = latents.new_zeros(len(dead), latents.shape[1])
    if len(latents) > 0:
        row = torch.searchsorted(rank_in_batch, target - first, right=True).clamp_max(len(latents) - 1)
        fresh = torch.where(is_here[:, None], latents[row], 0.0)
    return dead & (total > 0), sum_over_ranks(fresh, group)


class Statistics(WideState):
    """What a quantiser remembers of its batches, and the move of the codes that the last step left pending."""

    _version = 2  # 1 had no ``step_ended``: every call was a step
    open_ended_calls = 0  # of this step, which waits for a backward pass

    def __init__(
        self,
        codebook_size: int,
        dim: int,
        update: str,
        decay: float,
        initial_count: float,
        revival: str,
        revival_at: float | None,
        centred: bool,
    ):
        super().__init__()
        self.update, self.decay, self.revival, self.follows = update, decay, revival, False
        self.initial_count = initial_count
        self.revival_at = REVIVALS[revival][1] if revival_at is None else revival_at
        zeros, ema = torch.zeros(codebook_size, dtype=torch.float32), update == "ema"
        pending_sums = torch.zeros(codebook_size, dim, dtype=torch.float32) if ema else None
        self.register_buffer("calls", torch.tensor(0))  # training steps so far
        self.register_buffer("step_ended", torch.tensor(1))  # the next call begins a step; bools have no average
        self.register_buffer("running", zeros + initial_count)  # counts
        self.register_buffer("idle", torch.zeros(codebook_size, dtype=torch.int64))  # steps since the last use
        self.register_buffer("latent_mean", torch.zeros(dim, dtype=torch.float32) if centred else None)  # running
        self.register_buffer("counts", zeros if ema else None)  # of this step, for an EMA step not yet taken
        self.register_buffer("sums", pending_sums)
        self.register_load_state_dict_pre_hook(_upgrade)

    def __getstate__(self):
        return {**self.__dict__, "follows": False}  # nobody calls end_step of a copy

    def end_step(self, *_) -> None:
        """The next training call begins a step."""
        self.step_ended.fill_(1)

    def latents_a_step(self) -> Tensor:
        """The mean number of latents a step of each code, (K,), without what the counts started with.

        Before the first step it is not known: NaN, or infinite with the sign of a count that a file has brought.
        """
        of_start = self.decay**self.calls
        return (self.running - of_start * self.initial_count) / (1 - of_start)

    def awaits_backward(self, z: Tensor) -> bool:
        """Whether the backward pass of a call with latents ``z`` will end the step; else the call is a step."""
        # a compiler does not show us its backward passes
        return z.requires_grad and not self.follows and not torch.compiler.is_compiling()

    def end_step_with_backward(self, *outputs: Tensor) -> None:
        """Let a backward pass through what made any of the ``outputs`` of a call end the step."""
        step_ended = self.step_ended  # torch.func.functional_call takes it away again

        def end_step(_) -> None:
            step_ended.fill_(1)
            self.open_ended_calls = 0

        for node in {output.grad_fn for output in outputs} - {None}:
            node.register_prehook(end_step)

    def warn_of_a_long_step(self) -> None:
        """Count a call that waits for a backward pass, and say so once where none comes."""
        self.open_ended_calls += 1
        if self.open_ended_calls == LONG_STEP:
            warnings.warn("the codes wait for a backward pass, and none comes: call follow(optimizer)", stacklevel=2)

    def begin_call(self, open_ended: bool) -> bool | Tensor:
        """Whether this call begins a step, 0-d where that is not known; ``open_ended``: a later event ends the step."""
        begins = bool(self.step_ended) if can_look(self.step_ended) else self.step_ended.bool()
        if open_ended:
            write(self.step_ended, torch.zeros_like(self.step_ended))
        return begins

    @torch.no_grad()
    def move_codes(
        self, codes: Tensor, latents: Tensor, mask: Tensor | None, seed: int, group: Group, begins: bool | Tensor
    ) -> None:
        """Where a step begins, take the EMA step of the last one, and replace dead codes by latents of this call."""
        if begins is False:
            return
        if self.update == "ema":
            moved = ema_codes(codes, self.running, self.counts, self.sums, self.decay)
            write(codes, choose(begins, moved, codes))
            zero = self.counts.new_zeros(())
            write(self.counts, choose(begins, zero, self.counts))
            write(self.sums, choose(begins, zero, self.sums))
        if self.revival != "none":
            is_dead = REVIVALS[self.revival][0](self, self.revival_at)
            if can_look(is_dead) and world(group)[1] == 1 and not is_dead.any():
                return
            draw = broadcast(uniform(self.running, seed, self.calls), group)
            dead, fresh = fresh_codes(begins & is_dead, latents, mask, draw, group)
            write(codes, torch.where(dead[:, None], fresh, codes))
            write(self.idle, torch.where(dead, 0, self.idle))
            write(self.running, torch.where(dead, self._count_of_a_revived_code(), self.running))

    def _count_of_a_revived_code(self) -> Tensor:
        """That of a code of average use, and no less than what keeps a code alive, 0-d."""
        average = self.running.mean()
        if self.revival != "count":
            return average
        of_start = self.decay**self.calls
        return torch.maximum(average, of_start * self.initial_count + (1 - of_start) * self.revival_at)

    def count(
        self, latents: Tensor, indices: Tensor, mask: Tensor | None, begins: bool | Tensor, group: Group, frozen: bool
    ) -> None:
        """Count a call: latents (N, d), indices (N,), mask (N,) or None; nothing towards a move of ``frozen`` codes."""
        moves = self.sums is not None and not frozen
        counts = counts_per_code(indices, len(self.running), self.running.dtype, mask, group)
        if moves or self.latent_mean is not None:
            sums = sums_per_code(wide(latents), indices, len(self.running), mask, group)
        if moves:
            increase(self.counts, counts)
            increase(self.sums, sums)
        elif self.sums is not None:  # a move from before would be taken by running counts of later, and overshoot
            for left_pending in (self.counts, self.sums):
                write(left_pending, torch.zeros_like(left_pending))
        if self.latent_mean is not None:
            mean = sums.sum(0) / counts.sum().clamp_min(1)
            rate = torch.where(self.calls > 0, 1 - self.decay, 1.0) * (counts.sum() > 0) * begins
            write(self.latent_mean, self.latent_mean + rate * (mean - self.latent_mean))
        decayed = choose(begins, self.running * self.decay, self.running)
        write(self.running, torch.add(decayed, counts, alpha=1 - self.decay))
        write(self.idle, torch.where(counts > 0, 0, self.idle + begins))
        increase(self.calls, begins)


def _upgrade(module: Statistics, state: dict, prefix: str, metadata: dict, *_) -> None:
    """Before loading what version 0.1.0 saved."""
    if metadata.get("version", 1) < 2 and prefix + "calls" in state:
        state.setdefault(prefix + "step_ended", torch.tensor(1))
