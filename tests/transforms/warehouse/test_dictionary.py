"""The data dictionary in the documentation is the schema's."""

from pathlib import Path

from transforms.warehouse.dictionary import data_dictionary

DICTIONARY = Path(__file__).parents[3] / "docs" / "data_dictionary.md"


def test_the_checked_in_data_dictionary_is_what_the_schema_gives():
    assert DICTIONARY.read_text(encoding="utf-8") == data_dictionary(), (
        "run `python -m transforms.warehouse.dictionary > docs/data_dictionary.md` and review: columns may only be added"
    )
