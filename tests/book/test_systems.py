"""The runs of the systems beyond the VQ-VAE: cases, records, resuming, and the command."""

import inspect
import json
from dataclasses import dataclass, replace

import pytest

from book.systems import runs
from book.systems.__main__ import main
from rotvq.runs.records import RecordError


@dataclass(frozen=True)
class Case:
    estimator: str = "ste"
    rate: float = 0.5
    seed: int = 0


def train(case: Case) -> dict:
    if case.rate < 0:
        raise ValueError("rate")
    return {"error": (1 + case.seed) * (2 if case.estimator == "ste" else 1) * case.rate}


ESTIMATORS = {"STE": {"estimator": "ste"}, "rotation": {"estimator": "rotation"}}
EXPERIMENT = runs.Experiment(
    "toy", train, {"main": runs.crossed(Case(), ESTIMATORS, seeds=range(3))}, smoke={"rate": 0.1}, seconds=60.0
)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(runs.CHAPTERS, "toy", __name__)


def test_arms_are_crossed_seeds_last():
    cases = EXPERIMENT.cases()
    assert [(c.estimator, c.seed) for c in cases[:3]] == [("ste", 0), ("rotation", 0), ("ste", 1)] and len(cases) == 6
    assert [(c.rate, c.seed) for c in EXPERIMENT.cases("smoke")] == [(0.1, 0)] * 2
    assert {c.rate for c in EXPERIMENT.cases(rate=2.0)} == {2.0}


def test_an_id_hangs_on_what_differs_from_the_defaults():
    ids = {runs.case_id(case) for case in (Case(), Case(seed=1), Case(rate=1.0), Case("rotation"))}
    assert len(ids) == 4 and runs.case_id(replace(Case(rate=1.0), rate=0.5)) == runs.case_id(Case())


def test_two_systems_share_no_id():
    ids = [runs.case_id(case) for name in runs.CHAPTERS for case in runs.find(name).cases()]
    assert len(ids) == len(set(ids)) > 1000


@pytest.mark.parametrize("engine", ("serial", "processes:2"))
def test_what_has_a_record_is_not_trained_again(engine, tmp_path):
    cases = EXPERIMENT.cases()
    first = dict(runs.run(EXPERIMENT, cases[:2], "serial", tmp_path))
    made = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    rest = dict(runs.run(EXPERIMENT, cases, engine, tmp_path))
    assert set(first) | set(rest) == set(cases) and not set(first) & set(rest)
    assert all(path.stat().st_mtime_ns == then for path, then in made.items())
    table = runs.table(EXPERIMENT, cases, tmp_path)
    assert sorted(table.error) == [0.5, 1.0, 1.0, 1.5, 2.0, 3.0]
    pair = runs.pair(table, "error", *({"estimator": name} for name in ("rotation", "ste")))
    assert (pair.n, pair.mean) == (3, pytest.approx(0.5))
    assert runs.pair(table, "error", {"estimator": "zero"}, {"estimator": "ste"}) is None


def test_a_record_that_was_altered_is_refused(tmp_path):
    list(runs.run(EXPERIMENT, [Case()], "serial", tmp_path))
    (path,) = tmp_path.iterdir()
    content = json.loads(path.read_text())
    content["result"]["error"] = 0.0
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError):
        runs.record(EXPERIMENT, Case(), tmp_path)


def test_the_command(tmp_path, capsys):
    given = ["toy", "--records", str(tmp_path)]
    assert main(["run", *given, "--dry-run"]) == 0 and not list(tmp_path.iterdir())
    assert "6 of 6 runs missing: about 0.10 core-hours" in capsys.readouterr().out
    assert main(["run", *given]) == 0 and len(list(tmp_path.iterdir())) == 6
    assert main(["verify", *given, "--sample", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("agrees") == 2 and "6 of 6 runs have a record: 6 verified, 0 unverified" in out
    for wrong in (["run", "tox"], ["run", "toy", "--block", "other"]):
        with pytest.raises(SystemExit):
            main(wrong)


def test_records_of_other_code_are_unverified_until_a_sample_agrees(tmp_path, capsys, monkeypatch):
    given = ["toy", "--records", str(tmp_path)]
    main(["run", *given])
    monkeypatch.setattr(runs, "code_digest", lambda module: "other")
    assert main(["verify", *given]) == 0 and "0 verified, 6 unverified" in capsys.readouterr().out
    assert main(["verify", *given, "--sample", "1", "--restamp"]) == 0
    assert "6 verified, 0 unverified" in capsys.readouterr().out
    found = runs.record(EXPERIMENT, EXPERIMENT.cases()[0], tmp_path)
    assert found["provenance"]["settled"] == "1 of its chapter trained again"


def test_a_result_that_is_not_made_again_is_named(tmp_path, capsys):
    list(runs.run(EXPERIMENT, [Case()], "serial", tmp_path))
    found = runs.record(EXPERIMENT, Case(), tmp_path)
    near, far = ({"error": 1.0 + by * runs.TOLERANCE} for by in (0.5, 2.0))
    assert runs.differences(found, {"error": 1.0}) == []
    assert runs.differences(found, near) == [f"error was 1.0 and is {near['error']}"]
    elsewhere = found | {"provenance": found["provenance"] | {"device": "another processor"}}
    assert runs.differences(elsewhere, near) == [] != runs.differences(elsewhere, far)
    assert runs.differences(elsewhere, {"other": 1.0})


def test_the_digest_is_of_statements_and_of_what_they_use():
    digest = runs.code_digest.__wrapped__
    codec = digest("book.systems.codec")
    read, getsource = [], inspect.getsource

    def noted(module):
        read.append(module.__name__)
        return getsource(module) + "\n'a remark'\n# another"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "getsource", noted)
        assert digest("book.systems.codec") == codec
        patch.setattr(inspect, "getsource", lambda module: getsource(module) + "\nx = 1")
        assert digest("book.systems.codec") != codec
    assert {"book.systems.speech", "rotvq.quantizers.residual", "rotvq.quantizers.estimators"} <= set(read)
    assert "book.systems.transformer" not in read and "book.systems.runs" not in read
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "getsource", noted)
        digest("book.systems.transformer")
    assert "book.systems.plays" in read


def test_a_failure_is_named_and_the_others_go_on(tmp_path):
    outcomes = dict(runs.run(EXPERIMENT, [Case(rate=-1.0), Case()], "processes:2", tmp_path))
    assert isinstance(outcomes[Case(rate=-1.0)], ValueError) and outcomes[Case()]["result"] == {"error": 1.0}
