"""How much work the closed form is, how the textbook listing computes it, and what was timed."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode

from book.algebra import gradient_map, largest, norm, normal, pull_back, unit
from book.bench.timing import Ratio, ratio
from book.ledger.evidence.rotation import textbook
from book.ledger.evidence.samples import triples
from book.statements import Finding, evidence
from rotvq.runs.records import read_record


class _Written(TorchFunctionMode):
    """Counts the numbers that all operations inside write."""

    total = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self.total += sum(x.numel() for x in (out if isinstance(out, tuple | list) else [out]) if torch.is_tensor(x))
        return out


def _written(function) -> int:
    """Numbers written while the function runs."""
    with _Written() as count:
        function()
    return count.total


@cache
def _per_entry(d: int) -> float:
    """Numbers that the closed form writes per entry of g."""
    z, q, g = normal(3, d, seed=1).unbind()
    return _written(lambda: pull_back("rotation", z, q, g)) / d


@evidence
def linear_cost():
    """The closed form writes a fixed number of numbers per entry, at every d, and equals the dense product."""
    d = 256
    z, q, g = normal(3, d, seed=1).unbind()
    gap = norm(pull_back("rotation", z, q, g) - gradient_map(z, q).T @ g) / norm(g)
    dense = _written(lambda: (norm(q) / norm(z) * textbook(z, q)).T @ g) / d
    few, many = _per_entry(64), _per_entry(1024)
    return Finding.of(
        gap < 1e-12 and many < 1.1 * few < dense,
        None,
        relative_gap=gap,
        written_per_entry_d_64=few,
        written_per_entry_d_1024=many,
        by_the_dense_product_d_256=dense,
    )


@evidence
def ste_is_free():
    """STE's pull-back writes two numbers an entry, a copy, and the rotation's more than five times as many."""
    z, q, g = normal(3, 64, seed=1).unbind()
    copied, turned = _written(lambda: pull_back("ste", z, q, g)) / 64, _per_entry(64)
    return Finding.of(copied <= 2 and turned > 5 * copied, written_per_entry=copied, by_the_rotation=turned)


@evidence
def overhead(which):
    """Against the claims that the trick costs O(d^2), needs the matrix, or costs more per number as d grows."""
    few, many = _per_entry(512), _per_entry(4096)
    right = linear_cost()
    claims = {"is quadratic": many > 2 * few, "grows with d": many > 1.1 * few, "needs the matrix": many > 4096}
    return Finding.of(claims[which], right.claim, written_per_entry_d_512=few, written_per_entry_d_4096=many)


def listing(z, q):
    """Steps 1 to 3 of the listing."""
    a, b = unit(z), unit(q)
    v = a + b
    return norm(q) / norm(z) * (z + 2 * b * (a @ z) - v * (v @ z) / (1 + a @ b))


@evidence
def algorithm_5_1():
    """The listing is right away from theta = pi and loses the norm near it in float32; two reflections keep it."""
    far = largest(*(norm(listing(z, q) - q) / norm(q) for z, q, _ in triples(2, 8, 64)))
    t, lost, kept = math.pi - 1e-3, 0.0, 0.0
    for seed in range(20):
        z, u, g = unit(normal(3, 8, seed=seed))
        u = unit(u - (u @ z) * z)
        z, q, g = (x.float() for x in (z, math.cos(t) * z + math.sin(t) * u, g))
        a, b = z / z.norm(), q / q.norm()  # in float32, as the listing is run
        v = a + b
        textbook = g + 2 * a * (b @ g) - v * (v @ g) / (1 + a @ b)
        lost = largest(lost, abs(norm(textbook) - 1))
        kept = largest(kept, abs(norm(pull_back("rotation", z, q, g)) - 1))
    return Finding.of(
        far < 1e-12,
        kept < 1e-6,
        error_far_from_pi=far,
        norm_lost_at_pi_minus_1e_3=lost,
        with_two_reflections=kept,
    )


@evidence
def same_trick_backward():
    """G^T g has the closed form of G z with the two unit vectors exchanged."""
    worst = 0.0
    for z, q, g in triples(2, 8, 64):
        a, b = unit(z), unit(q)
        v = a + b
        swapped = norm(q) / norm(z) * (g + 2 * a * (b @ g) - v * (v @ g) / (1 + a @ b))
        worst = largest(worst, norm(swapped - gradient_map(z, q).T @ g) / norm(g))
    return Finding.of(worst < 1e-10, largest_relative_error=worst)


# from the records of the page "What it costs": rotation over straight-through of one package, median and quartiles

ARMS = {"rotvq": ("rotvq", "ste"), "vector-quantize-pytorch": ("library", "library_ste")}


def _timed(records: Path, kind: str, package: str = "rotvq") -> dict[int, Ratio]:
    """The ratio at each dimension; empty where nothing was timed on a CPU in float32."""
    timed = {}
    for path in sorted((records / "20_cost").glob("*.json")):
        record = read_record(path)
        cell = record["config"]
        if (cell["kind"], cell["device"], cell["dtype"]) == (kind, "cpu", "float32"):
            timed[cell["d"]] = ratio(record["result"]["seconds"], *ARMS[package])
    return dict(sorted(timed.items()))


@evidence
def slows_training(d, low, high, least, most, package="rotvq", *, records: Path):
    """A training step with a package's rotation takes ``low`` to ``high`` percent more than with its STE, at ``d``.

    Decided where the quartiles lie inside the range or outside it. The correction: it takes ``least`` to ``most``.
    """
    timed = _timed(records, "training", package).get(int(d))
    if timed is None:
        return None
    median, first, third = (100 * (x - 1) for x in timed)
    inside, outside = float(low) <= first <= third <= float(high), third < float(low) or first > float(high)
    return Finding.of(
        inside if inside or outside else None,
        float(least) <= first <= third <= float(most),
        percent_more=median,
        lower_quartile=first,
        upper_quartile=third,
    )


@evidence
def costs_more(records: Path):
    """Alone, the rotation takes longer than STE at every dimension timed."""
    alone, step = _timed(records, "estimator"), _timed(records, "training")
    if not alone or not step:
        return None
    return Finding.of(
        all(r.low > 1 for r in alone.values()),
        None,
        alone_least=min(r.median for r in alone.values()),
        alone_most=max(r.median for r in alone.values()),
        training_step_most=max(r.median for r in step.values()),
    )


@evidence
def dearer_above(d, records: Path):
    """Above ``d`` the rotation adds a larger share to a training step than below: by its quartiles, at any of them."""
    step = _timed(records, "training")
    below, above = ([r for n, r in step.items() if (n > int(d)) is side] for side in (False, True))
    if not below or not above:
        return None
    worst = max(below, key=lambda r: r.median)
    return Finding.of(any(r.low > worst.high for r in above), None, **_shares(step))


@evidence
def no_difference(small, percent, records: Path):
    """On other networks and devices: not timed. Here: none up to d = ``small``, above it more than ``percent``."""
    step = _timed(records, "training")
    if not step:
        return None
    none, some = ([r for d, r in step.items() if (d > int(small)) is side] for side in (False, True))
    return Finding.of(
        None,
        all(r.low <= 1 <= r.high for r in none) and all(r.low > 1 + float(percent) / 100 for r in some),
        **_shares(step),
    )


def _shares(step: dict[int, Ratio]) -> dict[str, float]:
    return {f"training_step_at_d_{d}": r.median for d, r in step.items()}
