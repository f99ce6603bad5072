"""All that determines a result, in one frozen dataclass; its id; grids of it; and the random generators of a run.

Device, workers and threads say where a run happens. They are no part of a `Config`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Real
from typing import Any

import numpy as np
import torch

from rotvq.quantizers import codebook, estimators, registry, updates, vector
from rotvq.training import ablations, images, models

SCHEMA = 1
OPTIMIZERS = ("adam", "adamw", "sgd")


@dataclass(frozen=True)
class Config:
    """One run. Every value is normalised when it is set, so that 1, 1.0 and ``numpy.float32(1)`` are one Config.

    A value of the wrong type raises ValueError at once; names and ranges are checked by :meth:`check`.

    >>> Config(gamma=1).id == Config(gamma=1.0, seed=0).id != Config(gamma=1, seed=1).id
    True
    >>> Config(gamma=-1).check()
    Traceback (most recent call last):
    ValueError: gamma is -1.0: it must be at least 0
    """

    data: str = "fashion-mnist"  #: image set, a name of `rotvq.training.images`
    model: str = "conv"  #: encoder and decoder, a name of `rotvq.training.models`
    norm: str = "none"  #: normalisation layers of encoder and decoder
    dim: int = 32  #: d, dimension of a latent and of a code
    codebook_size: int = 512  #: K, number of codes
    lookup: str = "euclidean"  #: what the nearest code is nearest in
    estimator: str = "rotation"  #: how the gradient passes the quantiser
    clip: tuple[float, float] | None = None  #: bounds (lo, hi) on ``r = |q|/|z|``, or None for the estimator's own
    mix: float | None = None  #: t, the estimator's share against the straight-through estimator, or None for its own
    warmup: int = 0  #: steps over which t rises linearly from 0 to mix
    centre: str = "origin"  #: the point about which the estimator turns and scales
    init: str = "uniform"  #: how the codes start
    init_scale: float = 1.0  #: factor on the norms of the initial codes
    init_latents: int = 8192  #: latents that a data-dependent init sees
    pretrain_steps: int = 0  #: steps of the plain autoencoder before the codes start
    update: str = "gradient"  #: how the codes move
    decay: float = 0.99  #: of the moving averages of an EMA update
    initial_count: float = 1.0  #: count of each code with which an EMA update starts
    revival: str = "none"  #: what happens to codes out of use
    beta: float = 1.0  #: weight of the codebook loss
    gamma: float = 0.25  #: weight of the commitment loss
    convention: str = "mean"  #: how the two losses are reduced
    optimizer: str = "adam"  #: of encoder, decoder and codes
    lr: float = 1e-3  #: learning rate
    weight_decay: float = 0.0  #: coupled (adam, sgd) or decoupled (adamw)
    batch: int = 32  #: images a step
    steps: int = 2000  #: optimiser steps
    quantizer: str = "vq"  #: what quantises, a name of `rotvq.quantizers.registry`
    latent_scale: float = 1.0  #: factor on latents and codes alike, a control; so are the next three
    centre_offset: float = 0.0  #: distance of the centre from the origin, in root-mean-square norms of z
    gamma_rule: str = "constant"  #: "over_r" divides gamma by the mean of r
    gain: str = "none"  #: a further factor on G
    seed: int = 0  #: of weights, data order, codebook, noise and revival, each with a generator of its own

    def __post_init__(self):
        for f in fields(self):
            object.__setattr__(self, f.name, _normalise(f.name, f.type, getattr(self, f.name)))

    @property
    def id(self) -> str:
        """The first 16 hex digits of the sha256 of the schema number and the fields that differ from their defaults.

        A field added later, at its default, leaves every earlier id as it was.
        """
        changed = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        text = json.dumps({"schema": SCHEMA, **changed}, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def as_dict(self) -> dict[str, Any]:
        """Every field by name, as JSON has it: ``clip`` is a list."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """The inverse of :meth:`as_dict`; absent fields take their defaults, unknown names raise ValueError."""
        if unknown := [name for name in values if name not in FIELDS]:
            raise ValueError(f"unknown field {unknown[0]!r}: one of {', '.join(FIELDS)}")
        return cls(**values)

    def check(self) -> Config:
        """Return self, or raise ValueError that names the first bad value and says what is allowed."""
        images.check(self.data)
        for name, names in allowed().items():
            value = getattr(self, name)
            if value not in names:
                raise ValueError(f"unknown {name} {value!r}: one of {', '.join(names)}")
        for name, (rule, test) in RANGES.items():
            if not test(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}: it must be {rule}")
        estimators.estimator(self.estimator, self.clip, self.mix)
        plain, fixed = Config(), registry.METHODS[self.quantizer].fixed
        for name in fixed:
            if name in FIELDS and getattr(self, name) != getattr(plain, name):
                raise ValueError(f"{name} is {getattr(self, name)!r}: quantizer {self.quantizer!r} has its own")
        controlled = [name for name in CONTROLS if getattr(self, name) != getattr(plain, name)]
        if controlled and self.quantizer != "vq":
            raise ValueError(f"{controlled[0]} is a control of quantizer 'vq', not of {self.quantizer!r}")
        if self.centre_offset and (self.centre, self.warmup, self.gain) != ("origin", 0, "none"):
            raise ValueError(f"centre_offset is {self.centre_offset}: it needs centre 'origin', no warmup and no gain")
        if self.latent_scale != 1 and self.norm == "latent":
            raise ValueError(f"latent_scale is {self.latent_scale}: norm 'latent' would undo it")
        if self.init in codebook.FROM_LATENTS and self.init_latents < self.codebook_size:
            raise ValueError(f"init_latents is {self.init_latents}: {self.init!r} needs at least codebook_size")
        return self


FIELDS = tuple(f.name for f in fields(Config))
CONTROLS = ("centre_offset", "gamma_rule", "gain")  # of the VectorQuantizer alone

_POSITIVE = ("positive", lambda value: value > 0)
_COUNT = ("at least 1", lambda value: value >= 1)
_NATURAL = ("at least 0", lambda value: value >= 0)
RANGES = {
    **dict.fromkeys(("dim", "codebook_size", "init_latents", "batch"), _COUNT),
    **dict.fromkeys(("warmup", "pretrain_steps", "steps", "seed"), _NATURAL),
    **dict.fromkeys(("initial_count", "beta", "gamma", "lr", "weight_decay"), _NATURAL),
    **dict.fromkeys(("init_scale", "latent_scale"), _POSITIVE),
    "centre_offset": _NATURAL,
    "decay": ("in [0, 1)", lambda value: 0 <= value < 1),
}


def allowed() -> dict[str, tuple[str, ...]]:
    """Field -> the names that it may hold, from the registries of the modules that implement them.

    ``data`` is not among them: :func:`rotvq.training.images.check` also takes a folder.
    """
    return {
        "model": tuple(models.MODELS),
        "norm": tuple(models.NORMS),
        "lookup": tuple(vector.METRICS),
        "estimator": tuple(estimators.ESTIMATORS),
        "centre": tuple(vector.CENTRES),
        "init": tuple(codebook.INITS),
        "update": tuple(updates.UPDATES),
        "revival": tuple(updates.REVIVALS),
        "convention": tuple(vector.CONVENTIONS),
        "optimizer": OPTIMIZERS,
        "quantizer": tuple(registry.METHODS),
        "gamma_rule": ablations.GAMMA_RULES,
        "gain": ablations.GAINS,
    }


def _normalise(name: str, kind: str, value: Any) -> Any:
    """``value`` as a plain str, int, float or pair of floats; ValueError where it cannot be read as one exactly."""
    if value is None and kind.endswith("| None"):
        return None
    if kind == "str" and isinstance(value, str):
        return str(value)
    if kind.startswith("tuple") and isinstance(value, (list, tuple, np.ndarray)) and len(value) == 2:
        return tuple(_normalise(name, "float", part) for part in value)
    if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
        if kind.startswith("float"):
            return float(str(value)) + 0.0  # by its digits: float32(0.1) means 0.1; -0.0 becomes 0.0
        if kind == "int" and value == int(value):
            return int(value)
    wanted = {"str": "a name", "int": "a whole number"}.get(kind, "a finite number")
    wanted = "a pair (lo, hi) of finite numbers" if kind.startswith("tuple") else wanted
    raise ValueError(f"{name} is {value!r}: it must be {wanted}" + (" or None" if kind.endswith("| None") else ""))


def find_device(name: str) -> torch.device:
    """The torch device called ``name``, tried once; ValueError that lists those that are here."""
    try:
        torch.empty(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError):
        here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise ValueError(f"device {name!r} is not there: one of {', '.join(here)}") from None
