"""A Sphinx extension: a page in Chinese says that it is, what it translates, and whether that has changed since.

Its article has the language, for screen readers and fonts. It and its original link to each other. The words in what it
takes from English pages, numbers and tables, are those of `book/zh/words.yml`, and so are those of the theme and the
foot around it.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from sphinx.application import Sphinx

from book.press.translations import FOLDER, LANGUAGE, Translation, changes, translations
from rotvq.page.html import Html, tag

GLUED = re.compile(r'<span class="pasted-text">.*?</span>|<table\b[^>]*class="dataframe".*?</table>', re.S)
TEXT = re.compile(r"(?<=>)[^<>]+(?=<)")
LINK = re.compile(r'(?<=href=")[\w-]+\.html(?=["#])')  # to a page beside the original


def in_chinese(text: str, words: Sequence[tuple[str, str]]) -> str:
    """A glued text with its English words replaced, by regular expressions in their order.

    >>> in_chinese("2.1 times", [(r"([0-9.]+) times", r"\\1 倍")])
    '2.1 倍'
    """
    for pattern, replacement in words:
        text = re.sub(pattern, replacement, text)
    return text


def translate_texts(markup: str, words: Sequence[tuple[str, str]]) -> Html:
    """HTML with the words in its texts replaced, as in `in_chinese`, but not in its tags.

    >>> translate_texts('<p class="all">all &amp; <b>all</b></p>', [("all", "合计")])
    '<p class="all">合计 &amp; <b>合计</b></p>'
    """

    def text(match: re.Match) -> str:
        return html.escape(in_chinese(html.unescape(match[0]), words), quote=False)

    return Html(TEXT.sub(text, markup))


def translate_glued(body: str, words: Sequence[tuple[str, str]], folder: str) -> str:
    """The HTML of a page, with words replaced in what is glued from an English page, and links that lead there.

    Args:
        body: The HTML.
        words: as in `in_chinese`.
        folder: The path from the page to the folder of the English one.
    """

    def glued(match: re.Match) -> str:
        return LINK.sub(lambda link: posixpath.join(folder, link[0]), translate_texts(match[0], words))

    return GLUED.sub(glued, body)


def link(words: str, address: str, language: str) -> Html:
    """The link to the same page in another language."""
    return tag(
        "p",
        tag("a", words, href=address, lang=language, hreflang=language, rel="alternate"),
        class_="rv-language",
    )


def note(changed: Sequence[str], original: str) -> Html:
    """What a stale translation says under its title; empty if it is not stale.

    Args:
        changed: The headings of the sections that changed.
        original: The address of the English page.
    """
    if not changed:
        return Html("")
    named = Html("、".join(tag("span", heading, lang="en") for heading in changed))
    there = tag("a", "英文页", href=original)
    return tag(
        "div",
        tag("p", "英文页已更新", class_="admonition-title"),
        tag("p", "翻译之后，英文页的这些小节有改动：", named, "。请以", there, "为准。"),
        class_="admonition warning rv-stale",
    )


def marked(body: str, back: Html, said: Html) -> str:
    """The HTML of a translation with its language, the link to its original, and a note under its title."""
    if "</h1>" not in body:
        raise ValueError("a translation has a title")
    with_language = body.replace("<section", f'<section lang="{LANGUAGE}"', 1)
    return back + with_language.replace("</h1>", f"</h1>{said}", 1)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    root = Path(app.srcdir).parent
    listed = root / "book" / FOLDER / "words.yml"
    words = yaml.safe_load(listed.read_text("utf-8")) if listed.exists() else []
    by_page: dict[str, Translation] = {one.page: one for one in translations(root)}
    by_original = {one.original: one.page for one in by_page.values()}

    def translate(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
        if doctree is None:
            return
        if there := by_original.get(page):
            address = app.builder.get_relative_uri(page, there)
            context["body"] = link("中文", address, LANGUAGE) + context["body"]
        if one := by_page.get(page):
            address = app.builder.get_relative_uri(page, one.original)
            body = translate_glued(context["body"], words, "../notebooks")
            context["body"] = marked(body, link("English", address, "en"), note(changes(one, root), address))

    def translate_frame(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
        if page in by_page:
            context["_"] = context["translate"] = lambda text: in_chinese(text, words)  # of the theme's templates
            foot = translate_texts(context["theme_extra_footer"], words)
            context["theme_extra_footer"] = tag("div", foot, lang=LANGUAGE)

    app.connect("html-page-context", translate)
    app.connect("html-page-context", translate_frame, priority=900)  # of what others put there
    return {"parallel_read_safe": True, "parallel_write_safe": True}
