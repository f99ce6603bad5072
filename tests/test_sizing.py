"""Estimates against what can be counted or measured: published sizes, closed forms, the allocator of small networks."""

import json
import shlex

import pytest
import torch
from test_residual import PROJECTIONS, PUBLISHED
from torch.utils.flop_counter import FlopCounterMode

from rotvq import sizing
from rotvq.__main__ import main
from rotvq.config import Config
from rotvq.models import MODELS
from rotvq.sizing import H100, Card, Work, kept_bytes, size, table_1
from rotvq.timing import peak_bytes

TABLE = table_1()
SMALL = {"side": 64, "images": 2, "width": 32}


@pytest.mark.parametrize("network", sizing.NETWORKS)
def test_table_1_has_the_published_networks(network):
    found, name = size(TABLE[network, "Euclid"], images=1), network.replace(" = ", "")
    assert found.encoder == PUBLISHED[name][0] + PROJECTIONS[name][0]
    assert found.decoder == PUBLISHED[name][1] + PROJECTIONS[name][1]
    assert found.codes == {"f16": 1024 * 32, "f4": 8192 * 3}[name]
    assert found.latents == {"f16": (16, 16, 32), "f4": (64, 64, 3)}[name]


def test_table_1_is_what_the_command_line_can_train(capsys):
    for config in TABLE.values():
        config.check()
        line = shlex.split(sizing.command(config, 8, device="cpu"))
        assert line[:4] == ["torchrun", "--standalone", "--nproc-per-node=8", "-m"]
        assert main([*line[5:], "--dry-run"]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[0])["id"] == config.id


def test_the_codes_of_table_1_start_as_kaiming_has_it():
    for config in TABLE.values():
        bound = torch.nn.init.kaiming_uniform_(torch.empty(1, config.codebook_size, config.dim)).abs().max().item()
        assert config.init_scale / config.codebook_size == pytest.approx(bound, rel=1e-3)


def network(name="residual_f4", device="cpu", **options):
    with torch.device(device):
        return MODELS[name](3, sizing._Shape(3), width=32, **options), torch.rand(2, 3, 64, 64)


def forward(model, x):
    return lambda: (model.decode(model.encode(x)) - x).square().mean()


def test_operations_are_those_of_torchs_counter_and_of_a_convolution_by_hand():
    model, x = network(device="meta")
    with FlopCounterMode(display=False) as counter:
        forward(model, x)().backward()
    found = size(Config(model="residual_f4", dim=3), **SMALL)
    assert found.flops == counter.get_total_flops() / 2 + 2 * (16 * 16) * 3 * 512

    with torch.device("meta"):
        layer, x = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.empty(2, 3, 10, 10)
    with torch.no_grad(), Work(H100) as work:
        layer(x)
    assert work.flops == 2 * (8 * 10 * 10) * (3 * 3 * 3) * 2
    assert work.moved == 4 * (8 * 3 * 9 + 2 * 3 * 100 + 2 * 8 * 100)


def test_the_bound_is_the_slower_of_operations_and_bytes():
    config = Config(model="residual_f4", dim=3)
    lookup = 2 * (16 * 16) * 3 * 512
    only_bytes, only_flops = Card("", 1e30, 1e9, 0), Card("", 1e9, 1e30, 0)
    assert size(config, card=only_bytes, **SMALL).bound == pytest.approx(size(config, **SMALL).moved / 1e9)
    assert size(config, card=only_flops, **SMALL).bound == pytest.approx(size(config, **SMALL).flops / 1e9)
    both = Card("", 1e12, 1e11, 0)
    found = size(config, card=both, **SMALL)
    assert max(found.flops / 1e12, found.moved / 1e11) < found.bound < found.flops / 1e12 + found.moved / 1e11 + lookup


@pytest.mark.parametrize("name", ["residual_f16", "residual_f4"])
def test_bytes_kept_are_those_that_the_allocator_hands_out(name):
    """Measured where there are contents: the graph alone, and the whole step, which also holds gradients on their way.

    The attention matrix, which the meta device keeps and a CPU does not, is small here.
    """
    torch.manual_seed(0)
    model, x = network(name)
    predicted = size(Config(model=name, dim=3), **SMALL).kept * 2
    graph = []
    held = peak_bytes(lambda: graph.append(forward(model, x)()))
    assert predicted == pytest.approx(kept_bytes(forward(model, x), list(model.parameters())), rel=0.1)
    assert 0.95 * predicted < held < 1.25 * predicted
    graph.clear()
    step = peak_bytes(lambda: forward(model, x)().backward())
    weights = 4 * sum(p.numel() for p in model.parameters())
    assert step < 1.35 * predicted + 2 * weights


def test_memory_of_a_card():
    found = size(TABLE["f = 4", "Euclid"], images=1)
    memory = found.memory(32)
    assert memory["weights"] == memory["gradients"] == memory["Adam"] / 2 == 4 * (found.encoder + found.decoder)
    assert memory["activations"] == 32 * found.kept
    assert sum(memory.values()) < H100.memory  # an eighth of the paper's batch fits
