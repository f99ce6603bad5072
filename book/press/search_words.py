"""A Sphinx extension: the search finds Chinese, too.

Sphinx takes for a word what stands between spaces and punctuation. Chinese has none between words, so a search for a
word of two letters would find nothing. Here every two letters that stand together count as a word, in the index and in
what is searched for, as the analysers of search engines have it for Chinese. English words are as before.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

HAN = "\u4e00-\u9fff"  # the letters of Chinese, Unicode's block of CJK unified ideographs
PIECE = re.compile(rf"[{HAN}]+|[^\W{HAN}]+")
SPLITTER = """
var splitQuery = (query) => {
  const pieces = query.match(/[HAN]+|(?:(?![HAN])[\\p{Letter}\\p{Number}_\\p{Emoji_Presentation}])+/gu) ?? [];
  const pairs = (piece) => Array.from(piece.slice(1), (_, i) => piece.slice(i, i + 2));
  return pieces.flatMap((piece) => (/[HAN]/.test(piece) && piece.length > 1 ? pairs(piece) : [piece]));
};
"""


class SearchEnglishAndChinese(SearchEnglish):
    """English as Sphinx has it; of Chinese, every two letters that stand together."""

    js_splitter_code = SPLITTER.replace("HAN", r"\u4e00-\u9fff")

    def split(self, input: str) -> list[str]:
        """The words of a text.

        >>> SearchEnglishAndChinese({}).split("用STE防止编码表坍缩")
        ['用', 'STE', '防止', '止编', '编码', '码表', '表坍', '坍缩']
        """
        return [word for piece in PIECE.findall(input) for word in _words(piece)]


def _words(piece: str) -> list[str]:
    """The words of a piece that is all Chinese, or has no Chinese."""
    if not re.match(f"[{HAN}]", piece) or len(piece) == 1:
        return [piece]
    return [piece[i : i + 2] for i in range(len(piece) - 1)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.add_search_language(SearchEnglishAndChinese)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
