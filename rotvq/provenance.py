"""Where a result came from: the code, the versions, the machine and what the run cost.

Nothing here names a host or a user's path. :func:`digest` names the code that determines a result: it changes with
any statement of those modules and with no comment, docstring or line break.
"""

from __future__ import annotations

import ast
import hashlib
import platform
import resource
import subprocess
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from rotvq import images
from rotvq.config import Config

HERE = Path(__file__).parent
MODULES = (
    "chunks", "turns", "estimators", "lookup", "ranks", "codebook", "updates", "interface", "quantizer", "alternatives",
    "rivals", "meta", "residual", "models", "sources", "images", "controls", "metrics", "config", "start", "train",
)  # fmt: skip


@lru_cache
def digest() -> str:
    """The sha256 over the statements of :data:`MODULES`, as they were when first asked for; 16 hex digits."""
    found = [HERE / f"{name}.py" for name in MODULES]
    return source_digest([path.read_text(encoding="utf-8") for path in found if path.exists()])


def source_digest(sources: list[str]) -> str:
    """The sha256 of the syntax trees of ``sources``, docstrings left out; the same under every version of Python."""
    trees = repr([_statements(ast.parse(source)) for source in sources])
    return hashlib.sha256(trees.encode()).hexdigest()[:16]


def _statements(node):
    """A syntax tree as nested tuples, without positions, empty fields and statements that are only a constant."""
    if isinstance(node, list):
        return [_statements(item) for item in node if not _inert(item)]
    if not isinstance(node, ast.AST):
        return node
    return (type(node).__name__, *((k, _statements(v)) for k, v in ast.iter_fields(node) if v is not None and v != []))


def _inert(node) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@lru_cache
def code() -> dict[str, str | None]:
    """The digest, the commit of the checkout, and a hash of how ``rotvq/`` differs from it (None where it does not).

    Asked for when a process starts to train, so that it tells the code that the process has read.
    """
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)  # fails where this file is not part of a checkout
        head = _git("rev-parse", "HEAD").decode().strip()
        changes = _git("diff", "HEAD", "--", ".") + _git("ls-files", "--others", "--exclude-standard", "--", ".")
    except (OSError, subprocess.CalledProcessError):  # an installed wheel, or no git
        head, changes = None, b""
    return {"digest": digest(), "commit": head, "dirty": hashlib.sha256(changes).hexdigest()[:16] if changes else None}


def _git(*arguments: str) -> bytes:
    command = ["git", "--no-optional-locks", *arguments]
    return subprocess.run(command, cwd=HERE, capture_output=True, check=True, timeout=60).stdout


@lru_cache
def kind(device: str) -> str:
    """The model of the processor: the CPU's name, or the GPU's."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def peak_bytes(device: str) -> int:
    """The most memory held so far: by this process, or of the GPU."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def describe(config: Config, *, device: str, threads: int, **seconds: float) -> dict:
    """The provenance of one run that has just ended in this process. seconds: what it took, by name."""
    return {
        **code(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": kind(device),
        "threads": threads,
        "data": images.load(config.data, config.seed).sha256,
        **{name: round(value, 2) for name, value in seconds.items()},
        "peak_bytes": peak_bytes(device),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
