"""What an experiment page calls: when it trains and when it only reads, and what it glues."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from samples import store

from book.chapters.hypotheses import judge, lower
from rotvq.analysis import stats
from rotvq.analysis.study import Study
from rotvq.page import Page, figures, page
from rotvq.runs import scheduler
from rotvq.runs.grids import CHAPTERS, Block, Chapter, vary
from rotvq.runs.records import Records

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
    monkeypatch.setattr(page, "store", lambda chapter, folder: Records(folder or tmp_path / "committed"))
    trained = []

    def run(configs, records, engine, device):
        trained.extend((c.seed, c.steps) for c in records.missing(configs))
        return iter(())

    monkeypatch.setattr(scheduler, "run", run)
    monkeypatch.setattr(scheduler, "estimate", lambda configs, records: 60.0 * len(configs))
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
        ({"gamma": 1.0, "data": ""}, [(0, 3), (1, 3), (100, 3), (0, 8), (1, 8)]),
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
    found = page.cost(page.load_or_train("test"))
    assert not trained and found["coverage"] == "none of 5 planned runs"
    assert found["core-hours"] == found["diverged"] == 0 and found["cost"] == "none of 5 planned runs."


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


def test_tables_show_their_cells_whole_also_before_anything_is_loaded():
    with pd.option_context("display.max_colwidth", 50):
        made()
        assert "x" * 200 in pd.DataFrame({"": ["x" * 200]})._repr_html_()


def test_a_run_that_fails_stops_the_page(committed, said, monkeypatch):
    failed = [(config, scheduler.Failure(OSError("no space"))) for config in GRID.configs()]
    monkeypatch.setattr(scheduler, "run", lambda *_, **__: iter(failed))
    with pytest.raises(RuntimeError, match="failed: OSError: no space"):
        page.load_or_train("test")


@pytest.mark.parametrize("cap, minutes", [(None, 61), (0.1, 7), (2.5, 151)])
def test_nothing_is_trained_over_the_cap(committed, said, monkeypatch, cap, minutes):
    """The cap is the chapter's, an hour, or the given one; the five runs take some minutes more."""
    monkeypatch.setattr(scheduler, "estimate", lambda configs, records: 60.0 * minutes * len(configs) / 5)
    words = rf"5 of 5 runs have no record in .*committed and take about .*, over the cap of {cap or 1:g} core-hours"
    with pytest.raises(ValueError, match=words) as refused:
        page.load_or_train("test", cap=cap)
    assert not committed[1]
    allowed = float(str(refused.value).split("cap: ")[1].split(" ")[0])
    assert minutes / 60 <= allowed < minutes / 60 + 0.1, "the sentence says what lets it start"
    page.load_or_train("test", cap=allowed)
    assert len(committed[1]) == 5


def test_a_cap_is_no_matter_where_all_is_there(committed, said):
    store(committed[0], GRID.configs())
    assert page.load_or_train("test", engine="serial", cap=0.0).coverage == "all 5 planned runs"


def test_a_page_says_how_far_the_training_is(committed, said, monkeypatch):
    lines = []

    class Handle:
        def update(self, data, raw):
            lines.append(data["text/plain"])

    def display(data, raw, display_id=None):
        lines.append(data.get("text/plain"))
        return Handle() if display_id else None

    monkeypatch.setattr(figures, "display", display)
    monkeypatch.setattr(scheduler, "run", lambda *_, **__: iter([(config, {}) for config in GRID.configs()[1:]]))
    store(committed[0], GRID.configs()[:1])
    page.load_or_train("test", engine="serial")
    first, *rest = [line for line in lines if line]
    assert first.startswith("4 of 5 runs have no record in ") and first.endswith(
        "take about 4 minutes of one core, of a cap of 60 minutes."
    )
    assert [line.split(". ")[1].split(",")[0].strip(".") for line in rest] == [
        f"{done} trained" for done in (1, 2, 3, 4)
    ]
    assert "left" in rest[-2] and "left" not in rest[-1]


def test_data_of_ones_own_is_rehearsed_before_a_run_is_trained(committed, said, tmp_path):
    np.save(tmp_path / "few.npy", np.zeros((30, 28, 28), np.uint8))
    with pytest.raises(
        ValueError, match=r"a run with data arrays:.*few.npy.* cannot be trained: batch is 32: .* 24 im"
    ):
        page.load_or_train("test", data=f"arrays:{tmp_path / 'few.npy'}")
    assert not committed[1]
    np.save(tmp_path / "many.npy", np.zeros((400, 28, 28), np.uint8))
    page.load_or_train("test", data=f"arrays:{tmp_path / 'many.npy'}")
    assert len(committed[1]) == 5


def test_other_blocks_are_another_grid(committed, said):
    folder, trained = committed
    store(folder, GRID.configs())
    one = made()
    one.blocks["explore"] = one.block("explore", arms=TWO)
    runs = one.load()
    assert not runs.published and sorted(trained) == [(0, 3), (1, 3)]
    assert set(one.study("explore").arms) == {"STE", "zero"}
    assert made().load().published, "of another page nothing has changed"


# a page


TYPES = {"profile": str, "steps": int | None, "seeds": int | None, "engine": str, "device": str, "records": str}
TYPES |= {"cap": float | None, "data": str}
VALUES = {"profile": "standard", "steps": None, "seeds": None, "engine": "", "device": "cpu", "records": ""}
VALUES |= {"cap": None, "data": ""}


def made(**changes):
    """A page of the chapter `test`, as its notebook makes it."""
    return Page("test", {"__annotations__": TYPES, **VALUES, **changes})


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"profile": "quick"}, "one of smoke, standard, full"),
        ({"seeds": 0}, "seeds = 0 must be at least 1"),
        ({"cap": -1.0}, "cap = -1.0 must be at least 0"),
        ({"steps": "ten"}, "steps = 'ten' is str"),
        ({"gama": 1.0}, "gama is not a parameter"),
    ],
)
def test_a_page_refuses_what_its_notebook_cannot_mean(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        made(**wrong)


def test_a_notebook_may_allow_other_values_than_usual():
    values = {"__annotations__": {"steps": int, "seed": int}, "steps": 10, "seed": 0}
    Page("00", values)
    with pytest.raises(ValueError, match="steps = 10 must be at least 20.*seed = 0 must be one of 3, 4, 5"):
        Page("00", values, steps=(20, None), seed=(3, 4, 5))


def test_a_page_loads_its_chapter_with_its_parameters(committed, said):
    folder, trained = committed
    store(folder, GRID.configs())
    first = made()
    assert first.load() is first.runs and first.runs.published and not trained
    assert said["coverage"] == "all 5 planned runs" and said["cost"].startswith("all 5 planned runs: 5.00 core-hours")
    other = made(steps=4, seeds=2)
    assert {(c.steps, c.seed) for c in other.load(gamma=2.0).planned} == {(4, 0), (4, 1)} and len(trained) == 2
    assert {c.gamma for c in other.runs.planned} == {2.0}
    assert made().load("10_ste_vs_rotation").published, "the runs of another chapter"


def test_a_page_studies_blocks_by_name(committed, said):
    store(committed[0], GRID.configs())
    one = made()
    one.load()
    assert one.study("explore", "confirm").seeds(True) == [100]
    assert one.study(one.block("long")).last == 8 and one.block("long", seeds=[7]).seeds == [7]


def test_say_names_and_words(said):
    pair = stats.ratio([1, 1], [2, 2])
    one = made()
    one.say("mse", {("rotation", "k-means × 0.1"): pair, ("rotation", "uniform 1/K"): None, "n": 3})
    one.say("", {"short": "2,000"})
    one.say("alone", pair)
    assert said == {
        "mse-rotation-k-means-0.1": "−50.0 % (95 % CI −50.0 to −50.0, n = 2)",
        "mse-rotation-uniform-1-k": "not run",
        "mse-n": 3,
        "short": "2,000",
        "alone": "−50.0 % (95 % CI −50.0 to −50.0, n = 2)",
    }


def test_say_refuses_two_values_of_one_name(said):
    with pytest.raises(ValueError, match="two of these have one name"):
        made().say("mse", {"a b": 1, "a-b": 2})
    assert not said


def test_show_describes_what_matplotlib_drew(said):
    fig, _ = plt.subplots()
    made().show("fig-a", fig, "An empty figure.")
    made().show("fig-b", said["fig-a"])
    assert said["fig-b"] is said["fig-a"] and said["fig-a"]._repr_mimebundle_()["text/plain"] == "An empty figure."
    with pytest.raises(ValueError, match="alt is empty"):
        made().show("fig-c", plt.figure())
    plt.close("all")


def test_holds_names_every_sentence_that_does_not_hold(committed, said):
    store(committed[0], GRID.configs())
    one = made()
    one.load()

    @one.holds
    def true():
        yield "One is one.", True

    with pytest.raises(AssertionError, match="Two is three. | What is open is no support.$") as raised:

        @one.holds
        def false():
            yield "One is one.", np.bool_(True), True
            yield "Two is three.", True, False
            yield "What is open is no support.", None

    assert "One is one." not in str(raised.value)


@pytest.mark.parametrize(
    "conditions", [(), ([False],), (True, (x for x in [False]))], ids=["none", "list", "generator"]
)
def test_a_sentence_needs_conditions_that_can_fail(committed, said, conditions):
    """A list and an iterator are true whatever is in them."""
    store(committed[0], GRID.configs())
    one = made()
    one.load()
    with pytest.raises(ValueError, match="needs conditions .* It is so."):

        @one.holds
        def nothing():
            yield "It is so.", *conditions


def test_sentences_are_about_the_published_grid_alone(committed, said):
    store(committed[0], GRID.configs())
    one = made(seeds=2)
    one.load()
    assert not one.runs.published

    @one.holds
    def never_called():
        yield "A sentence about a run that is not here.", {}["uniform"]


def test_hypotheses_are_a_table(said):
    pair = stats.ratio([1, 1], [2, 2])
    found = made().hypotheses({"1. lower": judge(pair, lower), "2. by hand": (None, "not run")})
    assert found.to_dict("index") == {
        "1. lower": {"measured": "0.5 (0.5 to 0.5), n = 2", "outcome": "held"},
        "2. by hand": {"measured": "", "outcome": "not run"},
    }


@pytest.mark.parametrize(
    "profile, words", [("smoke", ["smoke run: no verdict"] * 2), ("standard", ["held", "not run"])]
)
def test_a_smoke_run_decides_no_hypothesis(said, profile, words):
    rows = {"1. lower": judge(stats.ratio([1, 1], [2, 2]), lower), "2. by hand": (None, "not run")}
    assert made(profile=profile).hypotheses(rows).outcome.tolist() == words


def test_the_runs_of_a_page_know_that_they_are_a_smoke_run(committed, said):
    store(committed[0], GRID.configs())
    assert [made(profile=profile).load().smoke for profile in ("standard", "smoke")] == [False, True]


def test_cost_says_what_is_shown(committed, said):
    folder, _ = committed
    configs = GRID.configs()
    store(folder, configs[:3], diverged=configs[:1])
    found = page.cost(page.load_or_train("test"))
    assert found["runs"] == 3 and found["diverged"] == 1 and found["core-hours"] == 3.0
    assert found["seconds-per-run"] == 3600
    assert (found["explored"], found["confirmed"], found["steps"]) == ("0–1", "100", "3")
    for words in ("3 of 5 planned runs", "3.00 core-hours", " 3600 seconds", "3 unverified;", "1 run diverged;"):
        assert words in found["cost"], words


@pytest.mark.parametrize("chapter", CHAPTERS)
@pytest.mark.parametrize("profile", ["smoke", "standard", "full"])
def test_every_planned_run_of_a_chapter_has_a_place_in_a_study_of_its_blocks(
    chapter, profile, tmp_path, said, monkeypatch
):
    """Whatever a profile changes (steps, sizes, warm-ups): arms and cells find the runs that they name."""
    monkeypatch.setattr(scheduler, "run", lambda *_, **__: iter(()))
    runs = page.load_or_train(chapter, profile, records=str(tmp_path), cap=1e9)
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


def test_the_same_arms_in_another_order_are_another_page(committed, said, monkeypatch):
    """Its sentences name the first arm as the reference."""
    both = Chapter(1.0, {"explore": Block(TWO, {"": {}}, [0, 1], SMALL | {"steps": 3})})
    monkeypatch.setitem(page.CHAPTERS, "test", both)
    store(committed[0], both.configs())
    one, other = made(), made()
    other.change(arms=dict(reversed(TWO.items())))
    assert one.load().published and not other.load().published and not committed[1]
    assert list(other.study("explore").arms) == ["zero", "STE"]
    other.drop("explore")
    assert other.blocks == {} and list(one.blocks) == ["explore"]


# lists of a reader in a smoke run


def test_a_smoke_run_has_every_combination_of_a_list_that_a_reader_gives(committed, said, monkeypatch):
    cells = {"x": {"lr": 0.1}, "y": {"lr": 0.2}}
    blocks = {"sizes": Block(TWO, cells, [0], {}), "other": Block(TWO, {"u": {"gamma": 3.0}, "v": {"gamma": 4.0}}, [0])}
    monkeypatch.setitem(page.CHAPTERS, "test", Chapter(9.0, blocks))
    monkeypatch.setattr(page.rehearsal, "rehearse", lambda *_: None)
    types = TYPES | {"codebook_sizes": list[int]}
    one = Page("test", {"__annotations__": types, **VALUES, "profile": "smoke", "codebook_sizes": [128, 1024]})
    one.change("sizes", arms=vary(TWO, "{}, K = {}", codebook_size=[128, 1024]))
    planned = one.load().planned
    found = {(c.estimator, c.codebook_size, c.init_latents, c.lr) for c in planned if c.lr != 1e-3}
    assert found == {(e, k, m, lr) for e in ("ste", "zero") for k, m in ((128, 512), (1024, 1024)) for lr in (0.1, 0.2)}
    thin = {(c.estimator, c.codebook_size, c.gamma) for c in planned if c.lr == 1e-3}
    assert thin == {("ste", 64, 3.0), ("zero", 64, 3.0), ("ste", 64, 4.0)}, "of the chapter's own each is used once"
    study = one.study("sizes")
    assert all(
        [(c.codebook_size, c.seed) for c in configs] == [(int(arm.split("= ")[1]), 0), (int(arm.split("= ")[1]), 1)]
        for (arm, _), configs in study.planned.items()
    )
