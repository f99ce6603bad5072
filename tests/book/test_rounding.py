"""What rounding does: the same runs before and after are compared, and nothing is said where nothing can be."""

import math

import pytest
from samples import ARMS, CELLS, CONFIGS, error, store

from book.chapters import rounding
from rotvq.analysis import stats
from rotvq.analysis.study import Runs, Study
from rotvq.runs.grids import Block

ROTATION = [config for config in CONFIGS if config.estimator == "rotation"]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Runs whose test MSE was a tenth higher before, but for seed 0, where it was half."""
    monkeypatch.setattr(rounding, "stores_folder", lambda: tmp_path / "records")
    lines = [f"{c.id},{error(c, 2000) * (0.5 if c.seed == 0 else 1.1)}" for c in ROTATION]
    (tmp_path / "rounding.csv").write_text("\n".join(["# a remark", "id,test_mse", *lines]))
    return Runs(CONFIGS, store(tmp_path / "records"))


def test_a_ratio_with_the_runs_of_before(runs):
    study = Study(runs, Block(ARMS, CELLS))
    fresh = [config.seed for config in study.members["rotation", "k-means"] if config.seed >= 100]
    ste = study.values("STE", "k-means", "test_mse", fresh=True)
    before = [1.1 * study.values("rotation", "k-means", "test_mse", fresh=True)[seed] for seed in fresh]
    found = rounding.before_rounding_changed(study, "k-means")
    assert found.n == 10 and found.mean == pytest.approx(stats.ratio(before, ste.tolist()).mean)
    assert rounding.before_rounding_changed(study, "uniform") is None, "no fresh seeds"


def test_what_rounding_does(runs):
    found = rounding.rounded(runs)
    assert found["runs"] == len(ROTATION) == 20 and found["pairs"] == 3
    assert found["change"] == f"{100 * (math.exp(math.log(1.1)) - 1):.1f} %" == "10.0 %"
    moved = math.exp(abs(math.log(0.5) + 4 * math.log(1.1)) / 5)  # of both explored ratios; the fresh one by a tenth
    assert found["moved"] == f"{100 * (moved - 1):.1f} %" == "6.4 %"
    assert float(found["seeds"].split()[0]) < 5, "noise of a percent"


def test_without_the_file_nothing_is_compared(runs, tmp_path):
    (tmp_path / "rounding.csv").unlink()
    assert set(rounding.rounded(runs).values()) == {"not compared"}
    assert rounding.before_rounding_changed(Study(runs, Block(ARMS, CELLS)), "k-means") is None
