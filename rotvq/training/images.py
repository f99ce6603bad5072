"""Images: the name of a set -> uint8 tensors with a fixed split.

==================  ======  ======  ======  =====================================================================
name                train   val.    test    images and split
==================  ======  ======  ======  =====================================================================
fashion-mnist       55,000   5,000  10,000  1 x 28 x 28; validation: the last 5,000 images of the training file
fashion-mnist-mini   2,000     500   1,000  the first of each split: for tests and smoke runs
photographs         12,288     768     768  3 x 32 x 32 crops of ten photographs in five folds: see `_photographs`
cifar10             45,000   5,000  10,000  3 x 32 x 32; validation: the last 5,000 images of data_batch_5
imagefolder:<path>   19/20    1/20    val/  3 x 256 x 256; validation: every 20th file of train/ in sorted order
==================  ======  ======  ======  =====================================================================

A set is read and checked whole before anything is returned (see `sources`).
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import pickle
import struct
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rotvq.quantizers.distributed import world
from rotvq.training import files
from rotvq.training.files import DataError

VALIDATION = 5_000  # images held out at the end of a training file
CROP = 32
FOLDS = (
    ("skimage/data/astronaut.png", "skimage/data/hubble_deep_field.jpg"),
    ("skimage/data/chelsea.png", "skimage/data/retina.jpg"),
    ("skimage/data/coffee.png", "sklearn/datasets/images/china.jpg"),
    ("skimage/data/rocket.jpg", "sklearn/datasets/images/flower.jpg"),
    ("skimage/data/motorcycle_left.png", "skimage/data/motorcycle_right.png"),
)
REDUCED = {"skimage/data/hubble_deep_field.jpg": 2, "skimage/data/retina.jpg": 3}  # to the size of the others
SIDE = 256  # of an image of an image folder
HELD = 32 << 30  # bytes: a larger split of an image folder is decoded once, to a file beside it, and mapped

Split = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Images:
    """One set: three uint8 tensors (N, C, H, W), the training split's statistics, a digest of all three tensors.

    `mean` and `std` are by channel, on the scale [0, 1]. All who load a set share its tensors: do not write to them.
    """

    name: str
    train: Tensor
    validation: Tensor
    test: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: str

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 (..., C, H, W) -> float32 (pixels / 255 - mean) / std: mean 0, variance 1 over the training split."""
        mean, std = _columns(self.mean, pixels), _columns(self.std, pixels)
        return (pixels.float() / 255 - mean) / std

    def denormalise(self, x: Tensor) -> Tensor:
        """float (..., C, H, W) -> float x * std + mean: pixels on the scale [0, 1], not clamped."""
        return x * _columns(self.std, x) + _columns(self.mean, x)


def load(name: str, seed: int = 0) -> Images:
    """The set called `name`. The seed matters to 'photographs' alone, where seed mod 5 chooses the test photographs.

    Raises ValueError for a name that is not a set and DataError for a source that is missing or not intact.
    """
    check(name)
    return _load(name, seed % len(FOLDS) if name == "photographs" else 0)


def check(name: str) -> None:
    """Raise ValueError unless `name` is one of `SETS` or 'imagefolder:<path>'. Reads nothing."""
    kind, colon, path = name.partition(":")
    if name not in SETS and not (kind == "imagefolder" and path):
        raise ValueError(f"data must be one of {', '.join(SETS)} or imagefolder:<path>, not {name!r}")


@lru_cache(maxsize=2)
def _load(name: str, fold: int) -> Images:
    kind, _, path = name.partition(":")
    train, validation, test = _imagefolder(path) if kind == "imagefolder" else LOADERS[name](fold)
    digest = hashlib.sha256()
    for split in (train, validation, test):
        digest.update(split.numpy())
    return Images(name, train, validation, test, *_statistics(train), digest.hexdigest())


def _statistics(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel on the scale [0, 1], from exact counts of the 256 grey values."""
    value = torch.arange(256, dtype=torch.float64) / 255
    share = torch.zeros(pixels.shape[1], 256, dtype=torch.float64)
    for part in pixels.split(4096):
        share += torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in part.unbind(1)])
    share /= share.sum(1, keepdim=True)
    mean = share @ value
    std = (share * (value - mean[:, None]).square()).sum(1).sqrt()
    return tuple(mean.tolist()), tuple(s or 1.0 for s in std.tolist())  # a constant channel is only shifted


def _columns(numbers: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(numbers, device=like.device)[:, None, None]


def _fashion_mnist(_: int) -> Split:
    """IDX files: big-endian magic number 0x803, count, rows, columns; then the pixels, a byte each."""
    train, test = (_idx(files.read(f"fashion-mnist/{part}-images-idx3-ubyte.gz")) for part in ("train", "t10k"))
    return train[:-VALIDATION], train[-VALIDATION:], test


def _fashion_mnist_mini(fold: int) -> Split:
    """The first images of each split, for runs that take seconds."""
    train, validation, test = _fashion_mnist(fold)
    return train[:2_000].clone(), validation[:500].clone(), test[:1_000].clone()


def _idx(contents: bytes) -> Tensor:
    count, rows, columns = struct.unpack(">4xIII", contents[:16])
    return torch.frombuffer(bytearray(contents), dtype=torch.uint8, offset=16).view(count, 1, rows, columns)


def _cifar10(_: int) -> Split:
    """The tar archive of pickled batches, whose rows hold the red, the green and the blue plane of one image."""
    with tarfile.open(fileobj=io.BytesIO(files.read("cifar10/cifar-10-python.tar.gz"))) as archive:

        def batch(name: str) -> np.ndarray:
            member = archive.extractfile(f"cifar-10-batches-py/{name}")
            return pickle.load(member, encoding="bytes")[b"data"]  # the archive's checksum has been verified

        train = np.concatenate([batch(f"data_batch_{i}") for i in range(1, 6)])
        train, test = (torch.from_numpy(rows.reshape(-1, 3, 32, 32)) for rows in (train, batch("test_batch")))
    return train[:-VALIDATION], train[-VALIDATION:], test


def _photographs(fold: int) -> Split:
    """32 x 32 colour crops of the ten photographs of scikit-image and scikit-learn, the test pair left out.

    Fold k tests on the pair FOLDS[k]: 16 x 24 crops of each. The other eight train and validate: 32 x 48 crops of the
    upper four fifths of each photograph train, 4 x 24 crops of the lower fifth validate. Crops of one split overlap;
    no pixel is in two splits. The two motorcycles are the two views of one rectified stereo pair, so they share a fold,
    and since a point lies on the same row of both, the split by rows parts the scene as well. Hubble's deep field and
    the retina are larger and are reduced by 2 and by 3 (box average) first. Positions are an even grid, the same in
    every run, and successive crops come from different photographs.

    Intervals over seeds cover seeds and these photographs, not images at large.
    """
    tested = FOLDS[fold]
    rest = [photograph for pair in FOLDS if pair != tested for photograph in pair]
    return (
        _crops(rest, 32, 48, 0.0, 0.8),
        _crops(rest, 4, 24, 0.8, 1.0),
        _crops(tested, 16, 24, 0.0, 1.0),
    )


def _crops(names: Sequence[str], rows: int, columns: int, top: float, bottom: float) -> Tensor:
    """A grid of rows x columns crops of each photograph, from its share [top, bottom) of rows, in turn."""
    stacks = []
    for name in names:
        pixels = _photograph(name)
        height, width = pixels.shape[1:]
        ys = _positions(int(top * height), int(bottom * height), rows)
        xs = _positions(0, width, columns)
        stacks.append(torch.stack([pixels[:, y : y + CROP, x : x + CROP] for y in ys for x in xs]))
    return torch.stack(stacks, dim=1).flatten(0, 1)


def _positions(start: int, stop: int, count: int) -> list[int]:
    return [start + i * (stop - start - CROP) // (count - 1) for i in range(count)]


@cache
def _photograph(name: str) -> Tensor:
    from PIL import Image

    picture = Image.open(io.BytesIO(files.photograph(name))).convert("RGB").reduce(REDUCED.get(name, 1))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _imagefolder(path: str) -> Split:
    """train/<class>/<file> and val/<class>/<file> below `path`; val/ is the test set. Shorter side 256, centre crop.

    A relative path is also looked for in the data folders, so that the name of a set need not hold a user's path. A
    split of more than `HELD` bytes (ImageNet's take 234 GiB) is decoded to a file in `path`, which later loads share.
    """
    root = next((place for place in (f / path for f in files.folders()) if place.is_dir()), Path(path))
    train, test = (_files(root / part) for part in ("train", "val"))
    held = set(train[::20])
    splits = {"train": [file for file in train if file not in held], "validation": train[::20], "test": test}
    return tuple(_pixels(files, root / f"rotvq-{name}.u8") for name, files in splits.items())


def _files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.glob("*/*") if file.suffix.lower() in {".jpeg", ".jpg", ".png", ".webp"})
    if len(files) < 2:
        raise DataError(f"{folder} holds {len(files)} images: it needs a folder per class, with jpeg, png or webp.")
    return files


def _pixels(files: list[Path], kept: Path) -> Tensor:
    """The decoded files: in memory, or where they are many in the file `kept`, whole or absent."""
    shape = (len(files), 3, SIDE, SIDE)
    size = math.prod(shape)
    if size <= HELD:
        return _decode(files, torch.empty(shape, dtype=torch.uint8))
    if not (kept.exists() and kept.stat().st_size == size):
        if world()[1] > 1:
            raise DataError(f"{kept} is not there yet: load the images once in one process, which decodes them.")
        temporary = kept.with_name(f".{kept.name}.{os.getpid()}.tmp")
        _decode(files, torch.from_file(str(temporary), shared=True, size=size, dtype=torch.uint8).view(shape))
        os.replace(temporary, kept)
    return torch.from_file(str(kept), shared=True, size=size, dtype=torch.uint8).view(shape)


def _decode(files: list[Path], pixels: Tensor) -> Tensor:
    from PIL import Image, ImageOps

    for slot, file in zip(pixels, files, strict=True):
        try:
            with Image.open(file) as picture:
                fitted = ImageOps.fit(picture.convert("RGB"), (SIDE, SIDE), Image.Resampling.BICUBIC)
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{file} is no whole image ({error}): replace it or remove it, then load again.") from error
        slot.copy_(torch.from_numpy(np.array(fitted)).permute(2, 0, 1))
    return pixels


LOADERS: dict[str, Callable[[int], Split]] = {
    "fashion-mnist": _fashion_mnist,
    "fashion-mnist-mini": _fashion_mnist_mini,
    "photographs": _photographs,
    "cifar10": _cifar10,
}
SETS = tuple(LOADERS)
