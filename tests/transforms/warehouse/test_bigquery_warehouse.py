"""BigQuery is asked for the right thing, once in effect, and what is wrong is told in one line before any work."""

import copy
import datetime
import json
import pickle
import re
from typing import ClassVar

import pytest
import requests
from google.api_core import exceptions
from google.auth.exceptions import DefaultCredentialsError, TransportError
from google.cloud import bigquery, storage

from tests.support.samples import make_failure, make_provenance, make_video_count
from tests.support.warehouses import commit, contents, num_rows, stage
from transforms.warehouse import bigquery_jobs, bigquery_warehouse
from transforms.warehouse.base import TableOptions, WarehouseError
from transforms.warehouse.bigquery_jobs import is_transient
from transforms.warehouse.bigquery_tables import merge_fields, to_field
from transforms.warehouse.bigquery_warehouse import BigQueryWarehouse, loads_from
from transforms.warehouse.schema import TABLES, VIDEO_COUNTS, VIEWS


@pytest.fixture
def warehouse(cloud):
    return BigQueryWarehouse(cloud.project, cloud.dataset, cloud.temp_location)


@pytest.fixture
def prepared(warehouse):
    warehouse.prepare()
    return warehouse


def is_job(text):
    """Matches the start of a job whose description holds a text."""
    return lambda request: request.method == "POST" and "/jobs" in request.path and text.encode() in request.body


def jobs(cloud):
    """Returns the descriptions of all jobs that were started."""
    found = [request for request in cloud.bigquery.requests if request.method == "POST" and "/jobs" in request.path]
    return [json.loads(request.body) for request in found]


class TestCheck:
    def test_a_data_set_without_tables_passes_and_stays_without(self, warehouse, cloud):
        warehouse.check()
        assert cloud.tables() == []

    def test_a_prepared_data_set_passes(self, prepared):
        prepared.check()

    def test_a_missing_data_set_is_told_with_what_makes_one(self, cloud):
        missing = BigQueryWarehouse(cloud.project, "nowhere", cloud.temp_location)
        for action in (missing.check, missing.prepare, missing.changes):
            with pytest.raises(
                WarehouseError, match=r"the data set must exist; `repcount tables .*Received: \S+\.nowhere"
            ) as caught:
                action()
            assert "\n" not in str(caught.value)

    def test_a_missing_bucket_is_told(self, cloud):
        warehouse = BigQueryWarehouse(cloud.project, cloud.dataset, "gs://no-such-bucket/temp")
        with pytest.raises(WarehouseError, match=r"the bucket of --temp_location must exist\. Received: gs://no-such-bucket"):
            warehouse.check()

    def test_a_bucket_far_from_the_data_set_is_told(self, cloud):
        dataset = bigquery.Dataset(f"{cloud.project}.{cloud.dataset}_far")
        dataset.location = "europe-west4"
        cloud.client().create_dataset(dataset)
        far = BigQueryWarehouse(cloud.project, dataset.dataset_id, cloud.temp_location)
        with pytest.raises(WarehouseError, match=r"must be in the data set's region, europe-west4\. Received: gs://\S+ in US"):
            far.check()

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_missing_right_is_told_in_one_line(self, warehouse, cloud, status):
        # A client gets itself a new token, and tries again, where it is not known.
        cloud.bigquery.fail(lambda request: request.method == "GET", status=status, reason="accessDenied", times=9)
        with pytest.raises(WarehouseError, match=r"BigQuery refuses \S+: .*as the test wishes") as caught:
            warehouse.check()
        assert "\n" not in str(caught.value)

    def test_the_right_to_change_rows_is_tried_out_without_changing_any(self, prepared, cloud):
        cloud.bigquery.fail(is_job("DELETE FROM"), status=403, reason="accessDenied")
        with pytest.raises(WarehouseError, match="BigQuery refuses"):
            prepared.check()
        assert all(job["configuration"].get("dryRun") for job in jobs(cloud))

    def test_a_folder_that_cannot_be_written_is_told_before_any_work(self, warehouse, cloud):
        cloud.storage.fail(lambda request: request.method == "POST", status=403, reason="forbidden")
        with pytest.raises(WarehouseError, match=r"files cannot be staged in gs://"):
            warehouse.prepare()

    def test_missing_credentials_are_told(self, warehouse, monkeypatch):
        def refuse(**kwargs):
            raise DefaultCredentialsError("long\nstory")

        monkeypatch.setattr("google.cloud.bigquery.Client", refuse)
        with pytest.raises(WarehouseError, match="no credentials found; run `gcloud auth application-default login`"):
            warehouse.check()

    def test_a_pickled_warehouse_holds_only_where_it_is(self, warehouse):
        assert pickle.loads(pickle.dumps(warehouse)) == warehouse
        assert set(vars(warehouse)) == {"project", "dataset", "temp_location"}


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
def test_bigquery_loads_from_near_by(dataset, bucket, loads):
    assert loads_from(dataset, bucket) == loads


class TestPrepare:
    def test_tables_have_the_schema_with_partitions_clusters_and_descriptions(self, prepared, cloud):
        assert cloud.tables() == sorted([table.name for table in TABLES] + [view.name for view in VIEWS])
        for table in TABLES:
            found = cloud.client().get_table(f"{cloud.project}.{cloud.dataset}.{table.name}")
            assert [field.to_api_repr() for field in found.schema] == [
                to_field(column).to_api_repr() for column in table.columns
            ]
            assert found.description == table.description
            assert (found.time_partitioning.field if found.time_partitioning else None) == table.partition_column
            assert tuple(found.clustering_fields or ()) == table.cluster_columns

    def test_once_is_enough(self, prepared, cloud):
        assert prepared.changes() == []
        cloud.bigquery.clear()
        prepared.prepare()
        assert {request.method for request in cloud.bigquery.requests} == {"GET"}

    def test_a_missing_data_set_is_made_where_it_is_asked_for(self, cloud):
        made = BigQueryWarehouse(cloud.project, f"{cloud.dataset}_made", "")
        options = TableOptions(location="EU")
        assert made.changes(options)[:2] == [f"create data set {made.dataset} in EU", "create table video_counts"]
        made.prepare(options)
        assert cloud.client().get_dataset(f"{cloud.project}.{made.dataset}").location == "EU"
        assert made.changes() == []

    def test_options_are_set_and_stay_where_nothing_is_said(self, warehouse, cloud):
        warehouse.prepare(TableOptions(partition_expiration_days=30, require_partition_filter=True))
        tables = {t.name: cloud.client().get_table(f"{cloud.project}.{cloud.dataset}.{t.name}") for t in TABLES}
        expirations = {name: t.time_partitioning and t.time_partitioning.expiration_ms for name, t in tables.items()}
        month = 30 * 24 * 3600 * 1000
        assert expirations == {"video_counts": month, "frame_curves": month, "failures": month, "runs": None}
        asked = [
            json.loads(request.body) for request in cloud.bigquery.requests if request.path.split("?")[0].endswith("/tables")
        ]
        # The server of these tests forgets this one.
        assert [t["tableReference"]["tableId"] for t in asked if t.get("requirePartitionFilter")] == ["frame_curves"]
        assert warehouse.changes() == []
        assert warehouse.changes(TableOptions(partition_expiration_days=0, require_partition_filter=True)) == [
            "keep rows of video_counts",
            "keep rows of frame_curves",
            "require upload dates in queries of frame_curves",
            "keep rows of failures",
        ]

    def test_of_an_older_schema_the_added_fields_are_named_and_asked_for(self, prepared, cloud):
        client, table_id = cloud.client(), f"{cloud.project}.{cloud.dataset}.runs"
        client.delete_table(table_id)
        runs = next(table for table in TABLES if table.name == "runs")
        own = bigquery.SchemaField("note", "STRING", "NULLABLE", "Ours.")
        fields = [to_field(column) for column in runs.columns if column.name != "last_upload_date"]
        client.create_table(bigquery.Table(table_id, [own, *fields]))
        assert prepared.changes() == ["add column runs.last_upload_date"]
        cloud.bigquery.clear()
        prepared.prepare()
        (patch, *views) = (request for request in cloud.bigquery.requests if request.method == "PATCH")
        names = [field["name"] for field in json.loads(patch.body)["schema"]["fields"]]
        assert names == ["note", *(column.name for column in runs.columns)]
        assert len(views) == len(VIEWS)

    def test_a_view_with_another_query_is_changed(self, prepared, cloud):
        found = cloud.client().get_table(f"{cloud.project}.{cloud.dataset}.failures_by_code")
        found.view_query = "SELECT 1 AS one"
        cloud.client().update_table(found, ["view_query"])
        assert prepared.changes() == ["change view failures_by_code"]

    def test_a_table_that_is_partitioned_otherwise_is_refused(self, warehouse, cloud):
        fields = [to_field(column) for column in VIDEO_COUNTS.columns]
        cloud.client().create_table(bigquery.Table(f"{cloud.project}.{cloud.dataset}.video_counts", fields))
        with pytest.raises(WarehouseError, match=r"video_counts must be partitioned by upload_date\. Received: None"):
            warehouse.check()

    def test_files_of_runs_killed_long_ago_go(self, prepared, cloud, monkeypatch):
        stage(prepared, make_provenance("killed"), make_failure())
        cloud.upload("temp/other.txt", b"not ours")
        prepared.prepare()
        assert len(cloud.objects("temp/repcount-staging/")) == 1
        monkeypatch.setattr(bigquery_warehouse, "STAGING_KEPT_SEC", -60.0)
        prepared.prepare()
        assert cloud.objects("temp/") == ["temp/other.txt"]


class TestMergeFields:
    """Differences are computed here: the server of these tests does not change tables as the service does."""

    FIELDS = tuple(to_field(column) for column in VIDEO_COUNTS.columns)

    def test_equal_tables_have_none(self):
        assert merge_fields("t", self.FIELDS, VIDEO_COUNTS.columns) == (list(self.FIELDS), [])

    def test_older_names_of_types_are_known(self):
        names = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "STRUCT": "RECORD"}
        older = [
            bigquery.SchemaField.from_api_repr({**field.to_api_repr(), "type": names.get(field.field_type, field.field_type)})
            for field in self.FIELDS
        ]
        assert merge_fields("t", older, VIDEO_COUNTS.columns)[1] == []

    def test_missing_columns_and_fields_are_added_and_the_others_stay(self):
        own = bigquery.SchemaField("note", "STRING")
        older = [own, *(field for field in self.FIELDS if field.name != "fps")]
        place = next(index for index, field in enumerate(older) if field.name == "segments")
        segments = copy.deepcopy(older[place].to_api_repr())
        segments["fields"] = segments["fields"][:2]
        older[place] = bigquery.SchemaField.from_api_repr(segments)
        merged, lines = merge_fields("video_counts", older, VIDEO_COUNTS.columns)
        assert lines == ["add column video_counts.segments.count", "add column video_counts.fps"]
        assert merged[0] == own
        assert {field.name for field in merged} == {field.name for field in [own, *self.FIELDS]}
        assert merged[place].to_api_repr() == next(f for f in self.FIELDS if f.name == "segments").to_api_repr()

    def test_descriptions_are_brought_up_to_date(self):
        older = [bigquery.SchemaField.from_api_repr({**self.FIELDS[0].to_api_repr(), "description": "?"}), *self.FIELDS[1:]]
        merged, lines = merge_fields("video_counts", older, VIDEO_COUNTS.columns)
        assert lines == ["describe column video_counts.video_uri"]
        assert merged[0] == self.FIELDS[0]

    @pytest.mark.parametrize(
        ("name", "change", "message"),
        [
            ("count", {"type": "STRING"}, "column t.count must be FLOAT64 REQUIRED. Received: STRING REQUIRED"),
            ("flags", {"mode": "NULLABLE"}, "column t.flags must be STRING REPEATED. Received: STRING NULLABLE"),
            ("video_uri", None, "table t must have a column video_uri. Received: video_generation, "),
        ],
    )
    def test_another_shape_is_refused(self, name, change, message):
        fields = [
            bigquery.SchemaField.from_api_repr({**field.to_api_repr(), **(change or {})}) if field.name == name else field
            for field in self.FIELDS
            if change or field.name != name
        ]
        with pytest.raises(WarehouseError, match=re.escape(message)):
            merge_fields("t", fields, VIDEO_COUNTS.columns)


class TestCommit:
    SETTLED = (make_video_count("gs://b/1"), make_failure("gs://b/2"))

    def test_only_tables_of_the_run_are_loaded_into_and_they_expire(self, prepared, cloud):
        cloud.bigquery.clear()
        commit(prepared, make_provenance(), *self.SETTLED)
        loads = [job["configuration"]["load"] for job in jobs(cloud) if "load" in job["configuration"]]
        assert {load["destinationTable"]["tableId"] for load in loads} == {
            f"staging_run_1_{name}" for name in ("video_counts", "frame_curves", "failures")
        }
        made = [
            json.loads(request.body) for request in cloud.bigquery.requests if request.path.split("?")[0].endswith("/tables")
        ]
        assert len(made) == 3
        week = datetime.timedelta(days=7)
        for table in made:
            expires = datetime.datetime.fromtimestamp(int(table["expirationTime"]) / 1000, datetime.timezone.utc)
            assert abs(expires - datetime.datetime.now(datetime.timezone.utc) - week) < datetime.timedelta(hours=1)

    def test_a_merge_reads_only_the_partitions_of_its_rows(self, prepared, cloud):
        cloud.bigquery.clear()
        commit(prepared, make_provenance(), *self.SETTLED)
        merges = [job["configuration"]["query"] for job in jobs(cloud) if "MERGE INTO" in json.dumps(job)]
        assert len(merges) == 4
        pruned = [merge for merge in merges if "target.upload_date BETWEEN @first_date AND @last_date" in merge["query"]]
        assert len(pruned) == 3
        for merge in pruned:
            values = {p["name"]: p["parameterValue"]["value"] for p in merge["queryParameters"]}
            assert values == {"first_date": "2026-01-01", "last_date": "2026-01-01"}

    def test_many_files_are_loaded_by_several_jobs(self, prepared, cloud, monkeypatch):
        monkeypatch.setattr(bigquery_jobs, "_FILES_PER_LOAD", 2)
        provenance = make_provenance()
        files = [file for number in range(5) for file in stage(prepared, provenance, make_failure(f"gs://b/{number}"))]
        assert commit(prepared, provenance, files=files, listed=5).failed == 5
        loads = [job["configuration"]["load"] for job in jobs(cloud) if "load" in job["configuration"]]
        assert [len(load["sourceUris"]) for load in loads] == [2, 2, 1]
        assert [load["writeDisposition"] for load in loads] == ["WRITE_TRUNCATE", "WRITE_APPEND", "WRITE_APPEND"]

    def test_staged_tables_and_files_are_removed_and_nothing_else(self, prepared, cloud):
        provenance = make_provenance()
        commit(prepared, provenance, *self.SETTLED)
        stage(prepared, make_provenance("run-2"), make_failure())
        assert [name for name in cloud.tables() if name.startswith("staging_")] == [
            "staging_run_1_failures", "staging_run_1_frame_curves", "staging_run_1_video_counts",
        ]  # fmt: skip
        prepared.remove_staging("run-1")
        assert not [name for name in cloud.tables() if name.startswith("staging_")]
        (left,) = cloud.objects("temp/")
        assert "/run-2/" in left

    def test_what_cannot_be_removed_is_logged(self, prepared, cloud, caplog):
        cloud.bigquery.fail(lambda request: request.method == "DELETE", status=403, reason="accessDenied")
        prepared.remove_staging("run-1")
        assert "Run run-1 has ended, but its staged rows could not be deleted" in caplog.text


class TestRetries:
    """What passes is tried again; what does not is told at once."""

    SETTLED = (make_video_count("gs://b/1"), make_failure("gs://b/2"))
    EXPECTED: ClassVar = {"video_counts": 1, "frame_curves": 1, "failures": 1, "runs": 1}

    @pytest.mark.parametrize(
        ("step", "fault"),
        [
            ("load_video_counts", {"status": 503}),
            ("load_video_counts", {"reset": True}),
            ("merge_video_counts", {"status": 429, "reason": "rateLimitExceeded"}),
            ("merge_video_counts", {"reset": True}),
            ("merge_runs", {"status": 503}),
        ],
        ids=str,
    )
    def test_an_error_that_passes_is_waited_out(self, prepared, cloud, fault, step):
        cloud.bigquery.fail(is_job(step), times=2, **fault)
        commit(prepared, make_provenance(), *self.SETTLED)
        assert num_rows(prepared) == self.EXPECTED
        assert sum(map(is_job(step), cloud.bigquery.requests)) >= 3

    def test_an_error_that_stays_is_told_at_once(self, prepared, cloud):
        cloud.bigquery.fail(is_job("merge_video_counts"), status=403, reason="accessDenied")
        with pytest.raises(WarehouseError, match=r"run run-1 cannot be committed to \S+: .*as the test wishes") as caught:
            commit(prepared, make_provenance(), *self.SETTLED)
        assert "\n" not in str(caught.value)
        assert sum(map(is_job("merge_video_counts"), cloud.bigquery.requests)) == 1

    @pytest.mark.parametrize("step", ["load_video_counts", "merge_frame_curves", "merge_video_counts", "merge_failures"])
    def test_a_job_whose_answer_is_lost_is_found_again(self, prepared, cloud, step):
        pause = cloud.bigquery.pause(is_job(step), after=True)
        pause.release(forward=False)
        commit(prepared, make_provenance(), *self.SETTLED)
        assert pause.reached.is_set()
        assert num_rows(prepared) == self.EXPECTED
        started = {job["jobReference"]["jobId"] for job in jobs(cloud) if step in json.dumps(job)}
        assert len(started) == 1

    def test_a_commit_that_failed_half_way_is_finished_by_the_next_attempt(self, prepared, cloud):
        provenance = make_provenance()
        files = stage(prepared, provenance, *self.SETTLED)
        for step in ("load_failures", "delete_failures", "merge_video_counts", "merge_failures", "merge_runs"):
            cloud.bigquery.fail(is_job(f"_{step}_"), status=403, reason="accessDenied")
            with pytest.raises(WarehouseError):
                commit(prepared, provenance, files=files, listed=2)
        assert prepared.run_totals("run-1") is None
        commit(prepared, provenance, files=files, listed=2)
        rows = contents(prepared)
        assert {name: len(found) for name, found in rows.items()} == self.EXPECTED
        commit(prepared, provenance, files=files, listed=2)
        assert contents(prepared) == rows

    def test_an_upload_that_fails_for_a_moment_is_tried_again(self, prepared, cloud):
        cloud.storage.fail(lambda request: request.method in ("POST", "PUT"), status=503, times=2)
        commit(prepared, make_provenance(), *self.SETTLED)
        assert num_rows(prepared) == self.EXPECTED


def failed_job(reason, status=400, text="no"):
    error = exceptions.from_http_status(status, text)
    error._errors = [{"reason": reason, "message": text}]
    return error


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (exceptions.ServiceUnavailable("no"), True),
        (exceptions.InternalServerError("no"), True),
        (exceptions.TooManyRequests("no"), True),
        (ConnectionResetError("no"), True),
        (requests.exceptions.ConnectionError("no"), True),
        (requests.exceptions.ReadTimeout("no"), True),
        (TransportError("no"), True),
        (failed_job("jobBackendError"), True),
        (failed_job("rateLimitExceeded", 403), True),
        (failed_job("invalidQuery", text="Could not serialize access to table p:d.t due to concurrent update"), True),
        (failed_job("invalidQuery"), False),
        (failed_job("accessDenied", 403), False),
        (failed_job("quotaExceeded", 403), False),
        (exceptions.NotFound("no"), False),
        (ValueError("no"), False),
    ],
)
def test_errors_that_pass_are_told_from_those_that_stay(error, passes):
    assert is_transient(error) is passes


def test_the_bucket_of_these_tests_is_real(cloud):
    assert storage.Client(project=cloud.project).get_bucket(cloud.bucket).location == "US"
