"""The ledger: its rules, its runner, and every row against its evidence."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter

import pytest

from rotvq import claims
from rotvq.evidence import EVIDENCE, Finding
from rotvq.evidence.base import evidence, found

ROWS = claims.load()
ROW = claims.Claim("A-001", "here", "q is near z", "theorem", "true", "so it is", "01", evidence="nearest_code")


@pytest.mark.parametrize("call", sorted({row.evidence for row in ROWS if row.evidence}))
def test_verdicts_agree_with_their_evidence(call, tmp_path):
    for row in ROWS:
        if row.evidence == call:
            outcome = claims.judge(row, tmp_path)
            assert outcome.status != "disagrees", f"{row.id} says {row.verdict}, found {outcome.finding}"


def test_every_piece_of_evidence_is_used():
    """Evidence for no row would be dead code; `lower` is for rows that still await their records."""
    used = {row.call[0] for row in ROWS if row.evidence}
    assert set(EVIDENCE) - used <= {"lower"}


def test_both_sources_are_covered():
    counts = Counter(row.source for row in ROWS)
    assert counts["article"] > 200 and counts["paper"] > 60


def test_no_claim_stands_twice():
    seen = Counter((row.source, row.claim, row.place) for row in ROWS)
    assert [row for row, n in seen.items() if n > 1] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_rows_are_sentences(row):
    """Claim, reason and correction are plain sentences in English letters and mathematics."""
    for text in filter(None, (row.claim, row.reason, row.corrected)):
        assert text[-1] in ".)" or text.endswith("I."), text
        assert not re.search(r"[^\x00-\x7fé]", text), text
        assert "  " not in text
    if row.verdict in ("undecided", "not testable"):
        assert row.reason
    assert row.claim != row.corrected


BROKEN = {
    "id": {"id": "B-1"},
    "kind": {"kind": "hunch"},
    "verdict": {"verdict": "maybe"},
    "chapter": {"chapter": "09"},
    "awaits": {"awaits": ("03",)},
    "corrected": {"verdict": "true with a fix"},
    "no evidence function": {"evidence": "nonsense"},
    "has no evidence": {"evidence": "", "verdict": "true"},
    "without evidence": {"evidence": "", "verdict": "true", "awaits": ("10",)},
}


@pytest.mark.parametrize("message, change", BROKEN.items(), ids=BROKEN)
def test_broken_rows_are_refused(message, change):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(ROW, **change).check()


@pytest.mark.parametrize("ids", [("A-001", "A-003"), ("A-002",), ("A-001", "A-001")])
def test_ids_count(ids, tmp_path):
    row = "- {{id: {}, place: p, claim: c., kind: theorem, verdict: not testable, reason: r., chapter: 01}}"
    (tmp_path / "rows.yml").write_text("\n".join(map(row.format, ids)))
    with pytest.raises(ValueError, match="in order"):
        claims.load(tmp_path / "rows.yml")


def test_unknown_columns_are_refused(tmp_path):
    (tmp_path / "rows.yml").write_text("- {id: A-001, colour: red}")
    with pytest.raises(ValueError, match="colour"):
        claims.load(tmp_path / "rows.yml")


# claim and fix found, verdict -> does the verdict stand?
STANDS = [
    (True, None, "true", True),
    (True, None, "supported", True),
    (True, None, "false", False),
    (True, False, "true", False),
    (False, None, "false", True),
    (False, None, "true", False),
    (False, True, "true with a fix", True),
    (False, None, "true with a fix", False),
    (False, False, "true with a fix", False),
    (True, True, "true with a fix", False),
    (False, True, "contradicted", True),
    (None, None, "ill-posed", True),
    (None, True, "undecided", True),
    (False, None, "ill-posed", False),
]


@pytest.mark.parametrize("claim, fix, verdict, stands", STANDS)
def test_judge(claim, fix, verdict, stands, monkeypatch, tmp_path):
    monkeypatch.setitem(EVIDENCE, "stub", lambda: Finding(claim, fix))
    outcome = claims.judge(dataclasses.replace(ROW, evidence="stub", verdict=verdict, corrected="c"), tmp_path)
    assert outcome.status == ("agrees" if stands else "disagrees")


def test_arguments_reach_the_evidence(monkeypatch, tmp_path):
    monkeypatch.setitem(EVIDENCE, "stub", lambda a, b, records: found(True, a=a, b=b, records=str(records)))
    outcome = claims.judge(dataclasses.replace(ROW, evidence="stub(q over z, 0.5)"), tmp_path)
    assert outcome.finding.numbers == {"a": "q over z", "b": "0.5", "records": str(tmp_path)}


def test_missing_records_are_awaited(tmp_path):
    row = dataclasses.replace(ROW, evidence="lower(10, test_mse, rotation, ste)", verdict="undecided", awaits=("10",))
    assert claims.judge(row, tmp_path).status == "awaits"


def test_names_of_evidence_are_taken_once():
    with pytest.raises(ValueError, match="nearest_code"):
        evidence(EVIDENCE["nearest_code"])


def test_command(capsys):
    assert claims.main(["A-001", "A-003"]) == 0
    out = capsys.readouterr().out
    assert "A-001  agrees" in out and "1 agrees; 0 disagrees; 0 awaits; 1 untestable; 2 rows" in out


def test_command_fails_on_disagreement(capsys, monkeypatch):
    wrong = dataclasses.replace(ROWS[0], evidence="cited(fifty2025rotation, Bai, 2024)")
    monkeypatch.setattr(claims, "load", lambda: (wrong,))
    assert claims.main(["--quiet"]) == 1
    assert "A-001  disagrees" in capsys.readouterr().out


def test_command_lists_what_awaits_an_experiment(capsys):
    claims.main(["A-045", "A-048"])
    assert re.search(r"awaits experiment 10: .*A-048", capsys.readouterr().out)


def test_unknown_rows_are_refused(capsys):
    with pytest.raises(SystemExit):
        claims.main(["Z"])
    assert "no row begins with Z" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, shown",
    [("gain_at_r_0_1", "gain at r 0.1"), ("pi_minus_1e_3", "pi minus 1e-3"), ("angle_in_d_256", "angle in d 256")],
)
def test_words(name, shown):
    assert claims.words(name) == shown
