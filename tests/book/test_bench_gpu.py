"""The one call on a card, tried on a CPU: its device tests, its order, its limits, its report."""

import dataclasses
import json
import math
import re
import shutil
import time
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import torch
from conftest import ROOT
from notebook_cells import cells_of, code_of
from torch import nn

from book.bench import gpu, gpu_report
from book.bench.__main__ import main
from book.bench.gpu import Plan, Task, device_test, subjects
from rotvq.quantizers.base import Quantized
from rotvq.quantizers.registry import METHODS
from rotvq.quantizers.vector import VectorQuantizer
from rotvq.runs.grids import CHAPTERS, FULL
from rotvq.runs.records import read_record, write_record
from rotvq.training.config import Config

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler uses old parts of torch


@pytest.mark.parametrize("mode", ("float32", "bfloat16", "autocast"))
def test_device_tests_pass_on_a_cpu(mode):
    found = {name: device_test(name, mode, "cpu") for name in subjects()}
    assert set(METHODS) < set(found)
    assert {name: result["why"] for name, result in found.items() if not result["passed"]} == {}


def test_device_tests_of_compiled_and_captured_quantisers():
    assert device_test("EMA, revival", "compiled", "cpu")["passed"]
    assert device_test("vq", "CUDA graph", "cpu") == {"passed": None, "why": "on a GPU only"}


class Wrong(nn.Module):
    """Exact in float64 alone, as a device may be that is wrong in float32."""

    def __init__(self, part, dim, codebook_size, **options):
        super().__init__()
        self.part, self.inner, self.calls = part, VectorQuantizer(dim, codebook_size, update="ema", **options), 0

    def forward(self, x):
        z_q, indices, loss = self.inner(x)
        self.calls += 1
        if x.dtype == torch.float64 or self.calls == 1:
            return Quantized(z_q, indices, loss)
        if self.part == "gradient":
            x.register_hook(lambda g: g * 1.01)
        if self.part == "raises":
            raise RuntimeError("no kernel\nand a long trace")
        value = z_q + 0.01 * z_q.detach() * (self.part == "value")
        return Quantized(value, indices ^ (self.part == "indices"), loss * (1.01 if self.part == "loss" else 1))


@pytest.mark.parametrize("part", ("value", "indices", "loss", "gradient", "raises", "nothing"))
def test_a_device_that_is_wrong_is_found_out(part, monkeypatch):
    monkeypatch.setattr(gpu, "subjects", lambda: {"wrong": lambda *sizes, **more: Wrong(part, *sizes, **more)})
    result = device_test("wrong", "float32", "cpu")
    assert result["passed"] == (part == "nothing")
    assert result["why"] == "RuntimeError: no kernel" if part == "raises" else "of indices equal" in result["why"]


def test_the_slice_is_of_the_full_profile():
    configs = gpu.slice_configs("standard", 30_000)
    assert len(set(configs)) == len(configs) and {c.seed for c in configs[:30]} == {0}
    assert all((c.steps, c.batch) == (FULL["steps"], FULL["batch"]) for c in configs)
    grids = {chapter: set(CHAPTERS[chapter].configs("full")) for chapter in gpu.SLICE}
    for chapter in gpu.SLICE:
        assert any(config in grids[chapter] for config in configs[:4]), chapter
    estimators = {(c.estimator, c.quantizer) for c in configs[:8]}
    assert {("ste", "vq"), ("rotation", "vq")} < estimators and len(estimators) > 2


def test_as_many_steps_as_fit(tmp_path):
    todo = list(gpu.sharing("standard", "cuda"))
    assert gpu._steps_that_fit(tmp_path, todo, 1e9, 8) == 30_000  # whatever a step takes
    assert gpu._steps_that_fit(tmp_path, todo, 100.0, 8) == 1_000  # not known
    for task, per_step in zip(todo, (1e-3, 5e-4)):  # of a second, of any of the runs
        config = json.loads(json.dumps(task.config))
        ((runs, _),) = config["shared"]
        gpu.read_or_measure(tmp_path / task.part, gpu.SCHEMA, config, lambda: {f"{runs} x 1": [per_step]})  # noqa: B023
    want = {30_000 * 8 * 3 * 5e-4 + 1: 30_000, 30_000 * 8 * 3 * 5e-4 - 1: 10_000, 13.0: 1_000, 1.0: 1_000}
    assert {budget: gpu._steps_that_fit(tmp_path, todo, budget, 8) for budget in want} == want


def test_the_order_and_the_size_of_the_plan():
    todo = gpu.plan("standard", "cuda")
    parts = [task.part for task in todo.first]
    assert parts[0] == "card" and parts.index("tests") < parts.index("cost") < parts.index("sharing")
    every = [task for part in todo for task in part]
    paths = {task.path(gpu.Path()) for task in every}
    assert len(paths) == len(every)
    tried = {(task.config["subject"], task.config["mode"]) for task in every if task.part == "tests"}
    everywhere = {(name, mode) for name in subjects() for mode in gpu.MODES if mode != "TF32"}
    assert tried == everywhere | {(name, "TF32") for name in gpu.LOOKED_UP}
    assert {task.config["dtype"] for task in every if task.part == "cost"} == {"float32", "bfloat16"}
    in_time = sum(task.seconds for task in todo.first) + sum(task.seconds for task in todo.captured)
    assert in_time < 1000  # upper bounds, of which most are far from reached


@pytest.fixture
def small(monkeypatch):
    """A card, two tests, a case of cost, a failure, one test apart; and two runs of three steps."""

    def fail():
        raise RuntimeError("out of memory")

    def plan(profile, device):
        whole = small_plan(profile, device)
        tests = [task for task in whole.first if task.config.get("subject") in ("vq", "fsq")]
        tests = [task for task in tests if task.config["mode"] != "compiled"]  # which takes long
        case = next(task for task in whole.first if task.part == "cost" and task.config["kind"] == "step")
        failing = Task("sharing", {"runs": 3}, fail, 0.0)
        quick = [dataclasses.replace(task, seconds=0.0) for task in (whole.first[0], *tests, case)]
        return Plan([*quick, failing], whole.captured[:1], [], [])

    small_plan = gpu.plan
    monkeypatch.setattr(gpu, "plan", plan)


def test_from_nothing_to_a_report_and_on(small, tmp_path, capsys):
    call = ["gpu", "--out", str(tmp_path), "--profile", "smoke", "--device", "cpu", "--minutes"]
    assert main([*call, "0"]) == 0
    said = capsys.readouterr().out
    assert said.count("\nnot run\n") == len(gpu_report.PARTS) and "training: 2 of 2 runs of 3 steps" in said
    assert not list(tmp_path.rglob("*.json"))

    assert main([*call, "2"]) == 0
    said = capsys.readouterr().out
    assert "| vq | passed | passed | passed | passed |" in said and "7 passed, 0 failed, 1 need a GPU" in said
    assert "sharing: {'runs': 3}: RuntimeError: out of memory" in said  # no record: the next call tries it again
    assert "of the roofline" in said and "data fashion-mnist-mini" in said and "training:" not in said
    assert said == (tmp_path / "report.md").read_text() + "\n"
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert {path.parent.name for path in made} == {"card", "tests", "cost", "training"}
    assert all(len(read_record(path)["provenance"]["time"]) > 9 for path in made)
    assert not list(tmp_path.rglob("*.resume"))

    began = time.monotonic()
    assert main([*call, "2"]) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == made
    assert time.monotonic() - began < 10


def test_a_device_that_is_not_there_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["gpu", "--out", str(tmp_path / "out"), "--device", "cuda:99"])
    assert "device 'cuda:99' is not there" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "case, want",
    [
        ({"n": 1000, "d": 10, "k": 100, "dtype": "float32"}, 2e6 / 1e9),  # operations
        ({"n": 1000, "d": 10, "k": 1, "dtype": "float32"}, 4 * 4001 * 10 / 1e8),  # bytes
        ({"n": 1000, "d": 10, "k": 1, "dtype": "bfloat16"}, 2 * 4001 * 10 / 1e8),
    ],
)
def test_the_roofline(case, want):
    assert gpu_report.least_seconds(case, {"float32": 1e9, "bytes": 1e8}) == pytest.approx(want)


# the report, and the section of page 20 that reads the same records


def cost_record(folder, size, seconds, absent=(), kind="step", dtype="float32"):
    """A record in which the arms take these seconds; a size is (n, d, k)."""
    n, d, k = size
    arms = [*seconds, *dict(absent)]
    config = {"kind": kind, "dtype": dtype, "n": n, "d": d, "k": k, "arms": arms}
    times = {arm: [took, 2 * took, 3 * took] for arm, took in seconds.items()}
    path = folder / "cost" / f"{kind}-{dtype}-{n}-{d}-{k}-{'compiled' if 'rotvq_compiled' in seconds else 'eager'}.json"
    write_record(path, {"config": config, "result": {"seconds": times, "absent": dict(absent)}})


@pytest.fixture
def timed(tmp_path):
    """Steps of two sizes, one of them also compiled, in a record of its own; and an estimator."""
    cost_record(tmp_path, (16384, 8, 8192), {"rotvq": 2.0, "library": 6.0})
    cost_record(tmp_path, (16384, 32, 512), {"rotvq": 1.0, "library": 0.5}, {"floor": "of float32 on a CPU only"})
    cost_record(tmp_path, (16384, 32, 512), {"rotvq": 4.0, "rotvq_compiled": 1.0})
    for d, gigabytes in ((1024, 60), (512, 50)):
        absent = {"matrix": f"does not fit: {gigabytes} GB"}
        cost_record(tmp_path, (2**22 // d, d, 1), {"rotvq": 1.0, "textbook": 0.25}, absent, "estimator")
    write_record(tmp_path / "card" / "a.json", {"config": {}, "result": {"float32": 1e9, "bytes": 1e12}})
    return tmp_path


def test_a_size_has_one_row_with_the_compiled_arm_over_the_eager_one_beside_it(timed):
    found = gpu_report.costs(timed)
    assert [cost.size for cost in found] == ["512/16k/32", "8k/16k/8", "512", "1024"]
    first = found[0]
    assert {arm: times.median for arm, times in first.ratios.items()} == {"library": 0.5, "rotvq_compiled": 0.25}
    assert first.ms == 2000 and first.share == pytest.approx(2 * 16384 * 32 * 512 / 1e9 / 2)
    table = gpu_report.cost_table(found[:2], ("rotvq_compiled", "library"), lambda times: f"{times.median:.2f}")
    assert table.head == ["K/N/d", "rotvq, ms", "of the roofline", "rotvq_compiled", "library"]
    assert [[row[0], *row[3:]] for row in table.rows] == [["512/16k/32", "0.25", "0.50"], ["8k/16k/8", "", "3.00"]]


def test_each_kind_has_a_table_with_columns_and_what_was_not_run_is_a_note(timed):
    said = gpu_report.PARTS["Cost of a step"](timed)
    rows = [line for line in said.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 4 and max(line.count("|") for line in rows) == 6
    assert not [line for line in rows if "fit" in line or "floor" in line]
    assert "floor: of float32 on a CPU only, at 1 sizes" in said
    assert "matrix: does not fit, at 2 sizes (50 GB, 60 GB)" in said


def test_pairs_differ_in_the_estimator_alone(tmp_path):
    runs = [("ste", "uniform", 0, 0.2), ("rotation", "uniform", 0, 0.1), ("rotation", "uniform", 1, 0.3)]
    runs += [
        ("ste", "kmeans", 0, None),
        ("rotation", "kmeans", 0, 0.4),
        ("zero", "kmeans", 0, 0.5),
        ("ste", "kmeans", 1, 0.6),
    ]
    for number, (estimator, init, seed, mse) in enumerate(runs):
        config = Config(estimator=estimator, init=init, seed=seed).as_dict()
        final = {"diverged_at": 3} if mse is None else {"test_mse": mse}
        write_record(tmp_path / "training" / f"{number}.json", {"config": config, "result": {"final": final}})
    lost, kept = sorted(gpu_report.pairs(tmp_path))
    assert kept == ("the defaults", 0, 0.2, 0.1)
    assert (lost.what, lost.seed, lost.rotation) == ("init kmeans", 0, 0.4) and math.isnan(lost.ste)


GPU_RECORDS = ROOT / "data" / "records" / "gpu"


def section(records):
    """What the section on GPUs of page 20 says from these records, and its tables."""
    said, shown = {}, []
    page = SimpleNamespace(say=lambda name, value: said.update({name: value}), show=lambda *_: None)
    sources = ["".join(cell["source"]) for cell in code_of("20_cost")]
    (imports,) = (text for text in sources if "from book.bench import gpu_report" in text)
    (start,) = (i for i, text in enumerate(sources) if text.startswith("gpu = stores_folder()"))
    values = {"page": page, "display": shown.append}
    exec(imports, values)
    values |= {"stores_folder": lambda: records, "display": shown.append}
    for text in sources[start:]:
        exec(text, values)
    plt.close("all")
    return said["gpu"], shown[-1].data


def test_the_section_says_what_was_run(tmp_path):
    said, rest = section(GPU_RECORDS.parent)
    text = "".join("".join(cell["source"]) for cell in cells_of("20_cost") if cell["cell_type"] == "markdown")
    used = set(re.findall(r"\{glue:text\}`gpu-([\w-]+)`", text))
    assert used == set(said) and gpu_report.NOT_RUN not in said.values()
    assert rest.count("````{dropdown}") == len(gpu_report.PARTS)
    nothing, rest = section(tmp_path)
    assert used == set(nothing) and set(nothing.values()) == {gpu_report.NOT_RUN}
    assert rest.count("\nnot run\n") == len(gpu_report.PARTS)


def altered(folder, part, change):
    """The committed records of a part, each changed in its result."""
    for path in (GPU_RECORDS / part).glob("*.json"):
        record = {name: value for name, value in read_record(path).items() if name != "sha256"}
        change(record["config"], record["result"])
        write_record(folder / "gpu" / part / path.name, record)


def library_takes(factor, kind):
    def change(config, result):
        if config["kind"] == kind and "library" in result["seconds"]:
            result["seconds"]["library"] = [factor * took for took in result["seconds"]["library"]]

    return change


def compiled_takes(factor):
    def change(config, result):
        if "rotvq_compiled" in result["seconds"]:
            result["seconds"]["rotvq_compiled"] = [factor * took for took in result["seconds"]["rotvq_compiled"]]

    return change


@pytest.mark.parametrize(
    "part, change",
    [
        ("cost", library_takes(0.3, "step")),
        ("cost", library_takes(2.0, "step")),
        ("cost", library_takes(2.0, "training")),
        ("cost", compiled_takes(2.0)),
        ("sharing", lambda config, result: result.update({name: [1 / len(name)] for name in result})),
        ("tests", lambda config, result: result.update(passed=config["subject"] != "vq")),
    ],
    ids=["library faster", "library slower", "library slower in training", "compiled slower", "sharing", "tests"],
)
def test_its_sentences_hold_the_records_to_them(part, change, tmp_path):
    shutil.copytree(GPU_RECORDS, tmp_path / "gpu", ignore=shutil.ignore_patterns(part))
    altered(tmp_path, part, change)
    with pytest.raises(AssertionError):
        section(tmp_path)
