"""The Chinese edition: it says what the English pages say now, from the same numbers, and a reader can find it."""

import re
import shutil
from datetime import UTC, datetime

import pytest
import yaml
from conftest import BOOK, HTML, ROOT, built

from book.press import page_foot, translated_pages, translations
from book.press.edition import Cited, Edition
from book.press.search_words import SearchEnglishAndChinese
from book.press.whole import contents

PAGES = translations.translations()
WORDS = yaml.safe_load((BOOK / "zh" / "words.yml").read_text("utf-8"))
GLUED = re.compile(r"\{glue:text\}`([^`]*)`")
NAMES = {"CI", "EMA", "K", "K-Means", "MSE", "SGD", "STE", "n"}  # in what is glued, the same in both languages


def by_name(page: translations.Translation) -> str:
    return page.file.stem


def body_of(page: translations.Translation) -> str:
    """The HTML of a built page between the frames of the theme."""
    text = (HTML / f"{page.page}.html").read_text("utf-8")
    return text[text.index("<article") : text.index("</article>")]


# as the English pages are now


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_the_original_has_not_changed_since_it_was_translated(page):
    changed = translations.changes(page)
    assert not changed, (
        f"{page.original} has changed since book/zh/{page.file.name} was translated, in: {'; '.join(changed)}."
        f" Bring the Chinese up to date, then run: .venv/bin/python -m book.press stamp {page.file.stem}"
        " (until then the built page says that the English one is newer)"
    )


def names_of_numbers(text: str) -> set[str]:
    """The names under which numbers of a text were glued, without their page and format."""
    return {found.rpartition("::")[2].partition(":")[0] for found in GLUED.findall(text)}


def test_names_of_numbers():
    assert names_of_numbers("{glue:text}`/a/b.ipynb::c-0.8:.2f` {glue:text}`d` {glue:text}`e:s`") == {"c-0.8", "d", "e"}


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_no_number_of_a_translated_section_is_left_out(page):
    sections = translations.HEADING.split(translations.read_original(page.original))
    said = dict(zip(sections[1::2], sections[2::2]))
    asked = names_of_numbers(" ".join(said[heading] for heading in page.translated if heading in said))
    assert asked <= names_of_numbers(page.file.read_text("utf-8"))


def test_the_edition_stands_in_the_contents_under_a_part_of_its_own():
    parts = {part.title: part.pages for part in contents()}
    assert set(parts["中文"]) == {page.page for page in PAGES}


# what makes a translation stale

ORIGINAL = """\
# %% [markdown]
# # A title
#
# It is {glue:text}`ratio:.2f` times as large.
#
# ```python
# # a comment, no heading
# ```

# %%
x = 1

# %% [markdown]
# (label)=
# ## A section
#
# Two lines
# of text.
#
# ## Another
#
# Not translated.
"""
PAGE = "---\noriginal: {}\nleft_out:\n- Another\n---\n# 标题\n\n正文。\n"


@pytest.fixture
def book(tmp_path):
    """A checkout with two pages in English, of which both are translated and one is a script."""
    for folder in ("notebooks", "book/zh"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "notebooks" / "01_page.py").write_text(ORIGINAL)
    text = "\n".join(line[2:] for line in ORIGINAL.splitlines() if line.startswith("#") and "%%" not in line)
    (tmp_path / "book" / "prose.md").write_text(text)
    for name, original in {"one": "notebooks/01_page", "two": "prose"}.items():
        (tmp_path / "book" / "zh" / f"{name}.md").write_text(PAGE.format(original))
    translations.stamp(["one", "two"], tmp_path)
    return tmp_path


def changed(book, *edits: tuple[str, str]) -> list[list[str]]:
    """What has changed of both originals after these replacements, in both."""
    for file in (book / "notebooks" / "01_page.py", book / "book" / "prose.md"):
        text = file.read_text()
        for old, new in edits:
            assert old.replace("\n# ", "\n") in text.replace("\n# ", "\n")
            text = text.replace(old, new).replace(old.replace("\n# ", "\n"), new.replace("\n# ", "\n"))
        file.write_text(text)
    return [translations.changes(one, book) for one in translations.translations(book)]


def test_both_hold_once_they_are_stamped(book):
    assert changed(book) == [[], []]
    for one in translations.translations(book):
        assert list(one.translated) == ["A title", "A section"] and one.left_out == ["Another"]
        assert one.file.read_text().endswith("---\n# 标题\n\n正文。\n")


@pytest.mark.parametrize(
    "edit",
    [
        ("`ratio:.2f`", "`other:.1f`"),
        ("Two lines\n# of text.", "Two\n# lines of text."),
        ("Not translated.", "Still not."),
        ("(label)=", "(other)="),
    ],
    ids=["a number", "a line break", "a section that is left out", "a label"],
)
def test_what_is_no_prose_does_not_count(book, edit):
    assert changed(book, edit) == [[], []]


def test_code_of_a_notebook_does_not_count(book):
    script = book / "notebooks" / "01_page.py"
    script.write_text(script.read_text().replace("x = 1", "x = 2  # other"))
    assert changed(book) == [[], []]


@pytest.mark.parametrize(
    "edit, heading",
    [
        (("times as large", "times as small"), "A title"),
        (("a comment, no heading", "another comment"), "A title"),
        (("of text.", "of words."), "A section"),
        (("## A section", "## A renamed section"), "A renamed section"),
        (("## Another", "## New\n# \n# Text.\n# \n# ## Another"), "New"),
        (("## Another", "## Other"), "Other"),
    ],
)
def test_prose_counts_and_stamping_ends_it(book, edit, heading):
    assert all(heading in found for found in changed(book, edit))
    translations.stamp(["one", "two"], book)
    assert changed(book) == [[], []]


def test_an_unknown_page_cannot_be_stamped(book):
    with pytest.raises(SystemExit, match="no translation three: there are one, two"):
        translations.stamp(["three"], book)


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_a_change_of_the_real_original_is_seen(page, tmp_path):
    """Each page of the edition, with one more word in its original."""
    shutil.copytree(BOOK / "zh", tmp_path / "book" / "zh")
    here = BOOK / f"{page.original}.md"
    here = here if here.exists() else ROOT / f"{page.original}.py"
    there = tmp_path / here.relative_to(ROOT)
    there.parent.mkdir(parents=True, exist_ok=True)
    text, title = here.read_text("utf-8"), next(iter(page.translated))
    there.write_text(re.sub(rf"^((?:# )?# {re.escape(title)})$", r"\1\n# One more word.", text, flags=re.M))
    assert title in translations.changes(page, tmp_path)


# what a page shows


def test_a_stale_page_says_so():
    assert translated_pages.note([], "45.html") == ""
    said = translated_pages.note(["A & B"], "45.html")
    assert "英文页已更新" in said and "A &amp; B" in said and 'href="45.html"' in said
    body = translated_pages.marked(
        '<section id="a">\n<h1>题</h1>\n<p>文</p></section>', translated_pages.Html(""), said
    )
    assert body.startswith('<section lang="zh-Hans" id="a">') and "<h1>题</h1><div" in body


@pytest.mark.parametrize(
    "english, chinese",
    [
        ("−42.7 % (95 % CI −45.0 to −40.2, n = 10)", "−42.7 %（95 % CI −45.0～−40.2，n = 10）"),
        ("2.2 times (95 % CI 1.9 to 2.4, n = 4, 1 diverged)", "2.2 倍（95 % CI 1.9～2.4，n = 4，1 次发散）"),
        ("+7.0 % (n = 1)", "+7.0 %（n = 1）"),
        ("no pair finished (n = 0, 5 diverged)", "没有一对跑完（n = 0，5 次发散）"),
        ("0.56 (0.53 to 0.59)", "0.56（0.53～0.59）"),
        ("n = 3, fresh, 5 of 10", "n = 3，新种子 5/10"),
        ("n = 9, 1 diverged, confirmed", "n = 9，1 次发散，已确认"),
        ("k-means after warm-up", "预热后 K-Means"),
        ("2,000", "2,000"),
    ],
)
def test_words_of_numbers(english, chinese):
    assert translated_pages.in_chinese(english, WORDS) == chinese


def test_only_what_is_glued_is_translated_and_links_lead_there():
    table = '<table class="dataframe"><tr><th><a href="10_x.html">k-means</a></th><td>use STE</td></tr></table>'
    body = f'<p>use STE <a href="10_x.html">k-means</a> <span class="pasted-text">not run</span></p>{table}'
    found = translated_pages.translate_glued(body, WORDS, "../notebooks")
    assert found.startswith('<p>use STE <a href="10_x.html">k-means</a> <span class="pasted-text">未运行</span>')
    assert '<a href="../notebooks/10_x.html">K-Means</a></th><td>用 STE</td>' in found


@pytest.mark.parametrize("commit", ["commit 75004008 of 2026-11-28, with changes since", "no commit"])
def test_no_english_word_is_left_in_the_foot(commit):
    this = Edition("9.8.7", commit, datetime(2026, 11, 28, tzinfo=UTC))
    english = page_foot.foot(this, Cited("x", "页", "书", ""), "c.html", "https://a.b/c", "https://a.b/")
    found = translated_pages.translate_texts(english, WORDS)
    entry = english[english.index("<pre>") :]
    assert found.endswith(entry) and re.findall('href="[^"]*"', found) == re.findall('href="[^"]*"', english)
    said = re.sub("<[^>]*>", " ", found.removesuffix(entry))
    assert re.findall("[A-Za-z]{2,}", said) == ["PDF"] and "版本 9.8.7，" in said


def test_the_search_takes_two_letters_of_chinese_for_a_word():
    split = SearchEnglishAndChinese({}).split
    assert split("用STE防止坍缩，a code") == ["用", "STE", "防止", "止坍", "坍缩", "a", "code"]


# the built book


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_a_page_has_its_language_and_links_to_its_original_and_back(page):
    built()
    body, english = body_of(page), (HTML / f"{page.original}.html").read_text("utf-8")
    assert re.findall(r'<section lang="([^"]+)"', body) == ["zh-Hans"]
    assert f'<a href="../{page.original}.html" lang="en" hreflang="en" rel="alternate">English</a>' in body
    there = f"zh/{page.file.stem}.html"
    back = there if "/" not in page.original else f"../{there}"
    assert f'<a href="{back}" lang="zh-Hans" hreflang="zh-Hans" rel="alternate">中文</a>' in english
    assert ("rv-stale" in body) == bool(translations.changes(page))


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_what_stands_around_a_page_is_in_its_language(page):
    built()
    text = (HTML / f"{page.page}.html").read_text("utf-8")
    around = re.findall(r'<p class="prev-next-subtitle">(.*?)</p>', text)
    assert around and set(around) <= {"上一页", "下一页"} and "<summary>引用本页</summary>" in text
    assert re.search(r'class="fa-solid fa-list"></i>\s*目录', text)
    assert "<summary>Cite this page</summary>" in (HTML / f"{page.original}.html").read_text("utf-8")


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_no_english_word_is_left_in_numbers_and_tables(page):
    """Where a table has a new label, say it in Chinese in book/zh/words.yml."""
    built()
    found = " ".join(re.sub("<[^>]*>", " ", part) for part in translated_pages.GLUED.findall(body_of(page)))
    assert set(re.findall(r"[A-Za-z][A-Za-z-]*", found)) <= NAMES


@pytest.mark.parametrize("word", ["坍缩", "编码重启", "STE 旋转技巧"])
def test_the_search_of_the_book_finds_it(chromium, word):
    built()
    page = chromium.new_page()
    page.goto(f"{(HTML / 'search.html').as_uri()}?q={word}")
    page.wait_for_selector("#search-results ul.search li a[href*='zh/index.html']")
    page.close()


def test_the_search_splits_what_is_asked_as_it_split_the_book(chromium):
    texts = ["用STE防止编码表坍缩，a_b-c γ=1", "码 K-Means 后", "plain words", "Codebook Resets and quantization"]
    page = chromium.new_page()
    page.evaluate("code => { window.eval(code) }", SearchEnglishAndChinese.js_splitter_code)
    assert page.evaluate("texts => texts.map(text => splitQuery(text))", texts) == [
        SearchEnglishAndChinese({}).split(text) for text in texts
    ]
    page.close()
