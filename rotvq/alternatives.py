"""Quantisers that do not look up the nearest code: FSQ, Gumbel-softmax, and the segments of SF-DiVeQ."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rotvq.codebook import Codebook
from rotvq.interface import Assigned, Quantizer
from rotvq.lookup import nearest, unit
from rotvq.ranks import world
from rotvq.updates import uniform, write

# Mentzer et al. 2024, table 1: levels recommended for 2^8 ... 2^16 codes
RECOMMENDED = {256: (8, 6, 5), 1024: (8, 5, 5, 5), 4096: (7, 5, 5, 5, 5), 16384: (8, 8, 8, 6, 5),
               65536: (8, 8, 8, 5, 5, 5)}  # fmt: skip


def levels(codebook_size: int) -> tuple[int, ...]:
    """Levels of FSQ at matched K: those of the paper's table, else the largest product of 5 to 8 levels up to K.

    >>> levels(512), levels(1024)
    ((8, 8, 8), (8, 5, 5, 5))
    """
    if codebook_size in RECOMMENDED:
        return RECOMMENDED[codebook_size]
    if codebook_size < 9:
        return (codebook_size,)
    most = max(1, round(math.log(codebook_size, 5)))
    choices = (c for n in range(1, most + 1) for c in itertools.combinations_with_replacement((8, 7, 6, 5), n))
    return max((c for c in choices if math.prod(c) <= codebook_size), key=math.prod)


class Noise(nn.Module):
    """Numbers that depend on a seed, the rank and the number of the call alone, so that a run can be continued.

    >>> first, again = Noise(seed=1), Noise(seed=1)
    >>> torch.equal(first.normal(torch.empty(3)), again.normal(torch.empty(3)))
    True
    """

    def __init__(self, seed: int = 0):
        super().__init__()
        self.seed = seed
        self.register_buffer("calls", torch.tensor(0))

    def uniform(self, like: Tensor) -> Tensor:
        """U(0, 1), neither end included, in the shape of ``like``; at least float32."""
        u = uniform(like.detach(), self.seed + 7919 * world()[0], self.calls)
        write(self.calls, self.calls + 1)
        return u.clamp(2.0**-25, 1 - 2.0**-24)

    def normal(self, like: Tensor) -> Tensor:
        return torch.special.ndtri(self.uniform(like))


class Grid(nn.Module):
    """The points of a product of levels, each axis in [-1, 1]; point k has the digits of k, first axis fastest.

    >>> Grid((3, 2)).points(torch.arange(6)).tolist()
    [[-1.0, -1.0], [0.0, -1.0], [1.0, -1.0], [-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
    """

    ready = True

    def __init__(self, sizes: tuple[int, ...]):
        super().__init__()
        self.register_buffer("sizes", torch.tensor(sizes), persistent=False)
        basis = torch.tensor([math.prod(sizes[:i]) for i in range(len(sizes))])
        self.register_buffer("basis", basis, persistent=False)

    def points(self, indices: Tensor) -> Tensor:
        half = (self.sizes // 2).clamp_min(1)
        return (indices.unsqueeze(-1) // self.basis % self.sizes - self.sizes // 2) / half


class FSQ(Quantizer):
    r"""Finite scalar quantisation: round each of a few bounded coordinates; the codes are a fixed grid.

    Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", ICLR 2024 (arXiv 2309.15505). A linear map takes
    z to one coordinate per level count L, ``(L-1)(1+eps)/2 tanh(y + s) - o`` with o = 1/2 for even L and s such that 0
    goes to 0; its rounding passes the gradient straight through; a second linear map takes it back. There is no
    loss. The shift is artanh(o/h); the listing in the paper has tan, which bounds but does not centre.

    >>> FSQ(dim=4, codebook_size=512).sizes
    (8, 8, 8)
    """

    def __init__(self, dim: int, codebook_size: int, *, sizes: tuple[int, ...] | None = None, **shape):
        sizes = tuple(sizes or levels(codebook_size))
        super().__init__(dim, math.prod(sizes), **shape)
        self.sizes = sizes
        self.codebook = Grid(self.sizes)
        self.project_in, self.project_out = nn.Linear(dim, len(self.sizes)), nn.Linear(len(self.sizes), dim)

    @property
    def codes(self) -> Tensor:
        points = self.codebook.points(torch.arange(self.codebook_size, device=self.codebook.sizes.device))
        return self.project_out(points.to(self.project_out.weight))

    def round(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The bounded coordinates of z and the levels nearest to them, whole numbers from -(L//2)."""
        count = self.codebook.sizes
        half, offset = (count - 1) * (1 + 1e-3) / 2, torch.where(count % 2 == 0, 0.5, 0.0)
        bounded = torch.tanh(self.project_in(z) + torch.atanh(offset / half.clamp_min(0.5))) * half - offset
        return bounded, bounded.detach().round()

    def quantise(self, z: Tensor, keep: Tensor | None) -> Assigned:
        bounded, level = self.round(z)
        point = (level + (bounded - bounded.detach())) / (self.codebook.sizes // 2).clamp_min(1)
        z_q = self.project_out(point)
        return Assigned(z_q, z_q, self._index(level))

    def assign(self, z: Tensor, codes: Tensor) -> Tensor:
        return self._index(self.round(z)[1])

    def _index(self, level: Tensor) -> Tensor:
        return ((level.long() + self.codebook.sizes // 2) * self.codebook.basis).sum(-1)


class Gumbel(Quantizer):
    r"""A code drawn from ``softmax(W z + b)``, made differentiable by the Gumbel-softmax.

    Jang et al., ICLR 2017 (arXiv 1611.01144), in the form of VQGAN's GumbelQuantize: with Gumbel noise n and
    ``y = softmax((Wz + b + n) / tau)`` the value is the code of the largest y and the gradient that of ``y``
    (``hard``), or value and gradient are those of the mixture ``sum_k y_k e_k``. The loss is
    ``kl_weight KL(softmax(Wz + b) | uniform)``; tau falls from 1 to 1/16 over ``anneal`` training calls, as a cosine.
    Needs the whole N x K matrix. Evaluation takes the likeliest code.

    >>> gumbel = Gumbel(dim=2, codebook_size=4)
    >>> z_q, indices, loss = gumbel(torch.ones(3, 2))
    >>> torch.equal(z_q, gumbel.codes[indices]), gumbel.temperature
    (True, tensor(1.0000))
    """

    def __init__(self, dim: int, codebook_size: int, *, hard: bool = True, kl_weight: float = 5e-4, anneal: int = 2000,
                 init="uniform", init_scale: float = 1.0, generator=None, **shape):  # fmt: skip
        super().__init__(dim, codebook_size, **shape)
        self.hard, self.kl_weight, self.anneal = hard, kl_weight, anneal
        self.logits = nn.Linear(dim, codebook_size)
        self.codebook = Codebook(codebook_size, dim, init, init_scale, generator=generator)
        self.noise = Noise(0 if generator is None else generator.initial_seed())

    @property
    def codes(self) -> Tensor:
        return self.codebook.codes

    @property
    def temperature(self) -> Tensor:
        share = (self.noise.calls / self.anneal).clamp_max(1) if self.anneal else torch.ones(())
        return 1 / 16 + (1 - 1 / 16) * (1 + torch.cos(math.pi * share)) / 2

    def quantise(self, z: Tensor, keep: Tensor | None) -> Assigned:
        if self.training and not self.codebook.ready:
            self.codebook.start(z.detach().reshape(-1, self.dim) if keep is None else z.detach()[keep])
        codes, logits = self.codes, self.logits(z)
        share = logits.log_softmax(-1)
        divergence = (share.exp() * (share + math.log(self.codebook_size))).sum(-1)
        kept = divergence.numel() if keep is None else keep.sum().clamp_min(1)
        loss = self.kl_weight * (divergence if keep is None else divergence * keep).sum() / max(kept, 1)
        if not self.training:
            q = F.embedding(indices := logits.argmax(-1), codes)
            return Assigned(q, q, indices, loss)
        tau = self.temperature
        y = ((logits - (-self.noise.uniform(logits).log()).log()) / tau).softmax(-1)
        q = F.embedding(indices := y.argmax(-1), codes)
        if not self.hard:
            return Assigned(y.to(codes.dtype) @ codes, q, indices, loss)
        soft = y.to(codes.dtype) @ codes.detach()
        return Assigned(q + (soft - soft.detach()), q, indices, loss)

    def assign(self, z: Tensor, codes: Tensor) -> Tensor:
        return self.logits(z).argmax(-1)


class Segments(Quantizer):
    r"""SF-DiVeQ: quantise to the curve of segments ``e_1 e_2, e_2 e_3, ...`` instead of to the codes.

    Vali et al., "DiVeQ: Differentiable Vector Quantization Using the Reparameterization Trick", ICLR 2026
    (arXiv 2509.26469). In training each segment offers one random point ``(1 - t) e_i + t e_{i+1}``; with the nearest
    of them and u, v the noisy directions from z to its two ends,
    ``z_q = z + |e_i - z| sg[(1-t) u] + |e_{i+1} - z| sg[t v]``: codes and encoder learn from the reconstruction alone.
    Evaluation takes the nearest point of the segments that meet at the nearest code. indices name segments in training,
    nearest codes in evaluation; a point between codes has no code, so ``codes[indices]`` is not z_q.

    >>> Segments(2, 2, init=torch.tensor([[0.0, 0.0], [2.0, 0.0]])).eval()(torch.tensor([[0.5, 3.0]])).z_q
    tensor([[0.5000, 0.0000]], grad_fn=...)
    """

    def __init__(self, dim: int, codebook_size: int, *, deviation: float = 1e-3, init="uniform",
                 init_scale: float = 1.0, memory: int = 64 << 20, generator=None, **shape):  # fmt: skip
        super().__init__(dim, codebook_size, **shape)
        if codebook_size < 2:
            raise ValueError(f"codebook_size is {codebook_size}: a segment needs 2 codes")
        self.deviation, self.memory = deviation, memory
        self.codebook = Codebook(codebook_size, dim, init, init_scale, generator=generator)
        self.noise = Noise(0 if generator is None else generator.initial_seed())

    @property
    def codes(self) -> Tensor:
        return self.codebook.codes

    def assign(self, z: Tensor, codes: Tensor) -> Tensor:
        return nearest(z, codes, memory=self.memory)

    def quantise(self, z: Tensor, keep: Tensor | None) -> Assigned:
        if self.training and not self.codebook.ready:
            self.codebook.start(z.detach().reshape(-1, self.dim) if keep is None else z.detach()[keep])
        codes = self.codes
        if not self.training:
            indices = self.assign(z, codes)
            q = self._closest(z.detach(), indices, codes)
            return Assigned(q, q, indices)
        t = self.noise.uniform(codes[:-1, :1]).to(codes.dtype)
        indices = self.assign(z, (1 - t) * codes[:-1] + t * codes[1:])
        t, ends = t[indices], (F.embedding(indices, codes), F.embedding(indices + 1, codes))
        z_q = z
        for end, share in zip(ends, (1 - t, t)):
            gap = end - z
            away = unit((gap + self.deviation * self.noise.normal(gap)).detach())
            z_q = z_q + torch.linalg.vector_norm(gap, dim=-1, keepdim=True) * (share * away)
        return Assigned(z_q, (1 - t) * ends[0] + t * ends[1], indices)

    def _closest(self, z: Tensor, indices: Tensor, codes: Tensor) -> Tensor:
        """The nearer of the closest points of the two segments that meet at a code."""
        best = F.embedding(indices, codes)
        for step in (-1, 1):
            here, there = F.embedding(indices, codes), F.embedding((indices + step).clamp(0, len(codes) - 1), codes)
            along = there - here
            length = along.square().sum(-1, keepdim=True)
            t = ((along * (z - here)).sum(-1, keepdim=True) / torch.where(length > 0, length, 1.0)).clamp(0, 1)
            point = here + t * along
            nearer = (z - point).square().sum(-1, keepdim=True) < (z - best).square().sum(-1, keepdim=True)
            best = torch.where(nearer, point, best)
        return best
