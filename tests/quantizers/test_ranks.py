"""Two gloo processes: nothing is synchronised unless asked for, and DDP and FSDP2 train what one process trains."""

from pathlib import Path

import pytest
import torch
from forks import run_in_ranks
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from rotvq import VectorQuantizer
from rotvq.quantizers.registry import METHODS

DIM, SIZE, STEPS, SHARE = 4, 16, 3, 60
SYNCHRONISED = {
    "ema": {"update": "ema", "initial_count": 0.0},
    "k-means": {"update": "ema", "init": "kmeans"},
    "revival": {"update": "ema", "revival": "threshold", "initial_count": 0.0, "decay": 0.5},
    "about the latents": {"centre": "latents"},
    "projected": {"update": "ema", "project_to": 2},
}


def build(seed=0, **options):
    return VectorQuantizer(DIM, SIZE, **{"init": "normal", "generator": torch.Generator().manual_seed(seed), **options})


def latents(seed, ranks=2):
    """Of the joint batch."""
    return torch.randn(ranks * SHARE, DIM, generator=torch.Generator().manual_seed(seed))


def share_of(rank, z):
    return z if rank is None else z.chunk(2)[rank]


def model_of(options, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(DIM, DIM), build(seed, **options))


def fit(model, rank, steps=STEPS, lr=0.1):
    """Train on this rank's share, or on the joint batch; the state after."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for step in range(steps):
        optimizer.zero_grad()
        z_q, _, loss = model(share_of(rank, latents(step)))
        (z_q.square().mean() + loss).backward()
        optimizer.step()
    inner = getattr(model, "module", model)
    return {key: value.detach().clone() for key, value in inner.state_dict().items()}


def constructors_on_one_rank(rank):
    if rank == 0:
        for name, method in METHODS.items():
            method(DIM, SIZE if name != "fsq" else 240)
    return {}


def random_states_after_a_constructor(rank):
    torch.manual_seed(7)
    VectorQuantizer(DIM, SIZE)
    VectorQuantizer(DIM, SIZE, process_group="world")
    return {"next number": torch.rand(1)}


def a_training_batch_on_one_rank(rank):
    model = DistributedDataParallel(model_of(SYNCHRONISED["revival"]))
    if rank == 0:
        fit(model.module, 0)
        fit(model_of(SYNCHRONISED["k-means"]), 0)
    return {}


def separate_models(rank):
    return fit(model_of(SYNCHRONISED["revival"], seed=rank), rank)


def ddp(rank):
    return {
        f"{name} {key}": value
        for name, options in SYNCHRONISED.items()
        for key, value in fit(DistributedDataParallel(model_of(options, seed=rank)), rank).items()
    }


def ddp_of_weights_that_the_first_rank_loaded(rank):
    model = model_of(SYNCHRONISED["k-means"], seed=3)
    if rank == 0:
        torch.manual_seed(0)
        fit(model, 0)
    model = DistributedDataParallel(model)
    return fit(model, rank)


def ddp_that_accumulates(rank):
    model = DistributedDataParallel(model_of(SYNCHRONISED["ema"]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.module[1].follow(optimizer)
    first, second = share_of(rank, latents(0)).chunk(2)
    with model.no_sync():
        z_q, _, loss = model(first)
        (z_q.sum() + loss).backward()
    codes = model.module[1].codes.clone()
    z_q, _, loss = model(second)
    (z_q.sum() + loss).backward()
    waited = torch.equal(model.module[1].codes, codes)
    optimizer.step()
    model(first)
    return {"waited": torch.tensor(waited), "codes": model.module[1].codes.clone()}


def ddp_compiled(rank):
    model = DistributedDataParallel(model_of(SYNCHRONISED["ema"]))
    return fit(torch.compile(model, backend="aot_eager"), rank)


def a_group_of_its_own(rank):
    groups = [distributed.new_group([member]) for member in range(2)]
    return fit(model_of({**SYNCHRONISED["revival"], "process_group": groups[rank]}, seed=rank), rank)


def the_world_without_ddp(rank):
    vq = build(rank, **SYNCHRONISED["revival"], process_group="world")
    for step in range(STEPS):
        vq(share_of(rank, latents(step)))
    return {key: value.clone() for key, value in vq.state_dict().items()}


def fsdp2(rank):
    from torch.distributed.fsdp import fully_shard

    state = {}
    for name in ("ema", "k-means", "revival"):
        model = model_of({**SYNCHRONISED[name], "process_group": "world"})
        fully_shard(model)
        fit(model, rank)
        state |= {f"{name} {key}": value.clone() for key, value in model[1].state_dict().items()}
    return state


def fsdp2_of_codes_that_learn(rank):
    from torch.distributed.fsdp import fully_shard

    model = model_of({})
    fully_shard(model)
    fit(model, rank)
    return {"codes": model[1].codebook.weight.full_tensor().detach()}


def fsdp2_refuses_to_lose_revived_codes(rank):
    from torch.distributed.fsdp import fully_shard

    inside, beside = (model_of({"revival": "count", "process_group": "world"}) for _ in range(2))
    fully_shard(inside)
    fully_shard(beside, ignored_params=set(beside[1].parameters()))
    fit(beside, rank)
    with pytest.raises(RuntimeError, match="revival of codes that FSDP shards"):
        fit(inside, rank)
    return {}


CASES = [
    constructors_on_one_rank,
    random_states_after_a_constructor,
    a_training_batch_on_one_rank,
    separate_models,
    ddp,
    ddp_of_weights_that_the_first_rank_loaded,
    ddp_that_accumulates,
    ddp_compiled,
    a_group_of_its_own,
    the_world_without_ddp,
    fsdp2,
    fsdp2_of_codes_that_learn,
    fsdp2_refuses_to_lose_revived_codes,
]
SCRIPT = """
import sys, torch
sys.path.insert(0, {tests!r})
import test_ranks
torch.distributed.init_process_group("gloo")
rank, states = torch.distributed.get_rank(), {{}}
for case in test_ranks.CASES:
    states[case.__name__] = case(rank)
    torch.distributed.barrier()
torch.save(states, f"{folder}/state{{rank}}.pt")
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """What each case left on each rank."""
    folder = tmp_path_factory.mktemp("ranks")
    assert run_in_ranks(SCRIPT.format(tests=str(Path(__file__).parent), folder=folder)) == [0, 0]
    return [torch.load(folder / f"state{rank}.pt") for rank in range(2)]


def assert_close(ours, wanted):
    for key, value in wanted.items():  # sums over two halves round differently
        torch.testing.assert_close(ours[key], value, rtol=1e-4, atol=1e-5, msg=key)


def agree(states, name):
    first, second = (state[name] for state in states)
    assert first and first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key
    return first


def test_every_case_comes_to_its_end(states):
    assert all(set(state) == {case.__name__ for case in CASES} for state in states)


def test_a_constructor_leaves_the_same_random_state_on_every_rank(states):
    agree(states, "random_states_after_a_constructor")


@pytest.mark.parametrize("name", ("separate_models", "a_group_of_its_own"))
def test_ranks_that_train_separately_are_not_mixed(states, name):
    for rank, state in enumerate(states):
        assert_close(state[name], fit(model_of(SYNCHRONISED["revival"], seed=rank), rank))


@pytest.mark.parametrize("name", SYNCHRONISED)
def test_ddp_trains_what_one_process_trains_on_the_joint_batch(states, name):
    ours = agree(states, "ddp")
    for key, value in fit(model_of(SYNCHRONISED[name]), None).items():
        torch.testing.assert_close(ours[f"{name} {key}"], value, rtol=1e-4, atol=1e-5, msg=key)


def test_weights_that_the_first_rank_loaded_reach_the_others(states):
    ours = agree(states, "ddp_of_weights_that_the_first_rank_loaded")
    alone = model_of(SYNCHRONISED["k-means"], seed=3)
    torch.manual_seed(0)
    fit(alone, 0)
    assert_close(ours, fit(alone, None))


def test_codes_wait_while_ddp_accumulates(states):
    ours = agree(states, "ddp_that_accumulates")
    assert ours["waited"]
    whole = model_of(SYNCHRONISED["ema"])
    z_q, _, loss = whole(latents(0))
    (z_q.sum() + loss).backward()
    whole(latents(0))
    torch.testing.assert_close(ours["codes"], whole[1].codes, rtol=1e-4, atol=1e-5)


def test_ddp_compiled(states):
    ours = agree(states, "ddp_compiled")
    assert_close(
        {key.removeprefix("module."): value for key, value in ours.items()}, fit(model_of(SYNCHRONISED["ema"]), None)
    )


def test_the_world_counts_together_without_ddp(states):
    ours = agree(states, "the_world_without_ddp")
    vq = build(**SYNCHRONISED["revival"])
    for step in range(STEPS):
        vq(latents(step))
    assert_close(ours, vq.state_dict())


@pytest.mark.parametrize("name", ("ema", "k-means", "revival"))
def test_codes_move_under_fsdp2(states, name):
    ours = agree(states, "fsdp2")
    for key, value in fit(model_of(SYNCHRONISED[name]), None).items():
        if key.startswith("1."):
            torch.testing.assert_close(ours[f"{name} {key[2:]}"], value, rtol=1e-4, atol=1e-5, msg=key)


def test_codes_learn_under_fsdp2(states):
    ours = agree(states, "fsdp2_of_codes_that_learn")
    torch.testing.assert_close(ours["codes"], fit(model_of({}), None)["1.codebook.weight"], rtol=1e-4, atol=1e-5)
