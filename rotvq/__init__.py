"""What should flow back through vector quantisation: a paper companion's module."""

from rotvq.quantizers.base import Details, Quantized
from rotvq.quantizers.codebook import Codebook
from rotvq.quantizers.estimators import CLIPS, ESTIMATORS, Estimator, estimator, rotate, straight_through
from rotvq.quantizers.grouped import Grouped
from rotvq.quantizers.lookup import nearest
from rotvq.quantizers.recommended import recommended
from rotvq.quantizers.residual import ResidualVectorQuantizer
from rotvq.quantizers.vector import VectorQuantizer

__version__ = "0.1.0"
__all__ = [
    "CLIPS",
    "ESTIMATORS",
    "Codebook",
    "Details",
    "Estimator",
    "Grouped",
    "Quantized",
    "ResidualVectorQuantizer",
    "VectorQuantizer",
    "estimator",
    "nearest",
    "recommended",
    "rotate",
    "straight_through",
]
