"""A row of latents that is not finite: what it must not change."""

import torch
from torch import Tensor, nn


def assert_spoils_no_other(quantizer: nn.Module, z: Tensor, bad: float) -> None:
    """With one number of ``z`` (30, dim) replaced by ``bad``, the other rows get the gradient they get without it."""
    z[7, 2] = bad
    rest = torch.arange(len(z)) != 7
    gradients = []
    for rows in (z, z[rest]):
        rows = rows.clone().requires_grad_()
        quantizer(rows).z_q.nan_to_num().sin().sum().backward()
        gradients.append(rows.grad)
    torch.testing.assert_close(gradients[0][rest], gradients[1])
