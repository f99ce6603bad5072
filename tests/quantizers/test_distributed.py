"""Two gloo processes that share a batch train the codebook that one process trains on the joint batch."""

import subprocess
import sys

import pytest
import torch

CASES = {
    "ema": {"update": "ema", "initial_count": 0.0},
    "k-means": {"init": "kmeans", "update": "ema"},
    "random latents": {"init": "latents", "update": "ema"},
    "revival": {"revival": "threshold", "initial_count": 0.0},
    "ema and revival": {"revival": "threshold", "update": "ema", "initial_count": 0.0, "decay": 0.5},
    "about the latents": {"centre": "latents"},
}
SHARES = (30, 20)  # tokens of rank 0 and of rank 1, of which the mask keeps some

SCRIPT = """
import sys, torch
sys.path.insert(0, {tests!r})
from test_distributed import run
rank = int(sys.argv[1])
torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
torch.save(run(rank), sys.argv[3])
torch.distributed.destroy_process_group()
"""


def batch(call):
    """Latents and mask of the joint batch."""
    generator = torch.Generator().manual_seed(call)
    z = torch.randn(sum(SHARES), 3, generator=generator)
    mask = torch.rand(sum(SHARES), generator=generator) > 0.2
    z[~mask] = torch.nan
    return z, mask


def run(rank=None):
    """The state after four training calls, case by case; ``rank`` None sees the joint batch."""
    from rotvq import VectorQuantizer

    states = {}
    for name, options in CASES.items():
        generator = torch.Generator().manual_seed(rank or 0)  # another seed on each rank: rank 0 decides
        options = {"init": "normal", "generator": generator, **options}
        vq = VectorQuantizer(3, 16, process_group=None if rank is None else "world", **options)
        for call in range(4):
            z, mask = (x if rank is None else x.split(SHARES)[rank] for x in batch(call))
            vq(z, mask)
        states[name] = vq.state_dict()
    return states


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    from pathlib import Path

    folder = tmp_path_factory.mktemp("ranks")
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    files = [folder / f"state{rank}.pt" for rank in range(2)]
    command = [[sys.executable, "-c", script, str(rank), str(folder / "meet"), str(files[rank])] for rank in range(2)]
    processes = [subprocess.Popen(c, stderr=subprocess.PIPE, text=True) for c in command]
    for process in processes:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
    return [torch.load(file) for file in files]


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_are_one_process_on_the_joint_batch(ranks, name):
    want = run()[name]
    for state in ranks:
        for key, value in want.items():
            # sums over two halves round differently: a few roundings of numbers of size 10
            torch.testing.assert_close(state[name][key], value, rtol=1e-5, atol=1e-6, msg=f"{name}: {key}")
    for key, value in ranks[0][name].items():
        assert torch.equal(value, ranks[1][name][key]), key  # the ranks themselves agree bit for bit
