r"""gymnasium's task Pendulum-v1 as a model that a slope passes through (Towers et al. 2024).

A pendulum is to stand up and stay there, by a torque u that is too weak to lift it without a swing. Its state is the
angle :math:`\theta` from upright and the speed :math:`\omega`; a step of h = 0.05 is

.. math:: \omega' = \omega + h (15 \sin\theta + 3 u), \quad \theta' = \theta + h \omega', \quad
          \text{cost} = \bar\theta^2 + 0.1\, \omega^2 + 0.001\, u^2,

where u is cut to [-2, 2], :math:`\omega'` to [-8, 8], and :math:`\bar\theta` is the angle brought to [-π, π). The cost
is minus gymnasium's reward; a test holds both to gymnasium's own step.

An action e is a point whose last number times 2 is the torque. In one dimension the 16 codes are evenly spaced torques.
There an estimator has nothing to turn: R is 1 where code and point have one sign. In the plane they are on a half
circle, so that they have the same lengths, and other directions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

STEP, GRAVITY, TORQUE, FASTEST = 0.05, 10.0, 2.0, 8.0  # h, g, and the largest torque and speed; mass and length are 1
CODES = 16


def line(off: bool = False) -> Tensor:
    """Codes in one dimension, evenly from -1 to 1: (16, 1), or (17, 1) with no torque among them."""
    return torch.cat([torch.linspace(-1, 1, CODES)[:, None], torch.zeros(int(off), 1)])


def arc(off: bool = False) -> Tensor:
    """Codes evenly on the half circle from (0, -1) over (1, 0) to (0, 1): (16, 2), or (17, 2) with the origin."""
    angles = torch.linspace(-math.pi / 2, math.pi / 2, CODES)
    return torch.cat([torch.stack([angles.cos(), angles.sin()], -1), torch.zeros(int(off), 2)])


def begin(episodes: int, noise: torch.Generator) -> tuple[Tensor, Tensor]:
    """Angles uniform in [-π, π] and speeds uniform in [-1, 1]: (B,) each."""
    angle, speed = (2 * torch.rand(episodes, generator=noise) - 1 for _ in range(2))
    return math.pi * angle, speed


def seen(state: tuple[Tensor, Tensor]) -> Tensor:
    """What a policy sees, (B, 3): gymnasium's observation, with the speed as a share of the largest."""
    angle, speed = state
    return torch.stack([angle.cos(), angle.sin(), speed / FASTEST], -1)


def swing(state: tuple[Tensor, Tensor], torque: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """A step of the model from angles, speeds and torques (B,): the next two, and the costs (B,)."""
    angle, speed = state
    torque = torque.clamp(-TORQUE, TORQUE)
    from_upright = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    cost = from_upright.square() + 0.1 * speed.square() + 0.001 * torque.square()
    pull = 1.5 * GRAVITY * angle.sin() + 3 * torque
    speed = (speed + STEP * pull).clamp(-FASTEST, FASTEST)
    return (angle + STEP * speed, speed), cost


def move(state: tuple[Tensor, Tensor], e: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The same by actions e, (B, 1) or (B, 2)."""
    return swing(state, TORQUE * e[:, -1])
