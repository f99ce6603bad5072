"""The optimisers by name, which weights they decay, and how their learning rates change over the steps."""

import math

import torch
from torch import nn

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}  # SGD without momentum

RAMP = 0.15  # share of the steps over which the rates of "ramp" rise

SCHEDULES = {  # factor on the learning rates, from the share of the steps that have been taken
    "constant": lambda share: 1.0,
    "cosine": lambda share: (1 + math.cos(math.pi * share)) / 2,
    "ramp": lambda share: min(1.0, share / RAMP),
}


def make_optimizer(
    name: str, model: nn.Module, lr: float, weight_decay: float, code_lr: float = 1.0
) -> torch.optim.Optimizer:
    """The optimiser of a model with a ``quantizer``. Weight decay falls on encoder and decoder, not on the codes.

    ``code_lr`` is a factor on the learning rate of what the quantiser learns.
    """
    codes = [p for p in model.quantizer.parameters() if p.requires_grad]
    networks = [p for name, p in model.named_parameters() if not name.startswith("quantizer.")]
    groups = [{"params": networks, "weight_decay": weight_decay, "lr": lr}]
    if codes:
        groups.append({"params": codes, "weight_decay": 0.0, "lr": lr * code_lr})
    for group in groups:
        group["initial_lr"] = group["lr"]
    return OPTIMIZERS[name](groups, lr=lr, fused=True)


def set_learning_rates(optimizer: torch.optim.Optimizer, schedule: str, share: float) -> None:
    """The learning rates of the next step, when ``share`` of the steps have been taken."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * SCHEDULES[schedule](share)
