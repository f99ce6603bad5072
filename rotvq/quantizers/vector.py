"""VectorQuantizer: the nearest code, an estimator for the gradient, and the two losses of :mod:`.losses`."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from rotvq.quantizers.base import Assigned, Quantizer, one_of
from rotvq.quantizers.codebook import DIRECT, PENALTIES, Codebook
from rotvq.quantizers.estimators import Clip, Estimator
from rotvq.quantizers.estimators import estimator as find_estimator
from rotvq.quantizers.lookup import LOOKUPS, MEMORY, nearest
from rotvq.quantizers.losses import Step, weighted_losses
from rotvq.quantizers.operators import seed_of
from rotvq.quantizers.updates import REVIVALS, UPDATES, Statistics

CENTRES = ("origin", "codebook", "latents")
METRICS = (*LOOKUPS, "normalised")  # normalised: latents and codes on the unit sphere, then Euclidean = cosine


class VectorQuantizer(Quantizer):
    r"""Replace each latent vector by its nearest code; the gradient passes by ``estimator``.

    .. math:: k_i = \arg\min_k |z_i - e_k|, \qquad z_q = \mathrm{sg}[G] z + \mathrm{sg}[e_k - G z], \qquad
              L = \frac1n \sum_i \beta\,|e_{k_i} - \mathrm{sg}[z_i]|^2 + \gamma\,|z_i - \mathrm{sg}[e_{k_i}]|^2

    The EMA step and the revival of dead codes belong to the batch seen last and happen at the start of the next
    training call, so after every call ``codebook.codes[indices]`` is z_q. A state dict of taming's VectorQuantizer2 or
    of vector-quantize-pytorch's VectorQuantize loads as it is. Source: van den Oord et al. 2017 (arXiv 1711.00937).

    Args:
        dim: of a latent.
        codebook_size: number of codes, K.
        estimator: a key of :data:`.ESTIMATORS`, an :class:`.Estimator`, or a module called as ``estimator(z, q)``.
        clip: replaces the estimator's clip: a range ``(lo, hi)`` or a key of :data:`.CLIPS`.
        mix: replaces the estimator's mix, in [0, 1].
        warmup: training calls over which mix grows from 0 to its value.
        centre: the point that G turns about: "origin", "codebook" (the mean code) or "latents" (their running mean).
        gain: a constant factor on G: one a code, (codebook_size,), or ``(z, q, indices, mask)`` to numbers (..., 1).
        lookup: "euclidean", "cosine", or "normalised" (latents and codes on the unit sphere).
        init: the first codes: a key of :data:`.INITS`, or the vectors themselves, (codebook_size, dim).
        init_scale: a factor on their norms, positive.
        form: how codes are parametrised, a key of :data:`.FORMS`.
        penalties: weights of terms of the loss on the codes, by the keys of :data:`.PENALTIES`.
        update: "gradient", or "ema", with which beta counts as 0: see :mod:`.updates`.
        decay: of running counts, EMA codes and mean latent, in [0, 1).
        initial_count: the weight that the first codes have in the EMA.
        revival: which codes are dead and replaced by latents, a key of :data:`.REVIVALS`.
        beta: weight of the codebook loss.
        gamma: weight of the commitment loss (the paper's beta).
        convention: n, what the sum is divided by, a key of :data:`.CONVENTIONS`.
        heads: latents a token, quantised one by one; they share one codebook.
        channel_first: whether the input is (B, heads * dim, ...) instead of (..., heads * dim).
        check: refuse NaN and inf in the input (skipped while compiling or exporting).
        memory: bytes that the lookup may use.
        second_pass: a function of x, z_q and the objective, added to the loss in training: see :mod:`.second_pass`.
        generator: of the first codes; its seed is also that of revival. None: torch's global one, and seed 0.

    Raises:
        ValueError: on unknown names, numbers out of range, and options that exclude each other.

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
        clip: Clip | None = None,
        mix: float | None = None,
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
        memory: int = MEMORY,
        second_pass: Callable | None = None,
        generator: torch.Generator | None = None,
    ):
        beta, normalise = beta if update == "gradient" else 0.0, lookup == "normalised"
        shape = {"heads": heads, "channel_first": channel_first, "check": check, "normalise": normalise}
        super().__init__(dim, codebook_size, beta, gamma, convention, second_pass=second_pass, **shape)
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
        if form not in DIRECT and (update == "ema" or revival != "none" or normalise):
            raise ValueError(f"form {form!r} needs update 'gradient', revival 'none' and a lookup in {list(LOOKUPS)}")
        if isinstance(gain, Tensor) and (gain.requires_grad or gain.shape != (codebook_size,)):
            raise ValueError("gain must be (codebook_size,) without grad: inside sg[G] it gets none; see learned_gain")
        if isinstance(estimator, nn.Module):
            if (clip, mix, gain, warmup, centre) != (None, None, None, 0, "origin"):
                raise ValueError("clip, mix, warmup, centre and gain go with an Estimator, not with a module")
            self.estimator = estimator
        else:
            self.estimator = find_estimator(estimator, clip, mix)
        form = "sphere" if normalise else form
        self.codebook = Codebook(codebook_size, dim, init, init_scale, update == "gradient", form, generator)
        self.statistics = Statistics(codebook_size, dim, update, decay, initial_count, revival, centre == "latents")
        self.warmup, self.centre, self.lookup, self.memory = warmup, centre, lookup, memory
        self.penalties, self.seed = dict(penalties or {}), seed_of(generator)
        self.gain_fn = gain if callable(gain) else None
        self.register_buffer("gain", None if callable(gain) else gain)
        self.register_load_state_dict_pre_hook(_adopt_foreign_state)

    @property
    def codes(self) -> Tensor:
        """What the lookup compares with and the decoder receives, (codebook_size, dim)."""
        if not self.codebook.ready:
            raise RuntimeError(f"init {self.codebook.init!r} awaits latents: call codebook.start, or train, first")
        return self.codebook.codes

    def quantise(self, z: Tensor, mask: Tensor | None) -> Assigned:
        latents, latent_mask = z.detach().reshape(-1, self.dim), None if mask is None else mask.reshape(-1)
        if self.training:
            self.codebook.start_once(latents, latent_mask)
            self.statistics.apply_pending_update(self.codebook.weight, latents, latent_mask, self.seed)
        codes = self.codes
        indices = self.assign(latents, codes)
        q = codes.index_select(0, indices).reshape(z.shape)
        if self.training:
            self.statistics.count_batch(latents, indices, latent_mask)
        indices = indices.reshape(z.shape[:-1])
        penalty = sum(weight * PENALTIES[name](codes) for name, weight in self.penalties.items())
        if isinstance(self.estimator, nn.Module):  # it may also send a gradient to the codes, through q
            z_q, loss_sum = self.estimator(z, q), weighted_losses(z, q, self.beta, self.gamma, mask)
        else:
            context = self._context(z, q.detach(), indices, mask, codes)
            z_q, loss_sum = Step.apply(z, q, codes, indices, mask, *context, self.estimator, self.beta, self.gamma)
            z_q = z_q if z.requires_grad else z_q.detach()
        return Assigned(z_q, q, indices, loss_sum, penalty)

    def assign(self, z: Tensor, codes: Tensor) -> Tensor:
        return nearest(z, codes, "euclidean" if self.normalise else self.lookup, self.memory)

    def _context(self, z: Tensor, q: Tensor, indices: Tensor, mask: Tensor | None, codes: Tensor) -> tuple:
        """What the estimator is told beside z and q: centre, mix and gain."""
        centre = mix = gain = None
        if self.centre == "latents":
            centre = self.statistics.latent_mean.clone()
        if self.centre == "codebook":
            centre = codes.detach().mean(0)
        if self.warmup:
            mix = self.estimator.mix * ((self.statistics.calls - 1) / self.warmup).clamp(0, 1)
        if self.gain_fn is not None:
            gain = self.gain_fn(z.detach(), q, indices, mask)
        if self.gain is not None:
            gain = self.gain[indices].unsqueeze(-1)
        return centre, mix, gain

    def extra_repr(self) -> str:
        update = self.statistics.update
        return f"lookup={self.lookup}, update={update}, beta={self.beta}, gamma={self.gamma}"


FOREIGN_KEYS = {  # where other implementations keep the codes and their running counts
    "embedding.weight": "codebook.weight",  # taming's and the first VQ-VAE's Embedding
    "_codebook.embed": "codebook.weight",  # vector-quantize-pytorch, with an axis for separate heads in front
    "_codebook.cluster_size": "statistics.running",
}


def _adopt_foreign_state(module: nn.Module, state: dict, prefix: str, *_) -> None:
    """Before loading: bring another implementation's state into our layout; what it lacks stays as it is here."""
    foreign = {key: state[prefix + key] for key in FOREIGN_KEYS if prefix + key in state}
    if not foreign:
        return
    for key in [key for key in state if key.startswith((prefix + "_codebook.", prefix + "embedding."))]:
        del state[key]
    for key, value in module.state_dict().items():
        state.setdefault(prefix + key, torch.ones_like(value) if key == "codebook.started" else value)
    for key, value in foreign.items():
        state[prefix + FOREIGN_KEYS[key]] = value.squeeze(0) if key.startswith("_codebook.") else value
