"""Quantisers between linear maps, and quantisers side by side, as some published models have them."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from rotvq.quantizers.base import linear
from rotvq.quantizers.foreign import adopt_projected
from rotvq.quantizers.grouped import GroupedDetails, Quantized, Several
from rotvq.quantizers.options import names_ours


class Projected(Several):
    """One linear map before a quantiser and one behind it: around a whole cascade or group, not around each level.

    ``project_to`` of a :class:`.VectorQuantizer` is the same for one quantiser. Called as every quantiser, and answers
    as the one inside; details are of its latents.

    Args:
        quantizer: what is inside.
        dim: of a latent.
        bias: whether the maps have one (vector-quantize-pytorch) or not (Moshi).

    >>> from rotvq import VectorQuantizer
    >>> vq = Projected(VectorQuantizer(dim=4, codebook_size=16), dim=10)
    >>> z_q, indices, loss = vq(torch.randn(3, 5, 10))
    >>> z_q.shape, indices.shape
    (torch.Size([3, 5, 10]), torch.Size([3, 5]))
    """

    @names_ours
    def __init__(self, quantizer: nn.Module, dim: int, bias: bool = True):
        super().__init__([quantizer], adopt_projected)
        inner_dim = quantizer.heads * quantizer.dim
        self.reduce, self.expand = nn.Linear(dim, inner_dim, bias), nn.Linear(inner_dim, dim, bias)
        self.heads, self.dim, self.axes_inside = 1, dim, self.axes_inside - 1

    def quantise(self, x: Tensor, mask: Tensor | None, details: bool) -> Any:
        kept = x if mask is None else torch.where(mask.unsqueeze(self.channels), x, 0.0)
        out = self.layers[0](self._through(self.reduce, kept), mask, details)
        z_q = self._through(self.expand, out.z_q).to(x.dtype)
        return out._replace(z_q=z_q if mask is None else torch.where(mask.unsqueeze(self.channels), z_q, x))

    def encode(self, x: Tensor) -> Tensor:
        """Indices alone, without gradient, for x as in :meth:`forward`."""
        return self.layers[0].encode(self._through(self.reduce, x.detach()))

    def decode(self, indices: Tensor) -> Tensor:
        """The latents that indices stand for."""
        return self._through(self.expand, self.layers[0].decode(indices)).contiguous()

    indices_to_codes = decode

    def _through(self, layer: nn.Linear, x: Tensor) -> Tensor:
        return linear(layer, x.movedim(self.channels, -1)).movedim(-1, self.channels)


class Summed(Several):
    """Cascades side by side: each quantises the same latents, and z_q is their sum, as in Moshi's Mimi.

    Called as every quantiser; the indices of one stand behind those of the other, and so do its levels.

    Args:
        quantizers: with an axis of levels at the end of their indices, and of one ``dim``.

    >>> from rotvq.quantizers.residual import ResidualVectorQuantizer
    >>> semantic, acoustic = (ResidualVectorQuantizer(dim=8, codebook_size=16, levels=n) for n in (1, 7))
    >>> Summed([semantic, acoustic])(torch.randn(3, 5, 8)).indices.shape
    torch.Size([3, 5, 8])
    """

    def __init__(self, quantizers: Iterable[nn.Module]):
        super().__init__(quantizers)
        self.heads, self.dim, self.axes_inside = 1, self.layers[0].dim, self.axes_inside - 1
        self.sizes: list[int] = [levels(layer) for layer in self.layers]

    def quantise(self, x: Tensor, mask: Tensor | None, details: bool) -> Quantized | GroupedDetails:
        outs = [layer(x, mask, details) for layer in self.layers]
        z_q = sum(out.z_q for out in outs)
        z_q = z_q if mask is None else torch.where(mask.unsqueeze(self.channels), z_q, x)
        indices, loss = torch.cat([out.indices for out in outs], -1), sum(out.loss for out in outs)
        return GroupedDetails(z_q, indices, loss, tuple(outs)) if details else Quantized(z_q, indices, loss)

    def encode(self, x: Tensor) -> Tensor:
        """Indices alone, without gradient, for x as in :meth:`forward`."""
        return torch.cat([layer.encode(x) for layer in self.layers], -1)

    def decode(self, indices: Tensor) -> Tensor:
        """The latents that indices stand for."""
        return sum(layer.decode(part) for layer, part in zip(self.layers, indices.split(self.sizes, -1)))

    indices_to_codes = decode


def levels(quantizer: nn.Module) -> int:
    """Of a cascade, also a projected one, the number of its levels."""
    return levels(quantizer.layers[0]) if isinstance(quantizer, Projected) else quantizer.levels
