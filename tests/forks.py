"""Processes of their own, each a fork of one that has its imports: ranks of one run, or a command that is killed.

Where processes may not be forked they are spawned.
"""

import multiprocessing
import os
import socket
import sys

CONTEXT = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
CONTEXT.set_forkserver_preload(["rotvq.__main__", "torch._dynamo"])  # which the first optimiser imports


def start(code: str, **environment: str) -> multiprocessing.Process:
    """Start a process that runs the code, with this environment beside that of the tests."""
    process = CONTEXT.Process(target=_run, args=(code, environment))
    process.start()
    return process


def run_in_ranks(code: str, ranks: int = 2) -> list[int]:
    """Run the code in each rank; returns their exit statuses, of one that a signal ended its negative number."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = {"WORLD_SIZE": f"{ranks}", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}
    started = [start(code, RANK=f"{rank}", LOCAL_RANK=f"{rank}", **place) for rank in range(ranks)]
    for process in started:
        process.join(300)
        process.kill()
    return [process.exitcode for process in started]


def _run(code: str, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    exec(code, {})
