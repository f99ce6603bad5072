"""Processes that the press starts. They end when it ends, with all that they started, and leave no file behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import psutil

from book.press import paths

Result = TypeVar("Result")
# Executes a notebook with parameters, in the working directory, with temporary files in the folder of its output; gives
# the exit status, and what came to stderr.
Papermill = Callable[[Path, Path, Mapping], Awaitable[tuple[int, str]]]
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
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # by nohup
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
        temporary: an empty folder for its temporary files.

    Returns:
        its exit status, and what it wrote to stderr.
    """
    environment = paths.environment(**variables(temporary))
    errors = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=environment, stdin=QUIET, stdout=QUIET, stderr=errors, start_new_session=True
    )
    try:
        _, stderr = await process.communicate()
    finally:
        end_all(temporary, process.pid)
    return process.returncode, stderr.decode(errors="replace")


def variables(temporary: Path) -> dict[str, str]:
    """Environment variables of what makes a page: temporary files, Jupyter's and IPython's, too, lie in a folder."""
    folder = str(temporary)
    own = {"TMPDIR": folder, "JUPYTER_RUNTIME_DIR": folder, "IPYTHONDIR": str(temporary / "ipython")}
    return own | {"NOTEBOOK_OF_A_PAGE": "1"}  # OF_A_PAGE of rotvq.page.figures, which would import pyplot too soon


def end_all(temporary: Path, session: int | None = None) -> None:
    """End every process that was started with this folder for temporary files, and those of a session."""
    killing = time.monotonic() + PATIENCE
    while found := [process for process in psutil.process_iter() if _belongs(process, temporary, session)]:
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.terminate() if time.monotonic() < killing else process.kill()
        time.sleep(0.05)


def _belongs(process: psutil.Process, temporary: Path, session: int | None) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return os.getsid(process.pid) == session or process.environ().get("TMPDIR") == str(temporary)
    except (psutil.Error, OSError):  # it has ended, or it is not ours
        return False
