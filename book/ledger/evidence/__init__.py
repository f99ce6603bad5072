"""Evidence for the ledger of claims: one small function for each thing that can be computed."""

from . import (  # noqa: F401  (each registers what it holds)
    autograd,
    bias,
    cells,
    codebooks,
    collapse,
    convergence,
    cost,
    geometry,
    gradients,
    own,
    paper,
    quantisation,
    references,
    released,
    rope,
    rotation,
    runs,
)
from .base import EVIDENCE, Finding

__all__ = ["EVIDENCE", "Finding"]
