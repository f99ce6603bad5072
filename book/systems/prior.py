r"""A prior over sequences of codes: a small causal transformer, the bits that it takes, and samples of it.

A sequence :math:`s_1 \dots s_T` of indices below K has the probability

.. math:: p(s) = \prod_i p(s_i \mid s_1 \dots s_{i-1}),

and an arithmetic coder that knows p writes s in :math:`-\log_2 p(s)` bits, to within two. Each factor is a softmax of
logits that a transformer (Vaswani et al. 2017, arXiv 1706.03762) makes of the codes before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rotvq.training.seeds import derived_seed

PART = 500  # sequences that are read or drawn at a time
Past = tuple[Tensor, Tensor]  # keys and values of the places so far, (B, heads, T, width / heads) each


class Block(nn.Module):
    """Attention to the places up to one's own, then a perceptron; each reads after a LayerNorm and adds.

    Args:
        width: of the stream, C.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_perceptron = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """The next stream, and the keys and values of all places so far.

        Args:
            x: (B, T, C), of all places from the first on; of one place, T = 1, where a ``past`` is given.
            past: of the places before it.
        """
        parts = self.project(self.before_attention(x)).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2)
        queries, keys, values = parts.chunk(3, dim=1)
        if past is not None:
            keys, values = (torch.cat(pair, dim=2) for pair in zip(past, (keys, values)))
        seen = F.scaled_dot_product_attention(queries, keys, values, is_causal=past is None)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.perceptron(self.before_perceptron(x)), (keys, values)


class Prior(nn.Module):
    """Indices to logits of each from those before it. Before it is trained all codes are equally likely.

    Args:
        codebook_size: K.
        places: T, of a sequence.
        width: of the blocks.
        layers: how many blocks.
        heads: of each.
        seed: of the weights.

    >>> prior = Prior(codebook_size=16, places=4, width=8, layers=1, heads=2)
    >>> indices = torch.zeros(3, 4, dtype=torch.long)
    >>> prior(indices).shape, prior.bits(indices)
    (torch.Size([3, 4, 16]), tensor([16., 16., 16.]))
    """

    def __init__(self, codebook_size: int, places: int, width: int, layers: int, heads: int, seed: int = 0):
        super().__init__()
        self.codebook_size, self.places = codebook_size, places
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, "weights"))
            self.codes = nn.Embedding(codebook_size + 1, width)  # the last one stands before the first place
            self.positions = nn.Embedding(places, width)
            self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, codebook_size)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, indices: Tensor) -> Tensor:
        """Logits (B, T, K) of indices (B, T); those of place i come from the places before i."""
        start = torch.full_like(indices[:, :1], self.codebook_size)
        return self.follow(torch.cat([start, indices[:, :-1]], 1))[0]

    def follow(self, before: Tensor, past: Sequence[Past] | None = None) -> tuple[Tensor, list[Past]]:
        """Logits (B, T, K) of the places after the codes ``before`` (B, T), and what the blocks keep of all so far.

        Where a ``past`` is given T is 1, and ``before`` is the code after those that it is of.
        """
        first = past[0][0].shape[2] if past else 0
        x = self.codes(before) + self.positions.weight[first : first + before.shape[1]]
        kept = []
        for block, own in zip(self.blocks, past or [None] * len(self.blocks)):
            x, now = block(x, own)
            kept.append(now)
        return self.head(self.norm(x)), kept

    def loss(self, indices: Tensor) -> Tensor:
        """Nats a code, the mean over indices (B, T)."""
        return F.cross_entropy(self(indices).flatten(0, 1), indices.flatten())

    @torch.no_grad()
    def bits(self, indices: Tensor) -> Tensor:
        """Bits of each sequence of (N, T), (N,)."""
        parts = [
            F.cross_entropy(self(part).transpose(1, 2), part, reduction="none").sum(1) for part in indices.split(PART)
        ]
        return torch.cat(parts) / math.log(2)

    @torch.no_grad()
    def sample(self, count: int, noise: torch.Generator) -> Tensor:
        """So many sequences, (count, T), drawn code by code."""
        return torch.cat([self._draw(min(PART, count - first), noise) for first in range(0, count, PART)])

    def _draw(self, count: int, noise: torch.Generator) -> Tensor:
        drawn, past = [torch.full((count, 1), self.codebook_size, device=self.head.weight.device)], None
        for _ in range(self.places):
            logits, past = self.follow(drawn[-1], past)
            likely = logits[:, -1].softmax(-1).cpu()  # where the noise is
            drawn.append(torch.multinomial(likely, 1, generator=noise).to(logits.device))
        return torch.cat(drawn[1:], 1)


class Places:
    """A prior that takes every place to be independent of the others: shares of the codes by place.

    Args:
        indices: that are counted, (N, T). Each code of each place counts ``1 / K`` beforehand.
        codebook_size: K.
    """

    def __init__(self, indices: Tensor, codebook_size: int):
        counts = torch.stack([column.bincount(minlength=codebook_size) for column in indices.t()])
        self.shares = (counts + 1 / codebook_size) / (len(indices) + 1)  # (T, K)

    def bits(self, indices: Tensor) -> Tensor:
        """Bits of each sequence of (N, T), (N,)."""
        return -self.shares.log2()[torch.arange(len(self.shares), device=indices.device), indices].sum(1)

    def sample(self, count: int, noise: torch.Generator) -> Tensor:
        """So many sequences, (count, T)."""
        return torch.multinomial(self.shares.cpu(), count, replacement=True, generator=noise).t()
