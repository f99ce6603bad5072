"""Our quantisers under the names, arguments and answers of vector-quantize-pytorch, for its own tests.

An option without a counterpart here is refused, or not in a signature; test_peer.py says which they are.
"""

import copy
import math
from collections import namedtuple

import torch
from torch import Tensor, nn

from rotvq import Grouped, ResidualVectorQuantizer, VectorQuantizer
from rotvq.quantizers.methods import fsq, lfq
from rotvq.quantizers.methods.bsq import bsq
from rotvq.quantizers.projected import Projected
from rotvq.quantizers.registry import METHODS

LossBreakdown = namedtuple("LossBreakdown", ["per_sample_entropy", "batch_entropy", "commitment"])
Buffers = namedtuple("Buffers", ["cluster_size", "embed_avg"])


class Adapter(nn.Module):
    """What all of them have: ``vq``, one of our quantisers."""

    def __init__(self, vq: nn.Module):
        super().__init__()
        self.vq = vq

    def call(
        self, x: Tensor, mask: Tensor | None = None, freeze_codebook: bool = False, by_level: bool = False
    ) -> tuple:
        """Our answer, as a plain tuple, with zeros where the mask is False; ``by_level``: with their losses."""
        before, self.vq.frozen = self.vq.frozen, self.vq.frozen or freeze_codebook
        out = self.vq(x, mask, details=by_level)
        self.vq.frozen = before
        loss = torch.stack([level.loss for level in out.levels]) if by_level else out.loss
        return out.z_q if mask is None else torch.where(mask.unsqueeze(-1), out.z_q, 0.0), out.indices, loss

    def get_output_from_indices(self, indices: Tensor) -> Tensor:
        return self.vq.decode(indices)

    indices_to_codes = get_output_from_indices


class VectorQuantize(Adapter):
    def __init__(
        self,
        dim: int,
        codebook_size: int,
        codebook_dim: int | None = None,
        heads: int = 1,
        separate_codebook_per_head: bool = False,
        decay: float = 0.8,
        commitment_weight: float = 1.0,
        use_cosine_sim: bool = False,
        rotation_trick: bool = True,
        directional_reparam: bool = False,
        threshold_ema_dead_code: float = 0,
        accept_image_fmap: bool = False,
        accept_3d_fmap: bool = False,
    ):
        code_dim = codebook_dim or dim
        is_projected = code_dim * heads != dim
        options = {"channel_first": accept_image_fmap or accept_3d_fmap}
        if threshold_ema_dead_code:
            options |= {"revival": "count", "revival_at": float(threshold_ema_dead_code)}
        if directional_reparam:
            super().__init__(METHODS["diveq"](dim, codebook_size, **options))
            return
        options |= {
            "update": "ema",
            "gamma": commitment_weight,
            "lookup": "normalised" if use_cosine_sim else "euclidean",
        }
        options |= {"estimator": "rotation" if rotation_trick else "ste", "frozen": decay == 1}
        options |= {} if decay == 1 else {"decay": decay}  # a code that keeps all of itself does not move
        if separate_codebook_per_head:
            vq = Grouped(VectorQuantizer(code_dim, codebook_size, **options) for _ in range(heads))
            super().__init__(Projected(vq, dim) if is_projected else vq)
        else:
            options |= {"heads": heads, "project_to": code_dim if is_projected else None}
            super().__init__(VectorQuantizer(dim // heads, codebook_size, **options))
        self.end_of_step = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=0.0)  # its steps are those of the codes
        self.vq.follow(self.end_of_step)

    @property
    def codebook(self) -> Tensor:
        """Theirs move within the call, ours at the start of the next: a call in which nothing counts, of a copy."""
        after = copy.deepcopy(self.vq).train()
        after(torch.zeros(1, 1, after.heads * after.dim), mask=torch.zeros(1, 1, dtype=torch.bool))
        return after.codes.detach()

    @property
    def _codebook(self) -> Buffers:
        """Their buffers: sums are codes times counts."""
        running = self.vq.statistics.running.clone()
        return Buffers(running, self.codebook * running[:, None])

    def forward(
        self, x, mask=None, lens=None, topk=None, freeze_codebook=False, accum_ema_update=False, ema_update=True
    ) -> tuple:
        if lens is not None:
            mask = torch.arange(x.shape[1]) < lens[:, None]
        if topk is not None and not ema_update:
            return self._nearest(x, mask, topk)
        out = self.call(x, mask, freeze_codebook)
        if self.training and not accum_ema_update and "end_of_step" in vars(self):
            self.end_of_step.step()
        return out

    def _nearest(self, x: Tensor, mask: Tensor, k: int) -> tuple:
        """Vectors, indices and losses of the k nearest codes; nothing is counted."""
        indices = self.vq.nearest_codes(x, k)
        codes = self.vq.decode(indices)
        loss = self.vq.gamma * (codes - x.unsqueeze(-2)).square().mean(-1)
        kept = mask.unsqueeze(-1)
        return torch.where(kept[..., None], codes, 0.0), torch.where(kept, indices, -1), torch.where(kept, loss, 0.0)

    def update_ema_indices(self, x: Tensor, indices: Tensor, mask: Tensor) -> None:
        """Count latents for the codes that they would be given anyway: others cannot be counted here."""
        assert torch.equal(self(x, mask)[1], indices)


class ResidualVQ(Adapter):
    def __init__(
        self,
        dim: int,
        codebook_size: int | tuple[int, ...],
        num_quantizers: int | None = None,
        codebook_dim: int | None = None,
        shared_codebook: bool = False,
        quantize_dropout: bool = False,
        use_cosine_sim: bool = False,
        kmeans_init: bool = False,
        kmeans_iters: int = 10,  # ours stops when it has converged
        stochastic_sample_codes: bool = False,
        sample_codebook_temp: float = 1.0,
        quant_grad_frac: float = 0.0,
        diveq: bool = False,
        directional_reparam: bool = False,
        implicit_neural_codebook: bool = False,
        beam_size: int = 1,  # ours searches in evaluation alone
        eval_beam_size: int = 1,
    ):
        sizes = list(codebook_size) if isinstance(codebook_size, tuple) else codebook_size
        levels = len(sizes) if num_quantizers is None else num_quantizers
        options = {"shared": shared_codebook, "dropout": float(quantize_dropout), "beam": eval_beam_size}
        options |= {"wiring": "graph" if quant_grad_frac == 1 else "detach"}  # a fraction in between: see test_peer.py
        if diveq or directional_reparam:
            options |= {"method": "diveq"}
        elif implicit_neural_codebook:
            options |= {"method": "qinco", "gamma": 1.0}
        else:
            options |= {"update": "ema", "decay": 0.8, "gamma": 1.0}
            options |= {"lookup": "normalised" if use_cosine_sim else "euclidean"}
            options |= {"init": "kmeans" if kmeans_init else "uniform"}
            options |= {"temperature": sample_codebook_temp if stochastic_sample_codes else 0.0}
        vq = ResidualVectorQuantizer(codebook_dim or dim, sizes, levels, **options)
        super().__init__(vq if codebook_dim in (None, dim) else Projected(vq, dim))

    def forward(self, x, mask=None, freeze_codebook=False) -> tuple:
        return self.call(x, mask, freeze_codebook, by_level=True)


class GroupedResidualVQ(Adapter):
    def __init__(self, dim: int, groups: int = 1, **options):
        super().__init__(Grouped(ResidualVQ(dim // groups, **options).vq for _ in range(groups)))

    def forward(self, x) -> tuple:
        z_q, indices, loss = self.call(x)
        return z_q, indices.movedim(-2, 0), loss


class FSQ(Adapter):
    def __init__(self, levels, return_indices=True, preserve_symmetry=False, bound_hard_clamp=False):
        options = {"symmetric": preserve_symmetry, "bound": "clamp" if bound_hard_clamp else "tanh"}
        super().__init__(fsq.FSQ(len(levels), math.prod(levels), sizes=tuple(levels), **options))
        self.return_indices = return_indices

    def forward(self, x) -> tuple:
        z_q, indices, _ = self.call(x)
        return z_q, indices if self.return_indices else None


class ResidualFSQ(Adapter):
    def __init__(self, dim, levels, num_quantizers):
        options = {"method": "fsq", "sizes": tuple(levels)}
        super().__init__(ResidualVectorQuantizer(dim, math.prod(levels), num_quantizers, **options))

    def forward(self, x) -> tuple:
        return self.call(x)[:2]


class LFQ(Adapter):
    def __init__(
        self,
        codebook_size,
        dim,
        num_codebooks=1,
        entropy_loss_weight=0.1,
        diversity_gamma=1.0,
        spherical=False,
        codebook_scale=1.0,
        frac_per_sample_entropy=1.0,
    ):
        make, options = (bsq, {"group": None}) if spherical else (lfq.LFQ, {})
        weights = {"entropy_weight": entropy_loss_weight, "diversity": diversity_gamma, "gamma": 0.0}
        super().__init__(make(dim // num_codebooks, codebook_size, heads=num_codebooks, **weights, **options))
        self.scale, self.share = codebook_scale, frac_per_sample_entropy

    def forward(self, x, inv_temperature=100.0, mask=None, return_loss_breakdown=False) -> tuple:
        """Channels are first where there are four axes or more; a mask, one a sample, is of the entropies alone."""
        self.vq.entropy_temperature = 1 / inv_temperature
        rows = (x.movedim(1, -1) if x.ndim >= 4 else x) / self.scale
        out = self.vq(rows, details=True)
        z_q = self.scale * out.z_q
        ret = z_q.movedim(-1, 1) if x.ndim >= 4 else z_q, out.indices, out.loss
        if not return_loss_breakdown:
            return ret
        kept = (out.z if mask is None else out.z[mask]).flatten(0, -2)
        some = kept[torch.randperm(len(kept))[: int(len(kept) * self.share)]]
        return ret, LossBreakdown(self.vq.entropies(some)[0], self.vq.entropies(kept)[1], out.commitment_loss)

    def indices_to_codes(self, indices) -> Tensor:
        codes = self.scale * self.vq.decode(indices)
        return codes.movedim(-1, 1) if indices.ndim >= 3 + (self.vq.heads > 1) else codes


class ResidualLFQ(Adapter):
    def __init__(self, dim, codebook_size, num_quantizers):
        super().__init__(ResidualVectorQuantizer(dim, codebook_size, num_quantizers, method="lfq"))

    def forward(self, x) -> tuple:
        return self.call(x)


class SimVQ(Adapter):
    def __init__(self, dim, codebook_size):
        super().__init__(METHODS["simvq"](dim, codebook_size))

    def forward(self, x) -> tuple:
        return self.call(x)


class ResidualSimVQ(Adapter):
    def __init__(self, dim, num_quantizers, codebook_size, channel_first=False):
        options = {"method": "simvq", "channel_first": channel_first}
        super().__init__(ResidualVectorQuantizer(dim, codebook_size, num_quantizers, **options))

    def forward(self, x) -> tuple:
        return self.call(x)
