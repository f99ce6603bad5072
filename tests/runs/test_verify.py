"""Recorded runs are compared with new ones by the rule that applies to the machines."""

from __future__ import annotations

import pytest

from rotvq.runs import code_path, scheduler
from rotvq.runs.records import Records
from rotvq.runs.verify import compare, path_key, recheck_unverified, retrain, sample, spread, summary
from rotvq.training.config import Config

ARM = [Config(seed=seed) for seed in range(3)]


def fake(config: Config, *, device: str, threads: int) -> dict:
    """Losses and metrics that depend on the seed and the estimator alone."""
    seed, other = config.seed, config.estimator != "rotation"
    final = {"test_mse": 1.0 + 0.1 * seed + other, "usage": 0.5, "diverged_at": None}
    curve = {"stops": [{"step": 0, **final}], "trace": [], "first": [2.0 + seed, 1.0 / (seed + 3)]}
    return {"final": final, "curve": curve}


def changed(**final):
    def run(config: Config, **options) -> dict:
        result = fake(config, **options)
        return {**result, "final": {**result["final"], **final}}

    return run


@pytest.fixture
def store(tmp_path):
    found = Records(tmp_path)
    list(scheduler.run([*ARM, *(Config(estimator="ste", seed=seed) for seed in range(2))], found, fn=fake))
    return found


def test_the_same_machine_must_give_the_same_bits(store):
    ((_, verdict),) = retrain([(store, ARM[0])], fn=fake)
    assert verdict == (ARM[0], "identical", [])
    ((_, verdict),) = retrain([(store, ARM[0])], fn=changed(test_mse=1.0 + 2**-52))
    assert verdict.differences == ["final test_mse was 1.0 and is 1.0000000000000002"]
    ((_, verdict),) = retrain([(store, ARM[0])], fn=changed(extra=3))
    assert verdict.differences == ["final extra was None and is 3"]


def test_a_run_that_fails_again_is_a_difference(store):
    def broken(config, **_):
        raise ArithmeticError("no")

    ((_, verdict),) = retrain([(store, ARM[0])], fn=broken)
    assert verdict.differences == ["ArithmeticError: no"]


def test_spread_is_over_the_seeds_of_the_arm(store):
    assert spread(ARM[1], store) == {"test_mse": pytest.approx(0.2), "usage": 0.0}
    assert spread(Config(gamma=7.0), store) == {}


TOLERANCE = [  # what changes in the new result, whether it still agrees; the spread of test_mse is 0.2, of usage 0
    ({}, {}, True),
    ({"test_mse": 1.19}, {}, True),
    ({"test_mse": 1.21}, {}, False),
    ({"test_mse": 0.79}, {}, False),
    ({"usage": 0.504}, {}, True),
    ({"usage": 0.506}, {}, False),
    ({"usage": None}, {}, False),
    ({"diverged_at": 9}, {}, False),
    ({}, {"first": [2.0 * (1 + 9e-5), 1 / 3]}, True),
    ({}, {"first": [2.0 * (1 + 2e-4), 1 / 3]}, False),
    ({}, {"stops": []}, True),
]


@pytest.mark.parametrize("final, curve, agrees", TOLERANCE)
@pytest.mark.parametrize(
    "entry, value, words",
    [
        ("device", "other CPU", "processor"),
        ("instructions", "others", "set of instructions"),
        ("instructions", None, "set of instructions"),  # as in records that do not name them
        ("torch", "9.9", "version of torch"),
        ("threads", 2, "number of threads"),
    ],
)
def test_elsewhere_first_losses_and_the_spread_of_seeds_decide(store, entry, value, words, final, curve, agrees):
    old = store.get(ARM[0])
    result = {"final": {**old["result"]["final"], **final}, "curve": {**old["result"]["curve"], **curve}}
    new = {**old, "result": result, "provenance": {**old["provenance"], entry: value}}
    verdict = compare(old, new, spread(ARM[0], store))
    assert verdict.rule == f"within tolerance on another {words}" and (verdict.differences == []) is agrees


def test_diverging_elsewhere_at_another_step_is_no_difference(store):
    old = store.get(ARM[0])
    runs = [{**old, "result": {**old["result"], "final": {"diverged_at": at}}} for at in (100, 700)]
    runs[1]["provenance"] = {**old["provenance"], "threads": 2}
    assert compare(*runs, {}).differences == []


def age(store, configs):
    for config in configs:
        store.restamp(config, digest="of older code")


def test_one_run_speaks_for_its_code_path_in_every_chapter(store, tmp_path):
    other = Records(tmp_path / "other")
    list(scheduler.run([Config(gamma=9.0)], other, fn=fake))
    age(store, store.all())
    age(other, other.all())
    calls = []

    def counted(config, **options):
        calls.append(config)
        return (changed(test_mse=0.0) if config.estimator == "ste" else fake)(config, **options)

    verdicts = {v.config.estimator: v for _, v in recheck_unverified([store, other], fn=counted)}
    assert len(calls) == 2 and not verdicts["rotation"].differences and verdicts["ste"].differences
    for config in store.all():
        assert store.status(config) == ("stale" if config.estimator == "ste" else "verified")
    assert other.status(Config(gamma=9.0)) == "verified"
    stamp = store.get(ARM[2])["provenance"]
    assert stamp["digest"] == code_path.digest(ARM[2])
    assert stamp["settled"] == f"{verdicts['rotation'].config.id}: identical"
    assert "test_mse was" in store.get(Config(estimator="ste"))["provenance"]["stale"]
    assert list(recheck_unverified([store, other], fn=counted)) == []
    assert summary([store, other]) == "records: 4 verified, 2 stale\nverified: 4 identical"


@pytest.fixture
def reference(store, tmp_path):
    """Short runs by older code on this machine; that code also made the records, on another one."""
    found = Records(tmp_path / "reference")
    list(scheduler.run([Config(steps=7), Config(steps=7, estimator="ste")], found, fn=fake))
    for config in found.all():
        found.restamp(config, commit="0123456789", digest="of older code")
    for config in store.all():
        store.restamp(config, device="other CPU", digest="of older code")
    return found


def test_short_runs_of_the_code_before_settle_records_of_another_machine(store, reference):
    """A difference that only the machine makes does not count; one that the code makes does."""
    short = Config(steps=7)

    def retrained(config, **options):
        return (changed(test_mse=0.0) if config.estimator == "ste" else fake)(config, **options)

    verdicts = {v.config: v for _, v in recheck_unverified([store], "serial", reference, fn=retrained)}
    assert set(verdicts) == set(reference.all())
    for config in store.all():
        assert store.status(config) == ("stale" if config.estimator == "ste" else "verified")
    settled = store.get(ARM[0])["provenance"]["settled"]
    assert settled == f"{short.id}: identical to 0123456 on one machine, 7 steps"


def test_a_reference_decides_no_record_of_other_code_than_its_own(store, reference):
    store.restamp(ARM[1], digest="of still older code")
    list(recheck_unverified([store], "serial", reference, fn=fake))
    assert [store.status(config) for config in ARM] == ["verified", "unverified", "verified"]


def test_a_reference_of_another_machine_is_refused(store, reference):
    for config in reference.all():
        reference.restamp(config, device="other CPU")
    with pytest.raises(ValueError, match="not made here: it could agree only within tolerance on another processor"):
        list(recheck_unverified([store], "serial", reference, fn=fake))
    assert {store.status(config) for config in store.all()} == {"unverified"}


def test_a_record_says_that_it_was_settled_on_another_machine(store):
    for config in ARM[:2]:
        store.restamp(config, device="other CPU", digest="of older code")
    store.restamp(ARM[0], torch="9.9")
    ((_, verdict),) = recheck_unverified([store], fn=fake)
    assert not verdict.differences and verdict.config in ARM[:2]
    others = "processor and version of torch" if verdict.config == ARM[0] else "processor"
    rule = f"within tolerance on another {others}"
    assert verdict.rule == rule
    for config in ARM[:2]:
        assert store.status(config) == "verified"
        assert store.get(config)["provenance"]["settled"] == f"{verdict.config.id}: {rule}"
    assert summary([store]) == f"records: 5 verified\nverified: 3 as trained, 2 {rule}" or (
        summary([store]) == f"records: 5 verified\nverified: 2 {rule}, 3 as trained"
    )


def test_code_paths_differ_by_names_and_options_only():
    assert len({path_key(c) for c in (Config(), Config(seed=1), Config(gamma=2), Config(steps=1), Config(lr=1))}) == 1
    paths = [
        {},
        {"estimator": "ste"},
        {"norm": "batch"},
        {"pretrain_steps": 5},
        {"warmup": 5},
        {"clip": (0, 1)},
        {"mix": 0.5},
        {"weight_decay": 0.1},
        {"update": "ema"},
        {"optimizer": "sgd"},
        {"schedule": "cosine"},
        {"code_lr": 0.5},
        {"project_to": 8},
        {"temperature": 0.5},
        {"revival": "count"},
        {"revival": "count", "revival_at": 3.0},
    ]
    assert len({path_key(Config(**p)) for p in paths}) == len(paths)


def test_samples_are_of_the_given_size_without_stale_ones(store, tmp_path):
    other = Records(tmp_path / "other")
    list(scheduler.run([Config(seed=50)], other, fn=fake))
    store.restamp(ARM[0], stale="differs")
    drawn = sample([store, other], 99)
    assert len(drawn) == 5 and (store, ARM[0]) not in drawn and (other, Config(seed=50)) in drawn
    assert len(sample([store, other], 2)) == 2 and sample([store], 2) == sample([store], 2)
