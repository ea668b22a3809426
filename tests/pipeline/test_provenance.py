"""Rows of a run say what counted them, under an id that no other run has."""

import datetime

from pipeline.provenance import new_provenance
from tests.support.scorers import FAKE_MODEL
from transforms.warehouse.name_labels import NameLabels


def test_a_run_that_starts_now_has_an_id_of_its_own_and_the_model_of_its_rows():
    labels = NameLabels("(?P<user>x)")
    first, second = (new_provenance(FAKE_MODEL, "{}", labels) for _ in range(2))
    assert first.run_id != second.run_id
    assert first.run_id.startswith(f"{first.run_started:%Y%m%dT%H%M%S}-")
    assert datetime.datetime.now(datetime.UTC) - first.run_started < datetime.timedelta(minutes=5)
    assert (first.model, first.model_sha256, first.precision) == ("fake", "0" * 64, "float32")
    assert (first.options_json, first.name_labels) == ("{}", labels)
