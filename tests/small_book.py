"""A small book of two chapters, rendered under the real settings: what the tests of a rendered site share."""

import base64
import pathlib
import subprocess
import sys

import nbformat
import pytest
import yaml
from conftest import ROOT

from book.press import build, execute, page_provenance, pair, paths

SCRIPT = """\
# %% [markdown]
# (page-{name})=
# # A page
#
# ```{{prf:theorem}} A name
# :label: theorem-{name}
# ```
#
# ## Over $r_0$ & time
#
# ```{{figure}} picture.png
# :name: figure-{name}
# :alt: a picture
# A caption.
# ```

# %% tags=["hide-input"]
plumbing = "drawn" + " by it"
print(plumbing)

# %%
idea = 1
"""
CONTENTS = """\
format: jb-book
root: index
parts:
  - caption: One
    chapters: [{file: notebooks/03_page}, {file: prose}]
  - caption: Other
    chapters: [{file: notebooks/10_other}]
"""
PROSE = """\
# Prose

## Its section

In {{ theory_minutes }} minutes <span class="tex">x &lt; 1</span>
"""
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
MADE = {"parameters": {}, "records": [], "software": {}, "machine": "a machine", "seconds": 1.0}


def settings(url: str) -> dict:
    """The settings of the book with this address of the repository."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    return {**config, "repository": {**config["repository"], "url": url}}


def write_page(folder: pathlib.Path, name: str) -> None:
    """What `execute` makes of a script, without a kernel: each cell that prints has its output."""
    script = folder / f"{name}.py"
    script.write_text(SCRIPT.format(name=name))
    notebook = nbformat.reads(pair.notebook_text(script), 4)
    for cell in notebook.cells:
        if "print" in cell.source:
            cell.outputs = [nbformat.v4.new_output("stream", text="drawn by it\n")]
    execute.hide_code(notebook)
    notebook.cells.append(nbformat.v4.new_markdown_cell(page_provenance.last_cell(script, MADE), id="last"))
    (folder / "book" / "notebooks" / f"{name}.ipynb").write_text(nbformat.writes(notebook))


def rendered(folder: pathlib.Path, url: str) -> pathlib.Path:
    """The site of a small book, rendered as `book.press.build` does; every warning is an error."""
    (folder / "book" / "notebooks").mkdir(parents=True)
    config = build.with_buttons(settings(url))
    del config["sphinx"]["config"]["html_static_path"]
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    (folder / "book" / "_toc.yml").write_text(CONTENTS)
    (folder / "book" / "index.md").write_text("# A book\n\n{numref}`figure-10_other`, {prf:ref}`theorem-03_page`\n")
    (folder / "book" / "prose.md").write_text(PROSE)
    (folder / "book" / "references.bib").write_text("")
    (folder / "book" / "notebooks" / "picture.png").write_bytes(base64.b64decode(PICTURE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_provenance, "commit", lambda files: "no commit")
        for name in ("03_page", "10_other"):
            write_page(folder, name)
    program = pathlib.Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", "book", "-W", "--keep-going", "-n", "-q"]
    ran = subprocess.run(command, cwd=folder, env=paths.environment(), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return folder / "_build" / "html"
