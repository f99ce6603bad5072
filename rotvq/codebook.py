"""The codes and how they start."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def _uniform(codes: Tensor, latents: Tensor | None, generator) -> Tensor:
    """U(-1/K, 1/K), as in the first VQ-VAE code and in VQGAN: norms near sqrt(d/3)/K, far below those of latents."""
    return (torch.rand(codes.shape, generator=generator) * 2 - 1) / len(codes)


def _normal(codes: Tensor, latents: Tensor | None, generator) -> Tensor:
    """N(0, I/d): codes of norm near 1, whatever the latents."""
    return torch.randn(codes.shape, generator=generator) / math.sqrt(codes.shape[1])


def _latents(codes: Tensor, latents: Tensor, generator) -> Tensor:
    """Distinct latents, drawn at random (with repetition only where there are fewer than K)."""
    order = torch.randperm(len(latents), generator=generator)
    return latents[order.repeat(-(-len(codes) // len(order)))[: len(codes)]]


def _kmeans(codes: Tensor, latents: Tensor, generator) -> Tensor:
    """Lloyd's k-means of scikit-learn (greedy k-means++, one start, at most 100 rounds) on the given latents."""
    from sklearn.cluster import KMeans

    if len(latents) < len(codes):
        raise ValueError(f"k-means needs at least as many latents as codes: {len(latents)} for {len(codes)}")
    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    fit = KMeans(len(codes), n_init=1, max_iter=100, random_state=seed).fit(latents.double().numpy())
    return torch.from_numpy(fit.cluster_centers_)


INITS = {"uniform": _uniform, "normal": _normal, "latents": _latents, "kmeans": _kmeans}
FROM_LATENTS = ("latents", "kmeans")


class Codebook(nn.Module):
    """``codes``, a parameter of shape (codebook_size, dim); with ``learned=False`` it receives no gradient.

    init: a key of :data:`INITS` or the vectors themselves. init_scale: a factor on their norms. "latents" and "kmeans"
    start when :meth:`start` is given latents; under torch.distributed rank 0 decides and the others receive.
    """

    def __init__(self, codebook_size: int, dim: int, init: str | Tensor = "uniform", init_scale: float = 1.0,
                 learned: bool = True, generator: torch.Generator | None = None):
        super().__init__()
        if codebook_size < 1 or dim < 1:
            raise ValueError(f"codebook_size is {codebook_size} and dim {dim}: both must be at least 1")
        if isinstance(init, str) and init not in INITS:
            raise ValueError(f"unknown init {init!r}: one of {', '.join(INITS)}")
        if isinstance(init, Tensor) and init.shape != (codebook_size, dim):
            raise ValueError(f"the given codes have shape {tuple(init.shape)}, not {(codebook_size, dim)}")
        if not init_scale > 0:
            raise ValueError(f"init_scale is {init_scale}: it must be positive")
        self.init, self.init_scale, self.generator = init, init_scale, generator
        self.codes = nn.Parameter(torch.zeros(codebook_size, dim), requires_grad=learned)
        self.register_buffer("started", torch.tensor(False))
        self.ready = False  # the buffer as a Python bool: read in every call, also while compiling
        self.register_load_state_dict_post_hook(lambda module, keys: setattr(module, "ready", bool(module.started)))
        if isinstance(init, Tensor) or init not in FROM_LATENTS:
            self.start(None)

    @torch.no_grad()
    def start(self, latents: Tensor | None) -> None:
        """Set the codes by ``init`` from latents (N, dim), gathered from every rank where there are several."""
        if isinstance(self.init, Tensor):
            codes = self.init
        else:
            latents = None if latents is None else _gather(latents.detach().float()).cpu()
            codes = INITS[self.init](self.codes, latents, self.generator)
        self.codes.copy_(codes.to(self.codes) * self.init_scale)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.broadcast(self.codes.data, 0)
        self.started.fill_(True)
        self.ready = True

    def extra_repr(self) -> str:
        init = self.init if isinstance(self.init, str) else "given"
        return f"{len(self.codes)} codes of dimension {self.codes.shape[1]}, init={init}"


def _gather(x: Tensor) -> Tensor:
    """The rows of every rank, in rank order; ranks may hold different numbers of rows."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return x
    parts = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, x.cpu())
    return torch.cat(parts)
