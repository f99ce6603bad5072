"""Papermill in processes that have their imports: the first cell of a page starts at once, not after five seconds.

A server imports once what most pages import. For each page it is forked: into a process in which papermill runs, which
is forked into the kernel. ``python -m book.press.warm`` is the server: a request is a line of JSON on stdin, and when
the page is done, a line with its exit status comes from stdout. A fork ends at once: it does not take down all that was
imported, which takes longer than many a page.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from book.press import paths, processes
from book.press.processes import Papermill
from rotvq.runs import code_path

# Not pyplot, which finds out when it is imported whether it is in a kernel.
IMPORTS = (
    "papermill",
    "ipykernel.kernelapp",
    "jupyter_client.provisioning.local_provisioner",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "pandas",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.cluster",
    "torch._dynamo",  # which torch imports when the first optimiser is made
    "rotvq.__main__",
)
FORKS = multiprocessing.get_context("fork" if sys.platform == "linux" else None)


@contextlib.asynccontextmanager
async def papermill() -> AsyncIterator[Papermill]:
    """Papermill by a server, which ends with the context."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder)
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "book.press.warm"),
            env=paths.environment(**processes.variables(temporary)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        running: dict[str, asyncio.Future[int]] = {}

        async def listen() -> None:
            async for line in server.stdout:
                out, status = json.loads(line)
                running.pop(out).set_result(status)

        async def run(notebook: Path, out: Path, parameters: Mapping) -> tuple[int, str]:
            page = running[str(out)] = asyncio.get_running_loop().create_future()
            server.stdin.write(json.dumps([str(notebook), str(out), parameters]).encode() + b"\n")
            try:
                await asyncio.wait([page, listening], return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                processes.end_all(out.parent, server.pid)
                raise
            processes.end_all(out.parent)
            if not page.done():
                raise RuntimeError("the server of papermill has ended")
            return page.result(), _log(out).read_text("utf-8", "replace")

        listening = asyncio.create_task(listen())
        try:
            yield run
        finally:
            processes.end_all(temporary, server.pid)
            server.stdin.close()
            await asyncio.wait([listening], timeout=10)  # its forks hold the other end of the pipe as well
            listening.cancel()
            await server.wait()


def _log(out: Path) -> Path:
    return out.with_suffix(".log")


def serve() -> None:
    """Be the server, until stdin is closed."""
    replies = os.dup(1)
    os.dup2(2, 1)
    for name in IMPORTS:
        importlib.import_module(name)
    sys.modules["pandas"].set_option("display.max_columns", 20)  # as in a kernel, which it finds out as well
    code_path.today()  # which a page reads with its first record
    gc.freeze()  # what is here stays: no fork looks through it again
    for request in sys.stdin:
        FORKS.Process(target=_answer, args=(*json.loads(request), replies)).start()


def _answer(notebook: str, out: str, parameters: dict, replies: int) -> None:
    """Have a page executed, and reply when it is done."""
    page = FORKS.Process(target=_execute, args=(Path(notebook), Path(out), parameters))
    page.start()
    page.join()
    os.write(replies, json.dumps([out, page.exitcode]).encode() + b"\n")


def _execute(notebook: Path, out: Path, parameters: dict) -> None:
    """What the process of a page does."""
    os.environ.update(processes.variables(out.parent))
    tempfile.tempdir = None  # where it was before
    log = os.open(_log(out), os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    kernel = Kernel()

    from jupyter_client.provisioning import local_provisioner
    from papermill import execute_notebook

    local_provisioner.launch_kernel = kernel.launch  # in place of a new program
    try:
        execute_notebook(notebook, out, parameters, kernel_name="python3", progress_bar=False, start_timeout=120)
    finally:
        kernel.kill()  # one that was never launched would wait for ever


class Kernel:
    """A fork of this process that waits for the command line of a kernel, and is that kernel.

    To Jupyter it is what `subprocess.Popen` returns.
    """

    stdin = stdout = stderr = None

    def __init__(self):
        read, self._write = os.pipe()
        self._process = FORKS.Process(target=_be_kernel, args=(read, self._write))
        self._process.start()
        os.close(read)
        self.pid = self._process.pid
        os.setpgid(self.pid, 0)  # a group of its own: Jupyter sends signals to the group

    @property
    def returncode(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._process.exitcode

    def launch(self, command: Sequence[str], **_: object) -> Kernel:
        """Give it the command line, `python -m ipykernel_launcher -f FILE`."""
        with open(self._write, "w") as pipe:
            json.dump(command[command.index("-f") :], pipe)
        return self

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self.returncode

    def wait(self) -> int:
        """Its exit status, when it has ended."""
        self._process.join()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to it."""
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it."""
        self._process.kill()


def _be_kernel(read: int, write: int) -> None:
    """Wait at the end of a pipe for a command line, and be that kernel."""
    os.close(write)
    with open(read) as pipe:
        command = json.load(pipe)
    os.environ["JPY_PARENT_PID"] = str(os.getppid())

    from ipykernel import kernelapp

    kernelapp.launch_new_instance(command)


if __name__ == "__main__":
    serve()
