r"""The nearest code, streamed: never the whole N x K matrix of distances.

:math:`\arg\min_k |z - e_k|^2 = \arg\max_k \langle z, e_k\rangle - \tfrac12 |e_k|^2`: one matrix product with a bias,
taken tile by tile. Two things keep it right where the plain formula is not. Latents and codes are shifted by the mean
code, since a common offset of 100 standard deviations eats all digits of the products; and they are scaled by a power
of two, so that squares neither overflow nor vanish. Neither changes the answer.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 32  # torch's argmax over a long row is slow on a CPU: maxima of blocks first, then inside the winner
TILE = 4 << 20  # bytes of scores at a time: they stay in the cache


def _tiny(x: Tensor) -> float:
    return torch.finfo(x.dtype).tiny


def _unit(x: Tensor) -> Tensor:
    x = x / x.abs().amax(-1, keepdim=True).clamp_min(_tiny(x))
    return x / torch.linalg.vector_norm(x, 2, -1, keepdim=True).clamp_min(_tiny(x))


def _euclidean(z: Tensor, codes: Tensor):
    """The shift and the scale; scores are ``<z', e'> - |e'|^2 / 2``."""
    centre = codes.mean(0)
    top = torch.stack([(z - centre).abs().amax(), (codes - centre).abs().amax()]).amax()
    scale = torch.where(top > 0, torch.ldexp(torch.ones_like(top), -torch.frexp(top).exponent), 1.0)

    def bias(part: Tensor) -> Tensor:
        return part.square().sum(-1) * -0.5

    return lambda x: (x - centre).mul_(scale), lambda x: (x - centre).mul_(scale), bias


def _cosine(z: Tensor, codes: Tensor):
    """Scores are cosines up to |z|; a zero vector has cosine 0 with everything."""
    return _unit, _unit, lambda part: part.new_zeros(len(part))


LOOKUPS = {"euclidean": _euclidean, "cosine": _cosine}


def _best(z: Tensor, codes: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Highest score and its index for one tile; the lowest index where scores tie."""
    scores = torch.addmm(bias, z, codes.t()).view(len(z), -1, BLOCK)
    tops = scores.amax(-1)
    top, block = tops.max(-1)
    inside = scores.take_along_dim(block[:, None, None], 1).squeeze(1).argmax(-1)
    return top, block * BLOCK + inside


@torch.library.custom_op("rotvq::nearest", mutates_args=())
def _nearest(z: Tensor, codes: Tensor, metric: str, memory: int) -> Tensor:
    indices = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    if len(z) == 0 or len(codes) == 1:
        return indices
    with torch.autocast(z.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(z.dtype, codes.dtype), torch.float32)
        z, codes = z.to(dtype), codes.to(dtype)
        prepare_z, prepare_codes, bias = LOOKUPS[metric](z, codes)
        z, size = prepare_z(z), dtype.itemsize
        width = min(len(codes), max(BLOCK, memory // (4 * size * codes.shape[1]), BLOCK), 8192)
        rows = max(1, min(TILE, memory // 4) // (size * (width + BLOCK)))
        best = torch.full((len(z),), -torch.inf, dtype=dtype, device=z.device)
        for start in range(0, len(codes), width):
            part = prepare_codes(codes[start : start + width])
            spare = -len(part) % BLOCK
            part_bias = torch.nn.functional.pad(bias(part), (0, spare), value=-torch.inf)
            part = torch.nn.functional.pad(part, (0, 0, 0, spare))
            for first in range(0, len(z), rows):
                tile = slice(first, first + rows)
                top, index = _best(z[tile], part, part_bias)
                better = top > best[tile]
                indices[tile] = torch.where(better, index + start, indices[tile])
                best[tile] = torch.where(better, top, best[tile])
    return indices


@_nearest.register_fake
def _(z, codes, metric, memory):
    return z.new_empty(z.shape[0], dtype=torch.int64)


def nearest(z: Tensor, codes: Tensor, metric: str = "euclidean", memory: int = 64 << 20) -> Tensor:
    """Index of the nearest of ``codes`` (K, d) for every vector of ``z`` (..., d): int64, shape (...).

    metric: "euclidean" or "cosine". memory: bytes of working space beyond a copy of z. Half precision is ranked in
    float32. Ties go to the lowest index. Raises ValueError on an unknown metric or shapes that do not match.

    >>> nearest(torch.tensor([[0.9, 0.1]]), torch.eye(2))
    tensor([0])
    """
    if metric not in LOOKUPS:
        raise ValueError(f"unknown lookup {metric!r}: one of {', '.join(LOOKUPS)}")
    if codes.ndim != 2 or z.shape[-1] != codes.shape[1] or len(codes) == 0:
        raise ValueError(f"codes have shape {tuple(codes.shape)}, z has {tuple(z.shape)}: needed are (K, d) and (..., d)")
    return _nearest(z.detach().reshape(-1, z.shape[-1]), codes.detach(), metric, memory).reshape(z.shape[:-1])
