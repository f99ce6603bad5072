"""The store of runs, which is the cache: one file ``<folder>/<id>.json`` a run, whole or absent.

The result in it is deterministic on a given machine; the provenance says where it came from and what it cost. Its last
entry is a digest of all others, which every reading checks.

A record is *verified* while the digest of the code that its run executes is unchanged (`rotvq.runs.code_path`),
*unverified* once that code has changed, and *stale* once a new training was compared with it and differed.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from rotvq.runs import code_path
from rotvq.training import own
from rotvq.training.config import SCHEMA, Config
from rotvq.training.files import write_atomically

KEYS = ("schema", "id", "config", "result", "provenance")
REMEDY = "delete it, put it elsewhere, or restore it from the repository"
ROOM = 1 << 20  # bytes that must fit on the disk: some ten times a record
LEFTOVER = 3600  # seconds after which a temporary file belongs to no living writer


class RecordError(ValueError):
    """A record file is torn, altered or in the wrong place. The message names it and says what to do."""


class OtherKind(RecordError):
    """A record is whole and of another schema than that of a run: a measurement, or a run of another system."""


class Records:
    """The records in one folder. Several processes may read and write at once.

    Args:
        folder: where records are; it is made when the first is written. ValueError if it is a file.
        neighbours: folders in which a record is looked for too. What is new is written to ``folder``.

    >>> import tempfile
    >>> records = Records(tempfile.mkdtemp())
    >>> record = records.put(Config(seed=1), {"final": {"test_mse": 0.5}}, provenance={"seconds": 60.0})
    >>> [config.seed for config in records.missing([Config(seed=0), Config(seed=1)])]
    [0]
    >>> records.load([Config(seed=1)])[["seed", "test_mse", "status"]].values.tolist()
    [[1, 0.5, 'unverified']]
    """

    def __init__(self, folder: str | Path, neighbours: Iterable[str | Path] = ()):
        self.folder, self.neighbours = Path(folder), tuple(map(Path, neighbours))
        if os.path.exists(self.folder) and not self.folder.is_dir():
            raise ValueError(f"records are kept in a folder, which {self.folder} is not")
        for path in self.folder.glob(".*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > LEFTOVER:
                    path.unlink()

    def prepare(self) -> None:
        """Make the folder; ValueError where no record can be written there."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.write(bytes(ROOM))
        except OSError as error:
            raise ValueError(f"records cannot be written to {self.folder} ({error.strerror}): name another") from None

    def path(self, config: Config) -> Path:
        """Where the record of ``config`` is, or will be."""
        name = f"{config.id}.json"
        places = (folder / name for folder in (self.folder, *self.neighbours))
        return next((place for place in places if place.exists()), self.folder / name)

    def get(self, config: Config) -> dict | None:
        """The record of ``config``, to be read only, or None; RecordError where the file is not that record."""
        path = self.path(config)
        return _read(path) if path.exists() else None

    def put(self, config: Config, result: dict, provenance: dict) -> dict:
        """Write the record of a run and return it; the rows of ``result["curve"]`` are stored as columns.

        Raises ValueError, and writes nothing, where it holds NaN or infinity or the rows of a curve differ in keys.
        """
        record = dict(zip(KEYS, (SCHEMA, config.id, config.as_dict(), result, provenance), strict=True))
        curve = {name: _columns(rows) for name, rows in result.get("curve", {}).items()}
        write_record(self.path(config), {**record, "result": {**result, "curve": curve}})
        self.failure(config).unlink(missing_ok=True)
        return record

    def missing(self, configs: Iterable[Config]) -> list[Config]:
        """Those that have no record."""
        return [config for config in configs if self.get(config) is None]

    def all(self) -> list[Config]:
        """Every Config with a record in the folder, in the order of their ids."""
        return [Config.from_dict(_read(path)["config"]) for path in sorted(self.folder.glob("*.json"))]

    def failure(self, config: Config) -> Path:
        """Where the last failure of a run is noted until the run succeeds."""
        return self.folder / f"{config.id}.failed"

    def fail(self, config: Config, message: str) -> None:
        """Note that a run has failed, and why."""
        write_json(self.failure(config), {"config": config.as_dict(), "error": message})

    def status(self, config: Config) -> str:
        """'missing', or the :func:`status` of the record."""
        record = self.get(config)
        return "missing" if record is None else status(record)

    def restamp(self, config: Config, **provenance: Any) -> None:
        """Set entries of a record's provenance and leave its result alone."""
        record = self.get(config)
        self.put(config, record["result"], {**record["provenance"], **provenance})

    def load(self, configs: Iterable[Config]):
        """A DataFrame with a row a run: id, fields of its Config, final metrics, seconds and status."""
        return self._frame(configs, lambda record: [{**record["result"]["final"], **_cost_and_status(record)}])

    def stops(self, configs: Iterable[Config]):
        """A DataFrame with a row a run and evaluation: id, fields, ``step`` and the metrics evaluated there."""
        return self._frame(configs, lambda record: record["result"]["curve"]["stops"])

    def trace(self, configs: Iterable[Config]):
        """A DataFrame with a row a run and traced step: id, fields, ``step`` and the statistics of that batch."""
        return self._frame(configs, lambda record: record["result"]["curve"]["trace"])

    def _frame(self, configs: Iterable[Config], rows: Callable[[dict], list[dict]]):
        import pandas

        records = [(config, self.get(config)) for config in configs]
        if missing := sum(record is None for _, record in records):
            raise LookupError(f"{missing} of {len(records)} runs have no record in {self.folder.name}: run the grid")
        named = [({"id": config.id, **config.as_dict()}, record) for config, record in records]
        return pandas.DataFrame([{**fields, **row} for fields, record in named for row in rows(record)])


def status(record: dict) -> str:
    """'verified', 'unverified' (the code has changed since) or 'stale' (and it gives something else now)."""
    if record["provenance"].get("stale"):
        return "stale"
    config = Config.from_dict(record["config"])
    same_code = record["provenance"].get("digest") == code_path.digest(config)
    return "verified" if same_code and own.is_current(vars(config)) else "unverified"


def _cost_and_status(record: dict) -> dict:
    return {"seconds": record["provenance"].get("seconds"), "status": status(record)}


def read_any(path: Path) -> dict:
    """The record in a file, or the measurement, of which digest and name are checked; RecordError as elsewhere."""
    record = read_record(path)
    if record.get("id", path.stem) != path.stem:
        raise RecordError(f"{path} is the record of another run, {record['id']}: {REMEDY}")
    return _read(path) if record.get("schema") == SCHEMA else record


def write_record(path: Path, record: dict) -> None:
    """Write a record with its digest, as :func:`write_json` does."""
    write_json(path, {**record, "sha256": _digest(record)})


def read_record(path: Path) -> dict:
    """The record in a file, as it was written; RecordError where its digest says that it is another."""
    return _checked(path, _text(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} is not a record ({error}): {REMEDY}") from None


def _checked(path: Path, text: str) -> dict:
    try:
        record = json.loads(text, parse_constant=_refuse)
        if not isinstance(record, dict) or "sha256" not in record:
            raise ValueError("it notes no sha256")
        noted, actual = record.pop("sha256"), _digest(record)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is not a record ({error}): {REMEDY}") from None
    if noted != actual:
        raise RecordError(f"{path} has been altered or cut: it notes the sha256 {noted} and has {actual}: {REMEDY}")
    return record


def _digest(record: dict) -> str:
    """The sha256 of what a record says; order and layout do not count."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: Path, content: dict) -> None:
    """Write JSON, whole or not at all: a line for each entry of an object. ValueError for NaN and infinity."""
    write_atomically(path, _format(content) + "\n")


def _format(value: Any, indent: str = "") -> str:
    if not isinstance(value, dict):
        return json.dumps(value, allow_nan=False)
    inner = indent + " "
    lines = (f"{inner}{json.dumps(key)}: {_format(item, inner)}" for key, item in value.items())
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}" if value else "{}"


def _read(path: Path) -> dict:
    return _parsed(path, _text(path))


@lru_cache(maxsize=4096)  # a page asks for its records again and again
def _parsed(path: Path, text: str) -> dict:
    record = _checked(path, text)
    kind = record.get("schema")
    if isinstance(kind, str):  # a run's is a number
        remedy = "name a folder of runs of rotvq train, of a grid or of a notebook 10 to 29"
        raise OtherKind(f"{path} is a record of another kind, {kind!r}: {remedy}")
    try:
        if record["schema"] != SCHEMA:
            raise ValueError(f"its schema is {record['schema']}, not {SCHEMA}")
        if not path.stem == record["id"] == Config.from_dict(record["config"]).id:
            raise ValueError("its name, its id and its config do not agree")
        if set(record) != set(KEYS):
            raise ValueError(f"its entries are {', '.join(record)}, not {', '.join(KEYS)}")
        if not all(value is None or type(value) in (int, float) for value in record["result"]["final"].values()):
            raise ValueError("its final metrics are not all numbers")
        curve = {name: _rows(columns) for name, columns in record["result"].get("curve", {}).items()}
        return {**record, "result": {**record["result"], "curve": curve}}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path} is not a record ({error!r}): {REMEDY}") from None


def _refuse(constant: str):
    raise ValueError(f"it holds {constant}")


def _columns(rows: list) -> list | dict[str, list]:
    """``[{k: v}, ...] -> {k: [v, ...]}``, for rows with the same keys; a list of numbers as it is."""
    if not (rows and isinstance(rows[0], dict)):
        return rows
    if any(row.keys() != rows[0].keys() for row in rows):
        raise ValueError(f"the rows of a curve must all hold {', '.join(rows[0])}")
    return {key: [row[key] for row in rows] for key in rows[0]}


def _rows(columns: list | dict[str, list]) -> list:
    """The inverse of :func:`_columns`."""
    if isinstance(columns, list):
        return columns
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
