"""The setting to start with: what it is made of, that options replace it, and that it is the one of the records."""

import pytest
import torch
from torch import nn

from rotvq import VectorQuantizer, recommended
from rotvq.quantizers.recommended import RECOMMENDED
from rotvq.runs.grids import CHAPTERS
from rotvq.training.train import build_model

DIM, SIZE = 4, 16


def latents(count=64, seed=0):
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))


def seeded(make, **options):
    """A quantiser with a generator of its own, after three training steps: what came out, and its state."""
    torch.manual_seed(0)  # of the maps of a projection
    vq = make(DIM, SIZE, generator=torch.Generator().manual_seed(0), **options)
    outs = []
    for seed in range(3):
        z = latents(seed=seed).requires_grad_()
        z_q, indices, loss = vq(z)
        (z_q.sin().sum() + loss).backward()
        outs += [z_q.detach(), indices, loss.detach(), z.grad]
    return outs, vq.state_dict()


def test_it_is_the_arm_that_chapter_39_confirmed():
    """Every field that its arm sets, and the start of the cell, under the names of VectorQuantizer."""
    block = CHAPTERS["39_frontier"].blocks["confirm"]
    assert block.arms["STE, EMA 0.9, revival"] | block.cells["k-means"] == RECOMMENDED


def test_what_is_left_to_defaults_is_what_the_runs_had():
    """So that a default cannot move away from the evidence."""
    block = CHAPTERS["39_frontier"].blocks["confirm"]
    arm, cell = {"": block.arms["STE, EMA 0.9, revival"]}, {"": block.cells["k-means"]}
    (config, *_) = type(block)(arm, cell, block.seeds).configs()
    theirs, ours = build_model(config, channels=1).quantizer, recommended(config.dim, config.codebook_size)
    of_a_run = {"training", "check", "engine", "process_group", "seed", "follows"}  # none of them moves a code
    for mine, its in zip((ours, ours.statistics), (theirs, theirs.statistics)):
        for name in {name for name in vars(mine) if not name.startswith("_")} - of_a_run:
            assert getattr(mine, name) == getattr(its, name), name
    assert torch.equal(ours.statistics.running, theirs.statistics.running)
    assert ours.codebook.init_scale == theirs.codebook.init_scale
    assert type(ours.codebook.form) is type(theirs.codebook.form)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"init": "latents"},
        {"decay": 0.99, "initial_count": 1.0},
        {"revival": "none"},
        {"estimator": "rotation"},
        {"update": "gradient", "beta": 0.5},
        {"lookup": "normalised"},
        {"project_to": 2},
    ],
    ids=str,
)
def test_options_replace_what_is_recommended_and_leave_the_rest(options):
    ema = {"update": "ema", "decay": 0.9, "initial_count": 0.0}
    written_out = {"estimator": "ste", "init": "kmeans", "revival": "unused", **ema, **options}
    (outs, state), (wanted, wanted_state) = seeded(recommended, **options), seeded(VectorQuantizer, **written_out)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(outs, wanted, strict=True))
    assert state.keys() == wanted_state.keys()
    assert all(torch.equal(state[key], wanted_state[key]) for key in state)


def test_it_passes_the_gradient_on_and_commits():
    """With k-means codes: the gradient is that of z_q plus the one of the commitment loss."""
    vq, z = recommended(DIM, SIZE), latents().requires_grad_()
    g = latents(seed=1)
    z_q, indices, loss = vq(z)
    (z_q * g).sum().add(loss).backward()
    torch.testing.assert_close(z.grad, g + 2 * 0.25 * (z - z_q).detach() / z.numel())
    assert torch.equal(vq.codes[indices], z_q) and not list(vq.parameters())


def test_codes_are_means_of_their_latents_at_the_first_call():
    vq, z = recommended(DIM, SIZE), latents(400)
    _, indices, _ = vq(z)
    for code, k in ((code, k) for k, code in enumerate(vq.codes) if (indices == k).any()):
        torch.testing.assert_close(code, z[indices == k].mean(0), rtol=0.3, atol=0.3)  # k-means stops before the end
    assert len(indices.unique()) == SIZE


def test_an_unused_code_comes_back_after_a_hundred_steps():
    vq = recommended(DIM, SIZE, init=torch.cat([torch.full((1, DIM), 1e3), latents(SIZE - 1, seed=5)]))
    for step in range(100):
        vq(latents(seed=step))
        assert vq.codes[0, 0] == 1e3, "it is given a hundred steps"
    last = latents(seed=100)
    _, indices, _ = vq(last)
    assert (last == vq.codes[0]).all(-1).any() and (indices == 0).any()


def test_a_small_first_batch_is_refused_with_the_numbers():
    vq = recommended(DIM, SIZE)
    with pytest.raises(ValueError, match="'kmeans' of 16 codes needs 16 latents or more, not 5"):
        vq(latents(5))
    few = recommended(DIM, SIZE, init="latents")
    few(latents(5))
    assert {tuple(code) for code in few.codes.tolist()} == {tuple(z) for z in latents(5).tolist()}


@pytest.mark.parametrize("option, ours", (("commitment_weight", "gamma"), ("kmeans_iters", "init"), ("dimm", "")))
def test_unknown_options_are_refused(option, ours):
    with pytest.raises(TypeError, match=f"{option}.*{ours}"):
        recommended(DIM, SIZE, **{option: 1})


def test_it_trains_as_a_part_of_a_model():
    model = nn.Sequential(nn.Linear(DIM, DIM), recommended(DIM, SIZE))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    errors = []
    for step in range(60):
        optimizer.zero_grad()
        x = latents(seed=step)
        z_q, _, loss = model(x)
        error = (z_q - x).square().mean()
        (error + loss).backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.8 * errors[0]
