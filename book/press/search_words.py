"""A Sphinx extension: the search finds Chinese, and gives first what answers.

Sphinx takes for a word what stands between spaces and punctuation. Chinese has none between words, so a search for a
word of two letters would find nothing. Here every two letters that stand together count as a word, in the index and in
what is searched for, as the analysers of search engines have it for Chinese. Of English words those that mean the same
count as one, in both places: American and British spelling, and reset, restart and revival.

Sphinx ranks pages by titles, and otherwise all pages with a word alike. Here a search that means a term of the
glossary, or one of its synonyms there, gives first the chapters that the entry of the term names, and the entry itself.
A field of a class that is called like a word comes after the pages, unless the search has the form of a name in code.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from typing import NamedTuple

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.search.en import SearchEnglish

HAN = "\u4e00-\u9fff"  # the letters of Chinese, Unicode's block of CJK unified ideographs
PIECE = re.compile(rf"[{HAN}]+|[^\W{HAN}]+")
AMERICAN = r"^([a-z]{3,})iz(e|es|ed|er|ers|ing|ations?)$"
SYNONYMS = dict.fromkeys(("reset", "resets", "restart", "restarts", "revive", "revives", "revived"), "revival")
SPLITTER = """
var splitQuery = (query) => {
  const same = SYNONYMS;
  const pieces = query.match(/[HAN]+|(?:(?![HAN])[\\p{Letter}\\p{Number}_\\p{Emoji_Presentation}])+/gu) ?? [];
  const pairs = (piece) => Array.from(piece.slice(1), (_, i) => piece.slice(i, i + 2));
  const english = (piece) => same[piece.toLowerCase()] ?? piece.replace(/AMERICAN/i, "$1is$2");
  return pieces.flatMap((piece) => (/[HAN]/.test(piece) && piece.length > 1 ? pairs(piece) : [english(piece)]));
};
"""
# The words of a phrase are stems, as in the index; a word that many phrases have weighs little.
ANSWERS = """
{
  const entries = ENTRIES;
  const stemmer = new Stemmer();
  const stems = (text) => new Set(splitQuery(text.toLowerCase()).map((word) => stemmer.stemWord(word)));
  const phrases = entries.flatMap((entry) => entry.phrases.map((phrase) => ({ entry, words: stems(phrase) })));
  const weight = (word) => 1 / phrases.filter(({ words }) => words.has(word)).length;
  const sum = (words) => words.map(weight).reduce((a, b) => a + b, 0);
  const likeness = (asked, words) =>
    sum([...asked].filter((word) => words.has(word))) / sum([...new Set([...asked, ...words])]);
  const answersTo = (query) => {
    const known = [...stems(query)].filter((word) => phrases.some(({ words }) => words.has(word)));
    const [best] = phrases.map((phrase) => ({ entry: phrase.entry, share: likeness(known, phrase.words) }))
      .sort((a, b) => b.share - a.share);
    return best?.share >= 0.5 ? best.entry.places : [];
  };
  const all = Search._performSearch;
  Search._performSearch = (query, ...words) => {
    const { docnames, filenames, titles } = Search._index;
    const first = answersTo(query).map(({ page, anchor, term }) => {
      const at = docnames.indexOf(page);
      return [page, term ? `${titles[at]} > ${term}` : titles[at], anchor, null, 0, filenames[at]];
    });
    const place = (result) => result[0] + result[2];
    const given = new Set(first.map(place));
    const others = all(query, ...words).filter((result) => !given.has(place(result)));
    const isField = ([, , , kind]) => !/[_.]/.test(query) && /^Python (attribute|property)/.test(kind ?? "");
    const pages = others.filter((result) => !isField(result));
    return [...others.filter(isField), ...pages, ...first.reverse()];  // what is shown first comes last
  };
}
"""


class Entry(NamedTuple):
    """An entry of a glossary.

    Attributes:
        phrases: The term, its other forms, and what else it is called.
        pages: The pages that the entry names.
        page: that it stands on.
        anchor: of its place there.
    """

    phrases: list[str]
    pages: list[str]
    page: str
    anchor: str

    def script(self) -> dict:
        """The entry as the search reads it: its phrases, and the places that answer, the first first."""
        chapters = [{"page": page, "anchor": "", "term": ""} for page in self.pages]
        own = {"page": self.page, "anchor": self.anchor, "term": self.phrases[0]}
        return {"phrases": self.phrases, "places": [*chapters, own]}


def synonyms(definition: str) -> list[str]:
    """What else a term is called, as its definition has it in a sentence that begins with "Also".

    >>> synonyms("Moved onto a latent. Also reset, random restart, or expiring codes. Which are dead is a threshold.")
    ['reset', 'random restart', 'expiring codes']
    """
    lists = re.findall(r"\b[Aa]lso ([^.;:]*)", definition)
    found = [phrase for one in lists for phrase in re.split(r",\s*(?:or\s+)?|\s+or\s+", one)]
    return [phrase for phrase in found if phrase and "\\" not in phrase and not phrase.startswith("and ")]


def glossary(page: str, doctree: nodes.document) -> Iterator[Entry]:
    """The entries of the glossary of a page."""
    for item in doctree.findall(nodes.definition_list_item):
        terms = list(item.findall(nodes.term))
        if not isinstance(item.parent.parent, addnodes.glossary) or not terms:
            continue
        definition = next(item.findall(nodes.definition))
        links = [link for link in definition.findall(addnodes.pending_xref) if link["reftype"] == "doc"]
        pages = [posixpath.normpath(posixpath.join(posixpath.dirname(page), link["reftarget"])) for link in links]
        phrases = [_text(term) for term in terms] + synonyms(" ".join(definition.astext().split()))
        phrases += [phrase.replace("-", "") for phrase in phrases if "-" in phrase]  # "warmup", too
        yield Entry(phrases, list(dict.fromkeys(pages)), page, f"#{terms[0]['ids'][0]}")


def _text(term: nodes.term) -> str:
    """A term without the entry for the index that Sphinx adds."""
    return "".join(child.astext() for child in term.children if not isinstance(child, addnodes.index))


class SearchEnglishAndChinese(SearchEnglish):
    """English as Sphinx has it, but for synonyms; of Chinese, every two letters that stand together."""

    js_splitter_code = (
        SPLITTER.replace("HAN", r"\u4e00-\u9fff")
        .replace("AMERICAN", AMERICAN)
        .replace("SYNONYMS", json.dumps(SYNONYMS))
    )

    def init(self, options: dict) -> None:
        """Take the glossary among the options, which :func:`read_glossaries` puts there."""
        super().init(options)
        if entries := options.get("glossary"):
            self.js_splitter_code += ANSWERS.replace("ENTRIES", json.dumps(entries, ensure_ascii=False))

    def split(self, input: str) -> list[str]:
        """The words of a text.

        >>> SearchEnglishAndChinese({}).split("用STE防止编码表坍缩")
        ['用', 'STE', '防止', '止编', '编码', '码表', '表坍', '坍缩']
        >>> SearchEnglishAndChinese({}).split("Codebook reset, vector quantization")
        ['Codebook', 'revival', 'vector', 'quantisation']
        """
        return [word for piece in PIECE.findall(input) for word in _words(piece)]


def _words(piece: str) -> list[str]:
    """The words of a piece that is all Chinese, or has no Chinese."""
    if not re.match(f"[{HAN}]", piece) or len(piece) == 1:
        return [SYNONYMS.get(piece.lower()) or re.sub(AMERICAN, r"\1is\2", piece, flags=re.I)]
    return [piece[i : i + 2] for i in range(len(piece) - 1)]


def read_glossaries(app: Sphinx, env: BuildEnvironment) -> None:
    """Hand the glossaries of the book to the search, once all pages are read."""
    named = env.get_domain("std").objects.items()
    pages = sorted({page for (kind, _), (page, _) in named if kind == "term"})
    found = [entry.script() for page in pages for entry in glossary(page, env.get_doctree(page))]
    app.config.html_search_options = {**app.config.html_search_options, "glossary": found}


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.add_search_language(SearchEnglishAndChinese)
    app.connect("env-updated", read_glossaries)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
