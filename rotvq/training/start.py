"""What a run starts from: the untrained model, batches, optimiser, first codes. All of it follows from the seed."""

from __future__ import annotations

import math

import torch
from torch import nn

from rotvq.quantizers import distributed
from rotvq.quantizers.estimators import estimator
from rotvq.quantizers.registry import METHODS
from rotvq.training import ablations, images
from rotvq.training.config import Config
from rotvq.training.models import MODELS
from rotvq.training.seeds import generator

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}  # SGD without momentum
OPTIONS = (
    "estimator",
    "clip",
    "mix",
    "warmup",
    "centre",
    "lookup",
    "init",
    "init_scale",
    "update",
    "decay",
    "initial_count",
    "revival",
    "beta",
    "gamma",
    "convention",
)


def build(config: Config, channels: int) -> nn.Module:
    """The untrained model of a config. Its weights depend on the seed and the architecture, never on the estimator."""
    rival = METHODS[config.quantizer]
    options = {"check": False, "generator": generator(config.seed, "codebook")}
    options |= {name: getattr(config, name) for name in OPTIONS}
    if config.centre_offset:
        member = estimator(config.estimator, config.clip, config.mix)
        options |= {"estimator": ablations.OffCentre(member, config.centre_offset), "clip": None, "mix": None}
    if config.gain == "learned":
        options["gain"] = torch.ones(config.codebook_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(config.seed, "weights").initial_seed())
        quantizer = rival(
            config.dim, config.codebook_size, **{k: v for k, v in options.items() if k not in rival.fixed}
        )
        model = MODELS[config.model](channels, quantizer, norm=config.norm)
    quantizer.seed = generator(config.seed, "revival").initial_seed()
    if config.latent_scale != 1:
        ablations.scale_latents(model, config.latent_scale)
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
    rank, size = distributed.world()
    draw = generator(config.seed, "codebook")
    tokens = math.prod(model.encode(data.normalise(data.train[:1]).to(device)).shape[1:-1])
    chosen = torch.randperm(len(data.train), generator=draw)[: -(-config.init_latents // tokens)]
    mine = chosen.tensor_split(size)[rank]
    parts = [model.encode(data.normalise(data.train[i].to(device))) for i in mine.split(500)]
    latents = distributed.gather_rows(torch.cat(parts).flatten(0, -2))
    keep = torch.randperm(len(latents), generator=draw)[: config.init_latents]
    model.quantizer.codebook.start(latents[keep].tensor_split(size)[rank].to(device))
