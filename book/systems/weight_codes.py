r"""Weights of a network as codes: groups of d of them by the nearest of K vectors, or one by one on a uniform grid.

Product quantisation (Jégou et al. 2011) cuts a vector into groups and takes each by its nearest code, so that a weight
costs :math:`\log_2(K) / d` bits and its share of the codebook. A layer's weights are taken relative to their root mean
square, one number a layer, so that one codebook serves all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rotvq.quantizers.kmeans import kmeans
from rotvq.quantizers.lookup import nearest

NUMBER = 16  # bits of a number of a codebook or of a scale, as it is stored


@dataclass(frozen=True)
class Cut:
    """How the weights of some layers are cut into groups.

    Args:
        shapes: of the layers, by the name of their parameter.
        sizes: root mean square of each layer's weights.
        dim: weights of a group, d, which divides each layer's.
    """

    shapes: Mapping[str, torch.Size]
    sizes: Mapping[str, float]
    dim: int

    @classmethod
    def of(cls, network: nn.Module, names: Sequence[str], dim: int) -> Cut:
        """Some layers of a network, by the names of their parameters."""
        found = {name: network.get_parameter(name).detach() for name in names}
        sizes = {name: weight.square().mean().sqrt().item() for name, weight in found.items()}
        return cls({name: weight.shape for name, weight in found.items()}, sizes, dim)

    def groups(self, network: nn.Module) -> Tensor:
        """The weights of a network's layers in units of their sizes, (N, d)."""
        parts = [network.get_parameter(name).detach() / size for name, size in self.sizes.items()]
        return torch.cat([part.reshape(-1, self.dim) for part in parts])

    def weights(self, groups: Tensor) -> dict[str, Tensor]:
        """What :meth:`groups` cut, by the name of the parameter; gradients pass."""
        parts = groups.flatten().split([math.prod(shape) for shape in self.shapes.values()])
        return {name: part.view(shape) * self.sizes[name] for (name, shape), part in zip(self.shapes.items(), parts)}

    def rows(self) -> Tensor:
        """The output unit to which each weight belongs, numbered over all layers, int64 (N d,)."""
        counts, width = zip(*((shape[0], math.prod(shape[1:])) for shape in self.shapes.values()))
        return torch.arange(sum(counts)).repeat_interleave(torch.tensor(width).repeat_interleave(torch.tensor(counts)))


class Codes(nn.Module):
    """Each group (d,) is one of K codes.

    Attributes:
        latents: what is quantised, (N, d); they may learn.
        codes: (K, d); their gradient is that of the loss, summed over the groups of a code.
        indices: the code of each group, int64 (N,).
    """

    def __init__(self, groups: Tensor, codes: Tensor):
        super().__init__()
        self.latents, self.codes = nn.Parameter(groups.clone()), nn.Parameter(codes.clone())
        self.indices = self.find()

    @classmethod
    def fitted(cls, groups: Tensor, count: int, generator: torch.Generator) -> Codes:
        """With k-means of the groups as codes."""
        return cls(groups, kmeans(groups, count, generator))

    def find(self) -> Tensor:
        """The nearest code of each latent."""
        return nearest(self.latents, self.codes)

    def values(self) -> Tensor:
        """The code of each group, (N, d)."""
        return self.codes[self.indices]

    def stored(self) -> Tensor:
        """The same from codes of 16 bits a number."""
        return self.codes.detach().half().float()[self.indices]

    def bits(self) -> float:
        """A weight's bits, the codebook's own among them."""
        indices = len(self.latents) * math.log2(len(self.codes))
        return (indices + NUMBER * self.codes.numel()) / self.latents.numel()


class Grid(nn.Module):
    r"""Each weight is one of :math:`2^b` evenly spaced levels about 0; an output unit has a spacing of its own.

    Attributes:
        latents: weights, (N, 1); they may learn.
        codes: the spacing of each output unit, (R,), which learns by the gradient of the loss.
        indices: the level of each weight, int64 (N,).
    """

    def __init__(self, weights: Tensor, rows: Tensor, bits: int):
        super().__init__()
        self.latents, self.rows, self.levels = nn.Parameter(weights.clone()), rows, 2**bits
        self.codes = nn.Parameter(self._fitted())
        self.indices = self.find()

    def _fitted(self) -> Tensor:
        """Of fifty spacings of each unit that with the least squared error."""
        w, rows = self.latents.detach().squeeze(-1), self.rows
        count = int(rows[-1]) + 1
        largest = w.new_zeros(count).scatter_reduce_(0, rows, w.abs(), "amax")
        least = w.new_full((count,), math.inf)
        best = largest.clone()
        for share in torch.linspace(0.02, 1, 50):
            spacing = 2 * share * largest / max(1, self.levels - 1) + torch.finfo(w.dtype).tiny
            level = self._nearest_level(w, spacing)
            errors = (w - self._at(level, spacing)).square()
            error = w.new_zeros(count).index_add_(0, rows, errors)
            best = torch.where(error < least, spacing, best)
            least = torch.minimum(error, least)
        return best

    def _nearest_level(self, w: Tensor, spacing: Tensor) -> Tensor:
        place = w / spacing[self.rows] + (self.levels - 1) / 2
        return place.round().clamp(0, self.levels - 1).long()

    def _at(self, level: Tensor, spacing: Tensor) -> Tensor:
        return (level - (self.levels - 1) / 2) * spacing[self.rows]

    @torch.no_grad()
    def find(self) -> Tensor:
        """The nearest level of each latent."""
        return self._nearest_level(self.latents.squeeze(-1), self.codes)

    def values(self) -> Tensor:
        """The level of each weight, (N, 1)."""
        return self._at(self.indices, self.codes).unsqueeze(-1)

    def stored(self) -> Tensor:
        """The same from spacings of 16 bits."""
        return self._at(self.indices, self.codes.detach().half().float()).unsqueeze(-1)

    def bits(self) -> float:
        """A weight's bits, the spacings' among them."""
        return math.log2(self.levels) + NUMBER * len(self.codes) / len(self.latents)


def promises(codes: Tensor, indices: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    r"""For each group another code, and how much the loss, were it linear, would fall by the change for its length.

    .. math:: \max_j \frac{\langle g, e - e_j\rangle}{|e - e_j|^2}

    A loss of this gradient and of curvature h falls by the change where the ratio is above h / 2. So it is worth most
    where the linear model is most to be trusted, and it is the first to change in a projected step down the gradient.

    Args:
        codes: (K, d).
        indices: the code e of each group, (N,).
        gradient: g, of the loss by the value of each group, (N, d).

    Returns:
        j and the ratio, each (N,); where no change promises anything the old index and 0.
    """
    apart = torch.cdist(codes, codes).square()
    apart = torch.where(apart > 0, apart, math.inf)[indices]
    fall = (gradient * codes[indices]).sum(-1, keepdim=True) - gradient @ codes.t()
    most, found = (fall / apart).max(-1)
    return torch.where(most > 0, found, indices), most.clamp_min(0)


def reassigned(codes: Tensor, indices: Tensor, gradient: Tensor, count: int) -> Tensor:
    """Indices in which those groups have changed their code that promise most: at most ``count``, (N,).

    The step of PV-Tuning (Malinovskii et al. 2024, arXiv 2405.14852) over discrete values, linearised and confined to
    few groups at a time.
    """
    found, promise = promises(codes, indices, gradient)
    chosen = promise.topk(count).indices
    return indices.index_copy(0, chosen, found[chosen])
