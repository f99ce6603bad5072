"""The random generators of a run, one for each purpose."""

import hashlib

import torch

PURPOSES = ("weights", "order", "codebook", "noise", "revival")


def derived_seed(seed: int, purpose: str) -> int:
    """The seed of one of :data:`PURPOSES`: 32 bits of the sha256 of (seed, purpose). ValueError for another purpose."""
    if purpose not in PURPOSES:
        raise ValueError(f"unknown purpose {purpose!r}: one of {', '.join(PURPOSES)}")
    digest = hashlib.sha256(f"{int(seed)} {purpose}".encode()).digest()
    return int.from_bytes(digest[:4], "big")  # torch's CPU engine keeps 32 bits


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose of a run, seeded from the sha256 of (seed, purpose).

    Arms that draw differently for one purpose still draw the same for every other, so paired runs see the same batches.

    >>> torch.equal(*(torch.randperm(9, generator=generator(seed=0, purpose="order")) for _ in range(2)))
    True
    """
    return torch.Generator().manual_seed(derived_seed(seed, purpose))
