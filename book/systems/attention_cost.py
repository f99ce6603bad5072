"""Time and memory of one layer's attention, forward alone, against the length of the text.

``python -m book.systems run time_32``. It is a chapter of its own to the command, since a time is never the same twice:
``verify`` has nothing to say of it. Its records lie with those of :mod:`.transformer`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from book.bench import timing
from book.systems import runs, transformer
from rotvq.quantizers.lookup import nearest

ROWS = 512  # queries that :func:`by_rows` takes at a time


@dataclass(frozen=True)
class Length:
    """One measurement, of one text on one thread.

    Args:
        way: "linear", with the lookup of the codes in it; "rows", quadratic in time alone; "matrix", quadratic in both.
        length: T.
        key: numbers of a key, d.
        wide: numbers of a value.
        codes: S.
        block: L.
        rounds: calls that are timed, after one that is not.
        seed: of queries, keys, values and codes, which are noise.
    """

    way: str = "linear"
    length: int = 1024
    key: int = 32
    wide: int = 192
    codes: int = 32
    block: int = 128
    rounds: int = 3
    seed: int = 0


def by_rows(q: Tensor, k: Tensor, v: Tensor, near: Tensor) -> Tensor:
    """:func:`.quadratic`, some queries at a time, each with the keys up to the last of them."""
    seen = []
    for start in range(0, q.shape[1], ROWS):
        end = min(start + ROWS, q.shape[1])
        rows, old = q[:, start:end], k[:, :end]
        scores = rows @ old.transpose(-1, -2) + transformer.positions(rows, near, end - start, end)
        seen.append(scores.softmax(-1) @ v[:, :end])
    return torch.cat(seen, 1)


def linear(case: Length, q: Tensor, k: Tensor, v: Tensor, near: Tensor, codes: Tensor) -> Tensor:
    """:func:`.transformer.linear` of keys that have yet to find their codes."""
    indices = nearest(k, codes)
    return transformer.linear(q, codes[indices], v, near, codes, indices, case.block)


def measure(case: Length) -> dict:
    """``seconds`` of each round, and ``bytes``, the most that a call holds above its inputs."""
    noise = torch.Generator().manual_seed(case.seed)
    shapes = ((1, case.length, case.key),) * 2 + ((1, case.length, case.wide), (case.block + 1, case.key))
    q, k, v, near = (torch.randn(shape, generator=noise) for shape in shapes)
    codes = torch.randn(case.codes, case.key, generator=noise)
    ways = {
        "linear": lambda: linear(case, q, k, v, near, codes),
        "rows": lambda: by_rows(q, k, v, near),
        "matrix": lambda: transformer.quadratic(q, k, v, near),
    }
    call = ways[case.way]
    with torch.inference_mode():
        held = timing.peak_bytes(call)
        return {"seconds": [timing.seconds(call) for _ in range(case.rounds)], "bytes": held}


LENGTHS = {str(1024 << step): {"length": 1024 << step} for step in range(7)}  # 1,024 to 65,536
WAYS = {"linear": {"way": "linear"}, "rows": {"way": "rows"}}
SHORT = dict(list(LENGTHS.items())[:4])  # the last of these takes 1.6 GB as a matrix

EXPERIMENT = runs.Experiment(
    "32_transformer_keys",
    measure,
    {
        "length": runs.crossed(Length(), LENGTHS, WAYS, seeds=[0]),
        "matrix": runs.crossed(Length(way="matrix"), SHORT, seeds=[0]),
    },
    smoke={"length": 512, "rounds": 1},
    seconds=18.0,
)
