"""The optimisers by name, and which weights they decay."""

import torch
from torch import nn

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}  # SGD without momentum


def make_optimizer(name: str, model: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """The optimiser of a model with a ``quantizer``. Weight decay falls on encoder and decoder, not on the codes."""
    codes = [p for p in model.quantizer.parameters() if p.requires_grad]
    networks = [p for name, p in model.named_parameters() if not name.startswith("quantizer.")]
    groups = [{"params": networks, "weight_decay": weight_decay}]
    if codes:
        groups.append({"params": codes, "weight_decay": 0.0})
    return OPTIMIZERS[name](groups, lr=lr, fused=True)
