r"""Sequences of codes: what a better codebook is for. Bits of an image, and images drawn from a prior over its codes.

The VQ-VAE, the data and their order are those of chapter 10. When it is trained its encoder turns images into sequences
of 49 codes, and a :class:`.Prior` learns their distribution. Two things come of that. A code for images, lossless in
all: the codes by the prior, then the pixels given their reconstruction,

.. math:: L(x) = -\log_2 p(s(x)) - \sum_j \log_2 p(x_j \mid y_j),

and new images: sequences drawn from the prior, decoded. Reconstructions of images that were not trained on are what a
perfect prior would draw.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from book.systems import classifier, vqgan
from book.systems.prior import PART, Places, Prior
from book.systems.runs import CONFIRM, FEW, Experiment, crossed
from rotvq.runs.grids import BASELINE
from rotvq.training import images
from rotvq.training.config import FIELDS, Config
from rotvq.training.images import Images
from rotvq.training.models import VQVAE
from rotvq.training.seeds import generator
from rotvq.training.train import fit

LEVELS = 64  # of a reconstructed pixel, as the code for pixels sees it
PICTURES = 8  # drawn images that a record keeps
BETAS = (0.9, 0.99)  # of Adam, for the prior
QUARTERS = 4  # parts of the prior's training, whose bits are kept


@dataclass(frozen=True)
class Case:
    """One run.

    Args:
        tokeniser: whose codes they are: those of a "vqvae", or of the "vqgan" of chapter 31, which has no ``decay`` and
            ``initial_count`` but the defaults.
        estimator: how the gradient passes the quantiser, a key of :data:`rotvq.ESTIMATORS`.
        init: the first codes: "uniform", or "kmeans" of latents of the untrained encoder.
        init_latents: of how many.
        update: how the codes move: "gradient" or "ema".
        decay: of the averages of EMA.
        initial_count: of each code with which EMA starts.
        revival: of dead codes: "none" or "unused".
        codebook_size: number of codes, K.
        steps: of the optimiser of the VQ-VAE, or of the VQ-GAN.
        width: of the prior's blocks.
        layers: of the prior, how many blocks.
        heads: of each.
        prior_steps: of the prior's optimiser.
        rate: of the prior at first; it falls linearly to 0.
        batch: images a step, of both.
        judged: test images whose bits are counted, and images of each set that is compared with the test images.
        data: "fashion-mnist" or "fashion-mnist-mini".
        seed: of weights, order, first codes, revival and draws, one generator for each.
    """

    tokeniser: str = "vqvae"
    estimator: str = "ste"
    init: str = "uniform"
    init_latents: int = 8192
    update: str = "gradient"
    decay: float = 0.99
    initial_count: float = 1.0
    revival: str = "none"
    codebook_size: int = 512
    steps: int = 2000
    width: int = 64
    layers: int = 2
    heads: int = 4
    prior_steps: int = 500
    rate: float = 2e-2
    batch: int = 32
    judged: int = 2000
    data: str = "fashion-mnist"
    seed: int = 0

    @property
    def config(self) -> Config:
        """The run of chapter 10 that trains the VQ-VAE."""
        return Config(**{field: value for field, value in asdict(self).items() if field in FIELDS})

    @property
    def gan(self) -> vqgan.Case:
        """The run of chapter 31 that trains the VQ-GAN."""
        shared = {field.name: getattr(self, field.name) for field in fields(vqgan.Case) if hasattr(self, field.name)}
        return vqgan.Case(**shared)


def tokeniser(case: Case, device: str = "cpu") -> tuple[VQVAE, dict[str, Any]]:
    """The trained model whose codes they are, and what :func:`.fit` says of it at its last step."""
    if case.tokeniser == "vqvae":
        model, result = fit(case.config, device=device)
        return model, result["final"]
    trainer = vqgan.Trainer.from_case(case.gan, device)
    for _ in range(case.steps):
        trainer.step()
    return trainer.run.model, trainer.run.result()["final"] | {"step": case.steps}


@torch.no_grad()
def encode(model: VQVAE, pixels: Tensor, data: Images) -> Tensor:
    """The codes of uint8 images (N, 1, H, W) as sequences of indices, row by row, (N, T)."""
    device = next(model.parameters()).device
    latents = (model.encode(data.normalise(part.to(device))) for part in pixels.split(PART))
    return torch.cat([model.quantizer(z).indices.flatten(1) for z in latents])


@torch.no_grad()
def decode(model: VQVAE, indices: Tensor, data: Images) -> Tensor:
    """The images of sequences (N, T) on a square grid: (N, 1, H, W) on the CPU, clamped to the scale [0, 1]."""
    side = math.isqrt(indices.shape[1])
    grids = indices.to(next(model.parameters()).device).unflatten(1, (side, side)).split(PART)
    made = (model.decode(model.quantizer.decode(part)) for part in grids)
    return torch.cat([data.denormalise(one).clamp(0, 1).cpu() for one in made])


class PixelCode:
    """A code for pixels given their reconstruction: shares of the 256 values at each of :data:`LEVELS` levels of it.

    Args:
        made: reconstructions (N, 1, H, W) on the scale [0, 1], whose pixels are counted.
        pixels: the images, uint8. Each value of each level counts 1 beforehand, so that all can be written.
    """

    def __init__(self, made: Tensor, pixels: Tensor):
        cells = 256 * _level(made) + pixels.long()
        counts = 1 + cells.flatten().bincount(minlength=256 * LEVELS).view(LEVELS, 256).double()
        self.shares = counts / counts.sum(1, keepdim=True)

    def bits(self, made: Tensor, pixels: Tensor) -> Tensor:
        """Bits of each image (N, 1, H, W), (N,)."""
        return -self.shares.log2()[_level(made), pixels.long()].flatten(1).sum(1)


def _level(made: Tensor) -> Tensor:
    """Numbers on the scale [0, 1] to the nearest of :data:`LEVELS` levels."""
    return (made * (LEVELS - 1)).round().long()


@dataclass
class Sequences:
    """A trained VQ-VAE, the codes of its images, and a prior over them on its way.

    Args:
        case: of which it is.
        model: that was trained, in evaluation mode.
        data: its images.
        prior: over its codes.
        codes: of the training images in the order in which the prior sees them, (prior_steps, batch, T).
        test: codes of the test images that are judged, (judged, T).
        losses: bits an image of each batch, before the prior learned from it.
    """

    case: Case
    model: VQVAE
    data: Images
    prior: Prior
    codes: Tensor
    test: Tensor
    losses: list[float]

    @classmethod
    def from_model(cls, case: Case, model: VQVAE) -> Sequences:
        """The prior before its first step."""
        data, model = images.load(case.data), model.eval()
        order = images.batches(len(data.train), case.batch, generator(case.seed, "order"))
        chosen = torch.stack(list(islice(order, case.prior_steps)))
        codes = encode(model, data.train[chosen.flatten()], data).view(*chosen.shape, -1)
        places = codes.shape[-1]
        prior = Prior(case.codebook_size, places, case.width, case.layers, case.heads, case.seed).to(codes.device)
        return cls(case, model, data, prior, codes, encode(model, data.test[: case.judged], data), [])

    def learn(self) -> list[dict[str, float]]:
        """Train the prior; what :meth:`drawn` says halfway and at the end."""
        optimizer = torch.optim.Adam(self.prior.parameters(), self.case.rate, BETAS, fused=True)
        steps = self.case.prior_steps
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
        stops = []
        for step, batch in enumerate(self.codes, 1):
            loss = self.prior.loss(batch)
            self.losses.append(loss.item() * batch.shape[1] / math.log(2))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if step in (steps // 2, steps):
                stops.append({"step": step, **self.drawn(self.prior)})
        return stops

    def sample(self, prior: Prior | Places, count: int) -> Tensor:
        """So many sequences of a prior, always with the same noise: (count, T)."""
        return prior.sample(count, generator(self.case.seed, "noise"))

    def drawn(self, prior: Prior | Places) -> dict[str, float]:
        """Bits of the codes of a test image under a prior, and the distances of what it draws."""
        sequences = self.sample(prior, self.case.judged)
        made = classifier.distances(decode(self.model, sequences, self.data), self.data)
        return {"bits": prior.bits(self.test).mean().item(), "perplexity": perplexity(sequences), **made}

    def description(self) -> dict[str, float]:
        """Bits of the pixels of a test image given its reconstruction, and the distances of reconstructions.

        What is counted for the code of pixels is the validation images, and the reconstructions that are compared with
        the test images are of the first of those, as many as a prior draws.
        """
        seen, judged = self.data.validation, self.case.judged
        made = decode(self.model, encode(self.model, seen, self.data), self.data)
        bits = PixelCode(made, seen).bits(decode(self.model, self.test, self.data), self.data.test[:judged])
        return {"pixel_bits": bits.mean().item(), **_named("recon", classifier.distances(made[:judged], self.data))}

    def online(self) -> list[float]:
        """Bits of the codes of a training image before the prior learned from it, means by quarter of its steps."""
        return [sum(part) / len(part) for part in _parts(self.losses, QUARTERS)]


def _parts(values: list[float], count: int) -> list[list[float]]:
    """Consecutive parts, as many as there are values if those are fewer."""
    count = min(count, len(values))
    ends = [round(len(values) * i / count) for i in range(count + 1)]
    return [values[first:last] for first, last in zip(ends, ends[1:])]


def _named(before: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{before}_{name}": value for name, value in values.items()}


def perplexity(indices: Tensor) -> float:
    """The exponential of the entropy of the shares of codes among indices."""
    shares = indices.flatten().bincount() / indices.numel()
    return torch.special.entr(shares).sum().exp().item()


def train(case: Case, device: str = "cpu") -> dict[str, Any]:
    """Train one case on a device; deterministic on a given machine.

    Returns:
        What :func:`.fit` says of a model at its last step, and :func:`.quality` of its reconstructions of the test
        images, with ``test_`` before the names. ``index_bits``, ``pixel_bits`` and their sum
        ``total_bits``, of a test image; ``online`` as in :meth:`.Sequences.online`. Distances from the test images, as
        :func:`.distances` names them: ``recon_`` of reconstructions, ``sample_`` of what the prior drew, ``places_`` of
        what a prior of independent places drew, with their ``_bits`` and ``_perplexity``; ``stops``, those of the prior
        halfway and at the end; ``pictures`` for :func:`.vqgan.unpack`. A case that diverged has ``diverged_at`` alone.
    """
    model, final = tokeniser(case, device)
    if final["diverged_at"] is not None:
        return {"diverged_at": final["diverged_at"]}
    sequences = Sequences.from_model(case, model)
    stops = sequences.learn()
    described = sequences.description()
    sampled = {name: value for name, value in stops[-1].items() if name != "step"}
    independent = sequences.drawn(Places(sequences.codes.flatten(0, 1), case.codebook_size))
    pictures = decode(model, sequences.sample(sequences.prior, PICTURES), sequences.data)
    return {
        **final,
        **_named("test", classifier.quality(model, sequences.data)),
        "index_bits": sampled["bits"],
        "total_bits": sampled["bits"] + described["pixel_bits"],
        **described,
        **_named("sample", sampled),
        **_named("places", independent),
        "online": sequences.online(),
        "stops": stops,
        "pictures": vqgan.pack(pictures),
    }


#: fields of the arms that train codes by the gradient, by their names on the page
ARMS = {
    "STE": {"estimator": "ste", "update": "gradient", "revival": "none"},
    "rotation": {"estimator": "rotation", "update": "gradient", "revival": "none"},
    "r I": {"estimator": "scale_only", "update": "gradient", "revival": "none"},
}
STARTS = {"uniform": {"init": "uniform"}, "k-means": {"init": "kmeans"}}
PAIR = {name: ARMS[name] for name in ("STE", "rotation")}
SCALE = {"r I": ARMS["r I"]}
BEST = {"recommended": {"estimator": "ste", "init": "kmeans", **BASELINE}}
#: as well, fixed once the others had been run: runs of chapter 31, from k-means
GAN = Case(tokeniser="vqgan", init="kmeans", steps=vqgan.Case.steps)
FOLLOWING = {f"{name}, EMA": arm | vqgan.UPDATES["EMA, revival"] for name, arm in PAIR.items()}


def blocks() -> dict[str, list[Case]]:
    """The cases of the chapter, those that decide most first."""
    return {
        "confirm": crossed(Case(), PAIR, STARTS, seeds=CONFIRM),
        "recommended": crossed(Case(), BEST, seeds=CONFIRM),
        "scale": crossed(Case(), SCALE, STARTS, seeds=CONFIRM),
        "codes of a VQ-GAN": crossed(GAN, PAIR, seeds=CONFIRM),
        "codes of a VQ-GAN that follow": crossed(GAN, FOLLOWING, seeds=FEW),
    }


SMOKE = {
    "data": "fashion-mnist-mini",
    "codebook_size": 16,
    "init_latents": 256,
    "batch": 8,
    "steps": 4,
    "width": 8,
    "layers": 1,
    "heads": 2,
    "prior_steps": 4,
    "judged": 16,
}
EXPERIMENT = Experiment("37_sequences", train, blocks(), SMOKE, seconds=34.0, takes_device=True)
