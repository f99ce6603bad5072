"""Quantisation-aware training of a classifier whose weights are codes: which gradient should the latent weights get?

A classifier of Fashion-MNIST is trained in full precision. The weights of its two large layers, 99 % of all, become
codes; the first layer, the last and the biases stay as they are. Then some hundred steps on the training images follow:
codes move by the gradient of the loss, and the latent weights, which choose among codes, by that of an estimator. A
latent is a weight: there is no encoder behind it, and it is the same one at every step.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from book.systems import classifier, shipped
from book.systems.classifier import Classifier
from book.systems.runs import CONFIRM, FEW, Experiment, crossed
from book.systems.weight_codes import Codes, Cut, Grid, reassigned
from rotvq import ESTIMATORS
from rotvq.quantizers.geometry import geometry
from rotvq.training import images
from rotvq.training.images import Images
from rotvq.training.seeds import generator

LAYERS = ("second.weight", "hidden.weight")  # that are quantised
STOPS = (0.25, 0.5, 1.0)  # shares of the steps after which the test images are classified
MOMENTUM = 0.9  # of latents with SGD


@dataclass(frozen=True)
class Case:
    """One run.

    Args:
        learns: besides the layers that are not quantised: "latents" and codes; "codes" alone, with the groups of each
            fixed; "direct": codes, and which group has which, without latents; "nothing" at all; "full": weights, which
            are not quantised.
        estimator: what the latents get, a key of :data:`rotvq.ESTIMATORS`.
        form: "codes" for groups of weights, or "grid": weights one by one.
        bits: of a weight, without the codebook: a group has log2(codes) / bits weights.
        codes: K.
        optimizer: of the latents, "adam" or "sgd" with momentum; everything else has Adam.
        latent_rate: of the latents, which have a root mean square of 1 in the beginning.
        rate: of everything else. Both fall linearly to 0.
        share: of the groups that may change their code at a time, at first and at most, of "direct".
        period: steps from one such time to the next, over which gradients are summed.
        steps: after quantisation.
        batch: images a step.
        epochs: of the training in full precision.
        width: of the classifier.
        data: "fashion-mnist" or "fashion-mnist-mini".
        seed: of weights, order and codes.
    """

    learns: str = "latents"
    estimator: str = "ste"
    form: str = "codes"
    bits: int = 1
    codes: int = 256
    optimizer: str = "adam"
    latent_rate: float = 0.03
    rate: float = 1e-3
    share: float = 0.01
    period: int = 10
    steps: int = 240
    batch: int = 64
    epochs: int = 4
    width: int = 16
    data: str = "fashion-mnist"
    seed: int = 0

    @property
    def dim(self) -> int:
        """Weights of a group, d."""
        return 1 if self.form == "grid" else round(math.log2(self.codes) / self.bits)


@cache
def pretrained(width: int, seed: int, epochs: int, data: str, device: str) -> Classifier:
    """The network in full precision. Whoever asks again gets the same one: do not write to it."""
    return classifier.train(width, seed, images.load(data), epochs, device)


def labels(split: str, data: Images) -> Tensor:
    """Classes of the "train", "validation" or "test" images, (N,)."""
    if split != "validation":
        return classifier.labels(split, data)
    file = torch.frombuffer(bytearray(shipped.read(classifier.LABELS["train"])), dtype=torch.uint8, offset=8)
    return file[-images.HELD_OUT :][: len(data.validation)].long()


@dataclass
class Run:
    """The parts of a run, and what it counted.

    Args:
        case: what it trains.
        network: with the layers that are not quantised.
        cut: of its other layers.
        quantised: these.
        data: images.
        device: of the network and the groups.
        changes: groups that changed their code, at each step.
    """

    case: Case
    network: Classifier
    cut: Cut
    quantised: Codes | Grid
    data: Images
    device: str = "cpu"
    changes: list[int] = field(default_factory=list)

    @classmethod
    def from_case(cls, case: Case, device: str = "cpu") -> Run:
        network = copy.deepcopy(pretrained(case.width, case.seed, case.epochs, case.data, device))
        cut = Cut.of(network, LAYERS, case.dim)
        groups = cut.groups(network)
        if case.form == "grid":
            quantised = Grid(groups, cut.rows().to(device), case.bits)
        else:
            quantised = Codes.fitted(groups, case.codes, generator(case.seed, "codebook"))
        return cls(case, network.train(), cut, quantised, images.load(case.data), device)

    def __post_init__(self):
        self.first, self.before = self.quantised.indices, self.quantised.latents.detach().clone()
        rest = [weight.requires_grad_() for name, weight in self.network.named_parameters() if name not in LAYERS]
        latents = {"params": [self.quantised.latents], "lr": self.case.latent_rate}
        if self.case.learns != "full":
            rest.append(self.quantised.codes)
        if self.case.optimizer == "sgd":
            self.optimizers = [torch.optim.Adam(rest, self.case.rate), torch.optim.SGD([latents], momentum=MOMENTUM)]
        else:
            self.optimizers = [torch.optim.Adam([{"params": rest}, latents], self.case.rate)]
        # of direct: the gradient and the images of a period, and how many groups may change
        self.gradient, self.recent = torch.zeros_like(self.before), []
        self.most = self.may_change = max(1, round(self.case.share * len(self.before)))

    def weights(self) -> tuple[dict[str, Tensor], Tensor]:
        """The weights of the quantised layers as the network sees them, and their groups (N, d)."""
        latents = self.quantised.latents
        if self.case.learns == "full":
            seen = latents + 0  # a node of its own, as the others are
        else:
            seen = self.quantised.values()
            if self.case.learns == "latents":
                through = ESTIMATORS[self.case.estimator](latents, seen)
                seen = through + (seen - seen.detach())  # the value of the code; its gradient to both
        return self.cut.weights(seen), seen

    def step(self, chosen: Tensor, classes: Tensor) -> None:
        """One step on some training images."""
        weights, seen = self.weights()
        seen.retain_grad()
        x, classes = classifier.scaled(self.data.train[chosen].to(self.device)), classes.to(self.device)
        loss = F.cross_entropy(functional_call(self.network, weights, (x,)), classes)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        if self.case.learns == "direct":
            self.gradient += seen.grad
            self.recent.append((x, classes))
        for optimizer in self.optimizers:
            optimizer.step()
        self.choose_codes()

    @torch.no_grad()
    def choose_codes(self) -> None:
        """Give groups the codes that they have from here on."""
        quantised, indices = self.quantised, self.quantised.indices
        if self.case.learns == "latents":
            quantised.indices = quantised.find()
        elif len(self.recent) == self.case.period:
            self.search()
        self.changes.append(int((quantised.indices != indices).sum()))

    def search(self) -> None:
        """Change the codes of the groups that promise most, if the loss on the images of this period falls by it.

        What is promised together need not be kept: if it is not, nothing changes, and a quarter as many groups may
        change the next time, else twice as many.
        """
        quantised, before = self.quantised, self.quantised.indices
        x, classes = (torch.cat(parts) for parts in zip(*self.recent))
        losses = []
        for indices in (before, reassigned(quantised.codes, before, self.gradient, self.may_change)):
            quantised.indices = indices
            logits = functional_call(self.network, self.weights()[0], (x,))
            losses.append(F.cross_entropy(logits, classes).item())
        kept = losses[1] < losses[0]
        quantised.indices = indices if kept else before
        self.may_change = min(2 * self.may_change, self.most) if kept else max(1, self.may_change // 4)
        self.gradient.zero_()
        self.recent.clear()

    def finished(self) -> Classifier:
        """The network as it would be stored, all numbers of the codebook in 16 bits."""
        quantised, network = self.quantised, copy.deepcopy(self.network).eval().requires_grad_(False)
        groups = quantised.latents.detach() if self.case.learns == "full" else quantised.stored()
        network.load_state_dict(self.cut.weights(groups), strict=False)
        return network

    def evaluate(self, split: str = "test") -> tuple[float, float]:
        """The share of images that get a wrong class, and the cross-entropy."""
        network, classes = self.finished(), labels(split, self.data).to(self.device)
        parts = getattr(self.data, split).split(500)
        with torch.no_grad():
            logits = torch.cat([network(classifier.scaled(part.to(self.device))) for part in parts])
        wrong = (logits.argmax(1) != classes).double().mean().item()
        return wrong, F.cross_entropy(logits, classes).item()

    @torch.no_grad()
    def measures(self) -> dict[str, float]:
        """What became of the groups: see :func:`train`."""
        w, q = self.quantised.latents, self.quantised.values()
        r, theta = geometry(w, q)
        return {
            "distance": ((w - q).norm() / w.norm()).item(),
            "kept": (q.square().sum() / w.square().sum()).sqrt().item(),
            "r": r.mean().item(),
            "r_spread": r.std().item(),
            "theta": theta.mean().rad2deg().item(),
        }


def train(case: Case, device: str = "cpu") -> dict:
    """Train one case on a device; deterministic on a given machine.

    Returns:
        ``error``, the share of the test images that get a wrong class after the last step, and at the earlier stops
        ``error_at_1`` and so on; ``loss``, the cross-entropy there; ``validation_error``; ``stored_bits`` of a weight
        with the codebook. Of quantised weights also, at the last step and ``start_...`` before the first one:
        ``distance`` |w - q| / |w| and ``kept`` |q| / |w| over all groups, where w are the latents, or, where there are
        none, the weights in full precision; ``r`` |q| / |w| of a group with its standard deviation ``r_spread``, and
        ``theta``, the angle of w and q in degrees, in the mean. ``moved``, the distance from the weights in full
        precision. ``changes`` of code of a group over training, ``late_changes`` in its last quarter, and the share of
        groups ``changed`` whose last code is not their first.
    """
    run = Run.from_case(case, device)
    steps = 0 if case.learns == "nothing" else case.steps
    classes, stops, result = labels("train", run.data), [round(share * steps) for share in STOPS], {}
    start = {} if case.learns == "full" else {f"start_{name}": value for name, value in run.measures().items()}
    schedules = [torch.optim.lr_scheduler.LinearLR(one, 1.0, 0.0, total_iters=steps) for one in run.optimizers if steps]
    batches = images.batches(len(run.data.train), case.batch, generator(case.seed, "noise"))
    for step, chosen in zip(range(1, steps + 1), batches):
        run.step(chosen, classes[chosen])
        for schedule in schedules:
            schedule.step()
        if step in stops[:-1]:
            result[f"error_at_{stops.index(step) + 1}"] = run.evaluate()[0]
    result["error"], result["loss"] = run.evaluate()
    result["validation_error"] = run.evaluate("validation")[0]
    if case.learns == "full":
        return result | {"stored_bits": 32.0}
    quantised, count = run.quantised, len(run.first)
    return (
        result
        | {"stored_bits": quantised.bits()}
        | start
        | run.measures()
        | {
            "moved": ((quantised.values().detach() - run.before).norm() / run.before.norm()).item(),
            "changes": sum(run.changes) / count,
            "late_changes": sum(run.changes[steps * 3 // 4 :]) / count,
            "changed": (quantised.indices != run.first).double().mean().item(),
        }
    )


#: fields of the arms, by their names on the page
ARMS = {
    "k-means": {"learns": "nothing"},
    "codes": {"learns": "codes"},
    "STE": {"learns": "latents", "estimator": "ste"},
    "rotation": {"learns": "latents", "estimator": "rotation"},
    "rI": {"learns": "latents", "estimator": "scale_only"},
    "R": {"learns": "latents", "estimator": "rotation_only"},
    "direct": {"learns": "direct"},
}
BITS = {"1 bit": {"bits": 1}, "2 bits": {"bits": 2}}
GRIDS = BITS | {"4 bits": {"bits": 4}}
RATES = {f"{rate:g}": {"latent_rate": rate} for rate in (0.003, 0.01, 0.1)}  # beside that of the arms
SGD = {"optimizer": "sgd", "latent_rate": 10.0}
LONG = {"steps": 720}
FEW_CODES = {"codes": 16}  # groups of four weights at one bit


def arms(*names: str) -> dict[str, dict]:
    """Some of :data:`ARMS`."""
    return {name: ARMS[name] for name in names}


EXPERIMENT = Experiment(
    "33_weights",
    train,
    {
        "confirm": crossed(Case(), arms("codes", "STE", "rotation", "direct"), BITS, seeds=CONFIRM),
        "arms": crossed(Case(), ARMS, BITS, seeds=FEW),
        "full": crossed(Case(learns="full"), seeds=FEW),
        "grid": crossed(Case(form="grid"), arms("k-means", "STE"), GRIDS, seeds=FEW),
        "rates": crossed(Case(), arms("STE", "rotation"), RATES, seeds=FEW),
        "rates, 2 bits": crossed(Case(bits=2, latent_rate=0.003), arms("STE"), seeds=FEW),
        "SGD": crossed(Case(**SGD), arms("STE", "rotation", "rI", "R"), seeds=FEW),
        "few codes": crossed(Case(**FEW_CODES), arms("k-means", "codes", "STE", "rotation", "direct"), seeds=FEW),
        "long": crossed(Case(**LONG), arms("STE", "rotation"), seeds=FEW),
    },
    smoke={
        "data": "fashion-mnist-mini",
        "codes": 16,
        "width": 2,
        "epochs": 1,
        "steps": 4,
        "period": 2,
        "batch": 16,
    },
    seconds=12.5,
    takes_device=True,
)
