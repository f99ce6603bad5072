"""What several test files take as given: a study made up of runs, a figure and its colours, published sizes."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from book.chapters import plots
from rotvq.page import figures
from rotvq.runs.grids import expand
from rotvq.runs.records import Records

# a study

ARMS = {"STE": {"estimator": "ste"}, "rotation": {"estimator": "rotation"}}
CELLS = {"uniform": {"init": "uniform"}, "k-means": {"init": "kmeans"}}
EFFECT = {"uniform": 0.5, "kmeans": 1.25}
CONFIGS = expand(
    {"init": ["uniform", "kmeans"], "seed": range(5)},
    {"init": "kmeans", "seed": range(100, 110)},
    estimator=["ste", "rotation"],
)


def error(config, step) -> float:
    """A test MSE: the effect of the rotation depends on the start, and on nothing else but a little noise."""
    noise = np.random.default_rng(config.seed + 1000 * (config.estimator == "ste")).normal()
    return EFFECT[config.init] ** (config.estimator == "rotation") * (1 + 0.01 * noise) * 1000 / step


def store(folder, configs=CONFIGS, diverged=()):
    """Records of these runs, which cost an hour each; those that diverged did so at step 700."""
    records = Records(folder)
    for config in configs:
        lost = config in diverged
        steps = [500] if lost else [500, 1000, 2000]
        stops = [{"step": step, "test_mse": error(config, step)} for step in steps]
        trace = [{"step": step, "r": 1 + step / 1000, "usage": 0.5} for step in (1, *steps)]
        final = {"diverged_at": 700 if lost else None} | ({} if lost else stops[-1])
        records.put(config, {"final": final, "curve": {"stops": stops, "trace": trace}}, {"seconds": 3600.0})
    return records


# a figure


def luminance(color):
    """The relative luminance of WCAG 2.1."""

    def linear(c):
        return c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4

    r, g, b = map(linear, matplotlib.colors.to_rgb(color))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a, b):
    """The contrast ratio of WCAG 2.1."""
    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


def drawn(**kwargs):
    """A figure of two seeds, one of which diverged."""
    with plt.rc_context(figures.style()):
        fig, ax = plt.subplots()
        plots.seeds(ax, [1, 2, 3], [[1.0, 2.0, 3.0], [2.0, 2.0, float("nan")]], "ste", **kwargs)
        ax.set_xlabel("step")
        ax.legend()
    return fig


# the networks of the paper's Table 1

#: Parameters of (encoder, decoder), counted by running the authors' own classes: Encoder and Decoder of
#: CompVis/taming-transformers at 3ba01b2 (taming/modules/diffusionmodules/model.py), with the arguments that
#: cfifty/rotation_trick at 9910492 (src/models/vq_vae.py, src/models/model_utils.py) gives them: resolution 256,
#: ch 128, num_res_blocks 2, double_z False and, for f = 16, z_channels 256, ch_mult 1 1 2 2 4, attn_resolutions [16];
#: for f = 4, z_channels 3, ch_mult 1 2 4, attn_resolutions [].
PUBLISHED = {"f16": (29_298_176, 42_449_795), "f4": (22_337_411, 32_960_771)}
#: The maps between z_channels and embed_dim there (nn.Linear), absent where the two are equal.
PROJECTIONS = {"f16": (256 * 32 + 32, 32 * 256 + 256), "f4": (0, 0)}
