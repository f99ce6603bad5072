"""Claims that rest on records of runs: the comparison is computed anew from whatever records there are."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from rotvq.records import Records
from rotvq.stats import paired

from .base import evidence, found


def _value(text: str):
    """``0.25`` as a number, ``none`` as None, anything else as it is."""
    try:
        return float(text)
    except ValueError:
        return None if text == "none" else text


@evidence
def lower(chapter, metric, a, b, *where, records: Path):
    """Estimator a ends lower than b in ``metric``: paired by all other fields, 95 percent t interval.

    ``where`` holds conditions such as ``init=uniform``. None where there are no such records; neither true nor false
    where the interval holds 0 or there are fewer than 5 pairs.
    """
    folders = sorted(records.glob(f"{chapter}_*"))
    if not folders:
        return None
    store, wanted = Records(folders[0]), dict(condition.split("=") for condition in where)
    arms = defaultdict(dict)
    for config in store.all():
        fields = config.as_dict()
        if all(_same(fields[k], _value(v)) for k, v in wanted.items()):
            rest = tuple((k, str(v)) for k, v in fields.items() if k != "estimator")
            arms[rest][fields["estimator"]] = store.get(config)["result"]["final"].get(metric)
    pairs = [(arm[a], arm[b]) for arm in arms.values() if a in arm and b in arm]
    if not pairs:
        return None
    result = paired(*zip(*pairs, strict=True))
    decided = result.n >= 5 and not result.low <= 0 <= result.high
    return found(result.high < 0 if decided else None, None, pairs=result.n, mean_difference=result.mean,
                 low=result.low, high=result.high, sign_flip_p=result.p, diverged=result.diverged)


def _same(value, wanted) -> bool:
    if isinstance(value, int | float) and isinstance(wanted, float):
        return float(value) == wanted
    return value == wanted
