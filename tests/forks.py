"""Ranks of one run, each a fork of a process that has its imports: what ``torchrun`` starts, but at once.

Where processes may not be forked they are spawned.
"""

import multiprocessing
import os
import socket
import sys

CONTEXT = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
CONTEXT.set_forkserver_preload(["rotvq.__main__", "torch._dynamo"])  # which the first optimiser imports


def run_in_ranks(code: str, ranks: int = 2) -> list[int]:
    """Run the code in each rank; returns their exit statuses, of one that a signal ended its negative number."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = [CONTEXT.Process(target=_rank, args=(code, rank, ranks, port)) for rank in range(ranks)]
    for process in started:
        process.start()
    for process in started:
        process.join(300)
        process.kill()
    return [process.exitcode for process in started]


def _rank(code: str, rank: int, ranks: int, port: int) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    exec(code, {})
