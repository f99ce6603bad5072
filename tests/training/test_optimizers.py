"""Learning rates: a factor for the codes, schedules over the steps."""

import math

import pytest
import torch

from rotvq.training.config import Config
from rotvq.training.optimizers import SCHEDULES, make_optimizer, set_learning_rates
from rotvq.training.train import Run, build_model, train

QUICK = {"data": "fashion-mnist-mini", "codebook_size": 16, "steps": 4}


@pytest.mark.parametrize("factor", (1.0, 0.1, 30.0))
@pytest.mark.parametrize("name", ("adam", "sgd"))
def test_codes_have_a_learning_rate_of_their_own(name, factor):
    model = build_model(Config(**QUICK), channels=1)
    optimizer = make_optimizer(name, model, lr=1e-3, weight_decay=0.0, code_lr=factor)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    z_q, _, loss = model.quantizer(model.encode(torch.ones(2, 1, 28, 28)))
    (model.decode(z_q).square().mean() + loss).backward()
    gradient = model.quantizer.codebook.weight.grad
    optimizer.step()
    moved = model.quantizer.codes.detach() - before["quantizer.codebook.weight"]
    wanted = -1e-3 * factor * (gradient if name == "sgd" else gradient / (gradient.abs() + 1e-8))
    torch.testing.assert_close(moved, wanted, rtol=1e-3, atol=1e-8)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 1e-3 * factor]


def test_a_cosine_falls_from_the_rate_to_nothing():
    shares = [0.0, 1 / 3, 0.5, 1.0]
    assert [SCHEDULES["cosine"](share) for share in shares] == pytest.approx([1.0, 0.75, 0.5, 0.0])
    assert {SCHEDULES["constant"](share) for share in shares} == {1.0}
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [parameter], "initial_lr": 0.2}], lr=0.2)
    set_learning_rates(optimizer, "cosine", 0.5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_a_run_follows_its_schedule():
    run = Run.from_config(Config(**QUICK, schedule="cosine", lr=1e-2, code_lr=3.0))
    rates = []
    for _ in range(4):
        run.train_step()
        rates.append([group["lr"] for group in run.optimizer.param_groups])
    wanted = [0.01 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    assert rates == [pytest.approx([rate, 3 * rate]) for rate in wanted]


@pytest.mark.parametrize(
    "options",
    ({"schedule": "cosine"}, {"code_lr": 10.0}, {"project_to": 4}, {"temperature": 0.5}, {"revival": "count"}),
    ids=str,
)
def test_what_a_run_may_vary_changes_its_result(options):
    base, other = (train(Config(**QUICK, **more)) for more in ({}, options))
    assert math.isfinite(other["final"]["test_mse"]) and base["final"]["test_mse"] != other["final"]["test_mse"]


IDLE = {
    "beta would do nothing": {"update": "ema", "beta": 2.0},
    "code_lr is 3.0: update 'ema'": {"update": "ema", "code_lr": 3.0},
    "revival_at would do nothing": {"revival_at": 3.0},
    "warmup would do nothing": {"estimator": "ste", "warmup": 5},
    "project_to is 3: quantizer 'fsq'": {"quantizer": "fsq", "project_to": 3},
    "unknown schedule 'linear': one of constant, cosine": {"schedule": "linear"},
    "code_lr is 0.0: it must be positive": {"code_lr": 0.0},
}


@pytest.mark.parametrize("message", IDLE)
def test_a_field_that_would_do_nothing_is_refused(message):
    with pytest.raises(ValueError, match=message):
        Config(**QUICK, **IDLE[message]).check()


def test_a_ramp_rises_to_the_rate_and_stays():
    shares = [0.0, 0.075, 0.15, 0.2, 1.0]
    assert [SCHEDULES["ramp"](share) for share in shares] == pytest.approx([0.0, 0.5, 1.0, 1.0, 1.0])
