"""A residual codec of speech: does the rotation matter in a cascade, and is it the estimator or the wiring?

A patch of four log-mel frames, 50 ms of speech, becomes 16 numbers, and these the sum of one code of 64 from each of 8
levels: 48 bits. The network is two perceptrons; the quantiser is the package's :class:`.ResidualVectorQuantizer`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from book.systems import speech
from book.systems.runs import CONFIRM, FEW, Experiment, crossed
from rotvq import ResidualVectorQuantizer
from rotvq.training.seeds import derived_seed, generator

PATCH = 4  # frames
STOPS = (1 / 8, 1 / 4, 1 / 2, 1)  # shares of the steps after which the test recordings are coded
#: how the codes follow. "ema" is EnCodec's decay and Mimi's revival: a code below a tenth of uniform use is replaced
UPDATES = {
    "ema": {"update": "ema", "decay": 0.99, "revival": "threshold", "revival_at": 0.1},
    "gradient": {"update": "gradient"},
}


@dataclass(frozen=True)
class Case:
    """One run.

    Args:
        estimator: a key of :data:`rotvq.ESTIMATORS`.
        wiring: a key of :data:`rotvq.quantizers.residual.WIRINGS`; "none": the latents are not quantised.
        init: the first codes: "kmeans" of the latents of the first batch, or "uniform".
        levels: of the cascade, N.
        update: a key of :data:`UPDATES`.
        gamma: weight of the commitment losses, each the mean square of what a level leaves over.
        equalised: whether *detach*, which multiplies the reconstruction gradient by about N, has N times this gamma.
        dropout: share of the patches of a batch of which only the first levels are used.
        codebook_size: codes of a level, K.
        dim: of a latent.
        width: of the hidden layers.
        lr: rate of Adam.
        batch: patches of a step.
        steps: of Adam.
        source: of the training and test recordings, "english" or a folder: see :func:`.speech.load`.
        seed: of weights, order and codes, one generator for each.
    """

    estimator: str = "ste"
    wiring: str = "once"
    init: str = "kmeans"
    levels: int = 8
    update: str = "ema"
    gamma: float = 0.25
    equalised: bool = True
    dropout: float = 0.0
    codebook_size: int = 64
    dim: int = 16
    width: int = 256
    lr: float = 3e-3
    batch: int = 256
    steps: int = 1000
    source: str = "english"
    seed: int = 0


class Out(NamedTuple):
    """What a codec makes of patches: the decoded ones in decibels, the codes (..., levels), and the loss."""

    patches: Tensor
    indices: Tensor | None
    loss: Tensor


class Codec(nn.Module):
    """Encoder, cascade and decoder for patches in decibels, (B, PATCH * BANDS).

    Args:
        case: says how it is built.
        mean, std: of the training frames, in decibels.
    """

    def __init__(self, case: Case, mean: float, std: float):
        super().__init__()
        size, width, dim = PATCH * speech.BANDS, case.width, case.dim
        self.mean, self.std = mean, std
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(case.seed, "weights"))
            self.encoder, self.decoder = (
                nn.Sequential(nn.Linear(a, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, b))
                for a, b in ((size, dim), (dim, size))
            )
        self.vq = cascade(case) if case.wiring != "none" else None

    def encode(self, patches: Tensor) -> Tensor:
        """The latents (B, dim)."""
        return self.encoder((patches - self.mean) / self.std)

    def decode(self, latents: Tensor) -> Tensor:
        """Patches in decibels."""
        return self.decoder(latents) * self.std + self.mean

    def forward(self, patches: Tensor) -> Out:
        z = self.encode(patches)
        z_q, indices, loss = self.vq(z) if self.vq else (z, None, z.new_zeros(()))
        decoded = self.decode(z_q)
        return Out(decoded, indices, functional.mse_loss(decoded, patches) / self.std**2 + loss)

    @torch.no_grad()
    def coded(self, patches: Tensor, levels: int | None = None) -> Tensor:
        """Patches after coding with the first levels, or all."""
        if self.vq is None:
            return self.decode(self.encode(patches))
        return self.decode(self.vq.decode(self.vq.encode(self.encode(patches))[..., :levels]))


def cascade(case: Case) -> ResidualVectorQuantizer:
    """The quantiser of a case."""
    times = case.levels if case.wiring == "detach" and case.equalised else 1
    return ResidualVectorQuantizer(
        case.dim,
        case.codebook_size,
        case.levels,
        case.wiring,
        case.estimator,
        init=case.init,
        gamma=times * case.gamma,
        dropout=case.dropout,
        generator=generator(case.seed, "codebook"),
        engine="plain",  # the fastest for so few latents
        check=False,
        **UPDATES[case.update],
    )


def patches_of(recordings: speech.Recordings, starts: Tensor) -> Tensor:
    """The patches (B, PATCH * BANDS) that start at these frames (B,)."""
    return recordings.frames[starts[:, None] + torch.arange(PATCH)].flatten(1)


def all_patches(recordings: speech.Recordings) -> Tensor:
    """Every recording, patch by patch; what is left at its end is dropped."""
    return patches_of(recordings, recordings.starts(PATCH, every=PATCH))


def fit(case: Case, watch=lambda step, codec: None, device: str = "cpu") -> Codec:
    """A codec trained on a device; ``watch`` is called at each of :data:`STOPS`."""
    training = speech.load(case.source).split("train")
    starts = training.starts(PATCH, every=1)  # a patch may begin at any frame
    codec = Codec(case, float(training.frames.mean()), float(training.frames.std())).to(device)
    optimizer = torch.optim.Adam(codec.parameters(), case.lr, fused=True)
    order, stops = generator(case.seed, "order"), {max(1, round(share * case.steps)) for share in STOPS}
    for step in range(1, case.steps + 1):
        batch = patches_of(training, starts[torch.randint(len(starts), (case.batch,), generator=order)])
        optimizer.zero_grad()
        codec(batch.to(device)).loss.backward()
        optimizer.step()
        if step in stops:
            watch(step, codec.eval())
            codec.train()
    return codec.eval()


def train(case: Case, device: str = "cpu") -> dict:
    """What a run gives: errors are mean squares in decibels, on recordings that it was not trained on."""
    recordings = speech.load(case.source)
    test, curve = all_patches(recordings.split("test")).to(device), {}
    codec = fit(case, lambda step, codec: curve.update({str(step): error(codec, test)}), device)
    result = {
        "test_mse": error(codec, test),
        "validation_mse": error(codec, all_patches(recordings.split("validation")).to(device)),
        "french_mse": error(codec, all_patches(speech.load("french")).to(device)),
        "curve": curve,
    }
    return result if codec.vq is None else result | levels_of(codec, test) | change_of_gradient(codec, test)


def error(codec: Codec, patches: Tensor) -> float:
    """The mean square of what the codec changes, in square decibels."""
    return float(functional.mse_loss(codec.coded(patches), patches))


@torch.no_grad()
def levels_of(codec: Codec, patches: Tensor) -> dict:
    """Of each level: entropy of its codes in bits, share of them in use, error with it and those before it."""
    z = codec.encode(patches)
    indices, size = codec.vq.encode(z), len(codec.vq.codes[0])
    shares = [torch.bincount(index, minlength=size) / len(index) for index in indices.unbind(-1)]

    def of_first(levels: int) -> float:
        return float(functional.mse_loss(codec.decode(codec.vq.decode(indices[:, :levels])), patches))

    return {
        "bits": [float(-torch.xlogy(share, share).sum() / torch.log(torch.tensor(2.0))) for share in shares],
        "usage": [float((share > 0).float().mean()) for share in shares],
        "mse_after": [of_first(level) for level in range(1, len(shares) + 1)],
        "relative_error": float(((z - codec.vq.decode(indices)).square().sum() / z.square().sum()).sqrt()),
        "z_norm": float(z.norm(dim=-1).mean()),
    }


def change_of_gradient(codec: Codec, patches: Tensor) -> dict:
    """How far what reaches the encoder, J^T g, is from the g of the decoder, relative to it; for detach, J^T g / N."""
    z = codec.encode(patches).detach().requires_grad_()
    z_q = codec.vq(z).z_q
    (g,) = torch.autograd.grad(functional.mse_loss(codec.decode(z_q), patches), z_q, retain_graph=True)
    (received,) = torch.autograd.grad(z_q, z, g)
    times = codec.vq.levels if codec.vq.wiring == "detach" else 1
    return {"gradient_change": float((received / times - g).norm() / g.norm())}


class Bounds(NamedTuple):
    """Errors without a network, in square decibels: of the mean frame, of principal axes, of a cascade on these."""

    mean: float
    axes: float
    cascade: list[float]  #: with the codes of the first level, of the first two, ...


@torch.no_grad()
def bounds(case: Case) -> Bounds:
    """What a codec of these sizes should beat: the axes of most variance, and on these k-means level by level.

    >>> found = bounds(Case(dim=2, levels=2, codebook_size=4))
    >>> found.mean > found.cascade[0] > found.cascade[1] > found.axes
    True
    """
    recordings = speech.load(case.source)
    known, test = (all_patches(recordings.split(name)) for name in ("train", "test"))
    mean = known.mean(0)
    axes = torch.linalg.eigh((known - mean).T @ (known - mean)).eigenvectors[:, -case.dim :]
    made = generator(case.seed, "codebook")
    vq = ResidualVectorQuantizer(case.dim, case.codebook_size, case.levels, init="kmeans", generator=made)
    vq((known - mean) @ axes)  # the codes of a level start from what the levels before it left over
    z = (test - mean) @ axes
    indices = vq.eval().encode(z)

    def error_of(latents: Tensor) -> float:
        return float(functional.mse_loss(latents @ axes.T + mean, test))

    cascade_errors = [error_of(vq.decode(indices[:, :level])) for level in range(1, case.levels + 1)]
    return Bounds(float(functional.mse_loss(mean.expand_as(test), test)), error_of(z), cascade_errors)


ARMS = {"STE": {"estimator": "ste"}, "rotation": {"estimator": "rotation"}, "r I": {"estimator": "scale_only"}}
PAIR = {name: ARMS[name] for name in ("STE", "rotation")}
WIRED = {wiring: {"wiring": wiring} for wiring in ("graph", "detach", "once")}
CARRIED = {wiring: WIRED[wiring] for wiring in ("graph", "once")}  # in which G z = q holds for the cascade
APART = {wiring: WIRED[wiring] for wiring in ("graph", "detach")}  # with an estimator at each level
STARTS = {"k-means": {"init": "kmeans"}, "uniform 1/K": {"init": "uniform"}}
EIGHT, FOUR = Case(), Case(levels=4)
SCALE = {"r I": ARMS["r I"]}
UNIFORM = Case(init="uniform")
SOME = CONFIRM[:3]  # fresh seeds of the arms that came later

EXPERIMENT = Experiment(
    "30_residual_codec",
    train,
    {
        "four levels, k-means": crossed(FOUR, WIRED, ARMS, seeds=FEW),
        "four levels, uniform": crossed(Case(levels=4, init="uniform"), CARRIED, ARMS, seeds=FEW),
        "no quantiser": crossed(Case(wiring="none"), seeds=FEW),
        "eight levels, k-means": crossed(EIGHT, WIRED, PAIR, seeds=CONFIRM),
        "eight levels, uniform": crossed(Case(init="uniform"), PAIR, seeds=CONFIRM),
        "detach as it is": crossed(Case(wiring="detach", equalised=False), PAIR, seeds=FEW),
        "codes by the gradient": crossed(Case(levels=4, update="gradient"), STARTS, CARRIED, PAIR, seeds=FEW),
        "gamma": crossed(Case(levels=4, gamma=1.0), CARRIED, PAIR, seeds=FEW),
        "rate": crossed(Case(levels=4, lr=1e-3), PAIR, seeds=FEW),
        "dropout": crossed(Case(dropout=0.5), PAIR, seeds=FEW),
        "eight levels, k-means, r I": crossed(EIGHT, WIRED, SCALE, seeds=SOME),
        "eight levels, uniform, r I": crossed(UNIFORM, SCALE, seeds=SOME),
        "eight levels, uniform, other wirings": crossed(UNIFORM, APART, ARMS, seeds=SOME),
        "four levels, uniform, detach": crossed(replace(FOUR, init="uniform", wiring="detach"), ARMS, seeds=FEW),
    },
    smoke={"steps": 3, "batch": 64, "width": 16, "levels": 2},
    seconds=17.0,
    takes_device=True,
)
