r"""VectorQuantizer: the nearest code, an estimator for the gradient, and the two losses.

.. math:: L = \beta\,|q - \mathrm{sg}[z]|^2 + \gamma\,|z - \mathrm{sg}[q]|^2

beta weighs the codebook loss and gamma the commitment loss (the paper and most code call the latter beta). With the EMA
update the codebook loss is not part of L.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rotvq.codebook import Codebook
from rotvq.estimators import Estimator, geometry
from rotvq.estimators import estimator as find_estimator
from rotvq.lookup import LOOKUPS, nearest
from rotvq.updates import REVIVALS, UPDATES, batch_statistics, ema_codes, revive

CENTRES = ("origin", "codebook", "latents")
CONVENTIONS = {
    "mean": lambda squares: squares.mean(),  # over tokens and dimensions
    "token": lambda squares: squares.sum(-1).mean(),  # summed over dimensions
    "image": lambda squares: squares.flatten(1).sum(1).mean(),  # summed over all that belongs to one sample
}
METRICS = (*LOOKUPS, "normalised")  # normalised: latents and codes on the unit sphere, then Euclidean = cosine


class Quantized(NamedTuple):
    """``z_q, indices, loss``: the quantised latents, shaped as the input; int64 indices; the weighted loss, a scalar."""

    z_q: Tensor
    indices: Tensor
    loss: Tensor


class Details(NamedTuple):
    """Everything a call computed. z, q: (..., dim); r = |q|/|z| and theta, the angle in radians: (tokens,)."""

    z_q: Tensor
    indices: Tensor
    loss: Tensor
    z: Tensor
    q: Tensor
    codebook_loss: Tensor
    commitment_loss: Tensor
    r: Tensor
    theta: Tensor
    usage: Tensor
    perplexity: Tensor


def one_of(name: str, value, allowed) -> None:
    if value not in allowed:
        raise ValueError(f"unknown {name} {value!r}: one of {', '.join(map(str, allowed))}")


class VectorQuantizer(nn.Module):
    """Replace each latent vector by its nearest code; the gradient passes by ``estimator``.

    Input (..., heads * dim), or (B, heads * dim, ...) with ``channel_first``; a boolean ``mask`` over the tokens leaves
    tokens as they are and out of every loss and statistic. The heads share one codebook.

    estimator, clip, mix: a name or an :class:`Estimator`, with its clip or mix replaced. warmup: training calls over
    which mix grows from 0. centre: the point that G turns about: the origin, the mean code, or the running mean latent.
    lookup: "euclidean", "cosine", or "normalised" (latents and codes on the unit sphere). init, init_scale: see
    :class:`Codebook`; update, decay, initial_count, revival: see :mod:`rotvq.updates`. convention: what the losses are
    averaged over. check: refuse NaN and inf in the input (skipped while compiling). memory: bytes the lookup may use.

    The EMA step and the revival of dead codes belong to the batch seen last and happen at the start of the next
    training call, so after every call ``codebook.codes[indices]`` is z_q (before normalising, with that lookup).

    >>> vq = VectorQuantizer(dim=2, codebook_size=4, init=torch.tensor([[1., 0.], [0., 1.], [-1., 0.], [0., -1.]]))
    >>> z_q, indices, loss = vq(torch.tensor([[0.8, 0.3]]))
    >>> z_q, indices
    (tensor([[1., 0.]]), tensor([0]))
    """

    _version = 1

    def __init__(self, dim: int, codebook_size: int, estimator: str | Estimator = "rotation", *, clip=None, mix=None,
                 warmup: int = 0, centre: str = "origin", gain: Tensor | None = None, lookup: str = "euclidean",
                 init: str | Tensor = "uniform", init_scale: float = 1.0, update: str = "gradient",
                 decay: float = 0.99, initial_count: float = 1.0, revival: str = "none", beta: float = 1.0,
                 gamma: float = 0.25, convention: str = "mean", heads: int = 1, channel_first: bool = False,
                 check: bool = True, memory: int = 64 << 20, generator: torch.Generator | None = None):
        super().__init__()
        for name, value, allowed in (("centre", centre, CENTRES), ("lookup", lookup, METRICS), ("update", update, UPDATES),
                                     ("revival", revival, REVIVALS), ("convention", convention, CONVENTIONS)):
            one_of(name, value, allowed)
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}: it must be in [0, 1)")
        if beta < 0 or gamma < 0 or initial_count < 0 or warmup < 0:
            raise ValueError(f"beta {beta}, gamma {gamma}, initial_count {initial_count}, warmup {warmup}: none may be negative")
        self.estimator = find_estimator(estimator, clip, mix)
        self.codebook = Codebook(codebook_size, dim, init, init_scale, update == "gradient", generator)
        self.dim, self.codebook_size, self.heads, self.channel_first = dim, codebook_size, heads, channel_first
        self.warmup, self.centre, self.lookup, self.update = warmup, centre, lookup, update
        self.decay, self.initial_count, self.revival = decay, initial_count, revival
        self.beta, self.gamma, self.convention = beta, gamma, convention
        self.check, self.memory, self.generator = check, memory, generator
        self.register_buffer("gain", gain)
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("latent_mean", torch.zeros(dim))
        self.register_buffer("running", torch.full((codebook_size,), float(initial_count)))
        self.register_buffer("idle", torch.zeros(codebook_size))
        self.register_buffer("counts", torch.zeros(codebook_size))  # of the batch seen last, whose step is due
        self.register_buffer("sums", torch.zeros(codebook_size, dim))

    @property
    def codes(self) -> Tensor:
        """What the lookup compares with and the decoder receives, (codebook_size, dim)."""
        codes = self.codebook.codes
        return F.normalize(codes, dim=-1) if self.lookup == "normalised" else codes

    def forward(self, x: Tensor, mask: Tensor | None = None, details: bool = False) -> Quantized | Details:
        rows = x.movedim(1, -1) if self.channel_first else x
        if rows.shape[-1] != self.heads * self.dim:
            raise ValueError(f"the input has {rows.shape[-1]} channels, not heads * dim = {self.heads * self.dim}")
        shape = (*rows.shape[:-1], self.heads) if self.heads > 1 else rows.shape[:-1]
        z = rows.reshape(*shape, self.dim)
        keep = None
        if mask is not None:
            keep = mask.unsqueeze(-1).expand(shape) if self.heads > 1 else mask
            z = torch.where(keep.unsqueeze(-1), z, 0.0)
        if self.check and not torch.compiler.is_compiling() and not torch.isfinite(z).all():
            raise ValueError("the latents contain NaN or inf; mask padding out, or pass check=False to go on")
        z = F.normalize(z, dim=-1) if self.lookup == "normalised" else z

        latents = z.detach().reshape(-1, self.dim)
        weight = latents.new_ones(len(latents)) if keep is None else keep.reshape(-1).to(latents.dtype)
        if not self.codebook.ready:
            self.codebook.start(latents[weight > 0])
        if self.training:
            self._settle(latents, weight)
        codes = self.codes
        indices = self._nearest(latents, codes)
        q = F.embedding(indices, codes).reshape(z.shape)
        if self.training:
            self._observe(latents, indices, weight)
        z_q, indices = self._estimate(z, q, indices.reshape(shape)), indices.reshape(shape)

        codebook_loss, commitment_loss = self._loss(q, z.detach(), keep), self._loss(z, q.detach(), keep)
        loss = self.gamma * commitment_loss + (self.beta * codebook_loss if self.update == "gradient" else 0.0)
        out = z_q
        if keep is not None:
            out, indices = torch.where(keep.unsqueeze(-1), z_q, rows.reshape(z.shape)), torch.where(keep, indices, -1)
        out = out.reshape(rows.shape)
        out = out.movedim(-1, 1).contiguous() if self.channel_first else out
        if not details:
            return Quantized(out, indices, loss)
        r, theta = geometry(latents, q.detach().reshape(-1, self.dim))
        share = torch.bincount(indices[indices >= 0].reshape(-1), minlength=self.codebook_size) / weight.sum()
        return Details(out, indices, loss, z, q, codebook_loss, commitment_loss, r, theta, (share > 0).float().mean(),
                       torch.special.entr(share).sum().exp())

    def encode(self, x: Tensor) -> Tensor:
        """Indices alone."""
        z = (x.movedim(1, -1) if self.channel_first else x).detach()
        z = z.unflatten(-1, (self.heads, self.dim)) if self.heads > 1 else z
        return self._nearest(F.normalize(z, dim=-1) if self.lookup == "normalised" else z, self.codes)

    def decode(self, indices: Tensor) -> Tensor:
        """The latents that indices stand for, shaped as the input that gave them."""
        q = F.embedding(indices, self.codes)
        q = q.flatten(-2) if self.heads > 1 else q
        return q.movedim(-1, 1).contiguous() if self.channel_first else q

    def _nearest(self, z: Tensor, codes: Tensor) -> Tensor:
        return nearest(z, codes, "euclidean" if self.lookup == "normalised" else self.lookup, self.memory)

    def _estimate(self, z: Tensor, q: Tensor, indices: Tensor) -> Tensor:
        centre = {"origin": None, "codebook": self.codes.detach().mean(0), "latents": self.latent_mean}[self.centre]
        mix = self.estimator.mix * ((self.calls - 1) / self.warmup).clamp(0, 1) if self.warmup else None
        gain = None if self.gain is None else self.gain[indices].unsqueeze(-1)
        return self.estimator(z, q, centre=centre, mix=mix, gain=gain)

    def _loss(self, moving: Tensor, fixed: Tensor, keep: Tensor | None) -> Tensor:
        squares = (moving - fixed).square()
        if keep is None:
            return CONVENTIONS[self.convention](squares)
        return CONVENTIONS[self.convention](squares * keep.unsqueeze(-1)) * (keep.numel() / keep.sum().clamp_min(1))

    @torch.no_grad()
    def _settle(self, latents: Tensor, weight: Tensor) -> None:
        """The step that the last batch left due; then dead codes are replaced from this one."""
        codes = self.codebook.codes
        if self.update == "ema":
            codes.copy_(ema_codes(codes, self.running, self.counts, self.sums, self.decay))
            self.counts.zero_()
            self.sums.zero_()
        if self.revival != "none":
            dead = REVIVALS[self.revival](self.running, self.idle)
            codes.copy_(revive(codes, dead, latents, weight, self.generator))
            self.idle.masked_fill_(dead, 0)
            self.running.copy_(torch.where(dead, self.running.mean(), self.running))

    @torch.no_grad()
    def _observe(self, latents: Tensor, indices: Tensor, weight: Tensor) -> None:
        counts, sums = batch_statistics(latents.float(), indices, weight.float(), self.codebook_size)
        self.counts.copy_(counts)
        self.sums.copy_(sums)
        self.running.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        self.idle.add_(1).masked_fill_(counts > 0, 0)
        mean = sums.sum(0) / counts.sum().clamp_min(1)
        self.latent_mean.lerp_(mean, torch.where(self.calls > 0, 1 - self.decay, 1.0))
        self.calls.add_(1)

    def extra_repr(self) -> str:
        return f"lookup={self.lookup}, update={self.update}, beta={self.beta}, gamma={self.gamma}"
