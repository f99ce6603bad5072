"""The call that every quantiser answers: shapes, masks, checks, what the losses are divided by, and the answer."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rotvq.quantizers.geometry import geometry, unit
from rotvq.quantizers.losses import weighted_losses

#: what the sum of squares is divided by, by name (how many numbers, tokens or samples there are in the batch)
CONVENTIONS = {"mean": "numbers", "token": "tokens", "image": "samples"}


class Quantized(NamedTuple):
    """What a call returns.

    >>> from rotvq import VectorQuantizer
    >>> z_q, indices, loss = VectorQuantizer(dim=8, codebook_size=16)(torch.zeros(2, 5, 8))
    >>> z_q.shape, indices.shape, loss.shape
    (torch.Size([2, 5, 8]), torch.Size([2, 5]), torch.Size([]))
    """

    z_q: Tensor  #: quantised latents, shaped as the input
    indices: Tensor  #: of the codes, int64, one a token, with one more axis for several heads; -1 where masked
    loss: Tensor  #: the weighted loss, a scalar


class Details(NamedTuple):
    """What a call returns with ``details=True``: everything that it computed.

    >>> from rotvq import VectorQuantizer
    >>> details = VectorQuantizer(dim=2, codebook_size=4, init=torch.ones(4, 2))(torch.ones(6, 2), details=True)
    >>> details.usage, details.perplexity
    (tensor(0.2500), tensor(1.))
    """

    z_q: Tensor  #: as in :class:`Quantized`
    indices: Tensor  #: as in :class:`Quantized`
    loss: Tensor  #: as in :class:`Quantized`
    z: Tensor  #: the latents that were compared with the codes, (..., dim)
    q: Tensor  #: the codes chosen, (..., dim)
    codebook_loss: Tensor  #: before its weight, a scalar
    commitment_loss: Tensor  #: before its weight, a scalar
    r: Tensor  #: ``|q|/|z|``, (tokens,)
    theta: Tensor  #: the angle between z and q in radians, (tokens,)
    usage: Tensor  #: the share of the codes that this batch chose
    perplexity: Tensor  #: the exponential of the entropy of their shares in it


class Assigned(NamedTuple):
    """What :meth:`Quantizer.quantise` returns."""

    z_q: Tensor  #: what the decoder sees, (..., dim)
    q: Tensor  #: the codes, (..., dim)
    indices: Tensor  #: (...)
    loss_sum: Tensor  #: the weighted losses, summed over the tokens
    extra_loss: Tensor | float = 0.0  #: what the loss contains beside, added as it is


Objective = Callable[[Tensor], Tensor]  # latents, shaped as the input, to the reconstruction loss, a scalar


def one_of(name: str, value, allowed) -> None:
    """Raise ValueError unless ``value``, of the option ``name``, is among those allowed."""
    if value not in allowed:
        raise ValueError(f"unknown {name} {value!r}: one of {', '.join(map(str, allowed))}")


class Quantizer(nn.Module, ABC):
    """A module called as ``quantizer(x) -> Quantized``. A subclass gives ``codes``, ``quantise`` and ``assign``.

    The arguments are those of :class:`.VectorQuantizer`, and ``normalise``: put latents on the unit sphere first.
    """

    _version = 1

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        beta: float = 0.0,
        gamma: float = 0.0,
        convention: str = "mean",
        *,
        heads: int = 1,
        channel_first: bool = False,
        check: bool = True,
        normalise: bool = False,
        second_pass: Callable[[Tensor, Tensor, Objective], Tensor] | None = None,
    ):
        super().__init__()
        one_of("convention", convention, CONVENTIONS)
        if beta < 0 or gamma < 0:
            raise ValueError(f"beta is {beta}, gamma {gamma}: neither may be negative")
        if dim < 1 or codebook_size < 1 or heads < 1:
            raise ValueError(f"dim is {dim}, codebook_size {codebook_size}, heads {heads}: all must be at least 1")
        self.dim, self.codebook_size, self.heads = dim, codebook_size, heads
        self.beta, self.gamma, self.convention = beta, gamma, convention
        self.channel_first, self.check, self.normalise, self.second_pass = channel_first, check, normalise, second_pass

    @property
    @abstractmethod
    def codes(self) -> Tensor:
        """What a latent can become, (codebook_size, dim)."""

    @abstractmethod
    def quantise(self, z: Tensor, mask: Tensor | None) -> Assigned:
        """Quantise latents z (..., dim); ``mask``, bool, (...), is False where a token does not count."""

    @abstractmethod
    def assign(self, z: Tensor, codes: Tensor) -> Tensor:
        """Indices, (...), of latents z (..., dim) among ``codes``."""

    @final
    def forward(
        self, x: Tensor, mask: Tensor | None = None, details: bool = False, objective: Objective | None = None
    ) -> Quantized | Details:
        """Quantise ``x``.

        Args:
            x: latents, (..., heads * dim), or (B, heads * dim, ...) with ``channel_first``.
            mask: bool, one a token, True where the token is real; elsewhere z_q is x and the index -1.
            details: return everything that was computed.
            objective: latents, shaped as x, to the reconstruction loss; for training calls with a second pass.

        Raises:
            ValueError: on a wrong number of channels, a wrong mask, NaN or inf among the latents, a missing objective.
        """
        z = given = self._split(x)
        if mask is not None:
            mask = self._mask_of_latents(mask, given)
            z = torch.where(mask.unsqueeze(-1), given, 0.0)
        self._refuse_non_finite(z)
        z = unit(z) if self.normalise else z
        z_q, q, indices, loss_sum, extra_loss = self.quantise(z, mask)
        if mask is not None:
            z_q, indices = torch.where(mask.unsqueeze(-1), z_q, given), torch.where(mask, indices, -1)
        count = self._count(z, mask, samples=len(x))
        z_q, loss = self._join(z_q), loss_sum / count + extra_loss
        if self.second_pass is not None and self.training:
            if objective is None:
                raise ValueError("in training this quantiser needs the objective: module(x, objective=latents -> loss)")
            loss = loss + self.second_pass(x, z_q, objective)
        out = Quantized(z_q, indices, loss)
        return self._details(out, z, q, mask, count) if details else out

    @final
    def encode(self, x: Tensor) -> Tensor:
        """Indices alone, without gradient, for x as in :meth:`forward`."""
        z = self._split(x.detach())
        return self.assign(unit(z) if self.normalise else z, self.codes)

    @final
    def decode(self, indices: Tensor) -> Tensor:
        """The latents that indices stand for, shaped as the input that gave them; -1 stands for a zero vector."""
        q = F.embedding(indices.clamp_min(0), self.codes)
        return self._join(torch.where(indices.unsqueeze(-1) >= 0, q, 0.0))

    indices_to_codes = decode

    def _split(self, x: Tensor) -> Tensor:
        """The latents (..., dim) of an input, with one more axis for several heads."""
        rows = x.movedim(1, -1) if self.channel_first else x
        if rows.shape[-1] != self.heads * self.dim:
            raise ValueError(f"the input has {rows.shape[-1]} channels, not heads * dim = {self.heads * self.dim}")
        return rows if self.heads == 1 else rows.unflatten(-1, (self.heads, self.dim))

    def _join(self, z: Tensor) -> Tensor:
        """The inverse of :meth:`_split`."""
        rows = z if self.heads == 1 else z.flatten(-2)
        return rows.movedim(-1, 1).contiguous() if self.channel_first else rows

    def _mask_of_latents(self, mask: Tensor, z: Tensor) -> Tensor:
        """The mask of tokens as one of latents z (..., dim)."""
        tokens = z.shape[:-1] if self.heads == 1 else z.shape[:-2]
        if mask.dtype != torch.bool or mask.shape != tokens:
            raise ValueError(f"the mask is {mask.dtype} {tuple(mask.shape)}, not bool {tuple(tokens)}")
        return mask if self.heads == 1 else mask.unsqueeze(-1).expand(z.shape[:-1])

    def _refuse_non_finite(self, z: Tensor) -> None:
        if not self.check or torch.compiler.is_compiling() or z.detach().sum().isfinite():
            return
        if not z.isfinite().all():  # the sum of large latents may overflow
            raise ValueError("the latents contain NaN or inf: mask padding out, or pass check=False to go on")

    def _count(self, z: Tensor, mask: Tensor | None, samples: int) -> Tensor | int:
        """What the sums of squares are divided by."""
        tokens = z.numel() // self.dim if mask is None else mask.sum()
        counts = {"numbers": tokens * self.dim, "tokens": tokens, "samples": samples}
        count = counts[CONVENTIONS[self.convention]]
        return count.clamp_min(1) if isinstance(count, Tensor) else max(count, 1)

    def _details(self, out: Quantized, z: Tensor, q: Tensor, mask: Tensor | None, count: Tensor | int) -> Details:
        q = q if mask is None else torch.where(mask.unsqueeze(-1), q, z.detach())
        codebook_loss = weighted_losses(z, q, beta=1, gamma=0) / count
        commitment_loss = weighted_losses(z, q, beta=0, gamma=1) / count
        r, theta = geometry(z.detach().flatten(0, -2), q.detach().flatten(0, -2))
        counts = torch.bincount(out.indices[out.indices >= 0].flatten(), minlength=self.codebook_size)
        share = counts / counts.sum().clamp_min(1)
        usage, perplexity = (share > 0).float().mean(), torch.special.entr(share).sum().exp()
        return Details(*out, z, q, codebook_loss, commitment_loss, r, theta, usage, perplexity)
