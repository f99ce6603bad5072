"""What becomes of a hypothesis: rules that say of a comparison whether it is true, false or open, and their outcome.

A rule looks at the whole interval of a comparison. It is open (None) where the interval leaves it open, and where a
pair diverged, which no interval holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rotvq.analysis.stats import Paired, paired
from rotvq.analysis.wording import ratio_text, ratio_with_n

ROOM = 8  # comparisons that a cell of the table of hypotheses lists
Rule = Callable[[Any], bool | None]  # says of a comparison whether something is true, false or open (None)


def above(bound: float) -> Rule:
    """Whether a comparison is above ``bound``; open where its interval contains that, or a pair diverged."""
    return _settled(lambda pair: pair.low > bound, lambda pair: pair.high < bound)


def below(bound: float) -> Rule:
    """Whether a comparison is below ``bound``; open where its interval contains that, or a pair diverged."""
    return _settled(lambda pair: pair.high < bound, lambda pair: pair.low > bound)


def within(share: float) -> Rule:
    """Whether a ratio is within ``share`` of 1, up or down by that factor; open as above.

    >>> from rotvq.analysis.stats import ratio
    >>> [within(0.1)(ratio([x, x + 0.01, x + 0.02], [1.0, 1.0, 1.0])) for x in (1.0, 1.5, 1.08)]
    [True, False, None]
    """
    least, most = 1 / (1 + share), 1 + share
    return _settled(
        lambda pair: least <= pair.low and pair.high <= most, lambda pair: pair.high < least or most < pair.low
    )


def near(bound: float) -> Rule:
    """Whether a difference is at most ``bound``, up or down; open as above.

    >>> from rotvq.analysis.stats import paired
    >>> [near(1)(paired([x, x + 0.1, x + 0.2], [0.0, 0.0, 0.0])) for x in (0.0, 2.0, 0.9)]
    [True, False, None]
    """
    return _settled(
        lambda pair: -bound <= pair.low and pair.high <= bound, lambda pair: pair.high < -bound or bound < pair.low
    )


def _settled(true: Callable[[Paired], bool], false: Callable[[Paired], bool]) -> Rule:
    def judged(pair: Paired) -> bool | None:
        if pair.diverged:
            return None
        if true(pair):
            return True
        return False if false(pair) else None

    return judged


lower, higher = below(1), above(1)  # of a ratio


def nearer(two: tuple[Paired, Paired]) -> bool | None:
    """Whether the first of two ratios over the same seeds is nearer to 1 than the second, in its logarithm.

    None where the interval of the difference contains 0, or where a pair diverged.
    """
    if two[0].n != two[1].n or any(pair.diverged for pair in two):
        return None
    found = paired(*([abs(math.log(x)) for x in pair.differences] for pair in two))
    return None if found.low <= 0 <= found.high else found.high < 0


def outcome(parts: Iterable, holds: Rule = bool) -> str:
    """What became of a hypothesis: 'held', 'held in part', 'wrong', 'not settled' or 'not run'.

    Args:
        parts: Of what it speaks; a part that is None was not run.
        holds: Says of a part whether the hypothesis is true, false or open (None).

    >>> [outcome(parts) for parts in ([True, True], [True, False], [False], [True, None], [])]
    ['held', 'held in part', 'wrong', 'not run', 'not run']
    >>> outcome([1.5, 0.5], {1.5: True, 0.5: None}.get)
    'not settled'
    """
    parts = list(parts)
    if not parts or any(part is None for part in parts):
        return "not run"
    said = [holds(part) for part in parts]
    if all(said):
        return "held"
    if False in said:
        return "held in part" if True in said else "wrong"
    return "not settled"


def judge(pairs: Paired | None | Mapping[str, Paired | None], holds: Rule) -> tuple[str, str]:
    """A row of the table of hypotheses: what was measured, of one ratio or of several by name, and its `outcome`."""
    if not isinstance(pairs, Mapping):
        return ratio_with_n(pairs), outcome([pairs], holds)
    return listed(pairs), outcome(pairs.values(), holds)


def listed(pairs: Mapping[str, Paired | None]) -> str:
    """Ratios by name: 'exact 1.9 (1.7 to 2.1); Hessian 2.1 (1.8 to 2.4)'. What was not run is left out.

    Of more than a cell of a table has room for, the lowest and the highest, and how many there are.
    """
    found = {name: pair for name, pair in pairs.items() if pair}
    words = [f"{name} {ratio_text(found[name])}" for name in sorted(found, key=lambda name: found[name].mean)]
    if len(words) > ROOM:
        return f"{len(words)} ratios, the lowest {words[0]}, the highest {words[-1]}"
    return "; ".join(f"{name} {ratio_text(pair)}" for name, pair in found.items())
