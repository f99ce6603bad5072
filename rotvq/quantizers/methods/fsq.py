"""FSQ: finite scalar quantisation (Mentzer et al. 2024)."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rotvq.quantizers.base import Assigned, Quantizer, linear, one_of
from rotvq.quantizers.losses import weighted_losses
from rotvq.quantizers.operators import Constants
from rotvq.quantizers.options import refuse_idle

# Mentzer et al. 2024, table 1: levels recommended for 2^8 ... 2^16 codes
TABLE_1 = {256: (8, 6, 5), 1024: (8, 5, 5, 5), 4096: (7, 5, 5, 5, 5), 16384: (8, 8, 8, 6, 5), 65536: (8, 8, 8, 5, 5, 5)}
#: what bounds a coordinate to [-1, 1], by name, and its inverse
BOUNDS = {"tanh": (torch.tanh, torch.atanh), "clamp": (F.hardtanh, torch.positive)}


def levels(codebook_size: int) -> tuple[int, ...]:
    """Levels of FSQ at matched K: those of the paper's table, else the largest product of 5 to 8 levels up to K.

    >>> levels(512), levels(1024)
    ((8, 8, 8), (8, 5, 5, 5))
    """
    if codebook_size in TABLE_1:
        return TABLE_1[codebook_size]
    if codebook_size < 9:
        return (codebook_size,)
    most = max(1, round(math.log(codebook_size, 5)))
    choices = (c for n in range(1, most + 1) for c in itertools.combinations_with_replacement((8, 7, 6, 5), n))
    return max((c for c in choices if math.prod(c) <= codebook_size), key=math.prod)


class Lattice(Constants):
    """The points of a product of levels, each axis in [-1, 1]; point k has the digits of k, first axis fastest.

    An axis with an even number L of levels goes from -1 to 1 - 2/L; where it is ``symmetric`` it goes to 1, without 0.

    >>> Lattice((3, 2)).points(torch.arange(6)).tolist()
    [[-1.0, -1.0], [0.0, -1.0], [1.0, -1.0], [-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
    >>> Lattice((2,), symmetric=True).points(torch.arange(2)).tolist()
    [[-1.0], [1.0]]
    """

    ready = True

    def __init__(self, sizes: tuple[int, ...], symmetric: bool = False):
        super().__init__(sizes=list(sizes), basis=[math.prod(sizes[:i]) for i in range(len(sizes))])
        self.symmetric = symmetric

    def points(self, indices: Tensor) -> Tensor:
        """(..., axes) of indices (...)."""
        return self.at(indices.unsqueeze(-1) // self.basis % self.sizes - self.sizes // 2)

    def at(self, level: Tensor) -> Tensor:
        """(..., axes) of levels (..., axes), whole numbers from -(L//2), or between them."""
        if self.symmetric:
            return (2 * level + (self.sizes % 2 == 0)) / (self.sizes - 1).clamp_min(1)
        return level / (self.sizes // 2).clamp_min(1)

    def indices(self, level: Tensor) -> Tensor:
        """(...) of levels (..., axes), whole numbers from -(L//2)."""
        return ((level.long() + self.sizes // 2) * self.basis).sum(-1)


class FSQ(Quantizer):
    r"""Finite scalar quantisation: round each of a few bounded coordinates; the codes are a fixed lattice.

    Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", ICLR 2024 (arXiv 2309.15505), section 3. A linear
    map takes z to one coordinate y per level count L, bounded to ``(L-1)(1+eps)/2 tanh(y + s) - o`` with o = 1/2 for
    even L and s such that 0 goes to 0; its rounding passes the gradient straight through; a second linear map takes it
    back. There is no loss. The shift is artanh(o/h); the paper's listing has tan, which bounds but does not centre.
    Arguments are those of :class:`.Quantizer`, and (a state dict holds none of these: give those it was made with)

    - ``sizes``: levels of each coordinate, instead of ``levels(K)``;
    - ``symmetric``: the points of a coordinate lie evenly from -1 to 1, also for even L, where then none of them is 0.
      y is bounded to ``(L-1)/2 tanh(y) - o``, and the point of level l is ``2(l + o)/(L-1)``. Parker et al., "Scaling
      Transformers for Low-Bitrate High-Quality Speech Coding", 2024 (arXiv 2411.19842);
    - ``bound``: "clamp" takes min(max(y, -1), 1) in the place of tanh, which makes all levels but the outer two equally
      wide; farther out no gradient passes. An option of vector-quantize-pytorch, without a paper.

    >>> FSQ(dim=4, codebook_size=512).sizes
    (8, 8, 8)
    """

    code_parts = ("project_out",)

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        sizes: tuple[int, ...] | None = None,
        symmetric: bool = False,
        bound: str = "tanh",
        frozen: bool = False,
        **options,
    ):
        one_of("bound", bound, BOUNDS)
        if sizes is not None and math.prod(sizes) != codebook_size:
            raise ValueError(f"sizes {tuple(sizes)} make {math.prod(sizes)} codes, not codebook_size = {codebook_size}")
        if options.get("project_to") is not None:
            raise ValueError(f"project_to is {options['project_to']}: FSQ projects to a coordinate a level count")
        sizes = tuple(sizes or levels(codebook_size))
        refuse_idle("lattice", {"process_group": options.get("process_group"), "shares": False})
        super().__init__(dim, math.prod(sizes), **options)
        self.sizes, self.bound, self.codebook = sizes, bound, Lattice(sizes, symmetric)
        self.project_in, self.project_out = nn.Linear(dim, len(sizes)), nn.Linear(len(sizes), dim)
        self.frozen = frozen

    @property
    def codes(self) -> Tensor:
        points = self.codebook.points(torch.arange(self.codebook_size, device=self.codebook.sizes.device))
        return self.project_out(points.to(self.project_out.weight))

    def round(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The bounded coordinates of z and the levels nearest to them, whole numbers from -(L//2), (..., axes) each."""
        (bound, inverse), count, symmetric = BOUNDS[self.bound], self.codebook.sizes, self.codebook.symmetric
        half, offset = (count - 1) * (1 if symmetric else 1 + 1e-3) / 2, torch.where(count % 2 == 0, 0.5, 0.0)
        shift = 0 if symmetric else inverse(offset / half.clamp_min(0.5))
        coordinates = linear(self.project_in, z)
        coordinates = coordinates.to(torch.promote_types(coordinates.dtype, torch.float32))
        bounded = bound(coordinates + shift) * half - offset
        return bounded, bounded.detach().round()

    def quantise(self, z: Tensor, mask: Tensor | None) -> Assigned:
        bounded, level = self.round(z)
        z_q = linear(self.project_out, self.codebook.at(level + (bounded - bounded.detach())), self.frozen)
        loss_sum = weighted_losses(z, z_q, self.beta, self.gamma, mask)
        return Assigned(z_q, z_q, self.codebook.indices(level), loss_sum)

    def assign(self, z: Tensor, codes: Tensor) -> Tensor:
        return self.codebook.indices(self.round(z)[1])
