"""The systems on another device than the CPU, as far as a machine without one can tell: see `pretended`."""

from dataclasses import replace

import pytest
import torch
from pretended import pretended, same_attention

from book.systems import codec, runs, sequences, slopes, transform, transformer, vqgan, weights
from rotvq.runs.verify import leaves


def small(experiment: runs.Experiment, **fields) -> tuple[runs.Experiment, object]:
    """A case of a second or less, with these fields."""
    return experiment, replace(experiment.cases("smoke")[0], **fields)


#: a case of each system and of each of its ways, in which other tensors are made
CASES = {
    "codec": small(codec.EXPERIMENT, dropout=0.5, wiring="detach"),
    "codec without a quantiser": small(codec.EXPERIMENT, wiring="none"),
    "VQ-GAN, EMA": small(vqgan.EXPERIMENT, init="kmeans", update="ema", revival="unused"),
    "VQ-GAN, rotation": small(vqgan.EXPERIMENT, estimator="rotation"),
    "keys": small(transformer.EXPERIMENT, estimator="rotation"),
    "keys, all queries": small(transformer.EXPERIMENT, reach="all"),
    "keys, FSQ": small(transformer.EXPERIMENT, estimator="fsq", codes=32),
    "keys, full": small(transformer.EXPERIMENT, estimator="full"),
    "weights": small(weights.EXPERIMENT, learns="latents", estimator="rotation"),
    "weights, direct": small(weights.EXPERIMENT, learns="direct"),
    "weights, grid": small(weights.EXPERIMENT, form="grid", learns="latents"),
    "weights, full": small(weights.EXPERIMENT, learns="full", optimizer="sgd"),
    "transform, fitted": small(transform.EXPERIMENT, estimator="network"),
    "transform, slope": small(transform.EXPERIMENT, estimator="slope", scale="ste"),
    "transform, face": small(transform.EXPERIMENT, estimator="face", init="kmeans"),
    "sequences": small(sequences.EXPERIMENT),
}


def test_every_system_that_takes_a_device_is_tried():
    assert {experiment.chapter for experiment, _ in CASES.values()} == {
        name for name in runs.CHAPTERS if runs.find(name).takes_device
    }


def numbers(result: dict) -> dict[str, float]:
    return {name: value for name, value in leaves(result).items() if isinstance(value, int | float)}


@pytest.mark.filterwarnings("ignore:.*frobenius_norm")  # of torch, for the kind of device that is pretended
@pytest.mark.parametrize("name", CASES)
def test_a_run_elsewhere_leaves_nothing_on_the_cpu_and_sees_the_same_numbers(name):
    experiment, case = CASES[name]
    with same_attention():
        here = experiment.result(case)
        with pretended() as device:
            there = experiment.result(case, device)
    assert numbers(there) == pytest.approx(numbers(here), rel=1e-5, abs=1e-6)  # sums may round otherwise


def test_what_no_run_reaches_works_elsewhere_too():
    noise = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 16, 4, generator=noise) for _ in range(3))
    near = torch.randn(5, 4, generator=noise)
    with pretended() as device:
        moved = [x.to(device) for x in (q, k, v, near)]
        windowed = transformer.quadratic(*moved, block=4).cpu()
        unlearned = slopes.Fit(slopes.PAIR, device=device)(moved[0][:, :2], torch.tensor([0, 1], device=device)).cpu()
    torch.testing.assert_close(windowed, transformer.quadratic(q, k, v, near, block=4))
    assert unlearned.shape == (2, 4) and not unlearned.any()
