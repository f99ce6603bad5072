"""Evidence on the records of a system: made-up runs of the bandit."""

import dataclasses

import pytest

from book.all_statements import all_statements
from book.systems.bandit import EXPERIMENT, Case
from book.systems.runs import case_id
from rotvq.runs.records import write_record

NOISE = [0.0, 0.01, -0.02, 0.015, 0.005, -0.01, 0.02, -0.015, 0.01, 0.0]
EXPLORE, CONFIRM = range(5), range(100, 110)


@pytest.fixture
def put(tmp_path):
    """put(regret, seeds, **fields): runs of that regret, up to noise."""

    def put(value, seeds, shift=0, **fields):
        folder = tmp_path / EXPERIMENT.chapter
        folder.mkdir(exist_ok=True)
        for i, seed in enumerate(seeds):
            case = Case(seed=seed, **fields)
            found = {"regret": value * (1 + NOISE[(i + shift) % 10])}
            record = {"id": case_id(case), "config": dataclasses.asdict(case), "result": found, "provenance": {}}
            write_record(folder / f"{case_id(case)}.json", record)

    return put


def found(call, folder, *words):
    return all_statements()[call].check("34", "regret", *words, records=folder)


def test_which_arm_is_lower(put, tmp_path):
    put(0.5, CONFIRM, estimator="rotation"), put(1.0, CONFIRM, shift=3)
    arms = "rotation / ste"
    assert [found(name, tmp_path, arms).claim for name in ("lower_in", "higher_in")] == [True, False]
    assert found("close_in", tmp_path, arms, "0.03").claim is False
    assert found("lower_in", tmp_path, arms).numbers["seeds"] == "100–109"


@pytest.mark.parametrize("seeds, settled", [(range(3), None), (EXPLORE, True), (range(100, 109), None)])
def test_too_few_pairs_leave_it_open(put, tmp_path, seeds, settled):
    put(0.5, seeds, estimator="rotation"), put(1.0, seeds, shift=3)
    assert found("lower_in", tmp_path, "rotation / ste").claim is settled


def test_what_is_not_separated_is_open(put, tmp_path):
    put(1.0, CONFIRM, estimator="rotation"), put(1.0, CONFIRM, shift=3)
    assert found("lower_in", tmp_path, "rotation / ste").claim is None
    assert found("close_in", tmp_path, "rotation / ste", "0.05").claim is True


def test_a_field_that_is_not_named_is_at_its_default(put, tmp_path):
    put(0.5, CONFIRM, estimator="rotation", ripple=0.1), put(1.0, CONFIRM, ripple=0.1)
    assert found("lower_in", tmp_path, "rotation / ste") is None
    assert found("lower_in", tmp_path, "rotation / ste", "ripple=0.1").claim is True


def test_a_field_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no field 'riple'"):
        found("lower_in", tmp_path, "rotation / ste", "riple=0.1")
