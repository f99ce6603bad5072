"""Runs that are trained while a page is made, for a look at images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from rotvq.page.figures import Figure, strips
from rotvq.runs.grids import EMA
from rotvq.training import images
from rotvq.training.config import Config
from rotvq.training.train import Run, fit


def show_reconstructions(
    arms: Mapping[str, Mapping[str, Any]],
    *,
    steps: int,
    device: str = "cpu",
    source: str = "fashion-mnist-mini",
    **base: Any,
) -> tuple[Figure, dict[str, float]]:
    """Eight test images and what comes back of them from each arm, trained now; and by label its test MSE.

    Args:
        arms: By label the fields of :class:`.Config` that an arm sets.
        steps: Of each training.
        device: Of each training.
        source: The name of an image set.
        base: Fields of all arms.
    """
    data = images.load(source)
    sample = data.test[torch.linspace(0, len(data.test) - 1, 8).long()]
    rows, errors = {"test images": sample.float() / 255}, {}
    for label, fields in arms.items():
        config = Config(**{"data": data.name, "init_latents": 2048, "steps": steps, **base, **fields})
        model, result = fit(config, device=device)
        error = errors[label] = result["final"].get("test_mse", math.inf)
        title = f"{label}, test MSE {error:.4f}" if error < math.inf else f"{label}, diverged"
        with torch.no_grad():
            seen = model.eval()(data.normalise(sample).to(device))[0].cpu()
        rows[title] = data.denormalise(seen).clamp(0, 1)
    alt = f"Eight test images and what comes back after {steps} steps with {', '.join(arms)}."
    return strips(rows, alt), errors


def balance_factors(arm: Mapping[str, Any], *, steps: int, device: str = "cpu") -> dict[str, float]:
    """What a short run says of the balance law with its factors: see chapter 17, where ``eq-sides`` derives them.

    The products of the weights of the encoder's last map and of the decoder's first with their gradients, as autograd
    and the weight decay of Adam give them, are compared in float64 with the sums over latents that the law speaks of.

    Args:
        arm: The fields of :class:`.Config` that the arm sets.
        steps: Of the training.
        device: Of the training.

    Returns:
        The largest relative error of the two products, and E<z, z - q> / E|z - q|^2, which is 1 where every code is the
        mean of its cell.
    """
    fields = {"data": "fashion-mnist-mini", "init_latents": 2048, "weight_decay": 1e-3, "init": "kmeans", **EMA}
    config = Config(steps=steps, **fields | arm)
    run = Run.from_config(config, device)
    run.start_codes()
    for _ in range(steps):
        run.train_step()
    model, x = run.model.double(), run.next_batch().double()
    z = model.encode(x)
    seen = model.quantizer(z, details=True)
    reconstruction = run.reconstruction(x, seen.z_q)
    at_z, at_q = torch.autograd.grad(reconstruction, (z, seen.z_q), retain_graph=True)
    (encoder_weight, encoder_bias), (decoder_weight,) = model.ends
    weights = (encoder_weight, encoder_bias, decoder_weight)
    gradients = torch.autograd.grad(reconstruction + seen.loss, weights)
    along = [(w * (g + config.weight_decay * w)).sum() for w, g in zip(weights, gradients)]
    squares = [w.square().sum() for w in weights]
    pull, error = ((z - seen.q) * z).sum(-1).mean(), (z - seen.q).square().sum(-1).mean()
    commitment = 2 * config.gamma * pull / config.dim
    encoder = (at_z * z).sum() + commitment + config.weight_decay * (squares[0] + squares[1])
    decoder = (at_q * seen.q).sum() + config.weight_decay * squares[2]
    errors = (along[0] + along[1]) / encoder - 1, along[2] / decoder - 1
    return {
        "largest relative error": max(abs(x.item()) for x in errors),
        "⟨z, z − q⟩ / |z − q|²": (pull / error).item(),
    }
