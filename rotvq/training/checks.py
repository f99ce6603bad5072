"""What the fields of a Config may hold: their types, names and ranges, and which values go together."""

import math
from collections.abc import Collection, Mapping
from numbers import Real
from typing import Any

import numpy as np
from torch import nn

from rotvq.quantizers import base, codebook, estimators, options, registry, updates, vector
from rotvq.training import ablations, files, images, models, optimizers, own

_POSITIVE = ("positive", lambda value: value > 0)
_COUNT = ("at least 1", lambda value: value >= 1)
_NATURAL = ("at least 0", lambda value: value >= 0)
RANGES = {
    **dict.fromkeys(("dim", "codebook_size", "init_latents", "batch"), _COUNT),
    **dict.fromkeys(("warmup", "pretrain_steps", "steps", "seed"), _NATURAL),
    **dict.fromkeys(("initial_count", "beta", "gamma", "lr", "weight_decay", "centre_offset"), _NATURAL),
    **dict.fromkeys(("init_scale", "latent_scale", "code_lr"), _POSITIVE),
    **dict.fromkeys(("revival_at", "temperature"), _NATURAL),
    "project_to": _COUNT,
    "decay": ("in [0, 1)", lambda value: 0 <= value < 1),
}
TYPES = {  # annotation of a field, without "| None" -> what it asks for
    "str": "a name",
    "int": "a whole number",
    "float": "a finite number",
    "tuple[float, float]": "a pair (lo, hi) of finite numbers",
}


def allowed_names() -> dict[str, tuple[str, ...]]:
    """Field -> the names that it may hold, beside those of one's own; of ``data`` see :func:`.images.check`."""
    return {
        "model": tuple(models.MODELS),
        "norm": tuple(models.NORMS),
        "lookup": tuple(vector.METRICS),
        "estimator": tuple(estimators.ESTIMATORS),
        "centre": tuple(vector.CENTRES),
        "init": tuple(codebook.INITS),
        "update": tuple(updates.UPDATES),
        "revival": tuple(updates.REVIVALS),
        "convention": tuple(base.CONVENTIONS),
        "optimizer": tuple(optimizers.OPTIMIZERS),
        "schedule": tuple(optimizers.SCHEDULES),
        "quantizer": tuple(registry.METHODS),
        "gamma_rule": ablations.GAMMA_RULES,
        "gain": ablations.GAINS,
    }


def check(values: Mapping[str, Any], changed: Collection[str]) -> None:
    """Raise ValueError on the first bad value of a Config; ``changed`` are the fields that are not at their default."""
    _check_names(values)
    for name, (rule, holds) in RANGES.items():
        if values[name] is not None and not holds(values[name]):
            raise ValueError(f"{name} is {values[name]}: it must be {rule}")
    _check_method(values, changed)
    offset, scale, init, latents = (values[name] for name in ("centre_offset", "latent_scale", "init", "init_latents"))
    if offset and (values["centre"], values["warmup"], values["gain"]) != ("origin", 0, "none"):
        raise ValueError(f"centre_offset is {offset}: it needs centre 'origin', no warmup and no gain")
    if scale != 1 and values["norm"] == "latent":
        raise ValueError(f"latent_scale is {scale}: norm 'latent' would undo it")
    if init in codebook.FROM_LATENTS and latents < values["codebook_size"]:
        raise ValueError(f"init_latents is {latents}: {init!r} needs at least codebook_size")
    member = own.estimator(values["estimator"])
    if not isinstance(member, nn.Module):
        member = estimators.estimator(member, values["clip"], values["mix"])
    _check_idle(values, changed, member)
    if isinstance(member, estimators.Estimator):
        return
    for name in ("clip", "mix", "warmup", "centre", "centre_offset", "gain"):
        if name in changed:
            raise ValueError(
                f"{name} is {values[name]!r}: it goes with an Estimator, which {values['estimator']} is not"
            )


def _check_idle(values: Mapping[str, Any], changed: Collection[str], member: estimators.Estimator | nn.Module) -> None:
    if values["quantizer"] == "vq":
        beta = values["beta"] if "beta" in changed else None
        not_there = {"form": "free", "penalties": None, "gain": None}
        options.refuse_idle("vq", {**values, "beta": beta, "estimator": member, **not_there})
    counts = values["update"] == "ema" or values["revival"] in ("threshold", "count")
    averages = {"decay": counts or values["centre"] == "latents", "initial_count": counts}
    for name in averages if not own.is_own("quantizer", values["quantizer"]) else ():
        if name in changed and not averages[name]:
            raise ValueError(f"{name} would do nothing: nothing is averaged over steps")
    if values["update"] == "ema" and "code_lr" in changed:
        raise ValueError(f"code_lr is {values['code_lr']}: update 'ema' moves the codes without a learning rate")


def _check_names(values: Mapping[str, Any]) -> None:
    images.check(files.PIN.sub("", values["data"]))
    for name, names in ({"data": ()} | allowed_names()).items():
        if own.is_own(name, values[name]):
            own.check(name, values[name])
        elif names:
            base.one_of(name, values[name], (*names, own.FORMS) if name in own.PARTS else names)


def _check_method(values: Mapping[str, Any], changed: Collection[str]) -> None:
    quantizer = values["quantizer"]
    for name in own.quantizer(quantizer).fixed:
        if name in changed:
            raise ValueError(f"{name} is {values[name]!r}: quantizer {quantizer!r} has its own")
    for name in ablations.VQ_ONLY:
        if name in changed and quantizer != "vq":
            raise ValueError(f"{name} is an ablation of quantizer 'vq', not of {quantizer!r}")


def read(name: str, annotation: str, value: Any) -> Any:
    """``value`` as a plain str, int, float or pair of floats, or ValueError if that changed it."""
    kind, _, optional = annotation.partition(" | ")
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if optional and value is None:
        return None
    if kind == "str" and isinstance(value, str):
        return own.pin(name, str(value))
    if kind == "int" and is_number and value == int(value):
        return int(value)
    if kind == "float" and is_number:
        return float(str(value)) + 0.0  # by its digits: float32(0.1) means 0.1; -0.0 becomes 0.0
    if kind == "tuple[float, float]" and isinstance(value, list | tuple | np.ndarray) and len(value) == 2:
        return read(name, "float", value[0]), read(name, "float", value[1])
    or_none = " or None" if optional else ""
    raise ValueError(f"{name} is {value!r}: it must be {TYPES[kind]}{or_none}")
