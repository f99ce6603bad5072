"""Each notebook: its pair, its parameters, and a short run by papermill into a fresh store, from another directory."""

import asyncio
import contextlib
import json
import math
import os
import subprocess
import sys

import papermill as papermill_itself
import pytest
import yaml
from conftest import ROOT
from few_images import FEW
from notebook_cells import SCRIPTS, check_cell, code_of, parameters_of, tags

from book.press import execute, pair, paths
from rotvq.page import parameters
from rotvq.page.parameters import SHOWN
from rotvq.runs.grids import CHAPTERS

# What each notebook is run with here, besides the smoke profile, few steps and `FEW` images where it has them:
# every path once, in seconds.
STEPS = 5
SMOKE = {
    "00_quickstart": {"steps": 20, "seed": 1},
    "01_missing_derivative": {"K": 6, "seed": 1},
    "02_one_equation": {"degrees": 30.0, "seed": 1},
    "03_rotation": {"dims": [2, 8, 32], "samples": 1000},
    "04_encoder_feels": {"codes_shown": 6},
    "05_balance_law": {"images": 16, "conv_steps": 2, "seeds": 2, "steps": 20},
    "06_collapse": {"codes": 6, "grid": 5},
    "07_bias": {"samples": 1000, "grid": 12},
    "08_convergence": {"steps": 500, "seeds": 2},
    "09_residual": {"dim": 8, "codebook_size": 4, "levels": 4, "latents": 64, "seed": 1},
    "10_ste_vs_rotation": {"estimators": ["rotation", "ste", "zero"], "live_steps": 2},
    "11_initialisation": {"scales": [0.5, 1.0], "gamma": 1.0},
    "12_gamma": {"gammas": [1.0, 0.1, 0.01], "rates": [0.03, 0.01, 0.02]},
    "13_which_part": {"seeds": 1},
    "14_mixtures": {"mixes": [0.9], "warmups": [2]},
    "15_codebook": {"codebook_sizes": [16], "dims": [2, 4]},
    "16_rivals": {"rivals": ["FSQ", "lfq", "gumbel"]},
    "17_balance_law": {"decays": [0.1, 0.0], "live_steps": 5},
    "18_photographs": {"live_steps": 2},
    "20_cost": {"bandwidth": 10.0},
    "21_estimators": {"dim": 3, "angle": 30.0},
    "22_use_it": {"dim": 4, "codebook_size": 16, "seed": 1},
    "23_scale": {"ways": ["serial", "shard"], "ranks": 1, "cards": 4, "utilisation": 0.25},
    "24_conserved": {"steps": 40, "images": 4, "seed": 1},
    "25_drift": {"networks": 1, "pretrain": 5, "images": 32, "slide_steps": 20, "race_steps": 50},
    "26_guarantees": {"cap": 0.3, "steps": 60},
    "27_training_loop": {"dim": 4, "codebook_size": 16, "seed": 1},
    "29_your_experiment": {
        "arms": {"a": {"gamma": [0.1, 1.0]}, "b": {"quantizer": "fsq"}},
        "cells": {"": {"lr": [1e-3, 1e-2]}},
        "common": {"codebook_size": 64},
        "steps": 3,
        "seeds": 2,
    },
    "30_residual_codec": {"live_steps": 2},
    "31_vqgan": {"seeds": 1},
    "36_learned_transform": {"steps": 3},
    "37_sequences": {"prior_steps": 3},
    "40_claims": {"rows": ["A-00"]},
    "43_got_right": {"gamma": 1.0},
    "46_origin": {"starts": 2, "codebook_sizes": [4]},
}
# What of its results shows that it ran with these values, from its glued numbers and the folder of its records; of a
# notebook that trains the runs of a grid, the number of records.
EFFECT = {
    "32_transformer_keys": lambda glued, store: (
        len(list(store.glob("*.json"))) == int(glued["runs"]) + int(glued["timings"]) > 3
    ),
    "34_discrete_actions": lambda glued, store: (
        len(list(store.glob("*.json"))) == int(glued["runs"]) + int(glued["control-runs"]) > 12
    ),
    "00_quickstart": lambda glued, store: glued["steps"] == "20",
    "20_cost": lambda glued, store: len(list(store.glob("*.json"))) == int(glued["cases"]) == 8,
    "23_scale": lambda glued, store: glued["cards"] == "4" and len(list(store.glob("*.json"))) == 3,
    "29_your_experiment": lambda glued, store: len(list(store.glob("*.json"))) == int(glued["runs"]) == 12,
    "27_training_loop": lambda glued, store: glued["numbers"] == "'80'",
    "43_got_right": lambda glued, store: glued["right-gamma"] == "1.0",
}
# Values that its check cell must refuse, with words that the refusal must contain. Wrong types and unknown names are
# tried on every parameter anyway, those of REFUSED_EVERYWHERE on every parameter of that name.
REFUSED_EVERYWHERE = [
    ({"profile": "quick"}, "one of smoke, standard"),
    ({"seeds": 0}, "at least [12]"),
    ({"seed": 10**20}, "at most 4294967295"),
    ({"gamma": math.inf}, "finite"),
    ({"device": "cuda:77"}, "one of cpu"),
    ({"engine": "processes:0"}, "with N from 1"),
    ({"cap": -1.0}, "at least 0"),
    ({"records": "/dev/null/runs"}, "folder"),
    ({"data": "mnist"}, "imagefolder:<path>"),
]
REFUSED = {
    "00_quickstart": [
        ({"steps": "400"}, "steps = '400' is str, and must be int"),
        ({"estimators": ["ste", "other"]}, "'other': one of ste, rotation"),
        ({"gamma": -0.1}, "gamma = -0.1 must be at least 0"),
        ({"init": "none"}, "kmeans"),
    ],
    "01_missing_derivative": [({"K": 1}, "at least 3"), ({"curvature": 0.0}, "at least 0.01")],
    "02_one_equation": [({"degrees": 180.0}, "at most 179")],
    "03_rotation": [
        ({"dims": []}, "empty"),
        ({"dims": [2, 1]}, "dims = 1 must be at least 2"),
        ({"dims": [2, 2]}, "dims has 2 twice"),
    ],
    "04_encoder_feels": [({"codes_shown": 2}, "at least 3")],
    "46_origin": [({"codebook_sizes": [1]}, "at least 2")],
    "06_collapse": [({"decay_W": 0.0}, "at least 0.4")],
    "07_bias": [({"grid": 4}, "at least 8"), ({"y": 11.0}, "at most 10")],
    "09_residual": [({"levels": 2}, "at least 4"), ({"dim": 4}, "at least 8")],
    "10_ste_vs_rotation": [
        ({"profile": "quick"}, "one of smoke, standard, full"),
        ({"estimators": []}, "empty"),
        ({"estimators": ["ste"]}, "at least 2"),
        ({"estimators": ["ste", "ste"]}, "twice"),
    ],
    "11_initialisation": [({"scales": [0.0]}, "at least"), ({"scales": []}, "empty")],
    "12_gamma": [
        ({"gammas": [0.1, 0.1]}, "twice"),
        ({"rates": [-1.0]}, "at least"),
        ({"rates": [1e-3, 1.000001e-3, 0.1]}, "alike"),
    ],
    "14_mixtures": [({"mixes": [1.5]}, "at most 1"), ({"warmups": [0]}, "at least 1")],
    "15_codebook": [({"codebook_sizes": [1]}, "at least 2"), ({"dims": [0]}, "at least 1")],
    "16_rivals": [
        ({"rivals": ["fsq2"]}, "one of the arms 'SimVQ, STE'"),
        ({"rivals": []}, "empty"),
        ({"rivals": ["FSQ", "fsq"]}, "alike"),
    ],
    "17_balance_law": [({"live_steps": 0}, "at least 1"), ({"decays": [0.1]}, "at least 2")],
    "20_cost": [({"dtype": "half"}, "one of float32"), ({"dtype": "bfloat16"}, "one of float32")],
    "21_estimators": [({"dim": 1}, "at least 2"), ({"angle": 270.0}, "at most 180")],
    "22_use_it": [({"codebook_size": 15}, "at least 16"), ({"dim": 3}, "at least 4")],
    "23_scale": [({"ways": ["threads"]}, "one of serial, processes:2"), ({"utilisation": 0.0}, "at least 0.01")],
    "24_conserved": [({"steps": 5}, "at least 20"), ({"rate": 2.0}, "at most 1")],
    "25_drift": [({"networks": 0}, "at least 1")],
    "26_guarantees": [({"cap": 1.0}, "at most 0.99")],
    "27_training_loop": [({"codebook_size": 3}, "at least 4"), ({"dim": 1000}, "at most 128")],
    "29_your_experiment": [
        ({"arms": {"a": {}}}, "at least two"),
        ({"arms": {"a": {"gama": 1}, "b": {}}}, "a sets 'gama'"),
        ({"cells": {"x": {"lr": -1}}}, "lr is -1"),
        ({"cells": {"x": {"gamma": 1}}}, "x sets gamma, which has no effect"),
        ({"arms": {"a": {}, "b": {"mix": 0.5}, "c": {"lr": []}}}, "'c' sets lr to an empty list"),
        ({"cells": {"x": {"lr": []}, "y": {}}}, "'x' sets lr to an empty list"),
        ({"cells": {"x": {"lr": 1.0}, "y": {"lr": 1}}}, "x and y are the same runs"),
        ({"common": {"data": "mnist"}}, "data must be one of"),
        ({"data": "arrays:none.npy"}, "is not there"),
    ],
    "30_residual_codec": [({"live_steps": 0}, "at least 1"), ({"source": "nowhere"}, "is not there")],
    "37_sequences": [({"prior_steps": 1}, "at least 2")],
    "43_got_right": [({"gamma": 0.0}, "at least 0.001")],
    "40_claims": [({"rows": "A"}, "must be list"), ({"rows": ["A", "Z"]}, "'Z' begins no id")],
}


def smoke(name: str) -> dict:
    """The parameters of a notebook's short run."""
    short = {"profile": "smoke"} if "profile" in parameters_of(name) else {}
    short |= {"steps": STEPS} if name in CHAPTERS and "steps" in parameters_of(name) else {}
    return short | SMOKE.get(name, {})


def took_effect(name: str, given: dict, glued: dict[str, str], store) -> bool:
    """Whether the results are those of the short run."""
    trained = [json.loads(path.read_text())["config"] for path in store.glob("*.json")]
    if "data" in given and not all(c["steps"] == given["steps"] and given["data"] in c["data"] for c in trained):
        return False
    if name in EFFECT:
        return EFFECT[name](glued, store)
    return "profile" not in given or len(trained) == int(glued["runs"]) > 0


def refused(name: str) -> list[tuple[dict, str]]:
    """Values that a notebook's check cell refuses, and words of the refusal."""
    parameters = set(parameters_of(name))
    return [case for case in REFUSED_EVERYWHERE if case[0].keys() <= parameters] + REFUSED.get(name, [])


def command(name, folder, parameters) -> tuple[int, str]:
    """The command that the README gives, from `folder`; the executed notebook lies there as out.ipynb."""
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / f"{name}.ipynb"), "out.ipynb", "-y"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "IPYTHONDIR": str(folder / "ipython")}
    command += [yaml.safe_dump(parameters), "--no-progress-bar", "--kernel", "python3"]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    return ran.returncode, ran.stderr


@pytest.fixture(scope="module")
def papermill():
    """The same as `command`, by processes that have their imports; test_press_warm.py compares the two."""
    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        context = execute.PAPERMILL.get(sys.platform, execute.by_command)()
        run = runner.run(context.__aenter__())
        stack.callback(lambda: runner.run(context.__aexit__(None, None, None)))

        async def timed(name, folder, parameters) -> tuple[int, str]:
            return await asyncio.wait_for(run(paths.NOTEBOOKS / f"{name}.ipynb", folder / "out.ipynb", parameters), 300)

        yield lambda *arguments: runner.run(timed(*arguments))


def test_every_notebook_has_a_short_run():
    assert all(smoke(name) and refused(name) for name in SCRIPTS)
    assert {*SMOKE, *EFFECT, *REFUSED} <= set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_pair_agrees_and_holds_no_output(name):
    text = SCRIPTS[name].with_suffix(".ipynb").read_text("utf-8")
    assert text == pair.notebook_text(SCRIPTS[name])
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in json.loads(text)["cells"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_parameters_are_typed_and_checked(name):
    code = code_of(name)
    assert [i for i, cell in enumerate(code) if "parameters" in tags(cell)] == [0]
    assert set(parameters._assigned("".join(code[0]["source"]))) == set(parameters_of(name)), (
        "each parameter has a type"
    )
    notebook = SCRIPTS[name].with_suffix(".ipynb")
    assert list(papermill_itself.inspect_notebook(str(notebook))) == parameters_of(name) != [], "papermill sees each"
    assert execute.parameter_names(SCRIPTS[name]) == set(parameters_of(name))
    check = "".join("".join(code[1]["source"]).split())  # on one line, without spaces
    assert "parameters.check(globals()" in check or f'Page("{name}",globals()' in check


@pytest.mark.parametrize("name", SCRIPTS)
def test_runs_anywhere_with_other_parameters(name, tmp_path, papermill):
    places = {"records": str(tmp_path / "store"), "data": FEW}
    given = smoke(name) | {place: places[place] for place in places if place in parameters_of(name)}
    if name in ("40_claims", "43_got_right"):
        (tmp_path / "store").mkdir()  # it trains nothing that could fill one
    status, errors = papermill(name, tmp_path, given)
    assert status == 0, errors[-3000:]
    cells = json.loads((tmp_path / "out.ipynb").read_text())["cells"]
    injected = next("".join(cell["source"]) for cell in cells if "injected-parameters" in tags(cell))
    assert all(f"{key} = " in injected for key in given)
    assert said(cells, SHOWN).items() >= given.items()
    effect = took_effect(name, given, glued(cells), tmp_path / "store")
    assert effect, "these values were injected, and the results are those of others"
    errors = [out for out in outputs(cells) if out.get("name") == "stderr"]
    assert not errors, "the page would show a warning"


@pytest.mark.parametrize(
    "lists, field, values",
    [
        ({"gammas": [1.0, 0.1, 0.01]}, "gamma", {1.0, 0.1, 0.01}),
        ({"rates": [0.03, 0.01, 0.02]}, "lr", {0.03, 0.01, 0.02}),
    ],
)
def test_chapter_12_runs_a_list_of_ones_own_alone(lists, field, values, tmp_path, papermill):
    given = {"profile": "smoke", "steps": STEPS, "data": FEW, "records": str(tmp_path / "store"), **lists}
    status, errors = papermill("12_gamma", tmp_path, given)
    assert status == 0, errors[-3000:]
    trained = [json.loads(path.read_text())["config"] for path in (tmp_path / "store").glob("*.json")]
    usual = {"gamma": 0.25, "lr": 1e-3}  # of chapter 10, which stands beside
    assert {one[field] for one in trained} == values | {usual[field]} and {one["optimizer"] for one in trained} == {
        "adam"
    }
    assert all(one[other] == usual[other] for one in trained for other in usual if other != field)


def outputs(cells) -> list[dict]:
    return [out for cell in cells for out in cell.get("outputs", [])]


def said(cells, kind):
    return next(out["data"][kind] for out in outputs(cells) if kind in out.get("data", {}))


def glued(cells) -> dict[str, str]:
    """The numbers and words of the text, by name."""
    plain = "application/papermill.record/text/plain"
    found = [out for out in outputs(cells) if plain in out.get("data", {})]
    return {out["metadata"]["scrapbook"]["name"]: "".join(out["data"][plain]) for out in found}


@pytest.mark.parametrize("name", SCRIPTS)
def test_check_cell_takes_what_the_page_is_made_with(name):
    check_cell(name, {})
    check_cell(name, smoke(name))


@pytest.mark.parametrize("name", SCRIPTS)
def test_check_cell_refuses_what_cannot_be(name):
    for wrong, word in refused(name):
        with pytest.raises(ValueError, match=word):
            check_cell(name, wrong)


@pytest.mark.parametrize("name", SCRIPTS)
def test_check_cell_refuses_wrong_types_and_unknown_names(name):
    unknown = [{name: 1} for name in ("no_such_name", "STEPS", "_steps", "seed_list")]
    for wrong in [*unknown, *({parameter: {"a": "dict"}} for parameter in parameters_of(name))]:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            check_cell(name, wrong)


def test_papermill_stops_at_the_check_cell(tmp_path):
    """`-p steps ten` hands over a string; nothing is computed from it, and the last line says what is allowed."""
    name, (wrong, word) = "00_quickstart", refused("00_quickstart")[0]
    status, errors = command(name, tmp_path, wrong)
    assert status != 0
    last = errors.strip().splitlines()[-1]
    assert last.startswith("ValueError") and word in last
    cells = json.loads((tmp_path / "out.ipynb").read_text())["cells"]
    done = [cell for cell in cells if cell["cell_type"] == "code" and cell.get("execution_count")]
    assert len(done) <= 4, "the comment for those who open it alone, the parameters, the injected ones, and the check"
