"""An experiment of one's own: what its parameters mean, and what is refused."""

from pathlib import Path

import pytest

from rotvq.page import parameters
from rotvq.page.experiment import block, spread

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
        (ARMS | {"c": {"estimator": ["zero", ["reflection"]]}}, {}, {}, "'c' sets estimator to a list in a list"),
        (ARMS, {"x": {"lr": [[1e-3, 1e-2]]}}, {}, "'x' sets lr to a list in a list: give one list of its values"),
        (ARMS | {"c": {"clip": [[[0.5, 2]]]}}, {}, {}, "c: clip is .*: it must be a pair"),
        (ARMS | {"": {"gamma": 3.0}}, CELLS, {}, "arms: one has no name"),
        (ARMS | {" ": {"gamma": 3.0}}, CELLS, {}, "arms: one has no name"),
        (ARMS | {"c": {"lr": "3e-4"}}, {}, {}, "lr is '3e-4': .*, and YAML takes 3e-4 for text: write 3.0e-4"),
        (ARMS, {"x": {"lr": [1e-3, "2.5E2"]}}, {}, "and YAML takes 2.5E2 for text: write 2.5e.2"),
        (ARMS, {}, {"beta": "1e2"}, "and YAML takes 1e2 for text: write 1.0e.2"),
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
        (ARMS, CELLS, {"seeds": 3}, "common sets 'seeds': a field is one of"),
        (ARMS | {" STE ": {"gamma": 3.0}}, CELLS, {}, "two are called 'STE'"),
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


def test_a_part_that_ends_the_process_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = ["import sys, torch", "class E(torch.nn.Module):", "    def __init__(self): sys.exit(4)"]
    Path("ends.py").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"^mine: SystemExit\(4\)$"):
        block({"STE": {}, "mine": {"estimator": "ends.py:E"}}, {}, 1)
    values = {"__annotations__": {"estimators": list[str]}, "estimators": ["ste", "ends.py:E"]}
    with pytest.raises(ValueError, match=r"estimators = 'ends.py:E' is refused: SystemExit\(4\)"):
        parameters.check(values)
