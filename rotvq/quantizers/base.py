"""The call that every quantiser answers: shapes, masks, checks, the two losses, and the answer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rotvq.quantizers.blockwise import blocks, scaled
from rotvq.quantizers.geometry import geometry

#: what the sum of squares is divided by, by name, from the numbers of tokens, dimensions and samples
CONVENTIONS = {
    "mean": lambda tokens, dim, samples: tokens * dim,
    "token": lambda tokens, dim, samples: tokens,
    "image": lambda tokens, dim, samples: samples,  # the sum over all that belongs to one sample
}


class Quantized(NamedTuple):
    """``z_q, indices, loss``: quantised latents, shaped as the input; int64 indices; the weighted loss, a scalar.

    >>> from rotvq import VectorQuantizer
    >>> z_q, indices, loss = VectorQuantizer(dim=8, codebook_size=16)(torch.zeros(2, 5, 8))
    >>> z_q.shape, indices.shape, loss.shape
    (torch.Size([2, 5, 8]), torch.Size([2, 5]), torch.Size([]))
    """

    z_q: Tensor
    indices: Tensor
    loss: Tensor


class Details(NamedTuple):
    """Everything a call computed. z, q: (..., dim); ``r = |q|/|z|`` and theta, the angle in radians: (tokens,).

    codebook_loss, commitment_loss: both squares, before their weights. usage: the share of the codes that this batch
    chose; perplexity: the exponential of the entropy of their shares in it.

    >>> from rotvq import VectorQuantizer
    >>> details = VectorQuantizer(dim=2, codebook_size=4, init=torch.ones(4, 2))(torch.ones(6, 2), details=True)
    >>> details.usage, details.perplexity
    (tensor(0.2500), tensor(1.))
    """

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


class Assigned(NamedTuple):
    """What :meth:`Quantizer.quantise` finds. z_q, q: (..., dim); indices: (...). extra: what the loss contains beside
    the two squares. total: ``beta |q - sg z|^2 + gamma |z - sg q|^2``, summed, or None: then the caller forms it.

    >>> from rotvq import VectorQuantizer
    >>> found = VectorQuantizer(dim=2, codebook_size=4).quantise(torch.zeros(5, 2), None)
    >>> found.z_q.shape, found.indices.shape, found.extra
    (torch.Size([5, 2]), torch.Size([5]), 0)
    """

    z_q: Tensor
    q: Tensor
    indices: Tensor
    extra: Tensor | float = 0.0
    total: Tensor | None = None


def masked_difference(z: Tensor, q: Tensor, keep: Tensor | None = None) -> Tensor:
    """``z - q``; 0 where ``keep`` (..., 1) is False."""
    return z - q if keep is None else torch.where(keep, z - q, 0.0)


def sum_of_squares(z: Tensor, q: Tensor, keep: Tensor | None = None) -> Tensor:
    """The sum of the squares of :func:`apart`, at least in float32."""
    wide = torch.promote_types(torch.promote_types(z.dtype, q.dtype), torch.float32)
    return sum(torch.linalg.vector_norm(masked_difference(*part), dtype=wide).square() for part in blocks(z, q, keep))


class _Distance(torch.autograd.Function):
    """``beta |q - sg z|^2 + gamma |z - sg q|^2``, summed: both terms have one value, so it is computed once."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z, q, beta, gamma):
        return (beta + gamma) * sum_of_squares(z, q)

    @staticmethod
    def setup_context(ctx, inputs, output):
        z, q, ctx.beta, ctx.gamma = inputs
        ctx.save_for_backward(z, q)

    @staticmethod
    def backward(ctx, g):
        z, q = ctx.saved_tensors
        grad_z = scaled(z - q, 2 * ctx.gamma * g).to(z.dtype) if ctx.needs_input_grad[0] else None
        grad_q = scaled(q - z, 2 * ctx.beta * g).to(q.dtype) if ctx.needs_input_grad[1] else None
        return grad_z, grad_q, None, None


class Quantizer(nn.Module):
    """A module called as ``quantizer(x) -> Quantized``; a subclass says what happens between z and z_q.

    Input (..., heads * dim), or (B, heads * dim, ...) with ``channel_first``. beta, gamma: weights of the codebook loss
    and of the commitment loss. convention: what the sums of squares are divided by, see :data:`CONVENTIONS`; without
    latents the losses are 0. check: refuse NaN and inf in the input (skipped while compiling or exporting).

    A subclass defines :meth:`quantise`, :meth:`assign` and ``codes`` (codebook_size, dim), and may define
    :meth:`prepare`, which comes before all of them.
    """

    _version = 1

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        beta: float = 0.0,
        gamma: float = 0.0,
        convention="mean",
        heads: int = 1,
        channel_first: bool = False,
        check: bool = True,
    ):
        super().__init__()
        one_of("convention", convention, CONVENTIONS)
        if beta < 0 or gamma < 0:
            raise ValueError(f"beta is {beta}, gamma {gamma}: neither may be negative")
        if dim < 1 or codebook_size < 1 or heads < 1:
            raise ValueError(f"dim is {dim}, codebook_size {codebook_size}, heads {heads}: all must be at least 1")
        self.dim, self.codebook_size, self.heads = dim, codebook_size, heads
        self.beta, self.gamma, self.convention = beta, gamma, convention
        self.channel_first, self.check = channel_first, check

    def prepare(self, z: Tensor) -> Tensor:
        """The latents (..., dim) as they are compared with the codes: here, as they are."""
        return z

    def quantise(self, z: Tensor, keep: Tensor | None) -> Assigned:
        """The codes of z (..., dim); ``keep`` (...) is False where a token does not count."""
        raise NotImplementedError

    def assign(self, z: Tensor, codes: Tensor) -> Tensor:
        """Indices of z (..., dim)."""
        raise NotImplementedError

    def forward(self, x: Tensor, mask: Tensor | None = None, details: bool = False) -> Quantized | Details:
        """Quantise ``x``; with ``details``, say everything that was computed.

        x: (..., heads * dim), or (B, heads * dim, ...) with ``channel_first``. mask: bool, a token each, True where the
        token is real; elsewhere z_q is x and the index -1. indices: a token each, with one more axis for several heads.
        Raises ValueError on a wrong number of channels, on a mask of another shape or type, and on NaN or inf.
        """
        rows, given = self._split(x)
        keep, z = None, given
        if mask is not None:
            if mask.dtype != torch.bool or mask.shape != rows.shape[:-1]:
                raise ValueError(f"the mask is {mask.dtype} {tuple(mask.shape)}, not bool {tuple(rows.shape[:-1])}")
            keep = mask if self.heads == 1 else mask.unsqueeze(-1).expand(given.shape[:-1])
            z = torch.where(keep.unsqueeze(-1), given, 0.0)
        if self.check and not torch.compiler.is_compiling() and not z.detach().sum().isfinite():
            if not z.isfinite().all():
                raise ValueError("the latents contain NaN or inf: mask padding out, or pass check=False to go on")
        z = self.prepare(z)
        z_q, q, indices, extra, total = self.quantise(z, keep)
        if keep is not None:
            z_q, indices = torch.where(keep.unsqueeze(-1), z_q, given), torch.where(keep, indices, -1)
            q = torch.where(keep.unsqueeze(-1), q, z.detach())
        if total is None:
            total = _Distance.apply(z, q, self.beta, self.gamma)
        count = self._count(z, keep, len(x))
        out = Quantized(self._join(z_q), indices, total / count + extra)
        if not details:
            return out
        codebook_loss, commitment_loss = (_Distance.apply(z, q, *weights) / count for weights in ((1, 0), (0, 1)))
        r, theta = geometry(z.detach().flatten(0, -2), q.detach().flatten(0, -2))
        counts = torch.bincount(indices[indices >= 0].flatten(), minlength=self.codebook_size)
        share = counts / counts.sum().clamp_min(1)
        usage, perplexity = (share > 0).float().mean(), torch.special.entr(share).sum().exp()
        return Details(*out, z, q, codebook_loss, commitment_loss, r, theta, usage, perplexity)

    def encode(self, x: Tensor) -> Tensor:
        """Indices alone."""
        return self.assign(self.prepare(self._split(x.detach())[1]), self.codes)

    def decode(self, indices: Tensor) -> Tensor:
        """The latents that indices stand for, shaped as the input that gave them; -1 stands for a zero vector."""
        q = F.embedding(indices.clamp_min(0), self.codes)
        return self._join(torch.where(indices.unsqueeze(-1) >= 0, q, 0.0))

    indices_to_codes = decode

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The input with channels last, and its latents (..., dim), one more axis with several heads."""
        rows = x.movedim(1, -1) if self.channel_first else x
        if rows.shape[-1] != self.heads * self.dim:
            raise ValueError(f"the input has {rows.shape[-1]} channels, not heads * dim = {self.heads * self.dim}")
        return rows, rows if self.heads == 1 else rows.unflatten(-1, (self.heads, self.dim))

    def _join(self, z: Tensor) -> Tensor:
        """The inverse of :meth:`_split`."""
        rows = z if self.heads == 1 else z.flatten(-2)
        return rows.movedim(-1, 1).contiguous() if self.channel_first else rows

    def _count(self, z: Tensor, keep: Tensor | None, samples: int) -> Tensor | int:
        """What the sums of squares are divided by."""
        tokens = z.numel() // self.dim if keep is None else keep.sum()
        count = CONVENTIONS[self.convention](tokens, self.dim, samples)
        return count.clamp_min(1) if isinstance(count, Tensor) else max(count, 1)
