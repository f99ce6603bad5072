"""Where the question was asked beyond the VQ-VAE, and what came out: one table for the synthesis.

Each place has the comparison that decides, on fresh seeds: the rotation against STE, unless there is no rotation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import geometric_mean
from typing import Any

import pandas as pd

from book.chapters.hypotheses import higher, lower
from book.systems import bandit, codec, control, runs, sequences, symbols, transform, transformer, vqgan, weights
from rotvq.analysis.stats import Paired, ratio
from rotvq.analysis.wording import ratio_with_n

Measure = Callable[[dict], float]  # of the result of a run


@dataclass(frozen=True)
class Asked:
    """A place where the question was asked.

    Args:
        page: of the book, which answers it.
        where: the system, in a few words.
        measure: what is compared, in words; less is better.
        experiment: whose runs they are.
        of: the measure of the result of a run.
        compared: two cases by the condition, the seed apart: the first over the second.
        arms: what the two are.
    """

    page: str
    where: str
    measure: str
    experiment: runs.Experiment
    of: Measure
    compared: Mapping[str, tuple[Any, Any]]
    arms: str = "rotation / STE"

    def pairs(self) -> dict[str, Paired | None]:
        """The ratio by condition, over the fresh seeds that both cases have; None where there are none."""
        return {condition: self._pair(*cases) for condition, cases in self.compared.items()}

    def _pair(self, arm: Any, against: Any) -> Paired | None:
        found = [[self._of(case, seed) for case in (arm, against)] for seed in runs.CONFIRM]
        both = [two for two in found if None not in two]
        return ratio(*map(list, zip(*both))) if both else None

    def _of(self, case: Any, seed: int) -> float | None:
        record = runs.record(self.experiment, replace(case, seed=seed))
        return None if record is None else self.of(record["result"])


def word(pair: Paired | None) -> str:
    """What a ratio says, in two words.

    >>> word(None), word(ratio([1.0, 1.1, 1.2], [2.0, 2.1, 2.3])), word(ratio([1.0, 2.0], [2.0, 1.0]))
    ('not run', 'lower', 'no difference shown')
    """
    if pair is None:
        return "not run"
    if lower(pair):
        return "lower"
    return "higher" if higher(pair) else "no difference shown"


def _by(metric: str) -> Measure:
    return lambda result: result[metric]


def _two(case: Any, arms: Mapping[str, Mapping], first: str = "rotation", second: str = "STE", **fields: Any):
    """Two cases that differ in the arm."""
    return replace(case, **arms[first], **fields), replace(case, **arms[second], **fields)


def _error_of_trees(result: dict) -> float:
    """The geometric mean over the targets of the error of the best tree of a start."""
    return geometric_mean(one["error"] for one in result["targets"].values())


ASKED = (
    Asked(
        "30_residual_codec",
        "a residual codec of speech, eight levels",
        "test error",
        codec.EXPERIMENT,
        _by("test_mse"),
        {wiring: _two(codec.EIGHT, codec.PAIR, wiring=wiring) for wiring in codec.WIRED},
    ),
    Asked(
        "31_vqgan",
        "a VQ-GAN",
        "Fréchet distance, classifier",
        vqgan.EXPERIMENT,
        _by("frechet_classifier"),
        {start: _two(vqgan.Case(), vqgan.PAIR, **fields) for start, fields in vqgan.STARTS.items()},
    ),
    Asked(
        "32_transformer_keys",
        "keys of a Transformer",
        "bits per character",
        transformer.EXPERIMENT,
        _by("bits"),
        {"": _two(transformer.Case(), transformer.ARMS)},
    ),
    Asked(
        "33_weights",
        "weights of a classifier",
        "test error",
        weights.EXPERIMENT,
        _by("error"),
        {name: _two(weights.Case(), weights.ARMS, **fields) for name, fields in weights.BITS.items()},
    ),
    Asked(
        "34_discrete_actions",
        "discrete actions, a bandit",
        "regret",
        bandit.EXPERIMENT,
        _by("regret"),
        {
            f"{norm} lengths, {value}": _two(bandit.Case(), bandit.ARMS, **norm_fields, **value_fields)
            for norm, norm_fields in bandit.NORMS.items()
            for value, value_fields in bandit.VALUES.items()
        },
    ),
    Asked(
        "34_discrete_actions",
        "discrete actions, control",
        "cost of an episode",
        control.EXPERIMENT,
        _by("cost"),
        {
            "in a swirling wind": _two(control.Task(), control.ARMS),
            "a pendulum, codes on an arc": _two(control.SWING, control.ARMS),
            "a pendulum, codes on a line": _two(control.LINE, control.ARMS),
        },
    ),
    Asked(
        "35_symbols",
        "symbolic regression",
        "error of the best tree",
        symbols.EXPERIMENT,
        _error_of_trees,
        {f"|z| = {name}": _two(symbols.Case(), symbols.ARMS, **fields) for name, fields in symbols.LENGTHS.items()},
    ),
    Asked(
        "36_learned_transform",
        "a transform fitted to slopes",
        "test MSE",
        transform.EXPERIMENT,
        _by("test_mse"),
        {start: _two(transform.Case(), transform.ARMS, "pair", **fields) for start, fields in transform.STARTS.items()},
        arms="fitted / STE",
    ),
    Asked(
        "37_sequences",
        "a prior over codes",
        "total bits of an image",
        sequences.EXPERIMENT,
        _by("total_bits"),
        {start: _two(sequences.Case(), sequences.PAIR, **fields) for start, fields in sequences.STARTS.items()}
        | {"k-means, of a VQ-GAN": _two(sequences.GAN, sequences.PAIR)},
    ),
)


def table() -> pd.DataFrame:
    """A row a condition; what is the same as in the row above is left out."""
    rows = [
        {
            "where": one.where,
            "measure": one.measure,
            "compared": one.arms,
            "condition": condition,
            "ratio": ratio_with_n(pair),
            "the first is": word(pair),
        }
        for one in ASKED
        for condition, pair in one.pairs().items()
    ]
    shown = pd.DataFrame(rows)
    repeated = shown[["where", "measure", "compared"]].duplicated()
    shown.loc[repeated, ["where", "measure", "compared"]] = ""
    return shown.set_index("where")
