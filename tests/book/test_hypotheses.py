"""What becomes of a hypothesis: rules are true, false or open by the whole interval, and open where a pair diverged."""

import math

import pytest

from book.chapters import hypotheses
from rotvq.analysis import stats
from rotvq.analysis.wording import includes_one, separated


def test_what_became_of_a_hypothesis():
    lower, higher, open_ = (stats.ratio(*ab) for ab in (([1, 1.1], [4, 4.1]), ([4, 4.1], [1, 1.1]), ([1, 4], [4, 1])))
    lost = stats.ratio([1.0, 1.1, math.nan], [4.0, 4.1, 1.0])
    said = {
        (lower, lower): "held",
        (lower, higher): "held in part",
        (higher, open_): "wrong",
        (lower, open_): "not settled",
        (lower, lost): "not settled",
        (lower, None): "not run",
        (): "not run",
    }
    for parts, word in said.items():
        assert hypotheses.outcome(parts, hypotheses.lower) == word
    near = [stats.ratio([1.0, 1.01], [1.0, 1.0]), stats.ratio([1.5, 1.5], [1.0, 1.0])]
    assert [hypotheses.within(0.05)(pair) for pair in (*near, open_, lost)] == [None, False, None, None]
    assert hypotheses.within(0.2)(stats.ratio([1.0, 1.01, 1.02], [1.0, 1.0, 1.0])) is True
    half, same = stats.ratio([1.0, 1.1], [2.0, 2.0]), stats.ratio([1.0, 1.1], [1.0, 1.1])
    two = [(same, half), (half, same), (half, half), (lost, half)]
    assert list(map(hypotheses.nearer, two)) == [True, False, None, None]


@pytest.mark.parametrize(
    "a, said", [([1.0, 1.01, 1.02], True), ([1.0, 1.2], None), ([1.5, 1.51, 1.52], False), ([0.8, 0.81], False)]
)
def test_within(a, said):
    assert hypotheses.within(0.1)(stats.ratio(a, [1.0] * len(a))) is said


@pytest.mark.parametrize(
    "a, said", [([2.0, 2.1, 2.2], True), ([1.0, 1.1, 1.2], False), ([1, 2, 3], None), ([2.0, None], None)]
)
def test_above_and_below_are_opposites_and_open_together(a, said):
    pair = stats.ratio(a, [1.0] * len(a))
    assert hypotheses.above(1.5)(pair) is said
    assert hypotheses.below(1.5)(pair) is (None if said is None else not said)


def test_lower_and_higher_say_what_the_interval_says():
    for a, word in (([0.5, 0.51], "lower"), ([1.5, 1.51], "higher"), ([0.5, 1.51], "not separated")):
        pair = stats.ratio(a, [1.0, 1.0])
        assert separated(pair) == word
        assert (hypotheses.lower(pair) is True, hypotheses.higher(pair) is True) == (word == "lower", word == "higher")
        assert includes_one(pair) == (word == "not separated")


def test_a_row_of_the_table_of_hypotheses():
    half, third = (stats.ratio([1.0, 1.0], [n, n]) for n in (2.0, 3.0))
    assert hypotheses.judge(half, hypotheses.lower) == ("0.5 (0.5 to 0.5), n = 2", "held")
    two = {"a": half, "b": third}
    assert hypotheses.judge(two, hypotheses.above(0.4)) == (
        "a 0.5 (0.5 to 0.5); b 0.333 (0.333 to 0.333)",
        "held in part",
    )
    assert hypotheses.judge({"a": half, "b": None}, hypotheses.lower) == ("a 0.5 (0.5 to 0.5)", "not run")
    assert hypotheses.judge(None, hypotheses.lower) == ("", "not run")


def test_of_many_ratios_the_ends_are_listed():
    pairs = {f"row {n}": stats.ratio([n, n], [10.0, 10.0]) for n in (3.0, 1.0, 2.0)}
    assert hypotheses.listed(pairs | {"none": None}).startswith("row 3.0 0.3 (0.3 to 0.3); row 1.0 0.1")
    many = {f"{i}": stats.ratio([i, i], [10.0, 10.0]) for i in range(hypotheses.ROOM + 1, 0, -1)}
    assert hypotheses.listed(many) == "9 ratios, the lowest 1 0.1 (0.1 to 0.1), the highest 9 0.9 (0.9 to 0.9)"
