"""A run in BigQuery checks everything before any work, reports problems in one line, and cleans up after itself."""

import concurrent.futures
import datetime
import json
import pickle
import re

import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import bigquery, storage

from tests.support.samples import STARTED, make_failure, make_provenance, make_video, make_video_count
from tests.support.warehouses import commit, contents, is_job, jobs, later_run, num_rows, read, stage, stage_listing
from transforms.records import Selection, SelectionTotals
from transforms.warehouse import bigquery_warehouse
from transforms.warehouse.base import TableOptions, WarehouseError
from transforms.warehouse.bigquery_jobs import Jobs
from transforms.warehouse.bigquery_warehouse import BigQueryWarehouse

DAY_MS = 86_400_000


class TestCheck:
    def test_a_data_set_without_tables_passes_and_stays_empty(self, unprepared, cloud):
        unprepared.check()
        assert cloud.tables() == []

    def test_a_prepared_data_set_passes(self, prepared):
        prepared.check()

    def test_a_missing_data_set_is_reported_with_the_command_that_creates_it(self, cloud):
        missing = BigQueryWarehouse(cloud.project, "nowhere", cloud.temp_location)
        for action in (missing.check, missing.prepare, missing.changes):
            with pytest.raises(
                WarehouseError, match=r"the data set must exist; `repcount tables .*Received: \S+\.nowhere"
            ) as caught:
                action()
            assert "\n" not in str(caught.value)

    def test_a_missing_bucket_is_reported(self, cloud):
        warehouse = BigQueryWarehouse(cloud.project, cloud.dataset, "gs://no-such-bucket/temp")
        with pytest.raises(WarehouseError, match=r"the bucket of --temp_location must exist\. Received: gs://no-such-bucket"):
            warehouse.check()

    def test_a_bucket_in_another_region_is_reported(self, cloud):
        dataset = bigquery.Dataset(f"{cloud.project}.{cloud.dataset}_far")
        dataset.location = "europe-west4"
        cloud.client().create_dataset(dataset)
        far = BigQueryWarehouse(cloud.project, dataset.dataset_id, cloud.temp_location)
        with pytest.raises(WarehouseError, match=r"must be in the data set's region, europe-west4\. Received: gs://\S+ in US"):
            far.check()

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_missing_permission_is_reported_in_one_line(self, unprepared, cloud, status):
        # After a 401 the client gets a new token and tries again.
        cloud.bigquery.fail(lambda request: request.method == "GET", status=status, reason="accessDenied", times=9)
        with pytest.raises(WarehouseError, match=r"BigQuery refuses \S+: .*as the test wishes") as caught:
            unprepared.check()
        assert "\n" not in str(caught.value)

    def test_the_permission_to_change_rows_is_checked_without_changing_any(self, prepared, cloud):
        cloud.bigquery.fail(is_job("DELETE FROM"), status=403, reason="accessDenied")
        with pytest.raises(WarehouseError, match="BigQuery refuses"):
            prepared.check()
        assert all(job["configuration"].get("dryRun") for job in jobs(cloud))

    def test_a_folder_that_cannot_be_written_is_reported_before_any_work(self, unprepared, cloud):
        cloud.storage.fail(lambda request: request.method == "POST", status=403, reason="forbidden")
        with pytest.raises(WarehouseError, match=r"files cannot be staged in gs://"):
            unprepared.prepare()

    def test_a_lost_answer_to_the_deletion_of_the_probe_refuses_no_run(self, unprepared, cloud):
        cloud.storage.spoil(lambda request: request.method == "DELETE" and "probe-" in request.path)
        unprepared.prepare()
        assert cloud.objects("temp/") == []

    def test_missing_credentials_are_reported(self, unprepared, monkeypatch):
        def refuse(**kwargs):
            raise DefaultCredentialsError("long\nstory")

        monkeypatch.setattr("google.cloud.bigquery.Client", refuse)
        with pytest.raises(WarehouseError, match="no credentials found; run `gcloud auth application-default login`"):
            unprepared.check()

    def test_a_pickled_warehouse_holds_only_its_name_and_folder(self, unprepared):
        assert pickle.loads(pickle.dumps(unprepared)) == unprepared
        assert set(vars(unprepared)) == {"project", "dataset", "temp_location"}


class TestCommit:
    OUTCOMES = (make_video_count("gs://b/1"), make_failure("gs://b/2"))

    def test_a_merge_reads_only_the_partitions_of_its_rows(self, prepared, cloud):
        cloud.bigquery.clear()
        commit(prepared, make_provenance(), *self.OUTCOMES)
        merges = [job["configuration"]["query"] for job in jobs(cloud) if "MERGE INTO" in json.dumps(job)]
        assert len(merges) == 4
        pruned = [merge for merge in merges if "target.upload_date IN UNNEST(@dates)" in merge["query"]]
        assert len(pruned) == 3
        for merge in pruned:
            values = {p["name"]: p["parameterValue"] for p in merge["queryParameters"]}
            assert values == {"dates": {"arrayValues": [{"value": "2026-01-01"}]}}

    def test_only_staged_tables_and_files_of_the_run_are_deleted(self, prepared, cloud):
        provenance = make_provenance()
        commit(prepared, provenance, *self.OUTCOMES)
        stage(prepared, make_provenance("run-2"), make_failure())
        assert [name for name in cloud.tables() if name.startswith("staging_")] == [
            "staging_run_1_failures", "staging_run_1_frame_curves", "staging_run_1_video_counts",
        ]  # fmt: skip
        prepared.remove_staging("run-1")
        assert not [name for name in cloud.tables() if name.startswith("staging_")]
        (left,) = cloud.objects("temp/")
        assert "/run-2/" in left

    def test_staged_rows_that_cannot_be_deleted_are_logged(self, prepared, cloud, caplog):
        cloud.bigquery.fail(lambda request: request.method == "DELETE", status=403, reason="accessDenied")
        prepared.remove_staging("run-1")
        assert "Run run-1 has ended, but its staged rows could not be deleted" in caplog.text


def test_the_test_server_reports_the_location_of_a_bucket(cloud):
    assert storage.Client(project=cloud.project).get_bucket(cloud.bucket).location == "US"


class TestLimits:
    """No job changes more partitions than BigQuery allows, and none reads days between the videos' dates."""

    def outcomes(self, *days):
        return [make_failure(f"gs://b/{day}", updated=STARTED + datetime.timedelta(days=day)) for day in days]

    def dates_of(self, cloud, step):
        found = [job["configuration"]["query"] for job in jobs(cloud) if step in json.dumps(job)]
        parameters = [parameter for query in found for parameter in query["queryParameters"] if parameter["name"] == "dates"]
        return [[item["value"] for item in parameter["parameterValue"]["arrayValues"]] for parameter in parameters]

    def test_a_commit_of_more_dates_than_one_job_may_change_is_split(self, prepared, cloud, monkeypatch):
        monkeypatch.setattr(bigquery_warehouse, "MAX_PARTITIONS", 2)
        cloud.bigquery.requests.clear()
        commit(prepared, make_provenance(), *self.outcomes(0, 1, 2, 3, 4))
        assert [len(dates) for dates in self.dates_of(cloud, "_merge_failures_")] == [2, 2, 1]
        assert len(read(prepared, "video_uri", "failures")) == 5

    def test_a_video_uploaded_years_before_the_others_makes_a_run_read_one_day_more(self, prepared, cloud):
        cloud.bigquery.requests.clear()
        commit(prepared, make_provenance(), *self.outcomes(-4000, 0))
        assert self.dates_of(cloud, "_merge_failures_") == [["2015-01-20", "2026-01-02"]]

    def test_a_deletion_of_more_dates_than_one_job_may_change_is_split(self, prepared, cloud, monkeypatch):
        monkeypatch.setattr(bigquery_warehouse, "MAX_PARTITIONS", 2)
        commit(prepared, make_provenance(), *self.outcomes(0, 1, 2, 3, 4))
        cloud.bigquery.requests.clear()
        deleted = prepared.delete_videos([], (STARTED + datetime.timedelta(days=3)).date(), dry_run=False)
        assert deleted == {"video_counts": 0, "frame_curves": 0, "failures": 3}
        assert self.dates_of(cloud, "_delete_failures_") == [["2026-01-02", "2026-01-03"], ["2026-01-04"]]
        assert read(prepared, "video_uri", "failures") == [("gs://b/3",), ("gs://b/4",)]


class TestPrepare:
    def test_a_table_that_another_run_has_just_changed_is_looked_at_again(self, prepared, cloud):
        table = prepared._client().get_table(f"{prepared.name}.failures")
        table.description = "changed by hand"
        prepared._client().update_table(table, ["description"])
        cloud.bigquery.fail(lambda request: request.method == "PATCH", status=412, reason="conditionNotMet")
        prepared.prepare()
        assert prepared.changes() == []

    def test_it_is_told_if_the_region_is_another(self, cloud, caplog):
        dataset = bigquery.Dataset(f"{cloud.project}.elsewhere")
        dataset.location = "EU"
        warehouse = BigQueryWarehouse(cloud.project, "elsewhere", "")
        warehouse._client().create_dataset(dataset)
        with caplog.at_level("WARNING"):
            warehouse.prepare(TableOptions(location="US"))
        assert re.search(r"elsewhere is in EU and stays there, not in US", caplog.text)

    def test_it_is_told_if_rows_will_vanish_because_of_the_data_set(self, prepared, cloud, caplog, monkeypatch):
        with caplog.at_level("WARNING"):
            prepared.prepare()
        assert not caplog.text
        client = prepared._client()
        dataset = client.get_dataset(prepared.name)
        tables = list(client.list_tables(prepared.name))
        dataset.default_partition_expiration_ms = 60 * DAY_MS
        for table in tables:
            if table.table_id == "runs":
                table._properties["expirationTime"] = str(1_800_000_000_000)
            elif table.table_id == "failures":
                table._properties["timePartitioning"] = {"expirationMs": str(60 * DAY_MS)}
            elif table.table_id == "video_counts":  # as `--partition_expiration_days 400` asks
                table._properties["timePartitioning"] = {"expirationMs": str(400 * DAY_MS)}
        monkeypatch.setattr(bigquery.Client, "get_dataset", lambda self, name: dataset)
        monkeypatch.setattr(bigquery.Client, "list_tables", lambda self, name: tables)
        with caplog.at_level("WARNING"):
            prepared.prepare()
        assert sorted(record.getMessage().partition(". ")[0] for record in caplog.records) == [
            "Rows of the table failures are deleted 60 days after upload",
            "The table runs is deleted on 2027-01-15",
        ]


class TestDeleteVideos:
    def test_a_deletion_that_lost_against_a_commit_is_retried(self, prepared, cloud):
        commit(prepared, make_provenance(), make_video_count("gs://b/1"))
        text = "Could not serialize access to table p:d.t due to concurrent update"
        cloud.bigquery.fail(is_job("DELETE FROM"), status=400, reason="invalidQuery", message=text, times=2)
        assert prepared.delete_videos(["gs://b/1"], None, dry_run=False)["video_counts"] == 1
        assert read(prepared, "video_uri", "video_counts") == []

    def test_a_second_deletion_of_the_same_video_deletes_its_new_rows(self, prepared):
        for run_id in ("first", "second"):
            commit(prepared, make_provenance(run_id), make_video_count("gs://b/1"))
            assert prepared.delete_videos(["gs://b/1"], None, dry_run=False)["video_counts"] == 1
        assert read(prepared, "video_uri", "video_counts") == []


class TestSelect:
    def test_a_commit_during_the_selection_does_not_change_its_totals(self, prepared, cloud):
        videos = [make_video("gs://b/1"), make_video("gs://b/2")]
        files = stage_listing(prepared, later_run("now"), videos)
        pause = cloud.bigquery.pause(lambda request: request.method == "POST" and b"SELECT video FROM" in request.body)
        with concurrent.futures.ThreadPoolExecutor() as threads:
            selecting = threads.submit(prepared.select, later_run("now"), files, Selection())
            assert pause.reached.wait()
            commit(prepared, make_provenance("between"), make_video_count("gs://b/1"))
            pause.release()
            totals, selected = selecting.result()
        assert totals == SelectionTotals(listed=2, skipped=0, left=0)
        assert sorted(selected, key=lambda video: video.uri) == videos

    def test_a_page_of_selected_videos_that_fails_is_one_line(self, prepared, monkeypatch):
        files = stage_listing(prepared, later_run("now"), [make_video("gs://b/1")])
        answer = Jobs.query

        def fail_after_the_first_page(jobs, statement, parameters=None):
            yield from answer(jobs, statement, parameters)
            if statement.startswith("SELECT video FROM"):
                raise ServiceUnavailable("come again")

        monkeypatch.setattr(Jobs, "query", fail_after_the_first_page)
        _, videos = prepared.select(later_run("now"), files, Selection())
        assert next(videos) == make_video("gs://b/1")
        with pytest.raises(WarehouseError, match=r"new videos cannot be selected from \S+: .*come again"):
            next(videos)

    def test_the_tables_of_a_selection_expire_and_are_deleted(self, prepared, cloud):
        files = stage_listing(prepared, later_run("now"), [make_video("gs://b/1")])
        cloud.bigquery.requests.clear()
        prepared.select(later_run("now"), files, Selection())
        created = [
            json.loads(request.body) for request in cloud.bigquery.requests if request.path.split("?")[0].endswith("/tables")
        ]
        assert [table["tableReference"]["tableId"] for table in created] == ["staging_now_listing", "staging_now_selected"]
        assert all("expirationTime" in table for table in created)
        prepared.remove_staging("now")
        assert not [name for name in cloud.tables() if name.startswith("staging_")]


@pytest.mark.slow
class TestRunsSideBySide:
    """Two runs whose MERGEs overlap leave one row per video, that of the later run."""

    EARLY, LATE = make_provenance("a-early"), later_run("b-late")
    TABLES = ("frame_curves", "video_counts", "failures")

    def commit_side_by_side(self, warehouse, cloud, first, second, *tables):
        for table in tables:
            cloud.bigquery.merge_side_by_side(is_job(f"_merge_{table}_"))
        cloud.bigquery.requests.clear()
        with concurrent.futures.ThreadPoolExecutor() as threads:
            outcomes = (make_video_count("gs://b/1"), make_failure("gs://b/2", message=""))
            for done in [threads.submit(commit, warehouse, provenance, *outcomes) for provenance in (first, second)]:
                assert done.result().counted == 1

    @pytest.mark.parametrize(
        ("first", "second", "stays"),
        [(EARLY, LATE, "b-late"), (make_provenance("a"), make_provenance("b"), "b")],
        ids=["the later run", "of equal starts the greater id"],
    )
    def test_two_merges_that_both_insert_leave_the_row_of_the_later_run(self, prepared, cloud, first, second, stays):
        self.commit_side_by_side(prepared, cloud, first, second, *self.TABLES)
        for table in self.TABLES:
            assert read(prepared, "video_uri, run_id", table) == [("gs://b/2" if table == "failures" else "gs://b/1", stays)]
            assert any(map(is_job(f"_delete_doubled_{table}_"), cloud.bigquery.requests))
        assert num_rows(prepared)["runs"] == 2

    def test_a_deletion_reads_only_the_dates_with_doubled_rows(self, prepared, cloud):
        cloud.bigquery.merge_side_by_side(is_job("_merge_failures_"))
        later_day = make_failure("gs://b/1", updated=STARTED + datetime.timedelta(days=1))
        with concurrent.futures.ThreadPoolExecutor() as threads:
            both = ((self.EARLY, [make_failure("gs://b/2")]), (self.LATE, [make_failure("gs://b/2"), later_day]))
            for done in [threads.submit(commit, prepared, provenance, *outcomes) for provenance, outcomes in both]:
                done.result()
        deletions = [job["configuration"]["query"] for job in jobs(cloud) if "_delete_doubled_" in json.dumps(job)]
        assert deletions
        for deletion in deletions:
            assert re.findall(r"(\w+)\.upload_date IN UNNEST\(@dates\)", deletion["query"]) == ["source", "target"]
            assert deletion["queryParameters"][0]["parameterValue"] == {"arrayValues": [{"value": "2026-01-01"}]}

    def test_copies_of_one_row_become_one_row(self, prepared, cloud):
        outcomes = (make_video_count("gs://b/1"), make_failure("gs://b/2"))
        commit(prepared, self.EARLY, *outcomes)
        before = contents(prepared)
        for table in self.TABLES:
            name = f"`{prepared.name}`.{table}"
            cloud.client().query(f"INSERT INTO {name} SELECT * FROM {name}").result()
        assert [num_rows(prepared)[table] for table in self.TABLES] == [2, 2, 2]
        commit(prepared, later_run("next"), make_video_count("gs://b/3"), make_failure("gs://b/4"))
        for table in self.TABLES:
            assert [row for row in contents(prepared)[table] if "a-early" in row] == before[table]

    def test_a_later_run_replaces_doubled_rows_with_one(self, prepared, cloud):
        commit(prepared, self.EARLY, make_video_count("gs://b/1"))
        name = f"`{prepared.name}`.video_counts"
        cloud.client().query(f"INSERT INTO {name} SELECT * FROM {name}").result()
        commit(prepared, self.LATE, make_video_count("gs://b/1"))
        assert read(prepared, "video_uri, run_id", "video_counts") == [("gs://b/1", "b-late")]

    def test_a_deletion_that_lost_against_another_one_is_retried(self, prepared, cloud):
        text = "Could not serialize access to table p:d.t due to concurrent update"
        cloud.bigquery.fail(is_job("_delete_doubled_"), status=400, reason="invalidQuery", message=text, times=2)
        self.commit_side_by_side(prepared, cloud, self.EARLY, self.LATE, *self.TABLES)
        assert read(prepared, "run_id", "video_counts") == [("b-late",)]

    def test_a_run_that_replaces_nothing_only_inserts(self, prepared, cloud):
        def merges():
            found = [job["configuration"]["query"]["query"] for job in jobs(cloud) if "_merge_" in json.dumps(job)]
            cloud.bigquery.requests.clear()
            return ["UPDATE SET" in merge for merge in found]

        outcomes = (make_video_count("gs://b/1"), make_failure("gs://b/2"))
        cloud.bigquery.clear()
        commit(prepared, self.LATE, *outcomes)
        assert merges() == [False] * 4
        commit(prepared, self.EARLY, *outcomes)
        assert merges() == [False] * 4
        commit(prepared, later_run("c", hours=2), *outcomes)
        assert merges() == [True, True, True, False]
        assert read(prepared, "run_id", "frame_curves") == [("c",)]
