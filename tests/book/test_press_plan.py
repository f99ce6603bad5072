"""What executing a notebook would train, said before: from its own cells, without training anything."""

import pytest
from conftest import ROOT

from book.press import __main__ as press
from book.press import plan
from rotvq.page import figures
from rotvq.runs import scheduler

CHAPTER, OWN, SYSTEM, THEORY = (
    ROOT / "notebooks" / f"{name}.py" for name in ("12_gamma", "29_your_experiment", "31_vqgan", "03_rotation")
)
MINE = {"steps": 200, "seeds": 2}


@pytest.fixture(autouse=True)
def nothing_is_trained(monkeypatch):
    monkeypatch.setattr(scheduler, "run", lambda *_, **__: pytest.fail("something is trained"))


@pytest.mark.parametrize(
    "script, parameters, words",
    [
        (CHAPTER, MINE | {"gammas": [0.1, 0.5, 2.0]}, ["32 of 32 runs have no record in ", "of a cap of 2.5 hours"]),
        (CHAPTER, MINE | {"gammas": [0.1, 0.5, 2.0], "cap": 0.5}, ["of a cap of 30 minutes"]),
        (OWN, MINE | {"arms": {"a": {}, "b": {"gamma": 1}}, "cells": {}}, ["4 of 4 runs have no record in "]),
        (SYSTEM, {"profile": "smoke"}, ["runs have no record and take about"]),
        (THEORY, {}, ["nothing is trained but on the page itself"]),
    ],
)
def test_a_plan_says_what_would_be_trained(script, parameters, words, tmp_path, capsys):
    store = {} if script == THEORY else {"records": str(tmp_path / "mine")}
    said = plan.plan(script, parameters | store)
    assert all(word in said for word in words), said
    assert capsys.readouterr().out == "" and not (tmp_path / "mine").exists()
    assert figures.display.__name__ == "display", "as it was"


def test_where_all_is_recorded_nothing_is_trained():
    assert plan.plan(OWN, {}).startswith("nothing is trained, 24 runs are read")


@pytest.mark.parametrize(
    "values, words",
    [('{"gammas": [0.1]}', "at least 3"), ('{"seeds": 90, "records": "mine"}', "over the cap of 2.5 core-hours")],
)
def test_what_is_refused_is_refused_before_anything_is_executed(values, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(press, "run", lambda *_: pytest.fail("a notebook is executed"))
    monkeypatch.setattr(press, "write_notebooks", lambda: None)
    with pytest.raises(SystemExit, match=f"12_gamma: .*{words}"):
        press.main(["run", "12", "--parameters", values])


@pytest.mark.parametrize("values", ["[1]", "3", "null", "", "{steps: 50}", "steps=50", "{'steps': 50}"])
def test_what_is_no_object_of_parameters_is_refused(values, capsys):
    with pytest.raises(SystemExit):
        press.main(["run", "12", "--parameters", values])
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith("""write it as '{"steps": 100}'""") and repr(values) in said


@pytest.mark.parametrize("words, runs", [(["--dry-run"], 0), (["--parameters", '{"K": 6}'], 1), ([], 1)])
def test_a_dry_run_says_it_and_executes_nothing(words, runs, monkeypatch, capsys):
    executed = []
    monkeypatch.setattr(press, "run", lambda *arguments: executed.append(arguments))
    monkeypatch.setattr(press, "write_notebooks", lambda: None)
    press.main(["run", "01", *words])
    assert len(executed) == runs and ("plan: 01_missing_derivative: " in capsys.readouterr().out) is bool(words)
