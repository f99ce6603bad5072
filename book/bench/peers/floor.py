"""The floor: one matrix product with the argmax inside, the gather, one read and one write of the gradients."""

from __future__ import annotations

import ctypes
import functools
import math
import os
import pathlib
import sysconfig
import tempfile
import warnings

import torch
from torch import Tensor
from torch.nn import functional as F

from rotvq.quantizers import lookup

SOURCE = pathlib.Path(__file__).with_name("floor.cpp")
WIDE = 32  # codes of a panel, as in the source
FLAGS = ["-O3", "-march=native", "-ffast-math", "-fno-finite-math-only"]
TILE_BYTES = 4 << 20  # of scores that the bare product writes at a time


@functools.cache
def kernel():
    """The compiled function, or None where there is no compiler or no ninja to call it."""
    from torch.utils import cpp_extension

    scripts = sysconfig.get_path("scripts")
    if scripts not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] += os.pathsep + scripts
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cpp_extension.load(
                "rotvq_floor", [str(SOURCE)], extra_cflags=FLAGS, build_directory=folder, is_python_module=False
            )
            return ctypes.CDLL(f"{folder}/rotvq_floor.so").floor_step
    except (RuntimeError, OSError):
        return None


def floor(codes: Tensor, z: Tensor, g: Tensor, threads: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """The least that a step does; its gradient is a copy of g.

    Args:
        codes: (K, d), like all tensors here contiguous, float32 and on the CPU.
        z: latents, (n, d).
        g: the gradient of what z becomes, (n, d).
        threads: of the kernel.

    Returns:
        z_q (n, d), indices (n), int64, and the gradient of z (n, d).
    """
    n, d, k = *z.shape, len(codes)
    z_q, grad, indices = torch.empty_like(z), torch.empty_like(z), torch.empty(n, dtype=torch.int64)
    panels = torch.empty(math.ceil(k / WIDE) * WIDE * (d + 1))
    tensors = (z, codes, g, panels, z_q, indices, grad)
    assert all(x.is_contiguous() and x.device.type == "cpu" for x in tensors)
    pointers = [ctypes.c_void_p(x.data_ptr()) for x in tensors]
    kernel()(*pointers, *(ctypes.c_long(x) for x in (n, d, k, threads)))
    return z_q, indices, grad


def product(codes: Tensor, z: Tensor) -> None:
    """The scores alone, tile by tile into one buffer."""
    tile_codes = min(len(codes), 8192)
    tile_latents = max(1, TILE_BYTES // (tile_codes * z.element_size())) if z.device.type == "cpu" else len(z)
    buffer = z.new_empty(min(tile_latents, len(z)), tile_codes + 64)  # rows 2^k apart would be slow
    for part in codes.split(tile_codes):
        for piece in z.split(tile_latents):
            torch.mm(piece, part.t(), out=buffer[: len(piece), : len(part)])


def convolution(codes: Tensor, z: Tensor) -> None:
    """The same as 1 x 1 convolutions, which torch gives to another library, in the tiles of :mod:`.lookup`."""
    tile_latents, tile_codes, _ = lookup.tile_sizes(z, codes)
    for piece in z.split(tile_latents):
        images = piece.view(lookup.IMAGES, -1, 1, z.shape[1]).permute(0, 3, 1, 2)
        for part in codes.split(tile_codes):
            F.conv2d(images, part[:, :, None, None])
