"""An experiment of one's own: what its parameters mean, what is refused, and the step that is rehearsed."""

import numpy as np
import pytest

from rotvq.page.experiment import block, spread
from rotvq.runs.scheduler import rehearse
from rotvq.training.config import Config

ARMS = {"STE": {"estimator": "ste"}, "rotation": {"estimator": "rotation"}}
CELLS = {"short": {"init": "uniform"}, "fitted": {"init": "kmeans"}}


@pytest.mark.parametrize(
    "named, found",
    [
        ({}, {}),
        ({"a": {}}, {"a": {}}),
        ({"a": {"gamma": 1}}, {"a": {"gamma": 1}}),
        ({"a": {"gamma": [1]}}, {"a": {"gamma": 1}}),
        ({"a": {"gamma": [1, 2.5]}}, {"a, gamma 1": {"gamma": 1}, "a, gamma 2.5": {"gamma": 2.5}}),
        ({"": {"lr": [1e-3, 0.01]}}, {"lr 0.001": {"lr": 1e-3}, "lr 0.01": {"lr": 0.01}}),
        ({"a": {"clip": [0.5, 2]}}, {"a": {"clip": (0.5, 2)}}),
        ({"a": {"clip": [[0.5, 2], None]}}, {"a, clip (0.5, 2)": {"clip": (0.5, 2)}, "a, clip None": {"clip": None}}),
        (
            {"a": {"init": ["normal", "kmeans"], "dim": [4, 8]}, "b": {"mix": 0.5}},
            {
                "a, init normal, dim 4": {"init": "normal", "dim": 4},
                "a, init normal, dim 8": {"init": "normal", "dim": 8},
                "a, init kmeans, dim 4": {"init": "kmeans", "dim": 4},
                "a, init kmeans, dim 8": {"init": "kmeans", "dim": 8},
                "b": {"mix": 0.5},
            },
        ),
    ],
)
def test_a_list_makes_one_for_each_of_its_values(named, found):
    assert spread(named) == found and list(spread(named)) == list(found)


def test_an_arm_goes_before_its_cell_and_a_cell_before_the_rest():
    arms = {"a": {"gamma": 1.0}, "b": {"gamma": 2.0}}
    whole = block(arms, {"x": {"lr": 0.5, "beta": 4.0}, "y": {}}, 2, beta=7.0, steps=9)
    found = [(c.gamma, c.beta, c.steps, c.seed) for c in whole.configs()]
    assert found == [(g, b, 9, seed) for g, b in ((1, 4), (2, 4), (1, 7), (2, 7)) for seed in (0, 1)]


def test_without_cells_there_is_one():
    assert list(block(ARMS, {}, 1).cells) == [""]


@pytest.mark.parametrize(
    "arms, cells, base, words",
    [
        ({}, CELLS, {}, "arms are none: at least two are compared"),
        ({"STE": {"estimator": "ste"}}, CELLS, {}, "arms are STE: at least two"),
        ({"STE": {"gamma": []}, "b": {}}, CELLS, {}, "'STE' sets gamma to an empty list: there would be none of it"),
        (ARMS | {"x": {"estimator": "zero", "lr": []}}, CELLS, {}, "'x' sets lr to an empty list"),
        (ARMS, CELLS | {"b": {"gamma": []}}, {}, "'b' sets gamma to an empty list"),
        (ARMS, {"a": {"clip": []}}, {}, "a"),
        (ARMS, {"x": {"gamma": 1}, "y": {"gamma": 1.0}}, {}, "cells: x and y are the same runs"),
        (ARMS, {"x": {"lr": [1e-3, 1e-2]}, "y": {}}, {}, "cells: x, lr 0.001 and y are the same runs"),
        (ARMS | {"c": {"gama": 1}}, CELLS, {}, "arms: c sets 'gama': a field is one of data, model, norm"),
        (ARMS | {"c": {"seed": 1}}, CELLS, {}, "arms: c sets 'seed': a field is one of"),
        (ARMS, {"x": {"Init": "kmeans"}}, {}, "cells: x sets 'Init'"),
        (ARMS, {"x": {"estimator": "zero"}}, {}, "cells: x sets estimator, which has no effect"),
        (ARMS, CELLS, {"init": "normal"}, "common sets init, which has no effect"),
        (ARMS, CELLS, {"estimator": "zero"}, "common sets estimator, which has no effect"),
        (ARMS | {"c": {"gamma": [1, 1.0]}}, CELLS, {}, "two are called 'c, gamma 1'"),
        (ARMS, CELLS, {"gama": 1}, "common sets 'gama': a field is one of"),
        (ARMS | {"c": {"gamma": -1}}, CELLS, {}, "c, short: gamma is -1.0: it must be at least 0"),
        (ARMS | {"c": {"gamma": "high"}}, CELLS, {}, "c, short: gamma is 'high': it must be a finite number"),
        (ARMS | {"c": {"gamma": {"a": 1}}}, CELLS, {}, "c, short: gamma is .*: it must be a finite number"),
        (ARMS | {"c": {"gamma": [1, float("inf")]}}, CELLS, {}, "c, gamma inf, short: gamma is inf"),
        (ARMS | {"c": {"clip": [2, 1]}}, CELLS, {}, "c, short: clip"),
        (ARMS | {"c": {"quantizer": "fsq", "gamma": 1}}, CELLS, {}, "c, short: gamma is 1.0: quantizer 'fsq' has"),
        (ARMS | {"c": {"estimator": "ste"}}, CELLS, {}, "arms: STE and c are the same run in short"),
        (ARMS | {"c": {"init": ["kmeans", "normal"]}}, {"fitted": CELLS["fitted"]}, {}, "rotation and c, init kmeans"),
        ({"a": {"gamma": 0.25}, "b": {}}, {}, {}, "arms: a and b are the same run$"),
        (ARMS, {"x": {"init": "kmeans", "init_latents": 8}}, {}, "STE, x: init_latents is 8"),
        (ARMS, CELLS, {"data": "mnist"}, "STE, short: data must be one of"),
    ],
)
def test_what_cannot_be_meant_is_refused(arms, cells, base, words):
    with pytest.raises(ValueError, match=words):
        block(arms, cells, 2, **base)


# rehearsal

SMALL = {"data": "fashion-mnist-mini", "codebook_size": 16, "steps": 3}


def test_every_kind_of_run_is_rehearsed_once(monkeypatch):
    seen = []
    monkeypatch.setattr("rotvq.runs.scheduler._first_step", lambda config, device: seen.append((config, device)))
    configs = [Config(gamma=gamma, seed=seed) for gamma in (1, 2) for seed in (4, 5)]
    rehearse(configs, "cuda")
    assert [(config.gamma, device) for config, device in seen] == [(1, "cuda"), (2, "cuda")]


@pytest.mark.parametrize(
    "changes", [{}, {"init": "kmeans"}, {"pretrain_steps": 9, "init": "latents"}, {"gain": "learned"}]
)
def test_what_can_be_trained_passes(changes):
    rehearse([Config(**SMALL | changes)])


@pytest.mark.parametrize(
    "shape, changes, words",
    [
        ((400, 30, 30), {}, "model 'conv' gives 1 x 28 x 28 for data of 1 x 30 x 30: take another size"),
        ((400, 8, 10, 3), {}, "model 'conv' gives 3 x 8 x 8 for data of 3 x 8 x 10"),
        ((400, 6), {}, "the data are vectors, which model 'mlp' takes"),
        ((400, 1, 16, 1), {}, "model 'conv' does not take 32 x 1 x 1 x 16 a batch"),
        ((400, 6), {"model": "mlp", "norm": "batch", "batch": 1}, "model 'mlp' does not take 1 x 6 x 1 x 1 a batch"),
        ((400, 8, 8), {"codebook_size": 10**12}, "a codebook_size of 1000000000000 in 32 dimensions takes 476,837 GiB"),
        ((400, 8, 8), {"dim": 10**12}, "a codebook_size of 16 in 1000000000000 dimensions takes"),
        ((400, 8, 8), {"project_to": 10**12}, "a codebook_size of 16 in 1000000000000 dimensions takes"),
        ((400, 8, 8), {"quantizer": "fsq", "codebook_size": 10**12}, "dimensions takes"),
        ((30, 8, 8), {}, "batch is 32: the training split has 24 images"),
        ((400, 6), {"model": "mlp", "codebook_size": 512, "init": "kmeans"}, "cannot be trained: .*320.*512"),
        ((400, 16, 16), {"model": "residual_f4", "norm": "batch"}, "takes 'none' or 'latent'"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_its_fields(shape, changes, words, tmp_path):
    path = tmp_path / "own.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    config = Config(**SMALL | {"data": f"arrays:{path}", "seed": 3} | changes)
    with pytest.raises(ValueError, match=words) as refused:
        rehearse([config])
    assert str(refused.value).startswith(f"a run with data arrays:{path}") and "seed 3" in str(refused.value)


def test_data_that_fits_passes(tmp_path):
    path = tmp_path / "own.npz"
    draw = np.random.default_rng(0)
    np.savez(path, train=draw.normal(size=(64, 6)), test=draw.normal(size=(5, 6)))
    rehearse([Config(**SMALL | {"data": f"arrays:{path}", "model": "mlp", "init": "kmeans"})])
