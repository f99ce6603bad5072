"""The check cell: what it takes, and the sentence with which it refuses."""

import math
import os
import re
import sys
from typing import Optional

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from notebook_cells import SCRIPTS, check_cell, parameters_of

from rotvq.page import parameters
from rotvq.page.parameters import RULES, Entries, check

TYPES = {"n": int, "x": float, "name": str, "quick": bool, "gammas": list[float], "seeds": int | None}
GOOD = {"n": 3, "x": 0.5, "name": "ste", "quick": False, "gammas": [0.1, 1], "seeds": None}
ALLOWED = {
    "n": (1, 10),
    "x": (0, None),
    "name": ["ste", "rotation"],
    "gammas": Entries((0, 10), 1, 3),
    "seeds": (1, None),
}


def given(**changes):
    return {"__annotations__": TYPES, **GOOD, **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n": 1},
        {"n": 10},
        {"x": 1},
        {"gammas": [0]},
        {"gammas": [1, 1.001]},
        {"seeds": 5},
        {"os": os},
        {"Optional": Optional},
    ],
)
def test_takes(changes):
    assert check(given(**changes), **ALLOWED) is None


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"quick": "false"}, "quick = 'false' is str, and must be bool"),
        ({"quick": 0}, "quick = 0 is int, and must be bool"),
        ({"n": True}, "n = True is bool, and must be int"),
        ({"n": 3.0}, "n = 3.0 is float, and must be int"),
        ({"n": 0}, "n = 0 must be at least 1 and at most 10"),
        ({"n": 11}, "n = 11 must be at least 1 and at most 10"),
        ({"x": "1e-3"}, "x = '1e-3' is str, and must be float, and YAML takes 1e-3 for text: write 1.0e-3. Give typed"),
        ({"gammas": [0.1, "1e1"]}, r"gammas\[1\] = '1e1' is str, and must be float, and YAML takes 1e1 for text"),
        ({"x": "high"}, "x = 'high' is str, and must be float. Give typed"),
        ({"x": math.nan}, "x = nan must be a finite number"),
        ({"x": math.inf}, "x = inf must be a finite number"),
        ({"name": "stee"}, "name = 'stee' must be one of ste, rotation"),
        ({"gammas": 0.1}, "gammas = 0.1 is float, and must be list"),
        ({"gammas": [0.1, "1"]}, r"gammas\[1\] = '1' is str, and must be float"),
        ({"gammas": [0.1, -1.0]}, "gammas = -1.0 must be at least 0"),
        ({"gammas": [0.1, -math.inf]}, "gammas = -inf must be a finite number"),
        ({"gammas": []}, "gammas is empty, and must have at least 1 and at most 3"),
        ({"gammas": [1, 2, 3, 4]}, "gammas has 4 entries, and must have at least 1 and at most 3"),
        ({"gammas": [0.1, 1, 1.0]}, "gammas has 1.0 twice"),
        ({"seeds": 0}, "seeds = 0 must be at least 1"),
        ({"seeds": 1.5}, "seeds = 1.5 is float"),
        ({"gama": 0.1}, "gama is not a parameter of this notebook, which has n, x, name"),
        ({"STEPS": 3}, "STEPS is not a parameter"),
        ({"_steps": 3}, "_steps is not a parameter"),
        ({"seed_list": {"a": 1}}, "seed_list is not a parameter"),
        ({"nothing": None}, "nothing is not a parameter"),
    ],
)
def test_refuses(changes, sentence):
    with pytest.raises(ValueError, match=sentence) as refused:
        check(given(**changes), **ALLOWED)
    is_quoted = changes.keys() & {"quick", "x", "gammas"} and "'" in repr([*changes.values()])
    assert ("Give typed values" in str(refused.value)) == bool(is_quoted)


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("ROTVQ_DATA", "/nowhere/at/all", "ROTVQ_DATA is '/nowhere/at/all', which is no folder"),
        ("ROTVQ_DATA", "", "ROTVQ_DATA is empty"),
        ("ROTVQ_DTA", "/x", "unknown environment variable ROTVQ_DTA: the folder of the data is named by ROTVQ_DATA"),
        ("ROTVQ_RECORDS", "mine", "unknown environment variable ROTVQ_RECORDS"),
    ],
)
def test_an_environment_that_points_nowhere_is_refused(name, value, said, monkeypatch):
    monkeypatch.delenv("ROTVQ_DATA", raising=False)
    check(given(), **ALLOWED)
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=re.escape(said)):
        check(given(), **ALLOWED)


def test_all_faults_are_named_at_once():
    with pytest.raises(ValueError, match="n = 0.*name = 'x'"):
        check(given(n=0, name="x"), **ALLOWED)


def test_a_dictionary_is_held_to_the_types_of_its_keys_and_values():
    values = {"__annotations__": {"arms": dict[str, dict]}}
    check(values | {"arms": {"a": {"gamma": 1}}}, arms=lambda value, _: None)
    found = (
        ([], "arms = .* is list, and must be dict.str, dict"),
        ({"b": {}, "a": 1}, r"arms\['a'\] = 1 is int, and must be dict"),
        ({1: {}}, "a key of arms = 1 is int, and must be str"),
    )
    for wrong, words in found:
        with pytest.raises(ValueError, match=words):
            check(values | {"arms": wrong}, arms=lambda value, _: None)


def test_what_may_be_none_is_named_by_what_it_else_is():
    values = {"__annotations__": {"rates": list[float] | None, "steps": int | None}, "steps": None}
    check(values | {"rates": None}, rates=(0, 1), steps=(1, 9))
    with pytest.raises(ValueError, match=r"^rates\[1\] = '1e-3' is str, and must be float, and YAML takes 1e-3"):
        check(values | {"rates": [0.1, "1e-3"]}, rates=(0, 1), steps=(1, 9))
    with pytest.raises(ValueError, match="^steps = 2.0 is float, and must be int$"):
        check(values | {"rates": None, "steps": 2.0}, rates=(0, 1), steps=(1, 9))


def test_a_notebook_that_is_wrong_itself_is_an_error_of_another_kind():
    with pytest.raises(TypeError, match="not annotated in the parameters cell: steps"):
        check(given(), steps=(1, 2), **ALLOWED)
    with pytest.raises(TypeError, match="say in the check cell what these may be: n, x, name"):
        check(given())


def test_annotations_may_be_strings():
    values = {"__annotations__": {"n": "int", "gammas": "list[float]", "quick": "bool"}, "n": 1, "gammas": [1]}
    allowed = {"n": (0, 5), "gammas": (0, 9)}
    check(values | {"quick": True}, **allowed)
    with pytest.raises(ValueError, match="n = '1'"):
        check(values | {"quick": True, "n": "1"}, **allowed)


# the rules of the book


def fault(name: str, value, **others) -> str | None:
    """What the book's rule says of a value of a parameter, None if nothing."""
    kind = type(value)
    values = {"__annotations__": {name: kind}, name: value}
    try:
        # a value of another parameter may matter, such as the engine of a device
        parameters.check(values | {"__annotations__": {name: kind} | {n: type(v) for n, v in others.items()}} | others)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "name, values",
    {
        "engine": ["", "serial", "processes:2", "shard:0/3", "shard:2/3:processes:2"],
        "device": ["cpu"],
        "data": ["", "fashion-mnist", "photographs"],
        "estimators": [["ste"], ["rotation", "ste", "zero"]],
        "steps": [1, 10**9],
        "seeds": [1, 100],
        "seed": [0, 2**32 - 1],
        "gammas": [[1e-6, 1, 1e6]],
        "records": ["", "."],
        "cap": [0.0, 1000.0],
    }.items(),
)
def test_the_book_takes(name, values):
    for value in values:
        assert fault(name, value) is None, value


REFUSED = [
    ("engine", "processes:0", "with N from 1"),
    ("engine", "processes:1000000", "at most .* are useful here"),
    ("engine", "processes:two", "unknown engine 'processes:two'"),
    ("engine", "shard:3/3", "I from 0 to OF - 1"),
    ("engine", "ray:nan", "GPUS from 0"),
    ("engine", "ray:-1", "GPUS from 0"),
    ("engine", "Serial", "unknown engine"),
    ("device", "cuda:99", "'cuda:99' is not there: one of cpu"),
    ("device", "meta", "must be cpu, cuda, cuda:1, ..."),
    ("device", "", "must be cpu"),
    ("device", "cpu:x", "must be cpu"),
    ("device", "gpu", "must be cpu"),
    ("device", "cpu:1", "must be cpu"),
    ("data", "mnist", "data must be one of fashion-mnist"),
    ("data", "imagefolder:/nowhere", "is not there: looked for"),
    ("data", "arrays:nowhere.npy", "is not there: looked for"),
    ("data", "arrays:nowhere.csv", "data must be one of"),
    ("estimators", ["ste", "ste"], "has 'ste' twice"),
    ("estimators", ["stee"], "'stee'.*one of ste, rotation"),
    ("gammas", [1, 1.0], "has 1.0 twice"),
    ("mixes", [0.5, 0.5000000001], "has 0.5 and 0.5000000001, which a page names alike, '0.5'"),
    ("rates", [0.001, 0.001000001, 0.0010000011], "has 0.001 and 0.001000001, which a page names alike"),
    ("rivals", ["FSQ", "fsq"], "has 'FSQ' and 'fsq', which a page names alike"),
    ("gammas", [], "is empty"),
    ("gammas", [1e300], "at most 1000000"),
    ("rates", [0.0], "at least 1e-09"),
    ("rates", [0.1, 0.2], "has 2 entries, and must have at least 3 and at most 16"),
    ("rates", list(np.geomspace(1e-5, 1, 17)), "has 17 entries"),
    ("seeds", 101, "at least 1 and at most 100"),
    ("seed", 10**20, "at most 4294967295"),
    ("seed", -1, "at least 0"),
    ("steps", 10**12, "at most 1000000000"),
    ("live_steps", 5001, "at most 5000"),
    ("cap", -1.0, "at least 0"),
    ("cap", math.inf, "finite"),
    ("records", "/dev/null", "must be a folder"),
    ("records", "nowhere/at/all", "a new one in a folder that is there"),
    ("records", "a\0b", "must be a folder"),
    ("records", " ", "must be a folder"),
    ("records", "mine ", "must be a folder"),
    ("records", "x" * 5000, "no name of a folder"),
    ("records", "~nobody-of-this-name/runs", "no name of a folder"),
]


@pytest.mark.parametrize("name, value, words", REFUSED, ids=[f"{name} {value!r:.25}" for name, value, _ in REFUSED])
def test_the_book_refuses(name, value, words):
    said = fault(name, value)
    assert said and re.search(words, said) and said.startswith(name), said


def test_a_device_may_be_elsewhere():
    pytest.importorskip("ray")
    assert fault("device", "cuda", engine="ray:0.5") is None
    assert "must be cpu" in fault("device", "gpu", engine="ray:0.5")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "no right to write" in fault("records", str(tmp_path / "new"))
    assert fault("records", str(tmp_path)) is None, "what is there may hold all that is needed"


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_parameter_of_a_notebook_is_held_to_something(name):
    """None takes all of these: a type lets through what is of another kind, a rule what nobody can mean."""
    nonsense = ["no such name", [], {}, math.inf, math.nan, -(10**30), 10**30, b"", [math.nan], [10**30], [[]], [None]]
    for parameter in parameters_of(name):
        for value in nonsense:
            if (parameter, value) in [("records", "no such name"), ("cells", {}), ("common", {})]:
                continue  # a new folder; no conditions; no fields
            with pytest.raises(ValueError, match=rf"\b{parameter}\b"):
                check_cell(name, {parameter: value})


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_lists_of_a_notebook_take_nothing_twice(name):
    for parameter, values in lists_of(name).items():
        with pytest.raises(ValueError, match=f"{parameter} has .* twice"):
            check_cell(name, {parameter: [*values, values[0]]})


def lists_of(name) -> dict[str, list]:
    found = check_cell(name, {})
    return {parameter: found[parameter] for parameter in parameters_of(name) if isinstance(found[parameter], list)}


def test_rules_are_of_parameters_that_notebooks_have():
    used = {parameter for name in SCRIPTS for parameter in parameters_of(name)}
    assert set(RULES) <= used


# what was injected


@pytest.fixture
def shell(monkeypatch):
    """An IPython that has run no cell."""
    monkeypatch.setattr(InteractiveShell, "_instance", None)
    shell = InteractiveShell.instance()
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)
    yield shell
    shell.history_manager.end_session() if shell.history_manager else None
    InteractiveShell.clear_instance()


PARAMETERS, CHECK = "steps: int = 3", "from rotvq.page import parameters\nparameters.check(globals(), steps=(1, 9))"


@pytest.mark.parametrize(
    "cells, unknown",
    [
        (["# Parameters\nsteps = 4"], None),
        (["# Parameters\nsteps = 4\nSTEPS = 5"], "STEPS"),
        (["# Parameters\n_steps = 4"], "_steps"),
        (["# Parameters\nseed_list = {'a': 1}\n"], "seed_list"),
        (["# Parameters\na, b = 1, 2"], "a"),
        (["extra = []"], "extra"),
        (["import math", "%pwd"], None),
    ],
)
def test_a_check_cell_sees_what_was_assigned_before_it(shell, cells, unknown):
    for cell in (PARAMETERS, *cells):
        assert shell.run_cell(cell, store_history=True).success
    ran = shell.run_cell(CHECK, store_history=True)
    assert (f"{unknown} is not a parameter" in str(ran.error_in_exec)) if unknown else ran.success


def test_a_check_cell_runs_again_after_the_notebook(shell):
    for cell in (PARAMETERS, CHECK, "result = 5", PARAMETERS, CHECK):
        assert shell.run_cell(cell, store_history=True).success
    assert not shell.run_cell("steps: int = 0", store_history=True).error_in_exec
    assert "steps = 0 must be at least 1" in str(shell.run_cell(CHECK, store_history=True).error_in_exec)


DECLARED = "from typing import Optional\nsteps: int = 3  # of each run\nrates: Optional[list[float]] = None"


@pytest.mark.parametrize(
    "injected, named",
    [
        ("steps = 4", "steps = 4"),
        ("rates = [0.1, 0.2, 0.3]", "rates = [0.1, 0.2, 0.3]"),
        ("rates = [0.1, 0.2, 0.3]\nsteps = 9", "steps = 9, rates = [0.1, 0.2, 0.3]"),
        ("steps = 3", ""),
        ("", ""),
    ],
)
def test_a_page_says_first_that_it_was_run_with_values_of_a_reader(shell, monkeypatch, injected, named):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    check = "from rotvq.page import parameters\nparameters.check(globals(), steps=(1, 9))"
    for cell in (DECLARED, f"# Parameters\n{injected}", check):
        assert shell.run_cell(cell, store_history=True).success
    said = [data["text/plain"] for data in shown if "text/html" in data]
    assert said == [f"{parameters.BANNER}: {named}. {parameters.OF_THE_BOOK}"] * bool(named)


def test_a_number_in_words_is_advised_only_where_a_fraction_may_stand():
    for kind, said in {float: "write 1.0e+3", int: "Give typed values"}.items():
        with pytest.raises(ValueError) as refused:
            check({"__annotations__": {"gamma": kind}, "gamma": "1e3"})
        assert said in str(refused.value) and ("1.0e" in str(refused.value)) is (kind is float)
