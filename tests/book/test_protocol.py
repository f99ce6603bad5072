"""The rules of the experiments that a machine can hold: questions come before answers, and stay as they were."""

import json
import pathlib
import subprocess

import pytest

from rotvq.runs.grids import CHAPTERS, FRESH

ROOT = pathlib.Path(__file__).parents[2]


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module", autouse=True)
def history():
    if not (ROOT / ".git").exists() or git("rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("needs the history of the repository")


def first(*arguments: str) -> str | None:
    return next(iter(git("log", "--reverse", "--format=%H", *arguments).split()), None)


def follows(earlier: str, later: str) -> bool:
    code = subprocess.run(["git", "merge-base", "--is-ancestor", earlier, later], cwd=ROOT).returncode
    return earlier != later and code == 0


def cell(text: str, words: str) -> str:
    """The cell of a percent script that has these words."""
    (found,) = [part for part in text.split("# %%") if words in part]
    return found.strip()


def records(chapter: str, fresh: bool = False) -> list[str]:
    """Paths of a chapter's records, all or those of fresh seeds."""
    paths = sorted((ROOT / "data" / "records" / chapter).glob("*.json"))
    chosen = [p for p in paths if not fresh or json.loads(p.read_text())["config"]["seed"] >= FRESH]
    return [str(p.relative_to(ROOT)) for p in chosen]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_chapter_names_the_pixels_that_gamma_weighs(chapter):
    assert "standardised pixels" in " ".join(
        (ROOT / f"notebooks/{chapter}.py").read_text().replace("\n# ", " ").split()
    )


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_hypotheses_were_committed_before_the_records_they_judge(chapter):
    """The first commit with the notebook's hypotheses is an ancestor of the first with one of its records."""
    notebook = f"notebooks/{chapter}.py"
    asked = first("-S**Hypotheses**", "--", notebook)
    answered = first("--diff-filter=A", "--", f"data/records/{chapter}")
    assert asked, f"{notebook} states no hypotheses"
    if not answered:
        pytest.skip("its records are not committed yet")
    assert follows(asked, answered)
    before, now = git("show", f"{answered}:{notebook}"), (ROOT / notebook).read_text()
    assert cell(now, "**Hypotheses**") == cell(before, "**Hypotheses**")  # a change of mind stands after them


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_confirmations_were_committed_before_their_records(chapter):
    """The sentence that names the fresh seeds and what they decide is older than the first record of such a seed."""
    fresh = records(chapter, fresh=True)
    answered = first("--diff-filter=A", "--", *fresh) if fresh else None
    if not answered:
        pytest.skip("no fresh seed has a committed record here")
    asked = first("-S**Confirmation**", "--", f"notebooks/{chapter}.py") or first(
        "-S**confirmation**", "--", f"notebooks/{chapter}.py"
    )
    assert asked and follows(asked, answered)
