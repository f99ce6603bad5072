"""Settings of vector quantisers that people run, by name, as fields of a Config, each with where it stands.

What belongs to their data and networks is left at the defaults of this book: a setting here is the quantiser alone.
Weights of the losses are theirs, on pixels of another scale: see the chapter on what people run.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rotvq.quantizers.recommended import RECOMMENDED
from rotvq.training.config import Config


@dataclass(frozen=True)
class Setting:
    """How a library or a paper sets its quantiser.

    Args:
        fields: of :class:`.Config`.
        source: where it stands: a package and its version, or a repository and the file.
        note: what a Config cannot say of it, or "".
    """

    fields: Mapping[str, Any]
    source: str
    note: str = ""


K, D = Config().codebook_size, Config().dim
KAIMING = {"init": "uniform", "init_scale": math.sqrt(6 * K / D)}  # nn.init.kaiming_uniform_ of (1, K, d)
LIBRARY = {"update": "ema", "decay": 0.8, "initial_count": 1.0, "gamma": 1.0, **KAIMING}
_LIBRARY = "vector-quantize-pytorch 1.32, VectorQuantize"
NORMAL = {"init": "normal", "init_scale": math.sqrt(8)}  # nn.Embedding: N(0, 1) in 8 dimensions

SETTINGS: dict[str, Setting] = {
    "recommended": Setting(RECOMMENDED, "this book: rotvq.recommended"),
    "library": Setting({**LIBRARY, "estimator": "rotation"}, _LIBRARY, "its default since rotation_trick is on"),
    "library, STE": Setting({**LIBRARY, "estimator": "ste"}, _LIBRARY, "rotation_trick=False"),
    "library, dead codes at 2": Setting(
        {**LIBRARY, "estimator": "rotation", "revival": "count", "revival_at": 2.0},
        _LIBRARY,
        "threshold_ema_dead_code=2, here of the mean count a step",
    ),
    "library, STE, dead codes at 2": Setting(
        {**LIBRARY, "estimator": "ste", "revival": "count", "revival_at": 2.0},
        _LIBRARY,
        "rotation_trick=False, threshold_ema_dead_code=2, here of the mean count a step",
    ),
    "taming": Setting(
        {"estimator": "ste", "beta": 0.25, "gamma": 1.0},
        "taming-transformers, taming/modules/vqvae/quantize.py, VectorQuantizer2",
        "legacy=True: its beta weighs the codebook loss",
    ),
    "LlamaGen": Setting(
        {"estimator": "ste", "project_to": 8, "lookup": "normalised"},
        "LlamaGen, tokenizer/tokenizer_image/vq_model.py, VectorQuantizer",
        "without its entropy loss",
    ),
    "DAC": Setting(
        {"estimator": "ste", "project_to": 8, "lookup": "cosine", **NORMAL},
        "descript-audio-codec, dac/nn/quantize.py, VectorQuantize",
        "one level; one factor for both losses there, here 1 and 0.25",
    ),
    "EnCodec": Setting(
        {
            "estimator": "ste",
            "update": "ema",
            "decay": 0.99,
            "initial_count": 1.0,
            "init": "kmeans",
            "gamma": 1.0,
            "revival": "count",
            "revival_at": 2.0,
        },
        "audiocraft, audiocraft/quantization/core_vq.py, EuclideanCodebook",
        "one level; its counts start at those of k-means, here dead codes are those of the mean count a step",
    ),
}
