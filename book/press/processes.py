"""Processes that the press starts. They end when it ends, with all that they started, and leave no file behind."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import psutil

from book.press import paths

Result = TypeVar("Result")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
QUIET = subprocess.DEVNULL
PATIENCE = 3  # seconds between the request to end and the kill


def complete(work: Coroutine[object, object, Result]) -> Result:
    """Run a coroutine to its end, or until a signal. Then it is cancelled, so that it ends what it started.

    Raises:
        SystemExit: after a signal, with the status that a shell gives such a process.
    """
    return asyncio.run(_cancelled_by_signals(work))


async def _cancelled_by_signals(work: Coroutine[object, object, Result]) -> Result:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    received = []

    def stop(number: int) -> None:
        received.append(number)
        task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        return await work
    except asyncio.CancelledError:
        sys.exit(128 + received[0])


async def call(command: Sequence[str | Path], cwd: Path, temporary: Path) -> tuple[int, str]:
    """Run a command in silence; when it is done, or this is cancelled, nothing that it started is left.

    Args:
        command: the program and its arguments.
        cwd: the directory that it runs in.
        temporary: an empty folder for its temporary files, and those of Jupyter and IPython. It names the processes.

    Returns:
        its exit status, and what it wrote to stderr.
    """
    environment = paths.environment(**_variables(temporary))
    try:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=cwd, env=environment, stdin=QUIET, stdout=QUIET, stderr=subprocess.PIPE
        )
        _, stderr = await process.communicate()
    finally:
        _end_all(_variables(temporary))
    return process.returncode, stderr.decode(errors="replace")


def _variables(temporary: Path) -> dict[str, str]:
    folder = str(temporary)
    return {"TMPDIR": folder, "JUPYTER_RUNTIME_DIR": folder, "IPYTHONDIR": str(temporary / "ipython")}


def _end_all(variables: Mapping[str, str]) -> None:
    """End every process that has these environment variables, whoever its parent is by now."""
    killing = time.monotonic() + PATIENCE
    while found := [process for process in psutil.process_iter() if _has(process, variables)]:
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.terminate() if time.monotonic() < killing else process.kill()
        time.sleep(0.05)


def _has(process: psutil.Process, variables: Mapping[str, str]) -> bool:
    try:
        return variables.items() <= process.environ().items()
    except psutil.Error:  # it has ended, or it is not ours
        return False
