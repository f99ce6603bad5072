"""The page of symbols and terms: symbols where it says, synonyms that a search finds, an order that holds."""

import json
import re

import pytest
from conftest import BOOK, HTML, ROOT, built

from book.press.chapter_map import NEEDS, THEORY, before, chapter_map, chapters, places, uses
from book.press.search_words import SearchEnglishAndChinese

PAGE = (BOOK / "notation.md").read_text("utf-8")
CHAPTERS = {int(path.stem[:2]): path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))}
ROWS = re.findall(r"^\| (\$.*?) \| (.*) \| \{doc\}`(\d+) <notebooks/(\w+)>` \|$", PAGE, re.M)


def text_of(number: int) -> str:
    """The prose of a chapter, which stands in comments."""
    lines = CHAPTERS[number].read_text("utf-8").splitlines()
    return "\n".join(line[2:] for line in lines if line.startswith("# "))


TEXTS = {number: text_of(number) for number in CHAPTERS}


MATHEMATICS = re.compile(r"\$\$(.+?)\$\$|\$([^$]+)\$|```\{math\}\n(.+?)```", re.S)
GENERAL = (r"$\lvert x\rvert$", r"$\lVert M\rVert_2$", r"$\mathrm{sg}[\cdot]$")  # of any vector, matrix or term


def plain(mathematics: str) -> str:
    """Mathematics as one compares it: without spaces and braces, and with the bars that a table cannot hold."""
    return re.sub(r"[\s{}]|\\[,;!]", "", mathematics.replace(r"\lvert", "|").replace(r"\rvert", "|"))


def has(symbol: str, number: int) -> bool:
    """Whether a chapter uses a symbol in its mathematics; a letter, as a letter and not in the name of a command."""
    text = " ".join("".join(parts) for parts in MATHEMATICS.findall(TEXTS[number]))
    letter = re.search(rf"(?<![A-Za-z\\]){symbol}(?![A-Za-z])", text) if symbol.isalpha() else None
    return bool(letter) if symbol.isalpha() else plain(symbol) in plain(text)


def test_there_are_rows():
    assert len(ROWS) > 60


@pytest.mark.parametrize("symbols, _, number, stem", ROWS, ids=[row[0] for row in ROWS])
def test_a_symbol_is_used_in_the_chapter_that_its_row_names(symbols, _, number, stem):
    assert CHAPTERS[int(number)].stem == stem
    for symbol in re.findall(r"\$(.*?)\$", symbols) if not symbols.startswith(GENERAL) else ():
        name = re.split(r"=|\\in(?![a-z])|\\ge", symbol)[0]
        assert has(name, int(number)), f"no {name} in chapter {number}"


def test_a_letter_is_no_part_of_a_command():
    assert has("d", 1) and not has("k", 0) and not has("Q", 1)


USES = uses(TEXTS)
GREEK = re.compile(
    r"\\((?:var)?(?:epsilon|theta|phi)|[aA]lpha|[bB]eta|[gG]amma|[dD]elta|eta|[tT]heta|kappa|[lL]ambda|mu|nu|[xX]i|rho|"
    r"[sS]igma|tau|Phi|chi|[pP]si|[oO]mega|ell)(?![a-zA-Z])"
)


@pytest.mark.parametrize("number", TEXTS)
def test_every_greek_letter_of_a_chapter_is_on_the_page(number):
    assert set(GREEK.findall(TEXTS[number])) <= set(GREEK.findall(PAGE))


def test_every_link_is_numbered_as_its_chapter():
    for number, stem in re.findall(r"\{doc\}`(\d+) <notebooks/(\w+)>`", PAGE):
        assert CHAPTERS[int(number)].stem == stem


# ---- terms

ASKED = [  # what people call things, as they type it
    *(
        "dead codes",
        "unused codes",
        "codebook reset",
        "random restart",
        "expired codes",
        "replenishment",
        "reinitialisation",
    ),
    *("straight-through estimator", "STE", "codebook collapse", "index collapse", "utilization", "shrinking latents"),
    *("vector quantization", "initialization", "normalized codes", "RVQ", "residual vector quantization", "codeword"),
    *("embedding table", "commitment cost", "exponential moving average", "Voronoi region", "distortion", "tokenizer"),
]


@pytest.mark.parametrize("phrase", ASKED)
def test_the_search_of_the_book_finds_the_page(phrase):
    """The search gives the pages that have all words, each cut to its stem."""
    built()
    index = json.loads((HTML / "searchindex.js").read_text("utf-8").removeprefix("Search.setIndex(").removesuffix(")"))
    language = SearchEnglishAndChinese({})
    at = index["docnames"].index("notation")
    for word in map(str.lower, language.split(phrase)):
        places = [index[kind].get(language.stem(word), []) for kind in ("terms", "titleterms")]
        assert any(at == place or (isinstance(place, list) and at in place) for place in places), word


# ---- what to read before what


@pytest.mark.parametrize("stem", chapters().values())
def test_each_chapter_says_what_it_builds_on(stem):
    assert int(stem[:2]) in NEEDS, "say so in book/press/chapter_map.py"


@pytest.mark.parametrize("number", NEEDS)
def test_what_a_proof_uses_is_read_before(number):
    assert USES.get(number, set()) <= set(before(number)), "a statement or a proof of it uses more"


def test_uses_are_those_of_statements_and_proofs():
    texts = {
        1: "```{prf:theorem} A\n:label: thm-a\n```\n$$ x $$ (eq-b)",
        2: "{prf:ref}`thm-a`\n````{dropdown} Proof\n{eq}`eq-b` {prf:ref}`thm-c`\n````",
        3: "```{prf:lemma} C\n:label: thm-c\n```\nas {prf:ref}`thm-a` says",
    }
    assert uses(texts) == {1: set(), 2: {1}, 3: set()}


def test_a_chapter_stands_below_what_it_needs_and_beside_no_other():
    at = places(THEORY)
    assert all(at[one][1] < at[chapter][1] for chapter in THEORY for one in THEORY[chapter])
    assert len(set(at.values())) == len(at)
    assert all(not set(THEORY[chapter]) & set(before(one)) for chapter in THEORY for one in THEORY[chapter])


def test_the_map_names_each_chapter_of_the_book_once():
    text = chapter_map()
    for number, stem in chapters().items():
        assert text.count(f"{number}\u00a0{{doc}}`notebooks/{stem}`") == 1
    assert all(f'href="notebooks/{CHAPTERS[number].stem}.html"' in text for number in THEORY)
