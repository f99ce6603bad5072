"""Mutation of the ledger: each row can fail, and the command says so where one cannot."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

from book import algebra
from book.all_statements import all_statements
from book.ledger import __main__ as command
from book.ledger import claims, mutation
from book.ledger.grammar import Call
from book.ledger.mutation import BY_NAME, MUTATIONS, Turn
from book.statements import STATEMENTS, Evidence, Finding, Law
from rotvq.quantizers.estimators import ESTIMATORS

ROWS = [row for row in claims.load() if row.evidence]
ROW = claims.Claim("A-001", "here", "q is near z", "theorem", "true", "so it is", "01", evidence="nearest_code")
EXPECTED = {call: expected for row in ROWS for call, expected in zip(row.calls, row.expected, strict=True)}


TURNING = [call for call in EXPECTED if mutation.notes().get(str(call), Turn()).turns]


CONFIRM = """
from book.ledger import claims, mutation
from rotvq.runs.grids import stores_folder

noted = mutation.notes()
rows = [row for row in claims.load() if row.evidence]
asked = {(call, expected): row.id for row in rows for call, expected in zip(row.calls, row.expected, strict=True)}
for (call, expected), row in asked.items():  # once, though several rows name it
    turn = noted.get(str(call), mutation.Turn())
    if turn.turns and mutation.confirm(call, expected, stores_folder()) != turn:
        print(row, call)
"""


def test_the_noted_mutations_turn_them():
    """In a process of its own: a mutation changes modules, and other tests change them as well."""
    assert TURNING
    ran = subprocess.run([sys.executable, "-c", CONFIRM], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout + ran.stderr[-2000:]


def test_no_statement_stays_under_every_mutation():
    """A new one has to turn: `--mutate --note` finds how. A row that cannot is rewritten, or becomes 'not testable'."""
    assert [str(call) for call in EXPECTED if call not in TURNING] == []


def test_nothing_is_noted_for_what_is_no_evidence():
    laws = {name for name, one in all_statements().items() if isinstance(one, Law)}
    assert set(mutation.notes()) - {str(call) for call in EXPECTED} - laws == set()


CANNOT_FAIL = {
    "a literal": lambda: Finding.of(False),
    "true of every number": lambda: Finding.of(float(algebra.norm(algebra.normal(3))) >= 0),
    "a correction set by hand": lambda: Finding.of(bool(algebra.norm(algebra.normal(3)) > 2.5), True),
}


@pytest.mark.parametrize("function", CANNOT_FAIL.values(), ids=CANNOT_FAIL)
def test_what_cannot_fail_is_found(function, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(STATEMENTS, "stub", Evidence(function))
    assert not mutation.search(Call("stub", ()), tmp_path).turns
    monkeypatch.setattr(claims, "load", lambda: (dataclasses.replace(ROW, evidence="stub", verdict="false"),))
    assert command.main(["--mutate", "--quiet"]) == 1
    out = capsys.readouterr().out
    assert "A-001  STAYS  stub: " in out and "0 of 1 rows with evidence turn, 0.0%" in out


def test_one_part_that_stays_is_enough(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(STATEMENTS, "stub", Evidence(lambda: Finding(True)))
    monkeypatch.setattr(claims, "load", lambda: (dataclasses.replace(ROW, evidence="nearest_code and stub"),))
    assert command.main(["--mutate"]) == 1
    assert "A-001  STAYS  nearest_code: " in capsys.readouterr().out


def test_the_command_names_what_turned_a_row(monkeypatch, capsys):
    monkeypatch.setattr(claims, "load", lambda: (dataclasses.replace(ROW, evidence="nearest_code"),))
    assert command.main(["--mutate"]) == 0
    out = capsys.readouterr().out
    assert "A-001  turns  nearest_code: " in out and "1 of 1 rows with evidence turn, 100.0%" in out


def test_a_note_that_is_out_of_date_is_searched_anew(monkeypatch, tmp_path):
    call = Call("nearest_code", ())
    monkeypatch.setattr(mutation, "notes", lambda: {"nearest_code": Turn("steps no longer")})
    assert mutation.confirm(call, True, tmp_path).claim not in ("", "steps no longer")


def test_notes_are_read_as_they_are_written(tmp_path):
    turns = {"a(b, c)": Turn("R = I"), "d": Turn("G = I", "R = I"), "e": Turn("", "")}
    mutation.write_notes(turns, tmp_path / "turns.yml")
    assert mutation.notes(tmp_path / "turns.yml") == turns


def test_evidence_that_fails_has_not_turned(monkeypatch, tmp_path):
    monkeypatch.setitem(STATEMENTS, "stub", Evidence(lambda: 1 / 0))
    assert mutation.mutated(Call("stub", ()), MUTATIONS[0], tmp_path) is None


def test_mutations_have_names_of_their_own():
    assert len(BY_NAME) == len(MUTATIONS)


def test_a_mutation_is_undone():
    before = dict(ESTIMATORS), algebra.rotation, torch.Tensor.detach, torch.autograd.grad, torch.softmax
    for one in MUTATIONS:
        with one.applied():
            pass
    after = dict(ESTIMATORS), algebra.rotation, torch.Tensor.detach, torch.autograd.grad, torch.softmax
    assert before == after
