"""A Config is normalised, checked and named by an id that later fields cannot change."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math

import numpy as np
import pytest
import torch

from rotvq.runs.grids import expand
from rotvq.training.checks import allowed_names
from rotvq.training.config import FIELDS, Config
from rotvq.training.seeds import PURPOSES, generator
from rotvq.training.train import find_device

IDS = {  # literal: a change here orphans every committed record
    "67d6291b301412df": {},
    "a150ae2395cf3b17": {"gamma": 1.0, "clip": (0.5, 2.0)},
}


@pytest.mark.parametrize("name, values", IDS.items())
def test_ids_are_pinned(name, values):
    assert Config(**values).id == name


def test_id_is_the_hash_of_schema_and_changed_fields():
    text = '{"estimator":"ste","schema":1,"seed":3}'
    assert Config(estimator="ste", seed=3).id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_field_names_and_order_are_fixed():
    assert FIELDS == (
        "data",
        "model",
        "norm",
        "dim",
        "codebook_size",
        "lookup",
        "estimator",
        "clip",
        "mix",
        "warmup",
        "centre",
        "init",
        "init_scale",
        "init_latents",
        "pretrain_steps",
        "update",
        "decay",
        "initial_count",
        "revival",
        "revival_at",
        "project_to",
        "temperature",
        "beta",
        "gamma",
        "convention",
        "optimizer",
        "lr",
        "code_lr",
        "schedule",
        "weight_decay",
        "batch",
        "steps",
        "quantizer",
        "latent_scale",
        "centre_offset",
        "gamma_rule",
        "gain",
        "seed",
    )


@pytest.mark.parametrize(
    "one, other",
    [
        ({"gamma": 1}, {"gamma": 1.0}),
        ({"gamma": np.float32(0.1)}, {"gamma": 0.1}),
        ({"gamma": np.float64(0.1)}, {"gamma": 0.1}),
        ({"gamma": -0.0}, {"gamma": 0}),
        ({"steps": 500.0}, {"steps": np.int64(500)}),
        ({"clip": [0.5, 2]}, {"clip": (np.float32(0.5), 2.0)}),
        ({"clip": np.array([0.5, 2.0])}, {"clip": (0.5, 2)}),
        ({"estimator": np.str_("ste")}, {"estimator": "ste"}),
        ({"gamma": 0.25, "seed": 0}, {}),
    ],
)
def test_equal_values_of_other_types_are_one_config(one, other):
    a, b = Config(**one), Config(**other)
    assert a == b and a.id == b.id and hash(a) == hash(b)
    assert json.dumps(a.as_dict(), allow_nan=False) == json.dumps(b.as_dict(), allow_nan=False)


def test_different_values_have_different_ids():
    changes = [{}, {"gamma": 0.1}, {"beta": 0.1}, {"gamma": math.nextafter(0.25, 1)}, {"mix": 0.0}, {"clip": (0, 1)}]
    assert len({Config(**c).id for c in changes}) == len(changes)


def test_dict_round_trip_and_unknown_names():
    config = Config(clip=(0.5, 2.0), mix=0.1, seed=7)
    assert Config.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    with pytest.raises(ValueError, match="unknown field 'gama': one of data, model"):
        Config.from_dict({"gama": 1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1


@pytest.mark.parametrize(
    "values, words",
    [
        ({"gamma": "0.1"}, "gamma is '0.1': it must be a finite number"),
        ({"gamma": math.nan}, "gamma is nan: it must be a finite number"),
        ({"lr": math.inf}, "lr is inf"),
        ({"seed": True}, "seed is True: it must be a whole number"),
        ({"steps": 2.5}, "steps is 2.5: it must be a whole number"),
        ({"gamma": None}, "gamma is None"),
        ({"estimator": 1}, "estimator is 1: it must be a name"),
        ({"estimator": None}, "estimator is None: it must be a name"),
        ({"clip": 0.5}, "clip is 0.5: it must be a pair"),
        ({"clip": (1, 2, 3)}, "clip is .*: it must be a pair"),
        ({"clip": (0.5, "2")}, "clip is '2': it must be a finite number"),
        ({"mix": "half"}, "mix is 'half': it must be a finite number or None"),
    ],
)
def test_wrong_types_are_refused_at_once(values, words):
    with pytest.raises(ValueError, match=words):
        Config(**values)


@pytest.mark.parametrize(
    "values, words",
    [
        ({"codebook_size": 0}, "codebook_size is 0: it must be at least 1"),
        ({"dim": 0}, "dim is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"init_latents": 0}, "init_latents is 0"),
        ({"steps": -1}, "steps is -1: it must be at least 0"),
        ({"warmup": -1}, "warmup is -1"),
        ({"pretrain_steps": -1}, "pretrain_steps is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"gamma": -0.1}, "gamma is -0.1: it must be at least 0"),
        ({"beta": -1}, "beta is -1.0"),
        ({"lr": -1e-3}, "lr is -0.001"),
        ({"weight_decay": -1}, "weight_decay is -1.0"),
        ({"initial_count": -1}, "initial_count is -1.0"),
        ({"decay": 1.0}, r"decay is 1.0: it must be in \[0, 1\)"),
        ({"decay": -0.1}, "decay is -0.1"),
        ({"init_scale": 0}, "init_scale is 0.0: it must be positive"),
        ({"clip": (2, 1)}, "0 <= lo <= hi"),
        ({"clip": (-1, 1)}, "0 <= lo <= hi"),
        ({"mix": 1.5}, "0 <= mix <= 1"),
        ({"init": "kmeans", "init_latents": 100}, "init_latents is 100: 'kmeans' needs at least codebook_size"),
        ({"decay": 0.5}, "decay would do nothing: nothing is averaged over steps"),
        ({"decay": 0.5, "revival": "unused"}, "decay would do nothing"),
        ({"decay": 0.5, "quantizer": "nsvq"}, "decay would do nothing"),
        ({"initial_count": 0}, "initial_count would do nothing"),
        ({"initial_count": 0, "centre": "latents"}, "initial_count would do nothing"),
        ({"data": "mnist"}, "fashion-mnist"),
        ({"optimizer": "lion"}, "unknown optimizer 'lion': one of adam, adamw, sgd"),
    ],
)
def test_values_out_of_range_are_refused_by_name(values, words):
    with pytest.raises(ValueError, match=words):
        Config(**values).check()


@pytest.mark.parametrize(
    "values", [{"update": "ema"}, {"revival": "threshold"}, {"revival": "count"}, {"centre": "latents"}]
)
def test_a_decay_of_something_is_taken(values):
    Config(decay=0.5, **values).check()
    if "centre" not in values:
        Config(initial_count=3, **values).check()


def test_unknown_names_are_refused_with_the_allowed_ones():
    for name, names in allowed_names().items():
        assert getattr(Config(), name) in names
        with pytest.raises(ValueError, match=f"unknown {name} 'nope': one of {', '.join(names)}"):
            Config(**{name: "nope"}).check()
        for value in names:
            Config(**{name: value}).check()


def test_grid_is_a_product_in_the_given_order():
    configs = expand(estimator=["ste", "rotation"], gamma=0.5, seed=range(2))
    assert [(c.estimator, c.gamma, c.seed) for c in configs] == [
        ("ste", 0.5, 0),
        ("ste", 0.5, 1),
        ("rotation", 0.5, 0),
        ("rotation", 0.5, 1),
    ]


def test_grid_unites_cells_and_drops_repeats():
    configs = expand({"init_scale": [0.1, 1]}, {"init": "kmeans"}, {"init_scale": 1.0}, {"seed": 9}, seed=[0, 1])
    assert [(c.init, c.init_scale, c.seed) for c in configs] == [
        ("uniform", 0.1, 0),
        ("uniform", 0.1, 1),
        ("uniform", 1.0, 0),
        ("uniform", 1.0, 1),
        ("kmeans", 1.0, 0),
        ("kmeans", 1.0, 1),
        ("uniform", 1.0, 9),
    ]


def test_grid_takes_a_tuple_as_one_value_and_checks():
    assert [c.clip for c in expand(clip=(0.5, 2.0))] == [(0.5, 2.0)]
    assert [c.clip for c in expand(clip=[[0.5, 2.0], None])] == [(0.5, 2.0), None]
    assert [c.gamma for c in expand(gamma=np.array([0.1, 1.0]))] == [0.1, 1.0]
    with pytest.raises(ValueError, match="gamma is -1.0"):
        expand(gamma=[1, -1])
    with pytest.raises(ValueError, match="unknown field 'seeds'"):
        expand(seeds=[0])


def test_generators_are_independent_and_reproducible():
    draws = {p: torch.rand(4, generator=generator(s, p)).tolist() for s in (0,) for p in PURPOSES}
    assert draws == {p: torch.rand(4, generator=generator(0, p)).tolist() for p in PURPOSES}
    assert len({tuple(d) for d in draws.values()}) == len(PURPOSES)
    assert torch.rand(4, generator=generator(1, "weights")).tolist() != draws["weights"]
    with pytest.raises(ValueError, match="unknown purpose 'batches': one of weights, order"):
        generator(0, "batches")


def test_arms_that_draw_differently_see_the_same_batches():
    """One arm draws no noise, the other much, and revives codes: the order of the data is the same."""

    def order(noise: int, revivals: int) -> list[int]:
        own = {p: generator(5, p) for p in PURPOSES}
        seen = []
        for _ in range(3):
            torch.rand(noise, generator=own["noise"])
            torch.randperm(max(revivals, 1), generator=own["revival"])
            seen += torch.randint(1000, (4,), generator=own["order"]).tolist()
        return seen

    assert order(0, 0) == order(1000, 17)


def test_device():
    assert find_device("cpu") == torch.device("cpu")
    for name in ("cuda:99", "abacus", "meta", "meta:0", "", "cpu:x"):
        with pytest.raises(ValueError, match=f"device '{name}' is not there: one of cpu"):
            find_device(name)
