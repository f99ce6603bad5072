"""Settings of the chapters: sweeps on common seeds, what each estimator takes of them, names that have a chapter."""

import pytest
from samples import error

from book.chapters import settings
from rotvq.analysis import stats
from rotvq.analysis.study import Runs, Study
from rotvq.runs.grids import CHAPTERS, PAIR, Block, expand
from rotvq.runs.records import Records

CELLS = {f"γ = {x:g}": {"gamma": x} for x in (0.1, 0.25, 1.0, 5.0)}
CONFIGS = [config for cell in CELLS.values() for config in expand(cell, estimator=["ste", "rotation"], seed=[0, 1, 2])]
BEST = {"ste": 1.0, "rotation": 0.25}  # by validation; on test images everything is best at 0.1


def study(folder, configs=CONFIGS) -> Study:
    records = Records(folder)
    for config in configs:
        far = 1 + abs(config.gamma - BEST[config.estimator])
        final = {
            "diverged_at": None,
            "step": 2000,
            "validation_mse": far,
            "test_mse": config.gamma * error(config, 2000),
        }
        records.put(config, {"final": final, "curve": {"stops": [], "trace": []}}, {"seconds": 1.0})
    return Study(Runs(CONFIGS, records), Block(PAIR, CELLS))


def test_each_takes_the_value_that_validation_chooses(tmp_path):
    sweep = study(tmp_path)
    assert settings.choice(sweep) == {"STE": "γ = 1", "rotation": "γ = 0.25"}
    assert settings.choice(sweep, by="test_mse") == {"STE": "γ = 0.1", "rotation": "γ = 0.1"}
    a, b = (sweep.values(*key, "test_mse").tolist() for key in (("rotation", "γ = 0.25"), ("STE", "γ = 1")))
    assert settings.at_own(sweep) == stats.ratio(a, b)


def test_values_that_were_not_run_whole_are_not_chosen(tmp_path):
    part = [c for c in CONFIGS if not (c.gamma == 1 and c.estimator == "ste" and c.seed == 2)]
    sweep = study(tmp_path, part)
    assert settings.whole(sweep) == ["γ = 0.1", "γ = 0.25", "γ = 5"] and settings.choice(sweep)["STE"] == "γ = 0.25"
    few = study(tmp_path / "few", [c for c in CONFIGS if c.gamma < 1])
    assert settings.choice(few) == {} and settings.at_own(few) is None


def test_a_sweep_keeps_the_seeds_at_which_all_was_planned():
    class Page:
        runs = Runs([*CHAPTERS["12_gamma"].configs(), *CHAPTERS["10_ste_vs_rotation"].configs()], Records("nowhere"))

        def study(self, block):
            return Study(self.runs, block)

    sweep = settings.sweep(Page(), "γ", "k-means")
    assert {config.seed for found in sweep.planned.values() for config in found} == {0, 1, 2}
    assert {len(found) for found in sweep.planned.values()} == {3} and len(sweep.planned) == 16


def test_of_a_sweep_that_a_page_leaves_out_nothing_is_shown(tmp_path):
    class Page:
        runs = Runs(CONFIGS, study(tmp_path).runs.records)

    left_out = settings.sweep(Page(), "γ", "uniform 1/K", (0.1, 0.25, 1.0), run=False)
    assert left_out.members == {} and left_out.coverage == "none of 30 planned runs"
    assert settings.choice(left_out) == {} and settings.at_own(left_out) is None


@pytest.mark.parametrize("table", [settings.SETTINGS, settings.STARTS], ids=["settings", "starts"])
def test_every_setting_was_run_by_its_chapter(table):
    for name, (fields, chapter) in table.items():
        places = [{}] if table is settings.STARTS else settings.COLUMNS.values()
        wanted = {config for place in places for config in Block(PAIR, {name: place | fields}, range(5)).configs()}
        assert wanted & set(CHAPTERS[chapter].configs()), name
