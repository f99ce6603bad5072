"""The table of where the question was asked: what it compares is planned, and its words follow the intervals."""

from dataclasses import asdict, replace

import pytest

from book.systems import asked, codec, runs
from book.systems.asked import ASKED, word
from rotvq.analysis.stats import ratio


@pytest.mark.parametrize("one", ASKED, ids=lambda one: f"{one.page}, {one.where}")
def test_what_is_compared_is_planned_on_fresh_seeds(one):
    planned = set(one.experiment.cases())
    for arm, against in one.compared.values():
        assert arm != against and arm.seed == against.seed
        assert {replace(case, seed=seed) for case in (arm, against) for seed in runs.CONFIRM} <= planned


@pytest.mark.parametrize("one", ASKED, ids=lambda one: f"{one.page}, {one.where}")
def test_its_page_is_a_chapter_of_these_systems(one):
    assert one.page in runs.CHAPTERS


def test_a_ratio_is_that_of_the_records_that_both_have(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "stores_folder", lambda: tmp_path)
    one = next(one for one in ASKED if one.experiment is codec.EXPERIMENT)
    name, (arm, against) = next(iter(one.compared.items()))
    assert one.pairs()[name] is None

    def put(case, mse):
        found = {"id": runs.case_id(case), "config": asdict(case), "result": {"test_mse": mse}, "provenance": {}}
        folder = runs.store(one.experiment)
        folder.mkdir(exist_ok=True)
        runs.write_record(folder / f"{found['id']}.json", found)

    for seed, mse in ((100, 1.0), (101, 2.0), (102, 4.0)):
        put(replace(arm, seed=seed), mse)
    for seed, mse in ((100, 2.0), (101, 4.0)):
        put(replace(against, seed=seed), mse)
    found = one.pairs()[name]
    assert (found.mean, found.n) == (pytest.approx(0.5), 2)


def test_words_follow_the_interval():
    assert word(ratio([1.0, 1.1], [1.1, 1.0])) == "no difference shown"
    assert word(ratio([1.0, 1.1, 1.2], [2.0, 2.2, 2.5])) == "lower"
    assert word(ratio([2.0, 2.2, 2.5], [1.0, 1.1, 1.2])) == "higher"
    assert word(None) == "not run"


def test_the_table_has_a_row_a_condition_and_names_a_place_once():
    found = asked.table()
    assert len(found) == sum(len(one.compared) for one in ASKED)
    assert [name for name in found.index if name] == [one.where for one in ASKED]
