"""The benchmark: its clock, its memory, its records, and the peers it measures against."""

import dataclasses
import json
import platform
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

from book.all_statements import all_statements
from book.bench import step as step_bench
from book.bench.peers import floor, quantizers
from book.bench.step import ARMS, StepCase
from book.bench.timing import Ratio, interleave, peak_bytes, ratio, seconds
from rotvq import ESTIMATORS, nearest
from rotvq.runs.records import write_record

COST = ROOT / "data" / "records" / "20_cost"
SMALL = StepCase("step", 300, 8, 50, ("product", "rotvq", "taming"))


def batch(n, d, k):
    generator = torch.Generator().manual_seed(n + d + k)
    return (torch.randn(rows, d, generator=generator) for rows in (n, n, k))


# peers


@pytest.mark.parametrize("threads", (1, 2))
@pytest.mark.parametrize("n, d, k", ((1, 1, 1), (7, 3, 31), (300, 8, 32), (1001, 32, 77), (513, 256, 600)))
def test_the_floor_is_a_lookup_and_a_copy(n, d, k, threads):
    if floor.kernel() is None:
        pytest.skip("no compiler, or no ninja")
    z, g, codes = batch(n, d, k)
    z_q, indices, grad = floor.floor(codes, z, g, threads)
    assert torch.equal(indices, nearest(z, codes))  # random latents: no lead is as small as a rounding
    assert torch.equal(z_q, codes[indices]) and torch.equal(grad, g)


def test_the_floor_gives_ties_to_the_lowest_index():
    if floor.kernel() is None:
        pytest.skip("no compiler, or no ninja")
    z, g, codes = batch(50, 4, 33)
    copies = codes.repeat(3, 1)  # in other lanes and other panels
    assert torch.equal(floor.floor(copies, z, g)[1], nearest(z, codes))


PEERS = {
    "library": (quantizers.Library, (), "rotation"),
    "library_ste": (quantizers.Library, (False,), "ste"),
    "taming": (quantizers.Taming, (), "ste"),
    "matrix": (quantizers.Matrix, (), "rotation"),
    "paper": (quantizers.Paper, (), "rotation"),
    "bare": (quantizers.bare, (), "rotation"),
}


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_is_the_quantiser_it_stands_for(name):
    """Value, indices and gradient agree with ours, up to their epsilons of 1e-6 and roundings of float32."""
    build, arguments, estimator = PEERS[name]
    z, g, codes = batch(200, 8, 40)
    z.requires_grad_()
    z_q, indices, loss = build(codes.clone(), *arguments)(z)
    z_q.backward(g)
    want = nearest(z, codes)
    assert torch.equal(indices, want) and loss.shape == ()
    torch.testing.assert_close(z_q, codes[want], rtol=1e-4, atol=1e-4)
    felt = ESTIMATORS[estimator].pull_back(z.detach(), codes[want], g)
    torch.testing.assert_close(z.grad, felt, rtol=1e-4, atol=1e-4)


def test_the_paper_s_codes_follow_their_latents():
    z, _, codes = batch(500, 4, 10)
    quantizer = quantizers.Paper(codes.clone(), decay=0.0)
    quantizer(z)
    index = nearest(z, codes)
    mean = torch.stack([z[index == k].mean(0) for k in range(10)])
    torch.testing.assert_close(quantizer.codes, mean)


# clock, memory, turns


def test_memory_is_the_peak_of_what_is_held_at_once(capfd):
    x = torch.ones(1000)
    cases = {
        4000: lambda: x + x,
        8000: lambda: (x + x) + x,  # the first sum lives until the second is there
        12000: lambda: [x + x, x + x, x + x],
        40000: lambda: (torch.empty(10_000), None)[1] or x + x,  # freed before the sum
    }
    for want, call in cases.items():
        assert peak_bytes(call) == want
    assert capfd.readouterr().err == ""  # the profiler is silent


def test_memory_inside_a_custom_operator_counts():
    z, _, codes = batch(2000, 8, 512)
    assert 4 * z.numel() < peak_bytes(lambda: nearest(z, codes)) < 2 * 4 * z.numel() + (5 << 20)  # a tile is 4 MiB


@pytest.mark.parametrize("threads", (1, 2))
def test_the_clock_sees_work(threads):
    x = torch.ones(400, 400)
    once, often = ([seconds(lambda n=n: [x @ x for _ in range(n)], "cpu", threads) for _ in range(5)] for n in (1, 50))
    assert 0 < min(once) < min(often)


def test_calls_take_turns_and_each_is_first():
    said = []
    times = interleave(
        {name: lambda name=name: said.append(name) for name in "abc"}, lambda call: call() or 1.0, 4, 0.0
    )
    assert "".join(said) == "abcbcacababc"
    assert times == {name: [1.0] * 4 for name in "abc"}
    assert len(interleave({"a": int}, lambda call: 0.0, 2, 60.0)["a"]) == 41  # a budget does not run for ever


def test_ratios_are_formed_within_a_turn():
    times = {"a": [2.0, 20.0, 3.0, 8.0, 5.0], "b": [1.0, 10.0, 1.0, 2.0, 1.0]}  # 2 2 3 4 5
    assert ratio(times, "a", "b") == Ratio(3.0, 2.0, 4.0)
    assert str(ratio(times, "a", "b")) == "3.00 (2.00–4.00)"


def test_a_step_holds_three_times_the_latents():
    """z_q, q and the gradient to z: no gradient to q is ever whole, and none is formed apart and added later."""
    case = StepCase("step", 16384, 256, 512, ("rotvq",))
    z, g, codes = step_bench.inputs(case, case.n)
    step = ARMS["step"]["rotvq"](case, z, g, codes)
    assert 3 * z.nbytes <= peak_bytes(step) < 3.2 * z.nbytes


PAGES = """
import resource, torch
from book.bench.timing import keep_memory
keep_memory()
for turn in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [torch.ones(2 << 20) for _ in range(8)]  # 8 MiB each
    del held
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
def test_memory_that_was_freed_is_kept():
    """64 MiB are 16,384 pages: the last turn asks for hardly any."""
    asked = subprocess.run([sys.executable, "-c", PAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(asked.stdout) < 500


# cases and records


@pytest.mark.parametrize(
    "kind, size", (("step", (256, 8, 64)), ("step", (1500, 64, 2048)), ("estimator", (256, 16, 1)))
)
def test_memory_is_predicted_from_two_short_batches(kind, size):
    for arm in set(ARMS[kind]) - {"rotvq_compiled"} - set(step_bench.BOUNDED_MEMORY if kind == "step" else ()):
        case = StepCase(kind, *size, (arm,))
        measured = step_bench.measure(case, 2, 0.0)["bytes"]
        if arm in measured:
            assert step_bench.predicted_bytes(case, arm) == pytest.approx(measured[arm], rel=0.02)


def test_what_does_not_fit_is_not_run(monkeypatch):
    monkeypatch.setattr(step_bench, "MEMORY_LIMIT", 1e5)  # taming holds three matrices of 300 x 50 numbers and more
    result = step_bench.measure(SMALL, 2, 0.0)
    assert list(result["absent"]) == ["taming"] and result["absent"]["taming"].startswith("does not fit")
    assert list(result["seconds"]) == list(result["bytes"]) == ["product", "rotvq"]


def test_a_benchmark_goes_on_where_it_stopped(tmp_path, monkeypatch):
    cases = [SMALL, dataclasses.replace(SMALL, n=301)]
    first = step_bench.record(cases[0], tmp_path, 2, 0.0)  # killed after one case
    asked = []
    measure = step_bench.measure
    monkeypatch.setattr(step_bench, "measure", lambda case, *rest: asked.append(case.n) or measure(case, *rest))
    again = [step_bench.record(case, tmp_path, 2, 0.0) for case in cases]
    assert asked == [301] and again[0] == first
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"{case.id}.json" for case in cases)


def test_a_record_of_another_case_is_refused(tmp_path):
    step_bench.record(SMALL, tmp_path, 2, 0.0)
    other = dataclasses.replace(SMALL, n=301)
    (tmp_path / f"{SMALL.id}.json").rename(tmp_path / f"{other.id}.json")
    with pytest.raises(ValueError, match="is not that record"):
        step_bench.record(other, tmp_path, 2, 0.0)


@pytest.mark.parametrize("dtype", ("float32", "bfloat16"))
def test_every_kind_of_case_runs(dtype, tmp_path):
    """In bfloat16 there is no floor, and the bare product is what others are compared with."""
    cases = step_bench.cases("smoke", dtype=dtype)
    for case in cases:
        record = step_bench.record(case, tmp_path, 2, 0.0)
        times = record["result"]["seconds"]
        assert set(times) | set(record["result"]["absent"]) == set(case.arms)
        assert all(len(of) == 2 and min(of) >= 0 for of in times.values())
        if case.kind == "step" and dtype == "bfloat16":
            assert next(iter(times)) == "product" and set(record["result"]["absent"]) == {"floor"}
        assert torch.get_num_threads() == 1 or case.threads == 1


def test_cases_differ_and_a_gpu_has_no_threads():
    for profile in ("smoke", "standard", "full"):
        cases = step_bench.cases(profile)
        assert len({case.id for case in cases}) == len(cases)
        assert {case.threads for case in cases} == {1, 2}
        assert {case.threads for case in step_bench.cases(profile, "cuda")} == {1}
    assert {c.id for c in step_bench.cases("full")} == {c.id for c in step_bench.cases()}
    assert not {c.id for c in step_bench.cases("standard", "cuda")} & {c.id for c in step_bench.cases()}


@pytest.mark.parametrize("path", sorted(COST.glob("*.json")), ids=lambda p: p.stem)
def test_committed_records_are_of_today_s_cases(path):
    """And every case of the page has one."""
    cases = {case.id: case for case in step_bench.cases()}
    record = json.loads(path.read_text())
    assert set(cases) == {p.stem for p in COST.glob("*.json")}
    assert record["config"] == json.loads(json.dumps(dataclasses.asdict(cases[path.stem])))
    assert all(min(times) > 0 for times in record["result"]["seconds"].values())


# what the ledger reads from them


def timed(folder, kind, d, *ratios):
    """A record in which the rotation takes these multiples of the time of STE."""
    config = dataclasses.asdict(StepCase(kind, 49, d, 512, ("ste", "rotvq")))
    result = {"seconds": {"ste": [2.0] * len(ratios), "rotvq": [2 * r for r in ratios]}}
    write_record(folder / "20_cost" / f"{kind}-{d}.json", {"config": config, "result": result})


@pytest.mark.parametrize(
    "ratios, claim, fix",
    [
        ((1.06, 1.07, 1.08), True, False),
        ((1.02, 1.03, 1.04), False, True),
        ((1.2, 1.3, 1.4), False, False),
        ((1.02, 1.06, 1.08), None, False),
    ],
)
def test_a_share_of_training_time_is_inside_outside_or_undecided(ratios, claim, fix, tmp_path):
    words = ("256", "5", "10", "1", "5")
    assert all_statements()["slows_training"].check(*words, records=tmp_path) is None  # nothing is timed yet
    timed(tmp_path, "training", 256, *ratios)
    finding = all_statements()["slows_training"].check(*words, records=tmp_path)
    assert (finding.claim, finding.fix) == (claim, fix)
    assert finding.numbers["percent_more"] == pytest.approx(100 * (ratios[1] - 1))


def test_costs_are_read_from_the_records(tmp_path):
    calls = {"costs_more": (), "no_difference": ("32", "5"), "dearer_above": ("512",)}
    assert all(all_statements()[name].check(*words, records=tmp_path) is None for name, words in calls.items())
    timed(tmp_path, "training", 32, 0.99, 1.0, 1.01)
    timed(tmp_path, "training", 1024, 1.1, 1.11, 1.12)
    timed(tmp_path, "estimator", 32, 3.0, 3.0, 3.0)
    more, none, dearer = (all_statements()[name].check(*words, records=tmp_path) for name, words in calls.items())
    assert more.claim and dearer.claim and (none.claim, none.fix) == (None, True)
    timed(tmp_path, "training", 64, 1.0, 1.08, 1.15)
    timed(tmp_path, "estimator", 64, 0.9, 1.0, 1.1)
    more, none, dearer = (all_statements()[name].check(*words, records=tmp_path) for name, words in calls.items())
    assert not more.claim and not dearer.claim and none.fix is False
