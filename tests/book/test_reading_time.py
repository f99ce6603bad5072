"""The minutes on the front page are those of the words that a reader of the theory sees."""

from __future__ import annotations

from book.press.reading_time import WORDS_A_MINUTE, minutes, theory

WORDS = "word " * WORDS_A_MINUTE


def test_each_minute_of_words_counts_and_ten_are_begun():
    assert [minutes([WORDS * n]) for n in (9, 10, 11)] == [10, 10, 20]
    assert minutes([WORDS * 10, WORDS * 10]) == 20


def test_what_is_folded_or_markup_does_not_count_and_a_formula_is_a_word():
    folded = f"```{{dropdown}} A proof\n{WORDS * 30}\n```\n"
    assert minutes([WORDS * 10 + "\n\n" + folded]) == 10
    assert minutes([WORDS * 9 + "\n\n" + "$a + b$ " * WORDS_A_MINUTE]) == 10
    assert minutes([WORDS * 9 + "\n\n" + "$a + b$ " * 2 * WORDS_A_MINUTE]) == 20
    assert minutes([WORDS * 10 + "\n(a-label)=\n:name: a b c\n"]) == 10


def test_theory_is_all_of_its_chapters():
    chapters = theory()
    assert len(chapters) > 9 and all("# " in chapter for chapter in chapters)
    assert minutes(chapters) > minutes(chapters[1:]) > minutes(chapters[2:]) > 60
