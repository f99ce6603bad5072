"""An upper bound of the family: a(theta, r) I + b(theta, r) R fitted to the slopes of the loss, and what lies beyond.

The network, the data and their order are those of chapter 10. Every few steps the slopes of the smoothed loss are
estimated at some latents (:mod:`.slopes`). All that could have told them is scored on them first and learns from them
afterwards, so every score is of latents that were not yet fitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from book.systems.runs import CONFIRM, FEW, Experiment, crossed
from book.systems.slopes import (
    BINS,
    FITS,
    Fit,
    Network,
    Score,
    bins,
    columns,
    decoder_slopes,
    faces,
    frames,
    score,
    slopes,
)
from rotvq import ESTIMATORS
from rotvq.training.config import FIELDS, Config
from rotvq.training.seeds import derived_seed
from rotvq.training.train import Run

#: estimators of the family and two controls, scored beside what is fitted
NAMED = ("ste", "rotation", "rotation_only", "scale_only", "reflection", "radial_free", "radial_free_scale")
FITTED = (*FITS, "network")
DECAY = 0.9  # of the sums of a fit, from one observation to the next
CHECKED = 4  # times as many images as an observation has see the decoder as it is
WINDOWS = 4  # equal parts of a run, for which scores are averaged
MEASURES = ("mse", "perplexity", "relative_error", "r", "theta_deg")  # of a split, at a stop


@dataclass(frozen=True)
class Case:
    """One run.

    Args:
        estimator: what takes g to the encoder: a key of :data:`rotvq.ESTIMATORS`; "pair", "linear", "neighbour" or
            "network", fitted as the run goes on; "face", the formula for two codes; "slope", the slopes themselves.
        scale: "own", as fitted, or "ste": times the factor that gives a batch the size of its g.
        radius: of the ball over which the loss is smoothed, in root mean squares of |z - q|.
        period: steps from one observation to the next.
        observed: images of an observation; each has 49 latents.
        drawn: directions a latent of "slope", each tried both ways.
        init: the first codes: "uniform", or "kmeans" of latents of the untrained encoder.
        init_latents: of how many.
        codebook_size: number of codes, K.
        steps: of Adam.
        batch: images a step.
        data: "fashion-mnist" or "fashion-mnist-mini".
        seed: of weights, order, first codes and observations, one generator for each.
    """

    estimator: str = "ste"
    scale: str = "own"
    radius: float = 1.0
    period: int = 20
    observed: int = 8
    drawn: int = 8
    init: str = "uniform"
    init_latents: int = 8192
    codebook_size: int = 256
    steps: int = 1000
    batch: int = 32
    data: str = "fashion-mnist"
    seed: int = 0

    @property
    def config(self) -> Config:
        """The run of chapter 10 with the same network, codes, data and order."""
        fields = {name: value for name, value in asdict(self).items() if name in FIELDS}
        return Config(**fields | {"estimator": self.estimator if self.estimator in ESTIMATORS else "ste"})


class _Pulled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, q, pull_back):
        ctx.save_for_backward(z, q)
        ctx.pull_back = pull_back
        return q.clone()

    @staticmethod
    def backward(ctx, g):
        z, q = ctx.saved_tensors
        return ctx.pull_back(z, q, g), None, None


class Transform(nn.Module):
    """An estimator from any pull-back: the value of q, and ``pull_back(z, q, g)`` for z, all (..., d)."""

    def __init__(self, pull_back: Callable[[Tensor, Tensor, Tensor], Tensor]):
        super().__init__()
        self.pull_back = pull_back

    def forward(self, z: Tensor, q: Tensor) -> Tensor:
        return _Pulled.apply(z, q.detach(), self.pull_back)


@dataclass
class Observer:
    """What has been fitted so far, and how near all was to the slopes."""

    case: Case
    run: Run
    fits: dict[str, Fit]
    network: Network
    noise: torch.Generator  #: of observations, which are of the same images in every arm
    drawing: torch.Generator  #: of the directions in which "slope" looks
    pooled: Fit  #: of the whole run, which forgets nothing
    squares: Tensor  #: of the slopes, by bin
    scores: list[dict[str, Score]] = field(default_factory=list)  #: of each observation, by name
    steps: list[int] = field(default_factory=list)  #: of each observation

    @classmethod
    def from_case(cls, case: Case, device: str = "cpu") -> Observer:
        """The parts of a run on a device; its quantiser takes the transform of the case."""
        run = Run.from_config(case.config, device)
        run.start_codes()
        seed = derived_seed(case.seed, "noise")
        fits = {name: Fit(names, DECAY, device=device) for name, names in FITS.items()}
        generators = (torch.Generator().manual_seed((seed + shift) % 2**32) for shift in range(2))
        pooled, squares = Fit(FITS["pair"], device=device), torch.zeros(BINS, device=device).double()
        observer = cls(case, run, fits, Network(seed, device=device), *generators, pooled, squares)
        if case.estimator not in ESTIMATORS:
            run.model.quantizer.estimator = Transform(observer.pull_back)
        return observer

    @property
    def codes(self) -> Tensor:
        return self.run.model.quantizer.codes.detach()

    def radius_of(self, z: Tensor, q: Tensor) -> Tensor:
        """The radius of the ball, from latents and codes (N, d)."""
        return self.case.radius * (z - q).square().sum(-1).mean().sqrt().clamp_min(1e-12)

    @torch.no_grad()
    def predict(self, name: str, z: Tensor, q: Tensor, g: Tensor, radius: Tensor) -> Tensor:
        """What goes to z by the estimator, the fit or the formula of that name, (N, d); g before a fit has seen any."""
        if name in ESTIMATORS:
            return ESTIMATORS[name].pull_back(z, q, g)
        if name in FITTED and not self.steps:
            return g
        face = faces(z, q, g, self.codes, radius) if name in ("face", "neighbour") else None
        if name == "face":
            return face
        chosen = "linear" if name == "network" else name
        linear = self.fits[chosen](columns(FITS[chosen], z, q, g, face), bins(z, q))
        return self.network(linear, z, q, g) if name == "network" else linear

    @torch.no_grad()
    def pull_back(self, z: Tensor, q: Tensor, g: Tensor) -> Tensor:
        """What training sends to z, (..., d)."""
        rows, codes, given = (x.detach().reshape(-1, x.shape[-1]) for x in (z, q, g))
        radius = self.radius_of(rows, codes)
        if self.case.estimator == "slope":
            groups = z.detach().flatten(1, -2)
            frame = frames(len(groups), groups.shape[-1], self.case.drawn, self.drawing).to(z.device)
            pulled = slopes(groups, self.codes, g.flatten(1, -2), radius, frame)
        else:
            pulled = self.predict(self.case.estimator, rows, codes, given, radius)
        if self.case.scale == "ste":
            pulled = pulled * (given.norm() / pulled.norm().clamp_min(1e-30))
        return pulled.reshape(g.shape)

    def latents(self, images: int) -> tuple[Tensor, ...]:
        """Some images drawn at random, (B, 1, 28, 28), their z, q and g, each (B, n, d), and the unit of g.

        The unit makes the mean of |g|^2 over latents 1.
        """
        run, model = self.run, self.run.model
        chosen = torch.randint(len(run.pixels), (images,), generator=self.noise)
        x = run.data.normalise(run.pixels[chosen.to(run.pixels.device)].to(run.device))
        with torch.no_grad():
            z = model.encode(x).flatten(1, -2)
            q = self.codes[model.quantizer.assign(z, self.codes)]
        with torch.enable_grad():
            q.requires_grad_()
            (g,) = torch.autograd.grad(self.losses(x, q).sum(), q)
        unit = g.square().sum(-1).mean().sqrt().clamp_min(1e-30)
        return x, z, q.detach(), g / unit, unit

    def losses(self, x: Tensor, z_q: Tensor) -> Tensor:
        """The loss of each image, (..., B), from codes (..., B, n, d)."""
        side = math.isqrt(z_q.shape[-2])
        made = self.run.model.decode(z_q.reshape(-1, side, side, z_q.shape[-1]))
        return (made.view(-1, *x.shape) - x).square().flatten(2).mean(2).view(z_q.shape[:-2])

    def observe(self) -> None:
        """Score everything on fresh slopes, then let the fits learn from them."""
        _, z, q, g, _ = self.latents(self.case.observed)
        radius, d = self.radius_of(z.flatten(0, 1), q.flatten(0, 1)), z.shape[-1]
        both = (frames(len(z), d, d, self.noise).to(z.device) for _ in range(2))
        once, again = (slopes(z, self.codes, g, radius, frame).flatten(0, 1) for frame in both)
        rows = [x.flatten(0, 1) for x in (z, q, g)]
        found = {name: score(self.predict(name, *rows, radius), once, again) for name in (*NAMED, "face", *FITTED)}
        self.scores.append({name: value for name, value in found.items() if value})
        self.steps.append(self.run.step)
        self.learn(*rows, (once + again) / 2, radius)
        self.squares.index_add_(0, bins(*rows[:2]), (once * again).sum(-1).double())

    def learn(self, z: Tensor, q: Tensor, g: Tensor, slope: Tensor, radius: Tensor) -> None:
        """Let every fit take in some latents, codes, gradients and slopes, all (N, d)."""
        face, bin_of = faces(z, q, g, self.codes, radius), bins(z, q)
        for fit in (*self.fits.values(), self.pooled):
            fit.observe(columns(fit.names, z, q, g, face), slope, bin_of)
        linear = self.fits["linear"]
        self.network.observe(linear(columns(linear.names, z, q, g), bin_of), z, q, g, slope)

    @torch.no_grad()
    def against_decoder(self, images: int) -> dict[str, Any]:
        """Sums over one latent of each of some images, with the decoder as it is, from which a page makes cosines.

        Returns:
            ``true``, the product of two estimates of the slopes; by the name of a predictor its ``product`` with them
            and its ``square``. "linearised" is the slopes with the decoder taken as linear, from other draws than those
            that they are multiplied with.
        """
        x, z, q, g, unit = self.latents(images)
        places = torch.randint(z.shape[1], (len(z),), generator=self.noise).to(z.device)
        rows = torch.arange(len(z), device=z.device)
        radius, d = self.radius_of(z.flatten(0, 1), q.flatten(0, 1)), z.shape[-1]
        both = [frames(len(z), d, d, self.noise).to(z.device) for _ in range(2)]

        def loss(z_q: Tensor) -> Tensor:
            return self.losses(x, z_q) / unit

        true = [decoder_slopes(loss, z, places, self.codes, radius, frame) for frame in both]
        z, q, g = (one[rows, places] for one in (z, q, g))
        taken = [slopes(z[:, None], self.codes, g[:, None], radius, frame)[:, 0] for frame in both]
        crossed_over = (taken[0] * true[1] + taken[1] * true[0]).sum() / 2
        found = {"true": (true[0] * true[1]).sum().item()}
        found["linearised"] = {"product": crossed_over.item(), "square": (taken[0] * taken[1]).sum().item()}
        for name in ("ste", "rotation", *FITTED):
            predicted = self.predict(name, z, q, g, radius)
            product = (predicted * (true[0] + true[1])).sum().item() / 2
            found[name] = {"product": product, "square": predicted.square().sum().item()}
        return found

    def cosines(self, first: int = 1) -> dict[str, float]:
        """The mean cosine of each name over the observations from that one on."""
        chosen = self.scores[first:]
        names = {name for scores in chosen for name in scores}
        return {name: _mean([one[name].cosine for one in chosen if name in one]) for name in sorted(names)}

    def windows(self) -> list[dict[str, Any]]:
        """Mean cosines and geometric means of the sizes in each part of the run, without the first observation."""
        parts = []
        for part in range(WINDOWS):
            low, high = (share * self.case.steps / WINDOWS for share in (part, part + 1))
            chosen = [one for step, one in zip(self.steps[1:], self.scores[1:]) if low <= step < high]
            names = sorted({name for scores in chosen for name in scores})
            of = {name: [one[name] for one in chosen if name in one] for name in names}
            parts.append(
                {
                    "cosine": {name: round(_mean([one.cosine for one in scores]), 5) for name, scores in of.items()},
                    "size": {
                        name: float(f"{math.exp(_mean([math.log(one.size) for one in scores])):.5g}")
                        for name, scores in of.items()
                    },
                }
            )
        return parts

    def sums(self) -> dict[str, list]:
        """What the pair is fitted from, by bin, over the whole run, to six digits."""
        products = {"gram": self.pooled.gram, "right": self.pooled.right, "square": self.squares}
        return {name: _rounded(values.tolist()) for name, values in products.items()}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _rounded(values: Any) -> Any:
    return [_rounded(one) for one in values] if isinstance(values, list) else float(f"{values:.6g}")


def train(case: Case, device: str = "cpu") -> dict[str, Any]:
    """Train one case on a device; deterministic on a given machine.

    Returns:
        The metrics of the test images after the last step, at the ``stops`` before it, and ``validation_mse``;
        ``cosine_<name>``, the mean over the run, and ``windows``; ``decoder``, as :meth:`.Observer.against_decoder`
        says, at the end; ``sums`` for a fit over several runs. A run that diverged has ``diverged_at`` alone.
    """
    observer = Observer.from_case(case, device)
    run = observer.run
    for step in range(case.steps):
        if step % case.period == 0:
            observer.observe()
        run.train_step()
        if run.diverged_at is not None:
            return {"diverged_at": run.diverged_at}
    stops = [{name: row[name] for name in ("step", *(f"test_{name}" for name in MEASURES))} for row in run.evaluations]
    return {
        **stops[-1],
        "stops": stops,
        "validation_mse": run.evaluate("validation")["validation_mse"],
        **{f"cosine_{name}": value for name, value in observer.cosines().items()},
        "decoder": observer.against_decoder(CHECKED * case.observed),
        "windows": observer.windows(),
        "sums": observer.sums(),
    }


#: fields of the arms, by their names on the page
ARMS = {
    "STE": {"estimator": "ste", "scale": "own"},
    "rotation": {"estimator": "rotation", "scale": "own"},
    "pair": {"estimator": "pair", "scale": "own"},
    "linear": {"estimator": "linear", "scale": "own"},
}
FURTHER = {
    "r I": {"estimator": "scale_only", "scale": "own"},
    "network": {"estimator": "network", "scale": "own"},
    "face": {"estimator": "face", "scale": "own"},
    "slope": {"estimator": "slope", "scale": "own"},
    "pair, size of g": {"estimator": "pair", "scale": "ste"},
    "slope, size of g": {"estimator": "slope", "scale": "ste"},
}
STARTS = {"uniform": {"init": "uniform"}, "k-means": {"init": "kmeans"}}
RADII = {"½": {"radius": 0.5}, "2": {"radius": 2.0}}
SMOKE = {
    "data": "fashion-mnist-mini",
    "codebook_size": 16,
    "init_latents": 256,
    "batch": 8,
    "steps": 4,
    "period": 2,
    "observed": 2,
    "drawn": 2,
    "scale": "own",
    "radius": 1.0,
}
EXPERIMENT = Experiment(
    "36_learned_transform",
    train,
    {
        "confirm": crossed(Case(), ARMS, STARTS, seeds=CONFIRM),
        "arms": crossed(Case(), ARMS, STARTS, seeds=FEW),
        "beyond": crossed(Case(), FURTHER, STARTS, seeds=FEW),
        "radius": crossed(Case(), {"STE": ARMS["STE"]}, RADII, STARTS, seeds=FEW),
    },
    SMOKE,
    seconds=16.0,
    takes_device=True,
)
