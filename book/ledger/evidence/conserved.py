"""The scale law under Adam, in a small network with three dimensions and twelve codes."""

from __future__ import annotations

import torch

from book.algebra import normal
from book.statements import Finding, evidence
from book.theory import conserved

STEPS, RATE = 400, 0.0025


def network() -> conserved.Network:
    """64 latents, no decay; the same at each call."""
    seeds = iter(range(100))
    net = conserved.Network(lambda *shape: normal(*shape, seed=next(seeds)), 64, 3, codes=12, decayed=False)
    net.gamma, net.beta = 0.3, 1.0
    return net


def change_and_payment(optimizer: type[torch.optim.Optimizer]) -> tuple[float, float]:
    """How much Q changes in a training under the rotation, and how much the law of the flow says."""
    net, paid = network(), 0.0
    start, weights = conserved.quantity(net, net.weights), [w.clone().requires_grad_() for w in net.weights]
    optimiser = optimizer(weights, lr=RATE)
    for _ in range(STEPS):
        net.weights = [w.detach() for w in weights]
        for weight, velocity in zip(weights, net.run("rotation"), strict=True):
            weight.grad = -velocity
        paid += 2 * net.gamma * RATE * float(net.error)
        optimiser.step()
    return float(conserved.quantity(net, [w.detach() for w in weights]) - start), -paid


@evidence
def adam_breaks_the_scale_law():
    """Under Adam Q changes by another amount than the flow's law says; under gradient descent by nearly that."""
    (gained, said), (descent, expected) = map(change_and_payment, (torch.optim.Adam, torch.optim.SGD))
    return Finding.of(
        abs(gained / said - 1) > 0.1 and abs(descent / expected - 1) < 0.1,
        change_under_Adam=gained,
        law_says=said,
        change_under_gradient_descent=descent,
        law_says_there=expected,
    )
