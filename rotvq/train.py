"""One run: a Config becomes a result. Nothing is written; the same Config gives the same result on the same machine."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from tqdm import tqdm

from rotvq import images, metrics
from rotvq.config import Config, generator
from rotvq.models import MODELS
from rotvq.quantizer import VectorQuantizer

FIRST = 20  # training losses kept from the start: what a run elsewhere is compared with
TRACE = 40  # points in the trace of batch statistics, kept to six digits
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}  # SGD without momentum
RECONSTRUCTION = {  # of normalised pixels, under each loss convention
    "mean": lambda squares: squares.mean(),
    "token": lambda squares: squares.mean(),
    "image": lambda squares: squares.flatten(1).sum(1).mean(),
}


def build(config: Config, channels: int) -> nn.Module:
    """The untrained model of a config. Its weights depend on the seed and the architecture, never on the estimator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(config.seed, "weights").initial_seed())
        quantizer = VectorQuantizer(
            config.dim, config.codebook_size, config.estimator, clip=config.clip, mix=config.mix, warmup=config.warmup,
            centre=config.centre, lookup=config.lookup, init=config.init, init_scale=config.init_scale,
            update=config.update, decay=config.decay, initial_count=config.initial_count, revival=config.revival,
            beta=config.beta, gamma=config.gamma, convention=config.convention, check=False,
            generator=generator(config.seed, "codebook"),
        )  # fmt: skip
        model = MODELS[config.model](channels, quantizer, norm=config.norm)
    quantizer.seed = generator(config.seed, "revival").initial_seed()
    return model.to(memory_format=torch.channels_last)


def batches(count: int, size: int, order: torch.Generator):
    """Endless index tensors: epoch after epoch of a fresh permutation, without a short last batch."""
    if size > count:
        raise ValueError(f"batch is {size}: the training split has {count} images")
    while True:
        yield from torch.randperm(count, generator=order).split(size)[: count // size]


def optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """Weight decay falls on encoder and decoder, not on the codes."""
    codes = [p for p in model.quantizer.parameters() if p.requires_grad]
    rest = [p for name, p in model.named_parameters() if not name.startswith("quantizer.")]
    groups = [{"params": rest, "weight_decay": config.weight_decay}]
    groups += [{"params": codes, "weight_decay": 0.0}] if codes else []
    return OPTIMIZERS[config.optimizer](groups, lr=config.lr, fused=True)


@torch.no_grad()
def start_codes(config: Config, model: nn.Module, data: images.Images, device) -> None:
    """Give a data-dependent codebook ``init_latents`` latents of training images, chosen by the codebook generator."""
    if model.quantizer.codebook.ready:
        return
    draw = generator(config.seed, "codebook")
    tokens = math.prod(model.encode(data.normalise(data.train[:1]).to(device)).shape[1:-1])
    chosen = torch.randperm(len(data.train), generator=draw)[: -(-config.init_latents // tokens)]
    parts = [model.encode(data.normalise(data.train[i].to(device))) for i in chosen.split(500)]
    latents = torch.cat(parts).flatten(0, -2)
    keep = torch.randperm(len(latents), generator=draw)[: config.init_latents].to(device)
    model.quantizer.codebook.start(latents[keep])


def fit(config: Config, *, device: str = "cpu", threads: int = 1, progress: bool = False) -> tuple[nn.Module, dict]:
    """Train the model of ``config``; return it with its result.

    result: ``curve.stops``, the metrics on the test split at steps 500, 1000, 2000, 4000 ... and the last; ``final``,
    those at the last step and on the validation split; ``curve.trace``, statistics of some 40 training batches, the
    first among them; ``curve.first``, the first 20 losses. Where a loss or metric becomes NaN or inf training ends and
    ``final`` holds only ``diverged_at``, the step at which that was seen.
    Raises ValueError for a config that :meth:`.Config.check` refuses, before any work.

    >>> model, result = fit(Config(data="fashion-mnist-mini", codebook_size=16, steps=3))
    >>> model.quantizer.codes.shape, len(result["curve"]["first"])
    (torch.Size([16, 32]), 3)
    """
    config.check()
    torch.set_num_threads(threads)
    data = images.load(config.data, config.seed)
    model = build(config, data.train.shape[1]).to(device)
    order = batches(len(data.train), config.batch, generator(config.seed, "order"))
    train = data.train.to(device)
    bar = tqdm(total=config.pretrain_steps + config.steps, unit="step", disable=not progress, leave=False)

    def next_batch() -> Tensor:
        bar.update()
        return data.normalise(train[next(order).to(device)]).contiguous(memory_format=torch.channels_last)

    def reconstruction_loss(y: Tensor, x: Tensor) -> Tensor:
        return RECONSTRUCTION[config.convention]((y - x).square())

    def step(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def measured(split: str) -> dict:
        found = metrics.evaluate(model, getattr(data, split), data)
        return {f"{split}_{name}": value for name, value in found.items()}

    def finite(numbers) -> bool:
        return all(map(math.isfinite, numbers))

    warm = optimizer(config, model)
    for _ in range(config.pretrain_steps):  # the plain autoencoder: no codes yet
        x = next_batch()
        step(reconstruction_loss(model.decode(model.encode(x)), x), warm)
    start_codes(config, model, data, device)

    optimiser = optimizer(config, model)
    stops, trace, first, diverged_at = [], [], [], None
    for at in range(1, config.steps + 1):
        x = next_batch()
        traced = at % max(1, config.steps // TRACE) == 0 or at == 1
        z = model.encode(x)
        quantized = model.quantizer(z, details=traced)
        reconstruction = reconstruction_loss(model.decode(quantized.z_q), x)
        loss = reconstruction + quantized.loss
        if at <= FIRST:
            first.append(loss.item())
        if traced:
            row = {"loss": loss.item(), "reconstruction": reconstruction.item()}
            row |= metrics.trace(model.quantizer, quantized, reconstruction, z)
            if not finite(row.values()):
                diverged_at = at
                break
            trace.append({"step": at, **{name: float(f"{value:.6g}") for name, value in row.items()}})
        step(loss, optimiser)
        if at == config.steps or (at % 500 == 0 and (at // 500).bit_count() == 1):
            row = {"step": at, **measured("test")}
            if not finite(row.values()):
                diverged_at = at
                break
            stops.append(row)
    bar.close()
    final = {"diverged_at": diverged_at}
    if diverged_at is None:
        final |= (stops[-1] if stops else {"step": 0, **measured("test")}) | measured("validation")
    return model, {
        "final": final,
        "curve": {"stops": stops, "trace": trace, "first": list(filter(math.isfinite, first))},
    }


def train(config: Config, *, device: str = "cpu", threads: int = 1, progress: bool = False) -> dict:
    """The result of :func:`fit` without the model: what a record holds.

    >>> result = train(Config(data="fashion-mnist-mini", codebook_size=16, steps=3))
    >>> list(result), result["final"]["step"]
    (['final', 'curve'], 3)
    """
    return fit(config, device=device, threads=threads, progress=progress)[1]
