"""Two sets of runs side by side: what differs in their Configs, which arms and seeds meet, and the ratios."""

from __future__ import annotations

import io
import sys

import pytest

from rotvq.__main__ import main
from rotvq.analysis.compare import compare, report, split
from rotvq.runs.records import Records, write_record
from rotvq.training.config import Config


def record(store: Records, *configs: Config, factor: float = 1.0, **provenance) -> None:
    for config in configs:
        mse = factor * (1 + config.seed / 10) * (2 if config.estimator == "ste" else 1)
        final = {"diverged_at": None, "step": 9, "test_mse": mse, "test_psnr": config.seed - 1.0, "test_usage": 0.5}
        final |= {"test_perplexity": 8.0}
        store.put(config, {"final": final}, {"seconds": 10.0 * factor, "torch": "2", "time": "2026", **provenance})


def arm(seeds, **fields) -> list[Config]:
    return [Config(seed=seed, **fields) for seed in seeds]


@pytest.fixture
def stores(tmp_path):
    return Records(tmp_path / "one"), Records(tmp_path / "other")


def places(store):
    return [(store, config) for config in store.all()]


def test_runs_are_paired_where_seeds_meet(stores):
    one, other = stores
    record(one, *arm(range(5)))
    record(other, *arm(range(2, 7), gamma=1.0), factor=3.0, torch="3")
    (found,) = compare(places(one), places(other))
    assert found.differs == {"gamma": (0.25, 1.0)} and found.seeds == [2, 3, 4]
    assert found.pairs("test_mse") == ([1.2, 1.3, 1.4], pytest.approx([3.6, 3.9, 4.2]))
    lines = list(found.lines(["test_mse", "test_psnr", "seconds"]))
    assert lines[0] == "gamma 0.25 → 1.0 (both: estimator rotation, init uniform)"
    assert lines[1] == "  seeds: 3 pairs, 0 of them identical; only before: 0–1, only after: 5–6"
    assert lines[2] == "  made with another torch"
    assert lines[3] == "  test MSE: 1.3 → 3.9, ratio 3 (3 to 3), n = 3"
    assert lines[4] == "  test PSNR, dB: 2 → 2, ratio 1 (1 to 1), n = 3"
    assert lines[5] == "  seconds: 10 → 30, ratio 3 (3 to 3), n = 3"


def test_values_that_are_not_positive_are_compared_by_differences(stores):
    one, other = stores
    record(one, *arm(range(3)))
    record(other, *arm(range(3), lr=0.01))
    (found,) = compare(places(one), places(other))
    assert list(found.lines(["test_psnr"]))[-1] == "  test PSNR, dB: 0 → 0, difference 0 (0 to 0), n = 3"


@pytest.mark.parametrize("metric, words", [("test_mse", "ratio 3"), ("test_psnr", "difference 0")])
def test_one_pair_has_no_interval(stores, metric, words):
    one, other = stores
    record(one, *arm([0]))
    record(other, *arm([0], lr=0.01), factor=3.0)
    (found,) = compare(places(one), places(other))
    assert list(found.lines([metric]))[1].startswith("  seeds: 1 pair, 0 of them identical;")
    assert list(found.lines([metric]))[-1].endswith(f", {words}, n = 1")
    assert not any("inf" in line or "nan" in line for line in report(places(one), places(other), [metric]))


def test_each_arm_meets_the_one_from_which_it_differs_least(stores):
    one, other = stores
    record(one, *arm(range(2), estimator="ste"), *arm(range(2)), *arm(range(2), estimator="zero"))
    record(other, *arm(range(2), estimator="ste", lr=0.01), *arm(range(2), lr=0.01, dim=8))
    pairs = {(a.before[0].estimator, a.after[0].estimator): set(a.differs) for a in compare(places(one), places(other))}
    assert pairs == {("ste", "ste"): {"lr"}, ("rotation", "rotation"): {"lr", "dim"}}


def test_an_arm_that_is_as_far_from_several_meets_all_of_them(stores):
    one, other = stores
    record(one, *arm(range(2), gamma=0.1), *arm(range(2), gamma=0.2))
    record(other, *arm(range(2), gamma=0.3))
    found = compare(places(one), places(other))
    assert [a.differs["gamma"] for a in found] == [(0.1, 0.3), (0.2, 0.3)]


def test_the_same_runs_say_how_many_are_identical_and_what_made_the_others(stores):
    one, other = stores
    record(one, *arm(range(3)), digest="a", device="CPU")
    record(other, *arm(range(2)), digest="b", device="CPU")
    record(other, Config(seed=2), factor=1.5, digest="b", device="CPU")
    (found,) = compare(places(one), places(other))
    lines = list(found.lines([]))
    assert lines == [
        "the same config (both: estimator rotation, init uniform)",
        "  seeds: 3 pairs, 2 of them identical; only before: none, only after: none",
        "  made with another digest",
    ]


def test_no_common_seed_is_said_and_a_diverged_run_is_counted(stores):
    one, other = stores
    record(one, *arm(range(3)))
    record(other, *arm([7], lr=0.1))
    (found,) = compare(places(one), places(other))
    assert list(found.lines(["test_mse"]))[1:] == ["  seeds: no seed is in both; only before: 0–2, only after: 7"]
    record(other, *arm(range(2), lr=0.1))
    other.put(Config(seed=2, lr=0.1), {"final": {"diverged_at": 5}}, {"seconds": 1.0, "torch": "2"})
    (found,) = compare(places(one), places(other))
    assert list(found.lines(["test_mse"]))[-1] == "  test MSE: 1.1 → 1.05, ratio 1 (1 to 1), n = 2, 1 diverged"


AGAINST = {
    "estimator": ({"estimator": "ste"}, 4),
    "two fields": ({"estimator": "ste", "gamma": 1}, 2),
    "a number as text of another type": ({"gamma": 1}, 4),
}


@pytest.mark.parametrize("against, chosen", AGAINST.values(), ids=AGAINST)
def test_one_store_is_split_by_fields(stores, against, chosen):
    one, _ = stores
    for gamma in (0.25, 1.0):
        record(one, *arm(range(2), gamma=gamma), *arm(range(2), gamma=gamma, estimator="ste"))
    first, second = split(one, against)
    assert len(first) == chosen and len(first) + len(second) == 8 and not set(first) & set(second)


def test_two_arms_of_one_store_need_no_word(stores):
    one, _ = stores
    record(one, *arm(range(2)), time="2026-02")
    record(one, *arm(range(2), estimator="ste"), time="2026-01")
    first, second = split(one, {})
    assert {config.estimator for config in first} == {"ste"} and {config.estimator for config in second} == {"rotation"}


@pytest.mark.parametrize(
    "arms, against",
    [
        ([{}, {"gamma": 1.0}, {"gamma": 2.0}], {}),
        ([{}, {"gamma": 1.0}], {"gamma": 3.0}),
        ([{}, {"gamma": 1.0}], {"lr": 1e-3}),
    ],
)
def test_one_store_that_cannot_be_split_says_what_varies(stores, arms, against):
    one, _ = stores
    record(one, *(config for fields in arms for config in arm(range(2), **fields)))
    with pytest.raises(ValueError, match="name the one to compare with, as in --against") as refused:
        split(one, against)
    assert "gamma: " in str(refused.value)


@pytest.mark.parametrize("against", [{}, {"gamma": 3.0}, {"gamma": 0.25}])
def test_one_arm_alone_has_nothing_to_be_compared_with(stores, against):
    record(stores[0], *arm(range(3)))
    with pytest.raises(ValueError, match="holds one arm, which its seeds repeat: name a second folder"):
        split(stores[0], against)


def test_the_command(stores, capsys, tmp_path):
    one, other = stores
    record(one, *arm(range(3), estimator="ste"), *arm(range(3)))
    record(other, *arm(range(3), lr=0.01))
    assert main(["compare", str(one.folder), "--against", "estimator=ste"]) == 0
    out = capsys.readouterr().out
    assert (
        out.startswith("estimator ste → rotation (both: init uniform)\n") and "ratio 0.5 (0.5 to 0.5), n = 3\n" in out
    )
    assert main(["compare", str(one.folder), str(other.folder), "--metrics", "test_mse"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "lr 0.001 → 0.01 (both: estimator rotation, init uniform)" and "usage" not in out
    assert out.splitlines()[-1] == "only before: estimator ste, init uniform; seeds 0–2"


@pytest.mark.parametrize(
    "fields, heading",
    [
        ({"gamma": 1.0}, "gamma 0.25 → 1.0 (both: estimator rotation, init uniform)"),
        ({"init": "kmeans"}, "init uniform → kmeans (both: estimator rotation)"),
        ({"init": "kmeans", "estimator": "ste"}, "estimator rotation → ste, init uniform → kmeans"),
    ],
)
def test_estimator_and_start_are_always_named(stores, fields, heading):
    one, other = stores
    record(one, *arm(range(2)))
    record(other, *arm(range(2), **fields))
    assert compare(places(one), places(other))[0].heading() == heading


def test_what_one_store_alone_has_is_named_and_several_comparisons_end_in_one_table(stores):
    one, other = stores
    record(one, *arm(range(3)), *arm(range(2), estimator="zero"))
    record(other, *arm(range(2)), *arm(range(3), gamma=1.0), factor=2.0)
    lines = list(report(places(one), places(other), ["test_mse", "test_psnr"]))
    assert [line for line in lines if line.startswith("only")] == [
        "only before: estimator zero, init uniform; seeds 0–1",
        "only after: estimator rotation, init uniform, gamma 1.0; seeds 0–2",
    ]
    common, head, *rows = lines[lines.index("") + 1 :]
    assert common == "all: estimator rotation, init uniform"
    assert head.split() == ["pairs", "test", "MSE", "test", "PSNR,", "dB"]
    assert {row.split("  ")[0] for row in rows} == {"the same config", "gamma 0.25 → 1.0"}
    assert all("ratio 2 (2 to 2), n = " in row and len(row) > row.index("difference 0 (0") for row in rows)
    rotations = [place for place in places(one) if place[1].estimator == "rotation"]
    assert "" not in list(report(places(one), rotations, ["test_mse"])), "one comparison needs no table"


REFUSED = [
    (["{one}", "{one}", "--against", "gamma=1"], "against chooses among the runs of one folder"),
    (["{one}", "--against", "gama=1"], "against 'gama=1': it takes FIELD=VALUE with a field of data, model"),
    (["{one}", "--against", "gamma"], "against 'gamma': it takes FIELD=VALUE"),
    (["{one}", "--against", "gamma=much"], "gamma is 'much': it must be a finite number"),
    (["{one}", "--against", "gamma=1", "gamma=2"], "against names a field twice"),
    (["{one}", "--against", "gamma=1", "--against", "gamma=0.25"], "--against is given twice"),
    (["{one}", "--against", "seed=0"], "against 'seed=0': it takes FIELD=VALUE with a field of data, model"),
    (["{one}", "--against", "estimator=STE"], "2 arms in {one}, none with estimator STE, name the one to compare with"),
    (["{one}", "--against", "gamma=.3"], "none with gamma 0.3, name the one to compare with"),
    (["{one}", "--against", "mix=None"], "all with mix None, name the one to compare with"),
    (["{one}", "--against", "clip=(0.5, 2.0)"], "none with clip (0.5, 2.0), name the one"),
    (["{one}", "{one}/../one"], "both folders are"),
    (["{one}", "--metrics", "seconds", "seconds"], "metrics has one twice: leave it out, or name one such as"),
    (["{one}", "{one}/none"], "there is no record in"),
    (["{one}/none"], "there is no record in"),
    (["{one}", "--metrics", "test_mae"], "unknown metric 'test_mae': one of diverged_at, step, test_mse"),
    (["{one}/file"], "records are kept in a folder"),
    (["{one}", "--against", "gamma=1", "--metrics"], "metrics is empty: leave it out, or name one such as test_mse"),
]


@pytest.mark.parametrize("words, said", REFUSED, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_what_cannot_be_compared_is_refused(stores, capsys, words, said):
    one, _ = stores
    record(one, *arm(range(2)), *arm(range(2), gamma=1.0))
    (one.folder / "file").write_text("")
    assert main(["compare", *(word.format(one=one.folder) for word in words)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said.format(one=one.folder) in err and err.count("\n") == 1


@pytest.mark.parametrize("varied", [{"gamma": 1.0}, {"update": "ema"}, {"lr": 1e-3, "codebook_size": 64}])
def test_a_row_of_the_table_names_what_not_every_row_has(stores, varied):
    one, other = stores
    everywhere = {"init": "kmeans", "dim": 8, "batch": 16, "steps": 700, "init_latents": 4096, "data": "photographs"}
    record(one, *arm(range(2), estimator="ste", **everywhere), *arm(range(2), estimator="ste", **everywhere, **varied))
    record(other, *arm(range(2), **everywhere), *arm(range(2), **everywhere, **varied))
    lines = list(report(places(one), places(other), ["test_mse"]))
    common, _, *rows = lines[lines.index("") + 1 :]
    assert all(f"{name} {value}" in common for name, value in everywhere.items())
    said = ", ".join(f"{name} {value}" for name, value in Config(**varied).changed.items())
    expected = {"estimator ste → rotation", f"estimator ste → rotation (both: {said})"}
    assert {row.split("  ")[0] for row in rows} == expected


@pytest.mark.parametrize("schema", ["system-1", "gpu-1", "cost-1"])
def test_records_of_another_kind_are_said_to_be_that(stores, capsys, schema):
    one, other = stores
    write_record(one.folder / "a.json", {"schema": schema, "id": "a", "config": {}, "result": {}, "provenance": {}})
    record(other, *arm(range(2)))
    for folders in ([one.folder], [one.folder, other.folder], [other.folder, one.folder]):
        assert main(["compare", *map(str, folders)]) == 2
        err = capsys.readouterr().err
        assert f"of another kind, {schema!r}" in err and "delete" not in err and err.count("\n") == 1


def test_a_record_without_seconds_has_not_diverged(stores, capsys):
    one, other = stores
    record(one, *arm(range(2)))
    for config in arm(range(2), gamma=1.0):
        other.put(config, one.get(Config(seed=config.seed))["result"], {"torch": "2"})
    words = ["compare", str(one.folder), str(other.folder), "--metrics"]
    assert main([*words, "test_mse"]) == 0 and "diverged" not in capsys.readouterr().out
    assert main([*words, "seconds"]) == 2
    assert "unknown metric 'seconds': one of diverged_at, step, test_mse" in capsys.readouterr().err


def test_an_altered_record_is_not_compared(stores, capsys):
    one, other = stores
    record(one, *arm(range(2)))
    record(other, *arm(range(2), gamma=1.0))
    path = other.path(Config(gamma=1.0))
    path.write_text(path.read_text().replace('"test_mse": 1.0', '"test_mse": 0.5'))
    assert main(["compare", str(one.folder), str(other.folder)]) == 2
    assert f"{path} has been altered" in capsys.readouterr().err


def test_a_file_in_an_encoding_without_arrows_is_written(stores, monkeypatch):
    one, _ = stores
    record(one, *arm(range(2), estimator="ste"), *arm(range(2)))
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(["compare", str(one.folder), "--against", "estimator=ste"]) == 0
    sys.stdout.flush()
    assert written.getvalue().startswith(rb"estimator ste \u2192 rotation (both: init uniform)")
