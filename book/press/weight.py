"""A Sphinx extension: leaves out what the theme loads for every page and no page of the book needs.

These are scripts, which `templates/layout.html` names, and icons: a page has a few of the two thousand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from fontTools import subset
from sphinx.application import Sphinx

TEMPLATES = Path(__file__).with_name("templates")
ICON_FONTS = Path("_static", "vendor", "fontawesome", "webfonts")
SCRIPTS_OF_ALL_ICONS = "_static/scripts/fontawesome.js*"
NAME = re.compile(r"\bfa-[a-z0-9-]+")
NAMED_ICON = re.compile(r"((?:\.fa-[\w-]+::?before,?)+)\{content:\"([^\"]+)\"\}")  # .fa-moon:before{content:"\f186"}
ESCAPED = re.compile(r"\\([0-9a-f]{4})\b")
ICONS = range(0xE000, 0xF900)  # where a font of icons has them


def without(head: str, *scripts: str) -> str:
    """A part of a page's head without these scripts, and without hints that they are coming.

    >>> without('<script defer src="_static/a.js?v=1"></script><script src="b.js"></script>', "a.js")
    '<script src="b.js"></script>'

    Raises:
        ValueError: if one of them is not there, as after a change of the theme.
    """
    for name in scripts:
        head, count = re.subn(rf'\s*<script [^>]*src="[^"]*\b{re.escape(name)}[^"]*"[^>]*></script>', "", head)
        if not count:
            raise ValueError(f"the theme no longer loads {name}: see templates/layout.html")
    return head


def icons(styles: str, names: Iterable[str]) -> set[int]:
    """The icons, as numbers of letters, that CSS shows by itself or for the names of icons.

    >>> styles = '.fa-sun:before{content:"\\\\f185"}.fa-moon:before{content:"\\\\f186"}.tip{--icon:"\\\\f0eb"}'
    >>> sorted(map(hex, icons(styles, {"fa-moon", "fa-solid"})))
    ['0xf0eb', '0xf186']
    """
    used = {f".{name}" for name in names}
    shown = [NAMED_ICON.sub("", styles)]
    shown += [icon for rule, icon in NAMED_ICON.findall(styles) if used & set(re.findall(r"\.[\w-]+", rule))]
    letters = ESCAPED.sub(lambda code: chr(int(code[1], 16)), "".join(shown))
    return {ord(letter) for letter in letters if ord(letter) in ICONS}


def cut(font: Path, letters: Iterable[int], target: Path) -> None:
    """Write a font with no other letters than these, as WOFF2 or as TrueType, as the name of the target says."""
    flavour = {".woff2": "woff2", ".ttf": None}[target.suffix]
    options = subset.Options(flavor=flavour)
    loaded = subset.load_font(font, options)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=letters)
    cutter.subset(loaded)
    subset.save_font(loaded, target, options)


def _texts(root: Path, *patterns: str) -> Iterator[str]:
    return (path.read_text("utf-8") for pattern in patterns for path in root.rglob(pattern))


def cut_icons(app: Sphinx, problem: Exception | None) -> None:
    """Cut the theme's fonts of icons down to those that the site shows, and drop its script of all icons."""
    if problem is not None or app.builder.format != "html":
        return
    root = Path(app.outdir)
    for path in root.glob(SCRIPTS_OF_ALL_ICONS):
        path.unlink()
    names = {name for text in _texts(root, "*.html", "*.js") for name in NAME.findall(text)}
    letters = icons("".join(_texts(root / "_static", "*.css")), names)
    for font in (root / ICON_FONTS).glob("*.ttf"):
        for target in (font.with_suffix(".woff2"), font):
            cut(font, letters, target)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""

    def teach(app: Sphinx) -> None:
        app.builder.templates.environment.filters["without"] = without

    app.config.templates_path.append(str(TEMPLATES))
    app.connect("builder-inited", teach)
    app.connect("build-finished", cut_icons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
