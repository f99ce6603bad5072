"""The rules of the experiments that a machine can hold: questions come before answers."""

import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
CHAPTERS = sorted(p.name for p in (ROOT / "data" / "records").glob("1[0-9]_*") if p.is_dir())


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_hypotheses_were_committed_before_the_records_they_judge(chapter):
    """The first commit with the notebook's hypotheses is an ancestor of the first with one of its records."""
    if not (ROOT / ".git").exists() or git("rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("needs the history of the repository")
    asked = git("log", "--reverse", "--format=%H", "-S**Hypotheses**", "--", f"notebooks/{chapter}.py").split()
    answered = git("log", "--reverse", "--format=%H", "--diff-filter=A", "--", f"data/records/{chapter}").split()
    assert asked, f"notebooks/{chapter}.py states no hypotheses"
    if not answered:
        pytest.skip("its records are not committed yet")
    assert asked[0] != answered[0]
    subprocess.run(["git", "merge-base", "--is-ancestor", asked[0], answered[0]], cwd=ROOT, check=True)
