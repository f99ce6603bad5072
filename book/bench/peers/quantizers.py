"""Other quantisers behind the call of ours, ``z -> Quantized(z_q, indices, loss)``, for z of shape (..., d)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rotvq import VectorQuantizer
from rotvq.quantizers.base import Quantized
from rotvq.quantizers.blockwise import map_rows

try:
    from vector_quantize_pytorch import VectorQuantize
    from vector_quantize_pytorch.vector_quantize_pytorch import rotate_to
except ImportError:  # a machine with a card may have torch and little else
    VectorQuantize = rotate_to = None

__all__ = ["Learned", "Library", "Matrix", "Paper", "Taming", "bare", "matrix", "paper", "rotate_to", "textbook"]


def textbook(z: Tensor, q: Tensor) -> Tensor:
    """The straight-through estimator as it is usually written."""
    return z + (q - z).detach()


def _plane(z: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Unit vectors along z, q and between them, and |q|/|z|, all constants."""
    norm_z, norm_q = (x.norm(dim=-1, keepdim=True) + 1e-6 for x in (z, q))
    u, v = z / norm_z, q / norm_q
    return u.detach(), v.detach(), F.normalize(u + v, dim=-1).detach(), (norm_q / norm_z).detach()


def paper(z: Tensor, q: Tensor) -> Tensor:
    """``r (z - 2 w (w z) + 2 v (u z))``, with batched products.

    From Fifty et al., "Restructuring Vector Quantization with the Rotation Trick" (arXiv 2410.06424), section 4.2, and
    the operator of their repository, which multiplies row and column vectors by ``bmm``.
    """
    u, v, w, r = _plane(z, q)
    row = z.unsqueeze(1)
    turned = row - 2 * (row @ w.unsqueeze(2)) @ w.unsqueeze(1) + 2 * (row @ u.unsqueeze(2)) @ v.unsqueeze(1)
    return r * turned.squeeze(1)


def matrix(z: Tensor, q: Tensor) -> Tensor:
    """``r R z`` with the d x d matrix ``R = I - 2 w w^T + 2 v u^T`` written out for every vector."""
    u, v, w, r = _plane(z, q)
    turn = torch.eye(z.shape[-1], device=z.device, dtype=z.dtype)
    turn = turn - 2 * w.unsqueeze(2) * w.unsqueeze(1) + 2 * v.unsqueeze(2) * u.unsqueeze(1)
    return (r.unsqueeze(2) * turn @ z.unsqueeze(2)).squeeze(2)


class _Flat(nn.Module):
    """Flattens the tokens for :meth:`quantise`."""

    def __init__(self, codes: Tensor):
        super().__init__()
        self.codebook_size, self.dim = codes.shape

    def forward(self, z: Tensor) -> Quantized:
        z_q, indices, loss = self.quantise(z.reshape(-1, self.dim))
        return Quantized(z_q.view(z.shape), indices.view(z.shape[:-1]), loss)


class Library(_Flat):
    """vector-quantize-pytorch as it comes: EMA with decay 0.8, commitment weight 1."""

    def __init__(self, codes: Tensor, rotation: bool = True):
        super().__init__(codes)
        self.vq = VectorQuantize(self.dim, self.codebook_size, rotation_trick=rotation)
        self.vq._codebook.embed.data.copy_(codes)
        self.vq._codebook.embed_avg.data.copy_(codes)

    def quantise(self, z):
        z_q, indices, loss = self.vq(z.unsqueeze(0))
        return z_q.squeeze(0), indices.squeeze(0), loss.sum()


class Learned(Library):
    """vector-quantize-pytorch with codes that follow the gradient of its loss, a single one with weight 0.25."""

    def __init__(self, codes: Tensor):
        _Flat.__init__(self, codes)
        self.vq = VectorQuantize(
            self.dim,
            self.codebook_size,
            rotation_trick=True,
            learnable_codebook=True,
            ema_update=False,
            commitment_weight=0.25,
        )
        self.vq._codebook.embed.data.copy_(codes)


class Taming(_Flat):
    """VQGAN's quantiser: the whole matrix of squared distances, its argmin, both losses, straight-through.

    From Esser et al., "Taming Transformers" (arXiv 2012.09841), and the description of ``VectorQuantizer2`` in their
    repository (``legacy=False``, beta = 0.25).
    """

    def __init__(self, codes: Tensor, estimator=textbook):
        super().__init__(codes)
        self.embedding = nn.Embedding(*codes.shape, _weight=codes.clone())
        self.estimator = estimator

    def quantise(self, z):
        codes = self.embedding.weight
        distances = z.square().sum(1, keepdim=True) + codes.square().sum(1) - 2 * z @ codes.t()
        indices = distances.argmin(1)
        q = self.embedding(indices)
        loss = 0.25 * (q.detach() - z).square().mean() + (q - z.detach()).square().mean()
        return self.estimator(z, q), indices, loss


class Matrix(Taming):
    """The same with the d x d form of the rotation."""

    def __init__(self, codes: Tensor):
        super().__init__(codes, matrix)


class Paper(_Flat):
    """The paper's operator on codes that follow by EMA, with one-hot products, as in its VQ-VAE experiments.

    From arXiv 2410.06424, appendix, and van den Oord et al. 2017 (arXiv 1711.00937), appendix A.1.
    """

    def __init__(self, codes: Tensor, decay: float = 0.8):
        super().__init__(codes)
        self.decay = decay
        self.register_buffer("codes", codes.clone())
        self.register_buffer("counts", codes.new_ones(len(codes)))
        self.register_buffer("sums", codes.clone())

    def quantise(self, z):
        with torch.no_grad():
            indices = torch.cdist(z.float(), self.codes.float()).argmin(1)
            chosen = F.one_hot(indices, self.codebook_size).to(z.dtype)
            q = F.embedding(indices, self.codes)
            self.counts.lerp_(chosen.sum(0), 1 - self.decay)
            self.sums.lerp_(chosen.t() @ z, 1 - self.decay)
            self.codes.copy_(self.sums / self.counts.clamp_min(1e-5).unsqueeze(1))
        return paper(z, q), indices, (z - q).square().mean()


class _Bare(torch.autograd.Function):
    """The rotation from five inner products, without care for half turns or for norms that are 0, tiny or huge."""

    @staticmethod
    def forward(ctx, z, q):
        ctx.save_for_backward(z, q)
        return q.clone()

    @staticmethod
    def backward(ctx, g):
        return map_rows(_combine, g.contiguous(), *(x.contiguous() for x in ctx.saved_tensors)), None


def _combine(g: Tensor, z: Tensor, q: Tensor) -> Tensor:
    """``r R^T g`` as a sum of g, z and q."""
    norm_z, norm_q = (torch.linalg.vector_norm(x, dim=-1, keepdim=True) for x in (z, q))
    zq, zg, qg = ((x * y).sum(-1, keepdim=True) for x, y in ((z, q), (z, g), (q, g)))
    r, along = norm_q / norm_z, (zg / norm_z + qg / norm_q) / (1 + zq / (norm_z * norm_q))
    return torch.mul(g, r).addcmul_(z, r * (2 * qg / norm_q - along) / norm_z).addcmul_(q, -r * along / norm_q)


class _BareRotation(nn.Module):
    def forward(self, z: Tensor, q: Tensor) -> Tensor:
        return _Bare.apply(z, q.detach())


def bare(codes: Tensor) -> VectorQuantizer:
    """Ours with the least that the rotation costs in torch's operations: what a training step could save at most."""
    return VectorQuantizer(codes.shape[1], len(codes), _BareRotation(), init=codes)
