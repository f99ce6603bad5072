"""A measurement as a file: its id, where it comes from, and the reading or making of it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from rotvq.runs import provenance
from rotvq.runs.records import RecordError, read_record, write_record


def record_id(schema: str, config: Mapping[str, Any]) -> str:
    """The first 16 hex digits of the sha256 of schema and config: the name of the record's file."""
    text = json.dumps([schema, config], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_or_measure(
    folder: Path,
    schema: str,
    config: Mapping[str, Any],
    measure: Callable[[], dict],
    device: str = "cpu",
    threads: int = 1,
) -> dict:
    """The record of a measurement, read from its file; without a file, ``measure`` is called and the file written.

    Args:
        folder: where the records of this page are.
        schema: version of the measurement's config and result.
        config: what is measured, as JSON has it.
        measure: makes the result, a dictionary for JSON.
        device: where ``measure`` works, for the provenance.
        threads: how many threads it uses, for the provenance.

    Returns:
        ``{schema, id, config, result, provenance}``. The provenance says how busy the machine was before and after.

    Raises:
        RecordError: the file has been altered, or is the record of something else.
    """
    id = record_id(schema, config)
    path = folder / f"{id}.json"
    if not path.exists():
        load_before, start = os.getloadavg()[0], time.perf_counter()
        result = measure()
        made = stamp(device, threads, seconds=time.perf_counter() - start, load_before=load_before)
        record = {"schema": schema, "id": id, "config": config, "result": result, "provenance": made}
        write_record(path, record)
    record = read_record(path)
    if (record["schema"], record["id"]) != (schema, id):
        raise RecordError(f"{path} is not that record: delete it or restore it")
    return record


def stamp(device: str, threads: int, seconds: float, load_before: float) -> dict:
    """The provenance of a measurement that has just ended: code, versions, machine and load averages."""
    return {
        **provenance.code(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": provenance.kind(device),
        "threads": threads,
        "cores": os.cpu_count(),
        "load": [round(load_before, 2), round(os.getloadavg()[0], 2)],
        "seconds": round(seconds, 2),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
