"""The data dictionary in the documentation matches the schema."""

from pathlib import Path

from transforms.warehouse.dictionary import data_dictionary

DICTIONARY = Path(__file__).parents[3] / "docs" / "data_dictionary.md"


def test_the_documented_data_dictionary_matches_the_schema():
    assert DICTIONARY.read_text(encoding="utf-8") == data_dictionary(), (
        "run `python -m transforms.warehouse.dictionary > docs/data_dictionary.md` and review: columns may only be added"
    )
