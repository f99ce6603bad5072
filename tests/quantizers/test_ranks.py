"""Two gloo processes: nothing is synchronised unless asked for, and DDP and FSDP2 train what one process trains."""

import copy
import gc
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from forks import run_in_ranks
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

from rotvq import ResidualVectorQuantizer, VectorQuantizer
from rotvq.quantizers.registry import METHODS

DIM, SIZE, STEPS, SHARE = 4, 16, 3, 60
SYNCHRONISED = {
    "ema": {"update": "ema", "initial_count": 0.0},
    "k-means": {"update": "ema", "init": "kmeans"},
    "revival": {"update": "ema", "revival": "threshold", "initial_count": 0.0, "decay": 0.5},
    "about the latents": {"centre": "latents"},
    "projected": {"update": "ema", "project_to": 2},
}

STARTED = {"k-means": {"init": "kmeans"}, "latents": {"init": "latents"}, "ema": {"init": "kmeans", "update": "ema"}}
WHOLE = {"process_group": "world"}
LOST = {
    "revival": lambda: VectorQuantizer(DIM, SIZE, revival="count", **WHOLE),
    "k-means": lambda: VectorQuantizer(DIM, SIZE, init="kmeans", **WHOLE),
    "latents": lambda: VectorQuantizer(DIM, SIZE, init="latents", **WHOLE),
    "a cascade": lambda: ResidualVectorQuantizer(DIM, SIZE, 2, init="kmeans", **WHOLE),
    "qinco": lambda: ResidualVectorQuantizer(DIM, SIZE, 2, method="qinco", width=4, init="kmeans", **WHOLE),
    "gumbel": lambda: METHODS["gumbel"](DIM, SIZE, init="kmeans", **WHOLE),
    "nsvq": lambda: METHODS["nsvq"](DIM, SIZE, init="kmeans", **WHOLE),
}
TARGETS = {
    "region": lambda: METHODS["region"](DIM, SIZE, window=1, init="normal"),
    "region of k-means": lambda: METHODS["region"](DIM, SIZE, window=2, init="kmeans", generator=torch.Generator()),
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


class Checkpointed(nn.Module):
    def __init__(self, vq, is_checkpointed=True):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.vq, self.is_checkpointed = nn.Linear(DIM, DIM), vq, is_checkpointed

    def forward(self, x):
        z = self.encoder(x)
        return checkpoint(self.vq, z, use_reentrant=False) if self.is_checkpointed else self.vq(z)


def started(options, rank):
    """A model of which one training call has made the first codes."""
    model = model_of({**options, "process_group": None if rank is None else "world"})
    with torch.no_grad():
        model(share_of(rank, latents(0)))
    return model


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


def ddp_of_codes_that_were_frozen(rank):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = DistributedDataParallel(model_of({"frozen": True}))
        ema = build(update="ema")
        ema.frozen = model.module[1].frozen = True  # DDP has nothing to do with codes of an EMA
    fit(model, rank)
    with pytest.warns(UserWarning, match="frozen has changed what learns: wrap the model .* again") as caught:
        model.module[1].frozen = False
    assert [Path(one.filename) for one in caught] == [Path(__file__)]
    return fit(DistributedDataParallel(model.module), rank)


def a_group_of_its_own(rank):
    groups = [distributed.new_group([member]) for member in range(2)]
    return fit(model_of({**SYNCHRONISED["revival"], "process_group": groups[rank]}, seed=rank), rank)


def a_group_that_was_taken_back(rank):
    """What is trained on one rank alone, and its start, too."""
    vq = build(init="kmeans", update="ema", process_group="world")
    vq.process_group = None
    if rank == 0:
        vq.codebook.start(latents(0))
        vq(latents(1))
    return {}


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


def fsdp2_of_codes_that_started_before(rank):
    from torch.distributed.fsdp import fully_shard

    state = {}
    for name, options in STARTED.items():
        model = started(options, rank)
        fully_shard(model)
        fit(model, rank)
        weight = model[1].codebook.weight
        state[name] = getattr(weight, "full_tensor", lambda weight=weight: weight)().detach()
    return state


def fsdp2_refuses_lost_writes(rank=0):
    """Codes that a gradient moves, whatever the method: their start and their revival."""
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    for name, make in LOST.items():
        model = nn.Sequential(nn.Linear(DIM, DIM), make())
        beside = copy.deepcopy(model)
        fully_shard(model)
        fully_shard(beside, ignored_params=set(beside[1].parameters()))
        with pytest.raises(RuntimeError, match="of codes that FSDP shards would be lost"):
            model(share_of(rank, latents(0)))
        started = [value for key, value in model.state_dict().items() if key.endswith("started")]
        assert name == "revival" or not any(started)
        beside(share_of(rank, latents(0)))
        del model, beside
        gc.collect()  # FSDP takes a forward pass that failed for one that goes on
    return {}


def fsdp2_refuses_codes_of_each_rank(rank):
    from torch.distributed.fsdp import fully_shard

    for options in ({"update": "ema"}, {"update": "ema", "init": "kmeans"}, {"revival": "count", "update": "ema"}):
        model = model_of(options)
        fully_shard(model)
        with pytest.raises(RuntimeError, match="process_group is None"):
            model(share_of(rank, latents(0)))
        assert not model[1].statistics.calls and (options.keys() >= {"init"}) != model[1].codebook.ready
        del model
        gc.collect()
    return {}


def ddp_of_a_checkpoint(rank):
    """The rerun is in the backward pass, where no forward pass of DDP says which ranks count together."""
    state = {}
    for name in TARGETS:
        torch.manual_seed(0)
        model = DistributedDataParallel(Checkpointed(TARGETS[name]()))
        state |= {f"{name} {key}": value for key, value in fit(model, rank).items()}
    return state


def copies_of_a_group(rank):
    alone, whole = [distributed.new_group([member]) for member in range(2)][rank], distributed.group.WORLD
    state = {}
    for name, group in {"alone": alone, "whole": whole, "named": "world"}.items():
        model = model_of({"update": "ema", "init": "kmeans", "process_group": group})
        copied, averaged = copy.deepcopy(model), AveragedModel(model)
        assert copied[1].process_group is model[1].process_group is averaged.module[1].process_group
        for each in (model, copied):
            state |= {f"{name} {key}": value for key, value in fit(each, rank, lr=0.0).items()}
        for key, value in fit(averaged.module, rank, lr=0.0).items():
            assert torch.equal(value, state[f"{name} {key}"]) or "1." not in key
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loaded = pickle.loads(pickle.dumps(model[1]))
        assert loaded.process_group == (None if name == "alone" else "world")
        assert ["set process_group again" in str(one.message) for one in caught] == [True] * (2 * (name == "alone"))
        loaded.process_group = group
        for quantiser in (loaded, model[1]):
            quantiser(share_of(rank, latents(9)))
            state |= {f"{name}, loaded: {key}": value.clone() for key, value in quantiser.state_dict().items()}
            state[f"{name} {quantiser is loaded}"] = quantiser.codes.clone()
        assert torch.equal(state[f"{name} True"], state[f"{name} False"])
    return {key: value for key, value in state.items() if "alone" not in key and key.split()[1].startswith("1.")}


CASES = [
    constructors_on_one_rank,
    random_states_after_a_constructor,
    a_training_batch_on_one_rank,
    separate_models,
    ddp,
    ddp_of_weights_that_the_first_rank_loaded,
    ddp_that_accumulates,
    ddp_compiled,
    ddp_of_codes_that_were_frozen,
    a_group_of_its_own,
    a_group_that_was_taken_back,
    the_world_without_ddp,
    fsdp2,
    fsdp2_of_codes_that_learn,
    fsdp2_of_codes_that_started_before,
    fsdp2_refuses_lost_writes,
    fsdp2_refuses_codes_of_each_rank,
    ddp_of_a_checkpoint,
    copies_of_a_group,
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


def test_codes_that_were_frozen_learn_once_ddp_is_made_again(states):
    ours, alone = agree(states, "ddp_of_codes_that_were_frozen"), model_of({"frozen": True})
    frozen = fit(alone, None)
    alone[1].frozen = False
    learned = fit(alone, None)
    assert not torch.equal(frozen["1.codebook.weight"], learned["1.codebook.weight"])
    assert_close(ours, learned)


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


@pytest.mark.parametrize("name", STARTED)
def test_codes_that_started_before_fsdp2_are_kept(states, name):
    ours = agree(states, "fsdp2_of_codes_that_started_before")
    alone = started(STARTED[name], None)
    torch.testing.assert_close(ours[name], fit(alone, None)["1.codebook.weight"], rtol=1e-4, atol=1e-5)


def test_fsdp2_of_one_rank_loses_no_writes_either():
    script = f"""
import sys, torch
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_ranks
torch.distributed.init_process_group("gloo")
test_ranks.share_of = lambda rank, z: z
test_ranks.fsdp2_refuses_lost_writes()
torch.distributed.destroy_process_group()
"""
    assert run_in_ranks(script, ranks=1) == [0]


@pytest.mark.parametrize("name", TARGETS)
def test_targets_of_a_rerun_are_those_of_all_ranks(states, name):
    torch.manual_seed(0)
    ours, wanted = agree(states, "ddp_of_a_checkpoint"), Checkpointed(TARGETS[name](), is_checkpointed=False)
    for key, value in fit(wanted, None).items():
        torch.testing.assert_close(ours[f"{name} {key}"], value, rtol=1e-4, atol=1e-5, msg=key)


def test_copies_share_the_group(states):
    ours = agree(states, "copies_of_a_group")
    wanted = fit(model_of({"update": "ema", "init": "kmeans"}), None, lr=0.0)
    for name in ("whole", "named"):
        for key, value in wanted.items():
            if key.startswith("1."):
                torch.testing.assert_close(ours[f"{name} {key}"], value, rtol=1e-4, atol=1e-5, msg=key)
