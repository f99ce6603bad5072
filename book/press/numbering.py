"""A Sphinx extension: a chapter has the number of its file, everywhere.

The page `notebooks/10_ste_vs_rotation` is chapter 10: in its title, in the sidebar, in its sections (10.1, 10.2), and
in the numbers of its figures and theorems (Fig. 10.1). Sphinx would count the pages instead. Pages without a number in
their name have none.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors.toctree import TocTreeCollector

CHAPTER = re.compile(r"notebooks/(\d\d)_\w+")
AFTER_SPHINX = 600  # Sphinx's own numbering listens to the same event with 500


def chapters(env: BuildEnvironment) -> dict[str, int]:
    """The number of each chapter by its page: `notebooks/10_ste_vs_rotation` is 10."""
    named = map(CHAPTER.fullmatch, env.tocs)
    return {match[0]: int(match[1]) for match in named if match}


def number_chapters(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Give chapters and sections their numbers, then figures and theorems theirs; returns the pages that changed."""
    for page, number in chapters(env).items():
        env.titles[page]["secnumber"] = [number]
        env.toc_secnumbers[page] = {}
        for entry in env.tocs[page]:
            _number_section(entry, (number,), env.toc_secnumbers[page])
    return [*chapters(env), *TocTreeCollector().assign_figure_numbers(env)]


def _number_section(entry: nodes.list_item, number: tuple[int, ...], numbers: dict[str, tuple[int, ...]]) -> None:
    """Number a section and those below it.

    Args:
        entry: of the section in the table of contents: its link, and perhaps a list of what is below.
        number: of the section, such as (10, 2).
        numbers: takes the number of each section by its anchor, as Sphinx keeps it.
    """
    link, *lists = entry
    reference = link[0]
    reference["secnumber"] = list(number)
    numbers[reference["anchorname"]] = number
    for below in lists:
        for index, section in enumerate(below, start=1):
            _number_section(section, (*number, index), numbers)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("env-get-updated", number_chapters, priority=AFTER_SPHINX)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
