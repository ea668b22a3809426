"""Every spelling of `--output` opens its warehouse or is refused in one line."""

import pytest

from transforms.warehouse.bigquery_warehouse import BigQueryWarehouse
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse
from transforms.warehouse.open import open_warehouse


def test_a_path_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_warehouse("duckdb:out/counts.duckdb") == DuckDBWarehouse(f"{tmp_path}/out/counts.duckdb")
    assert open_warehouse("duckdb:/a b/c:d.duckdb").path == "/a b/c:d.duckdb"


def test_a_path_that_ends_in_duckdb_needs_no_scheme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_warehouse("out/counts.duckdb") == DuckDBWarehouse(f"{tmp_path}/out/counts.duckdb")
    assert open_warehouse("/a b/counts.duckdb") == DuckDBWarehouse("/a b/counts.duckdb")


@pytest.mark.parametrize("output", ["", "duckdb", "duckdb:", "counts.db", "bigquery:", "postgres:x", "postgres:x.duckdb"])
def test_an_unknown_spelling_is_refused(output):
    with pytest.raises(ValueError, match=r"output must be duckdb:PATH or bigquery:PROJECT\.DATASET.*\. Received: "):
        open_warehouse(output, "gs://bucket/temp")


@pytest.mark.parametrize("output", ["duckdb::memory:", "duckdb:gs://b/c.duckdb"])
def test_a_duckdb_database_must_be_a_local_file(output):
    with pytest.raises(ValueError, match=r"output must be duckdb:PATH, with the path of a local file\. Received: "):
        open_warehouse(output)


@pytest.mark.parametrize("path", ["/what?/counts.duckdb", "/back\\slash.duckdb"])
def test_a_path_that_duckdb_would_misread_is_refused(path):
    with pytest.raises(ValueError, match=r"output must be a path without '\?' and '\\'\. Received: "):
        open_warehouse(f"duckdb:{path}")


def test_a_data_set_is_opened_with_its_staging_folder():
    assert open_warehouse("bigquery:my-project.gym", "gs://bucket/temp/") == BigQueryWarehouse(
        "my-project", "gym", "gs://bucket/temp"
    )
    assert open_warehouse("bigquery:example.com:my-project.gym", "gs://bucket").project == "example.com:my-project"
    assert open_warehouse("bigquery:my-project.gym", "").temp_location == ""


@pytest.mark.parametrize(
    "place",
    ["gym", "my-project.", "my-project.gym-1", "My.gym", "my-project`.gym", "a.b.c", "my-project.gym;", "my-project.gym\n"],
)
def test_an_invalid_project_or_data_set_is_refused(place):
    with pytest.raises(ValueError, match=r"output must be bigquery:PROJECT\.DATASET, .*Received: "):
        open_warehouse(f"bigquery:{place}", "gs://bucket/temp")


@pytest.mark.parametrize("temp_location", [None, "/tmp", "bucket/temp", "gs://", "s3://bucket/temp"])
def test_rows_need_a_folder_on_cloud_storage(temp_location):
    with pytest.raises(ValueError, match=r"--temp_location must be a folder of a bucket .*Received: "):
        open_warehouse("bigquery:my-project.gym", temp_location)


def test_a_name_that_is_too_short_is_told_how_long_it_must_be():
    with pytest.raises(ValueError, match=r"a project ID of 6 to 30 lower-case letters.*Received: 'proj\.gym'"):
        open_warehouse("bigquery:proj.gym", "gs://bucket/temp")
    with pytest.raises(ValueError, match=r"a bucket's name of at least 3 lower-case letters.*Received: 'gs://x/y'"):
        open_warehouse("bigquery:my-project.gym", "gs://x/y")
