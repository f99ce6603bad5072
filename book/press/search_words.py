"""A Sphinx extension: the search finds Chinese, too.

Sphinx takes for a word what stands between spaces and punctuation. Chinese has none between words, so a search for a
word of two letters would find nothing. Here every two letters that stand together count as a word, in the index and in
what is searched for, as the analysers of search engines have it for Chinese. Of English words those that mean the same
count as one, in both places: American and British spelling, and reset, restart and revival.
"""

from __future__ import annotations

import json
import re

from sphinx.application import Sphinx
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


class SearchEnglishAndChinese(SearchEnglish):
    """English as Sphinx has it, but for synonyms; of Chinese, every two letters that stand together."""

    js_splitter_code = (
        SPLITTER.replace("HAN", r"\u4e00-\u9fff")
        .replace("AMERICAN", AMERICAN)
        .replace("SYNONYMS", json.dumps(SYNONYMS))
    )

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


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.add_search_language(SearchEnglishAndChinese)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
