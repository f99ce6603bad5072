"""State dicts of other libraries, brought into our layout."""

import torch
from torch import nn

FOREIGN_KEYS = {  # where other implementations keep the codes and their running counts
    "embedding.weight": "codebook.weight",  # taming's and the first VQ-VAE's Embedding
    "_codebook.embed": "codebook.weight",  # vector-quantize-pytorch, with an axis for separate heads in front
    "_codebook.cluster_size": "statistics.running",
}


def adopt(module: nn.Module, state: dict, prefix: str, *_) -> None:
    """Before loading: bring another implementation's state into our layout; what it lacks stays as it is here."""
    foreign = {key: state[prefix + key] for key in FOREIGN_KEYS if prefix + key in state}
    if not foreign:
        return
    for key in [key for key in state if key.startswith((prefix + "_codebook.", prefix + "embedding."))]:
        del state[key]
    for key, value in module.state_dict().items():
        state.setdefault(
            prefix + key, torch.ones_like(value) if key in ("codebook.started", "statistics.step_ended") else value
        )
    for key, value in foreign.items():
        state[prefix + FOREIGN_KEYS[key]] = value.squeeze(0) if key.startswith("_codebook.") else value
