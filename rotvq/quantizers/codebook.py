"""The codes: how they start, how they are parametrised, and what can be asked of them in the loss."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from rotvq.quantizers.distributed import broadcast, gather_rows, world
from rotvq.quantizers.geometry import unit


def _uniform(codes: Tensor, latents: Tensor | None, generator) -> Tensor:
    """U(-1/K, 1/K), as in the first VQ-VAE code and in VQGAN: norms near sqrt(d/3)/K, far below those of latents."""
    return (torch.rand(codes.shape, generator=generator) * 2 - 1) / len(codes)


def _normal(codes: Tensor, latents: Tensor | None, generator) -> Tensor:
    """N(0, I/d): codes of norm near 1, whatever the latents."""
    return torch.randn(codes.shape, generator=generator) / math.sqrt(codes.shape[1])


def _latents(codes: Tensor, latents: Tensor, generator) -> Tensor:
    """Distinct latents, drawn at random (with repetition only where there are fewer than K)."""
    order = torch.randperm(len(latents), generator=generator)
    repeats = math.ceil(len(codes) / len(order))
    return latents[order.repeat(repeats)[: len(codes)]]


def _kmeans(codes: Tensor, latents: Tensor, generator) -> Tensor:
    """Lloyd's k-means of scikit-learn (greedy k-means++, one start, at most 100 rounds) on the given latents."""
    from sklearn.cluster import KMeans

    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    fit = KMeans(len(codes), n_init=1, max_iter=100, random_state=seed).fit(latents.double().numpy())
    return torch.from_numpy(fit.cluster_centers_)


INITS = {"uniform": _uniform, "normal": _normal, "latents": _latents, "kmeans": _kmeans}  #: first codes, by name
FROM_LATENTS = {"latents": 1, "kmeans": math.inf}  # inits that wait for latents; they need min(this, K) of them


class Form(nn.Module, ABC):
    """Base of the parametrisations: ``codes = form(weight)``, both (codebook_size, dim)."""

    learns_weight = True  # whether the weight itself is learned

    def __init__(self, dim: int):
        super().__init__()

    @abstractmethod
    def forward(self, weight: Tensor) -> Tensor:
        """The codes; those of a new form are the weight itself, where it can be."""


class Free(Form):
    """Every code is its own parameter: ``e = w``."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight


class Sphere(Form):
    """Codes of norm 1: ``e = w / |w|``."""

    def forward(self, weight: Tensor) -> Tensor:
        return unit(weight)


# Huh et al., "Straightening Out the Straight-Through Estimator", ICML 2023 (arXiv 2305.08842), section 4.1
class Affine(Form):
    """``e = s * w + t`` with s and t, both (dim,), shared by all codes: they follow latents that move as a whole."""

    def __init__(self, dim: int):
        super().__init__(dim)
        self.scale, self.shift = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.scale + self.shift


class Linear(Form):
    """``e = W w`` with w fixed and W (dim, dim) learned, from the identity on: see :mod:`.simvq`."""

    learns_weight = False

    def __init__(self, dim: int):
        super().__init__(dim)
        self.map = nn.Parameter(torch.eye(dim))

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            return weight @ self.map.t()


FORMS = {"free": Free, "sphere": Sphere, "affine": Affine, "linear": Linear}  #: parametrisations, by name
DIRECT = ("free", "sphere")  # forms whose codes an EMA step or a revival can set


def _orthogonal(codes: Tensor) -> Tensor:
    r""":math:`\frac1{K^2}\sum_{j \ne k} \cos^2(e_j, e_k)` (Shin et al. 2021, arXiv 2112.00384, eq. 2), in O(K d^2)."""
    a, count = unit(codes), len(codes)
    return (a.t() @ a).square().sum() / count**2 - 1 / count


def _norm(codes: Tensor) -> Tensor:
    r""":math:`\frac1K\sum_k |e_k|^2`."""
    return codes.square().sum(-1).mean()


PENALTIES = {"orthogonal": _orthogonal, "norm": _norm}  #: terms for the loss, by name, from the codes


class Codebook(nn.Module):
    """``codes`` (codebook_size, dim), a form of the parameter ``weight``; ``ready`` once they have started.

    "latents" and "kmeans" start when :meth:`start` is given latents; under torch.distributed rank 0 decides and the
    others receive. Raises ValueError on sizes, names and shapes that cannot be.

    Args:
        codebook_size: number of codes, K.
        dim: of each.
        init: a key of :data:`INITS`, or the vectors themselves, (codebook_size, dim).
        init_scale: a factor on the norms of the first codes, positive.
        learned: False: nothing here receives a gradient.
        form: a key of :data:`FORMS`.
        generator: of the first codes; None: torch's global one.

    >>> book = Codebook(codebook_size=2, dim=3, init="latents")
    >>> book.start(torch.tensor([[1.0, 2.0, 3.0]]))
    >>> book.codes.tolist()
    [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]
    """

    def __init__(
        self,
        codebook_size: int,
        dim: int,
        init: str | Tensor = "uniform",
        init_scale: float = 1.0,
        learned: bool = True,
        form: str = "free",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        if codebook_size < 1 or dim < 1:
            raise ValueError(f"codebook_size is {codebook_size} and dim {dim}: both must be at least 1")
        if form not in FORMS:
            raise ValueError(f"unknown form {form!r}: one of {', '.join(FORMS)}")
        if isinstance(init, str) and init not in INITS:
            raise ValueError(f"unknown init {init!r}: one of {', '.join(INITS)}")
        if isinstance(init, Tensor) and init.shape != (codebook_size, dim):
            raise ValueError(f"the given codes have shape {tuple(init.shape)}, not {(codebook_size, dim)}")
        if not init_scale > 0:
            raise ValueError(f"init_scale is {init_scale}: it must be positive")
        self.init, self.init_scale, self.generator = init, init_scale, generator
        self.weight = nn.Parameter(torch.zeros(codebook_size, dim))
        self.form = FORMS[form](dim)
        self.requires_grad_(learned)
        self.weight.requires_grad_(learned and self.form.learns_weight)
        self.register_buffer("started", torch.tensor(False))
        self.ready = False  # the buffer as a Python bool: read in every call, also while compiling
        self.register_load_state_dict_post_hook(lambda module, keys: setattr(module, "ready", bool(module.started)))
        if isinstance(init, Tensor) or init not in FROM_LATENTS:
            self.start(None)

    @property
    def codes(self) -> Tensor:
        return self.form(self.weight)

    @torch.no_grad()
    def start(self, latents: Tensor | None) -> None:
        """Set the codes by ``init`` from the latents (N, dim) of every rank; ValueError where these are too few."""
        new_form = type(self.form)(self.weight.shape[1])
        self.form.load_state_dict(new_form.state_dict())
        codes = self.init if isinstance(self.init, Tensor) else self._first_codes(latents)
        self.weight.copy_(codes.to(self.weight) * self.init_scale)
        broadcast(self.weight)
        self.started.fill_(True)
        self.ready = True

    def start_once(self, latents: Tensor, mask: Tensor | None) -> None:
        """:meth:`start` with the latents (..., dim) that ``mask`` (...) keeps, unless the codes have started."""
        if not self.ready:
            self.start(latents.reshape(-1, latents.shape[-1]) if mask is None else latents[mask])

    def _first_codes(self, latents: Tensor | None) -> Tensor:
        if latents is not None:
            latents = gather_rows(self.form(latents.detach().to(torch.promote_types(latents.dtype, torch.float32))))
        size, available = len(self.weight), 0 if latents is None else len(latents)
        needed = min(FROM_LATENTS.get(self.init, 0), size)
        if available < needed:
            raise ValueError(f"init {self.init!r} of {size} codes needs {needed} latents or more, not {available}")
        return INITS[self.init](self.weight, latents, self.generator) if world()[0] == 0 else self.weight

    def extra_repr(self) -> str:
        init = self.init if isinstance(self.init, str) else "given"
        return f"{len(self.weight)} codes of dimension {self.weight.shape[1]}, init={init}"
