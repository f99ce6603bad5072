"""Region VQ: codes that nothing uses receive the targets of used ones nearby (Tang et al. 2026)."""

import torch
from torch import Tensor

from rotvq.quantizers.base import Assigned
from rotvq.quantizers.distributed import group_of_call
from rotvq.quantizers.methods.dynamic_ste import DynamicGain
from rotvq.quantizers.operators import as_at_first, can_look, runs_again
from rotvq.quantizers.updates import counts_per_code, sums_per_code
from rotvq.quantizers.vector import VectorQuantizer

ROWS = 1024  # used codes whose distances to all codes are held at once


class RegionVQ(VectorQuantizer):
    r"""A VectorQuantizer whose codebook loss has targets for unused codes, too.

    Tang et al., "StableVQ", 2026 (arXiv 2609.26774). The target :math:`t_k` of a code that latents of this call chose
    is their mean. A code with :math:`n_k > 1` latents hands its target on to its :math:`q_k` nearest codes among those
    that no call of the last ``window`` steps chose, with :math:`q_k` proportional to :math:`n_k` and some one for each
    unused code in all; a code that receives several takes their mean. With M the codes that have a target, the loss is
    :math:`\mathrm{mean}_{k \in M}\,\mathrm{mean}_{j \le d}\,(e_k - \mathrm{sg}\,t_k)_j^2`, whatever the convention of
    the commitment loss. How :math:`q_k` is rounded (to the nearest, and to 1 at least) and the length of the window are
    choices made here.

    Args:
        dim: as in :class:`.VectorQuantizer`; so are codebook_size, estimator and all other options.
        codebook_size: K.
        estimator: STE unless said otherwise.
        window: steps without use after which a code counts as unused; in the first steps, all steps so far.
        beta: weight of the loss above.
        **options: of :class:`.VectorQuantizer`; the update is "gradient", by which this loss moves the codes.

    Raises:
        ValueError: on another update, on a window below 1 or a negative beta, and as :class:`.VectorQuantizer`.

    >>> vq = RegionVQ(1, 3, init=torch.tensor([[0.0], [1.0], [5.0]]))
    >>> vq(torch.tensor([[0.0], [0.2]])).loss.item()  # codes 1 and 2 are drawn to 0.1, (0.1^2 + 0.9^2 + 4.9^2) / 3
    8.28...
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        estimator: str | None = "ste",
        *,
        window: int = 100,
        beta: float = 1.0,
        **options,
    ):
        if window < 1:
            raise ValueError(f"window is {window}: it must be at least 1")
        if beta < 0:
            raise ValueError(f"beta is {beta}: it may not be negative")
        if options.get("update", "gradient") != "gradient":
            raise ValueError(f"update is {options['update']!r}: this loss moves codes by 'gradient' alone")
        super().__init__(dim, codebook_size, estimator, beta=0.0, **options)
        self.window, self.region_beta = window, beta

    def quantise(self, z: Tensor, mask: Tensor | None) -> Assigned:
        assigned = super().quantise(z, mask)
        codes = self.codes_in_use
        latents, chosen = z.detach().reshape(-1, self.code_dim).to(codes.dtype), assigned.indices.reshape(-1)
        counted = self._counted(latents, None if mask is None else mask.reshape(-1))
        targets, has_target = self._targets(latents, chosen, counted, codes.detach())
        if self.training:  # state and ranks may be others when the call is run again
            kept = latents if counted is None else torch.where(counted[:, None], latents, 0.0)
            mark = torch.cat([kept.sum(0), kept.square().sum(0), codes.detach().sum(0)])
            table = as_at_first(torch.cat([targets, has_target[:, None].to(targets.dtype)], 1), mark)
            targets, has_target = table[:, :-1], table[:, -1] > 0
        squares = torch.where(has_target[:, None], (codes - targets).square(), 0.0)
        region_loss = squares.sum() / (has_target.sum() * self.code_dim).clamp_min(1)
        return assigned._replace(extra_loss=assigned.extra_loss + self.region_beta * region_loss)

    @torch.no_grad()
    def _targets(self, latents: Tensor, chosen: Tensor, counted: Tensor | None, codes: Tensor) -> tuple[Tensor, Tensor]:
        """The target of each code, (codebook_size, code_dim), and which codes have one, (codebook_size,)."""
        alone = not self.training or runs_again()  # one rank may evaluate alone
        group = None if alone else group_of_call(self.process_group)
        counts = counts_per_code(chosen, self.codebook_size, codes.dtype, counted, group)
        sums = sums_per_code(latents, chosen, self.codebook_size, counted, group)
        means = sums / counts.clamp_min(1)[:, None]
        patience = self.statistics.calls.clamp_max(self.window)
        is_unused = (counts == 0) & (self.statistics.idle >= patience)
        if can_look(is_unused) and not is_unused.any():
            return means, counts > 0
        quotas = _quotas(counts, is_unused.sum())
        received, givers = torch.zeros_like(codes), torch.zeros_like(counts)
        for rows in torch.arange(self.codebook_size, device=codes.device).split(ROWS):
            gives = _nearest_unused(codes[rows], codes, is_unused, quotas[rows]).to(codes.dtype)
            received += gives.T @ means[rows]
            givers += gives.sum(0)
        handed_on = received / givers.clamp_min(1)[:, None]
        return torch.where((counts > 0)[:, None], means, handed_on), (counts > 0) | (givers > 0)


def _quotas(counts: Tensor, unused: Tensor) -> Tensor:
    """To how many unused codes each code hands its target on, from the latents that chose it, both (codebook_size,)."""
    senders = torch.where(counts > 1, counts, 0.0)
    share = senders / senders.sum().clamp_min(1)
    return torch.where(senders > 0, (unused * share).round().clamp_min(1), 0).long().clamp_max(unused)


def _nearest_unused(used: Tensor, codes: Tensor, is_unused: Tensor, quotas: Tensor) -> Tensor:
    """Which of all ``codes`` (K, d) are among the quota's nearest unused ones of each of some codes (n, d), (n, K)."""
    distance = torch.where(is_unused, torch.cdist(used, codes), torch.inf)
    bound = distance.sort(1).values.gather(1, (quotas - 1).clamp_min(0)[:, None])
    return (distance <= bound) & is_unused & (quotas > 0)[:, None]


def stablevq(dim: int, codebook_size: int, init: str | Tensor = "normal", **options) -> RegionVQ:
    """A :class:`RegionVQ` with dynamic STE and the codes of SimVQ, fixed behind one learned map (Tang et al. 2026).

    The third part of StableVQ, a learning rate of the codes' own, belongs to the optimiser.

    >>> stablevq(dim=2, codebook_size=4).codebook.form
    Linear()
    """
    return RegionVQ(dim, codebook_size, init=init, form="linear", gain=DynamicGain(codebook_size), **options)
