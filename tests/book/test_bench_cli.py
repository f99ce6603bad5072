"""``python -m book.bench`` prints what the records of the pages hold."""

import pytest
from conftest import ROOT

from book.bench import step
from book.bench.__main__ import main

RECORDS = ROOT / "data" / "records"


def test_steps_of_the_page(capsys):
    """Every case has a record: nothing is measured."""
    before = set((RECORDS / "20_cost").iterdir())
    assert main(["step"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("step, ") for line in lines) + sum(line.startswith("training, ") for line in lines) > 20
    assert any("does not fit" in line for line in lines) and all(
        line.startswith("    ") or " = " in line for line in lines
    )
    assert set((RECORDS / "20_cost").iterdir()) == before


def test_loops_of_the_page(capsys):
    assert main(["run"]) == 0
    first, *loops = capsys.readouterr().out.splitlines()
    assert first.startswith("a step of ours: ") and any(line.split()[0] == "library" for line in loops)


def test_another_folder_is_measured_anew(tmp_path, capsys, monkeypatch):
    """Of one kind of case: test_bench_step.py measures every kind."""
    every = step.cases
    monkeypatch.setattr(step, "cases", lambda *which: [case for case in every(*which) if case.kind == "estimator"])
    assert main(["step", "--profile", "smoke", "--records", str(tmp_path)]) == 0
    assert "estimator, n = 256, d = 4" in capsys.readouterr().out and any(tmp_path.glob("*.json"))


def test_more_cards_hold_less_each(capsys):
    memory = []
    for cards in ("8", "16"):
        assert main(["sizing", "--cards", cards]) == 0
        memory.append([int(line.split(", ")[1].split(" GB")[0]) for line in capsys.readouterr().out.splitlines()])
    assert len(memory[0]) == 2 and all(few < many for many, few in zip(*memory))


def test_an_unknown_profile_is_refused():
    with pytest.raises(SystemExit):
        main(["step", "--profile", "quick"])
