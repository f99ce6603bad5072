"""Estimates against what can be counted or measured: published sizes, closed forms, the allocator of small networks."""

import json
import shlex
from dataclasses import replace

import numpy
import PIL.Image
import pytest
import torch
from samples import PROJECTIONS, PUBLISHED
from torch.utils.flop_counter import FlopCounterMode

from book.bench import paper_runs, sizing
from book.bench.paper_runs import table_1
from book.bench.sizing import H100, Card, Work, kept_bytes, size
from book.bench.timing import peak_bytes
from rotvq.__main__ import main
from rotvq.training.config import Config

TABLE = table_1()
CONV, SMALL, LOOKUP = Config(dim=3), {"side": 64, "images": 2}, 2 * (16 * 16) * 3 * 512


@pytest.mark.parametrize("network", paper_runs.NETWORKS)
def test_table_1_has_the_published_networks(network):
    found, name = size(TABLE[network, "Euclid"], images=1), network.replace(" = ", "")
    assert found.encoder == PUBLISHED[name][0] + PROJECTIONS[name][0]
    assert found.decoder == PUBLISHED[name][1] + PROJECTIONS[name][1]
    assert found.codes == {"f16": 1024 * 32, "f4": 8192 * 3}[name]
    assert found.latents == {"f16": (16, 16, 32), "f4": (64, 64, 3)}[name]


def test_table_1_is_what_the_command_line_can_train(capsys, tmp_path, monkeypatch):
    for part in ("train", "val"):
        folder = tmp_path / "imagenet" / part / "fish"
        folder.mkdir(parents=True)
        for number in range(20):
            PIL.Image.fromarray(numpy.full((8, 8, 3), number, "uint8")).save(folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    for config in map(replace, TABLE.values()):  # each notes the content of the folder that is there now
        config.check()
        line = shlex.split(paper_runs.command(config, 8, device="cpu"))
        assert line[:4] == ["torchrun", "--standalone", "--nproc-per-node=8", "-m"]
        assert main([*line[5:], "--dry-run"]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[0])["id"] == config.id


def test_the_codes_of_table_1_start_as_kaiming_has_it():
    for config in TABLE.values():
        bound = torch.nn.init.kaiming_uniform_(torch.empty(1, config.codebook_size, config.dim)).abs().max().item()
        assert config.init_scale / config.codebook_size == pytest.approx(bound, rel=1e-3)


def test_operations_are_those_of_torchs_counter_and_of_a_convolution_by_hand():
    with torch.device("meta"):
        model, x = sizing.autoencoder(CONV), torch.empty(2, 3, 64, 64)
    with FlopCounterMode(display=False) as counter:
        sizing.loss(model, x).backward()
    assert size(CONV, **SMALL).flops == counter.get_total_flops() / 2 + LOOKUP

    with torch.device("meta"):
        layer, x = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.empty(2, 3, 10, 10)
    with torch.no_grad(), Work(H100) as work:
        layer(x)
    assert work.flops == 2 * (8 * 10 * 10) * (3 * 3 * 3) * 2
    assert work.moved == 4 * (8 * 3 * 9 + 2 * 3 * 100 + 2 * 8 * 100)


def test_the_bound_is_the_slower_of_operations_and_bytes():
    """All operations of this network are convolutions, but for the lookup."""
    bytes_only = size(CONV, card=Card(1e30, 1e30, 1e9, 0), **SMALL)
    flops_only = size(CONV, card=Card(1e9, 1e8, 1e30, 0), **SMALL)
    assert bytes_only.bound == pytest.approx(bytes_only.moved / 1e9)
    assert flops_only.bound == pytest.approx((flops_only.flops - LOOKUP) / 1e9 + LOOKUP / 1e8)
    both = size(CONV, card=Card(1e12, 1e12, 1e11, 0), **SMALL)
    assert max(both.flops / 1e12, both.moved / 1e11) < both.bound < both.flops / 1e12 + both.moved / 1e11


@pytest.mark.parametrize("name", ["residual_f16", "residual_f4"])
def test_bytes_kept_are_those_that_the_allocator_hands_out(name):
    """Measured where there are contents: the graph alone, and the whole step, which also holds gradients on their way.

    The attention matrix, which the meta device keeps and a CPU does not, is small here.
    """
    config = Config(model=name, dim=3)
    predicted, peak = sizing.against_allocator(config, width=32).values()
    model, x = sizing.autoencoder(config, width=32), torch.rand(2, 3, 64, 64)
    assert predicted == pytest.approx(kept_bytes(lambda: sizing.loss(model, x), list(model.parameters())), rel=0.05)
    graph = []
    held = peak_bytes(lambda: graph.append(sizing.loss(model, x)))
    assert predicted < held < 1.1 * predicted
    assert predicted < peak < 1.15 * predicted


def test_a_peak_is_measured_once(tmp_path):
    found = sizing.record(CONV, tmp_path, side=64, images=2)
    assert sizing.record(CONV, tmp_path, side=64, images=2) == found
    assert [p.stem for p in tmp_path.iterdir()] == [found["id"]]
    assert found["id"] != sizing.record(CONV, tmp_path, side=32, images=2)["id"]
    assert 0 < found["result"]["predicted"] < found["result"]["peak"] and len(found["provenance"]["load"]) == 2


def test_memory_of_a_card():
    found = size(TABLE["f = 4", "Euclid"], images=1)
    memory = found.memory(32)
    assert memory["weights"] == memory["gradients"] == memory["Adam"] / 2 == 4 * (found.encoder + found.decoder)
    assert memory["activations"] == 32 * found.kept
    assert sum(memory.values()) < H100.memory  # an eighth of the paper's batch fits
