"""Where a result came from: the code, the versions, the machine and what the run cost; no host, no user's path."""

import hashlib
import platform
import resource
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import torch

from rotvq.runs import code_path
from rotvq.training import images
from rotvq.training.config import Config


@cache
def commit() -> dict[str, str | None]:
    """The commit of the checkout, and a hash of how ``rotvq/`` differs from it; None where there is no such thing."""
    try:
        _git("ls-files", "--error-unmatch", "runs/provenance.py")  # fails where this file is not part of a checkout
        head = _git("rev-parse", "HEAD").decode().strip()
        changes = _git("diff", "HEAD", "--", ".") + _git("ls-files", "--others", "--exclude-standard", "--", ".")
    except (OSError, subprocess.CalledProcessError):  # an installed wheel, or no git
        head, changes = None, b""
    return {"commit": head, "dirty": hashlib.sha256(changes).hexdigest()[:16] if changes else None}


def _git(*arguments: str) -> bytes:
    command = ["git", "--no-optional-locks", *arguments]
    return subprocess.run(command, cwd=code_path.PACKAGE, capture_output=True, check=True, timeout=60).stdout


def code(config: Config = Config()) -> dict[str, str | None]:  # noqa: B008  (frozen)
    """The digest of the code that ``config`` runs, with :func:`commit`: both as at the first call in a process."""
    return {"digest": code_path.digest(config), **commit()}


@cache
def kind(device: str) -> str:
    """The model of the processor: the CPU's name, or the GPU's."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def describe(config: Config, *, device: str, threads: int, **seconds: float) -> dict:
    """The provenance of the run of ``config``, which has just ended in this process. seconds: what it took, by name."""
    if torch.device(device).type == "cuda":
        peak_bytes = torch.cuda.max_memory_allocated(device)
    else:
        unit = 1 if platform.system() == "Darwin" else 1024
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {
        **code(config),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": kind(device),
        "instructions": torch.backends.cpu.get_cpu_capability(),  # of which torch makes use: sums differ by them
        "threads": threads,
        "data": images.load(config.data, config.seed).sha256,
        **{name: round(value, 2) for name, value in seconds.items()},
        "peak_bytes": peak_bytes,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
