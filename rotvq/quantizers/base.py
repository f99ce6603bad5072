"""The call that every quantiser answers: shapes, masks, checks, what the losses are divided by, and the answer."""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from numbers import Integral
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rotvq.quantizers.distributed import Group, Shared, world
from rotvq.quantizers.geometry import geometry, unit
from rotvq.quantizers.losses import weighted_losses
from rotvq.quantizers.operators import can_look, device_with_values, has_no_value, is_narrow, wide
from rotvq.quantizers.options import names_ours, refuse_unknown

#: what the sum of squares is divided by, by name (how many numbers, tokens or samples there are in the batch)
CONVENTIONS = {"mean": "numbers", "token": "tokens", "image": "samples"}
LARGEST = 2.0**100  # latents beyond it count as if they were infinite: in float32 their sums may be


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


def linear(layer: nn.Module, x: Tensor, frozen: bool = False) -> Tensor:
    """``layer(x)`` for x of any dtype, in the dtype of the layer, which learns nothing if ``frozen``."""
    x = x.to(next(layer.parameters(), x).dtype)
    return F.linear(x, layer.weight.detach(), layer.bias.detach()) if frozen else layer(x)


def laid_out_as(x: Tensor, z_q: Tensor) -> Tensor:
    """``z_q`` contiguous, with channels last in memory where x (B, channels, ...) has them there."""
    channels_last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim)
    keep = channels_last is not None and not x.is_contiguous() and x.is_contiguous(memory_format=channels_last)
    return z_q.contiguous(memory_format=channels_last if keep else torch.contiguous_format)


def all_finite(x: Tensor) -> bool:
    """Whether x holds no NaN or inf; the value of a GPU's tensor is waited for."""
    return math.isfinite(x.sum()) or bool(x.isfinite().all())  # the sum of large numbers may overflow


def one_of(name: str, value, allowed) -> None:
    """Raise ValueError unless ``value``, of the option ``name``, is among those allowed."""
    if value not in allowed:
        raise ValueError(f"unknown {name} {value!r}: one of {', '.join(map(str, allowed))}")


class Quantizer(nn.Module, ABC):
    """A module called as ``quantizer(x) -> Quantized``. A subclass gives ``codes``, ``quantise`` and ``assign``.

    The arguments are those of :class:`.VectorQuantizer`, and ``normalise``: put latents on the unit sphere first.
    """

    _version = 2
    code_parts: tuple[str, ...] = ("codebook",)  # modules that hold what the codes are made of

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = names_ours(cls.__init__)

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        beta: float = 0.0,
        gamma: float = 0.0,
        convention: str = "mean",
        *,
        heads: int = 1,
        project_to: int | None = None,
        channel_first: bool = False,
        check: bool = True,
        normalise: bool = False,
        second_pass: Callable[[Tensor, Tensor, Objective], Tensor] | None = None,
        process_group: Group = None,
        **unknown,
    ):
        super().__init__()
        refuse_unknown(unknown)
        one_of("convention", convention, CONVENTIONS)
        if not (beta >= 0 and gamma >= 0):
            raise ValueError(f"beta is {beta}, gamma {gamma}: neither may be negative")
        sizes = {"dim": dim, "codebook_size": codebook_size, "heads": heads}
        sizes |= {} if project_to is None else {"project_to": project_to}
        for name, size in sizes.items():
            if not isinstance(size, Integral):
                raise ValueError(f"{name} is {size!r}: it must be a whole number")
        if min(sizes.values()) < 1:
            given = f"dim is {dim}, codebook_size {codebook_size}, heads {heads}, project_to {project_to}"
            raise ValueError(f"{given}: all must be at least 1")
        self.dim, self.codebook_size, self.heads = dim, codebook_size, heads
        self.code_dim = project_to or dim
        self.beta, self.gamma, self.convention = beta, gamma, convention
        self.channel_first, self.check, self.normalise, self.second_pass = channel_first, check, normalise, second_pass
        self._group, self._frozen = Shared(process_group), None  # not set so far
        origin = torch.zeros((), device=device_with_values())  # its dtype is what the module was cast to
        self.register_buffer("origin", origin, persistent=False)
        self.reduce = self.expand = None  # between latents and codes of another dimension
        if project_to is not None:
            self.reduce = nn.Linear(heads * dim, heads * project_to)
            self.expand = nn.Linear(heads * project_to, heads * dim)

    @property
    @abstractmethod
    def codes(self) -> Tensor:
        """What a latent can become, (codebook_size, code_dim)."""

    @abstractmethod
    def quantise(self, z: Tensor, mask: Tensor | None) -> Assigned:
        """Quantise latents z (..., code_dim); ``mask``, bool, (...), is False where a token does not count."""

    @abstractmethod
    def assign(self, z: Tensor, codes: Tensor) -> Tensor:
        """Indices, (...), of latents z (..., code_dim) among ``codes``."""

    @property
    def process_group(self) -> Group:
        """Ranks that count together; may be set, as it has to be after loading a file of a module with a group."""
        return self._group.group

    @process_group.setter
    def process_group(self, group: Group) -> None:
        self._group = self.codebook._group = Shared(group)  # the codebook starts by itself, too

    @property
    def frozen(self) -> bool:
        """Whether :attr:`codes` stay as they are, in training mode, too; setting it overrides ``requires_grad_``.

        The linear maps round the codes, of ``project_to`` and LFQ, learn on; ``project_out`` of FSQ makes its codes.
        """
        return bool(self._frozen)

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        parameters = [one for name in self.code_parts for one in getattr(self, name).parameters()]
        is_change = self._frozen is not None and any(one.requires_grad == frozen for one in parameters)
        if is_change and world()[1] > 1:  # DDP looks once at what learns
            warnings.warn("frozen has changed what learns: wrap the model in DDP again", stacklevel=3)
        self._frozen = frozen
        for parameter in parameters:
            parameter.requires_grad_(not frozen)
            parameter.grad = None  # an optimiser moves what has a gradient, be it zero

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Let ``optimizer.step()`` end the step, as :meth:`.VectorQuantizer.follow` does; here no codes wait for it."""

    @property
    def codes_in_use(self) -> Tensor:
        """The codes, at least float32, without gradient while they are frozen."""
        codes = wide(self.codes)  # gradients of many latents are added up
        return codes.detach() if self.frozen else codes

    @final
    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        details: bool = False,
        objective: Objective | None = None,
        **unknown: Any,
    ) -> Quantized | Details:
        """Quantise ``x``.

        Args:
            x: latents, (..., heads * dim), or (B, heads * dim, ...) with ``channel_first``.
            mask: bool, one a token, True where the token is real; elsewhere z_q is x and the index -1.
            details: return everything that was computed.
            objective: latents, shaped as x, to the reconstruction loss; for training calls with a second pass. All
                others leave it alone, so that one loop trains every method.
            **unknown: options of other libraries, which are refused.

        Returns:
            z_q in the shape, dtype and memory format of x, indices and loss; or :class:`Details`.

        Raises:
            ValueError: on a wrong number of channels, a wrong mask, NaN or inf among the latents, a missing objective.
            TypeError: on unknown options, with our name for those of other libraries.
        """
        refuse_unknown(unknown)
        rows = given = self._rows(x)
        if mask is not None:
            if mask.dtype != torch.bool or mask.shape != rows.shape[:-1]:
                raise ValueError(f"the mask is {mask.dtype} {tuple(mask.shape)}, not bool {tuple(rows.shape[:-1])}")
            rows = torch.where(mask.unsqueeze(-1), rows, 0.0)
        self._refuse_non_finite(rows)
        z = self._latents(rows)
        mask_of_latents = mask if mask is None or self.heads == 1 else mask.unsqueeze(-1).expand(z.shape[:-1])
        z_q, q, indices, loss_sum, extra_loss = self.quantise(z, mask_of_latents)
        rows_q = self._rows_of(z_q).to(x.dtype)
        if mask is not None:
            rows_q = torch.where(mask.unsqueeze(-1), rows_q, given)
            indices = torch.where(mask_of_latents, indices, -1)
        count = self._count(z, mask_of_latents, samples=x.shape[0])
        z_q = laid_out_as(x, rows_q.movedim(-1, 1)) if self.channel_first else rows_q
        loss = loss_sum / count
        if isinstance(extra_loss, Tensor) or extra_loss != 0:
            loss = loss + extra_loss
        if self.second_pass is not None and self.training:
            if objective is None:
                raise ValueError("in training this quantiser needs the objective: module(x, objective=latents -> loss)")
            loss = loss + self.second_pass(x, z_q, objective)
        out = Quantized(z_q, indices, loss)
        return self._details(out, z, q, mask_of_latents, count) if details else out

    @final
    def encode(self, x: Tensor) -> Tensor:
        """Indices alone, without gradient, for x as in :meth:`forward`."""
        with torch.no_grad():
            return self.assign(self._latents(self._rows(x.detach())), self.codes_in_use)

    @final
    def decode(self, indices: Tensor) -> Tensor:
        """The latents that indices stand for, shaped as the input that gave them; -1 stands for a zero vector."""
        codes = self.codes.to(self.origin.dtype) if is_narrow(self.origin) else self.codes
        q = F.embedding(indices.clamp_min(0), codes)
        rows = self._rows_of(torch.where(indices.unsqueeze(-1) >= 0, q, 0.0))
        if self.expand is not None:
            is_token = indices if self.heads == 1 else indices.amax(-1)
            rows = torch.where(is_token.unsqueeze(-1) >= 0, rows, 0.0)
        return rows.movedim(-1, 1).contiguous() if self.channel_first else rows

    indices_to_codes = decode

    def _rows(self, x: Tensor) -> Tensor:
        """The input as (..., heads * dim)."""
        if not x.is_floating_point():
            raise ValueError(f"the input is {x.dtype}: it must be floating point")
        rows = x.movedim(1, -1) if self.channel_first else x
        if rows.shape[-1] != self.heads * self.dim:
            raise ValueError(f"the input has {rows.shape[-1]} channels, not heads * dim = {self.heads * self.dim}")
        return rows

    def _latents(self, rows: Tensor) -> Tensor:
        """The latents (..., code_dim) of rows, with one more axis for several heads."""
        if self.reduce is not None:
            with torch.autocast(rows.device.type, enabled=False):  # signs and nearest codes hang on the last digits
                rows = linear(self.reduce, rows)
        z = rows if self.heads == 1 else rows.unflatten(-1, (self.heads, self.code_dim))
        return unit(wide(z)) if self.normalise else z

    def _rows_of(self, z_q: Tensor) -> Tensor:
        """Rows (..., heads * dim) of quantised latents."""
        rows = z_q if self.heads == 1 else z_q.flatten(-2)
        return rows if self.expand is None else linear(self.expand, rows)

    def _refuse_non_finite(self, rows: Tensor) -> None:
        if self.check and not has_no_value(rows) and not all_finite(rows.detach()):
            raise ValueError("the latents contain NaN or inf: mask padding out, or pass check=False to go on")

    def _counted(self, z: Tensor, mask: Tensor | None) -> Tensor | None:
        """Which latents statistics count, (...): those that the mask keeps and whose sums are finite; None: all."""
        if can_look(z) and math.isfinite(torch.linalg.vector_norm(wide(z.detach()))):
            return mask
        fits = z.detach().abs().amax(-1).float() <= LARGEST
        return fits if mask is None else mask & fits

    def _count(self, z: Tensor, mask: Tensor | None, samples: int) -> Tensor | int:
        """What the sums of squares are divided by."""
        tokens = z.numel() // self.code_dim if mask is None else mask.sum()
        counts = {"numbers": tokens * self.code_dim, "tokens": tokens, "samples": samples}
        count = counts[CONVENTIONS[self.convention]]
        return count.clamp_min(1) if isinstance(count, Tensor) else max(count, 1)

    def _details(self, out: Quantized, z: Tensor, q: Tensor, mask: Tensor | None, count: Tensor | int) -> Details:
        q = q if mask is None else torch.where(mask.unsqueeze(-1), q, z.detach())
        codebook_loss = weighted_losses(z, q, beta=1, gamma=0) / count
        commitment_loss = weighted_losses(z, q, beta=0, gamma=1) / count
        r, theta = geometry(z.detach().flatten(0, -2), q.detach().flatten(0, -2))
        counted = (out.indices >= 0) & z.detach().isfinite().all(-1)
        counts = torch.bincount(out.indices[counted].flatten(), minlength=self.codebook_size)
        share = counts / counts.sum().clamp_min(1)
        usage, perplexity = (share > 0).float().mean(), torch.special.entr(share).sum().exp()
        return Details(*out, z, q, codebook_loss, commitment_loss, r, theta, usage, perplexity)
