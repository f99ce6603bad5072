"""A small classifier of Fashion-MNIST as a judge of images, and the Fréchet distance in its features.

FID compares two sets of images by the mean and the covariance of their features in a network trained on ImageNet
(Heusel et al. 2017, arXiv 1706.08500). Nothing of that ships with this book, so the judge is trained here. A network
that was never trained gives a second set of features, of which no loss and no label knows. A perceptual loss needs a
network, too: it is another one, narrower and from another seed, so that no model is trained on its judge.

``python -m book.systems.classifier`` trains both and writes ``data/classifier``.
"""

import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from book.systems import shipped
from rotvq.training import files, images
from rotvq.training.images import Images
from rotvq.training.seeds import derived_seed, generator

NETWORKS = {"judge": {"width": 16, "seed": 0}, "loss": {"width": 8, "seed": 1}}  #: that ship, by name
LABELS = {"train": "fashion-mnist/train-labels-idx1-ubyte.gz", "test": "fashion-mnist/t10k-labels-idx1-ubyte.gz"}
EPOCHS, BATCH, RATE = 6, 128, 2e-3  # of the classifiers; the rate falls linearly to 0
CLASSES = 10


class Classifier(nn.Module):
    """Two strided convolutions, a linear map to the features, one to ten classes, and ReLU between.

    Pixels are (B, 1, 28, 28) on the scale [0, 1]. With width 16 it has 64 features and 106 thousand parameters.

    >>> network = Classifier(width=4)
    >>> pixels = torch.zeros(2, 1, 28, 28)
    >>> [tuple(stage.shape) for stage in network.stages(pixels)]
    [(2, 4, 14, 14), (2, 8, 7, 7)]
    >>> network.features(pixels).shape, network(pixels).shape
    (torch.Size([2, 16]), torch.Size([2, 10]))
    """

    def __init__(self, width: int = 16):
        super().__init__()
        self.first = nn.Conv2d(1, width, 5, stride=2, padding=2)
        self.second = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.hidden = nn.Linear(2 * width * 7 * 7, 4 * width)
        self.head = nn.Linear(4 * width, CLASSES)

    def stages(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """What the two convolutions give, (B, width, 14, 14) and (B, 2 width, 7, 7)."""
        first = F.relu(self.first(pixels))
        return first, F.relu(self.second(first))

    def features(self, pixels: Tensor) -> Tensor:
        """What the linear map to the classes receives, (B, 4 width)."""
        return F.relu(self.hidden(self.stages(pixels)[-1].flatten(1)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits, (B, 10)."""
        return self.head(self.features(pixels))


def untrained(width: int, seed: int) -> Classifier:
    """The network before its first step, whose features are random ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "weights"))
        return Classifier(width).eval().requires_grad_(False)


@cache
def load(name: str, device: str = "cpu") -> Classifier:
    """The classifier of :data:`NETWORKS` called ``name``, with the weights that ship, on a device."""
    network = untrained(**NETWORKS[name])
    arrays = np.load(io.BytesIO(shipped.read(f"classifier/{name}.npz")), allow_pickle=False)
    network.load_state_dict({key: torch.from_numpy(arrays[key]) for key in arrays.files})
    return network.to(device)


def labels(split: str, data: Images) -> Tensor:
    """Classes of the "train" or "test" images of Fashion-MNIST, or of the first of them in a smaller set, (N,)."""
    wanted = len(getattr(data, split))
    return torch.frombuffer(bytearray(shipped.read(LABELS[split])), dtype=torch.uint8, offset=8)[:wanted].long()


def train(width: int, seed: int, data: Images, epochs: int = EPOCHS, device: str = "cpu") -> Classifier:
    """A classifier trained on the training split with Adam, on a device; deterministic on a given machine."""
    network = untrained(width, seed).to(device).train().requires_grad_(True)
    targets = labels("train", data)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    steps = epochs * (len(data.train) // BATCH)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    batches = images.batches(len(data.train), BATCH, generator(seed, "order"))
    for _, chosen in zip(range(steps), batches):
        pixels, classes = data.train[chosen].to(device), targets[chosen].to(device)
        loss = F.cross_entropy(network(scaled(pixels)), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def scaled(pixels: Tensor) -> Tensor:
    """uint8 to float32 on the scale [0, 1], as the networks take it."""
    return pixels.float() / 255


@torch.no_grad()
def features(network: Classifier, pixels: Tensor) -> Tensor:
    """Features of many pixels (N, 1, 28, 28), (N, 4 width) in float64."""
    return torch.cat([network.features(part) for part in pixels.split(500)]).double()


@torch.no_grad()
def accuracy(network: Classifier, pixels: Tensor, classes: Tensor) -> float:
    """The share of pixels (N, 1, 28, 28) whose class (N,) the network names."""
    named = torch.cat([network(part).argmax(1) for part in pixels.split(500)])
    return (named == classes).double().mean().item()


def frechet(a: Tensor, b: Tensor) -> float:
    r"""The Fréchet distance of two sets of features (N, d) and (M, d), taken as normal distributions.

    .. math:: |\mu_a - \mu_b|^2 + \mathrm{tr}\bigl(C_a + C_b - 2 (C_a^{1/2} C_b C_a^{1/2})^{1/2}\bigr)

    Source: Dowson and Landau 1982; in float64, where the root is that of the eigenvalues of a symmetric matrix.

    >>> points = torch.tensor([[0.0, 1.0], [2.0, 5.0], [4.0, 0.0]])
    >>> round(frechet(points, points + torch.tensor([3.0, 4.0])), 9)
    25.0
    """
    (mean_a, covariance_a), (mean_b, covariance_b) = (_moments(x.double()) for x in (a, b))
    values, vectors = torch.linalg.eigh(covariance_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ covariance_b @ root).clamp_min(0).sqrt().sum()
    trace = covariance_a.trace() + covariance_b.trace() - 2 * cross
    return ((mean_a - mean_b).square().sum() + trace).item()


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d)."""
    centred = x - x.mean(0)
    return x.mean(0), centred.T @ centred / len(x)


def distances(pixels: Tensor, data: Images) -> dict[str, float]:
    """Fréchet distances of images from the test images, in the judge's features and in random ones.

    Each is divided by the total variance of the test images' features: 1 is as far as one constant image is, at the
    least, so that the two can be read side by side.

    Args:
        pixels: (N, 1, 28, 28) on the scale [0, 1], of a model.
        data: Fashion-MNIST, or its first images.

    Returns:
        ``frechet_classifier`` and ``frechet_random``.
    """
    found = {}
    for name, make in FEATURES.items():
        wanted = _test_features(name, data.name)
        found[f"frechet_{name}"] = frechet(features(make(), pixels), wanted) / wanted.var(0, correction=0).sum().item()
    return found


FEATURES = {"classifier": lambda: load("judge"), "random": lambda: untrained(**NETWORKS["judge"])}


@cache
def _test_features(name: str, data: str) -> Tensor:
    return features(FEATURES[name](), scaled(images.load(data).test))


@torch.no_grad()
def reconstruct(model: nn.Module, pixels: Tensor, data: Images) -> Tensor:
    """What a model in evaluation mode makes of uint8 images (N, 1, 28, 28): float32, clamped to the scale [0, 1].

    They come back to the CPU, where all images are judged.
    """
    training, device = model.training, next(model.parameters(), pixels).device
    model.eval()
    made = (model(data.normalise(part.to(device)))[0] for part in pixels.split(500))
    parts = [data.denormalise(one).clamp(0, 1).cpu() for one in made]
    model.train(training)
    return torch.cat(parts)


def quality(model: nn.Module, data: Images) -> dict[str, float]:
    """How good a model's reconstructions of the test images are, apart from pixels.

    Args:
        model: as :func:`rotvq.training.train.fit` returns it: called with normalised images, it gives a reconstruction
            and what the quantiser answered.
        data: Fashion-MNIST, or its first images.

    Returns:
        ``accuracy`` of the judge on the reconstructions, and ``frechet_classifier`` and ``frechet_random``: see
        :func:`distances`.
    """
    made = reconstruct(model, data.test, data)
    return {"accuracy": accuracy(load("judge"), made, labels("test", data)), **distances(made, data)}


CARD = """\
# Two classifiers of Fashion-MNIST

Weights of `book.systems.classifier`, made by `python -m book.systems.classifier` from `../fashion-mnist` alone:
{epochs} epochs of the first 55,000 training images, batches of {batch}, Adam. `judge.npz` judges the images of models,
`loss.npz` is the network of a perceptual loss. The licence is that of this project.

| file | parameters | features | accuracy on the 10,000 test images |
|---|---|---|---|
"""


def write(folder: Path, data: Images, epochs: int = EPOCHS) -> None:
    """Train the networks of :data:`NETWORKS`; write their weights and a card. The registry is left as it is."""
    card = CARD.format(epochs=epochs, batch=BATCH)
    for name, fields in NETWORKS.items():
        network = train(**fields, data=data, epochs=epochs)
        (folder / f"{name}.npz").write_bytes(_packed(network.state_dict()))
        share = accuracy(network, scaled(data.test), labels("test", data))
        weights = sum(p.numel() for p in network.parameters())
        card += f"| `{name}.npz` | {weights:,} | {network.head.in_features} | {100 * share:.2f} % |\n"
    (folder / "README.md").write_text(card, "utf-8")


def _packed(state: Mapping[str, Tensor]) -> bytes:
    """The arrays of a state as an .npz file, whose bytes hang on them alone."""
    file = io.BytesIO()
    np.savez(file, **{name: values.numpy() for name, values in state.items()})
    return file.getvalue()


if __name__ == "__main__":
    torch.set_num_threads(1)
    place = files.CHECKOUT / "data" / "classifier"
    place.mkdir(exist_ok=True)
    write(place, images.load("fashion-mnist"))
    print(f"written: {place}. Now give data/registry.txt the sha256 of the two files of weights.")
