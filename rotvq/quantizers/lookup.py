r"""The nearest code, streamed: never the whole N x K matrix of distances.

:math:`\arg\min_k |z - e_k|^2 = \arg\max_k \langle z, e_k\rangle - \tfrac12 |e_k|^2`: one matrix product with a bias,
taken tile by tile on a CPU, and some latents at a time on a GPU. Latents and codes are shifted to a code amid the
latents, since a common offset of 100 standard deviations eats all digits of the products, and scaled by a power of two,
so that squares neither overflow nor vanish.
"""

import importlib.util
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from rotvq.quantizers.geometry import unit
from rotvq.quantizers.operators import is_plain

MEMORY = {"cpu": 64 << 20, "cuda": 256 << 20}  # bytes of working space by default, by type of device
TILE_BYTES = 4 << 20  # of scores at a time on a CPU: they stay in the cache
DOUBLE_TILE_DIMS = range(16, 128)  # dimensions at which tiles of twice that were found to be faster
TILE_CODES = 1024, 4096  # codes of a tile, from and to
CODE_BLOCKS = 64  # torch's argmax over a long row is slow on a CPU: maxima of so many blocks first, then in the best
IMAGES = 16  # torch leaves products of float32 on a CPU to MKL, but convolutions of so many images to oneDNN
SAMPLE = 129  # latents whose median says where the latents are
FAR = 2.0**60  # a latent this far beyond the codes sees only their directions: it is pulled in, so nothing overflows
HAS_FAISS = importlib.util.find_spec("faiss") is not None
FUSED_DIMS = {"AVX512": 32, "AVX2": 16}  # dimensions up to which FAISS 1.15 has a kernel that keeps no scores
FASTER_DIMS = 16  # dimensions up to which that kernel was measured to be faster, whatever the number of codes
REACH = 4.0  # entries of a latent, over the largest of the codes, up to which FAISS is as exact as it is here


def working_memory(device: torch.device, given: int | None = None) -> int:
    """Bytes of working space on a device: those given, or by default."""
    return MEMORY.get(device.type, MEMORY["cuda"]) if given is None else given


def in_parts(rows: Tensor, size: int) -> tuple[Tensor, ...]:
    """At most ``size`` rows at a time; in ``torch.export`` all at once, since their number stays open."""
    return (rows,) if getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)() else rows.split(size)


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Products in float32 on a GPU, also where the user allows TF32, which keeps three digits of a latent."""
    if device.type != "cuda":  # first, since a compiler cannot ask for these settings
        yield
        return
    settings = torch.backends.cuda.matmul
    option, value = ("fp32_precision", "ieee") if hasattr(settings, "fp32_precision") else ("allow_tf32", False)
    before = getattr(settings, option)
    if before == value:
        yield
        return
    setattr(settings, option, value)
    try:
        yield
    finally:
        setattr(settings, option, before)


def _euclidean(z: Tensor, codes: Tensor) -> tuple[Callable, Callable]:
    """Scores ``<z', e'> - |e'|^2 / 2`` of shifted and scaled vectors."""

    def extents(point: Tensor) -> Tensor:
        """The largest entry of each code, seen from a point."""
        size = max(1, (TILE_BYTES >> 4) // codes.shape[1])
        if len(codes) <= size:
            return (codes - point).abs().amax(-1)
        return torch.cat([(part - point).abs().amax(-1) for part in codes.split(size)])

    middle = z[:: math.ceil(len(z) / SAMPLE)].nanmedian(0).values
    nearest_to_middle = extents(middle).argmin(0, keepdim=True)
    centre = codes.index_select(0, nearest_to_middle)  # a code: neither unused codes nor far latents spoil it
    top = extents(centre).amax()
    scale = torch.pow(2.0, -torch.frexp(top).exponent).to(top.dtype).clamp_max(1 / torch.finfo(top.dtype).tiny)

    def prepare_latents(part: Tensor) -> Tensor:
        part = part - centre
        return part.mul_(torch.minimum(scale, FAR / part.abs().amax(-1, keepdim=True)))

    def prepare_codes(part: Tensor) -> tuple[Tensor, Tensor]:
        part = (part - centre).mul_(scale)
        return part, part.square().sum(-1) * -0.5

    return prepare_latents, prepare_codes


def _cosine(z: Tensor, codes: Tensor) -> tuple[Callable, Callable]:
    """Scores are cosines; a zero vector has cosine 0 with everything."""
    return unit, lambda part: (unit(part), part.new_zeros(len(part)))


LOOKUPS = {"euclidean": _euclidean, "cosine": _cosine}  #: latents, and codes with their biases, as products take them


def _use_convolution(z: Tensor) -> bool:
    # where the processor has AVX-512 and is not Intel's, MKL leaves it unused and oneDNN does not: half the time
    return z.device.type == "cpu" and z.dtype == torch.float32 and torch.backends.mkldnn.is_available()


def _interleave(codes: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The first code of each block, then the second of each, so that maxima of blocks are taken elementwise."""
    spare = -len(codes) % CODE_BLOCKS
    if spare:
        codes, bias = F.pad(codes, (0, 0, 0, spare)), F.pad(bias, (0, spare), value=-torch.inf)
    codes, bias = (x.view(CODE_BLOCKS, -1, *x.shape[1:]).transpose(0, 1).flatten(0, 1) for x in (codes, bias))
    return codes[:, :, None, None] if _use_convolution(codes) else codes, bias


def _as_images(z: Tensor) -> Tensor:
    """Latents as the products take them, with spare ones up to a multiple of :data:`IMAGES`."""
    spare = -len(z) % IMAGES
    z = F.pad(z, (0, 0, 0, spare)) if spare else z
    return z.view(IMAGES, -1, 1, z.shape[1]).permute(0, 3, 1, 2) if _use_convolution(z) else z  # channels last


def _scores(z: Tensor, codes: Tensor, bias: Tensor) -> Tensor:
    """``<z, e> + bias`` of interleaved codes: (latents, codes of a block, blocks)."""
    scores = F.conv2d(z, codes, bias).permute(0, 2, 3, 1) if z.ndim == 4 else F.linear(z, codes, bias)
    return scores.reshape(-1, len(codes) // CODE_BLOCKS, CODE_BLOCKS)


def _best(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Highest score of each latent and the index of its code; the lowest index where scores tie."""
    block = scores.amax(1).max(-1).indices  # max, not argmax: much faster on short rows
    size = scores.shape[1]
    top, inside = scores.gather(2, block.view(-1, 1, 1).expand(-1, size, 1)).view(-1, size).max(-1)
    return top, inside.add_(block, alpha=size)


def tile_sizes(z: Tensor, codes: Tensor, memory: int = MEMORY["cpu"]) -> tuple[int, int, int]:
    """Latents of a tile, codes of a tile, and tiles of codes that are held prepared, within ``memory`` bytes."""
    d, size = codes.shape[1], codes.dtype.itemsize
    most_codes = max(CODE_BLOCKS, memory // (4 * size * d))
    tile_codes = min(max(TILE_CODES[0], (1 << 16) // d), TILE_CODES[1], most_codes, len(codes))
    tile_bytes = min(2 * TILE_BYTES if d in DOUBLE_TILE_DIMS else TILE_BYTES, memory // 4)
    tile_latents = tile_bytes // (size * tile_codes) // IMAGES * IMAGES
    return max(IMAGES, tile_latents), tile_codes, most_codes // tile_codes


def _nearest(z: Tensor, codes: Tensor, metric: str, memory: int) -> Tensor:
    if len(z) == 0 or len(codes) == 1:
        return torch.zeros(len(z), dtype=torch.int64, device=z.device)
    if torch.is_autocast_enabled(z.device.type):
        with torch.autocast(z.device.type, enabled=False):
            return _nearest(z, codes, metric, memory)
    dtype = torch.promote_types(torch.promote_types(z.dtype, codes.dtype), torch.float32)
    z, codes = z.to(dtype), codes.to(dtype)
    prepare_latents, prepare_codes = LOOKUPS[metric](z, codes)
    if z.device.type != "cpu":  # a call of a kernel costs more there than a long row
        rows = max(1, memory // (dtype.itemsize * len(codes)))
        prepared, bias = prepare_codes(codes)
        with full_float32(z.device):
            return torch.cat([F.linear(prepare_latents(part), prepared, bias).argmax(-1) for part in z.split(rows)])
    tile_latents, tile_codes, held = tile_sizes(z, codes, memory)
    if len(codes) <= tile_codes:  # nothing to compare with
        tile = _interleave(*prepare_codes(codes))
        parts = map(prepare_latents, z.split(tile_latents))
        found = [_best(_scores(_as_images(part), *tile)[: len(part)]) for part in parts]
        best, indices = found[0] if len(found) == 1 else map(torch.cat, zip(*found))
        return indices.mul_(best > -torch.inf)
    best, indices = z.new_full((len(z),), -torch.inf), torch.zeros(len(z), dtype=torch.int64)
    starts = range(0, len(codes), tile_codes)
    for first in range(0, len(starts), held):
        group = starts[first : first + held]
        prepared = [_interleave(*prepare_codes(codes[start : start + tile_codes])) for start in group]
        for z_part, best_part, indices_part in zip(*(x.split(tile_latents) for x in (z, best, indices))):
            images = _as_images(prepare_latents(z_part))
            for start, (tile, bias) in zip(group, prepared):
                score, index = _best(_scores(images, tile, bias)[: len(z_part)])
                better = score > best_part
                torch.where(better, score, best_part, out=best_part)
                torch.where(better, index.add_(start), indices_part, out=indices_part)
    return indices


def _fits_faiss(z: Tensor, codes: Tensor, memory: int) -> bool:
    """Whether FAISS has a fused kernel for these: on a CPU, in float32, of few dimensions."""
    # of one dimension, its kernel for AVX2 sometimes returns a later copy of the nearest code
    few = range(2, 1 + FUSED_DIMS.get(torch.backends.cpu.get_cpu_capability(), 0))
    half_or_single = torch.promote_types(torch.promote_types(z.dtype, codes.dtype), torch.float32) == torch.float32
    on_cpu = z.device.type == "cpu" and codes.shape[1] in few
    return HAS_FAISS and half_or_single and on_cpu and 16 * codes.numel() <= memory  # it copies the codes


def _faiss_search(z: Tensor, codes: Tensor) -> Tensor:
    """The least distance by FAISS's fused kernel, on as many threads as torch has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the import, about types made by SWIG
        import faiss
    before = faiss.omp_get_max_threads(), faiss.cvar.distance_compute_blas_threshold
    faiss.omp_set_num_threads(torch.get_num_threads())
    faiss.cvar.distance_compute_blas_threshold = 0  # below 128,000 numbers it would not use that kernel
    try:
        return torch.from_numpy(faiss.knn(z.numpy(), codes.numpy(), 1)[1]).squeeze(1)
    finally:
        faiss.omp_set_num_threads(before[0])
        faiss.cvar.distance_compute_blas_threshold = before[1]


def _nearest_faiss(z: Tensor, codes: Tensor, metric: str, memory: int) -> Tensor:
    if not _fits_faiss(z, codes, memory):
        return _nearest(z, codes, metric, memory)
    indices = torch.zeros(len(z), dtype=torch.int64)
    if len(z) == 0 or len(codes) == 1:
        return indices
    z, codes = z.float(), codes.float()
    prepare_latents, prepare_codes = LOOKUPS[metric](z, codes)
    prepared, bias = prepare_codes(codes)
    # scores rank as distances do where the bias is -|e|^2 / 2 and a constant; for cosines it is not if a code is 0
    constant = bias + prepared.square().sum(-1) / 2
    outside = torch.ones(len(z), dtype=torch.bool)
    if constant.amax() - constant.amin() < 1e-6:
        spare = -len(codes) % CODE_BLOCKS  # the last codes, short of a register, would be ranked with other roundings
        prepared = torch.cat([prepared, prepared[:1].expand(spare, -1)])
        rows = max(1, memory // (32 * (codes.shape[1] + 4)))
        for z_part, indices_part, outside_part in zip(*(x.split(rows) for x in (z, indices, outside))):
            part = prepare_latents(z_part)
            indices_part.copy_(_faiss_search(part, prepared))
            size = part.abs().amax(-1)
            torch.logical_not((size > 0) & (size <= REACH), out=outside_part)
    if outside.any():
        indices[outside] = _nearest(z[outside], codes, metric, memory)
    return indices


def _plain_euclidean(z: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    low, high = codes.amin(0), codes.amax(0)
    middle = z.nan_to_num(0).clamp(low, high).mean(0)  # far latents count as if they were at the edge of the codes
    centre = codes[(codes - middle).abs().amax(-1).argmin(0, keepdim=True)]
    codes, z = codes - centre, z - centre
    top = codes.abs().amax((0, 1)).clamp_min(torch.finfo(z.dtype).tiny)
    scale = torch.exp2(-torch.floor(torch.log2(top)))
    z = z * torch.minimum(scale, FAR / z.abs().amax(-1, keepdim=True))
    codes = codes * scale
    return z, codes, codes.square().sum(-1) * -0.5


def _plain_cosine(z: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return unit(z), unit(codes), codes.new_zeros(len(codes))


PLAIN = {"euclidean": _plain_euclidean, "cosine": _plain_cosine}


def _nearest_plain(z: Tensor, codes: Tensor, metric: str, memory: int) -> Tensor:
    """One product and an argmax: all N x K scores, and no operator but torch's own."""
    if torch.is_autocast_enabled(z.device.type):
        with torch.autocast(z.device.type, enabled=False):
            return _nearest_plain(z, codes, metric, memory)
    dtype = torch.promote_types(torch.promote_types(z.dtype, codes.dtype), torch.float32)
    z, codes, bias = PLAIN[metric](z.to(dtype), codes.to(dtype))
    return F.linear(z, codes, bias).argmax(-1)


ENGINES = {"tiles": _nearest, "plain": _nearest_plain, "faiss": _nearest_faiss}  #: ways to look up, by name


# The same as operators of torch, to compile, export and transform: to be called is most of what a small lookup costs.
@torch.library.custom_op("rotvq::nearest", mutates_args=())
def _nearest_operator(z: Tensor, codes: Tensor, metric: str, memory: int) -> Tensor:
    return _nearest(z, codes, metric, memory)


@_nearest_operator.register_fake
def _(z, codes, metric, memory):
    return z.new_empty(z.shape[0], dtype=torch.int64)


@torch.library.custom_op("rotvq::nearest_faiss", mutates_args=())
def _nearest_faiss_operator(z: Tensor, codes: Tensor, metric: str, memory: int) -> Tensor:
    return _nearest_faiss(z, codes, metric, memory)


@_nearest_faiss_operator.register_fake
def _(z, codes, metric, memory):
    return z.new_empty(z.shape[0], dtype=torch.int64)


OPERATORS = {"tiles": _nearest_operator, "faiss": _nearest_faiss_operator}


def nearest(
    z: Tensor, codes: Tensor, metric: str = "euclidean", memory: int | None = None, engine: str | None = None
) -> Tensor:
    """Index of the nearest code of every latent, int64, (...): the lowest on ties.

    Engines agree but where two codes are equally near up to a few roundings of squared distances:

    - "tiles": a part of the products at a time, see above. What is installed does not change its answer.
    - "faiss": the fused kernel of ``faiss-cpu`` (an extra) where it has one: on a CPU, in float32, for 2 to 16
      dimensions, to 32 with AVX-512. "tiles" elsewhere, and for latents far outside the codes.
    - "plain": one product and an argmax in torch's own operators, for export. It holds all N x K scores, and the
      product may round two copies of a code differently.
    - None: "tiles"; in eager mode under ``torch.inference_mode()`` "faiss" up to 16 dimensions, if it is installed. So
      what is trained, and how it is evaluated without gradients, does not depend on what is installed.

    Args:
        z: latents, (..., d); half precision is ranked in float32.
        codes: (K, d).
        metric: "euclidean" or "cosine".
        memory: bytes of working space, beyond the copy of z that half precision and strides need. None: 64 MiB on a
            CPU, 256 MiB on a GPU.
        engine: a key of :data:`ENGINES`, or None.

    Raises:
        ValueError: an unknown metric or engine, shapes that do not fit, or "faiss" where it is not installed.

    >>> nearest(torch.tensor([[0.9, 0.1]]), torch.eye(2))
    tensor([0])
    """
    if metric not in LOOKUPS:
        raise ValueError(f"unknown lookup {metric!r}: one of {', '.join(LOOKUPS)}")
    if engine is not None and engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}: one of {', '.join(ENGINES)}, or None")
    if engine == "faiss" and not HAS_FAISS:
        raise ValueError("engine 'faiss' needs the package faiss-cpu, which is not installed: pip install faiss-cpu")
    if codes.ndim != 2 or z.shape[-1] != codes.shape[1] or len(codes) == 0:
        raise ValueError(f"codes are {tuple(codes.shape)}, z is {tuple(z.shape)}: needed are (K, d) and (..., d)")
    if engine is None:
        inference = not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()
        engine = "faiss" if HAS_FAISS and inference and codes.shape[1] <= FASTER_DIMS else "tiles"
    rows, codes, memory = z.detach().reshape(-1, z.shape[-1]), codes.detach(), working_memory(z.device, memory)
    search = ENGINES[engine] if is_plain(rows) else OPERATORS.get(engine, ENGINES[engine])
    return search(rows, codes, metric, memory).reshape(z.shape[:-1])
