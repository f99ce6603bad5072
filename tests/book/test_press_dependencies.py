"""What a page depends on: imports are followed, in a tree of a few files and in the book itself."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

from book.press import paths
from book.press.dependencies import CHECKS, LOADS, READS, _file_of, files_used_by, modules_used_by
from book.press.pair import scripts

TREE = {
    "rotvq/__init__.py": "from rotvq.core.base import thing\n",
    "rotvq/core/__init__.py": "from rotvq import plots\n",
    "rotvq/core/base.py": "from . import helper\n",
    "rotvq/core/helper.py": "from ..above import name\n",
    "rotvq/above.py": "import torch, rotvq.core.base\n",
    "rotvq/late.py": "",
    "rotvq/plots.py": "",
    "book/__init__.py": "",
    "book/broken.py": "def (:\n",
    "book/law.py": "def show():\n    from rotvq import late\n",
    "book/claims.yml": "",
    "notebooks/00_page.py": "import book.law as law, numpy\nimport rotvqless\n",
    "notebooks/01_page.py": "from rotvq.core.base import thing\n",
    "notebooks/02_page.py": "from book import broken\n",
    "notebooks/03_page.py": "import (\n",
    "notebooks/04_page.py": "from rotvq import thing\n",
    "notebooks/05_page.py": "from rotvq.core import *\n",
}
BASE = {"rotvq.above", "rotvq.core.base", "rotvq.core.helper"}
USED = {
    "00_page": {"book.law", "rotvq.late"},
    "01_page": BASE,
    "02_page": {"book.broken"},
    "03_page": set(),
    "04_page": {"rotvq"} | BASE,
    "05_page": {"rotvq.core", "rotvq.plots"},
}
SCRIPTS = {script.stem: script for script in scripts()}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", USED)
def test_imports_are_followed_wherever_they_stand(name, tree):
    assert set(modules_used_by(tree / "notebooks" / f"{name}.py")) == USED[name]


def test_imports_of_a_module_that_only_checks_do_not_count(tree, monkeypatch):
    monkeypatch.setattr("book.press.dependencies.CHECKS", {"rotvq.core.helper"})
    assert set(modules_used_by(tree / "notebooks" / "01_page.py")) == BASE - {"rotvq.above"}


def test_files_that_a_module_reads_count(tree, monkeypatch):
    script = tree / "notebooks" / "00_page.py"
    assert script in files_used_by(script) and tree / "book" / "claims.yml" not in files_used_by(script)
    monkeypatch.setitem(READS, "book.law", ["book/*.yml"])
    assert tree / "book" / "claims.yml" in files_used_by(script)


def test_modules_that_a_module_loads_by_name_count(tree, monkeypatch):
    script = tree / "notebooks" / "02_page.py"
    monkeypatch.setitem(LOADS, "book.broken", ["rotvq/[!_]*.py"])
    assert {"rotvq.plots", "rotvq.late"} <= set(modules_used_by(script))


@pytest.mark.parametrize("name", ["03_rotation", "10_ste_vs_rotation", "40_claims"])
def test_no_module_that_a_page_loads_is_left_out(name):
    """All imports of the script, in a process of their own, where packages on the way and checks are empty."""
    used = modules_used_by(SCRIPTS[name])
    packages = {".".join(module.split(".")[:size]) for module in used for size in range(1, module.count(".") + 1)}
    imports = re.findall(r"^(?:from|import) (?:.*\(\n(?:    .*\n)+\)|.*)", SCRIPTS[name].read_text(), re.M)
    empty = EMPTY.format(names=sorted(packages - set(used) | CHECKS), checks=sorted(CHECKS))
    code = "\n".join([empty, *imports, "print(*sys.modules)"])
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    loaded = {module for module in ran.stdout.split() if module.split(".")[0] in ("rotvq", "book")}
    assert len(loaded) > 3 and loaded - packages <= set(used)


EMPTY = """\
import sys, types
for name in {names}:
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [name.replace(".", "/")]
for name in {checks}:
    sys.modules[name].__getattr__ = lambda wanted: None"""


def test_a_page_does_not_depend_on_the_code_of_other_pages():
    theory, experiment = (set(modules_used_by(SCRIPTS[name])) for name in ("03_rotation", "10_ste_vs_rotation"))
    assert "book.theory.rotation" in theory and not {"rotvq.analysis.study", "book.theory.collapse"} & theory
    assert "rotvq.analysis.study" in experiment
    assert not {name for name in experiment if name.startswith(("book.theory", "book.ledger", "book.bench"))}
    assert not any(name.startswith("book.press") for script in SCRIPTS.values() for name in modules_used_by(script))


def test_images_count_for_the_pages_that_train():
    images = ROOT / "data" / "fashion-mnist" / "train-images-idx3-ubyte.gz"
    assert images in files_used_by(SCRIPTS["10_ste_vs_rotation"])
    assert images not in files_used_by(SCRIPTS["03_rotation"])


def test_what_is_declared_is_there():
    declared = READS | LOADS
    assert all(map(_file_of, [*declared, *CHECKS]))
    assert all(list(ROOT.glob(pattern)) for patterns in declared.values() for pattern in patterns)


def test_modules_that_load_others_by_name_are_declared():
    sources = [path for folder in ("rotvq", "book") for path in (ROOT / folder).rglob("*.py")]
    loading = {path for path in sources if "import_module" in path.read_text() and path.name != "__main__.py"}
    assert loading <= {_file_of(name) for name in {*LOADS, *ELSEWHERE}}


ELSEWHERE = ("book.press.warm", "rotvq.training.own")  # load modules of other packages
ELSEWHERE += ("book.systems.runs",)  # for its command alone: a page imports its own system
