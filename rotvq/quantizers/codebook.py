"""The codes: how they start, how they are parametrised, and what can be asked of them in the loss."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rotvq.quantizers.distributed import Group, Shared, broadcast, gather_rows, refuse_lost_writes
from rotvq.quantizers.geometry import unit
from rotvq.quantizers.kmeans import kmeans
from rotvq.quantizers.operators import WideState, wide


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
    """Lloyd's k-means on the given latents: see :mod:`.kmeans`."""
    return kmeans(latents, len(codes), generator)


INITS = {"uniform": _uniform, "normal": _normal, "latents": _latents, "kmeans": _kmeans}  #: first codes, by name
FROM_LATENTS = {"latents": 1, "kmeans": math.inf}  # inits that wait for latents; they need min(this, K) of them
Start = Callable[[Tensor, int, torch.Generator | None], Tensor]  # latents (N, dim), K, generator -> codes (K, dim)


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
        return unit(wide(weight))


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
        wide = torch.promote_types(weight.dtype, self.map.dtype)
        with torch.autocast(weight.device.type, enabled=False):
            return weight.to(wide) @ self.map.to(wide).t()


FORMS = {"free": Free, "sphere": Sphere, "affine": Affine, "linear": Linear}  #: parametrisations, by name
DIRECT = ("free", "sphere")  # forms whose codes an EMA step or a revival can set


def _orthogonal(codes: Tensor) -> Tensor:
    r""":math:`\frac1{K^2}\sum_{j \ne k} \cos^2(e_j, e_k)` (Shin et al. 2021, arXiv 2112.00384, eq. 2), in O(K d^2)."""
    a, count = unit(wide(codes)), len(codes)
    with torch.autocast(codes.device.type, enabled=False):
        return (a.t() @ a).square().sum() / count**2 - 1 / count


def _norm(codes: Tensor) -> Tensor:
    r""":math:`\frac1K\sum_k |e_k|^2`."""
    return wide(codes).square().sum(-1).mean()


PENALTIES = {"orthogonal": _orthogonal, "norm": _norm}  #: terms for the loss, by name, from the codes


class Codebook(WideState):
    """``codes`` (codebook_size, dim), a form of ``weight``: a parameter where a gradient moves it, else a buffer.

    "latents", "kmeans" and functions of latents start when :meth:`start` is given some; ``ready`` tells whether they
    have. Raises ValueError on sizes, names and shapes that cannot be.

    Args:
        codebook_size: number of codes, K.
        dim: of each.
        init: a key of :data:`INITS`, the vectors themselves, (codebook_size, dim), or a function of latents (N, dim),
            K and a generator, which gives them.
        init_scale: a factor on the norms of the first codes, positive.
        learned: False: nothing here receives a gradient.
        form: a key of :data:`FORMS`.
        generator: of the first codes; None: torch's global one.
        process_group: ranks that start together, here and in :meth:`start`: the first decides, the others receive.

    >>> book = Codebook(codebook_size=2, dim=3, init="latents")
    >>> book.start(torch.tensor([[1.0, 2.0, 3.0]]))
    >>> book.codes.tolist()
    [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]
    """

    def __init__(
        self,
        codebook_size: int,
        dim: int,
        init: str | Tensor | Start = "uniform",
        init_scale: float = 1.0,
        learned: bool = True,
        form: str = "free",
        generator: torch.Generator | None = None,
        process_group: Group = None,
    ):
        super().__init__()
        if codebook_size < 1 or dim < 1:
            raise ValueError(f"codebook_size is {codebook_size} and dim {dim}: both must be at least 1")
        if form not in FORMS:
            raise ValueError(f"unknown form {form!r}: one of {', '.join(FORMS)}")
        if isinstance(init, str) and init not in INITS:
            raise ValueError(f"unknown init {init!r}: one of {', '.join(INITS)}")
        if not (isinstance(init, str | Tensor) or callable(init)):
            raise ValueError(f"init is a {type(init).__name__}: it must be a name, a tensor of codes or a function")
        if isinstance(init, Tensor) and init.shape != (codebook_size, dim):
            raise ValueError(f"the given codes have shape {tuple(init.shape)}, not {(codebook_size, dim)}")
        if not init_scale > 0:
            raise ValueError(f"init_scale is {init_scale}: it must be positive")
        self.init = init.detach().clone() if isinstance(init, Tensor) else init
        self.init_scale, self.generator, self._group = init_scale, generator, Shared(process_group)
        self.form = FORMS[form](dim)
        self.form.requires_grad_(learned)
        if learned and self.form.learns_weight:
            self.weight = nn.Parameter(torch.zeros(codebook_size, dim))
        else:
            self.register_buffer("weight", torch.zeros(codebook_size, dim, dtype=torch.float32))
        self.register_buffer("started", torch.tensor(0))  # or 1: bools have no average
        self._known_to_have_started: Tensor | None = None
        self.register_load_state_dict_post_hook(_look_again)
        if not self.awaits_latents:
            self.start(None)

    def __getstate__(self):
        if self.generator is None:
            return self.__dict__
        # torch 2.13 cannot send a generator to another process
        return {**self.__dict__, "generator": (self.generator.device, self.generator.get_state().tolist())}

    def __setstate__(self, state):
        super().__setstate__(state)
        if self.generator is not None:
            device, numbers = self.generator
            self.generator = torch.Generator(device).set_state(torch.tensor(numbers, dtype=torch.uint8))

    @property
    def codes(self) -> Tensor:
        return self.form(self.weight)

    @property
    def awaits_latents(self) -> bool:
        """Whether the first codes are made of latents."""
        return not isinstance(self.init, Tensor) and (callable(self.init) or self.init in FROM_LATENTS)

    @property
    def ready(self) -> bool:
        """Whether the codes have started, as the buffer says, whoever wrote it: a checkpoint, DDP, an EMA model."""
        if not self.awaits_latents:
            return True
        if torch.compiler.is_compiling():  # a compiler looks once, a trace of torch.export knows what was seen last
            looks = torch.compiler.is_dynamo_compiling()
            return self._known_to_have_started is not None or looks and _value_at_compilation(self.started)
        if self._known_to_have_started is not self.started and self.started:  # a look at a GPU's value waits for it
            self._known_to_have_started = self.started
        return self._known_to_have_started is self.started

    @torch.no_grad()
    def start(self, latents: Tensor | None, group: Group = None) -> None:
        """Set the codes by ``init`` from the latents (N, dim) of every rank; ValueError where these are too few."""
        group = self._group.group if group is None else group
        refuse_lost_writes(self.weight, group)
        new_form = type(self.form)(self.weight.shape[1])
        self.form.load_state_dict(new_form.state_dict())
        codes = self.init if isinstance(self.init, Tensor) else self._first_codes(latents, group)
        self.weight.copy_(codes.to(self.weight) * self.init_scale)
        broadcast(self.weight, group)
        self.started.fill_(1)

    def start_once(self, latents: Tensor, mask: Tensor | None, group: Group = None) -> None:
        """:meth:`start` with the latents (..., dim) that ``mask`` (...) keeps, unless the codes have started."""
        if not self.ready:
            self.start(latents.reshape(-1, latents.shape[-1]) if mask is None else latents[mask], group)

    def _first_codes(self, latents: Tensor | None, group: Group) -> Tensor:
        """The codes by ``init``; every rank draws the same numbers of its generator."""
        size, latents_needed = len(self.weight), self.awaits_latents
        if latents is not None:
            latents = gather_rows(self.form(wide(latents.detach())), group)
        available = 0 if latents is None else len(latents)
        needed = min(FROM_LATENTS.get(self.init, 1), size) if latents_needed else 0
        if available < needed:
            raise ValueError(f"init {self.init!r} of {size} codes needs {needed} latents or more, not {available}")
        if callable(self.init):
            return self.init(latents, size, self.generator)
        return INITS[self.init](self.weight, latents, self.generator)

    def extra_repr(self) -> str:
        init = "given" if isinstance(self.init, Tensor) else getattr(self.init, "__name__", self.init)
        return f"{len(self.weight)} codes of dimension {self.weight.shape[1]}, init={init}"


@torch.compiler.assume_constant_result
def _value_at_compilation(x: Tensor) -> bool:
    return bool(x)


def _look_again(codebook: Codebook, _) -> None:
    """After loading: what is known of the buffer ``started`` may be wrong."""
    is_real = not codebook.started.is_meta
    codebook._known_to_have_started = codebook.started if is_real and codebook.started else None
