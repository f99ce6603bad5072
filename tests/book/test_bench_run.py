"""The loops that are timed are the loops that train, and a record is one file."""

import dataclasses

import pytest
import torch

from book.bench import run as run_bench
from book.bench.run import LOOPS, LoopCase, image_batches, make_step
from book.bench.timing import ratio
from rotvq.__main__ import main
from rotvq.runs.records import RecordError, read_record, write_record
from rotvq.training import images
from rotvq.training.train import train

SMALL = LoopCase(data="fashion-mnist-mini", dim=8, codebook_size=16, batch=4, steps=5, block=1)


def losses(name, steps=SMALL.steps):
    step = make_step(LOOPS[name], SMALL)
    return [step().item() for _ in range(steps)]


def test_the_loop_that_is_timed_is_that_of_training():
    assert losses("rotvq") == train(SMALL.config)["curve"]["first"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler uses old parts of torch
@pytest.mark.parametrize("name", ["contiguous", "unfused", "compiled", "bfloat16"])
def test_a_speed_up_changes_no_result(name):
    """To the precision of the arithmetic; bfloat16 has 8 bits, which is why it stands behind no claim."""
    tolerance = 3e-2 if name == "bfloat16" else 1e-4
    torch.testing.assert_close(losses(name), losses("rotvq"), rtol=tolerance, atol=0)


@pytest.mark.parametrize("name", ["library", "library_gradient", "library_here", "plain", "loader"])
def test_the_other_loops_step(name):
    """Another loss on every batch: the weights and the batches move."""
    found = losses(name, 4)
    assert all(0 < loss < 10 for loss in found) and len(set(found)) == 4


@pytest.mark.parametrize("name", ["rotvq", "loader"])
def test_both_ways_to_batches_give_whole_epochs_of_training_images(name):
    case = dataclasses.replace(SMALL, batch=1000)
    data = images.load(case.data)
    found = image_batches(LOOPS[name], case.config, data, torch.device("cpu"))
    epoch = torch.cat([next(found), next(found)]).flatten(1)
    assert sorted(epoch.sum(1).tolist()) == pytest.approx(sorted(data.normalise(data.train).flatten(1).sum(1).tolist()))


def test_a_loop_differs_from_ours_in_what_its_name_says():
    ours = dataclasses.asdict(LOOPS["rotvq"])
    differing = {n: {k for k, v in dataclasses.asdict(loop).items() if v != ours[k]} for n, loop in LOOPS.items()}
    assert differing.pop("library") == differing.pop("library_gradient") == {"quantizer", *run_bench.PLAIN}
    assert differing.pop("plain") == set(run_bench.PLAIN)
    assert differing == {
        "rotvq": set(),
        "library_here": {"quantizer"},
        "loader": {"in_memory"},
        "contiguous": {"channels_last"},
        "unfused": {"fused"},
        "compiled": {"compiled"},
        "bfloat16": {"dtype"},
    }


@pytest.fixture
def alone(monkeypatch):
    """No processes: they have a test of their own."""
    monkeypatch.setattr(run_bench, "together", lambda case, rounds: {"two runs": [1.0]})


def test_a_case_is_measured_once(tmp_path, alone):
    case = dataclasses.replace(SMALL, loops=("rotvq", "plain"), steps=2)
    found = run_bench.record(case, tmp_path, rounds=2, budget=0.0)
    assert run_bench.record(case, tmp_path) == found and [p.stem for p in tmp_path.iterdir()] == [case.id]
    result = found["result"]
    assert {len(times) for times in result["seconds"].values()} == {2}
    assert all(min(times) > 0 for times in [*result["seconds"].values(), result["run"], result["first"].values()])
    assert ratio(result["seconds"], "plain", "rotvq").median > 0
    assert len(found["provenance"]["load"]) == 2

    path = tmp_path / f"{case.id}.json"
    whole = path.read_text()
    path.write_text(whole.replace('"steps": 2', '"steps": 3'))
    with pytest.raises(RecordError, match=f"{path} has been altered"):
        run_bench.record(case, tmp_path)
    path.write_text(whole)
    write_record(path, {**read_record(path), "schema": "throughput-0"})
    with pytest.raises(RecordError, match=f"{path} is not that record"):
        run_bench.record(case, tmp_path)


def test_runs_share_a_machine_in_the_ways_that_the_case_names():
    found = run_bench.together(dataclasses.replace(SMALL, shared=((2, 1), (1, 1))), rounds=1)
    assert {way: len(times) for way, times in found.items()} == {"2 x 1": 1, "1 x 1": 1}
    assert all(min(times) > 0 for times in found.values())


def test_a_gpu_is_asked_how_many_runs_it_takes():
    assert [runs for runs, _ in run_bench.loop_case("standard", "cuda").shared] == [1, 2, 4, 8, 16]
    assert not any(LOOPS[name].compiled for name in run_bench.loop_case("smoke").loops)


def test_verify_trains_no_record_of_times(tmp_path, capsys, alone):
    run_bench.record(dataclasses.replace(SMALL, loops=("rotvq",), steps=1), tmp_path / "23_scale", 2, 0.0)
    assert main(["verify", "--sample", "1", "--records", str(tmp_path)]) == 2
    assert "there is no record" in capsys.readouterr().err
