"""The state of a module, and whether two are the same."""

import torch
from torch import Tensor, nn


def state(module: nn.Module) -> dict[str, Tensor]:
    """A copy of what a module would save."""
    return {key: value.clone() for key, value in module.state_dict().items()}


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor], **tolerance: float) -> None:
    """Fail where the two differ in a name or a value, exactly or by more than ``rtol`` and ``atol``."""
    assert first.keys() == second.keys()
    for key, value in second.items():
        torch.testing.assert_close(first[key], value, **{"rtol": 0, "atol": 0, **tolerance}, msg=key)
