"""The runs of the systems beyond the VQ-VAE: cases, records, resuming, and the command."""

import inspect
import json
import shutil
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from PIL import Image

from book.systems import page, runs
from book.systems.__main__ import main
from rotvq.runs.records import RecordError, read_any, write_record


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


@pytest.fixture
def trained(monkeypatch) -> list:
    """The cases that are trained."""
    cases = []
    monkeypatch.setattr(runs, "_work", lambda experiment, case, folder, device: cases.append(case))
    return cases


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


@pytest.mark.parametrize(
    "words, said",
    [
        (["run", "tox"], "unknown chapter 'tox': one of 30_residual_codec, "),
        (["run", "toy", "--block", "other"], "unknown block 'other': one of 'main'"),
        (["verify", "toy", "--block", ""], "an option has an empty value"),
        (["verify", "toy", "--block", "Main"], "unknown block 'Main': one of 'main'"),
        (["run", "toy", "--engine="], "an option has an empty value"),
        (["run", "toy", "--engine", "serial", "--engine=processes:2"], "--engine is given twice"),
        (["run", "toy", "--dry-run", "--engine", "bogus"], "unknown engine 'bogus': serial, processes:N"),
        (["run", "toy", "--dry"], "unrecognized arguments: --dry"),
        (["verify", "toy"], "there is no record of these runs in "),
        (["verify", "toy", "--sample", "2", "--restamp"], "there is no record of these runs in "),
        (["run", "toy", "--engine", "bogus"], "unknown engine 'bogus': serial, processes:N"),
        (["run", "toy", "--engine", "shard:0/2"], "engine is 'shard:0/2': a system takes serial, processes:N or ray"),
        (["run", "toy", "--sample", "5"], "run has no --sample"),
        (["run", "toy", "--restamp"], "run has no --restamp"),
        (["verify", "toy", "--dry-run"], "verify has no --dry-run"),
        (["verify", "toy", "--engine", "processes:2"], "verify has no --engine"),
        (["run", "toy", "--device", "cuda:99"], "device is 'cuda:99': toy is trained on the CPU alone"),
        (["verify", "toy", "--device", "cuda"], "device is for --sample: nothing else is trained"),
        (["verify", "toy", "--sample", "-1"], "sample is -1: it must be at least 0"),
        (["verify", "toy", "--restamp"], "sample is 0: it must be at least 1"),
        (["run", "toy", "--cap", "nan"], "cap is nan: it must be at least 0"),
        (["run", "toy", "--cap", "0.05"], "over the cap of 0.05 core-hours: --cap 0.1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_command_refuses_in_a_sentence_before_it_trains(words, said, tmp_path, capsys, trained):
    with pytest.raises(SystemExit) as stop:
        main([*words, "--records", str(tmp_path / "new")])
    err = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and said in err[-1] and not trained and not (tmp_path / "new").exists()


def elsewhere(case: Case, device: str) -> dict:
    return {"error": 1.0 if device == "card" else 1.01}


MOVED = replace(EXPERIMENT, train=elsewhere, takes_device=True)


@pytest.fixture
def card(monkeypatch):
    """A device that is there, called card."""
    monkeypatch.setattr(runs, "find", lambda name: MOVED)
    monkeypatch.setattr(runs, "find_device", lambda name: name)
    monkeypatch.setattr(runs.provenance, "kind", lambda device: f"model of the {device}")


@pytest.mark.parametrize("command", [["run"], ["verify", "--sample", "1"]])
@pytest.mark.parametrize("device", ["cuda:99", "meta"])
def test_a_device_that_is_not_there_is_refused_before_training(command, device, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runs, "find", lambda name: replace(MOVED, train=pytest.fail))
    store = tmp_path / "new"
    with pytest.raises(SystemExit):
        main([*command, "toy", "--records", str(store), "--device", device])
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"error: device '{device}' is not there: one of cpu" in said and not store.exists()


def test_what_is_trained_elsewhere_says_so_and_has_the_id_of_its_case(tmp_path, capsys, card):
    given = ["toy", "--records", str(tmp_path), "--device", "card"]
    assert main(["run", *given]) == 0
    made = [runs.record(MOVED, case, tmp_path) for case in MOVED.cases()]
    assert {(one["result"]["error"], one["provenance"]["device"]) for one in made} == {(1.0, "model of the card")}
    assert main(["verify", *given, "--sample", "1"]) == 0 and "agrees" in capsys.readouterr().out
    # sums on a card have no fixed order; on a CPU of another kind than that of the record numbers may differ, too
    assert runs.differences(made[0], {"error": 1.01}, "card") == runs.differences(made[0], {"error": 1.01}) == []
    assert runs.differences(made[0], {"error": 1.2}, "card")


def test_a_page_trains_where_it_is_told(tmp_path, card):
    for device, error in (("card", 1.0), ("cpu", 1.01)):
        shown = page.load(given(device=device, records=str(tmp_path / device)), MOVED)
        assert set(shown.rows().error) == {error}


@pytest.mark.parametrize("place", ["/proc/x", "file", "file/x"])
@pytest.mark.parametrize("engine", ["serial", "processes:2"])
def test_a_store_that_cannot_be_written_is_refused_before_training(place, engine, tmp_path, capsys, trained):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        main(["run", "toy", "--engine", engine, "--records", str(tmp_path / place)])
    assert "error: records " in capsys.readouterr().err and not trained


def test_an_interrupt_says_what_is_kept(tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "_work", interrupted)
    assert main(["run", "toy", "--records", str(tmp_path)]) == 130
    assert capsys.readouterr().err.startswith("interrupted: what has ended is recorded")


def given(**changes) -> SimpleNamespace:
    """A page with these parameters."""
    usual = {"profile": "standard", "seeds": None, "engine": "", "records": "", "cap": None}
    return SimpleNamespace(parameters=usual | changes, say=lambda *_: None)


@dataclass(frozen=True)
class Long:
    steps: int = 100
    prior_steps: int = 10
    seed: int = 0


LONG = replace(EXPERIMENT, blocks={"main": [Long(), Long(seed=1)]}, smoke={"steps": 5, "prior_steps": 1}, seconds=36.0)


@pytest.mark.parametrize(
    "changes, hours", [({}, 0.02), ({"steps": 1000}, 0.2), ({"prior_steps": 10_000}, 20), ({"steps": 1}, 0.02)]
)
def test_more_steps_cost_more(changes, hours):
    assert LONG.hours(LONG.cases(**changes)) == pytest.approx(hours)


@pytest.mark.parametrize(
    "profile, cap, changes",
    [
        ("smoke", 0, {"steps": 1_000_000}),
        ("smoke", None, {"steps": 1_000_000}),
        ("standard", None, {"steps": 10_000}),
        ("standard", 0.01, {"prior_steps": 11}),
    ],
)
def test_a_page_trains_nothing_over_the_cap(profile, cap, changes, tmp_path, trained):
    with pytest.raises(ValueError, match=r"runs? have no record and take about .*over the cap of .*cap: [\d.]+"):
        page.load(given(profile=profile, cap=cap, records=str(tmp_path)), LONG, **changes)
    assert not trained and not list(tmp_path.iterdir())


def test_the_cap_of_a_page_is_for_both_of_its_experiments(tmp_path, trained):
    given_page, second = given(profile="standard", cap=0.03, records=str(tmp_path)), replace(LONG, seconds=72.0)
    with pytest.raises(
        ValueError, match=r"take about .*, and .* for what comes next on the page, over the cap of 0.03"
    ):
        page.load(given_page, LONG, then=second)
    assert not trained
    page.load(given_page, LONG)


def test_a_page_says_how_far_its_runs_are(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(page, "Line", lambda first: lines.append(first) or SimpleNamespace(say=lines.append))
    shown = page.load(given(records=str(tmp_path)), EXPERIMENT)
    assert len(shown.records) == 6 and [line.split(". ")[1:] for line in lines[1:]] == [
        [f"{done} trained."] for done in range(1, 7)
    ]
    assert lines[0] == "6 of 6 runs have no record and take about 6 minutes."


@dataclass(frozen=True)
class Own:
    source: str = "english"
    data: str = "fashion-mnist"
    seed: int = 0


OWN = replace(EXPERIMENT, train=lambda case: {"error": 1.0}, blocks={"main": [Own()]})


@pytest.mark.parametrize("change", ["other", "added", "removed", "renamed"])
def test_other_recordings_are_another_run(change, tmp_path):
    folder, store = tmp_path / "voices", tmp_path / "store"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.wav", "deep/b.wav"):
        (folder / name).write_bytes(name.encode())
    case = Own(source=str(folder))
    ((_, first),) = runs.run(OWN, [case], "serial", store)
    assert first["provenance"]["data"]["source"].startswith(f"{folder}#")
    assert runs.record(OWN, case, store) == first
    if change == "other":
        (folder / "deep" / "b.wav").write_bytes(b"something else")
    if change == "added":
        (folder / "c.wav").write_bytes(b"c")
    if change == "removed":
        (folder / "a.wav").unlink()
    if change == "renamed":
        (folder / "a.wav").rename(folder / "z.wav")
    assert runs.record(OWN, case, store) is None
    ((_, second),) = runs.run(OWN, [case], "serial", store)
    assert first["id"] != second["id"] and len(list(store.iterdir())) == 2


def test_other_pictures_are_another_run_and_what_ships_is_none_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("english", "fashion-mnist", "cats"):
        (tmp_path / name).mkdir()
        for shade in range(40):
            Image.new("L", (8, 8), shade).save(tmp_path / name / f"{shade}.png")
    assert runs.own_data(Own()) == runs.own_data(Case()) == {}
    case = Own(data="imagefolder:cats")
    first = runs.case_id(case)
    assert runs.own_data(case)["data"].startswith("imagefolder:cats#")
    shutil.copy(tmp_path / "cats" / "1.png", tmp_path / "cats" / "2.png")
    assert runs.case_id(case) != first


@pytest.mark.parametrize("index", [1, 2, 5])
def test_a_record_under_the_name_of_another_is_refused(index, tmp_path, capsys):
    cases = EXPERIMENT.cases()
    list(runs.run(EXPERIMENT, cases, "serial", tmp_path))
    first, other = (tmp_path / f"{runs.case_id(cases[i])}.json" for i in (0, index))
    shutil.copy(first, other)
    with pytest.raises(RecordError, match=f"{other} is the record of another run, {first.stem}"):
        runs.record(EXPERIMENT, cases[index], tmp_path)
    with pytest.raises(SystemExit):
        main(["verify", "toy", "--records", str(tmp_path)])
    assert str(other) in capsys.readouterr().err
    with pytest.raises(RecordError, match="another run"):
        read_any(other)


def test_a_record_of_another_case_under_its_name_is_refused(tmp_path):
    ((_, found),) = runs.run(EXPERIMENT, [Case()], "serial", tmp_path)
    write_record(tmp_path / f"{found['id']}.json", found | {"config": {**found["config"], "rate": 0.25}})
    with pytest.raises(RecordError, match="another run"):
        runs.record(EXPERIMENT, Case(), tmp_path)


@pytest.mark.parametrize("made_without, read", [("rate", True), ("seed", False)])
def test_a_field_that_came_after_a_record_is_at_its_default_there(made_without, read, tmp_path):
    case = Case(seed=1)
    ((_, found),) = runs.run(EXPERIMENT, [case], "serial", tmp_path)
    older = {name: value for name, value in found["config"].items() if name != made_without}
    write_record(tmp_path / f"{found['id']}.json", found | {"config": older})
    if read:
        assert runs.record(EXPERIMENT, case, tmp_path) == found
        return
    with pytest.raises(RecordError, match="another run"):
        runs.record(EXPERIMENT, case, tmp_path)


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


@pytest.mark.parametrize("engine", ["serial", "processes:2"])
def test_a_failure_is_named_and_the_others_go_on(engine, tmp_path):
    outcomes = dict(runs.run(EXPERIMENT, [Case(rate=-1.0), Case()], engine, tmp_path))
    assert isinstance(outcomes[Case(rate=-1.0)], ValueError) and outcomes[Case()]["result"] == {"error": 1.0}
