"""Region VQ: which codes have a target, and which."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from rotvq import VectorQuantizer
from rotvq.quantizers.methods import region
from rotvq.quantizers.methods.region import RegionVQ
from rotvq.quantizers.registry import METHODS


def line(*places: float) -> torch.Tensor:
    """Points on a line, (n, 1)."""
    return torch.tensor(places)[:, None]


def pulls(vq: RegionVQ, z: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Where each code is drawn to, (K, 1): the code less half the gradient times the codes that have a target."""
    vq.zero_grad()
    vq(z, mask).loss.backward()
    gradient = vq.codebook.weight.grad
    return vq.codes.detach() - gradient / 2 * (gradient != 0).sum()


def test_an_unused_code_is_drawn_to_the_latents_of_its_nearest_used_codes():
    codes = line(0.0, 10.0, 1.0, 11.0, 5.3)
    z = line(-0.1, 0.3, 10.2, 10.4)  # two latents each: of three unused codes each hands on to 1.5, rounded to 2
    drawn = pulls(RegionVQ(1, 5, init=codes, gamma=0.0), z)
    torch.testing.assert_close(drawn, line(0.1, 10.3, 0.1, 10.3, (0.1 + 10.3) / 2))


def test_more_latents_hand_on_to_more_codes():
    codes, z = line(0.0, 10.0, 5.1, 5.2, 5.3, 5.4), line(*[0.1] * 6, *[10.1] * 2)
    drawn = pulls(RegionVQ(1, 6, init=codes, gamma=0.0), z)
    torch.testing.assert_close(drawn, line(0.1, 10.1, 0.1, 0.1, 0.1, 10.1))  # 3 of 4, and 1


def test_a_code_with_one_latent_hands_on_nothing():
    codes, z = line(0.0, 10.0, 9.5), line(0.1, 0.3, 10.1)
    drawn = pulls(RegionVQ(1, 3, init=codes, gamma=0.0), z)
    torch.testing.assert_close(drawn, line(0.2, 10.1, 0.2))


def test_a_code_is_unused_once_the_window_is_over():
    vq = RegionVQ(1, 2, init=line(0.0, 4.0), gamma=0.0, window=3)
    both, first = line(0.1, 0.1, 4.1), line(0.1, 0.1)
    has_pull = []
    for z in (both, first, first, first):
        pulls(vq, z)
        has_pull.append(bool(vq.codebook.weight.grad[1] != 0))
    assert has_pull == [True, False, False, True]


def test_masked_latents_draw_nothing():
    z, mask = line(0.1, 0.3, 50.0), torch.tensor([True, True, False])
    torch.testing.assert_close(pulls(RegionVQ(1, 2, init=line(0.0, 5.0)), z, mask)[1], torch.tensor([0.2]))


def test_with_all_codes_in_use_the_loss_is_the_mean_over_codes():
    codes = 3 * torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    z = codes.repeat(2, 1) + 1e-2 * torch.randn(6, 4)
    vq = RegionVQ(4, 3, init=codes, gamma=0.0)
    torch.testing.assert_close(vq(z).loss, (codes - z.view(2, 3, 4).mean(0)).square().mean())


@pytest.mark.parametrize("beta", (1.0, 0.5))
def test_codes_without_a_target_do_not_count_in_the_mean(beta):
    vq = RegionVQ(1, 2, init=line(0.0, 4.0), gamma=0.0, window=3, beta=beta)
    vq(line(0.1, 0.1, 4.1)).loss.backward()  # both codes are in use
    torch.testing.assert_close(vq(line(0.1, 0.1)).loss.item(), beta * 0.1**2)


def test_rows_in_parts_give_the_same(monkeypatch):
    z, codes = torch.randn(200, 3), 4 * torch.randn(50, 3)
    whole, parted = (RegionVQ(3, 50, init=codes) for _ in range(2))
    expected = whole(z).loss
    monkeypatch.setattr("rotvq.quantizers.methods.region.ROWS", 7)
    torch.testing.assert_close(parted(z).loss, expected)


def test_the_encoder_receives_what_vector_quantizer_sends():
    z, codes = torch.randn(20, 3), torch.randn(5, 3)
    gradients = []
    for make in (RegionVQ, VectorQuantizer):
        x = z.clone().requires_grad_()
        vq = make(3, 5, "rotation", init=codes)
        out = vq(x)
        (out.z_q.sin().sum() + out.loss).backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)


def test_more_codes_come_into_use_than_without():
    z = 3 + torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    codes = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))
    used = []
    for make in (RegionVQ, VectorQuantizer):
        quantizer = make(4, 32, init=codes)
        optimizer = torch.optim.Adam(quantizer.parameters(), 1e-2)
        for _ in range(100):
            optimizer.zero_grad()
            quantizer(z).loss.backward()
            optimizer.step()
        used.append(len(quantizer.encode(z).unique()))
    assert used[0] > used[1]


@pytest.mark.parametrize("reentrant", (False, True), ids=("non-reentrant", "reentrant"))
@pytest.mark.parametrize("method", ("region", "stablevq"))
def test_a_rerun_has_the_targets_of_the_first_run(method, reentrant):
    """Though the call behind it has used other codes in between."""
    gradients = []
    for run in (lambda vq, z: vq(z), lambda vq, z: checkpoint(vq, z, use_reentrant=reentrant)):
        torch.manual_seed(0)
        vq = METHODS[method](4, 64, window=1, init="normal")
        optimizer = torch.optim.SGD(vq.parameters(), lr=0.0)
        vq.follow(optimizer)  # to a reentrant checkpoint, each call would be a step
        for seed in range(3):
            z = torch.randn(20, 4, generator=torch.Generator().manual_seed(seed)).requires_grad_()
            (run(vq, z)[2] + run(vq, z.cos() * 2 - 1)[2]).backward()
            optimizer.step()
        gradients.append([p.grad for p in vq.parameters()])
    for ours, wanted in zip(*gradients):
        assert wanted.abs().sum() > 0
        torch.testing.assert_close(ours, wanted)  # a reentrant checkpoint adds up in another order


@pytest.mark.parametrize("training", (True, False))
def test_ranks_share_targets_in_training_alone(training, monkeypatch):
    groups, whole = [], region.counts_per_code

    def counts(*arguments):
        groups.append(arguments[-1])
        return whole(*arguments)

    monkeypatch.setattr(region, "counts_per_code", counts)
    RegionVQ(1, 2, init=line(0.0, 5.0), process_group="world").train(training)(line(0.1, 0.3))
    assert groups == (["world"] if training else [None])


BAD = ({"window": 0}, "window"), ({"beta": -1.0}, "beta"), ({"update": "ema"}, "update")


@pytest.mark.parametrize(("options", "name"), BAD)
def test_bad_numbers_are_refused(options, name):
    with pytest.raises(ValueError, match=name):
        RegionVQ(2, 4, **options)
