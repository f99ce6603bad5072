"""What an experiment page calls: when it trains and when it only reads, and what it glues."""

import pandas as pd
import pytest
from test_study import store

from rotvq.analysis import stats
from rotvq.analysis.study import Study
from rotvq.page import figures, page
from rotvq.runs.grids import CHAPTERS, Block, Chapter

SMALL = {"data": "fashion-mnist-mini", "codebook_size": 16}
ONE, TWO = {"STE": {"estimator": "ste"}}, {"STE": {"estimator": "ste"}, "zero": {"estimator": "zero"}}
GRID = Chapter(
    1.0,
    {
        "explore": Block(ONE, {"": {}}, [0, 1], SMALL | {"steps": 3}),
        "confirm": Block(ONE, {"": {}}, [100], SMALL | {"steps": 3}),
        "long": Block(ONE, {"": {}}, [0, 1], SMALL | {"steps": 8}),
    },
)


@pytest.fixture
def said(monkeypatch):
    glued = {}
    monkeypatch.setattr("rotvq.page.page.glue", glued.__setitem__)
    monkeypatch.setattr(figures, "display", lambda *_, **__: None)
    return glued


@pytest.fixture
def committed(tmp_path, monkeypatch):
    """A chapter whose committed store is a temporary folder, and the ids of what a page trains."""
    monkeypatch.setitem(page.CHAPTERS, "test", GRID)
    monkeypatch.setattr(page, "store", lambda chapter, folder: page.grid.Records(folder or tmp_path / "committed"))
    trained = []

    def run(configs, records, engine, device):
        trained.extend((c.seed, c.steps) for c in records.missing(configs))
        return iter(())

    monkeypatch.setattr(page.grid, "run", run)
    return tmp_path / "committed", trained


def test_a_published_page_reads_what_there_is(committed, said):
    folder, trained = committed
    store(folder, GRID.configs()[:2])
    runs = page.load_or_train("test")
    assert runs.published and not trained and runs.coverage == "2 of 5 planned runs; the others were not run"
    assert not page.load_or_train("test", seeds=1).published and not trained, "a part of it is only read, too"


@pytest.mark.parametrize(
    "asked, missing",
    [
        ({"engine": "serial"}, [(100, 3), (0, 8), (1, 8)]),
        ({"records": "another"}, [(0, 3), (1, 3), (100, 3), (0, 8), (1, 8)]),
        ({"gamma": 1.0}, [(0, 3), (1, 3), (100, 3), (0, 8), (1, 8)]),
        ({"gamma": None, "steps": 5}, [(0, 5), (1, 5), (100, 5)]),
        ({"seeds": 3}, [(2, 3), (0, 8), (1, 8), (2, 8)]),
    ],
)
def test_anything_else_is_trained(committed, said, asked, missing, tmp_path):
    folder, trained = committed
    store(folder, GRID.configs()[:2])
    if "records" in asked:
        asked = {"records": str(tmp_path / "another")}
    page.load_or_train("test", **asked)
    assert sorted(trained) == sorted(missing)


def test_a_page_without_records_of_its_own_does_not_train_beside_those_of_others(committed, said):
    folder, trained = committed
    store(folder, Block({"zero": {"estimator": "zero"}}, {"": {}}, [7]).configs())
    runs = page.load_or_train("test")
    page.glue_cost(runs)
    assert not trained and said["coverage"] == "none of 5 planned runs"
    assert said["core-hours"] == said["diverged"] == 0


def test_an_empty_store_is_filled(committed, said):
    page.load_or_train("test")
    assert len(committed[1]) == 5


def test_runs_of_another_chapter_join_what_is_planned(committed, said):
    folder, trained = committed
    other = Block({"zero": {"estimator": "zero"}}, {"": {}}, [0], SMALL | {"steps": 3})
    store(folder, GRID.configs() + other.configs())
    runs = page.load_or_train("test", also=[other])
    assert runs.published and not trained and runs.planned == [*GRID.configs(), *other.configs()]
    assert page.load_or_train("test", also=[other], steps=5).planned[-1].steps == 5, (
        "parameters of the page change it, too"
    )


def test_tables_show_their_cells_whole(committed, said):
    with pd.option_context("display.max_colwidth", 50):
        page.load_or_train("test")
        assert "x" * 200 in pd.DataFrame({"": ["x" * 200]})._repr_html_()


def test_a_run_that_fails_stops_the_page(committed, said, monkeypatch):
    failed = [(config, page.grid.Failure(OSError("no space"))) for config in GRID.configs()]
    monkeypatch.setattr(page.grid, "run", lambda *_, **__: iter(failed))
    with pytest.raises(RuntimeError, match="failed: OSError: no space"):
        page.load_or_train("test")


def test_glue_all_names_and_words(said):
    pair = stats.ratio([1, 1], [2, 2])
    page.glue_all("mse", {("rotation", "k-means × 0.1"): pair, ("rotation", "uniform 1/K"): None, "n": 3})
    assert said == {
        "mse-rotation-k-means-0.1": "−50.0 % (95 % CI −50.0 to −50.0, n = 2)",
        "mse-rotation-uniform-1-k": "not run",
        "mse-n": 3,
    }


def test_glue_all_refuses_two_values_of_one_name(said):
    with pytest.raises(ValueError, match="two of these have one name"):
        page.glue_all("mse", {"a b": 1, "a-b": 2})


def test_cost_says_what_is_shown(committed, said):
    folder, _ = committed
    configs = GRID.configs()
    store(folder, configs[:3], diverged=configs[:1])
    page.glue_cost(page.load_or_train("test"))
    assert said["runs"] == 3 and said["diverged"] == 1 and said["core-hours"] == 3.0 and said["seconds-per-run"] == 3600
    assert (said["explored"], said["confirmed"], said["steps"]) == ("0–1", "100", "3")


def test_look_trains_every_arm(said):
    figure = page.show_reconstructions(
        {"STE": {"estimator": "ste"}, "zero": {"estimator": "zero"}}, steps=1, codebook_size=16
    )
    assert figure._repr_mimebundle_()["text/html"].count("<svg") == 3


def test_look_takes_images_in_colour(said):
    figure = page.show_reconstructions(ONE, steps=1, codebook_size=16, source="photographs")
    assert figure._repr_mimebundle_()["text/html"].count("<svg") == 2


@pytest.mark.parametrize("chapter", CHAPTERS)
@pytest.mark.parametrize("profile", ["smoke", "standard", "full"])
def test_every_planned_run_of_a_chapter_has_a_place_in_a_study_of_its_blocks(
    chapter, profile, tmp_path, said, monkeypatch
):
    """Whatever a profile changes (steps, sizes, warm-ups): arms and cells find the runs that they name."""
    monkeypatch.setattr(page.grid, "run", lambda *_, **__: iter(()))
    runs = page.load_or_train(chapter, profile, records=str(tmp_path))
    blocks = CHAPTERS[chapter].blocks.values()
    placed = {c for block in blocks for configs in Study(runs, block).planned.values() for c in configs}
    assert placed == set(runs.planned)


def test_what_a_reader_changes_reaches_the_study(committed, said):
    runs = page.load_or_train("test", gamma=2.0, steps=5, seeds=3, estimator=["ste", "zero"])
    study = Study(runs, Block(TWO, {"": {}}, base=SMALL))
    for arm, fields in TWO.items():
        found = study.planned[arm, ""]
        assert [(c.estimator, c.gamma, c.steps, c.seed) for c in found] == [
            (fields["estimator"], 2.0, 5, s) for s in range(3)
        ]
