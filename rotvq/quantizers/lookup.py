r"""The nearest code, streamed: never the whole N x K matrix of distances.

:math:`\arg\min_k |z - e_k|^2 = \arg\max_k \langle z, e_k\rangle - \tfrac12 |e_k|^2`: one matrix product with a bias,
taken tile by tile. Two things keep it right where the plain formula is not. Latents and codes are shifted to a code
amid the latents, since a common offset of 100 standard deviations eats all digits of the products; and they are scaled
by a power of two, so that squares neither overflow nor vanish. Neither changes the answer.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCKS = 64  # torch's argmax over a long row is slow on a CPU: maxima of so many blocks first, then inside the winner
TILE = 4 << 20  # bytes of scores at a time on a CPU: they stay in the cache
DOUBLE = range(16, 128)  # dimensions at which two such tiles at a time were found to be faster
WIDTH = 1024, 4096  # codes at a time, from and to
IMAGES = 16  # torch leaves products of float32 on a CPU to MKL, but convolutions of so many images to oneDNN
SAMPLE = 129  # latents whose median says where the latents are
FAR = 2.0**60  # a latent this far beyond the codes sees only their directions: it is pulled in, so nothing overflows


def unit(x: Tensor) -> Tensor:
    """``x / |x|`` along the last dimension, right for norms of 1e-30 and 1e30; 0 stays 0 (and passes gradients).

    What has no entry as large as the smallest normal number counts as 0: its gradient would be infinite.
    """
    top = x.detach().abs().amax(-1, keepdim=True)
    x = x / torch.where(top >= torch.finfo(x.dtype).tiny, top, 1.0)
    norm = torch.linalg.vector_norm(x, 2, -1, keepdim=True)
    return x / torch.where(norm > 0, norm, 1.0)


def _euclidean(z: Tensor, codes: Tensor):
    """Scores ``<z', e'> - |e'|^2 / 2`` of shifted and scaled vectors."""

    def far(point: Tensor) -> Tensor:
        """The largest entry of each code, seen from a point."""
        return torch.cat([(part - point).abs().amax(-1) for part in codes.split(max(1, (TILE >> 4) // codes.shape[1]))])

    middle = z[:: -(-len(z) // SAMPLE)].median(0).values
    centre = codes[far(middle).argmin()]  # a code: neither unused codes nor far latents spoil it
    top = far(centre).amax()
    scale = torch.ldexp(torch.ones_like(top), -torch.frexp(top).exponent).clamp_max(1 / torch.finfo(top.dtype).tiny)

    def latents(part: Tensor) -> Tensor:
        part = part - centre
        return part.mul_(torch.minimum(scale, FAR / part.abs().amax(-1, keepdim=True)))

    def prepare(part: Tensor) -> tuple[Tensor, Tensor]:
        part = (part - centre).mul_(scale)
        return part, part.square().sum(-1) * -0.5

    return latents, prepare


def _cosine(z: Tensor, codes: Tensor):
    """Scores are cosines; a zero vector has cosine 0 with everything."""
    return unit, lambda part: (unit(part), part.new_zeros(len(part)))


LOOKUPS = {"euclidean": _euclidean, "cosine": _cosine}


def _convolved(z: Tensor) -> bool:
    """Whether to take products as a convolution of 1 x 1: where the processor has AVX-512 and is not Intel's, MKL
    leaves it unused and oneDNN does not, which halves the time.
    """
    return z.device.type == "cpu" and z.dtype == torch.float32 and torch.backends.mkldnn.is_available()


def _interleave(codes: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The first code of each block, then the second of each, so that maxima of blocks are taken elementwise."""
    spare = -len(codes) % BLOCKS
    codes, bias = F.pad(codes, (0, 0, 0, spare)), F.pad(bias, (0, spare), value=-torch.inf)
    codes, bias = (x.unflatten(0, (BLOCKS, -1)).transpose(0, 1).flatten(0, 1) for x in (codes, bias))
    return codes[:, :, None, None] if _convolved(codes) else codes, bias


def _images(z: Tensor) -> Tensor:
    """Latents, a multiple of :data:`IMAGES`, as the products take them."""
    return z.view(IMAGES, -1, 1, z.shape[1]).permute(0, 3, 1, 2) if _convolved(z) else z  # channels last


def _scores(z: Tensor, codes: Tensor, bias: Tensor) -> Tensor:
    """``<z, e> + bias`` of interleaved codes: (latents, codes of a block, blocks)."""
    scores = F.conv2d(z, codes, bias).permute(0, 2, 3, 1) if z.ndim == 4 else F.linear(z, codes, bias)
    return scores.reshape(-1, len(codes) // BLOCKS, BLOCKS)


def _best(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Highest score of each latent and the index of its code; the lowest index where scores tie."""
    block = scores.amax(1).max(-1).indices  # max, not argmax: much faster on short rows
    size = scores.shape[1]
    top, inside = scores.gather(2, block.view(-1, 1, 1).expand(-1, size, 1)).view(-1, size).max(-1)
    return top, inside.add_(block, alpha=size)


@torch.library.custom_op("rotvq::nearest", mutates_args=())
def _nearest(z: Tensor, codes: Tensor, metric: str, memory: int) -> Tensor:
    indices = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    if len(z) == 0 or len(codes) == 1:
        return indices
    with torch.autocast(z.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(z.dtype, codes.dtype), torch.float32)
        z, codes = z.to(dtype), codes.to(dtype)
        latents, prepare = LOOKUPS[metric](z, codes)
        d = codes.shape[1]
        most = max(BLOCKS, memory // (4 * dtype.itemsize * d))  # codes that are held prepared
        width = min(max(WIDTH[0], (1 << 16) // d), WIDTH[1], most, len(codes))
        tile = min(TILE << (d in DOUBLE), memory // 4) if z.device.type == "cpu" else memory // 4
        rows = max(IMAGES, tile // (dtype.itemsize * width) // IMAGES * IMAGES)
        best = torch.full((len(z),), -torch.inf, dtype=dtype, device=z.device)
        room = z.new_zeros(min(rows, len(z) + IMAGES), d)
        starts, held = range(0, len(codes), width), most // width
        for group in (starts[i : i + held] for i in range(0, len(starts), held)):
            panels = [(start, *_interleave(*prepare(codes[start : start + width]))) for start in group]
            for some, highest, chosen in zip(z.split(rows), best.split(rows), indices.split(rows)):
                room[: len(some)] = latents(some)
                images = _images(room[: -(-len(some) // IMAGES) * IMAGES])
                for start, part, bias in panels:
                    top, index = _best(_scores(images, part, bias)[: len(some)])
                    better = top > highest
                    torch.where(better, top, highest, out=highest)
                    torch.where(better, index.add_(start), chosen, out=chosen)
    return indices


@_nearest.register_fake
def _(z, codes, metric, memory):
    return z.new_empty(z.shape[0], dtype=torch.int64)


def nearest(z: Tensor, codes: Tensor, metric: str = "euclidean", memory: int = 64 << 20) -> Tensor:
    """Index of the nearest of ``codes`` (K, d) for every vector of ``z`` (..., d): int64, shape (...).

    metric: "euclidean" or "cosine". memory: bytes of working space, beyond the copy of z that half precision and
    strides need. Half precision is ranked in float32. Ties go to the lowest index. Raises ValueError on an unknown
    metric or shapes that do not match.

    >>> nearest(torch.tensor([[0.9, 0.1]]), torch.eye(2))
    tensor([0])
    """
    if metric not in LOOKUPS:
        raise ValueError(f"unknown lookup {metric!r}: one of {', '.join(LOOKUPS)}")
    if codes.ndim != 2 or z.shape[-1] != codes.shape[1] or len(codes) == 0:
        raise ValueError(
            f"codes have shape {tuple(codes.shape)}, z has {tuple(z.shape)}: needed are (K, d) and (..., d)"
        )
    return _nearest(z.detach().reshape(-1, z.shape[-1]), codes.detach(), metric, memory).reshape(z.shape[:-1])
