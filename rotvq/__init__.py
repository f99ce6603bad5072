"""What should flow back through vector quantisation: a paper companion's module."""

from rotvq.codebook import Codebook
from rotvq.estimators import CLIPS, ESTIMATORS, Estimator, estimator, rotate, straight_through
from rotvq.interface import Details, Quantized
from rotvq.lookup import nearest
from rotvq.quantizer import VectorQuantizer

__version__ = "0.1.0"
__all__ = [
    "CLIPS",
    "ESTIMATORS",
    "Codebook",
    "Details",
    "Estimator",
    "Quantized",
    "VectorQuantizer",
    "estimator",
    "nearest",
    "rotate",
    "straight_through",
]
