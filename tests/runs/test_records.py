"""A record is whole or absent, says where it came from, and knows when its code has changed."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from rotvq.__main__ import main
from rotvq.runs import code_path, provenance
from rotvq.runs.records import KEYS, RecordError, Records, read_record, status, write_json, write_record
from rotvq.training.config import Config

RESULT = {
    "final": {"test_mse": 0.1 + 0.2, "tiny": 5e-324, "diverged_at": None},
    "curve": {
        "stops": [{"step": 0, "test_mse": 1.0}, {"step": 20, "test_mse": 1 / 3}],
        "trace": [{"step": s, "loss": math.exp(-s), "r": 1e-30 * s} for s in range(3)],
        "first": [2.0, 1 / 7],
        "none": [],
    },
}
STAMP = {"digest": code_path.digest(Config()), "seconds": 1.5}


def test_what_is_put_is_got_exactly(tmp_path):
    store, config = Records(tmp_path / "10_x"), Config(clip=(0.5, 2.0), seed=3)
    assert store.get(config) is None and store.missing([config, Config()]) == [config, Config()]
    put = store.put(config, RESULT, STAMP)
    assert store.get(config) == put == Records(store.folder).get(config)
    assert put["result"] == RESULT and put["id"] == config.id and tuple(put) == KEYS
    assert store.missing([config, Config()]) == [Config()]
    assert store.all() == [config]
    assert [p.name for p in store.folder.iterdir()] == [f"{config.id}.json"]


def test_the_file_is_small_and_has_a_line_for_each_value(tmp_path):
    store = Records(tmp_path)
    store.put(Config(), RESULT, STAMP)
    text = store.path(Config()).read_text()
    assert json.loads(text)["result"]["curve"]["trace"]["step"] == [0, 1, 2]
    assert '    "step": [0, 1, 2],\n' in text and '  "gamma": 0.25,\n' in text and text.endswith("}\n")
    first = text
    store.put(Config(), RESULT, STAMP)
    assert store.path(Config()).read_text() == first


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_is_never_written(tmp_path, value):
    store = Records(tmp_path / "new")
    with pytest.raises(ValueError, match="JSON"):
        store.put(Config(), {**RESULT, "final": {"test_mse": value}}, STAMP)
    with pytest.raises(ValueError, match="JSON"):
        write_json(store.folder / "other.json", {"a": [value]})
    assert not store.folder.exists()


def test_rows_of_a_curve_have_the_same_keys(tmp_path):
    rows = [{"step": 0, "loss": 1.0}, {"step": 1}]
    with pytest.raises(ValueError, match="must all hold step, loss"):
        Records(tmp_path).put(Config(), {"final": {}, "curve": {"trace": rows}}, STAMP)


DAMAGE = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "not an object": lambda text: "[]",
    "config altered": lambda text: text.replace('"seed": 0', '"seed": 1'),
    "id altered": lambda text: text.replace(Config().id, Config(seed=1).id),
    "unknown field": lambda text: text.replace('"gamma"', '"gama"'),
    "other schema": lambda text: text.replace('"schema": 1', '"schema": 2'),
    "no result": lambda text: text.replace('"result"', '"results"'),
    "column cut": lambda text: text.replace('"step": [0, 1, 2]', '"step": [0, 1]'),
    "NaN": lambda text: text.replace("0.30000000000000004", "NaN"),
}


ALTERED = {  # what a person or a disk may do to a file that stays a record of this config
    "a digit of a metric": lambda text: text.replace("0.30000000000000004", "0.3000000000000001"),
    "a step of a curve": lambda text: text.replace('"step": [0, 20]', '"step": [0, 21]'),
    "a first loss": lambda text: text.replace("2.0, 0.14", "2.5, 0.14"),
    "a sign": lambda text: text.replace('"tiny": ', '"tiny": -'),
    "a divergence": lambda text: text.replace('"diverged_at": null', '"diverged_at": 3'),
    "a metric removed": lambda text: text.replace('   "tiny": 5e-324,\n', ""),
    "a metric added": lambda text: text.replace('   "tiny"', '   "other": 1.0,\n   "tiny"'),
    "what it cost": lambda text: text.replace('"seconds": 1.5', '"seconds": 1.25'),
    "the code that made it": lambda text: text.replace(STAMP["digest"], "0123456789abcdef"),
    "the digest": lambda text: re.sub('"sha256": "..', '"sha256": "zz', text),
    "no digest": lambda text: re.sub(',\n "sha256": "[0-9a-f]*"', "", text),
}


@pytest.mark.parametrize("damage", DAMAGE | ALTERED)
def test_a_damaged_file_is_named(tmp_path, damage):
    store = Records(tmp_path)
    store.put(Config(), RESULT, STAMP)
    path = store.path(Config())
    before = path.read_text()
    path.write_text((DAMAGE | ALTERED)[damage](before))
    assert path.read_text() != before
    for use in (store.get, lambda c: store.missing([c]), lambda c: store.load([c]), lambda c: store.all()):
        with pytest.raises(RecordError, match=re.escape(str(path)) + ".*delete it"):
            use(Config())


def test_a_damage_that_its_digest_covers_is_refused_too(tmp_path):
    """Who makes the digest anew must still keep to the form."""
    store = Records(tmp_path)
    store.put(Config(), RESULT, STAMP)
    path = store.path(Config())
    whole = read_record(path)
    for part in ({"id": Config(seed=1).id}, {"config": {**whole["config"], "seed": 1}}, {"schema": 2}, {"more": 1}):
        write_record(path, {**whole, **part})
        with pytest.raises(RecordError, match=re.escape(str(path)) + " is not a record"):
            store.get(Config())


@pytest.mark.parametrize(
    "content", [bytes(range(256)), "{}".encode("utf-16"), b"[" * 10**5], ids=["bytes", "utf-16", "deep"]
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, content, capsys):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    assert main(["verify", "--records", str(tmp_path)]) == 1
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith(f"{path} is not a record (") and len(said) < len(str(path)) + 250


def test_what_is_no_record_is_said_to_be_none(tmp_path):
    Records(tmp_path).put(Config(), RESULT, STAMP)
    for text in ('{"a": 1}', "[1, 2]", "3"):
        (tmp_path / "notes.json").write_text(text)
        with pytest.raises(RecordError, match=r"notes.json is not a record \(it notes no sha256\)"):
            Records(tmp_path).all()


def test_a_full_disk_is_seen_before_anything_is_trained(tmp_path, monkeypatch):
    Records(tmp_path).prepare()

    def full(dir):
        return Path("/dev/full").open("wb")

    monkeypatch.setattr("rotvq.runs.records.tempfile.TemporaryFile", full)
    with pytest.raises(ValueError, match=r"records cannot be written to .* \(No space left on device\): name another"):
        Records(tmp_path).prepare()


FINALS = {"none": None, "a list": [], "a word": {"test_mse": "low"}, "a list of numbers": {"test_mse": [1.0]}}
FINALS |= {"a truth value": {"test_mse": True}, "an object": {"test": {"mse": 1.0}}}


@pytest.mark.parametrize("final", FINALS.values(), ids=FINALS)
def test_a_record_without_final_numbers_is_refused_by_reading_and_by_verification(tmp_path, final, capsys):
    store = Records(tmp_path)
    store.put(Config(), RESULT, STAMP)
    path = store.path(Config())
    whole = read_record(path)
    kept = {name: value for name, value in whole["result"].items() if name != "final"}
    write_record(path, {**whole, "result": kept if final is None else {**kept, "final": final}})
    with pytest.raises(RecordError, match=re.escape(str(path)) + " is not a record"):
        store.get(Config())
    assert main(["verify", "--records", str(tmp_path)]) == 1 and f"{path} is not a record" in capsys.readouterr().out
    assert main(["compare", str(tmp_path)]) == 2 and f"{path} is not a record" in capsys.readouterr().err


def test_layout_and_order_are_not_part_of_a_record(tmp_path):
    store = Records(tmp_path)
    put = store.put(Config(), RESULT, STAMP)
    path = store.path(Config())
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True, indent=4))
    assert store.get(Config()) == put


def test_leftovers_of_killed_writers_are_ignored_and_cleaned(tmp_path):
    store, old, new = Records(tmp_path), tmp_path / ".a.json.1.tmp", tmp_path / ".b.json.2.tmp"
    for path in (old, new):
        path.write_text('{"schema":')
    os.utime(old, (time.time() - 7200,) * 2)
    assert store.all() == []
    assert not Records(tmp_path).path(Config()).exists()
    assert not old.exists() and new.exists()  # the new one may have a living writer


def test_a_writer_killed_at_the_move_leaves_the_old_record(tmp_path, monkeypatch):
    store = Records(tmp_path)
    store.put(Config(), RESULT, STAMP)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        store.put(Config(), {**RESULT, "final": {"test_mse": 9.0}}, STAMP)
    assert store.get(Config())["result"] == RESULT


def test_frames(tmp_path):
    store, configs = Records(tmp_path), [Config(clip=(0.5, 2)), Config(seed=1)]
    for config in configs:
        store.put(config, RESULT, STAMP)
    runs = store.load(configs)
    assert runs["id"].tolist() == [c.id for c in configs] and runs["seed"].tolist() == [0, 1]
    assert runs["test_mse"].tolist() == [0.1 + 0.2] * 2 and runs["seconds"].tolist() == [1.5] * 2
    assert runs["status"].tolist() == ["verified"] * 2
    assert store.stops(configs)[["seed", "step", "test_mse"]].values.tolist() == [
        [0, 0, 1.0],
        [0, 20, 1 / 3],
        [1, 0, 1.0],
        [1, 20, 1 / 3],
    ]
    assert store.trace(configs)["loss"].tolist() == [math.exp(-s) for s in range(3)] * 2
    with pytest.raises(LookupError, match="1 of 2 runs have no record"):
        store.load([configs[0], Config(seed=5)])


def test_status_and_restamp(tmp_path):
    store, config = Records(tmp_path), Config()
    assert store.status(config) == "missing"
    store.put(config, RESULT, {**STAMP, "digest": "of other code"})
    assert store.status(config) == "unverified"
    store.restamp(config, stale="differs")
    assert store.status(config) == "stale" and store.get(config)["provenance"]["seconds"] == 1.5
    store.restamp(config, stale=None, digest=code_path.digest(Config()))
    assert store.status(config) == status(store.get(config)) == "verified"
    assert store.get(config)["result"] == RESULT


def test_failures_are_noted_until_the_run_succeeds(tmp_path):
    store = Records(tmp_path)
    store.fail(Config(), "the worker died")
    assert json.loads(store.failure(Config()).read_text())["error"] == "the worker died"
    assert store.missing([Config()]) == [Config()] and store.all() == []
    store.put(Config(), RESULT, STAMP)
    assert not store.failure(Config()).exists()


def test_provenance_names_no_host_and_no_user():
    stamp = provenance.describe(Config(), device="cpu", threads=1, seconds=1.23456)
    text = json.dumps(stamp, allow_nan=False)
    host = subprocess.run(["uname", "-n"], capture_output=True, text=True).stdout.strip()
    assert os.path.expanduser("~") not in text and os.getcwd() not in text
    assert host not in re.findall(r"[\w.-]+", text)
    assert stamp["seconds"] == 1.23 and stamp["threads"] == 1 and stamp["digest"] == code_path.digest(Config())
    assert re.fullmatch(r"[0-9a-f]{64}", stamp["data"]) and stamp["peak_bytes"] > 1 << 20
    assert stamp["time"].endswith("+00:00")


def test_kind_of_processor_is_known():
    assert len(provenance.kind("cpu")) > 2
