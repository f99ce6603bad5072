"""The project holds together: one list of pins, the layout, and a package that works elsewhere."""

import ast
import importlib.machinery
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
PIP = next(d["pip"] for d in ENVIRONMENT if isinstance(d, dict))
PINS = {canonicalize_name(p.split("==")[0]): p.split("==")[1] for p in PIP if "==" in p}
BOUNDS = [Requirement(r) for rs in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()] for r in rs]
BOUNDS = [r for r in BOUNDS if r.name != "rotvq"]


def tracked() -> list[str]:
    git = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return git.stdout.split()


# pins


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_every_bound_admits_its_pin(bound):
    assert PINS[canonicalize_name(bound.name)] in bound.specifier


def test_every_pin_is_wanted_and_installed():
    assert set(PINS) == {canonicalize_name(r.name) for r in BOUNDS}
    installed = {name: metadata.version(name).split("+")[0] for name in PINS}  # torch adds +cpu
    assert installed == PINS


def test_torch_comes_first_and_alone():
    """Torch is installed by its exact version before anything that would take whatever torch there is."""
    assert [p for p in PIP if "torch" in p and "pytorch" not in p] == [PIP[0]] == [f"torch=={PINS['torch']}"]
    assert list(dict.fromkeys(Requirement(line).name for line in PROJECT["dependencies"])) == ["torch", "numpy"]


@pytest.mark.parametrize(
    "path", ["Makefile", ".ci/run", ".ci/versions", ".pre-commit-config.yaml", ".github/workflows/book.yml"]
)
def test_nothing_else_names_a_version(path):
    names = "|".join(re.escape(name) for name in PINS)
    assert not re.findall(rf"\b(?:{names})\s*[=<>~]=?\s*\d", (ROOT / path).read_text(), re.I)


@pytest.mark.parametrize(
    "check", ["ruff check", "ruff format --check", "lint-imports", "python -m book.press pair --check"]
)
def test_make_test_and_the_hooks_of_a_commit_check_the_same(check):
    make = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert f".venv/bin/{check}" in make
    assert f".venv/bin/{check}" in [hook["entry"] for hook in hooks]


def test_the_makefile_reads_the_pins():
    line = re.search(r"^pins = (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].replace("$$", "$")
    out = subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert {canonicalize_name(p.split("==")[0]): p.split("==")[1] for p in out} == PINS


def test_one_version():
    import rotvq

    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == rotvq.__version__


# layout


def test_top_level():
    assert {path.split("/")[0] for path in tracked()} <= {
        "README.md",
        "_config.yml",
        "environment.yml",
        "pyproject.toml",
        "Makefile",
        "LICENSE",
        "CITATION.cff",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        ".pre-commit-config.yaml",
        ".ci",
        ".github",
        ".gitignore",
        "book",
        "notebooks",
        "rotvq",
        "data",
        "tests",
    }


def test_no_page_gets_assets_it_did_not_ask_for():
    assert not [path for path in tracked() if "/_static/" in path]


CONTENTS = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
LISTED = {CONTENTS["root"], *(chapter["file"] for part in CONTENTS["parts"] for chapter in part["chapters"])}
FILES = [(ROOT / "book", "*.md"), (ROOT / "book", "zh/*.md"), (ROOT, "notebooks/*.py")]
PAGES = {p.relative_to(top).with_suffix("").as_posix() for top, pattern in FILES for p in top.glob(pattern)}


@pytest.mark.parametrize("page", sorted(LISTED | PAGES))
def test_every_page_is_in_the_table_of_contents(page):
    assert page in LISTED and page in PAGES


# the package


def test_import_is_light():
    """A practitioner who imports rotvq loads torch and numpy, and nothing of the experiments or the book."""
    code = "import sys, rotvq; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "scipy",
        "sklearn",
        "skimage",
        "pandas",
        "matplotlib",
        "IPython",
        "sphinx",
        "papermill",
        "tyro",
        "ray",
        "book",
    }
    assert "torch" in loaded
    assert not heavy & set(loaded)


def closure(names) -> set[str]:
    """The distributions that these need, themselves among them, without any extra."""
    found, todo = set(), [canonicalize_name(n) for n in names]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            needs = [Requirement(r) for r in metadata.requires(name) or ()]
            todo += [canonicalize_name(r.name) for r in needs if not r.marker or r.marker.evaluate({"extra": ""})]
    return found


INSTALLER = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> pathlib.Path:
    """A folder with what git tracks, the book's own code among it, but the data."""
    folder = tmp_path_factory.mktemp("source")
    for path in tracked():
        if not path.startswith("data/") and (ROOT / path).exists():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes((ROOT / path).read_bytes())
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("wheels")
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run([*INSTALLER, *build], check=True, capture_output=True)
    (wheel,) = folder.glob("rotvq-*-py3-none-any.whl")
    return wheel


def modules() -> set[str]:
    return {path for path in tracked() if path.startswith("rotvq/") and (ROOT / path).exists()}


def test_the_wheel_holds_rotvq_and_nothing_of_the_book(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == modules()
    assert "rotvq/py.typed" in names  # type checkers then read our annotations


def test_the_source_distribution_holds_rotvq_and_nothing_of_the_book(source, tmp_path):
    code = "import sys; from flit_core.buildapi import build_sdist; print(build_sdist(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=source, check=True, capture_output=True)
    (archive,) = tmp_path.glob("rotvq-*.tar.gz")
    with tarfile.open(archive) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    assert names == modules() | {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO"}


def test_the_wheel_works_elsewhere_with_torch_and_numpy_alone(wheel, tmp_path):
    """Installed in an environment that sees only torch, numpy and what these need."""
    site = tmp_path / "site"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([*INSTALLER, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], check=True)
    site.mkdir()
    here = pathlib.Path(importlib.util.find_spec("torch").origin).parents[1]
    for name in closure(["torch", "numpy"]):
        tops = {f.parts[0] for f in metadata.files(name) if f.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(here / top)
    code = """
        import importlib.util, rotvq, torch
        absent = ("scipy", "sklearn", "pandas", "matplotlib", "tqdm", "book")
        assert not any(map(importlib.util.find_spec, absent))
        x = torch.randn(6, 4, requires_grad=True)
        vq = rotvq.VectorQuantizer(dim=4, codebook_size=5, init="kmeans", update="ema", revival="unused")
        z_q, indices, loss = vq(x)
        (z_q.sum() + loss).backward()
        assert torch.equal(z_q, vq.codebook.codes[indices]) and x.grad.isfinite().all()
        print(rotvq.__file__)
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"PYTHONPATH": str(site)}
    code = "\n".join(line.strip() for line in code.splitlines())
    ran = subprocess.run([str(python), "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(str(tmp_path / "venv"))


# versions

SCRIPT = importlib.machinery.SourceFileLoader("versions", str(ROOT / ".ci" / "versions"))
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "versions.yml").read_text())["jobs"]["module"]


@pytest.fixture(scope="module")
def versions():
    """The program that tries other versions, as a module."""
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("versions", SCRIPT))
    SCRIPT.exec_module(module)
    return module


def test_the_lowest_versions_are_the_bounds(versions):
    lowest, newest = map(versions.requirements, ("lowest", "newest"))
    assert len(lowest) == len(newest) and "torch==2.5; python_version < '3.13'" in lowest
    for low, bound in zip(map(Requirement, lowest), map(Requirement, newest)):
        (version,) = (one.version for one in low.specifier)
        assert (low.name, low.marker) == (bound.name, bound.marker) and version in bound.specifier
        assert f">={version}" in str(bound.specifier)
    assert {"torch", "numpy", "scipy", "pytest", "hypothesis", "ray"} <= {Requirement(line).name for line in lowest}


def imported(path: pathlib.Path) -> set[str]:
    """The modules that importing a file imports, and their names: all but what its functions import."""
    names = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_the_tests_of_the_module_import_nothing_of_the_book_s_tools(versions):
    """Else none of them is collected where .ci/versions has installed what they need."""
    waiting = [ROOT / "tests" / "conftest.py"]
    waiting += [path for room in versions.ROOMS for path in (ROOT / "tests" / room).glob("*.py")]
    seen, names = set(), set()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        found = imported(path)
        names |= {name.partition(".")[0] for name in found}
        files = {folder / f"{name.replace('.', '/')}.py" for name in found for folder in (ROOT, ROOT / "tests")}
        waiting += [file for file in files - seen if file.is_file()]
    assert ROOT / "book" / "press" / "pair.py" in seen, "imports of the book are followed"
    distributions = metadata.packages_distributions()
    asked = {canonicalize_name(name) for top in names for name in distributions.get(top, [])}
    extras = PROJECT["optional-dependencies"]
    tools = {canonicalize_name(Requirement(line).name) for extra in ("book", "test") for line in extras[extra]}
    there = {canonicalize_name(Requirement(line).name) for line in versions.requirements("newest")}
    assert asked & tools - there <= {"rotvq", "psutil"}, "psutil comes with ipykernel"


def test_the_workflow_tries_every_python_and_both_ends(versions):
    matrix = WORKFLOW["strategy"]["matrix"]
    assert matrix == {"python": ["3.11", "3.12", "3.13"], "versions": ["lowest", "newest"]}
    assert matrix["python"][0] in PROJECT["requires-python"]
    assert WORKFLOW["steps"][-1]["run"] == "python .ci/versions ${{ matrix.versions }}"
    make = subprocess.run(["make", "-n", "versions"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(which in make for which in matrix["versions"]) and ".ci/versions" in make


def test_tests_have_one_thread_whatever_the_shell_says():
    code = "import conftest, torch; print(torch.get_num_threads())"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "tests",
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["1"]
