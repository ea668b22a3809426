"""A job runs once in effect. Transient errors are waited out, lost answers are found, other errors are reported at once."""

import datetime
import json
from typing import ClassVar

import pytest
import requests
from google.api_core import exceptions
from google.auth.exceptions import TransportError

from tests.support.marks import slow
from tests.support.samples import make_failure, make_provenance, make_video_count
from tests.support.warehouses import commit, contents, is_job, jobs, num_rows, stage
from transforms.warehouse import bigquery_jobs
from transforms.warehouse.base import WarehouseError
from transforms.warehouse.bigquery_jobs import is_transient


class TestLoad:
    OUTCOMES = (make_video_count("gs://b/1"), make_failure("gs://b/2"))

    def test_files_are_loaded_only_into_tables_of_the_run_which_expire(self, prepared, cloud):
        cloud.bigquery.clear()
        commit(prepared, make_provenance(), *self.OUTCOMES)
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
            expires = datetime.datetime.fromtimestamp(int(table["expirationTime"]) / 1000, datetime.UTC)
            assert abs(expires - datetime.datetime.now(datetime.UTC) - week) < datetime.timedelta(hours=1)

    def test_many_files_are_loaded_by_several_jobs(self, prepared, cloud, monkeypatch):
        monkeypatch.setattr(bigquery_jobs, "_FILES_PER_LOAD", 2)
        provenance = make_provenance()
        files = [file for number in range(5) for file in stage(prepared, provenance, make_failure(f"gs://b/{number}"))]
        assert commit(prepared, provenance, files=files, listed=5).failed == 5
        loads = [job["configuration"]["load"] for job in jobs(cloud) if "load" in job["configuration"]]
        assert [len(load["sourceUris"]) for load in loads] == [2, 2, 1]
        assert [load["writeDisposition"] for load in loads] == ["WRITE_TRUNCATE", "WRITE_APPEND", "WRITE_APPEND"]


class TestRetries:
    """Transient errors are retried; others are reported at once."""

    OUTCOMES = (make_video_count("gs://b/1"), make_failure("gs://b/2"))
    EXPECTED: ClassVar = {"video_counts": 1, "frame_curves": 1, "failures": 1, "runs": 1}

    @pytest.mark.parametrize(
        ("step", "fault"),
        [
            ("load_video_counts", {"status": 503}),
            ("merge_video_counts", {"reset": True}),
            *slow(
                ("load_video_counts", {"reset": True}),
                ("merge_video_counts", {"status": 429, "reason": "rateLimitExceeded"}),
                ("merge_runs", {"status": 503}),
            ),
        ],
        ids=str,
    )
    def test_a_transient_error_is_retried(self, prepared, cloud, fault, step):
        cloud.bigquery.fail(is_job(step), times=2, **fault)
        commit(prepared, make_provenance(), *self.OUTCOMES)
        assert num_rows(prepared) == self.EXPECTED
        assert sum(map(is_job(step), cloud.bigquery.requests)) >= 3

    def test_a_permanent_error_is_reported_at_once(self, prepared, cloud):
        cloud.bigquery.fail(is_job("merge_video_counts"), status=403, reason="accessDenied")
        with pytest.raises(WarehouseError, match=r"run run-1 cannot be committed to \S+: .*as the test wishes") as caught:
            commit(prepared, make_provenance(), *self.OUTCOMES)
        assert "\n" not in str(caught.value)
        assert sum(map(is_job("merge_video_counts"), cloud.bigquery.requests)) == 1

    @pytest.mark.parametrize("step", ["load_video_counts", *slow("merge_frame_curves", "merge_video_counts", "merge_failures")])
    def test_a_job_whose_answer_is_lost_is_found_again(self, prepared, cloud, step):
        pause = cloud.bigquery.pause(is_job(step), after=True)
        pause.release(forward=False)
        commit(prepared, make_provenance(), *self.OUTCOMES)
        assert pause.reached.is_set()
        assert num_rows(prepared) == self.EXPECTED
        started = {job["jobReference"]["jobId"] for job in jobs(cloud) if step in json.dumps(job)}
        assert len(started) == 1

    @pytest.mark.parametrize("step", ["merge_video_counts", *slow("merge_frame_curves", "merge_failures", "merge_runs")])
    def test_a_job_that_may_still_run_is_never_started_again_under_another_id(self, prepared, cloud, step):
        # The service starts the job, and its answer is an error of the kind that is retried.
        cloud.bigquery.spoil(is_job(f"_{step}_"), times=3)
        commit(prepared, make_provenance(), *self.OUTCOMES)
        assert num_rows(prepared) == self.EXPECTED
        started = {job["jobReference"]["jobId"] for job in jobs(cloud) if f"_{step}_" in json.dumps(job)}
        assert started == {f"repcount_{cloud.dataset}_run_1_{step}_0"}

    def test_a_job_that_failed_is_started_again_under_the_next_id(self, prepared, cloud):
        cloud.bigquery.fail_job(is_job("_merge_video_counts_"), reason="jobBackendError")
        commit(prepared, make_provenance(), *self.OUTCOMES)
        assert num_rows(prepared) == self.EXPECTED
        started = [job["jobReference"]["jobId"] for job in jobs(cloud) if "_merge_video_counts_" in json.dumps(job)]
        assert sorted(set(started)) == [f"repcount_{cloud.dataset}_run_1_merge_video_counts_{number}" for number in (0, 1)]

    def test_a_commit_that_failed_halfway_is_completed_by_the_next_attempt(self, prepared, cloud):
        provenance = make_provenance()
        files = stage(prepared, provenance, *self.OUTCOMES)
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

    def test_an_upload_that_fails_briefly_is_retried(self, prepared, cloud):
        cloud.storage.fail(lambda request: request.method in ("POST", "PUT"), status=503, times=2)
        commit(prepared, make_provenance(), *self.OUTCOMES)
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
def test_transient_errors_are_recognized(error, passes):
    assert is_transient(error) is passes
