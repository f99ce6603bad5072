"""The judge of images: the Fréchet distance against closed forms, what ships, and what it says of models."""

import gzip
import shutil

import pytest
import torch
from conftest import ROOT
from torch import nn

from book.systems import classifier, shipped
from rotvq.training import images
from rotvq.training.files import DataError

MINI = images.load("fashion-mnist-mini")


def white(count: int, dim: int, seed: int) -> torch.Tensor:
    """Points (count, dim) of mean 0 and covariance I, exactly."""
    points = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(points - points.mean(0)).Q * count**0.5


def spread(points: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    return points @ torch.linalg.cholesky(covariance).T


def test_a_set_is_at_distance_0_from_itself_in_any_order():
    points = spread(white(50, 4, 0), torch.diag(torch.tensor([1.0, 4.0, 0.1, 9.0], dtype=torch.float64)))
    assert abs(classifier.frechet(points, points.flip(0))) < 1e-10


def test_a_shift_costs_its_square():
    points, shift = white(40, 3, 1), torch.tensor([1.0, -2.0, 2.0])
    assert classifier.frechet(points, points + shift) == pytest.approx(9.0, abs=1e-10)


def test_covariances_that_commute():
    """The sum of squared differences of standard deviations, in any common basis."""
    basis = torch.linalg.qr(white(5, 3, 2)[:3]).Q
    a, b = torch.tensor([4.0, 1.0, 0.25]).double(), torch.tensor([1.0, 9.0, 0.25]).double()
    sets = [spread(white(60, 3, seed), basis * values @ basis.T) for seed, values in ((3, a), (4, b))]
    want = (a.sqrt() - b.sqrt()).square().sum().item()
    assert classifier.frechet(*sets) == pytest.approx(want, abs=1e-10)


def test_covariances_that_do_not_commute():
    """In two dimensions tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)), with M = A B."""
    a = torch.tensor([[2.0, 1.0], [1.0, 3.0]]).double()
    b = torch.tensor([[1.0, -0.5], [-0.5, 4.0]]).double()
    assert not torch.allclose(a @ b, b @ a)
    cross = ((a @ b).trace() + 2 * (torch.det(a) * torch.det(b)).sqrt()).sqrt()
    want = (a.trace() + b.trace() - 2 * cross).item()
    given = spread(white(30, 2, 5), a), spread(white(70, 2, 6), b)
    assert classifier.frechet(*given) == pytest.approx(want, abs=1e-10)
    assert classifier.frechet(*reversed(given)) == pytest.approx(want, abs=1e-10)


def test_flat_covariances_have_a_root():
    points = torch.zeros(20, 3).double()
    points[:, 0] = white(20, 1, 7)[:, 0]
    assert classifier.frechet(points, 2 * points) == pytest.approx(1.0, abs=1e-10)


def test_the_labels_are_those_of_the_images():
    whole = images.load("fashion-mnist")
    assert classifier.labels("test", whole).bincount().tolist() == [1000] * 10
    assert len(classifier.labels("train", whole)) == 55_000
    assert torch.equal(classifier.labels("test", MINI), classifier.labels("test", whole)[:1000])


@pytest.mark.parametrize("name", ("classifier/judge.npz", classifier.LABELS["test"]))
def test_a_file_that_was_altered_is_refused(name, tmp_path, monkeypatch):
    copy = tmp_path / name
    copy.parent.mkdir()
    shutil.copy(ROOT / "data" / name, copy)
    monkeypatch.setenv("ROTVQ_DATA", str(tmp_path))
    assert shipped.read(name)
    copy.write_bytes(gzip.compress(b"other") if name.endswith(".gz") else b"other")
    with pytest.raises(DataError, match="altered"):
        shipped.read(name)


def test_a_file_without_a_line_in_the_registry_is_refused(tmp_path, monkeypatch):
    (tmp_path / "unknown").write_bytes(b"")
    monkeypatch.setenv("ROTVQ_DATA", str(tmp_path))
    with pytest.raises(DataError, match="no line"):
        shipped.read("unknown")
    with pytest.raises(DataError, match="in none of"):
        shipped.read("nowhere")


def test_the_card_says_what_the_networks_do():
    card = (ROOT / "data" / "classifier" / "README.md").read_text("utf-8")
    whole = images.load("fashion-mnist")
    for name in classifier.NETWORKS:
        network = classifier.load(name)
        share = classifier.accuracy(network, classifier.scaled(whole.test), classifier.labels("test", whole))
        assert share > 0.86
        weights = sum(p.numel() for p in network.parameters())
        said = f"| `{name}.npz` | {weights:,} | {network.head.in_features} | "
        (line,) = [line for line in card.splitlines() if line.startswith(said)]
        assert float(line.removeprefix(said).removesuffix(" % |")) == pytest.approx(100 * share, abs=0.03)


def test_training_is_deterministic_and_learns():
    one, two = (classifier.train(width=4, seed=3, data=MINI, epochs=4) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))
    labels = classifier.labels("test", MINI)
    after = classifier.accuracy(one, classifier.scaled(MINI.test), labels)
    assert after > 0.4 > classifier.accuracy(classifier.untrained(4, 3), classifier.scaled(MINI.test), labels)


class Given(nn.Module):
    """A model whose reconstruction of normalised images is a function of them."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x), None


def test_quality_of_what_changes_nothing_and_of_what_forgets_all():
    model = Given(lambda x: x)
    same = classifier.quality(model, MINI)
    labels = classifier.labels("test", MINI)
    assert same["accuracy"] == classifier.accuracy(classifier.load("judge"), classifier.scaled(MINI.test), labels)
    assert model.training and max(abs(same["frechet_classifier"]), abs(same["frechet_random"])) < 1e-4
    grey = classifier.quality(Given(torch.zeros_like), MINI)
    assert grey["accuracy"] == pytest.approx(0.1, abs=0.02)
    assert grey["frechet_classifier"] > 1 and grey["frechet_random"] > 1
    assert grey["frechet_classifier"] != grey["frechet_random"]


def test_reconstructions_are_clamped():
    made = classifier.reconstruct(Given(lambda x: 10 * x), MINI.test[:4], MINI)
    assert made.min() == 0 and made.max() == 1
