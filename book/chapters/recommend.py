"""What a comparison advises: one word by one rule, and tables of such words with the numbers behind them.

A comparison here is the ratio rotation / STE of an error, so that below 1 the rotation is better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from book.chapters.hypotheses import within
from book.chapters.plots import tint
from rotvq.analysis import stats
from rotvq.analysis.stats import Paired
from rotvq.analysis.study import FRESH, Study
from rotvq.analysis.wording import ratio_with_n, separated
from rotvq.page.html import Html, tag

SHARE = 0.05  # within ±5 %: no difference
ROTATION, STE, EITHER, OPEN, ABSENT = "use the rotation", "use STE", "no difference seen", "not settled", "not run"


def advice(pair: Paired | None, share: float = SHARE) -> str:
    """What the ratio rotation / STE of an error advises, from its interval and nothing else.

    'no difference seen' where the whole interval is within ``share`` of 1; else 'use the rotation' where all of it is
    below 1, 'use STE' where all of it is above, 'not settled' where it contains 1. An interval leaves out pairs that
    diverged: with such pairs one is advised only if it was better in every pair, a diverged run counted as the worst.

    >>> advice(stats.ratio([0.5, 0.52, 0.54], [1.0, 1.0, 1.0])), advice(stats.ratio([0.5, 2.0], [1.0, 1.0]))
    ('use the rotation', 'not settled')
    """
    if pair is None:
        return ABSENT
    if not pair.diverged:
        said = {"lower": ROTATION, "higher": STE, "not separated": OPEN}[separated(pair)]
        return EITHER if within(share)(pair) else said
    if pair.signs.wins and not pair.signs.losses:
        return ROTATION
    return STE if pair.signs.losses and not pair.signs.wins else OPEN


def widened(pair: Paired, comparisons: int) -> Paired:
    """The same with the interval that Bonferroni's correction asks for, of so many comparisons on one page."""
    level = 1 - (1 - pair.level) / comparisons
    return stats.ratio([*pair.differences, *[None] * pair.diverged], [1.0] * (pair.n + pair.diverged), level)


@dataclass(frozen=True)
class Entry:
    """A comparison and what it advises. confirm: of so many pairs that should confirm; 0 where its seeds explore."""

    pair: Paired | None
    confirm: int = 0

    @property
    def word(self) -> str:
        return advice(self.pair)

    @property
    def seeds(self) -> str:
        """'explored', 'confirmed', or of a confirmation that is not whole 'fresh, 5 of 10'."""
        if not self.confirm or self.pair is None:
            return "explored"
        run = self.pair.n + self.pair.diverged
        return "confirmed" if run == self.confirm else f"fresh, {run} of {self.confirm}"

    def __str__(self) -> str:
        return self.word if self.pair is None else f"{self.word}: {ratio_with_n(self.pair)}, {self.seeds}"

    def cell(self) -> Html:
        """A cell of a table, tinted by its ratio where it advises one of the two."""
        if self.pair is None:
            return tag("td", self.word)
        style = None
        if self.word in (ROTATION, STE) and self.pair.n:
            style = f"background: {tint(self.pair.mean)}; color: #000000"
        ratio, _, rest = ratio_with_n(self.pair).partition(", n")
        small = tag("small", ratio, tag("br"), f"n{rest}, {self.seeds}")
        return tag("td", tag("strong", self.word), tag("br"), small, style=style)


def known(
    study: Study,
    cell: str,
    metric: str = "test_mse",
    *,
    arm: str = "rotation",
    against: str = "STE",
    at: int | None = None,
) -> Entry:
    """The comparison on the seeds that confirm, once as many of them have run, else on those that explore."""
    planned = [study.planned.get((name, cell), []) for name in (arm, against)]
    if not all(planned):
        return Entry(None)
    explored, fresh = (study.pair(arm, cell, metric, against=against, at=at, fresh=fresh) for fresh in (False, True))
    if _pairs(fresh) == 0 or _pairs(fresh) < _pairs(explored):
        return Entry(explored)
    asked = set.intersection(*({config.seed for config in configs if config.seed >= FRESH} for configs in planned))
    return Entry(fresh, len(asked))


def _pairs(pair: Paired | None) -> int:
    """How many were run, with those that diverged."""
    return pair.n + pair.diverged if pair else 0


class Table:
    """Rows of entries and words, each row with a link to the page behind it, for the page and as plain text.

    rows: label -> column -> an `Entry` or words; what a row lacks stays empty. links: label -> the name of a notebook.
    """

    def __init__(self, columns: Sequence[str], rows: Mapping[str, Mapping[str, Entry | str]], links: Mapping[str, str]):
        self.columns, self.rows, self.links = list(columns), dict(rows), dict(links)

    def named(self) -> dict[tuple[str, str], Entry]:
        """Every comparison that was run, by row and column."""
        found = {(label, column): value for label, row in self.rows.items() for column, value in row.items()}
        return {key: value for key, value in found.items() if isinstance(value, Entry) and value.pair is not None}

    def _repr_mimebundle_(self, **_) -> dict[str, str]:
        head = tag("tr", *(tag("th", name) for name in ("", *self.columns)))
        body = []
        for label, row in self.rows.items():
            link = tag("th", tag("a", label, href=f"{self.links[label]}.html"))
            body.append(tag("tr", link, *(_cell(row.get(column, "")) for column in self.columns)))
        table = tag("table", tag("thead", head), tag("tbody", *body), class_="dataframe")
        plain = [f"{label}, {column}: {value}" for label, row in self.rows.items() for column, value in row.items()]
        return {"text/html": table, "text/plain": "\n".join(plain)}


def _cell(value: Entry | str) -> Html:
    return value.cell() if isinstance(value, Entry) else tag("td", value)


class Levels:
    """Mean test MSE in thousandths of two arms or more, by how the codes move and how they start.

    Args:
        study: Its cells are called "way, start".
        ways: How the codes move, as the cells name it, and in words.
        starts: How they start, likewise.
    """

    def __init__(self, study: Study, ways: Mapping[str, str], starts: Mapping[str, str]):
        self.arms, self.ways, self.starts = list(study.arms), ways, starts
        keys = [(way, start, arm) for way in ways for start in starts for arm in self.arms]
        means = {key: 1000 * study.mean(key[2], f"{key[0]}, {key[1]}", "test_mse") for key in keys}
        self.means = {key: mean for key, mean in means.items() if not math.isnan(mean)}

    def lowest(self) -> dict[str, tuple[str, str]]:
        """Of each start that was run, the way and the arm with the lowest mean."""
        best: dict[str, tuple[str, str]] = {}
        for way, start, arm in sorted(self.means, key=self.means.get, reverse=True):
            best[start] = (way, arm)
        return best

    def _repr_mimebundle_(self, **_) -> dict[str, str]:
        head = tag("tr", tag("th", ""), *(tag("th", words) for words in self.starts.values()))
        rows = [
            tag("tr", tag("th", words), *map(partial(self._cell, way), self.starts)) for way, words in self.ways.items()
        ]
        plain = [f"{', '.join(key)}: {mean:.2f}" for key, mean in self.means.items()]
        return {
            "text/html": tag("table", tag("thead", head), tag("tbody", *rows), class_="dataframe"),
            "text/plain": "\n".join(plain),
        }

    def _cell(self, way: str, start: str) -> Html:
        lowest, parts = self.lowest(), []
        for arm in self.arms:
            if (way, start, arm) in self.means:
                text = f"{self.means[way, start, arm]:.2f}"
                parts += [" / "] * bool(parts) + [tag("strong", text) if lowest[start] == (way, arm) else text]
        return tag("td", *parts)
