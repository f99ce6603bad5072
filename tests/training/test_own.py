"""Estimators, methods, models and data of one's own: found, part of the identity of a run, refused in a sentence."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from few_images import FEW
from PIL import Image

from rotvq.runs import code_path, scheduler
from rotvq.runs.records import Records
from rotvq.training import files, images, own
from rotvq.training.checks import allowed_names
from rotvq.training.config import Config
from rotvq.training.files import DataError
from rotvq.training.train import fit

SMALL = {"data": FEW, "steps": 3, "dim": 4, "codebook_size": 8}
PARTS = """
from dataclasses import dataclass
from functools import partial

from torch import nn

from rotvq import Estimator, VectorQuantizer
from rotvq.quantizers.registry import METHODS, Method
from rotvq.training.models import VQVAE

Brake = Estimator("rotation", (0.0, 1.0))
Same = Estimator("rotation")


@dataclass(frozen=True)
class Halved(Estimator):
    turn: str = "identity"
    clip: tuple = (0.5, 0.5)


class Plain(nn.Module):
    def forward(self, z, q):
        return z + (q - z).detach()


class Wide(VQVAE):
    def __init__(self, channels, quantizer, norm="none"):
        super().__init__(channels, quantizer, width=4, norm=norm)


class Bound(VectorQuantizer):
    def __init__(self, dim, codebook_size, estimator="ste", *, gamma=0.25, generator=None):
        super().__init__(dim, codebook_size, estimator, gamma=gamma, generator=generator)


class Open(VectorQuantizer):
    pass


narrow = partial(VQVAE, width=2)
simple = Method(VectorQuantizer, "", "", "", fixed=("warmup",))

number, text = 3, "rotation"
class Needs(nn.Module):
    def __init__(self, size): pass
class Sums(nn.Module):
    def forward(self, z, q): return (z + q).sum()
class One(nn.Module):
    def forward(self, z): return z
def function(z, q): return q
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder of parts, in which the process stands: parts.py, and the package mine with its own."""
    (tmp_path / "parts.py").write_text(PARTS)
    name = f"mine_{os.path.basename(tmp_path)}".replace("-", "_")  # a process imports a name once
    (tmp_path / name / "deep").mkdir(parents=True)
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "deep" / "__init__.py").write_text("from .parts import Brake\n")
    (tmp_path / name / "deep" / "parts.py").write_text(PARTS + "from ..helper import factor\n")
    (tmp_path / name / "helper.py").write_text("factor = 2\n")
    monkeypatch.chdir(tmp_path)
    another_process(monkeypatch)
    return tmp_path / name


def another_process(monkeypatch) -> None:
    """What this process imported for parts before does not count, and what it imports from now on is forgotten."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(own, "LENT", set())
    monkeypatch.setattr(own, "IMPORTED", {})
    own._import.cache_clear()
    for name in ("hlp", "near", "far", "beside"):
        monkeypatch.delitem(sys.modules, name, raising=False)


NAMES = ["parts.py:", "./parts.py:", "{package}.deep.parts:", "{package}/deep/parts.py:"]


def test_the_estimators_of_the_documentation_are_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "book" / "reproduce.md").read_text("utf-8")
    files_of = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", text, re.S))
    for name, source in files_of.items():
        Path(name).write_text(source)
    assert set(files_of) == {"brake.py", "through.py"}
    names = ("through.py:Through", "ste", "brake.py:Brake", "rotation")
    mse = {name: fit(Config(**SMALL, estimator=name))[1]["final"]["test_mse"] for name in names}
    assert mse["through.py:Through"] == pytest.approx(mse["ste"], rel=1e-6) != pytest.approx(mse["rotation"], rel=1e-6)
    assert mse["brake.py:Brake"] != mse["rotation"]


KINDS = {"estimator": ["Brake", "Same", "Halved", "Plain"], "quantizer": ["Bound", "Open", "simple"]}
KINDS["model"] = ["Wide", "narrow"]


@pytest.mark.parametrize("place", NAMES[:3])
@pytest.mark.parametrize("field, name", [(field, name) for field in KINDS for name in KINDS[field]])
def test_a_part_is_found_noted_and_trained(folder, place, field, name):
    value = place.format(package=folder.name) + name
    config = Config(**SMALL, **{field: value}).check()
    noted = getattr(config, field)
    assert (
        noted.startswith(f"{value.removeprefix('./')}#")
        and files.PIN.search(noted)
        and Config.from_dict(config.as_dict()) == config
    )
    model, result = fit(config)
    assert result["final"]["diverged_at"] is None and len(result["curve"]["first"]) == 3
    made = {"estimator": model.quantizer.estimator, "quantizer": model.quantizer, "model": model}[field]
    assert type(made).__name__ in (name, "Estimator", "VectorQuantizer", "VQVAE")


def test_a_part_that_is_the_package_s_own_gives_its_run(folder):
    ours, theirs = Config(**SMALL), Config(**SMALL, estimator="parts.py:Same")
    assert fit(ours)[1] == fit(theirs)[1] and ours.id != theirs.id
    assert fit(Config(**SMALL, estimator="parts.py:Brake"))[1] != fit(ours)[1]
    assert fit(Config(**SMALL, quantizer="parts.py:Open", model="parts.py:Wide"))[1] != fit(ours)[1]


def test_a_quantizer_says_by_its_signature_what_may_be_set(folder):
    Config(quantizer="parts.py:Bound", gamma=0.1, estimator="ste").check()
    Config(quantizer="parts.py:Open", clip=(0, 1), update="ema").check()
    for values in ({"clip": (0, 1)}, {"update": "ema"}, {"init": "kmeans"}):
        with pytest.raises(ValueError, match=f"{next(iter(values))} is .*: quantizer 'parts.py:Bound#.*' has its own"):
            Config(quantizer="parts.py:Bound", **values).check()
    with pytest.raises(ValueError, match="warmup is 3: quantizer"):
        Config(quantizer="parts.py:simple", warmup=3).check()


REFUSED = {
    "no such file": ("estimator", "absent.py:Brake", "absent.py is not there"),
    "a folder": ("estimator", "folder.py:Brake", "folder.py is not there"),
    "no such module": (
        "model",
        "absent.module:Wide",
        "cannot be imported .*it takes my_package.my_module:Name or path",
    ),
    "no such module in a package": ("model", "json.absent:Wide", "there is no source of 'json.absent'"),
    "no source": ("estimator", "math:pi", "there is no source of 'math'"),
    "this process": ("estimator", "__main__:Brake", "cannot be imported"),
    "no module": ("estimator", ":Brake", "cannot be imported"),
    "no name": ("estimator", "parts.py:", "cannot be imported"),
    "no such name": ("quantizer", "parts.py:Absent", "parts.py has no 'Absent', it has "),
    "broken": ("estimator", "broken.py:Brake", "cannot be imported .ZeroDivisionError"),
    "no Python": ("estimator", "words.py:Brake", "cannot be imported .SyntaxError"),
    "one that ends the process": ("estimator", "ends.py:Brake", "cannot be imported .SystemExit"),
    "a number": ("estimator", "parts.py:number", "must be an Estimator, or a class of it or of torch.nn.Module"),
    "a name": ("estimator", "parts.py:text", "must be an Estimator"),
    "a function": ("estimator", "parts.py:function", "must be an Estimator"),
    "a quantizer for an estimator": ("estimator", "parts.py:Bound", "cannot be made without arguments"),
    "an estimator that needs arguments": ("estimator", "parts.py:Needs", "cannot be made without arguments"),
    "another call": ("estimator", "parts.py:One", "cannot be called with z and q"),
    "another shape": ("estimator", "parts.py:Sums", r"gives the shape \(\) for z and q of \(2, 3\)"),
    "an estimator for a quantizer": ("quantizer", "parts.py:Brake", "must be a Method, or a class of Quantizer"),
    "a model for a quantizer": ("quantizer", "parts.py:Wide", "must be a Method, or a class of Quantizer"),
    "a module for a model": ("model", "parts.py:Plain", "must be a class of VQVAE, or a functools.partial of one"),
    "a partial of another": ("model", "parts.py:partial", "must be a class of VQVAE"),
    "a field that takes none": ("init", "parts.py:Brake", "unknown init 'parts.py:Brake': one of uniform"),
    "a misspelt name": (
        "estimator",
        "rotatoin",
        "unknown estimator 'rotatoin': one of ste, .*, my_package.my_module:N",
    ),
}


@pytest.mark.parametrize("field, value, words", REFUSED.values(), ids=REFUSED)
def test_what_is_no_part_is_refused_in_a_sentence(folder, field, value, words):
    (folder.parent / "folder.py").mkdir()
    (folder.parent / "broken.py").write_text("1 / 0\n")
    (folder.parent / "words.py").write_text("these are words\n")
    (folder.parent / "ends.py").write_text("import sys; sys.exit()\n")
    with pytest.raises(ValueError, match=f"{field} '?{value.split(':')[0]}.*{words}|{words}") as refused:
        Config(**{field: value}).check()
    assert "\n" not in str(refused.value) and repr(value)[:-1] in str(refused.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"clip": (0, 1)},
        {"mix": 0.5},
        {"warmup": 3},
        {"centre": "codebook"},
        {"centre_offset": 1.0},
        {"gain": "learned"},
    ],
)
def test_a_module_takes_no_options_of_an_estimator(folder, fields):
    Config(estimator="rotation", **fields).check()
    with pytest.raises(ValueError, match=f"{next(iter(fields))} is .*it goes with an Estimator, which parts.py:Plain"):
        Config(estimator="parts.py:Plain", **fields).check()


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("place", [*NAMES, "{package}.deep:"])
def test_another_source_is_another_run(folder, place):
    def config():
        return Config(estimator=place.format(package=folder.name) + "Brake")

    first = config()
    assert config() == first and config().id == first.id
    (folder.parent / "unrelated.py").write_text("x = 1\n")
    (folder / "unrelated.py").write_text("x = 1\n")
    (folder / "unrelated.txt").write_text("x\n")
    assert config().id == first.id
    source = folder.parent / "parts.py" if "/parts" in f"/{place}" and "deep" not in place else folder / "deep/parts.py"
    rewrite(source, "(0.0, 1.0)", "(0.0, 1.5)")
    second = config()
    assert second.id != first.id and first.estimator.split("#")[0] == second.estimator.split("#")[0]
    with pytest.raises(ValueError, match="has changed since: to run what is there now, ask for '.*Brake'"):
        first.check()
    if "deep" in place and "/" not in place:
        rewrite(folder / "helper.py", "2", "3")
        assert config().id not in (first.id, second.id)
    rewrite(source, "(0.0, 1.5)", "(0.0, 1.0)")
    os.utime(source, (1, 1))
    if "deep" in place and "/" not in place:
        rewrite(folder / "helper.py", "3", "2")
    assert config() == first


def test_what_a_source_imports_from_its_folder_is_part_of_it(folder):
    (folder.parent / "near.py").write_text("import json\nfrom far import bounds\n")
    (folder.parent / "far.py").write_text("bounds = (0.0, 1.0)\n")
    (folder.parent / "lone.py").write_text(
        "from rotvq import Estimator\nimport near\n\nX = Estimator('rotation', near.bounds)\n"
    )
    first = Config(estimator="lone.py:X").check()
    rewrite(folder.parent / "far.py", "1.0", "2.0")
    assert Config(estimator="lone.py:X").id != first.id


# what is executed is what was noted


def two_folders(folder: Path) -> list[str]:
    """An estimator in each of two folders, by the same words, with another helper beside each."""
    for name, bound in (("a", 1.0), ("b", 2.0)):
        (folder.parent / name).mkdir()
        (folder.parent / name / "hlp.py").write_text(f"S = {bound}\n")
        text = "from rotvq import Estimator\nfrom hlp import S\nBrake = Estimator('rotation', (0.0, S))\n"
        (folder.parent / name / "brake.py").write_text(text)
    return ["a/brake.py:Brake", "b/brake.py:Brake"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("here", [False, True])
def test_a_part_imports_what_lies_beside_it_or_is_refused(folder, monkeypatch, order, here):
    values = two_folders(folder)
    if here:  # in the working directory, too
        (folder.parent / "hlp.py").write_text("S = 9.0\n")
    first, second = (Config(estimator=values[i]) for i in order)
    assert first.estimator[-16:] != second.estimator[-16:]
    assert own.estimator(first.check().estimator).clip[1] == order[0] + 1.0
    with pytest.raises(ValueError, match=r"imports hlp from .*hlp.py, and this process has that of .*hlp.py: rename"):
        second.check()
    another_process(monkeypatch)
    assert own.estimator(second.check().estimator).clip[1] == order[1] + 1.0


def test_a_module_that_the_process_has_under_the_name_is_not_taken(folder):
    two_folders(folder)
    (folder.parent / "hlp.py").write_text("S = 9.0\n")
    sys.path.insert(0, str(folder.parent))
    import hlp  # noqa: F401

    with pytest.raises(ValueError, match="imports hlp from .*a/hlp.py, and this process has that of"):
        Config(estimator="a/brake.py:Brake").check()


def test_a_helper_that_two_parts_share_and_that_has_changed_is_not_taken(folder):
    two_folders(folder)
    (folder.parent / "a" / "other.py").write_text((folder.parent / "a" / "brake.py").read_text())
    Config(estimator="a/brake.py:Brake").check()
    Config(estimator="a/other.py:Brake").check()
    (folder.parent / "a" / "third.py").write_text((folder.parent / "a" / "brake.py").read_text())
    rewrite(folder.parent / "a" / "hlp.py", "1.0", "1.5")
    with pytest.raises(
        ValueError, match="imports hlp, which has changed since this process imported it: start another"
    ):
        Config(estimator="a/third.py:Brake").check()


IMPORTS = {
    "a statement": "from hlp import S",
    "inside a function": "def late():\n    from hlp import S\n    return S\nS = late()",
    "import_module": "import importlib\nS = importlib.import_module('hlp').S",
    "import_module by its name": "from importlib import import_module as import_module\nS = import_module('hlp').S",
    "__import__": "S = __import__('hlp').S",
    "through another": "from beside import S",
}


@pytest.mark.parametrize("statement", IMPORTS.values(), ids=IMPORTS)
@pytest.mark.parametrize("where", ["a", "."])
def test_a_helper_counts_wherever_it_is_and_however_it_is_imported(folder, statement, where):
    two_folders(folder)
    (folder.parent / "a" / "hlp.py").unlink()
    helper = folder.parent / where / "hlp.py"
    helper.write_text("S = 1.0\n")
    (folder.parent / "beside.py").write_text("from hlp import S\n")
    rewrite(folder.parent / "a" / "brake.py", "from hlp import S", statement)
    own._find_source("estimator", "a/brake.py:Brake")  # the working directory is on Python's path
    first = Config(estimator="a/brake.py:Brake").check()
    rewrite(helper, "1.0", "2.0")
    assert Config(estimator="a/brake.py:Brake").id != first.id


def test_the_package_around_a_module_counts(folder):
    first = Config(estimator=f"{folder.name}.deep.parts:Brake")
    (folder / "__init__.py").write_text("factor = 3\n")
    assert Config(estimator=f"{folder.name}.deep.parts:Brake").id != first.id


def test_a_helper_that_no_statement_names_is_refused(folder):
    two_folders(folder)
    rewrite(
        folder.parent / "a" / "brake.py",
        "from hlp import S",
        "import importlib as i\nn = 'hl'\nS = i.import_module(n + 'p').S",
    )
    with pytest.raises(ValueError, match="imports hlp of .*a/hlp.py without a statement that names it"):
        Config(estimator="a/brake.py:Brake").check()


@pytest.mark.parametrize("spelling", ["./a/brake.py", "b/../a/brake.py", "a//brake.py", "{here}/a/brake.py", "link.py"])
def test_a_file_has_one_spelling(folder, spelling):
    first = two_folders(folder)[0]
    (folder.parent / "link.py").symlink_to(folder.parent / "a" / "brake.py")
    assert Config(estimator=f"{spelling.format(here=folder.parent)}:Brake") == Config(estimator=first)


@pytest.mark.parametrize(
    "content, words", [("é = 1\n".encode("latin-1"), "save it as UTF-8"), (b"x\0 = 1\n", "null bytes")]
)
def test_a_source_that_is_no_text_is_named(folder, content, words):
    (folder.parent / "brake.py").write_bytes(content)
    with pytest.raises(ValueError, match=f"brake.py.*{words}"):
        Config(estimator="brake.py:Brake").check()
    (folder.parent / "brake.py").write_bytes(b"# coding: latin-1\n" + PARTS.encode() + "# é\n".encode("latin-1"))
    Config(estimator="brake.py:Brake").check()


def test_a_name_with_a_null_byte_is_named(folder):
    with pytest.raises(ValueError, match="estimator .*cannot be imported: .* is not there"):
        Config(estimator="a\0.py:Brake").check()


def test_a_process_that_imported_another_source_says_so(folder):
    Config(estimator="parts.py:Brake").check()
    rewrite(folder.parent / "parts.py", "(0.0, 1.0)", "(0.0, 1.5)")
    with pytest.raises(ValueError, match="parts.py:Brake#.* has changed since this process imported it: start another"):
        Config(estimator="parts.py:Brake").check()


def test_names_of_the_package_are_noted_as_they_are():
    for field, names in allowed_names().items():
        assert all(getattr(Config(**{field: name}), field) == name for name in names)
    assert Config(data="photographs").data == "photographs" and own.is_current(vars(Config()))


def test_the_code_digest_covers_all_of_the_kind_of_an_own_part(folder):
    reached = code_path.today().reached(Config(quantizer="parts.py:Open"))
    assert len(reached["rotvq.quantizers.registry", "METHODS"]) == len(allowed_names()["quantizer"])
    assert len(code_path.today().reached(Config())["rotvq.quantizers.registry", "METHODS"]) < 4
    digests = {code_path.digest(Config(**fields)) for fields in ({}, {"estimator": "parts.py:Brake"})}
    assert len(digests) == 2
    assert code_path.digest(Config(estimator="parts.py:Brake")) == code_path.digest(Config(estimator="parts.py:Same"))


RUNS = """
import sys
from pathlib import Path
from rotvq.runs import scheduler
from rotvq.runs.records import Records
from rotvq.training.config import Config

if __name__ == "__main__":
    small = {"data": "fashion-mnist-mini", "steps": 3, "dim": 4, "codebook_size": 8}
    package, *engines = sys.argv[1:]
    configs = [Config(**small, estimator="parts.py:Brake"), Config(**small, quantizer=f"{package}.deep.parts:Open")]
    results = []
    for engine in engines:
        store = Records(engine.replace("/", "-"))
        found = [outcome for part in engine.split("+") for _, outcome in scheduler.run(configs, store, part)]
        assert all(isinstance(outcome, dict) for outcome in found), found
        assert sorted(one.id for one in store.all()) == sorted(one.id for one in configs)
        assert {store.status(one) for one in configs} == {"verified"}
        results.append([store.get(one)["result"] for one in configs])
    assert all(one == results[0] for one in results)
    print("the same in", len(results))
"""


@pytest.mark.parametrize("others", [("processes:1", "shard:0/2+shard:1/2"), ("ray:0",)], ids=lambda names: names[0])
def test_every_engine_runs_parts_of_one_s_own(folder, others):
    if others == ("ray:0",):
        pytest.importorskip("ray")
    (folder.parent / "driver.py").write_text(RUNS)
    (folder.parent / "elsewhere").mkdir()
    command = [sys.executable, "-m", "driver", folder.name, "serial", *others]
    checkout = str(Path(__file__).parents[2])
    paths = {**os.environ, "PYTHONPATH": checkout}
    done = subprocess.run(command, capture_output=True, text=True, env=paths, timeout=300)
    assert f"the same in {1 + len(others)}" in done.stdout, done.stderr


# data


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def cats(tmp_path, monkeypatch) -> Path:
    """Twenty pictures, and a file of the same as an array."""
    for number in range(20):
        picture(tmp_path / "cats" / f"{number:02}.png", number)
    np.save(tmp_path / "cats.npy", np.arange(20 * 256, dtype=np.uint8).reshape(20, 16, 16))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cats"


DATA = ["imagefolder:cats@native", "imagefolder:cats@16", "arrays:cats.npy"]


def noted(value: str) -> str:
    images._load.cache_clear()
    return Config(data=value).data


def change(cats: Path) -> None:
    picture(cats / "07.png", 100)
    np.save(cats.with_suffix(".npy"), np.arange(20 * 256, dtype=np.uint8)[::-1].reshape(20, 16, 16))


@pytest.mark.parametrize("value", DATA)
def test_other_data_are_another_run(cats, value):
    first = noted(value)
    assert files.PIN.sub("", first) == value != first
    for path in (cats / "00.png", cats.with_suffix(".npy")):
        os.utime(path, (1, 1))
    assert noted(value) == first
    loaded = images.load(first)
    assert loaded.name == value and loaded.sha256 == images.load(value).sha256
    change(cats)
    second = noted(value)
    assert second != first and Config(data=second).id != Config(data=first).id
    assert images.load(second).sha256 != loaded.sha256
    with pytest.raises(DataError, match="is no longer what .* was: to use what is there now, ask for it by"):
        images.load(first)
    with pytest.raises(ValueError, match="data .* has changed since"):
        Config(data=first).check()


EDITS = {
    "a picture replaced": lambda cats: picture(cats / "07.png", 100),
    "two swapped": lambda cats: (
        (cats / "01.png").rename(cats / "x.png"),
        (cats / "02.png").rename(cats / "01.png"),
        (cats / "x.png").rename(cats / "02.png"),
    ),
    "one removed": lambda cats: (cats / "19.png").unlink(),
    "one added": lambda cats: picture(cats / "20.png", 20),
    "one bit": lambda cats: (cats / "07.png").write_bytes(flipped((cats / "07.png").read_bytes())),
    "a split of its own": lambda cats: own_split(cats),
    "a name like ours": lambda cats: picture(cats / "rotvq-20.png", 20),
    "a folder with a name like ours": lambda cats: picture(cats / "rotvq-pics" / "20.png", 20),
    "a hidden picture": lambda cats: picture(cats / ".20.png", 20),
    "a hidden folder": lambda cats: picture(cats / ".more" / "20.png", 20),
    "a linked picture": lambda cats: (
        picture(cats.parent / "dogs" / "20.png", 20),
        (cats / "20.png").symlink_to(cats.parent / "dogs" / "20.png"),
    ),
}


def own_split(folder: Path) -> None:
    for number in range(6):
        picture(folder / ("train", "val")[number % 2] / "a" / f"{number}.png", number)


def digest(folder: Path) -> str:
    return images.digest(f"imagefolder:{folder}")


def flipped(content: bytes) -> bytes:
    return content[:400] + bytes([content[400] ^ 1]) + content[401:]


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_every_change_of_a_folder_counts(cats, edit):
    first = digest(cats)
    edit(cats)
    assert digest(cats) != first


@pytest.mark.parametrize("linked", ["train/a", "val/a", "train", "."])
def test_every_change_behind_a_link_counts(tmp_path, linked):
    own_split(tmp_path / "cats")
    real = (tmp_path / "cats" / linked).rename(tmp_path / "elsewhere")
    (tmp_path / "cats" / linked).symlink_to(real)
    first, loaded = digest(tmp_path / "cats"), images.load(f"imagefolder:{tmp_path / 'cats'}@native").sha256
    picture(next(real.rglob("*.png")), 100)
    assert digest(tmp_path / "cats") != first
    assert images.load(f"imagefolder:{tmp_path / 'cats'}@native").sha256 != loaded


@pytest.mark.parametrize("memory", [1 << 30, 0], ids=["in memory", "decoded to a file"])
@pytest.mark.parametrize("value", DATA)
def test_one_process_sees_a_change_at_once(cats, value, memory, monkeypatch):
    monkeypatch.setattr(images, "IN_MEMORY", memory)
    first = Config(data=value)
    old, kept = images.load(first.data).train.clone(), cats.stat()
    change(cats)
    os.utime(cats, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    second = Config(data=value).check()  # what the sentence of the refusal asks for
    assert second.data != first.data
    new = images.load(second.data)
    assert not torch.equal(new.train, old) and torch.equal(new.train, images.load(value).train)
    images._load.cache_clear()
    assert torch.equal(new.train, images.load(second.data).train)
    with pytest.raises(ValueError, match="data .* has changed since: to run what is there now, ask for"):
        first.check()
    decoded = list(cats.glob("rotvq-*.u8"))
    assert len(decoded) == (3 if memory == 0 and "folder" in value else 0)


def test_a_change_that_keeps_size_and_time_is_seen(cats):
    path = cats.with_suffix(".npy")
    first, before = Config(data="arrays:cats.npy"), path.stat()
    change(cats)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size and Config(data="arrays:cats.npy") != first


def test_what_is_no_picture_of_the_user_does_not_count(cats):
    first = digest(cats)
    (cats / ".DS_Store").write_text("x")
    (cats / "rotvq-train.u8").write_text("x")
    (cats / "notes.txt").write_text("x")
    (cats / "empty").mkdir()
    assert digest(cats) == first
    assert digest(cats.rename(cats.with_name("dogs"))) == first


def test_a_record_of_other_data_is_not_verified_and_not_shown(cats):
    def config():
        return Config(data=noted("arrays:cats.npy"), steps=1, dim=4, codebook_size=8, batch=4)

    store, first = Records("store"), config()
    list(scheduler.run([first], store))
    assert store.status(first) == "verified" and store.missing([config()]) == []
    change(cats)
    second = config()
    assert store.missing([second]) == [second] and store.status(first) == "unverified"
    list(scheduler.run([second], store))
    data = [store.get(one)["provenance"]["data"] for one in (first, second)]
    assert data[0] != data[1] and store.get(first)["result"] != store.get(second)["result"]
    assert [store.status(one) for one in (first, second)] == ["unverified", "verified"]
    assert set(store.all()) == {first, second}


def test_data_that_are_not_there_are_refused_by_the_check(cats):
    config = Config(data="imagefolder:dogs")
    assert config.data == "imagefolder:dogs"
    with pytest.raises(DataError, match="imagefolder:dogs is not there: looked for"):
        config.check()
