"""Files: those of an image set are found or fetched, and checked before a byte is used; and how a file is written.

A file is looked for in the folder named by ROTVQ_DATA, then in the checkout's data/, or, where the package is installed
without one, in the user's own folder; it is else fetched into a cache.
"""

import gzip
import hashlib
import importlib.util
import os
import re
import signal
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import lru_cache, partial
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]

FASHION_MNIST = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
CIFAR10 = "https://www.cs.toronto.edu/~kriz/"

#: path below a data folder -> (where it is published, md5 of the published file, sha256 of its contents). The contents
#: of an IDX file are its uncompressed bytes: copies differ in their gzip headers.
FILES = {
    "fashion-mnist/train-images-idx3-ubyte.gz": (
        FASHION_MNIST,
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "fashion-mnist/t10k-images-idx3-ubyte.gz": (
        FASHION_MNIST,
        "bef4ecab320f06d8554ea6380940ec79",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "cifar10/cifar-10-python.tar.gz": (
        CIFAR10,
        "c58f30108f718f92721af3b95e74349a",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
}

# Photographs inside the wheels of scikit-image and scikit-learn: path below the package, sha256 of the file.
PHOTOGRAPHS = {
    "skimage/data/astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "skimage/data/chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "skimage/data/coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "skimage/data/hubble_deep_field.jpg": "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
    "skimage/data/motorcycle_left.png": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
    "skimage/data/motorcycle_right.png": "5fc913ae870e42a4b662314bc904d1786bcad8e2f0b9b67dba5a229406357797",
    "skimage/data/retina.jpg": "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
    "skimage/data/rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    "sklearn/datasets/images/china.jpg": "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    "sklearn/datasets/images/flower.jpg": "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
}


PIN = re.compile("#[0-9a-f]{16}$")  # a digest behind the name of what is one's own: see `rotvq.training.own`


class DataError(OSError):
    """A source is missing, truncated or altered. The message names it and says what to do."""


def folders() -> list[Path]:
    """Data folders in the order in which they are searched: ROTVQ_DATA if it is set, the checkout's data/ or one's own.

    Raises DataError where ROTVQ_DATA is no folder.
    """
    named = os.environ.get("ROTVQ_DATA")
    if named and not Path(named).expanduser().is_dir():
        raise DataError(f"ROTVQ_DATA is {named!r}, which is no folder: make it, name another or unset it")
    shipped = CHECKOUT / "data"
    last = shipped if (shipped / "registry.txt").is_file() else user_folder()
    return [Path(named).expanduser(), last] if named else [last]


def check_environment() -> None:
    """DataError where ROTVQ_DATA is no folder, ValueError where it is empty or another name begins like it."""
    folders()
    if os.environ.get("ROTVQ_DATA") == "":
        raise ValueError("ROTVQ_DATA is empty: name a folder, or unset it")
    others = [name for name in os.environ if name.upper().startswith("ROTVQ_") and name != "ROTVQ_DATA"]
    if "ROTVQ_DATA" not in os.environ:
        others += get_close_matches("ROTVQ_DATA", os.environ, n=1, cutoff=0.85)
    if others:
        raise ValueError(f"unknown environment variable {others[0]}: the folder of the data is named by ROTVQ_DATA")


def user_folder() -> Path:
    """Where data and records of a package without a checkout are: rotvq in XDG_DATA_HOME or LOCALAPPDATA, if set."""
    home = os.environ.get("XDG_DATA_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".local" / "share"
    return Path(home) / "rotvq"


def read(name: str) -> bytes:
    """Contents of one of :data:`FILES`, whole and checked, or DataError. A single gzip file comes uncompressed."""
    places = (folder / name for folder in folders())
    path = next((place for place in places if place.is_file()), None) or _fetch(name)
    try:
        contents = path.read_bytes()
        if name.endswith("-ubyte.gz"):
            contents = gzip.decompress(contents)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is truncated or damaged ({error}). {_remedy(path)}") from error
    return _checked(contents, FILES[name][2], path)


def read_photograph(name: str) -> bytes:
    """Contents of one of :data:`PHOTOGRAPHS`, checked; no network is used. Raises DataError if it is missing."""
    package, _, inside = name.partition("/")
    try:
        path = Path(importlib.util.find_spec(package).submodule_search_locations[0]) / inside  # found, not imported
        return _checked(path.read_bytes(), PHOTOGRAPHS[name], path)
    except (AttributeError, FileNotFoundError) as error:
        distribution = {"skimage": "scikit-image", "sklearn": "scikit-learn"}[package]
        raise DataError(f"{name} is missing: install {distribution} (again), which ships this photograph.") from error


def digest(place: Path, sources: Iterable[Path]) -> str:
    """16 digits of the sha256 of some files, in order and with their names below ``place``, which may be one itself."""
    states = [(path.relative_to(place).as_posix(), path.stat()) for path in sorted(sources)]
    return _digest(place, tuple((name, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for name, one in states))


@lru_cache
def _digest(place: Path, states: tuple[tuple[str, int, int, int], ...]) -> str:
    """Files are read again when their size or a time of change differs."""
    whole = hashlib.sha256()
    for name, *_ in states:
        with (place / name).open("rb") as file:
            whole.update(f"{name}\0".encode() + hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:16]


def _checked(contents: bytes, sha256: str, path: Path) -> bytes:
    actual = hashlib.sha256(contents).hexdigest()
    if actual != sha256:
        difference = f"the sha256 of its contents is {actual}, not {sha256}"
        raise DataError(f"{path} has been altered or cut: {difference}. {_remedy(path)}")
    return contents


def _remedy(path: Path) -> str:
    if path.is_relative_to(CHECKOUT / "data"):
        return "Restore it (git checkout -- data), or set ROTVQ_DATA to a folder with an intact copy."
    return "Delete it or put an intact copy in its place, then load again."


def _fetch(name: str) -> Path:
    """Path of the file in pooch's cache, fetched there if it is not; an interrupted download is resumed."""
    address, md5, _ = FILES[name]
    file = Path(name).name
    url = address + file
    missing = f"{name} is in none of the data folders ({', '.join(map(str, folders()))})"
    remedy = "put it there, set ROTVQ_DATA to a folder that has it, or"
    try:
        import pooch

        cache = Path(pooch.os_cache("rotvq")) / Path(name).parent
        downloader = partial(_resume_download, part=cache / f"{file}.part")
        return Path(pooch.retrieve(url, f"md5:{md5}", fname=file, path=cache, downloader=downloader))
    except ModuleNotFoundError as error:
        raise DataError(f"{missing}: {remedy} install pooch, which fetches it.") from error
    except (OSError, ValueError) as error:
        resumed = "load again with a connection, which resumes the download"
        raise DataError(f"{missing} and could not be fetched from {url} ({error}): {remedy} {resumed}.") from error


def _resume_download(url: str, output: str, _: object, *, part: Path) -> None:
    """A downloader for pooch that goes on, by an HTTP range request, from what an interrupted call left in ``part``."""
    import requests

    headers = {"Accept-Encoding": "identity"}
    if part.exists():
        headers["Range"] = f"bytes={part.stat().st_size}-"
    with requests.get(url, headers=headers, stream=True, timeout=30) as answer:
        if answer.status_code != 416:  # 416: nothing is left to send, the part is whole
            answer.raise_for_status()
            with part.open("ab" if answer.status_code == 206 else "wb") as file:
                for block in answer.iter_content(1 << 20):
                    file.write(block)
    os.replace(part, output)


WRITING = threading.RLock()  # held while a file is written: who ends this process should wait for it


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path that replaces ``path`` when the block ends; if it raises or is killed, ``path`` stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with WRITING:
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all, through :func:`replacing`. Text is encoded as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def holding_interrupts(hold: bool) -> Iterator[list[int]]:
    """Note the first Ctrl-C or SIGTERM inside instead of acting on it; the second acts. Only in the main thread.

    Gives the numbers of those that came: who holds them back raises them, by ``signal.raise_signal``, when it is ready.
    """
    came: list[int] = []
    before = {}

    def note(number: int, _) -> None:
        came.append(number)
        signal.signal(number, before[number])

    if hold and threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        before = {number: handler for number, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}
    try:
        for number in before:
            signal.signal(number, note)
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
