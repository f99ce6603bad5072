"""Studies: which runs are compared, and what is said of runs that are not there."""

import math

import pytest
from samples import ARMS, CELLS, CONFIGS, error, store

from rotvq.analysis import stats, wording
from rotvq.analysis.study import Runs, Study
from rotvq.runs.grids import Block, expand
from rotvq.runs.records import Records
from rotvq.training.config import Config


@pytest.fixture
def study(tmp_path):
    return Study(Runs(CONFIGS, store(tmp_path)), Block(ARMS, CELLS))


# which runs


def test_explored_and_confirmed_are_never_in_one_interval(study):
    assert (study.seeds(), study.seeds(True)) == ([0, 1, 2, 3, 4], list(range(100, 110)))
    assert [study.pair("rotation", "k-means", against="STE", fresh=fresh).n for fresh in (False, True)] == [5, 10]
    assert study.pair("rotation", "uniform", against="STE", fresh=True) is None
    assert set(study.pairs(against="STE", fresh=True)) == {("rotation", "k-means")}


def test_a_pair_is_that_of_the_seeds_both_have(study):
    found = study.pair("rotation", "k-means", against="STE")
    ratios = [
        error(Config(init="kmeans", seed=s), 2000) / error(Config(estimator="ste", init="kmeans", seed=s), 2000)
        for s in range(5)
    ]
    assert found.differences == pytest.approx(ratios)
    early = study.pair("rotation", "k-means", against="STE", at=500)
    assert early.differences == pytest.approx(ratios), "the synthetic ratio does not depend on the step"
    assert study.mean("STE", "k-means", "test_mse", at=500) == pytest.approx(
        4 * study.mean("STE", "k-means", "test_mse")
    )


def test_seeds_that_one_arm_lacks_leave_the_pair(tmp_path):
    kept = [c for c in CONFIGS if not (c.estimator == "ste" and c.seed == 2)]
    study = Study(Runs(CONFIGS, store(tmp_path, kept)), Block(ARMS, CELLS))
    assert study.pair("rotation", "uniform", against="STE").n == 4


def test_one_reference_for_every_cell(study):
    found = study.pairs(against=("STE", "uniform"))
    assert set(found) == {("STE", "k-means"), ("rotation", "uniform"), ("rotation", "k-means")}
    assert found["STE", "k-means"].mean == pytest.approx(1), "the synthetic STE knows no start"
    assert found["rotation", "k-means"].mean == pytest.approx(1.25, rel=0.05)


def test_arms_may_differ_in_any_fields_and_others_keep_the_default(tmp_path):
    configs = expand({"gamma": [0.25, 1.0]}, {"update": "ema"}, estimator="ste", seed=range(3))
    arms = {"STE": {"estimator": "ste"}, "gamma 1": {"gamma": 1}, "EMA": {"update": "ema"}}
    study = Study(Runs(configs, store(tmp_path, configs)), Block(arms, {"": {}}, base={"estimator": "ste"}))
    for arm, fields in arms.items():
        (wanted,) = {(c.gamma, c.update) for c in study.members[arm, ""]}
        assert wanted == (fields.get("gamma", 0.25), fields.get("update", "gradient"))
    assert [len(found) for found in study.members.values()] == [3, 3, 3]
    assert set(study.pairs(against="STE")) == {("gamma 1", ""), ("EMA", "")}


def test_a_block_with_other_values_is_another_study(tmp_path):
    configs = [*CONFIGS, *expand(init="uniform", estimator="ste", seed=0, steps=8000)]
    runs = Runs(configs, store(tmp_path, configs))
    long = Block(ARMS, CELLS, base={"steps": 8000})
    assert Study(runs, Block(ARMS, CELLS)).seeds() == [0, 1, 2, 3, 4] and Study(runs, long).seeds() == [0]
    assert (Study(runs, Block(ARMS, CELLS)).last, Study(runs, long).last) == (2000, 8000)
    with pytest.raises(ValueError, match="STE, uniform: two runs of seed 0, which differ in steps"):
        Study(runs, Block(ARMS, CELLS), long)


def test_blocks_with_other_arms_are_one_study(tmp_path):
    configs = expand({"estimator": ["ste", "rotation"]}, {"estimator": "zero", "init": "kmeans"}, seed=[0, 1])
    runs = Runs(configs, store(tmp_path, configs))
    study = Study(runs, Block(ARMS, CELLS), Block({"zero": {"estimator": "zero"}}, {"k-means": CELLS["k-means"]}))
    assert list(study.arms) == ["STE", "rotation", "zero"] and len(study.members["zero", "k-means"]) == 2


def test_a_study_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no planned run has these arms and cells: STE, rotation, uniform, k-means"):
        Study(Runs(CONFIGS, Records(tmp_path)), Block(ARMS, CELLS, base={"gamma": 7}))


def test_an_unknown_metric_is_refused(study):
    with pytest.raises(ValueError, match="unknown metric 'test_mes': one of .*test_mse"):
        study.pairs("test_mes", against="STE")


# what is not there


def test_coverage_counts_what_was_run(tmp_path):
    kept = [c for c in CONFIGS if c.init == "kmeans" and c.seed < 100]
    runs = Runs(CONFIGS, store(tmp_path, kept))
    assert runs.coverage == "10 of 40 planned runs; the others were not run"
    study = Study(runs, Block(ARMS, CELLS))
    assert study.pairs(against="STE")["rotation", "uniform"] is None
    assert Study(runs, Block(ARMS, {"uniform": CELLS["uniform"]})).coverage == "none of 10 planned runs"
    assert Study(runs, Block(ARMS, {"k-means": CELLS["k-means"]})).coverage.startswith("10 of 30 planned runs;")


def test_coverage_of_everything(study):
    assert study.runs.coverage == "all 40 planned runs"


def test_diverged_runs_are_counted_and_rank_last(tmp_path):
    lost = [c for c in CONFIGS if c.estimator == "rotation" and c.init == "uniform" and c.seed < 3]
    study = Study(Runs(CONFIGS, store(tmp_path, diverged=lost)), Block(ARMS, CELLS))
    pair = study.pair("rotation", "uniform", against="STE")
    assert (pair.n, pair.diverged, pair.signs.wins, pair.signs.losses) == (2, 3, 2, 3)
    assert study.pair("rotation", "uniform", against="STE", at=500).diverged == 0
    assert study.curve("rotation", "uniform", "test_mse").loc[0].isna().tolist() == [False, True, True]
    assert study.best()["rotation"][1] == "k-means", "a cell in which runs diverged is not the best"
    assert wording.ratio_sentence(pair).endswith("n = 2, 3 diverged)")


def test_an_arm_that_always_diverged_still_counts(tmp_path):
    lost = [c for c in CONFIGS if c.estimator == "rotation"]
    study = Study(Runs(CONFIGS, store(tmp_path, diverged=lost)), Block(ARMS, CELLS))
    pair = study.pair("rotation", "k-means", against="STE", fresh=True)
    assert (pair.n, pair.diverged, pair.p) == (0, 10, 2 / 2**10)


def test_best_is_the_lowest_mean_of_each_arm(study):
    best = study.best()
    assert list(best) == ["rotation", "STE"] and best["rotation"][1] == "uniform"
    for arm, (mean, cell) in best.items():
        assert mean == study.mean(arm, cell, "test_mse") == min(study.mean(arm, c, "test_mse") for c in CELLS)


def test_best_of_some_cells(study):
    assert {arm: cell for arm, (_, cell) in study.best(cells=["k-means"]).items()} == {
        "rotation": "k-means",
        "STE": "k-means",
    }
    assert study.best(cells=[]) == {}


def test_a_mean_is_that_of_the_last_step_or_of_the_one_asked_for(study):
    assert study.mean("STE", "uniform", "r", at=1) == pytest.approx(1, rel=0.01)
    assert study.mean("STE", "uniform", "r") == 3, "without a step the last one"


def test_seconds_are_those_of_the_run(study):
    assert study.values("STE", "uniform", "seconds").tolist() == [3600.0] * 5


# words


def test_words():
    assert wording.ratio_sentence(stats.ratio([1, 1, 1], [2, 2, 2])) == "−50.0 % (95 % CI −50.0 to −50.0, n = 3)"
    assert wording.ratio_sentence(stats.ratio([8.0, 9.0], [1.0, 1.0])).startswith("8.5 times (95 % CI ")
    assert wording.ratio_sentence(stats.ratio([1.1], [1.0])) == "+10.0 % (n = 1)"
    assert wording.ratio_sentence(stats.ratio([math.nan], [1.0])) == "no pair finished (n = 0, 1 diverged)"
    assert wording.ratio_sentence(None) == "not run" and wording.ratio_text(None) == wording.ratio_with_n(None) == ""
    assert wording.seed_ranges([3, 0, 1, 2, 100]) == "0–3, 100"
    assert wording.title("test_relative_error") == "test |z − q|² / Var z"


def test_where_every_run_diverged_the_last_step_is_the_only_stop(tmp_path):
    study = Study(Runs(CONFIGS, store(tmp_path, CONFIGS, diverged=CONFIGS)), Block(ARMS, CELLS))
    assert study.steps == [500]
    early = Study(Runs(CONFIGS, lost(tmp_path / "early")), Block(ARMS, CELLS))
    assert early.steps == [early.last] and early.pair("rotation", "uniform", against="STE", at=early.last).n == 0


def lost(folder) -> Records:
    """Records of runs that diverged before they were evaluated."""
    records = Records(folder)
    for config in CONFIGS:
        curve = {"stops": [], "trace": [{"step": 1, "r": 1.0}]}
        records.put(config, {"final": {"diverged_at": 7}, "curve": curve}, {"seconds": 1.0})
    return records
