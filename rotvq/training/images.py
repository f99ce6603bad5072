"""Images, or vectors: the name of a set -> tensors with a fixed split.

==================  ======  ======  ======  =====================================================================
name                train   val.    test    images and split
==================  ======  ======  ======  =====================================================================
fashion-mnist       55,000   5,000  10,000  1 x 28 x 28; validation: the last 5,000 images of the training file
fashion-mnist-mini   2,000     500   1,000  the first of each split: for tests and smoke runs
photographs         12,288     768     768  3 x 32 x 32 crops of ten photographs in five folds: see `_photographs`
cifar10             45,000   5,000  10,000  3 x 32 x 32; validation: the last 5,000 images of data_batch_5
imagefolder:<path>   19/20    1/20    val/  3 x 256 x 256; validation: every 20th file of train/ in sorted order
arrays:<path>         8/10    1/10    1/10  a .npy or .npz file of images or vectors: see `_arrays`
==================  ======  ======  ======  =====================================================================

``imagefolder:<path>@64`` crops images to 64 x 64, ``imagefolder:<path>@native`` leaves them as they are, where all have
one size. A folder without ``train/`` is split as an array is, by the last digit of a file's number in sorted order.
"""

import hashlib
import io
import itertools
import math
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rotvq.quantizers.distributed import world
from rotvq.training import files
from rotvq.training.files import DataError

HELD_OUT = 5_000  # images at the end of a training file, for validation
CROP = 32  # side of a crop of a photograph
FOLDS = (
    ("skimage/data/astronaut.png", "skimage/data/hubble_deep_field.jpg"),
    ("skimage/data/chelsea.png", "skimage/data/retina.jpg"),
    ("skimage/data/coffee.png", "sklearn/datasets/images/china.jpg"),
    ("skimage/data/rocket.jpg", "sklearn/datasets/images/flower.jpg"),
    ("skimage/data/motorcycle_left.png", "skimage/data/motorcycle_right.png"),
)
REDUCTION = {"skimage/data/hubble_deep_field.jpg": 2, "skimage/data/retina.jpg": 3}  # to the size of the others
FOLDER_SIDE = 256  # of an image of an image folder whose name gives no other
LARGEST_SIDE = 4096  # that a name may give
NATIVE = "native"
IN_MEMORY = 32 << 30  # bytes: a larger split of an image folder is decoded once, to a file beside it, and mapped

Splits = tuple[Tensor, Tensor, Tensor]  # training, validation, test


@dataclass(frozen=True, eq=False)
class Images:
    """One set. All who load it share its tensors, read and checked whole: do not write to them.

    A tensor is uint8 (N, C, H, W), or, of data that are no pixels, float32 and 255 times the data, so that the scale
    [0, 1] of everything here and in the metrics is that of the data. Vectors in d dimensions are (N, d, 1, 1).
    """

    name: str
    train: Tensor
    validation: Tensor
    test: Tensor
    mean: tuple[float, ...]  #: of the training split by channel, on the scale [0, 1]
    std: tuple[float, ...]  #: likewise
    sha256: str  #: of the three tensors

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 (..., C, H, W) -> float32 (pixels / 255 - mean) / std: mean 0, variance 1 over the training split."""
        return (pixels.float() / 255 - _by_channel(self.mean, pixels)) / _by_channel(self.std, pixels)

    def denormalise(self, x: Tensor) -> Tensor:
        """float (..., C, H, W) -> float x * std + mean: pixels on the scale [0, 1], not clamped."""
        return x * _by_channel(self.std, x) + _by_channel(self.mean, x)


def load(name: str, seed: int = 0) -> Images:
    """The set called ``name``; the seed matters to 'photographs' alone, where seed mod 5 chooses those of the test.

    A name that is no set raises ValueError, a source that is missing, not intact or not the one that ``#<digest>``
    behind its name asks for raises DataError.

    >>> images = load("fashion-mnist-mini")
    >>> images.train.shape, images.normalise(images.test).dtype
    (torch.Size([2000, 1, 28, 28]), torch.float32)
    """
    plain = files.PIN.sub("", name)
    now = digest(plain)
    if name not in (plain, f"{plain}#{now}"):
        raise DataError(f"{plain} is no longer what {name!r} was: to use what is there now, ask for it by {plain!r}")
    return _load(plain, seed % len(FOLDS) if plain == "photographs" else 0, now)


def digest(name: str) -> str:
    """Of the files of one's own that ``name`` loads, and of no others: 16 hex digits; "" of one of :data:`SETS`.

    Raises as :func:`find` does, and DataError where a folder holds too few images.
    """
    place = find(name)
    if place is None:
        return ""
    return files.digest(place, itertools.chain(*_split_files(place)) if place.is_dir() else [place])


def check(name: str) -> None:
    """Raise ValueError unless ``name`` is one of :data:`SETS` or names a source of one's own; nothing is read."""
    kind, _, rest = name.partition(":")
    path, size = _path_and_size(rest)
    is_folder = kind == "imagefolder" and path and (size is None or 1 <= size <= LARGEST_SIDE)
    is_file = kind == "arrays" and Path(rest).suffix in SUFFIXES and Path(rest).stem
    if name not in SETS and not is_folder and not is_file:
        folder = f"imagefolder:<path>, imagefolder:<path>@<side up to {LARGEST_SIDE}>, imagefolder:<path>@native"
        raise ValueError(f"data must be one of {', '.join(SETS)}, {folder}, arrays:<path>.npy or .npz, not {name!r}")


def find(name: str) -> Path | None:
    """Where the folder or the file of one's own is that ``name`` names; None of one of :data:`SETS`.

    A relative path is also looked for in the data folders, so that the name of a set need not hold a user's path.

    Raises:
        ValueError: The name is none.
        DataError: It is not there.
    """
    check(name)
    if name in SETS:
        return None
    kind, _, rest = name.partition(":")
    path = _path_and_size(rest)[0] if kind == "imagefolder" else rest
    places = [folder / path for folder in (*files.folders(), Path())]
    for place in places:
        if place.is_dir() if kind == "imagefolder" else place.is_file():
            return place
    said = f"; behind @ stands a side from 1 to {LARGEST_SIDE}, or {NATIVE}" * (kind == "imagefolder" and "@" in rest)
    raise DataError(f"{name} is not there: looked for {', '.join(map(str, dict.fromkeys(places)))}{said}")


def _path_and_size(rest: str) -> tuple[str, int | None]:
    """'<path>@64' -> ('<path>', 64); '<path>@native' -> ('<path>', None); else all of it, `FOLDER_SIDE`."""
    path, at, size = rest.rpartition("@")
    if at and (size == NATIVE or size.isdecimal()):
        return path, None if size == NATIVE else int(size)
    return rest, FOLDER_SIDE


def batches(count: int, size: int, order: torch.Generator) -> Iterator[Tensor]:
    """Indices of ``size`` of ``count`` images, without end: epochs in random order, without a short last batch."""
    if size > count:
        raise ValueError(f"batch is {size}: the training split has {count} images")
    while True:
        yield from torch.randperm(count, generator=order).split(size)[: count // size]


@lru_cache(maxsize=2)
def _load(name: str, fold: int, content: str) -> Images:
    """``content``: the digest of what is one's own, so that other data under its name are read."""
    if name.startswith("imagefolder:"):
        splits = _imagefolder(name, content)
    elif name.startswith("arrays:"):
        splits = _arrays(name)
    else:
        splits = LOADERS[name](fold)
    digest = hashlib.sha256()
    for split in splits:
        digest.update(split.numpy())
    mean, std = _statistics(splits[0]) if splits[0].dtype == torch.uint8 else _moments(splits[0])
    return Images(name, *splits, mean, std, digest.hexdigest())


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


def _moments(data: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of data that are no pixels, in float64."""
    channels = data.double().transpose(0, 1).flatten(1) / 255
    std = channels.std(1, correction=0)
    return tuple(channels.mean(1).tolist()), tuple(s or 1.0 for s in std.tolist())


def _by_channel(numbers: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(numbers, device=like.device)[:, None, None]


def _fashion_mnist(_: int) -> Splits:
    train = _read_idx("fashion-mnist/train-images-idx3-ubyte.gz")
    test = _read_idx("fashion-mnist/t10k-images-idx3-ubyte.gz")
    return train[:-HELD_OUT], train[-HELD_OUT:], test


def _fashion_mnist_mini(fold: int) -> Splits:
    train, validation, test = _fashion_mnist(fold)
    return train[:2_000].clone(), validation[:500].clone(), test[:1_000].clone()


def _read_idx(name: str) -> Tensor:
    """An IDX file: big-endian magic number 0x803, count, rows, columns; then the pixels, a byte each."""
    contents = files.read(name)
    count, rows, columns = struct.unpack(">4xIII", contents[:16])
    return torch.frombuffer(bytearray(contents), dtype=torch.uint8, offset=16).view(count, 1, rows, columns)


def _cifar10(_: int) -> Splits:
    """The tar archive of pickled batches, whose rows hold the red, the green and the blue plane of one image."""
    with tarfile.open(fileobj=io.BytesIO(files.read("cifar10/cifar-10-python.tar.gz"))) as archive:

        def batch(name: str) -> np.ndarray:
            member = archive.extractfile(f"cifar-10-batches-py/{name}")
            return pickle.load(member, encoding="bytes")[b"data"]  # the archive's checksum has been verified

        train = np.concatenate([batch(f"data_batch_{i}") for i in range(1, 6)])
        train, test = (torch.from_numpy(rows.reshape(-1, 3, 32, 32)) for rows in (train, batch("test_batch")))
    return train[:-HELD_OUT], train[-HELD_OUT:], test


def _photographs(fold: int) -> Splits:
    """32 x 32 colour crops of the ten photographs of scikit-image and scikit-learn, on an even grid.

    Fold k tests on the pair FOLDS[k]: 16 x 24 crops of each. The other eight train and validate: 32 x 48 crops of the
    upper four fifths of each photograph train, 4 x 24 crops of the lower fifth validate. Crops of one split overlap,
    no pixel is in two splits, and successive crops come from different photographs. The two motorcycles are the views
    of one rectified stereo pair, so they share a fold; a point lies on the same row of both, so the split by rows parts
    the scene as well. Hubble's deep field and the retina are larger and are reduced by 2 and by 3 (box average) first.
    """
    tested = FOLDS[fold]
    others = [photograph for pair in FOLDS if pair != tested for photograph in pair]
    return _crops(others, 32, 48, 0.0, 0.8), _crops(others, 4, 24, 0.8, 1.0), _crops(tested, 16, 24, 0.0, 1.0)


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

    picture = Image.open(io.BytesIO(files.read_photograph(name))).convert("RGB").reduce(REDUCTION.get(name, 1))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _imagefolder(name: str, content: str) -> Splits:
    """Centre crops of the files of :func:`_split_files`, in 8 bits; transparency is left out.

    A split of more than IN_MEMORY bytes (ImageNet's take 234 GiB) is decoded to a file there, which later loads share
    as long as the images have the digest ``content``.
    """
    root, (_, size) = find(name), _path_and_size(name)
    splits = _split_files(root)
    side = _common_size([file for split in splits for file in split]) if size is None else (size, size)
    mapped = (root / "rotvq-{}-{}x{}-{}.u8".format(split, *side, content) for split in ("train", "validation", "test"))
    return tuple(_pixels(paths, side, place) for paths, place in zip(splits, mapped))


def _split_files(root: Path) -> list[list[Path]]:
    """train/<class>/<file> and val/<class>/<file>, the test set, below a folder; without train/ all images below it."""
    if not (root / "train").is_dir():
        return _by_last_digit(_image_files(root, "**/*", least=10))
    seen, test = _image_files(root / "train"), _image_files(root / "val")
    return [[file for i, file in enumerate(seen) if i % 20], seen[::20], test]


def _image_files(folder: Path, pattern: str = "*/*", least: int = 2) -> list[Path]:
    found = sorted(path for path in folder.glob(pattern) if path.suffix.lower() in {".jpeg", ".jpg", ".png", ".webp"})
    paths = [path for path in found if path.is_file()]
    if len(paths) < least:
        asked = "a folder per class, with" if pattern == "*/*" else f"at least {least},"
        raise DataError(f"{folder} holds {len(paths)} images: it needs {asked} jpeg, png or webp.")
    return paths


def _by_last_digit(rows: Sequence) -> list:
    """Rows whose number ends in 0 to 7 train, in 8 validate, in 9 test."""
    numbers = np.arange(len(rows)) % 10
    taken = numbers < 8, numbers == 8, numbers == 9
    return [rows[mask] if isinstance(rows, np.ndarray) else list(itertools.compress(rows, mask)) for mask in taken]


def _common_size(paths: list[Path]) -> tuple[int, int]:
    """(width, height) of all images, or DataError that names two of different sizes."""
    sizes = {}
    for path in paths:
        with _opened(path) as picture:
            sizes.setdefault(picture.size, path)
        if len(sizes) > 1:
            said = " and ".join("{} of {} x {}".format(file, *size) for size, file in sizes.items())
            raise DataError(f"@{NATIVE} needs images of one size, and there are {said}: give a side, such as @64.")
    return next(iter(sizes))


@contextmanager
def _opened(path: Path) -> Iterator:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            yield picture
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} is no whole image ({error}): replace it or remove it, then load again.") from error


def _pixels(paths: list[Path], side: tuple[int, int], mapped: Path) -> Tensor:
    """The decoded images: in memory, or where they are many in the file ``mapped``, whole or absent."""
    shape = (len(paths), 3, *side[::-1])
    size = math.prod(shape)
    if size <= IN_MEMORY:
        return _decode(paths, torch.empty(shape, dtype=torch.uint8))
    options = {"shared": True, "size": size, "dtype": torch.uint8}
    if not (mapped.exists() and mapped.stat().st_size == size):
        if world()[1] > 1:
            raise DataError(f"{mapped} is not there yet: load the images once in one process, which decodes them.")
        for stale in mapped.parent.glob(f"{mapped.name.rpartition('-')[0]}-*.u8"):  # of images that were there before
            stale.unlink()
        with files.replacing(mapped) as temporary:
            _decode(paths, torch.from_file(str(temporary), **options).view(shape))
    return torch.from_file(str(mapped), **options).view(shape)


def _decode(paths: list[Path], pixels: Tensor) -> Tensor:
    from PIL import Image, ImageOps

    height, width = pixels.shape[2:]
    for slot, path in zip(pixels, paths, strict=True):
        with _opened(path) as picture:
            fitted = ImageOps.fit(_as_rgb(picture, path), (width, height), Image.Resampling.BICUBIC)
        slot.copy_(torch.from_numpy(np.array(fitted)).permute(2, 0, 1))
    return pixels


def _as_rgb(picture: Any, path: Path) -> Any:
    """A picture of Pillow's in 8 bits a channel: the high 8 of 16, which its own conversion would cut off at 255."""
    from PIL import Image

    if picture.mode.startswith("I;16") or (picture.mode, picture.format) == ("I", "PNG"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        raise DataError(f"{path} holds numbers of 32 bits (mode {picture.mode}): save it with 8 or 16 bits a channel.")
    picture.info.pop("transparency", None)  # of a palette, of which the conversion would warn
    return picture.convert("RGB")


def _arrays(name: str) -> Splits:
    """Images (N, H, W) or (N, H, W, C), or vectors (N, d), of a .npy or .npz file; uint8, or floats of any scale.

    One array is split by `_by_last_digit`. A .npz file may have its own split: arrays ``train`` and ``test``, and
    ``validation``, without which every 20th row of ``train`` validates.
    """
    path = find(name)
    arrays = _read_arrays(path)
    if len(arrays) != 1 and arrays.keys() not in ({"train", "test"}, {"train", "validation", "test"}):
        held = ", ".join(arrays) or "nothing"
        raise DataError(f"{path} holds {held}: it needs one array, or train and test, and validation.")
    for array in arrays.values():
        _refuse_unfit(array, path)
    if len(arrays) == 1:
        (rows,) = arrays.values()
        splits = _by_last_digit(rows)
    else:
        rest = np.arange(len(arrays["train"])) % 20 > 0
        held_out = (
            {} if "validation" in arrays else {"validation": arrays["train"][~rest], "train": arrays["train"][rest]}
        )
        splits = [(arrays | held_out)[split] for split in ("train", "validation", "test")]
    if len({(split.shape[1:], split.dtype) for split in splits}) > 1 or not all(map(len, splits)):
        said = ", ".join(f"{split.shape} {split.dtype}" for split in splits)
        raise DataError(f"{path} gives splits of {said}: each needs a row or more, and all one shape and type.")
    return tuple(_as_tensor(split, path) for split in splits)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:
            read = np.load(file, allow_pickle=False)
            return {"": read} if isinstance(read, np.ndarray) else {key: np.asarray(read[key]) for key in read.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no whole .npy or .npz file of numbers ({error}).") from error


def _refuse_unfit(rows: np.ndarray, path: Path) -> None:
    if rows.ndim not in (2, 3, 4) or 0 in rows.shape or not (rows.dtype == np.uint8 or rows.dtype.kind == "f"):
        asked = "(N, H, W), (N, H, W, C) or (N, d), uint8 or float"
        raise DataError(f"{path} has an array of {rows.shape} {rows.dtype}: it must be {asked}.")
    if rows.ndim == 4 and rows.shape[1] in (1, 3) and rows.shape[3] not in (1, 3):
        raise DataError(f"{path} has an array of {rows.shape}, as (N, C, H, W) has: move the channels to the end.")


def _as_tensor(rows: np.ndarray, path: Path) -> Tensor:
    """(N, H, W), (N, H, W, C) or (N, d) -> (N, C, H, W); floats times 255 in float32."""
    with np.errstate(over="ignore"):
        tensor = torch.from_numpy(rows if rows.dtype == np.uint8 else (rows * np.float64(255)).astype(np.float32))
    if not tensor.isfinite().all():
        raise DataError(f"{path} holds numbers that are not finite in float32.")
    if tensor.ndim == 2:
        return tensor[:, :, None, None].contiguous()
    return tensor[:, None].contiguous() if tensor.ndim == 3 else tensor.movedim(-1, 1).contiguous()


LOADERS: dict[str, Callable[[int], Splits]] = {
    "fashion-mnist": _fashion_mnist,
    "fashion-mnist-mini": _fashion_mnist_mini,
    "photographs": _photographs,
    "cifar10": _cifar10,
}
SETS = tuple(LOADERS)
SUFFIXES = (".npy", ".npz")
