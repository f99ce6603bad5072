"""All that determines a result, in one frozen dataclass, and its id; device, workers and threads are no part of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from rotvq.training import checks

SCHEMA = 1


@dataclass(frozen=True)
class Config:
    """One run. A value is read as the type of its field, so that 1, 1.0 and ``numpy.float32(1)`` are one Config.

    A value of the wrong type raises ValueError at once; names and ranges are checked by :meth:`check`.

    >>> Config(gamma=1).id == Config(gamma=1.0, seed=0).id != Config(gamma=1, seed=1).id
    True
    >>> Config(gamma=-1).check()
    Traceback (most recent call last):
    ValueError: gamma is -1.0: it must be at least 0
    """

    data: str = "fashion-mnist"  #: fashion-mnist, photographs, cifar10, ``imagefolder:PATH@64``, ``arrays:PATH.npy``
    model: str = "conv"  #: encoder and decoder, a name of `rotvq.training.models`
    norm: str = "none"  #: normalisation layers of encoder and decoder
    dim: int = 32  #: d, dimension of a latent and of a code
    codebook_size: int = 512  #: K, number of codes
    lookup: str = "euclidean"  #: what the nearest code is nearest in
    estimator: str = "rotation"  #: how the gradient passes the quantiser, such as ste; your own is ``file.py:Name``
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
    revival: str = "none"  #: what happens to unused codes
    revival_at: float | None = None  #: the bound under or over which a code counts as unused, or None for its default
    project_to: int | None = None  #: dimension of the codes between two linear maps, or None for dim
    temperature: float = 0.0  #: of codes drawn in training, or 0 for the nearest
    beta: float = 1.0  #: weight of the codebook loss
    gamma: float = 0.25  #: weight of the commitment loss
    convention: str = "mean"  #: how the two losses are reduced
    optimizer: str = "adam"  #: of encoder, decoder and codes
    lr: float = 1e-3  #: learning rate
    code_lr: float = 1.0  #: factor on it for the codes
    schedule: str = "constant"  #: of the learning rates over the steps
    weight_decay: float = 0.0  #: coupled (adam, sgd) or decoupled (adamw)
    batch: int = 32  #: images a step
    steps: int = 2000  #: optimiser steps
    quantizer: str = "vq"  #: what quantises, a name of `rotvq.quantizers.registry`
    latent_scale: float = 1.0  #: factor on latents and codes alike, an ablation; so are the next three
    centre_offset: float = 0.0  #: distance of the centre from the origin, in root-mean-square norms of z
    gamma_rule: str = "constant"  #: "over_r" divides gamma by the mean of r
    gain: str = "none"  #: a further factor on G
    seed: int = 0  #: of the random generators of `rotvq.training.seeds`, one for each purpose

    def __post_init__(self):
        for f in fields(self):
            object.__setattr__(self, f.name, checks.read(f.name, f.type, getattr(self, f.name)))

    @property
    def changed(self) -> dict[str, Any]:
        """The fields that differ from their defaults, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    @property
    def id(self) -> str:
        """The first 16 hex digits of the sha256 of the schema number and the fields that differ from their defaults."""
        # so a field added later, at its default, leaves every earlier id as it was
        content = {"schema": SCHEMA, **self.changed}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def as_dict(self) -> dict[str, Any]:
        """Every field by name, as JSON has it: ``clip`` is a list."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """The inverse of :meth:`as_dict`. Absent fields take their defaults; an unknown name raises ValueError."""
        for name in values:
            if name not in FIELDS:
                raise ValueError(f"unknown field {name!r}: one of {', '.join(FIELDS)}")
        return cls(**values)

    def check(self) -> Config:
        """Return self, or raise ValueError that names the first bad value and says what is allowed."""
        checks.check(vars(self), self.changed)
        return self


FIELDS = tuple(f.name for f in fields(Config))
