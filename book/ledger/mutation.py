"""Mutations: what evidence is about, broken, so that the evidence has to turn. ``python -m book.ledger --mutate``.

A mutation is a context in which one thing is something else: STE stands where the rotation stood, G lacks its factor,
the lookup takes the second nearest code, the arms of records are exchanged. It breaks what some claim is about, and not
everything: random codes or gradients of 0 would turn most evidence and say nothing. Evidence that finds in it what it
finds without has not turned; evidence that no mutation turns cannot fail, and settles nothing.

What evidence finds of the claim has to change, and what it finds of the correction where there is one. An error that
evidence raises is not counted as a turn.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import yaml

from book import algebra
from book.all_statements import all_statements
from book.bench.timing import Ratio
from book.ledger.evidence import (
    autograd,
    bias,
    codebooks,
    collapse,
    convergence,
    cost,
    geometry,
    gradient_field,
    paper,
    pull_back,
    quantisation,
    references,
    released_code,
    rope,
    rotation,
    runs,
    samples,
)
from book.ledger.evidence import drift as first_steps
from book.ledger.grammar import Call
from book.statements import Finding, Law
from book.theory import balance_law, conserved, drift, encoder_feels, guarantees, missing_derivative, one_equation
from book.theory import bias as dither
from book.theory import collapse as model
from book.theory import convergence as descent
from book.theory import residual as cascades
from book.theory import rotation as rotation_laws
from rotvq.quantizers import estimators, lookup
from rotvq.quantizers.estimators import ESTIMATORS, Estimator
from rotvq.quantizers.residual import WIRINGS
from rotvq.quantizers.vector import VectorQuantizer

SOUND = dict(ESTIMATORS)
Patches = Sequence[Any]


@dataclass(frozen=True)
class Mutation:
    """One thing broken.

    Attributes:
        name: What stands there instead, in words.
        patches: The replacements, made anew each time.
        of_records: It changes records only, and nothing that is computed.
    """

    name: str
    patches: Callable[[], Patches]
    of_records: bool = False

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """With it in force; what evidence keeps from before is forgotten, and again afterwards."""
        with contextlib.ExitStack() as stack:
            if not self.of_records:
                _forget()
                stack.callback(_forget)
            for one in self.patches():
                stack.enter_context(one)
            yield


@cache
def _modules() -> tuple[Any, ...]:
    """All modules of the book but this one."""
    all_statements()
    return tuple(module for name, module in sys.modules.items() if name.startswith("book.") and name != __name__)


STAY = (runs._rows, runs._found, first_steps.networks)


@cache
def _kept() -> tuple[Any, ...]:
    """The functions of evidence that keep what they computed; networks before their first step stay."""
    named = [value for module in _modules() if "ledger.evidence" in module.__name__ for value in vars(module).values()]
    return tuple(value for value in named if hasattr(value, "cache_clear") and value not in STAY)


def _forget() -> None:
    for function in _kept():
        function.cache_clear()


def everywhere(function: Any, by: Any) -> Patches:
    """The function replaced in every module of the book that has it."""
    return [
        patch.object(module, name, by)
        for module in _modules()
        for name, value in list(vars(module).items())
        if value is function
    ]


def members(**rows: str | Estimator) -> Patches:
    """Estimators replaced by others."""
    return [patch.dict(ESTIMATORS, {name: SOUND[by] if isinstance(by, str) else by for name, by in rows.items()})]


def instead_of(**rules: type[Estimator]) -> Patches:
    """Estimators with the rows they have and another rule."""
    return members(
        **{
            key: rule(**{field.name: getattr(SOUND[key], field.name) for field in fields(Estimator)})
            for key, rule in rules.items()
        }
    )


class Formed(Estimator):
    """A member whose value is formed as z + (q - z)."""

    def __call__(self, z, q, **options):
        return super().__call__(z, q, **options) + (z + (q - z) - q).detach()


class ThirtyFold(Estimator):
    """A member that hands on thirty times as much."""

    def pull_back(self, z, q, g, **options):
        return 30 * super().pull_back(z, q, g, **options)


class AtOneAlone(Estimator):
    """A member that hands on nothing unless z and q are of one length."""

    def pull_back(self, z, q, g, **options):
        same = (SOUND_NORM(z) - SOUND_NORM(q)).abs() < 0.02 * SOUND_NORM(z)
        return torch.where(same, super().pull_back(z, q, g, **options), 0 * g)


class OneNumber(Estimator):
    """A member that hands on the first number of g and no other."""

    def pull_back(self, z, q, g, **options):
        return g * torch.nn.functional.one_hot(torch.tensor(0), g.shape[-1]).to(g)


class Outward(Estimator):
    """A member whose steps lead away from the origin, whatever the gradient."""

    def pull_back(self, z, q, g, **options):
        return -SOUND_NORM(g) * algebra.unit(z)


class AboutTheOrigin(Estimator):
    """A member that turns and scales about the origin, whatever the centre."""

    def pull_back(self, z, q, g, **options):
        return super().pull_back(z, q, g, **{**options, "centre": None})


class ToTheCode(Estimator):
    """A member that hands g on to the code, too."""

    def __call__(self, z, q, **options):
        return super().__call__(z, q, **options) + (q - q.detach())


class Unclipped(Estimator):
    """A member that scales by r as it is."""

    def pull_back(self, z, q, g, **options):
        return SOUND_NORM(q) / SOUND_NORM(z) * SOUND_PULL_BACK("rotation_only", z, q, g)


class OfOneLength(Estimator):
    """A member that gives every gradient the length 1 first."""

    def pull_back(self, z, q, g, **options):
        return super().pull_back(z, q, g / SOUND_NORM(g), **options)


class Doubled(Estimator):
    """A member that hands on twice as much."""

    def pull_back(self, z, q, g, **options):
        return 2 * super().pull_back(z, q, g, **options)


class JumpsHalfWay(Estimator):
    """A member whose mix is 0 or 1, whichever is nearer."""

    def pull_back(self, z, q, g, mix=1.0, **options):
        return super().pull_back(z, q, g, mix=float(mix >= 0.5), **options)


class TurnedMix(Estimator):
    """A member whose mix runs the other way."""

    def pull_back(self, z, q, g, mix=1.0, **options):
        return super().pull_back(z, q, g, mix=1 - mix, **options)


class TimesOneOverR(Estimator):
    """A member that turns as R^T and scales by 1/r."""

    def pull_back(self, z, q, g, **options):
        return SOUND_NORM(z) / SOUND_NORM(q) * SOUND_PULL_BACK("rotation_only", z, q, g)


class Towards(Estimator):
    """A member that hands on q - z, whatever the gradient."""

    def pull_back(self, z, q, g, **options):
        return q - z


class OnePlusCosine(Estimator):
    """The rotation by the formula with 1 + cos(theta), in the precision of g."""

    def pull_back(self, z, q, g, **options):
        a, b = z / z.norm(dim=-1, keepdim=True), q / q.norm(dim=-1, keepdim=True)
        v, along = a + b, lambda x, y: (x * y).sum(-1, keepdim=True)
        turned = g + 2 * a * along(b, g) - v * along(v, g) / (1 + along(a, b))
        return q.norm(dim=-1, keepdim=True) / z.norm(dim=-1, keepdim=True) * turned


class AtTheLatent(Estimator):
    """A member that hands on the gradient at z, of a loss with curvature 1."""

    def pull_back(self, z, q, g, **options):
        return g + z.double() - q.double()


class HarderFarOff(Estimator):
    """A member that hands on more the farther z lies from q."""

    def pull_back(self, z, q, g, **options):
        return (1 + 2 * SOUND_NORM(z - q)) * super().pull_back(z, q, g, **options)


class EveryTurned(Estimator):
    """A member that turns every gradient by theta, towards an axis that is not its own."""

    def pull_back(self, z, q, g, **options):
        axis = torch.nn.functional.one_hot(g.abs().argmin(-1), g.shape[-1]).to(g)
        aside = axis - algebra.dot(axis, algebra.unit(g)) * algebra.unit(g)
        theta = algebra.angle(z, q)
        turned = theta.cos() * g + theta.sin() * SOUND_NORM(g) * algebra.unit(aside)
        return SOUND_NORM(q) / SOUND_NORM(z) * turned


def straying(z, q):
    """A map that is farther from I the farther z lies from q, wherever the origin is."""
    return (1 + 10 * SOUND_NORM(z - q)).unsqueeze(-1) * algebra.identity(z)


def second_nearest(z, codes):
    """The second nearest code."""
    return algebra.distances(z, codes).argsort(-1)[..., min(1, len(codes) - 1)]


def soft_lookup(z, codes):
    """The average of the codes weighted by softmax(-|z - e|^2)."""
    return torch.softmax(-SOUND_D(z, codes).square(), -1) @ codes


def any_bisector(z, q):
    """The bisector of z and q, and where they are opposite a vector orthogonal to both."""
    between = algebra.unit(z) + algebra.unit(q)
    across = torch.nn.functional.one_hot(z.abs().argmin(), len(z)).to(z)
    across = across - algebra.dot(across, algebra.unit(z)) * algebra.unit(z)
    return algebra.unit(between if between.abs().max() > 1e-9 else across)


def stretched_frame(polar_angle, azimuth):
    """The frame of hyperspherical coordinates at radius 1, its vectors at their own lengths."""
    return SOUND_FRAME(polar_angle, azimuth) * torch.tensor([1, 1, math.sin(polar_angle)], dtype=torch.float64)


def as_ste(member, z, q, centre=None):
    """I for the matrix of every member."""
    return algebra.jacobian("ste", z, q)


class WithoutALevel(cascades.ResidualVectorQuantizer):
    """Decodes all levels but the last."""

    def decode(self, indices):
        return super().decode(indices[..., :-1])


def push_of_one_length(z, q, curvature, centre=0.0):
    """The leading push with |z| for |z|^2."""
    away = z.double() - centre
    return (curvature * algebra.dot(q - z, q - z) * away / SOUND_NORM(away)).mean(0)


def busiest_code(z, codes):
    """The code that most latents use."""
    return int(torch.bincount(algebra.nearest(z, codes), minlength=len(codes)).argmax())


def tenfold_usage() -> Patches:
    """The tables with ten times the usage and a thousandth of the error in every setting."""
    many = {name: ((9, *ste[1:]), (90, ste[1] / 1000, *rot[2:])) for name, (ste, rot) in paper.TABLES.items()}
    return [patch.object(paper, "TABLES", many)]


def _exchanged(table):
    """The two arms of a table exchanged."""
    return {name: tuple(reversed(rows)) for name, rows in table.items()}


def tables(change) -> Patches:
    """The tables of the paper, changed."""
    names = ("TABLES", "TRAIN", "ABLATION")
    return [patch.object(paper, name, change(getattr(paper, name))) for name in names] + [
        patch.object(paper, "OTHERS", {name: rows[::-1] for name, rows in paper.OTHERS.items()}),
        patch.object(
            paper, "GUMBEL", {name: tuple(pair[::-1] for pair in pairs) for name, pairs in paper.GUMBEL.items()}
        ),
    ]


def _alike(table):
    """The second arm of a table as the first."""
    return {name: (rows[0], rows[0]) for name, rows in table.items()}


def records(change) -> Patches:
    """The ratios of all pairs of runs changed, and any two pairs enough."""
    sound = runs.ratio
    phases = tuple((seeds, 2) for seeds, _ in runs.PHASES)
    return [
        patch.object(runs, "ratio", lambda a, b, **options: sound(*change(a, b), **options)),
        patch.object(runs, "PHASES", phases),
    ]


def times(values, factor):
    return [value if value is None else factor * value for value in values]


def shuffled_bibliography() -> Patches:
    """Every key with the entry of another work."""
    sound = references.bibliography()
    keys = list(sound)
    moved = dict(zip(keys, [sound[key] for key in keys[1:] + keys[:1]], strict=True))
    return [patch.object(references, "bibliography", lambda: moved)]


def exchanged_flows() -> Patches:
    """The model's rotation moves as its STE does, and the other way."""
    swap = {"rotation": "ste", "ste": "rotation"}
    flow, rest = model.flow, model.fixed_point
    return [
        patch.object(model, "flow", lambda name, *args, **w: flow(swap.get(name, name), *args, **w)),
        patch.object(model, "fixed_point", lambda name, *args, **w: rest(swap.get(name, name), *args, **w)),
    ]


def weighted_flow(**factors: float) -> Patches:
    """Weights of the model multiplied: gamma, beta and the decays."""
    flow = model.flow
    change = lambda w: {name: value * factors.get(name, 1.0) for name, value in w.items()}  # noqa: E731
    return [patch.object(model, "flow", lambda *args, **w: flow(*args, **change(w)))]


SOUND_ROTATION, SOUND_MAP, SOUND_NORM = algebra.rotation, algebra.gradient_map, algebra.norm
SOUND_PULL_BACK, SOUND_D = algebra.pull_back, algebra.distances
SOUND_DOT, SOUND_BYTES, SOUND_ERROR = algebra.dot, released_code.to_bytes, codebooks.error_of
SOUND_QUOTES, SOUND_FRAME, SOUND_FACE = references.quotes, geometry.frame, missing_derivative.nearest_face
SOUND_WIRINGS, SOUND_TRAINING = dict(WIRINGS), dict(paper.TRAIN_OTHERS)


def dense(name, z, q, g, **options):
    """The pull-back as a product with the d x d matrix."""
    if options or z.ndim > 1:
        return SOUND_PULL_BACK(name, z, q, g, **options)
    return (SOUND_NORM(q) / SOUND_NORM(z) * rotation.textbook(z, q)).T.double() @ g.double()


def timed(factor: float) -> Patches:
    """Timed ratios with their part above 1 multiplied."""
    sound = cost.ratio
    longer = lambda *args: Ratio(*(1 + factor * (x - 1) for x in sound(*args)))  # noqa: E731
    return [patch.object(cost, "ratio", longer)]


def dearer_by_a_tenth() -> Patches:
    """Timed ratios with a tenth of the first arm's time added."""
    sound = cost.ratio
    return [patch.object(cost, "ratio", lambda *args: Ratio(*(x + 0.1 for x in sound(*args))))]


def dearer_with_d() -> Patches:
    """Timed ratios with their part above 1 in proportion to d."""
    sound = cost._timed
    scaled = lambda *args: {d: Ratio(*(1 + d / 256 * (x - 1) for x in r)) for d, r in sound(*args).items()}  # noqa: E731
    return [patch.object(cost, "_timed", scaled)]


def jacobians(change) -> Patches:
    """All Jacobians changed."""
    sound = torch.autograd.functional.jacobian
    return [patch.object(torch.autograd.functional, "jacobian", lambda *args, **w: change(sound(*args, **w)))]


def weights(change) -> Patches:
    """Soft assignments with other weights, which still sum to 1."""
    return [patch.object(torch, "softmax", lambda x, dim: change(x) / change(x).sum(dim, keepdim=True))]


def first_of_the_largest(x):
    return torch.nn.functional.one_hot(x.argmax(-1), x.shape[-1]).to(x)


def entries(change) -> Patches:
    """Every entry of the bibliography changed."""
    moved = {key: change(dict(entry)) for key, entry in references.bibliography().items()}
    return [patch.object(references, "bibliography", lambda: moved)]


def all_in_use() -> Patches:
    """The tables with a usage of 100 percent throughout."""
    full = {name: tuple((100, *row[1:]) for row in rows) for name, rows in paper.TABLES.items()}
    return [patch.object(paper, "TABLES", full)]


def others_lose_more() -> Patches:
    """Tables with validation losses and r-FIDs a tenth larger, but for those of their first row."""

    def larger(row, at):
        return tuple(1.1 * value if i in at else value for i, value in enumerate(row))

    others = {name: (rows[0], *(larger(row, (1, 2)) for row in rows[1:])) for name, rows in paper.OTHERS.items()}
    ablation = {name: (rows[0], larger(rows[1], (2, 3))) for name, rows in paper.ABLATION.items()}
    return [patch.object(paper, "OTHERS", others), patch.object(paper, "ABLATION", ablation)]


def better_throughout() -> Patches:
    """The tables with a rotation that is better by every metric in every setting."""
    better = {
        name: ((80, *ste[1:]), (95, ste[1] / 1000, ste[2] / 2, ste[3] / 2, ste[4] and 2 * ste[4]))
        for name, (ste, _) in paper.TABLES.items()
    }
    return [patch.object(paper, "TABLES", better), patch.object(paper, "TRAIN", {})]


def stopped_early() -> Patches:
    """The model for a ten thousandth of the time."""
    flow = model.flow
    return [
        patch.object(
            model,
            "flow",
            lambda name, start, times, *args, **w: flow(name, start, [1e-4 * t for t in times], *args, **w),
        )
    ]


SOUND_BITS, SOUND_PASS = quantisation.bits_a_token, autograd.second_pass
SOUND_PUSH, SOUND_THRESHOLD, SOUND_LAG, SOUND_PATCHES = (
    drift.leading_push,
    model.threshold,
    drift.balanced_lag,
    released_code.patches,
)


def half_the_threshold(*args, **weights):
    return 0.5 * SOUND_THRESHOLD(*args, **weights)


def rising(height):
    """(A, B) with A = 0 up to u = 1 and rising from there, and B = 0."""
    return lambda cells, u: (height * max(float(u) - 1, 0.0), 0 * u)


def falling(cells, u):
    """(A, B) as of the rotation at u = 1, and falling with u: latents that shrink are pushed less."""
    return cells.rho * u**-20.0, cells.rho * u**-20.0


def about_the_origin(z, q, curvature, centre=0.0):
    """The leading push about 0, whatever the centre."""
    return SOUND_PUSH(z, q, curvature)


def lag_without_growth(distance, push, growth, gamma):
    return SOUND_LAG(distance, push, 0.0, gamma)


def twice_as_far(z, codes):
    """Twice the distance to the nearest face, and the way there."""
    distance, normal = SOUND_FACE(z, codes)
    return 2 * distance, normal


def over_both_lengths(z, q):
    """|q - z| over |z| + |q|."""
    return SOUND_NORM(q - z) / (SOUND_NORM(z) + SOUND_NORM(q))


def four_bits(pixels):
    """Pixels in [0, 1] as multiples of 17."""
    return 17 * (pixels * 15).to(torch.int64).to(torch.uint8)


def clipped_bytes(pixels):
    return SOUND_BYTES(pixels.clamp(0, 1))


def a_latent_of_each(z, k, codes):
    """Of each code one of its latents, in place of their mean."""
    return codes.index_copy(0, k, z)


def relative_error(z, q):
    """The quantisation error over the mean of |z|^2."""
    return SOUND_ERROR(z, q) / z.square().sum(1).mean()


def without_the_last_term(z, q):
    a, b = algebra.unit(z), algebra.unit(q)
    return SOUND_NORM(q) / SOUND_NORM(z) * (z + 2 * b * (a @ z))


def pushing_only(place):
    """What the ledger quotes from a section of the paper, without what it says of decreasing distances."""
    return SOUND_QUOTES(place).replace("decreases", "stays")


def detached(z, q, g, scaled=True):
    """The rule that the released files are said to have."""
    return SOUND_PULL_BACK("rotation" if scaled else "rotation_only", z, q, g)


MUTATIONS = (
    Mutation("STE in place of the rotation", lambda: members(rotation="ste", rotation_only="ste")),
    Mutation("the rotation in place of STE", lambda: members(ste="rotation")),
    Mutation("r = 1", lambda: members(rotation="rotation_only", scale_only="ste")),
    Mutation("no turn", lambda: members(rotation="scale_only", rotation_only="ste")),
    Mutation("a reflection in place of the rotation", lambda: members(rotation="reflection")),
    Mutation("the rotation in place of the reflection", lambda: members(reflection="rotation")),
    Mutation("twice the gradient", lambda: members(ste=Estimator("identity", (2.0, 2.0)))),
    Mutation("G = I", lambda: everywhere(algebra.gradient_map, lambda z, q: algebra.identity(z))),
    Mutation("R = I", lambda: everywhere(algebra.rotation, lambda z, q: algebra.identity(z))),
    Mutation("R is a reflection", lambda: everywhere(algebra.rotation, algebra.reflection)),
    Mutation("R turns back", lambda: everywhere(algebra.rotation, lambda z, q: SOUND_ROTATION(q, z))),
    Mutation("R is a shear", lambda: everywhere(algebra.rotation, lambda z, q: SOUND_ROTATION(z, q).triu())),
    Mutation("H is the rotation", lambda: everywhere(algebra.reflection, algebra.rotation)),
    Mutation("G without r", lambda: everywhere(algebra.gradient_map, algebra.rotation)),
    Mutation("G with 1/r", lambda: everywhere(algebra.gradient_map, lambda z, q: SOUND_MAP(q, z).mT)),
    Mutation("the other formula for R", lambda: everywhere(rotation.textbook, rotation.alternative)),
    Mutation("the formula for R as the other", lambda: everywhere(rotation.alternative, rotation.textbook)),
    Mutation("the second nearest code", lambda: everywhere(algebra.nearest, second_nearest)),
    Mutation("no stop of the gradient", lambda: [patch.object(torch.Tensor, "detach", lambda self: self)]),
    Mutation(
        "lengths in the 1-norm", lambda: everywhere(algebra.norm, lambda x: x.double().abs().sum(-1, keepdim=True))
    ),
    Mutation("unit vectors left as they are", lambda: everywhere(algebra.unit, lambda x: x.double())),
    Mutation("mirrors that turn nothing", lambda: everywhere(algebra.mirror, lambda u: algebra.identity(u))),
    Mutation("the dense product", lambda: everywhere(algebra.pull_back, dense)),
    Mutation("the arms of the tables exchanged", lambda: tables(_exchanged), True),
    Mutation("the arms of the tables alike", lambda: tables(_alike), True),
    Mutation("every key with another work", shuffled_bibliography, True),
    Mutation("the model's arms exchanged", exchanged_flows),
    Mutation("the model at a tenth of gamma", lambda: weighted_flow(gamma=0.1)),
    Mutation("the model at one and a half times gamma", lambda: weighted_flow(gamma=1.5)),
    Mutation("the model without decay", lambda: weighted_flow(decay_W=0.0, decay_E=0.0)),
    Mutation("the arms of the runs exchanged", lambda: records(lambda a, b: (b, a)), True),
    Mutation("the first arm ten times as high", lambda: records(lambda a, b: (times(a, 10), b)), True),
    Mutation("the first arm a tenth as high", lambda: records(lambda a, b: (times(a, 0.1), b)), True),
    Mutation("both arms alike", lambda: records(lambda a, b: (a, times(a, 1 + 1e-6))), True),
    Mutation("a setting of the tables missing", lambda: tables(lambda table: dict(list(table.items())[1:])), True),
    Mutation("steps ten times as long", lambda: timed(10), True),
    Mutation("steps no longer", lambda: timed(0), True),
    Mutation("steps a third as much longer", lambda: timed(0.36), True),
    Mutation("steps longer in proportion to d", dearer_with_d, True),
    Mutation("G outside of sg", lambda: everywhere(one_equation.stopped, lambda G: G)),
    Mutation("R turns every direction", lambda: everywhere(algebra.rotation, lambda z, q: -algebra.identity(z))),
    Mutation("every gradient turned by theta", lambda: members(rotation=EveryTurned("rotation"))),
    Mutation("sg[x] is 0", lambda: [patch.object(torch.Tensor, "detach", lambda self: torch.zeros_like(self))]),
    Mutation("a gain of 30", lambda: members(rotation=Estimator("identity", (30.0, 30.0)))),
    Mutation("no gradient under STE", lambda: members(ste="zero")),
    Mutation("no derivative", lambda: jacobians(lambda J: J * torch.nan)),
    Mutation("Jacobians transposed", lambda: jacobians(lambda J: J.mT)),
    Mutation("no quantiser", lambda: everywhere(estimators.straight_through, lambda z, q: z)),
    Mutation("all codes weigh the same", lambda: weights(torch.ones_like)),
    Mutation("the largest weight takes all", lambda: weights(first_of_the_largest)),
    Mutation("the printed formula mended", lambda: everywhere(geometry.as_printed, algebra.gradient_map)),
    Mutation("a prior of 1 for every code", lambda: [patch.object(quantisation, "prior", torch.ones)]),
    Mutation(
        "position angles that grow as squares", lambda: [patch.object(rope, "position_angle", lambda m, i: m * m)]
    ),
    Mutation("pixels clipped before the cast", lambda: [patch.object(released_code, "to_bytes", clipped_bytes)]),
    Mutation("the released rule with z/|z| detached", lambda: [patch.object(released_code, "_released", detached)]),
    Mutation("codes started by k-means", lambda: [patch.object(released_code, "STARTS", {"VQ-VAE": (True, "")})]),
    Mutation("a lattice without cells", lambda: [patch.object(bias, "lattice", lambda z: z)]),
    Mutation(
        "the target without quantiser", lambda: [patch.object(bias, "target", lambda m, h, y, c: h * (m - y) + c)]
    ),
    Mutation("latents that stay where they are", lambda: [patch.object(convergence, "latents_mean", lambda t: 1.0)]),
    Mutation("batches of one size", lambda: [patch.object(codebooks, "batch", lambda t: (5, 3.0 if t % 2 else 1.0))]),
    Mutation("clipped to [5, 9]", lambda: [patch.object(collapse, "CLIP", (5.0, 9.0))]),
    Mutation("codes as long as latents", lambda: [patch.object(collapse, "RHO", 1.0)]),
    Mutation("no step is large", lambda: [patch.object(convergence, "LARGE", 0.1)]),
    Mutation("a decoder of one layer", lambda: [patch.object(collapse, "LAYERS", 1)]),
    Mutation("SimVQ with free codes", lambda: [patch.object(codebooks, "simvq", VectorQuantizer)]),
    Mutation("every year one less", lambda: entries(lambda e: e | {"year": str(int(e["year"]) - 1)}), True),
    Mutation("years in reverse", lambda: entries(lambda e: e | {"year": str(4000 - int(e["year"]))}), True),
    Mutation(
        "every title about binarised networks", lambda: entries(lambda e: e | {"title": "Binarised networks"}), True
    ),
    Mutation("every code in use", all_in_use, True),
    Mutation("the rotation better throughout", better_throughout, True),
    Mutation("every work by Bai, 2024", lambda: entries(lambda e: e | {"author": "Bai, A.", "year": "2024"}), True),
    Mutation("titles cut at 'for'", lambda: entries(lambda e: e | {"title": e["title"].split(" for ")[0]}), True),
    Mutation("the model stopped early", stopped_early),
    Mutation("free embeddings around 0", lambda: [patch.object(collapse, "FREE", (-4.0, 1.0))]),
    Mutation(
        "a face off the middle", lambda: [patch.object(quantisation, "CODES", torch.tensor([[-1.0], [1.5]]).double())]
    ),
    Mutation(
        "distances with an error",
        lambda: everywhere(algebra.distances, lambda z, c: SOUND_D(z, c) * torch.rand(len(c))),
    ),
    Mutation("no commitment loss", lambda: everywhere(autograd.commitment, lambda z, q: 0 * z.sum())),
    Mutation(
        "maps that are orthogonal",
        lambda: [patch.object(autograd, "some_map", lambda h: algebra.mirror(algebra.unit(h)))],
    ),
    Mutation("a code at the minimum of the loss", lambda: [patch.object(convergence, "CODES", (-1.0, 0.0, 1.0))]),
    Mutation("a loss without slope at the code", lambda: [patch.object(convergence, "SLOPE", 0j)]),
    Mutation(
        "data of independent numbers",
        lambda: [patch.object(quantisation, "PAIRS", tuple(itertools.product((0.0, 1.0), repeat=2)))],
    ),
    Mutation("a boundary nearer to the origin", lambda: [patch.object(gradient_field, "ON_A_RAY", (1.0, 0.2))]),
    Mutation("an Adam with a huge epsilon", lambda: [patch.object(pull_back, "ADAM_EPSILON", 1e9)]),
    Mutation("steps longer by a tenth of STE's", dearer_by_a_tenth, True),
    Mutation("losses of the other rows a tenth larger", others_lose_more, True),
    Mutation("steps along the gradient", lambda: [patch.object(geometry, "step", partial(geometry.step, eta=-0.1))]),
    Mutation("steps away from the origin", lambda: instead_of(rotation=Outward)),
    Mutation("points in one plane", lambda: [patch.object(geometry, "POINTS", ((1.0, 0.0), (0.6, 0.0)))]),
    Mutation("an encoder that halves once less", lambda: [patch.object(released_code, "halvings", lambda n: n - 2)]),
    Mutation(
        "patches four times as wide",
        lambda: [patch.object(released_code, "patches", lambda image, side: SOUND_PATCHES(image, 4 * side))],
    ),
    Mutation("pixels cast to four bits", lambda: [patch.object(released_code, "to_bytes", four_bits)]),
    Mutation("members that hand g on to the code", lambda: instead_of(**dict.fromkeys(SOUND, ToTheCode))),
    Mutation("latents that are not normalised", lambda: [patch.object(balance_law, "on_the_sphere", lambda z: z)]),
    Mutation("the rotation in place of the gain", lambda: members(scale_only="rotation")),
    Mutation("the rotation about the origin", lambda: instead_of(rotation=AboutTheOrigin)),
    Mutation("a push three times as long", lambda: everywhere(drift.leading_push, lambda *args: 3 * SOUND_PUSH(*args))),
    Mutation("half the threshold", lambda: [patch.object(model, "threshold", half_the_threshold)]),
    Mutation("a push without a jump", lambda: [patch.object(model, "jumping", rising)]),
    Mutation("the push about the origin", lambda: everywhere(drift.leading_push, about_the_origin)),
    Mutation("a lag that grows by nothing", lambda: [patch.object(drift, "balanced_lag", lag_without_growth)]),
    Mutation("codes at a latent of their cell", lambda: everywhere(balance_law.cell_means, lambda z, k: z[k])),
    Mutation("the push of r alone", lambda: [patch.dict(model.PUSH, rotation=model.PUSH["scale_only"])]),
    Mutation("the push of half a rotation", lambda: [patch.dict(model.PUSH, rotation=model.PUSH["interpolated"])]),
    Mutation("a push that falls with u", lambda: [patch.dict(model.PUSH, rotation=falling)]),
    Mutation("a pull-back that grows with q", lambda: everywhere(algebra.pull_back, lambda m, z, q, g: q.double() * g)),
    Mutation("a lookup of the second nearest code", lambda: everywhere(lookup.nearest, second_nearest)),
    Mutation("the article's matrix mended", lambda: everywhere(rotation_laws.as_printed, SOUND_ROTATION)),
    Mutation("the sine bound over both lengths", lambda: everywhere(encoder_feels.sine_limit, over_both_lengths)),
    Mutation("steps of three times 1/h_max", lambda: everywhere(descent.longest_step, lambda h_max: 3 / h_max)),
    Mutation("a gain past one", lambda: [patch.object(guarantees, "NO_GAIN_PAST_ONE", SOUND["rotation"])]),
    Mutation("errors that fall as K^(-1/d)", lambda: everywhere(model.falls_with, lambda K, d: K ** (-1 / d))),
    Mutation("inner products of the other sign", lambda: everywhere(algebra.dot, lambda x, y: -SOUND_DOT(x, y))),
    Mutation(
        "G = I in sg[G] z + sg[q - G z]",
        lambda: [patch.object(autograd, "_general", lambda G: lambda z, q: z + (q - z).detach())],
    ),
    Mutation(
        "no second order",
        lambda: [patch.object(autograd, "curvature", lambda loss, q: torch.zeros(len(q), len(q)).double())],
    ),
    Mutation("a latent of each code for the mean", lambda: [patch.object(codebooks, "means", a_latent_of_each)]),
    Mutation(
        "the two dimensions exchanged",
        lambda: [patch.object(codebooks, "LOW", codebooks.HIGH), patch.object(codebooks, "HIGH", codebooks.LOW)],
    ),
    Mutation("STE's runs", lambda: [patch.object(runs, "LENGTHENS", "ste")], True),
    Mutation("codes longer than the latents", lambda: [patch.object(pull_back, "RHO", 1.5)]),
    Mutation("lookup by distance", lambda: everywhere(quantisation.by_cosine, algebra.nearest)),
    Mutation("lookup by cosine", lambda: everywhere(algebra.nearest, quantisation.by_cosine)),
    Mutation("a mix that jumps", lambda: instead_of(rotation=JumpsHalfWay)),
    Mutation("1/r in place of r", lambda: instead_of(rotation=TimesOneOverR)),
    Mutation("steps along q - z", lambda: instead_of(rotation=Towards)),
    Mutation("latents as long as the codes", lambda: [patch.object(codebooks, "SPREAD", 0.36)]),
    Mutation("e1 of length 1", lambda: [patch.object(quantisation, "E1", (0.6, 0.8))]),
    Mutation("e2 off the axis", lambda: [patch.object(quantisation, "E2", (2.0, 2.0))]),
    Mutation("e2 beside z", lambda: [patch.object(quantisation, "E2", (1.0, 0.01))]),
    Mutation("the other code further off", lambda: [patch.object(quantisation, "E_J", (0.0, 5.0))]),
    Mutation("the rotation hands g on to the code", lambda: instead_of(rotation=ToTheCode)),
    Mutation("r R in place of R", lambda: members(rotation_only="rotation")),
    Mutation("twice the gradient under R", lambda: instead_of(rotation_only=Doubled)),
    Mutation("1 + cos(theta) in place of two reflections", lambda: instead_of(rotation=OnePlusCosine)),
    Mutation("a listing without its last term", lambda: [patch.object(cost, "listing", without_the_last_term)]),
    Mutation("a paper that pulls nothing together", lambda: [patch.object(references, "quotes", pushing_only)], True),
    Mutation("latents that are not short", lambda: [patch.object(geometry, "SHORT", 5.0)]),
    Mutation("codes that are not short", lambda: [patch.object(bias, "SHORT", 1e3)]),
    Mutation("one image in place of two", lambda: [patch.object(gradient_field, "IMAGES", (3, 3))]),
    Mutation(
        "an EMA towards the sum",
        lambda: [patch.object(codebooks, "ema", lambda code, mine, decay: decay * code + (1 - decay) * mine.sum(0))],
    ),
    Mutation("running means for the EMA", lambda: [patch.object(convergence, "ema_decay", lambda t: t / (t + 1))]),
    Mutation("no clip", lambda: instead_of(clipped=Unclipped)),
    Mutation("gradients brought to length 1 before the clip", lambda: instead_of(clipped=OfOneLength)),
    Mutation("a soft assignment in place of the lookup", lambda: everywhere(samples.lookup, soft_lookup)),
    Mutation("latents that are not quantised", lambda: everywhere(samples.lookup, lambda z, codes: z)),
    Mutation(
        "a codebook loss of distances, not of squares",
        lambda: [patch.object(codebooks, "codebook_loss", lambda code, mine: SOUND_NORM(code - mine).mean())],
    ),
    Mutation("a dead code out of reach", lambda: [patch.object(gradient_field, "DEAD", (0.0, 50.0))]),
    Mutation("codes spread as the latents", lambda: [patch.object(codebooks, "CROWDED", 1.0)]),
    Mutation("cells without scatter", lambda: [patch.object(collapse, "scattered", np.ones)]),
    Mutation("no commitment in the step", lambda: [patch.object(convergence, "COMMITMENT", 0.0)]),
    Mutation(
        "steps that shrink towards the boundary",
        lambda: [patch.object(gradient_field, "length_of_steps", lambda x: 0.4 * (1 - x) ** 1.5)],
    ),
    Mutation("some bisector of opposite vectors", lambda: [patch.object(released_code, "bisector", any_bisector)]),
    Mutation("the printed sign mended", lambda: [patch.object(autograd, "ste_as_printed", lambda z, q: z + (q - z))]),
    Mutation("a mix turned round", lambda: instead_of(rotation=TurnedMix)),
    Mutation("values formed as z + (q - z)", lambda: instead_of(**dict.fromkeys(SOUND, Formed))),
    Mutation("thirty times the gradient", lambda: instead_of(rotation=ThirtyFold)),
    Mutation("nothing handed on but at r = 1", lambda: instead_of(rotation=AtOneAlone)),
    Mutation("one number handed on under STE", lambda: instead_of(ste=OneNumber)),
    Mutation("gradients brought to length 1 first", lambda: instead_of(rotation=OfOneLength)),
    Mutation("the rotation in place of the radial-free member", lambda: members(radial_free="rotation")),
    Mutation("a frame that is not normalised", lambda: [patch.object(geometry, "frame", stretched_frame)]),
    Mutation("rare codes as frequent as the common one", lambda: [patch.object(quantisation, "RARE", 800)]),
    Mutation(
        "bits counted to the base e",
        lambda: [
            patch.object(quantisation, "bits_a_token", lambda tokens: math.log(2) * SOUND_BITS(tokens)),
        ],
    ),
    Mutation(
        "a double pass that looks at q",
        lambda: [patch.object(autograd, "second_pass", lambda z, loss: SOUND_PASS(0 * z, loss))],
    ),
    Mutation(
        "training losses of the exact gradients a tenth smaller",
        lambda: [
            patch.object(
                paper, "TRAIN_OTHERS", {name: (*row[:2], 0.9 * row[2]) for name, row in SOUND_TRAINING.items()}
            )
        ],
        True,
    ),
    Mutation("ten times the usage throughout", tenfold_usage, True),
    Mutation(
        "the encoder's bias left out",
        lambda: [
            patch.object(balance_law.Network, "encoder", property(lambda net: balance_law.total(net.E, net.dE))),
            patch.object(balance_law, "along_itself", lambda p, slopes: balance_law.total(p[0], slopes[0])),
        ],
    ),
    Mutation(
        "I in place of each G",
        lambda: [patch.object(balance_law, "jacobian", as_ste), patch.object(conserved, "jacobian", as_ste)],
    ),
    Mutation("graph wired as detach", lambda: [patch.dict(WIRINGS, graph=SOUND_WIRINGS["detach"])]),
    Mutation("a level that is not decoded", lambda: [patch.object(cascades, "ResidualVectorQuantizer", WithoutALevel)]),
    Mutation(
        "codes that weigh as much as the encoder", lambda: [patch.object(conserved, "code_weight", lambda net: 1.0)]
    ),
    Mutation(
        "a momentum in which all codes weigh 1",
        lambda: [
            patch.object(conserved, "momentum", lambda net: net.beta * net.weights[1] + net.weights[2].sum(0)),
        ],
    ),
    Mutation(
        "an EMA of sums for means",
        lambda: [
            patch.object(missing_derivative, "ema_codes", lambda c, running, n, sums, b: b * c + (1 - b) * sums),
        ],
    ),
    Mutation(
        "a shear in place of the turn",
        lambda: [patch.object(conserved, "antisymmetric", lambda draw, d: 2 * draw(d, d).double())],
    ),
    Mutation(
        "motions about 0, not about their centre",
        lambda: [patch.object(conserved.Motion, "at", lambda self, x: algebra.apply(self.A, x) + self.v)],
    ),
    Mutation(
        "an error of the other sign",
        lambda: [patch.object(conserved.Network, "e", property(lambda net: net.z - net.q))],
    ),
    Mutation("a push that does not fall with |z|", lambda: [patch.object(drift, "leading_push", push_of_one_length)]),
    Mutation("faces twice as far", lambda: [patch.object(missing_derivative, "nearest_face", twice_as_far)]),
    Mutation(
        "a bias of STE that averages to 0",
        lambda: [patch.object(dither, "mean_bias_of_ste", lambda *args: torch.tensor(0.0))],
    ),
    Mutation(
        "a second code that spoils nothing",
        lambda: [patch.object(guarantees, "spoiler", lambda z, q, rule, rival: (2 * rule - q, False))],
    ),
    Mutation("the busiest code moved", lambda: [patch.object(guarantees, "idle_code", busiest_code)]),
    Mutation("gradient descent in place of Adam", lambda: [patch.object(torch.optim, "Adam", torch.optim.SGD)]),
    Mutation("batches of two images", lambda: [patch.object(first_steps, "IMAGES", 2)]),
    Mutation("STE steps away from the origin", lambda: instead_of(ste=Outward)),
    Mutation("the gradient at the latent", lambda: instead_of(rotation=AtTheLatent)),
    Mutation("a gain that grows with the distance from the code", lambda: instead_of(rotation=HarderFarOff)),
    Mutation(
        "G and R that stray from I with the distance from the code",
        lambda: [*everywhere(algebra.gradient_map, straying), *everywhere(algebra.rotation, straying)],
    ),
    Mutation("G twice as large", lambda: everywhere(algebra.gradient_map, lambda z, q: 2 * SOUND_MAP(z, q))),
    Mutation("a warm-up where there is none", lambda: [patch.object(first_steps, "untrained", first_steps.networks)]),
    Mutation("the relative error for the absolute one", lambda: [patch.object(codebooks, "error_of", relative_error)]),
)


#: what :func:`records` changes besides: any two pairs are enough, and what was open may be settled by that alone
PAIRS_ENOUGH = Mutation("any two pairs enough", lambda: records(lambda a, b: (a, b)), True)
BY_NAME = {mutation.name: mutation for mutation in MUTATIONS}
NOTES = Path(__file__).with_name("turns.yml")


@dataclass(frozen=True)
class Turn:
    """Which mutations turn what a statement finds.

    Attributes:
        claim: The mutation that turns what it finds of the claim; empty where none does.
        fix: Likewise of the correction; None where there is none to turn.
    """

    claim: str = ""
    fix: str | None = None

    @property
    def turns(self) -> bool:
        """Whether nothing that it finds stays under every mutation."""
        return bool(self.claim) and self.fix != ""


def find(call: Call, folder: Path) -> Finding | None:
    """What a statement finds; a law on few draws, which are among those on which it holds."""
    statement = all_statements()[call.name]
    if isinstance(statement, Law):
        return statement.check(dims=statement.dims[-3:][:2], kinds=statement.kinds[:2], n=8)
    return statement.check(*call.words, **({"records": folder} if statement.reads_records else {}))


def _worth_trying(call: Call) -> list[Mutation]:
    """The mutations in the order of a search: first those that replace something in the statement's own module.

    Others cannot change what rests on records.
    """
    statement = all_statements()[call.name]
    own = sys.modules[statement.function.__module__]
    near = [own, *(value for value in vars(own).values() if isinstance(value, ModuleType) and value in _modules())]
    replacing = {
        mutation.name: [one.getter() for one in mutation.patches() if hasattr(one, "getter")] for mutation in MUTATIONS
    }
    first = [mutation for mutation in MUTATIONS if any(where in near for where in replacing[mutation.name])]
    if statement.reads_records:
        return first
    return first + [mutation for mutation in MUTATIONS if mutation not in first and not mutation.of_records]


def mutated(call: Call, mutation: Mutation, folder: Path) -> Finding | None:
    """What a statement finds under a mutation; None where it finds nothing, or fails."""
    try:
        with mutation.applied():
            return find(call, folder)
    except Exception:  # what is broken may break the evidence: no turn
        return None


def search(call: Call, folder: Path) -> Turn:
    """The first mutations that turn a statement, of all that there are; Turn() where it awaits records.

    A claim that is open by nature (None) cannot turn where the mutation leaves it open: then its correction has to.
    """
    sound = find(call, folder)
    if sound is None:
        return Turn()
    before = _before(call, sound.claim, folder)
    claim, fix = "", None if sound.fix is None else ""
    for mutation in _worth_trying(call):
        if claim and fix != "":
            break
        found = mutated(call, mutation, folder)
        if found is None:
            continue
        if not claim and found.claim not in before:
            claim = mutation.name
        if fix == "" and found.fix is not sound.fix:
            fix = mutation.name
    if sound.claim is None and not claim:
        claim = fix or ""
    return Turn(claim, fix)


def _before(call: Call, claim: bool | None, folder: Path) -> set[bool | None]:
    """What a statement finds without a mutation; of an open one on records also what it finds if few pairs do."""
    if claim is not None or not all_statements()[call.name].reads_records:
        return {claim}
    settled = mutated(call, PAIRS_ENOUGH, folder)
    return {claim, settled.claim} if settled else {claim}


@cache
def notes(path: Path = NOTES) -> dict[str, Turn]:
    """The mutations that turned each statement when they were last searched for."""
    if not path.exists():
        return {}
    read = yaml.load(path.read_text("utf-8"), Loader=yaml.BaseLoader) or {}
    return {call: Turn(*names) for call, names in read.items()}


def write_notes(turns: Mapping[str, Turn], path: Path = NOTES) -> None:
    """Keep them, in order."""
    lines = ["# statement: the mutation that turns its claim, and the one that turns its correction.\n"]
    for call, turn in sorted(turns.items()):
        names = [turn.claim] + ([] if turn.fix is None else [turn.fix])
        lines.append(f"{json.dumps(call)}: {json.dumps(names)}\n")
    path.write_text("# Written by `python -m book.ledger --mutate --note`.\n" + "".join(lines), "utf-8")


def confirm(call: Call, expected: bool | None, folder: Path) -> Turn:
    """The noted mutations of a statement, as far as they turn it now; others where they do not.

    Args:
        call: The statement.
        expected: What it finds of the claim without a mutation.
        folder: The records of all chapters.
    """
    noted = notes().get(str(call))
    if noted is None or not noted.turns:
        return search(call, folder)
    by = {name: mutated(call, BY_NAME[name], folder) for name in {noted.claim, noted.fix} - {None} if name in BY_NAME}
    claim, fix = by.get(noted.claim), by.get(noted.fix)
    before = _before(call, expected, folder)
    claim_turns = claim is not None and (claim.claim not in before or (expected is None and claim.fix is False))
    fix_turns = noted.fix is None or (fix is not None and fix.fix is not True)
    return noted if claim_turns and fix_turns else search(call, folder)
