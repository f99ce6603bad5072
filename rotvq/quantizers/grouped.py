"""Quantisers made of several: what they have in common, and Grouped, in which each has its own features."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from rotvq.quantizers.base import CONVENTIONS, Quantized, laid_out_as
from rotvq.quantizers.foreign import adopt_layers
from rotvq.quantizers.operators import write
from rotvq.quantizers.options import refuse_unknown
from rotvq.quantizers.vector import VectorQuantizer


class Several(nn.Module):
    """Base of what is made of several ``layers``, each a quantiser or made of several; a subclass has ``quantise``."""

    def __init__(self, layers: Iterable[nn.Module], adopt: Callable[..., None] = adopt_layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.register_load_state_dict_pre_hook(adopt)  # state dicts of other libraries
        layouts = {(layer.channel_first, layer.convention, axes_of_indices(layer)) for layer in self.layers}
        if len(layouts) != 1:
            raise ValueError(f"layouts (channel_first, convention, axes of indices) are {layouts}: needed is one")
        self.channel_first, self.convention, self.axes_inside = layouts.pop()

    @final
    def forward(self, x: Tensor, mask: Tensor | None = None, details: bool = False, **unknown: Any) -> NamedTuple:
        """Quantise ``x``; arguments, answer and errors are those of :meth:`.Quantizer.forward`."""
        refuse_unknown(unknown)
        out = self.quantise(x, mask, details)
        return out._replace(z_q=laid_out_as(x, out.z_q)) if self.channel_first else out

    @property
    def frozen(self) -> bool:
        """Whether all codes stay as they are, also in training mode; may be set."""
        return all(layer.frozen for layer in self.layers)

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        for layer in self.layers:
            layer.frozen = frozen

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Let each ``optimizer.step()`` end the step, as :meth:`.VectorQuantizer.follow` does."""
        for layer in self.layers:
            if isinstance(layer, VectorQuantizer | Several):
                layer.follow(optimizer)

    @property
    def channels(self) -> int:
        """The axis of the channels."""
        return 1 if self.channel_first else -1


def axes_of_indices(quantizer: nn.Module) -> int:
    """How many axes the indices have beyond those of the tokens."""
    return 1 + quantizer.axes_inside if isinstance(quantizer, Several) else int(quantizer.heads > 1)


class GroupedDetails(NamedTuple):
    """What a call returns with ``details=True``."""

    z_q: Tensor  #: as in :class:`.Quantized`
    indices: Tensor  #: as in :class:`.Quantized`, with an axis for the groups behind those of the tokens
    loss: Tensor  #: as in :class:`.Quantized`
    groups: tuple[NamedTuple, ...]  #: the details of each group


class Grouped(Several):
    """The features in groups, each with a quantiser of its own: a codebook, or a cascade, for each.

    Unlike ``heads``, which share one codebook. Called as every quantiser; indices have an axis for the groups behind
    those of the tokens, and the loss is what it would be for heads: with conventions "mean" and "token" the mean over
    the groups, with "image" their sum.

    Args:
        quantizers: one a group, in the order of the features, all with one ``channel_first`` and ``convention``.

    Raises:
        ValueError: where they have not.

    >>> codebooks = Grouped(VectorQuantizer(dim=4, codebook_size=16) for _ in range(2))
    >>> z_q, indices, loss = codebooks(torch.randn(3, 5, 8))
    >>> z_q.shape, indices.shape
    (torch.Size([3, 5, 8]), torch.Size([3, 5, 2]))
    """

    def __init__(self, quantizers: Iterable[nn.Module]):
        super().__init__(quantizers)
        self.sizes = [layer.heads * layer.dim for layer in self.layers]
        self.heads, self.dim = 1, sum(self.sizes)

    def quantise(self, x: Tensor, mask: Tensor | None, details: bool) -> Quantized | GroupedDetails:
        outs = [layer(part, mask, details) for layer, part in zip(self.layers, self._split(x))]
        z_q, indices = torch.cat([out.z_q for out in outs], self.channels), self._stack([out.indices for out in outs])
        share = 1 if CONVENTIONS[self.convention] == "samples" else 1 / len(outs)
        loss = share * sum(out.loss for out in outs)
        return GroupedDetails(z_q, indices, loss, tuple(outs)) if details else Quantized(z_q, indices, loss)

    def encode(self, x: Tensor) -> Tensor:
        """Indices alone, without gradient, for x as in :meth:`forward`."""
        return self._stack([layer.encode(part) for layer, part in zip(self.layers, self._split(x))])

    def decode(self, indices: Tensor) -> Tensor:
        """The latents that indices stand for; -1 stands for a zero vector."""
        parts = zip(self.layers, indices.unbind(-1 - self.axes_inside))
        return torch.cat([layer.decode(part) for layer, part in parts], self.channels)

    indices_to_codes = decode

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        if x.shape[self.channels] != sum(self.sizes):
            raise ValueError(f"the input has {x.shape[self.channels]} channels, not {sum(self.sizes)}")
        return x.split(self.sizes, self.channels)

    def _stack(self, indices: list[Tensor]) -> Tensor:
        return torch.stack(indices, -1 - self.axes_inside)


@contextmanager
def as_one_step(quantizer: nn.Module, latents: Tensor) -> Iterator[None]:
    """Calls in here belong to one step of the codes, also where no backward pass will say so."""
    says_so = latents.requires_grad and not torch.compiler.is_compiling()  # a compiler does not show us that pass
    counts = isinstance(quantizer, VectorQuantizer) and quantizer.training
    # the first run of a reentrant checkpoint has no gradient, and its second ends the step
    if not counts or quantizer.statistics.follows or (says_so and torch.is_grad_enabled()):
        yield
        return
    quantizer.statistics.follows = True
    try:
        yield
    finally:
        quantizer.statistics.follows = False
        if not says_so:
            write(quantizer.statistics.step_ended, torch.ones_like(quantizer.statistics.step_ended))
