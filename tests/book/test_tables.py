"""Tables of a study: their rows, what they leave out, and their verdicts."""

import pytest
from samples import ARMS, CELLS, CONFIGS, store

from book.chapters import tables
from rotvq.analysis import stats
from rotvq.analysis.study import Runs, Study
from rotvq.runs.grids import Block, Chapter, expand


@pytest.fixture
def study(tmp_path):
    return Study(Runs(CONFIGS, store(tmp_path)), Block(ARMS, CELLS))


def test_table_has_both_phases_with_their_n(study):
    table = tables.comparisons(study, against="STE")
    assert list(table.columns) == ["STE", "rotation", "ratio, seeds 0–4", "ratio, seeds 100–109"]
    assert table.loc["k-means"].iloc[2].endswith("n = 5") and table.loc["k-means"].iloc[3].endswith("n = 10")
    assert table.loc["uniform"].iloc[3] == ""


def test_rows_of_several_arms_name_cell_and_arm(tmp_path):
    configs = expand(estimator=["ste", "rotation", "zero"], init=["uniform", "kmeans"], seed=[0, 1])
    runs = Runs(configs, store(tmp_path, configs))
    arms = ARMS | {"zero": {"estimator": "zero"}}
    assert tables.comparisons(Study(runs, Block(arms, CELLS)), against="STE").index.tolist() == [
        ("uniform", "rotation"),
        ("uniform", "zero"),
        ("k-means", "rotation"),
        ("k-means", "zero"),
    ]
    assert tables.comparisons(Study(runs, Block(arms, {"": {"init": "uniform"}})), against="STE").index.tolist() == [
        "rotation",
        "zero",
    ]


def test_verdicts_are_of_the_fresh_seeds_and_holm_counts_all_that_were_named(study):
    expected = {("rotation", "k-means"): "lower", ("rotation", "uniform"): "lower"}
    found = tables.verdicts(study, expected, against="STE")
    assert found.verdict.tolist() == ["the opposite", "not run"], "there are no fresh seeds for uniform"
    p = stats.ratio(
        study.values("rotation", "k-means", "test_mse", fresh=True).tolist(),
        study.values("STE", "k-means", "test_mse", fresh=True).tolist(),
    ).p
    assert float(found["Holm p"].iloc[0]) == pytest.approx(2 * p, rel=0.01)


def test_a_confirmation_is_judged_when_all_its_pairs_were_run(tmp_path):
    """Nine pairs would give p = 0.004, and looking after each run would find one in the end."""
    kept = [c for c in CONFIGS if c.seed != 109]
    study = Study(Runs(CONFIGS, store(tmp_path, kept)), Block(ARMS, CELLS))
    found = tables.verdicts(study, {("rotation", "k-means"): "higher"}, against="STE")
    assert found.iloc[0][["p", "Holm p", "verdict"]].tolist() == ["", "", "9 of 10 pairs run"]
    assert found.iloc[0, 1].endswith("n = 9")


def test_five_pairs_settle_nothing(tmp_path):
    configs = [c for c in CONFIGS if c.seed < 100]
    study = Study(Runs(configs, store(tmp_path, configs)), Block(ARMS, CELLS))
    assert tables.verdicts(study, {("rotation", "uniform"): "lower"}, against="STE").verdict.tolist() == ["not settled"]


def test_an_arm_that_always_diverged_has_a_verdict(tmp_path):
    lost = [c for c in CONFIGS if c.estimator == "rotation"]
    study = Study(Runs(CONFIGS, store(tmp_path, diverged=lost)), Block(ARMS, CELLS))
    verdicts = tables.verdicts(study, {("rotation", "k-means"): "lower"}, against="STE")
    assert verdicts.verdict.tolist() == ["the opposite"]


def test_a_smoke_run_has_no_verdict(study):
    study.runs.smoke = True
    found = tables.verdicts(study, {("rotation", "k-means"): "lower", ("rotation", "uniform"): "lower"}, against="STE")
    assert found.verdict.tolist() == ["smoke run: no verdict", "not run"]


@pytest.mark.parametrize("profile, warmed, size", [("standard", 500, 2048), ("smoke", 5, 64)])
def test_the_plan_says_what_the_runs_have(tmp_path, profile, warmed, size):
    cells = {"warm": {"pretrain_steps": 500}, "large": {"codebook_size": 2048}}
    chapter = Chapter(1, {"one": Block(ARMS, cells)})
    runs = Runs(chapter.configs(profile), store(tmp_path, []), expand=lambda b: Chapter(1, {"": b}).configs(profile))
    sets = tables.plan(Study(runs, Block(ARMS, cells))).sets
    assert sets["cell", "warm"] == f"pretrain_steps {warmed}" and sets["cell", "large"] == f"codebook_size {size}"
    assert sets["arm", "STE"] == "estimator ste"


def test_diverged_runs_are_counted(tmp_path):
    lost = [c for c in CONFIGS if c.estimator == "rotation" and c.init == "uniform" and c.seed < 3]
    study = Study(Runs(CONFIGS, store(tmp_path, diverged=lost)), Block(ARMS, CELLS))
    assert tables.comparisons(study, against="STE").iloc[0, -2].endswith("n = 2, 3 diverged")


def test_tables_leave_out_what_was_not_run_and_the_plan_counts_it(tmp_path):
    kept = [c for c in CONFIGS if c.init == "kmeans" and c.seed < 100]
    study = Study(Runs(CONFIGS, store(tmp_path, kept)), Block(ARMS, CELLS))
    assert list(tables.comparisons(study, against="STE").index) == ["k-means"]
    plan = tables.plan(study)
    assert plan.loc[("arm", "STE"), "runs"] == "5 of 20" and plan.loc[("cell", "k-means"), "runs"] == "10 of 30"
    assert plan.loc[("cell", "k-means"), "seeds"] == "0–4, 100–109"


def test_levels_are_means_at_a_step(study):
    levels = tables.levels(study, ["r", "usage"], arms=["STE"], at=1)
    assert levels.to_numpy().tolist() == [["1", "0.5"]] * 2 and list(levels.index) == ["uniform", "k-means"]


def test_ratios_stand_beside_one_another(study):
    table = tables.ratios(study, ["test_mse", "usage"], against="STE", at=500)
    assert list(table.columns) == ["test MSE", "usage of a batch"]
    assert table["usage of a batch"].tolist() == ["1 (1 to 1)"] * 2


# words


@pytest.mark.parametrize(
    "pair, expected, p, word",
    [
        (stats.ratio([1, 1], [2, 2]), "lower", 0.04, "as expected"),
        (stats.ratio([1, 1], [2, 2]), "higher", 0.04, "the opposite"),
        (stats.ratio([1, 1], [2, 2]), "lower", 0.05, "not settled"),
        (stats.ratio([1, None, None], [2, 2, 2]), "higher", 0.04, "as expected"),
        (None, "lower", 1.0, "not run"),
    ],
)
def test_verdict(pair, expected, p, word):
    assert tables.verdict(pair, expected, p) == word


def test_a_verdict_needs_a_direction():
    with pytest.raises(ValueError, match="'less': it must be lower or higher"):
        tables.verdict(None, "less", 1.0)
