"""The list of all records on the built pages."""

from book.press import page_provenance, paths
from book.systems import runs


def test_the_list_of_all_records_names_what_a_system_changed():
    found = page_provenance.every_record()
    for chapter in {runs.find(name).chapter for name in runs.CHAPTERS}:
        committed = list((paths.RECORDS / chapter).glob("*.json"))
        section = found.partition(f"### {chapter}\n")[2].partition("\n### ")[0]
        assert section.count("<tr><td>") == len(committed)
        assert not committed or " verified" in section
