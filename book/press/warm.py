"""Papermill in processes that have their imports: the first cell of a page starts at once, not after five seconds.

A server imports once what most pages import. For each page it is forked: into a process in which papermill runs, which
is forked into the kernel. ``python -m book.press.warm`` is the server: a request is a line of JSON on stdin, and when
the page is done, a line with its exit status comes from stdout.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import signal
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
    """Be the server. In each fork of it this returns when the page is done, and the process ends as any other."""
    replies = os.dup(1)
    os.dup2(2, 1)
    for name in IMPORTS:
        importlib.import_module(name)
    sys.modules["pandas"].set_option("display.max_columns", 20)  # as in a kernel, which it finds out as well
    code_path.today()  # which a page reads with its first record
    gc.freeze()  # what is here stays: no fork looks through it again
    for request in sys.stdin:
        if os.fork() == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            notebook, out, parameters = json.loads(request)
            if (page := os.fork()) == 0:
                _execute(Path(notebook), Path(out), parameters)
            else:
                _, status = os.waitpid(page, 0)
                os.write(replies, json.dumps([out, os.waitstatus_to_exitcode(status)]).encode() + b"\n")
            return


def _execute(notebook: Path, out: Path, parameters: dict) -> None:
    """What the process of a page does."""
    os.environ.update(processes.variables(out.parent))
    tempfile.tempdir = None  # where it was before
    log = os.open(_log(out), os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    kernel = Kernel()
    if kernel.pid == 0:
        kernel.serve()
        return

    from jupyter_client.provisioning import local_provisioner
    from papermill import execute_notebook

    local_provisioner.launch_kernel = kernel.launch  # in place of a new program
    execute_notebook(notebook, out, parameters, kernel_name="python3", progress_bar=False, start_timeout=120)


class Kernel:
    """A fork of this process that waits for the command line of a kernel, and is that kernel.

    To Jupyter it is what `subprocess.Popen` returns.
    """

    stdin = stdout = stderr = None

    def __init__(self):
        self.returncode: int | None = None
        self._read, self._write = os.pipe()
        self.pid = os.fork()
        os.setpgid(self.pid, 0)  # a group of its own: Jupyter sends signals to the group

    def serve(self) -> None:
        """Be a kernel, in the process that was forked."""
        os.close(self._write)
        with open(self._read) as pipe:
            command = json.load(pipe)
        os.environ["JPY_PARENT_PID"] = str(os.getppid())

        from ipykernel import kernelapp

        kernelapp.launch_new_instance(command)

    def launch(self, command: Sequence[str], **_: object) -> Kernel:
        """Give it the command line, `python -m ipykernel_launcher -f FILE`."""
        os.close(self._read)
        with open(self._write, "w") as pipe:
            json.dump(command[command.index("-f") :], pipe)
        return self

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._wait(os.WNOHANG)

    def wait(self) -> int:
        """Its exit status, when it has ended."""
        return self._wait(0)

    def _wait(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to it."""
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


if __name__ == "__main__":
    serve()
