"""Files that ship below ``data/``, read whole and checked against ``data/registry.txt`` before a byte is used."""

import gzip
import hashlib

from rotvq.training import files
from rotvq.training.files import DataError


def read(name: str) -> bytes:
    """The contents of a file by its path below a data folder, or DataError. A gzip file comes uncompressed.

    >>> len(read("fashion-mnist/t10k-labels-idx1-ubyte.gz"))
    10008
    """
    path = next((folder / name for folder in files.folders() if (folder / name).is_file()), None)
    if path is None:
        raise DataError(f"{name} is in none of {', '.join(map(str, files.folders()))}: git checkout -- data")
    contents = path.read_bytes()
    if path.suffix == ".gz":
        contents = gzip.decompress(contents)
    expected, actual = registered(name.removesuffix(".gz")), hashlib.sha256(contents).hexdigest()
    if actual != expected:
        raise DataError(f"{path} has been altered: the sha256 of its contents is {actual}, not {expected}")
    return contents


def registered(name: str) -> str:
    """The sha256 that the registry gives for the contents of a file; DataError where it has no such line."""
    lines = (files.CHECKOUT / "data" / "registry.txt").read_text("utf-8").splitlines()
    digests = {path: digest for digest, path in map(str.split, lines)}
    if name not in digests:
        raise DataError(f"{name} has no line in data/registry.txt")
    return digests[name]
