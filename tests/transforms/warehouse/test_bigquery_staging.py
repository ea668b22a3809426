"""BigQuery loads from a folder whose bucket is near enough, and whose files are deleted once their run writes no more."""

import logging
import time

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


def test_files_of_a_run_that_goes_on_are_kept_together(cloud, monkeypatch):
    warehouse = BigQueryWarehouse(cloud.project, cloud.dataset, cloud.temp_location)
    for run_id in ("killed", "slices"):
        stage(warehouse, make_provenance(run_id), make_failure())
    monkeypatch.setattr(bigquery_staging, "STAGING_KEPT_SEC", 2.0)
    time.sleep(2.5)
    warehouse.keep_staging("slices")
    StagingBucket(cloud.project, warehouse.name, cloud.temp_location).prepare()
    left = cloud.objects("temp/repcount-staging/")
    assert len(left) == 2
    assert all("/slices/" in name for name in left)


def test_files_that_cannot_be_kept_are_logged(cloud, caplog):
    caplog.set_level(logging.WARNING)
    BigQueryWarehouse(cloud.project, cloud.dataset, "gs://no-such-bucket-here/temp").keep_staging("run-1")
    assert "Run run-1 goes on, but its staged rows could not be kept" in caplog.text
