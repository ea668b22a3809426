"""The storage and BigQuery servers, and their proxies, behave as the other tests assume."""

import datetime
import threading

import pytest
import requests
from google.api_core.exceptions import Conflict, Forbidden
from google.cloud import bigquery, storage

NOTES = [bigquery.SchemaField("name", "STRING", "REQUIRED"), bigquery.SchemaField("day", "DATE")]


def is_query(request):
    return request.method == "POST" and request.path.split("?")[0].endswith(("/jobs", "/queries"))


def test_objects_are_kept_by_name(cloud):
    assert cloud.upload("day/a.mp4", b"12345") == f"gs://{cloud.bucket}/day/a.mp4"
    assert cloud.objects("day/") == ["day/a.mp4"]
    assert cloud.objects("night/") == []


def test_an_upload_in_parts_survives_the_loss_of_its_last_answer(cloud):
    blob = storage.Client(project=cloud.project).bucket(cloud.bucket).blob("day/a.mp4")
    cloud.storage.spoil(lambda request: request.method == "PUT" and "upload_id" in request.path)
    with blob.open("wb", ignore_flush=True) as file:
        file.write(b"12345")
    assert [request.method for request in cloud.storage.requests].count("PUT") == 2
    assert blob.download_as_bytes() == b"12345"


def test_inserted_rows_are_returned_by_a_query(cloud):
    cloud.client().create_table(bigquery.Table(f"{cloud.project}.{cloud.dataset}.notes", NOTES))
    cloud.rows("INSERT INTO notes (name, day) VALUES ('a', DATE '2026-01-02'), ('b', NULL)")
    assert cloud.rows("SELECT * FROM notes ORDER BY name") == [
        {"name": "a", "day": datetime.date(2026, 1, 2)},
        {"name": "b", "day": None},
    ]
    assert cloud.tables() == ["notes"]


def test_a_job_id_can_be_used_once(cloud):
    cloud.client().query("SELECT 1", job_id=f"{cloud.dataset}-job", job_retry=None).result()
    with pytest.raises(Conflict):
        cloud.client().query("SELECT 1", job_id=f"{cloud.dataset}-job", job_retry=None)
    assert [row.values() for row in cloud.client().get_job(f"{cloud.dataset}-job").result()] == [(1,)]


def test_a_view_has_its_query(cloud):
    view = bigquery.Table(f"{cloud.project}.{cloud.dataset}.one")
    view.view_query = "SELECT 1 AS one"
    cloud.client().create_table(view)
    assert cloud.client().get_table(view).view_query == "SELECT 1 AS one"
    assert cloud.rows("SELECT * FROM one") == [{"one": 1}]


def test_a_fault_happens_the_requested_number_of_times(cloud):
    cloud.bigquery.fail(is_query, status=403, reason="accessDenied")
    with pytest.raises(Forbidden, match="as the test wishes"):
        cloud.rows("SELECT 1 AS one")
    assert cloud.rows("SELECT 1 AS one") == [{"one": 1}]
    cloud.bigquery.fail(is_query, times=2, reset=True)
    assert cloud.rows("SELECT 2 AS two") == [{"two": 2}]


def test_a_paused_request_waits_until_it_is_released(cloud):
    pause = cloud.bigquery.pause(lambda request: b"SELECT 3" in request.body)
    found = []
    thread = threading.Thread(target=lambda: found.extend(cloud.rows("SELECT 3 AS three")))
    thread.start()
    assert pause.reached.wait()
    assert found == []
    pause.release()
    thread.join()
    assert found == [{"three": 3}]


@pytest.mark.parametrize("is_cleared", [False, True])
def test_a_paused_request_that_is_dropped_never_arrives(cloud, is_cleared):
    cloud.client().create_table(bigquery.Table(f"{cloud.project}.{cloud.dataset}.notes", NOTES))
    pause = cloud.bigquery.pause(lambda request: b"INSERT INTO notes" in request.body)
    url = f"{cloud.bigquery.url}/bigquery/v2/projects/{cloud.project}/jobs"
    sql = "INSERT INTO notes (name) VALUES ('a')"
    query = {"query": sql, "useLegacySql": False, "defaultDataset": {"projectId": cloud.project, "datasetId": cloud.dataset}}
    errors = []

    def post():
        try:
            requests.post(url, json={"configuration": {"query": query}}, timeout=300)
        except requests.ConnectionError as error:
            errors.append(error)

    thread = threading.Thread(target=post)
    thread.start()
    assert pause.reached.wait()
    if is_cleared:
        cloud.bigquery.clear()
    else:
        pause.release(forward=False)
    thread.join()
    assert len(errors) == 1
    assert cloud.rows("SELECT * FROM notes") == []


def test_a_request_whose_response_is_held_has_arrived(cloud):
    pause = cloud.storage.pause(lambda request: request.method == "POST" and b"withheld" in request.body, after=True)
    thread = threading.Thread(target=cloud.upload, args=("withheld.txt", b"1"))
    thread.start()
    assert pause.reached.wait()
    assert cloud.objects() == ["withheld.txt"]
    pause.release()
    thread.join()
