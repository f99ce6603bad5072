"""Evidence on records: made-up runs in two folders of a store."""

import pytest

from book.all_statements import all_statements
from book.ledger import claims
from rotvq.runs.records import Records
from rotvq.training.config import Config

NOISE = [0.0, 0.01, -0.02, 0.015, 0.005, -0.01, 0.02, -0.015, 0.01, 0.0]
EXPLORE, CONFIRM = range(5), range(100, 110)


@pytest.fixture
def put(tmp_path):
    """put(test_mse, seeds, chapter, **fields): runs of that metric, up to noise that the arms share in part."""

    def put(value, seeds=EXPLORE, chapter="10_a", shift=0, stale=False, **fields):
        for i, seed in enumerate(seeds):
            mse = None if value is None else value * (1 + NOISE[i] + 0.1 * NOISE[(i + shift) % 10])
            final = {"diverged_at": 7 if mse is None else None, "test_mse": mse}
            stops = [{"step": 500, "test_mse": 1 / mse}] if mse else []
            result = {"final": final, "curve": {"stops": stops}}
            Records(tmp_path / chapter).put(Config(seed=seed, **fields), result, {"stale": True} if stale else {})

    return put


def find(call, folder):
    row = claims.Claim("A-001", "p", "c.", "empirical", "undecided", "r.", "10", evidence=call)
    row.validate()
    return claims.check(row, folder).finding


def claim(call, folder):
    return find(call, folder).claim


def test_lower_and_higher_are_opposites(put, tmp_path):
    put(0.5, estimator="rotation"), put(1.0, estimator="ste", shift=3)
    assert claim("lower(test_mse, rotation / ste)", tmp_path) is True
    assert claim("lower(test_mse, ste / rotation)", tmp_path) is False
    assert claim("higher(test_mse, ste / rotation)", tmp_path) is True
    assert claim("higher(test_mse, rotation / ste)", tmp_path) is False
    numbers = find("lower(test_mse, rotation / ste)", tmp_path).numbers
    assert numbers["ratio"] == pytest.approx(0.5, rel=0.01) and numbers["low"] < 0.5 < numbers["high"]
    assert (numbers["pairs"], numbers["seeds"], numbers["diverged"]) == (5, "0–4", 0)


def test_what_is_not_separated_is_open(put, tmp_path):
    put(1.0, estimator="rotation"), put(1.0, estimator="ste", shift=3)
    assert claim("lower(test_mse, rotation / ste)", tmp_path) is None
    assert claim("close(test_mse, rotation / ste, 0.05)", tmp_path) is True
    assert claim("close(test_mse, rotation / ste, 0.0001)", tmp_path) is None


def test_what_lies_outside_is_not_close(put, tmp_path):
    put(0.5, estimator="rotation"), put(1.0, estimator="ste", shift=3)
    assert claim("close(test_mse, rotation / ste, 0.5)", tmp_path) is False


BETWEEN = {"0.4, 0.6": True, "0.6, 2": False, "0.1, 0.4": False, "0.4, 0.5": None, "0.5, 0.6": None}


@pytest.mark.parametrize("numbers", BETWEEN)
def test_between_two_numbers(put, tmp_path, numbers):
    """Where the interval holds one of the numbers it is open."""
    put(0.5, estimator="rotation"), put(1.0, estimator="ste", shift=3)
    assert claim(f"between(test_mse, rotation / ste, {numbers})", tmp_path) is BETWEEN[numbers]


LEAST = [(range(4), None), (range(5), True), (range(100, 109), None), (CONFIRM, True)]


@pytest.mark.parametrize("seeds, settled", LEAST)
def test_the_least_number_of_pairs(put, tmp_path, seeds, settled):
    put(0.5, seeds, estimator="rotation"), put(1.0, seeds, estimator="ste", shift=3)
    assert claim("lower(test_mse, rotation / ste)", tmp_path) is settled


def test_seeds_that_confirm_go_before_those_that_explore(put, tmp_path):
    put(0.5, estimator="rotation"), put(1.0, estimator="ste", shift=3)
    put(2.0, CONFIRM, estimator="rotation"), put(1.0, CONFIRM, estimator="ste", shift=3)
    found = find("lower(test_mse, rotation / ste)", tmp_path)
    assert found.claim is False and found.numbers["seeds"] == "100–109"


def test_a_field_that_is_not_named_is_at_its_default(put, tmp_path):
    put(0.5, estimator="rotation", gamma=1.0), put(1.0, estimator="ste", gamma=1.0)
    assert find("lower(test_mse, rotation / ste)", tmp_path) is None
    assert claim("lower(test_mse, rotation / ste, gamma=1)", tmp_path) is True
    assert find("lower(test_mse, rotation / ste, gamma=1, init=kmeans)", tmp_path) is None


def test_runs_are_paired_by_seed(put, tmp_path):
    put(0.5, range(7), estimator="rotation"), put(1.0, range(2, 9), estimator="ste", shift=3)
    assert find("lower(test_mse, rotation / ste)", tmp_path).numbers["seeds"] == "2–6"


def test_arms_may_differ_in_any_field_and_lie_in_any_folder(put, tmp_path):
    put(0.5, init="kmeans", chapter="11_b"), put(1.0, init="uniform", shift=3)
    assert claim("lower(test_mse, init=kmeans / init=uniform, rotation)", tmp_path) is True
    put(0.7, estimator="clipped", clip=(0.5, 2.0), chapter="14_c", steps=500)
    put(1.0, estimator="ste", steps=500, shift=3)
    assert claim("lower(test_mse, clipped + clip=0.5..2 / ste, steps=500)", tmp_path) is True


def test_any_of_the_cells(put, tmp_path):
    for init, value in (("uniform", 2.0), ("kmeans", 0.5)):
        put(value, init=init, estimator="rotation"), put(1.0, init=init, estimator="ste", shift=3)
    both = "init=uniform | init=kmeans"
    found = find(f"lower(test_mse, rotation / ste, {both})", tmp_path)
    assert found.claim is True and found.numbers["cell"] == "init=kmeans" and found.numbers["cells"] == 2
    assert claim(f"higher(test_mse, rotation / ste, {both})", tmp_path) is True
    alone = find("lower(test_mse, rotation / ste, init=kmeans)", tmp_path).numbers
    assert alone["low"] > found.numbers["low"]  # of two, each has to be surer
    assert find(f"lower(test_mse, rotation / ste, {both}, gamma=3)", tmp_path) is None
    assert claim(f"lower(test_mse, rotation / ste, {both} | init=normal)", tmp_path) is True
    assert claim("lower(test_mse, rotation / ste, init=uniform | init=normal)", tmp_path) is None  # one was not run
    put(2.0, init="normal", estimator="rotation"), put(1.0, init="normal", estimator="ste", shift=3)
    assert claim("lower(test_mse, rotation / ste, init=uniform | init=normal)", tmp_path) is False


def test_an_earlier_stop(put, tmp_path):
    put(0.5, estimator="rotation"), put(1.0, estimator="ste", shift=3)
    assert claim("higher(test_mse, rotation / ste, at=500)", tmp_path) is True


def test_a_run_that_diverged_leaves_the_claim_open(put, tmp_path):
    put(0.5, range(5), estimator="rotation"), put(1.0, range(5), estimator="ste", shift=3)
    put(None, [5], estimator="rotation"), put(1.0, [5], estimator="ste")
    found = find("lower(test_mse, rotation / ste)", tmp_path)
    assert found.claim is None and (found.numbers["pairs"], found.numbers["diverged"]) == (5, 1)


def test_a_stale_record_is_no_evidence(put, tmp_path):
    put(0.5, estimator="rotation", stale=True), put(1.0, estimator="ste")
    assert find("lower(test_mse, rotation / ste)", tmp_path) is None


WRONG = {
    "unknown field 'gama'": "lower(test_mse, rotation / ste, gama=1)",
    "unknown estimator 'rotate'": "lower(test_mse, rotate / ste)",
    "no 'test_msee'": "lower(test_msee, rotation / ste)",
    "no 'test_mse' at step 501": "lower(test_mse, rotation / ste, at=501)",
}


@pytest.mark.parametrize("message", WRONG)
def test_a_slip_is_an_error(put, tmp_path, message):
    put(0.5, estimator="rotation"), put(1.0, estimator="ste")
    with pytest.raises(ValueError, match=message):
        find(WRONG[message], tmp_path)


COMPARISONS = {"lower", "higher", "close", "between"}


def test_the_examples_of_the_ledger_can_be_read(tmp_path):
    """Those at the top of claims.yml name fields and estimators that exist."""
    lines = [line.strip("#").strip() for line in claims.LEDGER.read_text("utf-8").splitlines() if line[:1] == "#"]
    calls = [part for line in lines for part in line.split(" and ")]
    calls = [call for call in calls if call.split("(")[0] in COMPARISONS]
    assert {call.split("(")[0] for call in calls} == COMPARISONS <= set(all_statements())
    assert [find(call, tmp_path) for call in calls] == [None] * len(calls)
