"""VectorQuantizer: the nearest code, an estimator for the gradient, and the two losses of :mod:`.losses`."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rotvq.quantizers.base import Assigned, Quantizer, one_of
from rotvq.quantizers.codebook import DIRECT, PENALTIES, Codebook, Start
from rotvq.quantizers.distributed import Group, group_of_call, refuse_lost_writes
from rotvq.quantizers.estimators import Clip, Estimator, default_estimator
from rotvq.quantizers.estimators import estimator as find_estimator
from rotvq.quantizers.foreign import adopt
from rotvq.quantizers.lookup import ENGINES, LOOKUPS, nearest
from rotvq.quantizers.losses import step, weighted_losses
from rotvq.quantizers.operators import Noise, runs_again, seed_of
from rotvq.quantizers.options import refuse_idle, refuse_out_of_range, refuse_unknown
from rotvq.quantizers.scores import best_codes, sampled_codes
from rotvq.quantizers.updates import REVIVALS, UPDATES, Statistics

CENTRES = ("origin", "codebook", "latents")
METRICS = (*LOOKUPS, "normalised")  # normalised: latents and codes on the unit sphere, then Euclidean = cosine


class VectorQuantizer(Quantizer):
    r"""Replace each latent vector by its nearest code; the gradient passes by ``estimator``.

    .. math:: & k_i = \arg\min_k |z_i - e_k|, \qquad z_q = \mathrm{sg}[G] z + \mathrm{sg}[e_k - G z], \\
              & L = \frac1n \sum_i \beta\,|e_{k_i} - \mathrm{sg}[z_i]|^2 + \gamma\,|z_i - \mathrm{sg}[e_{k_i}]|^2

    The EMA step and the revival of dead codes belong to the step before and happen at the start of a step's first
    training call: see :mod:`.updates`. So after every call ``codebook.codes[indices]`` is z_q, in the dtype of the
    input. State dicts of other libraries load as they are: see :mod:`.foreign`. Source: van den Oord et al. 2017 (arXiv
    1711.00937).

    The defaults are the loss of that paper, without state: what an estimator does alone. To train a model, start with
    :func:`.recommended`.

    Args:
        dim: of a latent.
        codebook_size: number of codes, K.
        estimator: a key of :data:`.ESTIMATORS`, an :class:`.Estimator`, or a module called as ``estimator(z, q)``.
            None: "rotation", and "ste" for codes of one dimension, where ``G z = q`` leaves no turn, only the factor
            q / z, without bound near 0.
        clip: replaces the estimator's clip: a range ``(lo, hi)`` or a key of :data:`.CLIPS`.
        mix: replaces the estimator's mix, in [0, 1].
        warmup: training steps over which mix grows from 0 to its value.
        centre: the point that G turns about: "origin", "codebook" (the mean code) or "latents" (their running mean,
            moved by the first call of a step).
        gain: a constant factor on G: one a code, (codebook_size,), or ``(z, q, indices, mask)`` to numbers (..., 1).
        lookup: "euclidean", "cosine" (of raw codes, as in DAC), or "normalised" (latents and codes on the unit sphere,
            as in ViT-VQGAN and LlamaGen).
        temperature: of codes drawn in training by ``softmax(-|z - e|^2 / temperature)``, or of cosines; 0: the nearest.
        init: the first codes: a key of :data:`.INITS`, the vectors themselves, (codebook_size, code_dim), or a function
            of latents (N, code_dim), codebook_size and a generator.
        init_scale: a factor on their norms, positive.
        form: how codes are parametrised, a key of :data:`.FORMS`.
        penalties: weights of terms of the loss on the codes, by the keys of :data:`.PENALTIES`.
        update: "gradient" or "ema": see :mod:`.updates`.
        decay: of running counts, EMA codes and mean latent, in [0, 1).
        initial_count: the weight that the first codes have in the EMA.
        revival: which codes are dead and replaced by latents, a key of :data:`.REVIVALS`.
        revival_at: the bound of "unused" (100 steps), "threshold" (0.01 of uniform use) or "count" (2 latents).
        beta: weight of the codebook loss; None: 1, and none with "ema", which is in its place.
        gamma: weight of the commitment loss (the paper's beta).
        convention: n, what the sum is divided by, a key of :data:`.CONVENTIONS`, also in :class:`.Details`, where the
            losses have no weights, and by what :class:`.Grouped` weighs its losses.
        heads: latents a token, quantised one by one; they share one codebook.
        project_to: the dimension of the codes, code_dim, between two linear maps (DAC, ViT-VQGAN); None: dim.
        channel_first: whether the input is (B, heads * dim, ...) instead of (..., heads * dim).
        check: refuse NaN and inf in the input (skipped while compiling or exporting, and in ``torch.func.vmap``).
        memory: bytes that the lookup may use; None: 64 MiB on a CPU, 256 MiB on a GPU.
        engine: of the lookup, a key of :data:`.ENGINES`; "plain" exports to torch's own operators, and of its memory
            bounds that of :meth:`nearest_codes` and of drawn codes alone. None: "tiles", and
            under ``torch.inference_mode()`` "faiss" up to 16 dimensions where it is installed.
        frozen: keep the codes as they are, also in training mode; may be set later.
        second_pass: a function of x, z_q and the objective, added to the loss in training: see :mod:`.second_pass`.
        process_group: ranks that share counts, EMA, revival and start: a ProcessGroup or "world". None: those of the
            DistributedDataParallel that calls, otherwise this process alone, which FSDP2 refuses to EMA codes.
        generator: of the first codes; its seed is also that of revival. None: torch's global one, and seed 0.

    Raises:
        ValueError: on unknown names, numbers out of range, and options that exclude each other or would do nothing.
        TypeError: on unknown options, with our name for those of other libraries.

    >>> vq = VectorQuantizer(dim=2, codebook_size=4, init=torch.tensor([[1., 0.], [0., 1.], [-1., 0.], [0., -1.]]))
    >>> z_q, indices, loss = vq(torch.tensor([[0.8, 0.3]]))
    >>> z_q, indices
    (tensor([[1., 0.]]), tensor([0]))
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        estimator: str | Estimator | nn.Module | None = None,
        *,
        clip: Clip | None = None,
        mix: float | None = None,
        warmup: int = 0,
        centre: str = "origin",
        gain: Tensor | Callable | None = None,
        lookup: str = "euclidean",
        temperature: float = 0.0,
        init: str | Tensor | Start = "uniform",
        init_scale: float = 1.0,
        form: str = "free",
        penalties: Mapping[str, float] | None = None,
        update: str = "gradient",
        decay: float = 0.99,
        initial_count: float = 1.0,
        revival: str = "none",
        revival_at: float | None = None,
        beta: float | None = None,
        gamma: float = 0.25,
        convention: str = "mean",
        heads: int = 1,
        project_to: int | None = None,
        channel_first: bool = False,
        check: bool = True,
        memory: int | None = None,
        engine: str | None = None,
        frozen: bool = False,
        second_pass: Callable | None = None,
        process_group: Group = None,
        generator: torch.Generator | None = None,
        **unknown: Any,
    ):
        given = dict(locals())
        _check(given)
        default_beta = 1.0 if update == "gradient" else 0.0
        super().__init__(
            dim,
            codebook_size,
            default_beta if beta is None else beta,
            gamma,
            convention,
            heads=heads,
            project_to=project_to,
            channel_first=channel_first,
            check=check,
            normalise=lookup == "normalised",
            second_pass=second_pass,
            process_group=process_group,
        )
        if isinstance(estimator, nn.Module):
            self.estimator = estimator
        else:
            name = default_estimator(self.code_dim) if estimator is None else estimator
            self.estimator = find_estimator(name, clip, mix)
        refuse_idle("vq", {**given, "estimator": self.estimator})
        self.codebook = Codebook(
            codebook_size,
            self.code_dim,
            init,
            init_scale,
            learned=update == "gradient",
            form="sphere" if self.normalise else form,
            generator=generator,
            process_group=process_group,
        )
        self.statistics = Statistics(
            codebook_size,
            self.code_dim,
            update,
            decay=decay,
            initial_count=initial_count,
            revival=revival,
            revival_at=revival_at,
            centred=centre == "latents",
        )
        self.noise = Noise(seed_of(generator)) if temperature else None
        self.warmup, self.centre, self.lookup, self.temperature = warmup, centre, lookup, temperature
        self.memory, self.engine = memory, engine
        self.penalties, self.seed = dict(penalties or {}), seed_of(generator)
        self.gain_fn = gain if callable(gain) else None
        self.register_buffer("gain", None if callable(gain) else gain)
        self.frozen = frozen
        self.register_load_state_dict_pre_hook(adopt)

    @property
    def codes(self) -> Tensor:
        """What the lookup compares with and the decoder receives, (codebook_size, dim)."""
        if not self.codebook.ready:
            raise RuntimeError(f"init {self.codebook.init!r} awaits latents: call codebook.start, or train, first")
        return self.codebook.codes

    def quantise(self, z: Tensor, mask: Tensor | None) -> Assigned:
        latents = z.detach().reshape(-1, self.code_dim)
        counts = self.training and not runs_again()
        if counts:
            begins, counted, group = self._begin_training_call(latents, mask, self.statistics.awaits_backward(z))
        codes = self.codes_in_use
        indices = self._choose(latents, codes)
        q = codes.index_select(0, indices).reshape(z.shape)
        if counts:
            self.statistics.count(latents, indices, counted, begins, group, self.frozen)
        indices = indices.reshape(z.shape[:-1])
        penalty = sum(weight * PENALTIES[name](codes) for name, weight in self.penalties.items())
        if isinstance(self.estimator, nn.Module):  # it may also send a gradient to the codes, through q
            z_q, loss_sum = self.estimator(z, q), weighted_losses(z, q, self.beta, self.gamma, mask)
        else:
            context = self._context(z, q, indices, mask, codes)
            z_q, loss_sum = step(z, q, codes, indices, mask, *context, self.estimator, self.beta, self.gamma)
            z_q = z_q if z.requires_grad else z_q.detach()
        if self.training and self.statistics.awaits_backward(z):
            self.statistics.end_step_with_backward(z_q, loss_sum)
        return Assigned(z_q, q, indices, loss_sum, penalty)

    def assign(self, z: Tensor, codes: Tensor) -> Tensor:
        return nearest(z, codes, self._metric, self.memory, self.engine)

    def nearest_codes(self, x: Tensor, k: int) -> Tensor:
        """Indices of the k nearest codes of each token, the nearest first, (..., k), for x as a call takes it."""
        return best_codes(self._latents(self._rows(x.detach())), self.codes_in_use, self._metric, k, self.memory)

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Let each ``optimizer.step()`` end the step, instead of each backward pass.

        So codes wait while gradients are accumulated, and while a GradScaler skips steps. Call it again after copying,
        pickling or resuming; a copy is not followed. Where several calls are one step, it is needed by compiled code,
        latents without gradient, a reentrant checkpoint round them and pipelines, and by a loss of ``z_q.detach()``.
        """
        self.statistics.follows = True
        optimizer.register_step_post_hook(self.statistics.end_step)

    @property
    def _metric(self) -> str:
        return "euclidean" if self.normalise else self.lookup

    def _begin_training_call(self, latents: Tensor, mask: Tensor | None, awaits_backward: bool) -> tuple:
        """Start codes that wait for latents, and move those that the last step left pending.

        Returns whether a step begins, which latents count, and the ranks that count with this one.
        """
        group, open_ended = group_of_call(self.process_group), self.statistics.follows or awaits_backward
        counted = self._counted(latents, None if mask is None else mask.reshape(-1))
        if not self.frozen:
            if self.statistics.update == "ema" or self.statistics.revival != "none":
                refuse_lost_writes(self.codebook.weight, group)
                if open_ended and not self.statistics.follows:
                    self.statistics.warn_of_a_long_step()
            self.codebook.start_once(latents, counted, group)
        begins = self.statistics.begin_call(open_ended)
        if not self.frozen:
            self.statistics.move_codes(self.codebook.weight, latents, counted, self.seed, group, begins)
        return begins, counted, group

    def _choose(self, latents: Tensor, codes: Tensor) -> Tensor:
        """Indices (N,) of latents (N, code_dim): the nearest codes, or in training drawn ones."""
        if self.noise is None or not self.training:
            return self.assign(latents, codes)
        return sampled_codes(latents, codes.detach(), self._metric, self.temperature, self.noise, self.memory)

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
            gain = self.gain_fn(z.detach(), q.detach(), indices, mask)
        if self.gain is not None:
            gain = self.gain[indices].unsqueeze(-1)
        return centre, mix, gain

    def extra_repr(self) -> str:
        update = self.statistics.update
        return f"lookup={self.lookup}, update={update}, beta={self.beta}, gamma={self.gamma}"


def _check(given: Mapping[str, Any]) -> None:
    """Raise ValueError on what the arguments of VectorQuantizer cannot be, or cannot be together."""
    refuse_unknown(given["unknown"])
    refuse_out_of_range(**given)
    update, revival, lookup, form, gain = (given[name] for name in ("update", "revival", "lookup", "form", "gain"))
    one_of("centre", given["centre"], CENTRES)
    one_of("lookup", lookup, METRICS)
    one_of("update", update, UPDATES)
    one_of("revival", revival, REVIVALS)
    one_of("engine", given["engine"], (*ENGINES, None))
    for name in given["penalties"] or ():
        one_of("penalty", name, PENALTIES)
    if not 0 <= given["decay"] < 1:
        raise ValueError(f"decay is {given['decay']}: it must be in [0, 1); codes that are to stay as they are: frozen")
    revival_at = given["revival_at"]
    if revival_at is not None and (
        (revival == "threshold" and revival_at > 1) or (revival == "unused" and revival_at < 1)
    ):
        unit = "a share of uniform use, at most 1" if revival == "threshold" else "steps, at least 1"
        raise ValueError(f"revival_at is {revival_at}: with revival {revival!r} it is {unit}")
    if form not in DIRECT and (update == "ema" or revival != "none" or lookup == "normalised"):
        raise ValueError(f"form {form!r} needs update 'gradient', revival 'none' and a lookup in {list(LOOKUPS)}")
    if isinstance(gain, Tensor) and (gain.requires_grad or gain.shape != (given["codebook_size"],)):
        raise ValueError("gain must be (codebook_size,) without grad: inside sg[G] it gets none; see learned_gain")
    if isinstance(given["estimator"], nn.Module):
        options = tuple(given[name] for name in ("clip", "mix", "gain", "warmup", "centre"))
        if options != (None, None, None, 0, "origin"):
            raise ValueError("clip, mix, warmup, centre and gain go with an Estimator, not with a module")
