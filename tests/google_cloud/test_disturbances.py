"""Disturbances do to clients what a busy service does, in bounds."""

import collections
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from google.cloud import bigquery

from tests.google_cloud.disturbances import MAX_IN_A_ROW, OverlappingMerges, RandomFaults
from tests.google_cloud.proxy import Proxy, Request, Response
from tests.support.cloud_storage import CloudStorage

READ = Request("GET", "/b/gym/o/a.mp4?alt=media", b"")

LIST = Request("GET", "/b/gym/o?prefix=uploads", b"")

CONTENT = Response(200, [("Content-Type", "video/mp4")], b"12345678")


def outcomes(faults, request=READ, number=400):
    """Returns the answers to a number of requests, and how many of these the server carried out."""
    carried_out = []

    def answer(request):
        carried_out.append(request)
        return CONTENT

    return [faults(request, answer) for _ in range(number)], len(carried_out)


def test_a_share_of_requests_meets_faults_of_every_kind():
    faults = RandomFaults(1, 0.2)
    answers, carried_out = outcomes(faults)
    failed = [answer for answer in answers if answer != CONTENT]
    assert len(failed) == faults.numbers.total()
    assert 0.1 < len(failed) / len(answers) < 0.3
    kinds = ["429", "500", "503", "503 but done", "reset", "reset but done", "reset in the body"]
    assert sorted(faults.numbers) == sorted(kinds)
    refused = sum(faults.numbers[kind] for kind in ("429", "500", "503", "reset"))
    assert carried_out == len(answers) - refused
    assert {answer.status for answer in failed if answer} == {200, 429, 500, 503}
    assert all(("Retry-After", "1") in answer.headers for answer in failed if answer and answer.status == 429)


def test_a_client_that_tries_again_gets_through():
    answers, _ = outcomes(RandomFaults(1, 1.0), number=40)
    assert [answer == CONTENT for answer in answers] == ([False] * MAX_IN_A_ROW + [True]) * 10


def test_the_same_seed_gives_the_same_faults():
    assert outcomes(RandomFaults(7, 0.3)) == outcomes(RandomFaults(7, 0.3))
    assert outcomes(RandomFaults(7, 0.3)) != outcomes(RandomFaults(8, 0.3))


def test_listings_lag_behind_and_other_answers_do_not():
    faults = RandomFaults(1, 0.0, lambda request: request == LIST, lagging_share=0.5)
    bodies = [str(number).encode() for number in range(100)]
    listed = [faults(LIST, lambda request, body=body: Response(200, [], body)).body for body in bodies]
    late = [(seen, body) for seen, body in zip(listed, bodies, strict=True) if seen != body]
    assert 20 < len(late) == faults.numbers["stale listing"] < 80
    assert all(int(seen) < int(body) for seen, body in late)
    assert [faults(READ, lambda request, body=body: Response(200, [], body)).body for body in bodies] == bodies


def test_a_connection_is_reset_in_the_middle_of_the_body():
    server = CloudStorage()
    server.contents["gym/a.mp4"] = b"x" * 100_000
    proxy = Proxy(server.url.removeprefix("http://"))
    try:
        url = f"{proxy.url}/b/gym/o/a.mp4?alt=media"
        assert len(requests.get(url, timeout=300).content) == 100_000
        faults = RandomFaults(1, 1.0)
        seen = collections.Counter()
        proxy.intercept = faults
        for _ in range(40):
            try:
                response = requests.get(url, timeout=300)
                seen[response.status_code] += 1
                assert len(response.content) == 100_000 or response.status_code >= 400
            except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError) as error:
                seen[type(error).__name__] += 1
        assert seen[200] == 10
        assert sum(seen.values()) - seen[200] == faults.numbers.total() == 30
        assert seen["ChunkedEncodingError"]
        proxy.clear()
        assert requests.get(url, timeout=300).ok
    finally:
        proxy.close()
        server.close()


def merge_job(run, table="`p.d.counts`", key=1):
    statement = (
        f"MERGE INTO {table} AS target\nUSING (SELECT {key} AS k, '{run}' AS run_id) AS staged\nON target.k = staged.k\n"
        "WHEN NOT MATCHED THEN INSERT (k, run_id) VALUES (staged.k, staged.run_id)"
    )
    return {"configuration": {"query": {"query": statement}, "labels": {"run": run.lower().replace("-", "_")}}}


def merge_request(run, **changes):
    return Request("POST", "/bigquery/v2/projects/p/jobs?prettyPrint=false", json.dumps(merge_job(run, **changes)).encode())


@pytest.mark.parametrize(
    "request_",
    [
        merge_request("a", table="`p.d.counts` AS target WHEN MATCHED THEN DELETE"),
        Request(
            "POST", "/projects/p/jobs", json.dumps({"configuration": {"query": {"query": "SELECT 'MERGE INTO'"}}}).encode()
        ),
        Request("POST", "/projects/p/jobs", json.dumps({"configuration": {"load": {"note": "MERGE INTO"}}}).encode()),
        READ,
    ],
)
def test_only_merges_that_insert_overlap(request_):
    merges = OverlappingMerges(lambda: pytest.fail("this must not wait"))
    assert merges(request_, lambda same: same) is request_
    assert merges.number == 0


def test_merges_into_several_tables_or_one_after_the_other_do_not_overlap():
    merges = OverlappingMerges(lambda: None)
    for run in ("a", "b"):
        assert merges(merge_request(run), lambda same: same) == merge_request(run)
    barrier = threading.Barrier(2, timeout=300)
    merges = OverlappingMerges(barrier.wait)
    wanted = [merge_request("a", table="`p.d.counts`"), merge_request("b", table="`p.d.curves`")]
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda request: merges(request, lambda same: same), wanted)) == wanted
    assert merges.number == 0


def test_merges_that_overlap_do_not_see_the_rows_of_each_other(cloud):
    columns = [bigquery.SchemaField("k", "INT64"), bigquery.SchemaField("run_id", "STRING")]
    cloud.client().create_table(bigquery.Table(f"{cloud.project}.{cloud.dataset}.counts", columns))
    table = f"`{cloud.project}.{cloud.dataset}.counts`"

    def merge(run, key=1):
        job = merge_job(run, table=table, key=key)["configuration"]
        config = bigquery.QueryJobConfig(labels=job["labels"])
        cloud.client().query(job["query"]["query"], job_config=config, job_retry=None).result()

    merge("Run-0", key=2)
    cloud.bigquery.intercept = OverlappingMerges(threading.Barrier(2, timeout=300).wait)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(merge, ("Run-1", "Run-2")))
        list(threads.map(merge, ("Run-3", "Run-4"), (1, 2)))
    assert cloud.bigquery.intercept.number == 4
    rows = cloud.rows("SELECT k, run_id FROM counts ORDER BY k, run_id")
    assert [(row["k"], row["run_id"]) for row in rows] == [(1, "Run-1"), (1, "Run-2"), (2, "Run-0")]
