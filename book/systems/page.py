"""What the pages of the systems share: the runs of a chapter, from their records or trained, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from book.systems import runs
from book.systems.runs import Experiment
from rotvq.analysis.stats import Paired
from rotvq.analysis.wording import coverage, seed_ranges
from rotvq.page import Page
from rotvq.page.figures import Line, used
from rotvq.page.page import duration
from rotvq.runs.grids import FRESH

PROFILES = ("smoke", "standard")


@dataclass(frozen=True)
class Shown:
    """The runs that a page shows.

    Args:
        experiment: whose they are.
        cases: that are planned.
        records: of those that have one, in the order of the plan.
        published: whether the plan is that of the published page, of which its sentences speak; :meth:`.Page.holds`
            asks.
    """

    experiment: Experiment
    cases: Sequence[Any]
    records: Sequence[dict]
    published: bool

    def rows(self, fresh: bool | None = None) -> pd.DataFrame:
        """A row a run: the fields of its case, then its result; of the fresh seeds or the others alone where asked."""
        chosen = (one for one in self.records if fresh in (None, one["config"]["seed"] >= FRESH))
        return pd.DataFrame([{**record["config"], **record["result"]} for record in chosen])

    def pair(
        self, metric: str, arm: Mapping[str, Any], against: Mapping[str, Any], fresh: bool | None = None
    ) -> Paired | None:
        """The ratio of a metric, arm / against, over the seeds that both have; None where there are none."""
        return runs.pair(self.rows(fresh), metric, arm, against)

    def mean(self, metric: str, arm: Mapping[str, Any], fresh: bool | None = None) -> float | None:
        """The mean of a metric over the runs that have these fields; None where there are none."""
        rows = self.rows(fresh)
        if rows.empty:
            return None
        values = rows[(rows[list(arm)] == pd.Series(arm)).all(axis=1)][metric]
        return values.mean() if len(values) else None


def load(page: Page, experiment: Experiment, name: str = "", then: Experiment | None = None, **changes: Any) -> Shown:
    """The runs of an experiment by the page's parameters; what they are and cost is glued.

    As published, in profile "standard" with no seeds, store or engine named, nothing is trained and what has no record
    is missing. With any other parameters the missing runs are trained.

    Args:
        page: has the parameters ``profile``, ``seeds``, ``engine``, ``records`` and ``cap``, and may have ``device``;
            it gets ``runs``.
        experiment: of the page's chapter.
        name: before the names under which it is glued what they are and cost, on a page with two experiments.
        then: the page's other experiment, which is loaded next: the cap is for what is missing of both.
        changes: replace fields of every case.

    Raises:
        ValueError: What is missing would take more core-hours than the cap; nothing has been trained then.
        RuntimeError: Names the first run that failed.
    """
    given = page.parameters
    cases = _cases(experiment, given, **changes)
    if given["profile"] == "smoke" or given["seeds"] is not None or given["engine"] or given["records"] or changes:
        afterwards = 0.0 if then is None else then.hours(_missing(then, _cases(then, given), given))
        _train(experiment, cases, given, afterwards)
    found = [read for case in cases if (read := runs.record(experiment, case, given["records"]))]
    page.runs = Shown(experiment, cases, found, set(cases) == set(experiment.cases()))
    used(record["id"] for record in found)
    page.say(name, cost(page.runs))
    return page.runs


def _cases(experiment: Experiment, given: Mapping[str, Any], **changes: Any) -> list[Any]:
    """What the page's parameters ask of an experiment."""
    cases = experiment.cases(given["profile"], **changes)
    if given["seeds"] is None:
        return cases
    return list(dict.fromkeys(replace(case, seed=seed) for seed in range(given["seeds"]) for case in cases))


def _missing(experiment: Experiment, cases: Sequence[Any], given: Mapping[str, Any]) -> list[Any]:
    return [case for case in cases if runs.record(experiment, case, given["records"]) is None]


def _train(experiment: Experiment, cases: Sequence[Any], given: Mapping[str, Any], afterwards: float) -> None:
    """Train what is missing, unless it takes more than the cap with the core-hours that the page asks for after it."""
    missing = _missing(experiment, cases, given)
    hours = experiment.hours(missing) + afterwards
    what = f"{len(missing)} of {len(cases)} runs have no record and take about {duration(experiment.hours(missing))}"
    what += f", and {duration(afterwards)} for what comes next on the page" if afterwards else ""
    cap = runs.CAP if given["cap"] is None else given["cap"]
    if hours > cap:
        allow = f"cap: {math.ceil(10 * hours) / 10:g}"
        raise ValueError(f"{what}, over the cap of {cap:g} core-hours. {allow} in the parameters trains them")
    if not missing:
        return
    where = given["engine"] or "serial", given["records"], given.get("device", "cpu")
    line, trained = Line(f"{what}."), runs.run(experiment, missing, *where)
    for done, (case, outcome) in enumerate(trained, start=1):
        if isinstance(outcome, Exception):
            raise RuntimeError(f"{case} failed: {outcome}") from outcome
        line.say(f"{what}. {done} trained.")


def cost(shown: Shown) -> dict[str, Any]:
    """What the shown runs are and cost, by the names under which a page glues it; ``cost`` says it in a sentence."""
    said = coverage(len(shown.records), len(shown.cases))
    seconds = [record["provenance"]["seconds"] for record in shown.records]
    numbers = {"runs": len(seconds), "coverage": said, "core-hours": sum(seconds) / 3600}
    if not seconds:
        return numbers | {"cost": f"{said}."}
    seeds = seed_ranges(record["config"]["seed"] for record in shown.records)
    words = f"{said}, seeds {seeds}: {sum(seconds) / 3600:.2f} core-hours of one CPU thread each"
    return numbers | {"cost": f"{words}, {sum(seconds) / len(seconds):.1f} s of processor time a run."}
