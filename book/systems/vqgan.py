"""A VQ-GAN on Fashion-MNIST: does the rotation trick gain in Fréchet distance where it gains nothing in the loss?

The network, the data and their order are those of chapter 10. The loss is that of VQGAN (Esser et al. 2021): an
absolute error, a perceptual loss in the features of a frozen network, and from some step on a patch discriminator with
the hinge loss. All three reach the codes through the gradient at the image, and so through the estimator's G.
"""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from book.systems import classifier
from book.systems.classifier import Classifier
from book.systems.runs import CONFIRM, FEW, Experiment, crossed
from rotvq.quantizers.base import Quantized
from rotvq.training.config import FIELDS, Config
from rotvq.training.seeds import derived_seed
from rotvq.training.train import Run

BETAS = (0.5, 0.9)  # of Adam, for both sides, as released
EPS = 1e-4  # added to the norm that divides, as released
MOST = 1e4  # the adaptive weight is clamped there, as released
PICTURES = 8  # test images whose reconstructions a record keeps


@dataclass(frozen=True)
class Case:
    """One run.

    Args:
        estimator: how the gradient passes the quantiser, a key of :data:`.ESTIMATORS`.
        init: the first codes: "uniform", or "kmeans" of latents of the untrained encoder.
        init_latents: of how many.
        update: how the codes move: "gradient", or "ema" of decay 0.99.
        revival: of dead codes: "none" or "unused".
        codebook_size: number of codes, K.
        perceptual: weight of the perceptual loss.
        adversarial: weight of the adversarial loss, on top of the adaptive one.
        adversarial_from: steps before the discriminator starts.
        steps: of the optimiser.
        stops: evaluations, evenly apart, the last at the last step.
        batch: images a step.
        data: "fashion-mnist" or "fashion-mnist-mini".
        seed: of weights, order, first codes and revival, one generator for each.
    """

    estimator: str = "ste"
    init: str = "uniform"
    init_latents: int = 8192
    update: str = "gradient"
    revival: str = "none"
    codebook_size: int = 512
    perceptual: float = 1.0
    adversarial: float = 0.2
    adversarial_from: int = 500
    steps: int = 1500
    stops: int = 3
    batch: int = 32
    data: str = "fashion-mnist"
    seed: int = 0

    @property
    def config(self) -> Config:
        """The run of chapter 10 with the same network, codes, data and order."""
        return Config(**{field: value for field, value in asdict(self).items() if field in FIELDS})


def discriminator(seed: int, width: int = 16) -> nn.Sequential:
    """Three convolutions: images (B, 1, 28, 28) to logits (B, 1, 6, 6), each of a patch of 22 x 22 pixels.

    >>> discriminator(seed=0)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 1, 6, 6])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "noise"))
        return nn.Sequential(
            *(nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(width, 2 * width, 4, 2, 1), nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2)),
            nn.Conv2d(2 * width, 1, 4, 1, 1),
        )


def perceptual_loss(network: Classifier, pixels: Tensor, wanted: Tensor) -> Tensor:
    """The squared error of each stage's features, relative to their mean square, summed over stages.

    Source: Johnson et al. 2016 (arXiv 1603.08155), eq. 2. Pixels are (B, 1, 28, 28) on the scale [0, 1].
    """
    with torch.no_grad():
        goals = network.stages(wanted)
    return sum(F.mse_loss(f, goal) / goal.square().mean() for f, goal in zip(network.stages(pixels), goals))


def hinge(real: Tensor, made: Tensor) -> Tensor:
    """The discriminator's loss from its logits: 0 where every real one is above 1 and every made one below -1."""
    return (F.relu(1 - real).mean() + F.relu(1 + made).mean()) / 2


@dataclass
class Trainer:
    """The parts of a run, and what its steps noted since the last stop."""

    case: Case
    run: Run
    critic: nn.Sequential
    optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    noted: list[dict[str, float]]

    @classmethod
    def from_case(cls, case: Case, device: str = "cpu") -> "Trainer":
        run = Run.from_config(case.config, device)
        critic = discriminator(case.seed).to(device)
        run.start_codes()
        optimizer, critic_optimizer = (
            torch.optim.Adam([p for p in part.parameters() if p.requires_grad], case.config.lr, BETAS, fused=True)
            for part in (run.model, critic)
        )
        return cls(case, run, critic, optimizer, critic_optimizer, [])

    def step(self) -> None:
        """One step of the model and, once it has started, of the discriminator."""
        x = self.run.next_batch()
        y, quantized = self.run.model(x)
        plays = self.run.step >= self.case.adversarial_from and self.case.adversarial > 0
        note = self.descend(x, y, quantized, plays)
        if plays:
            note |= self.criticise(x, y.detach())
        self.noted.append(note)
        self.run.step += 1

    def descend(self, x: Tensor, y: Tensor, quantized: Quantized, plays: bool) -> dict[str, float]:
        """A step of encoder, decoder and codes, by the gradient at the reconstruction y of x."""
        pixels = self.run.data.denormalise
        reconstruction = (y - x).abs().mean()
        if self.case.perceptual:
            feature_error = perceptual_loss(classifier.load("loss", self.run.device), pixels(y), pixels(x))
            reconstruction = reconstruction + self.case.perceptual * feature_error
        (at_y,) = torch.autograd.grad(reconstruction, y, retain_graph=True)
        note = {"loss": reconstruction.item()}
        if plays:
            (adversarial,) = torch.autograd.grad(-self.critic(y).mean(), y, retain_graph=True)
            note["adaptive"] = self.adaptive_weight(y, at_y, adversarial)
            at_y = at_y + self.case.adversarial * note["adaptive"] * adversarial
        self.optimizer.zero_grad()
        torch.autograd.backward((y, quantized.loss), (at_y, None))
        self.optimizer.step()
        return note

    def adaptive_weight(self, y: Tensor, reconstruction: Tensor, adversarial: Tensor) -> float:
        """The ratio of two gradients' norms at the decoder's last layer, from those at y.

        That layer lies behind the quantiser: no G is in either norm, whatever the estimator.
        """
        last = self.run.model.decoder[-1].weight
        first, second = (
            torch.autograd.grad(y, last, gradient, retain_graph=True)[0].norm()
            for gradient in (reconstruction, adversarial)
        )
        return (first / (second + EPS)).clamp_max(MOST).item()

    def criticise(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """A step of the discriminator; the share of patches that it told right before."""
        real, made = self.critic(x), self.critic(y)
        self.critic_optimizer.zero_grad()
        hinge(real, made).backward()
        self.critic_optimizer.step()
        return {"told_apart": ((real > 0).float().mean() + (made < 0).float().mean()).item() / 2}

    def evaluate(self) -> dict[str, float]:
        """Metrics on the test images, and the means of what was noted since the last call."""
        since = {key: [note[key] for note in self.noted if key in note] for key in self.noted[-1]}
        means = {f"train_{key}": sum(values) / len(values) for key, values in since.items()}
        self.noted.clear()
        judged = classifier.quality(self.run.model, self.run.data)
        return {"step": self.run.step, **self.run.evaluate("test"), **judged, **means}


def train(case: Case, device: str = "cpu") -> dict[str, Any]:
    """Train a case: the metrics at the last step, at each of the ``stops``, and ``pictures`` for :func:`unpack`."""
    trainer = Trainer.from_case(case, device)
    stops = []
    for step in range(1, case.steps + 1):
        trainer.step()
        if step * case.stops % case.steps == 0:
            stops.append(trainer.evaluate())
    data = trainer.run.data
    made = classifier.reconstruct(trainer.run.model, data.test[:PICTURES], data)
    return {**stops[-1], "stops": stops, "pictures": pack(made)}


def pack(pixels: Tensor) -> str:
    """Images (N, 1, 28, 28) on the scale [0, 1] as bytes of 8 bits, compressed, in letters."""
    return base64.b64encode(zlib.compress((255 * pixels).round().byte().numpy().tobytes(), 9)).decode()


def unpack(text: str) -> Tensor:
    """What :func:`pack` packed, uint8 (N, 1, 28, 28)."""
    return torch.frombuffer(bytearray(zlib.decompress(base64.b64decode(text))), dtype=torch.uint8).view(-1, 1, 28, 28)


ESTIMATORS = {
    "STE": {"estimator": "ste"},
    "R": {"estimator": "rotation_only"},
    "r I": {"estimator": "scale_only"},
    "rotation": {"estimator": "rotation"},
}
PAIR = {name: ESTIMATORS[name] for name in ("STE", "rotation")}
STARTS = {"uniform": {"init": "uniform"}, "k-means": {"init": "kmeans"}}
UPDATES = {
    "gradient": {"update": "gradient", "revival": "none"},
    "EMA, revival": {"update": "ema", "revival": "unused"},
}
LOSSES = {
    "L1": {"perceptual": 0.0, "adversarial": 0.0},
    "L1, perceptual": {"perceptual": 1.0, "adversarial": 0.0},
    "L1, perceptual, adversarial": {"perceptual": 1.0, "adversarial": 0.2},
}
GRADIENT, REVIVED = ({name: UPDATES[name]} for name in UPDATES)
KMEANS = {"k-means": STARTS["k-means"]}


def blocks() -> dict[str, Sequence[Case]]:
    """The cases of the chapter, those that decide most first."""
    return {
        "confirm": crossed(Case(), PAIR, STARTS, GRADIENT, seeds=CONFIRM),
        "arms": crossed(Case(), ESTIMATORS, STARTS, GRADIENT, seeds=FEW),
        "losses": crossed(Case(), LOSSES, KMEANS, REVIVED, seeds=FEW),
        "EMA, revival": crossed(Case(), ESTIMATORS, STARTS, REVIVED, seeds=FEW),
    }


SMOKE = {
    "data": "fashion-mnist-mini",
    "codebook_size": 16,
    "init_latents": 256,
    "batch": 8,
    "steps": 6,
    "stops": 1,
    "adversarial_from": 3,
}
EXPERIMENT = Experiment("31_vqgan", train, blocks(), SMOKE, seconds=60.0, takes_device=True)
