r"""Laws: what every estimator must satisfy, as small functions that state it and test it.

A law takes its inputs by name, as a test takes fixtures, and returns what must agree::

    @law(chapter=3)
    def norm_ratio(z, q, g):
        "|G^T g| = r |g|: the gradient is scaled by r = |q|/|z|, in every dimension."
        return norm(pull_back("rotation", z, q, g)), norm(q) / norm(z) * norm(g)

Inputs: ``z, q, g, h`` vectors (n, d); ``mu`` a point (d,); ``U`` a random orthogonal matrix (d, d);
``t`` in (0, 1); ``member`` the name of an estimator; ``draw(*shape)`` more normal numbers; ``generator, n, d, dtype``.
Returned: ``left, right`` or ``left, right, scale``; :class:`AtMost` of these for a bound; or a dict of them by label.
The error is ``|left - right| / scale``, the scale by default the largest entry of each row.

A page shows a law and runs it with :func:`show`; pytest runs the same registry.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rotvq.quantizers.estimators import ESTIMATORS

DIMS = (1, 2, 3, 8, 64)


class AtMost(NamedTuple):
    """The bound ``left <= right``, up to rounding."""

    left: Tensor
    right: Tensor
    scale: Tensor | float | None = None


@dataclass(frozen=True)
class Law:
    """A function with where it holds. ``roundings``: the error allowed, in units of the dtype's epsilon.

    ``tolerance``: an absolute one instead, for limits and finite differences, which run in float64 only. ``dims``: the
    dimensions it is about; ``kinds``: the pairs (z, q), keys of :data:`KINDS`; ``members``: the estimators.
    """

    function: Callable
    chapter: int
    roundings: float
    tolerance: float | None
    dims: tuple[int, ...]
    kinds: tuple[str, ...]
    members: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        return (torch.float64, torch.float32) if self.tolerance is None else (torch.float64,)

    def allowed(self, dtype: torch.dtype = torch.float64) -> float:
        return self.roundings * torch.finfo(dtype).eps if self.tolerance is None else self.tolerance

    def errors(self, d: int, n: int = 16, dtype=torch.float64, kind="generic", seed: int = 0) -> dict[str, float]:
        """The worst error of each part, over the members where the law is about members."""
        names = inspect.signature(self.function).parameters
        worst: dict[str, float] = {}
        for member in self.members if "member" in names else (None,):
            given = inputs(d, n, dtype, kind, seed) | {"member": member}
            out = self.function(**{name: given[name] for name in names})
            for part, pair in (out if isinstance(out, dict) else {"": out}).items():
                label = " ".join(filter(None, (part, member)))
                worst[label] = max(_error(*pair, bound=isinstance(pair, AtMost)), worst.get(label, 0.0))
        return worst

    def check(self, d: int, n: int = 16, dtype=torch.float64, kind="generic", seed: int = 0) -> float:
        """The worst error; raises AssertionError, naming the part, where it is more than is allowed."""
        errors = self.errors(d, n, dtype, kind, seed)
        for label, error in errors.items():
            if not error <= self.allowed(dtype):
                where = f"d = {d}, n = {n}, {dtype}, {kind}, seed {seed}"
                raise AssertionError(f"{self.name} {label}: error {error:.1e} > {self.allowed(dtype):.1e} at {where}")
        return max(errors.values())


LAWS: dict[str, Law] = {}


def law(
    chapter: int,
    *,
    roundings: float = 200,
    tolerance: float | None = None,
    dims: tuple[int, ...] = DIMS,
    kinds: tuple[str, ...] | None = None,
    members: tuple[str, ...] = tuple(ESTIMATORS),
):
    """Register a law under its name. The function itself is returned, so laws can use each other."""

    def register(function: Callable) -> Callable:
        if LAWS.get(function.__name__, function).__module__ != function.__module__:
            raise ValueError(f"two laws are called {function.__name__!r}")
        if not function.__doc__:
            raise ValueError(f"law {function.__name__!r} states nothing: its docstring is the statement")
        LAWS[function.__name__] = Law(function, chapter, roundings, tolerance, dims, kinds or tuple(KINDS), members)
        return function

    return register


def every() -> dict[str, Law]:
    """All laws: those of this module and of its siblings ``laws_*``."""
    package = importlib.import_module("book.theory")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"book.theory.{module.name}")
    return LAWS


class Report(NamedTuple):
    """A law with its worst errors; a notebook shows it as source and table."""

    source: str
    table: str

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.source}```\n\n```text\n{self.table}\n```"

    def __repr__(self) -> str:
        return f"{self.source}\n{self.table}"


def show(*names: str, seeds: int = 3) -> Report:
    """Run laws on their dimensions and kinds of pairs: their source and worst errors. Raises where one fails."""
    rows = [("", *(f"d = {d}" for d in DIMS), "allowed")]
    for found in (LAWS.get(name) or every()[name] for name in names):
        worst = {d: max(found.check(d, kind=k, seed=s) for k in found.kinds for s in range(seeds)) for d in found.dims}
        rows.append((found.name, *(f"{worst[d]:.0e}" if d in worst else "-" for d in DIMS), f"{found.allowed():.0e}"))
    width = 2 + max(len(row[0]) for row in rows)
    table = "\n".join(row[0].ljust(width) + "".join(cell.rjust(8) for cell in row[1:]) for row in rows)
    return Report("\n\n".join(inspect.getsource(LAWS[name].function) for name in names), table)


def _error(left: Tensor, right: Tensor, scale=None, bound: bool = False) -> float:
    left, right = torch.broadcast_tensors(torch.as_tensor(left), torch.as_tensor(right))
    left, right = left.detach().double(), right.detach().double()
    gap = (left - right).clamp_min(0) if bound else (left - right).abs()
    if scale is None:
        scale = torch.maximum(left.abs(), right.abs())
        scale = scale.flatten(1).amax(1).view(-1, *[1] * (left.ndim - 1)) if left.ndim > 1 else scale
    return float(torch.where(gap == 0, 0.0, gap / scale).detach().max())


# inputs

KINDS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {  # q from z, e of length about 1, s in (0.1, 10)
    "generic": lambda z, e, s: s * norm(z) * e,
    "close": lambda z, e, s: z + 1e-4 * norm(z) * e,
    "opposite": lambda z, e, s: -s * z + 1e-3 * s * norm(z) * e,
    "parallel": lambda z, e, s: s * z,
    "lopsided": lambda z, e, s: 1e6 * s * norm(z) * e,
}


def inputs(d: int, n: int, dtype: torch.dtype, kind: str, seed: int) -> dict:
    """Everything a law can ask for, drawn from one seed."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    z, g, h, e = draw(4, n, d)
    size = 10 ** (2 * torch.rand(2, n, 1, generator=generator, dtype=torch.float64) - 1)
    z = size[0] * z.double()
    q = KINDS[kind](z, e.double() / d**0.5, size[1])
    U, upper = torch.linalg.qr(draw(d, d).double())
    t = 0.1 + 0.8 * torch.rand((), generator=generator, dtype=torch.float64)
    U = U * upper.diagonal().sign()
    return {
        "z": z.to(dtype),
        "q": q.to(dtype),
        "g": g,
        "h": h,
        "mu": draw(d),
        "U": U.to(dtype),
        "t": float(t),
        "draw": draw,
        "generator": generator,
        "n": n,
        "d": d,
        "dtype": dtype,
    }


# the words of the laws; all in float64, so that only the estimator runs in the dtype under test


def dot(x: Tensor, y: Tensor) -> Tensor:
    return (x.double() * y.double()).sum(-1, keepdim=True)


def norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.double(), 2, -1, keepdim=True)


def unit(x: Tensor) -> Tensor:
    """x/|x|, and 0 for 0."""
    return x.double() / norm(x).clamp_min(torch.finfo(torch.float64).tiny)


def angle(x: Tensor, y: Tensor) -> Tensor:
    """The angle in radians, accurate at 0 and at pi, where the arc cosine is not."""
    return 2 * torch.atan2(norm(unit(x) - unit(y)), norm(unit(x) + unit(y)))


def outer(x: Tensor, y: Tensor) -> Tensor:
    return x.double().unsqueeze(-1) * y.double().unsqueeze(-2)


def apply(matrix: Tensor, x: Tensor) -> Tensor:
    return (matrix @ x.double().unsqueeze(-1)).squeeze(-1)


def pull_back(name: str, z: Tensor, q: Tensor, g: Tensor, **options) -> Tensor:
    """``G^T g`` as the package computes it."""
    return ESTIMATORS[name].pull_back(z, q, g, **options)


def jacobian(name: str, z: Tensor, q: Tensor, **options) -> Tensor:
    """``G`` (n, d, d) as the package computes it: row i is ``G^T e_i``."""
    rows = torch.eye(z.shape[-1], dtype=z.dtype).unsqueeze(-2).expand(-1, *z.shape)
    return torch.stack([pull_back(name, z, q, e, **options) for e in rows], -2).double()


def rotation(z: Tensor, q: Tensor) -> Tensor:
    """``R`` by its definition: in the plane of z and q a turn by theta from z to q, elsewhere the identity.

    With a = z/|z| and u the unit vector of that plane orthogonal to a, on the side of q:
    ``R = I + sin(theta)(u a^T - a u^T) + (cos(theta) - 1)(a a^T + u u^T)``. Independent of the package's formula.
    """
    a, theta = unit(z), angle(z, q).unsqueeze(-1)
    u = unit(q) - dot(a, unit(q)) * a
    u = unit(u - dot(a, u) * a)
    eye = torch.eye(z.shape[-1], dtype=torch.float64)
    return eye + theta.sin() * (outer(u, a) - outer(a, u)) + (theta.cos() - 1) * (outer(a, a) + outer(u, u))


def reflection(z: Tensor, q: Tensor) -> Tensor:
    """``H = I - 2uu^T``, the mirror between z/|z| and q/|q|."""
    u = unit(unit(z) - unit(q))
    return torch.eye(z.shape[-1], dtype=torch.float64) - 2 * outer(u, u)
