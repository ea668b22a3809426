"""BigQuery loads from a folder whose bucket is near enough, and whose files are deleted once their run writes no more."""

import datetime
import logging
import time
import types

import pytest

from tests.support.samples import make_failure, make_provenance
from tests.support.warehouses import stage
from transforms.warehouse import bigquery_staging
from transforms.warehouse.bigquery_staging import StagingBucket, loads_from
from transforms.warehouse.bigquery_warehouse import BigQueryWarehouse


@pytest.mark.parametrize(
    ("dataset", "bucket", "loads"),
    [
        ("US", "europe-west4", True),
        ("EU", "EU", True),
        ("EU", "EUROPE-WEST4", True),
        ("EU", "EUR4", True),
        ("EU", "europe-west2", False),
        ("EU", "US", False),
        ("europe-west4", "EUROPE-WEST4", True),
        ("europe-west4", "EU", False),
        ("us-central1", "US", False),
        ("us-central1", None, True),
    ],
)
def test_bigquery_loads_from_buckets_in_its_region(dataset, bucket, loads):
    assert loads_from(dataset, bucket) == loads


def test_old_files_of_killed_runs_are_deleted(cloud, monkeypatch):
    warehouse = BigQueryWarehouse(cloud.project, cloud.dataset, cloud.temp_location)
    bucket = StagingBucket(cloud.project, warehouse.name, cloud.temp_location)
    stage(warehouse, make_provenance("killed"), make_failure())
    cloud.upload("temp/other.txt", b"not ours")
    bucket.prepare()
    assert len(cloud.objects("temp/repcount-staging/")) == 1
    monkeypatch.setattr(bigquery_staging, "STAGING_KEPT_SEC", -60.0)
    bucket.prepare()
    assert cloud.objects("temp/") == ["temp/other.txt"]


def set_clock(monkeypatch, now):
    """Makes it a certain time for the module that deletes old files."""
    clock = type("Clock", (datetime.datetime,), {"now": classmethod(lambda cls, zone: now)})
    replaced = types.SimpleNamespace(datetime=clock, timedelta=datetime.timedelta, UTC=datetime.UTC)
    monkeypatch.setattr(bigquery_staging, "datetime", replaced)


def test_files_of_a_run_stay_together_until_it_has_written_none_for_a_week(cloud, monkeypatch):
    warehouse = BigQueryWarehouse(cloud.project, cloud.dataset, cloud.temp_location)
    root = f"temp/repcount-staging/{warehouse.name}/"
    for run_id in ("2026-killed", "2026-slices"):
        stage(warehouse, make_provenance(run_id), make_failure())
    for stray in ("2026", "2026-sl"):  # files of others, whose names runs begin with
        cloud.upload(f"{root}{stray}", b"")
    time.sleep(0.1)
    between = datetime.datetime.now(datetime.UTC)
    time.sleep(0.1)
    warehouse.keep_staging("2026-slices")
    stage(warehouse, make_provenance("2026-young"), make_failure())
    set_clock(monkeypatch, between + datetime.timedelta(seconds=bigquery_staging.STAGING_KEPT_SEC))
    StagingBucket(cloud.project, warehouse.name, cloud.temp_location).prepare()
    left = [name.removeprefix(root).partition("/")[0] for name in cloud.objects(root)]
    assert sorted(left) == ["2026-slices", "2026-slices", "2026-young"]


def test_files_that_cannot_be_kept_are_logged(cloud, caplog):
    caplog.set_level(logging.WARNING)
    BigQueryWarehouse(cloud.project, cloud.dataset, "gs://no-such-bucket-here/temp").keep_staging("run-1")
    assert "Run run-1 goes on, but its staged rows could not be kept" in caplog.text
