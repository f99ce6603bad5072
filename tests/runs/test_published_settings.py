"""The settings that people run, against what is installed; the others are read off sources that are not."""

import inspect

import pytest
import torch
from vector_quantize_pytorch import VectorQuantize

from rotvq.quantizers.vector import VectorQuantizer
from rotvq.runs.settings import SETTINGS
from rotvq.training.config import Config
from rotvq.training.train import build_model


@pytest.mark.parametrize("name", SETTINGS)
def test_each_is_a_config_that_trains(name):
    setting = SETTINGS[name]
    assert setting.source and isinstance(build_model(Config(**setting.fields).check(), 1).quantizer, VectorQuantizer)


def test_the_library_is_as_installed():
    torch.manual_seed(0)
    theirs, config = VectorQuantize(dim=32, codebook_size=512), Config(**SETTINGS["library"].fields)
    codebook = theirs._codebook
    assert theirs.rotation_trick and not VectorQuantize(dim=32, codebook_size=512, rotation_trick=False).rotation_trick
    parameters = inspect.signature(VectorQuantize).parameters
    defaults = [parameters[name].default for name in ("decay", "commitment_weight", "threshold_ema_dead_code")]
    assert defaults == [config.decay, config.gamma, 0] and config.revival == "none"
    assert codebook.cluster_size.unique().tolist() == [config.initial_count]
    ours = build_model(config, 1).quantizer.codes
    assert ours.std().item() == pytest.approx(codebook.embed.std().item(), rel=0.02)
    assert ours.abs().max().item() == pytest.approx(codebook.embed.abs().max().item(), rel=0.01)
