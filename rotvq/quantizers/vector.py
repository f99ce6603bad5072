r"""VectorQuantizer: the nearest code, an estimator for the gradient, and the two losses.

.. math:: L = \beta\,|q - \mathrm{sg}[z]|^2 + \gamma\,|z - \mathrm{sg}[q]|^2

beta weighs the codebook loss and gamma the commitment loss (the paper and most code call the latter beta). With the EMA
update the codebook loss is not part of L.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from rotvq.quantizers.base import (
    CONVENTIONS,
    Assigned,
    Details,
    Quantized,
    Quantizer,
    masked_difference,
    one_of,
    sum_of_squares,
)
from rotvq.quantizers.blockwise import blocks, is_one_block
from rotvq.quantizers.codebook import DIRECT, PENALTIES, Codebook
from rotvq.quantizers.estimators import Estimator
from rotvq.quantizers.estimators import estimator as find_estimator
from rotvq.quantizers.lookup import LOOKUPS, nearest, unit
from rotvq.quantizers.updates import REVIVALS, UPDATES, Statistics

__all__ = ["CENTRES", "CONVENTIONS", "METRICS", "Details", "Quantized", "VectorQuantizer"]

CENTRES = ("origin", "codebook", "latents")
METRICS = (*LOOKUPS, "normalised")  # normalised: latents and codes on the unit sphere, then Euclidean = cosine

# Where other implementations keep the codes and their running counts: taming's and the first VQ-VAE's in an
# Embedding, vector-quantize-pytorch's under _codebook with an axis for separate heads in front.
LAYOUTS = {
    "embedding.weight": ("codebook.weight", lambda x: x),
    "_codebook.embed": ("codebook.weight", lambda x: x.squeeze(0)),
    "_codebook.cluster_size": ("statistics.running", lambda x: x.squeeze(0)),
}


def _adopt(module: nn.Module, state: dict, prefix: str, *_) -> None:
    """Before loading: bring another implementation's state into our layout; what it lacks stays as it is here."""
    found = {key: state[prefix + key] for key in LAYOUTS if prefix + key in state}
    if not found:
        return
    for key in [key for key in state if key.startswith((prefix + "_codebook.", prefix + "embedding."))]:
        del state[key]
    for key, value in module.state_dict().items():
        state.setdefault(prefix + key, torch.ones_like(value) if key == "codebook.started" else value)
    for key, value in found.items():
        name, convert = LAYOUTS[key]
        state[prefix + name] = convert(value)


class _Step(torch.autograd.Function):
    r"""z_q and ``beta |q - sg z|^2 + gamma |z - sg q|^2``, summed, with all that flows back through both:

    .. math:: \frac{\partial L}{\partial z_i} = G_i^\top g_i + 2 \gamma c\,(z_i - q_i), \qquad
              \frac{\partial L}{\partial e_k} = 2 \beta c \sum_{i : k_i = k} (q_i - z_i),

    where c is the gradient of the sum and ``q = codes[indices]``. In one place, since gradients that are formed apart
    need a copy of the latents each.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(z, codes, indices, q, keep, centre, mix, gain, estimator, beta, gamma):
        return q.clone(), (beta + gamma) * sum_of_squares(z, q, keep)

    @staticmethod
    def setup_context(ctx, inputs, output):
        z, codes, *others, ctx.estimator, ctx.beta, ctx.gamma = inputs
        ctx.codes, ctx.dtype = codes.shape, codes.dtype
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(z, *others)

    @staticmethod
    def backward(ctx, g, c):
        z, indices, q, keep, centre, mix, gain = ctx.saved_tensors
        to_z = to_codes = None
        if g is not None:
            to_z = ctx.estimator.pull_back(z, q, g, centre=centre, mix=mix, gain=gain).to(z.dtype)
        if c is not None:
            to_z = c.new_zeros(z.shape, dtype=z.dtype) if to_z is None else to_z
            to_codes = c.new_zeros(ctx.codes, dtype=ctx.dtype) if ctx.needs_input_grad[1] else None
            alone = is_one_block(z)  # else each part is added to what its rows hold
            add, index_add = (Tensor.add, Tensor.index_add) if alone else (Tensor.add_, Tensor.index_add_)
            for rows, chosen, *part in blocks(to_z, indices, z, q, keep):
                gap = masked_difference(*part)
                rows = add(rows, (gap * (2 * ctx.gamma * c)).to(z.dtype))
                if to_codes is not None:
                    gap = (gap * (-2 * ctx.beta * c)).to(ctx.dtype).reshape(-1, ctx.codes[1])
                    to_codes = index_add(to_codes, 0, chosen.reshape(-1), gap)
            to_z = rows if alone else to_z
        return to_z, to_codes, *[None] * 9


class VectorQuantizer(Quantizer):
    """Replace each latent vector by its nearest code; the gradient passes by ``estimator``.

    Input (..., heads * dim), or (B, heads * dim, ...) with ``channel_first``; a boolean ``mask`` over the tokens leaves
    tokens as they are and out of every loss and statistic. The heads share one codebook.

    estimator, clip, mix: a name or an :class:`.Estimator`, with its clip or mix replaced, or a module called as
    ``estimator(z, q)``. warmup: training calls over which mix grows from 0. centre: the point that G turns about: the
    origin, the mean code, or the running mean latent. gain: a further factor on G, one a code (codebook_size,), or a
    function of ``z, q, indices, keep``; a constant either way, see :class:`.Estimator`. lookup: "euclidean", "cosine",
    or "normalised" (latents and codes on the unit sphere). init, init_scale, form: see :class:`.Codebook`. penalties:
    weights of :data:`.PENALTIES` on the codes, by name. update, decay, initial_count, revival: see
    :mod:`.updates`. memory: bytes the lookup may use. generator: of the first codes; its seed also that of
    revival. beta, gamma, convention, heads, channel_first, check: see :class:`.Quantizer`.

    The EMA step and the revival of dead codes belong to the batch seen last and happen at the start of the next
    training call, so after every call ``codebook.codes[indices]`` is z_q. A state dict of taming's VectorQuantizer2 or
    of vector-quantize-pytorch's VectorQuantize loads as it is.

    >>> vq = VectorQuantizer(dim=2, codebook_size=4, init=torch.tensor([[1., 0.], [0., 1.], [-1., 0.], [0., -1.]]))
    >>> z_q, indices, loss = vq(torch.tensor([[0.8, 0.3]]))
    >>> z_q, indices
    (tensor([[1., 0.]]), tensor([0]))
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        estimator: str | Estimator | nn.Module = "rotation",
        *,
        clip=None,
        mix=None,
        warmup: int = 0,
        centre: str = "origin",
        gain: Tensor | Callable | None = None,
        lookup: str = "euclidean",
        init: str | Tensor = "uniform",
        init_scale: float = 1.0,
        form: str = "free",
        penalties: Mapping[str, float] | None = None,
        update: str = "gradient",
        decay: float = 0.99,
        initial_count: float = 1.0,
        revival: str = "none",
        beta: float = 1.0,
        gamma: float = 0.25,
        convention: str = "mean",
        heads: int = 1,
        channel_first: bool = False,
        check: bool = True,
        memory: int = 64 << 20,
        generator: torch.Generator | None = None,
    ):
        super().__init__(
            dim,
            codebook_size,
            beta=beta if update == "gradient" else 0.0,
            gamma=gamma,
            convention=convention,
            heads=heads,
            channel_first=channel_first,
            check=check,
        )
        one_of("centre", centre, CENTRES)
        one_of("lookup", lookup, METRICS)
        one_of("update", update, UPDATES)
        one_of("revival", revival, REVIVALS)
        for name in penalties or ():
            one_of("penalty", name, PENALTIES)
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}: it must be in [0, 1)")
        if initial_count < 0 or warmup < 0:
            raise ValueError(f"initial_count is {initial_count}, warmup {warmup}: neither may be negative")
        if form not in DIRECT and (update == "ema" or revival != "none" or lookup == "normalised"):
            raise ValueError(f"form {form!r} needs update 'gradient', revival 'none' and a lookup in {list(LOOKUPS)}")
        if isinstance(gain, Tensor) and (gain.requires_grad or gain.shape != (codebook_size,)):
            raise ValueError(
                "gain needs shape (codebook_size,) and no grad: inside sg[G] it gets none; see learned_gain"
            )
        own = isinstance(estimator, nn.Module)
        if own and (clip, mix, gain, warmup, centre) != (None, None, None, 0, "origin"):
            raise ValueError("clip, mix, warmup, centre and gain go with an Estimator, not with a module")
        self.estimator = estimator if own else find_estimator(estimator, clip, mix)
        form = "sphere" if lookup == "normalised" else form
        self.codebook = Codebook(codebook_size, dim, init, init_scale, update == "gradient", form, generator)
        self.statistics = Statistics(codebook_size, dim, update, decay, initial_count, revival, centre == "latents")
        self.warmup, self.centre, self.lookup, self.memory = warmup, centre, lookup, memory
        self.penalties = dict(penalties or {})
        self.seed = 0 if generator is None else generator.initial_seed()
        self.weigh = gain if callable(gain) else None
        self.register_buffer("gain", None if callable(gain) else gain)
        self.register_load_state_dict_pre_hook(_adopt)

    @property
    def codes(self) -> Tensor:
        """What the lookup compares with and the decoder receives, (codebook_size, dim)."""
        if not self.codebook.ready:
            raise RuntimeError(f"init {self.codebook.init!r} awaits latents: call codebook.start, or train, first")
        return self.codebook.codes

    def prepare(self, z: Tensor) -> Tensor:
        return unit(z) if self.lookup == "normalised" else z

    def quantise(self, z: Tensor, keep: Tensor | None) -> Assigned:
        latents, weight = z.detach().reshape(-1, self.dim), None if keep is None else keep.reshape(-1)
        if self.training and not self.codebook.ready:
            self.codebook.start(latents if weight is None else latents[weight])
        if self.training:
            self.statistics.settle(self.codebook.weight, latents, weight, self.seed)
        codes = self.codes
        indices = self.assign(latents, codes)
        q = codes.index_select(0, indices).reshape(z.shape)
        if self.training:
            self.statistics.observe(latents, indices, weight)
        extra = sum(weight * PENALTIES[name](codes) for name, weight in self.penalties.items())
        indices = indices.reshape(z.shape[:-1])
        if isinstance(self.estimator, nn.Module):  # it may send a gradient to the codes
            return Assigned(self.estimator(z, q), q, indices, extra)
        context = self._context(z, q.detach(), indices, keep, codes)
        keep = keep if keep is None else keep.unsqueeze(-1)
        z_q, total = _Step.apply(
            z, codes, indices.unsqueeze(-1), q, keep, *context, self.estimator, self.beta, self.gamma
        )
        return Assigned(z_q if z.requires_grad else z_q.detach(), q, indices, extra, total)

    def assign(self, z: Tensor, codes: Tensor) -> Tensor:
        return nearest(z, codes, "euclidean" if self.lookup == "normalised" else self.lookup, self.memory)

    def _context(self, z: Tensor, q: Tensor, indices: Tensor, keep: Tensor | None, codes: Tensor) -> tuple:
        """What the estimator is told beside z and q: centre, mix and gain."""
        centre = mix = gain = None
        if self.centre != "origin":
            centre = self.statistics.latent_mean.clone() if self.centre == "latents" else codes.detach().mean(0)
        if self.warmup:
            mix = self.estimator.mix * ((self.statistics.calls - 1) / self.warmup).clamp(0, 1)
        if self.weigh is not None:
            gain = self.weigh(z.detach(), q, indices, keep)
        if self.gain is not None:
            gain = self.gain[indices].unsqueeze(-1)
        return centre, mix, gain

    def extra_repr(self) -> str:
        update = self.statistics.update
        return f"lookup={self.lookup}, update={update}, beta={self.beta}, gamma={self.gamma}"
