"""The viewer's server shows only listed videos, only to whoever has its address, and writes corrected counts."""

import asyncio
import http.client
import os
import threading

import pyarrow as pa
import pytest
import requests
import uvicorn

from pipeline.labels import LabelFile, read_labels
from pipeline.view.server import STREAM_BYTES, Viewer, make_app, stream_remote
from pipeline.view.videos import VideoList
from pipeline.web import open_socket
from tests.support.samples import make_provenance, make_video_count
from tests.support.warehouses import commit
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse

TOKEN = "t0ken"
CONTENT = bytes(range(256)) * 1000


class Served:
    """A viewer that answers on loopback."""

    def __init__(self, folder, *videos):
        warehouse = DuckDBWarehouse(str(folder / "counts.duckdb"))
        warehouse.prepare()
        commit(warehouse, make_provenance(), *videos)
        self.labels = LabelFile(str(folder / "labels.csv"))
        self.videos = VideoList(warehouse)
        viewer = Viewer("counts", self.videos, self.labels, str(folder / "videos"))
        listener = open_socket("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self.root = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            make_app(viewer, TOKEN), log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=0
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]}, daemon=True)
        self.thread.start()

    def number(self, name):
        return next(number for uri, number in self.videos.by_uri.items() if uri.endswith(name))

    def get(self, path, **options):
        return requests.get(f"{self.root}/{TOKEN}/{path}", timeout=30, **options)

    def save(self, number, count):
        return requests.put(f"{self.root}/{TOKEN}/api/videos/{number}/label", json={"count": count}, timeout=30)

    def raw(self, path, headers=None, method="GET"):
        """Sends a path exactly as it is written; returns the status and the content."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content

    def close(self):
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(10)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("viewer")
    videos = folder / "videos"
    (videos / "sets").mkdir(parents=True)
    counts = []
    for name, certainty in [("a.mp4", 0.9), ("sets/<b>&.webm", 0.5), ("c.mp4", 0.7)]:
        path = videos / name
        path.write_bytes(CONTENT)
        counts.append(make_video_count(str(path), os.stat(path).st_mtime_ns, certainty=certainty))
    (folder / "secret.txt").write_text("secret")
    served = Served(folder, *counts)
    yield served
    served.close()


@pytest.fixture(autouse=True)
def no_labels(request):
    if "served" in request.fixturenames:
        labels = request.getfixturevalue("served").labels
        if os.path.exists(labels.path):
            os.remove(labels.path)


def test_the_page_and_its_files_are_served_and_allow_nothing_from_elsewhere(served):
    page = served.get("")
    assert page.status_code == 200
    assert "<video id=" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in page.headers
    assert "http" not in page.text.replace("http-equiv", "")
    assert served.get("static/view.css").headers["content-type"].startswith("text/css")
    for name in ("view.js", "plot.js"):
        assert served.get(f"static/{name}").headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "path", ["/", "/wrong/", "/wrong/api/videos", f"/{TOKEN}x/", f"/{TOKEN[:-1]}/", "/%ff/", "/wrong/video/0"]
)
def test_without_the_right_token_everything_is_refused(served, path):
    status, content = served.raw(path)
    assert status == 403
    assert TOKEN.encode() not in content


@pytest.mark.parametrize("host", ["evil.example", f"evil.example:{80}", "127.0.0.1.evil.example", ""])
def test_another_host_name_is_refused_even_with_the_token(served, host):
    assert served.raw(f"/{TOKEN}/api/videos", {"Host": host})[0] == 400


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_this_machine_has_two_names(served, host):
    assert served.raw(f"/{TOKEN}/api/videos", {"Host": f"{host}:{served.port}"})[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "static/../server.py",
        "static/..%2fserver.py",
        "static/%2e%2e/%2e%2e/labels.py",
        "static//etc/passwd",
        "static/view.js/../../server.py",
        "video/../../secret.txt",
        "video/..%2f..%2fsecret.txt",
        "video//etc/passwd",
        "video/%2fetc%2fpasswd",
        "video/0/../../secret.txt",
        "video/a.mp4",
        "video/-1",
        "video/3",
        "video/99999999999999999999",
        pytest.param("video/" + "9" * 5000, id="video/9…"),
        "api/videos/3",
        "api/videos/%c2%b2",
        pytest.param("api/videos/" + "9" * 5000, id="api/videos/9…"),
        pytest.param(f"api/videos/{'9' * 5000}/next", id="api/videos/9…/next"),
        "secret.txt",
    ],
)
def test_no_path_reaches_the_disk(served, path):
    status, content = served.raw(f"/{TOKEN}/{path}")
    assert status == 404
    assert b"secret" not in content
    assert b"root:" not in content


def test_the_list_has_names_below_the_folder_in_the_order_of_review(served):
    answer = served.get("api/videos").json()
    assert (answer["total"], answer["offset"]) == (3, 0)
    assert [video["name"] for video in answer["videos"]] == ["sets/<b>&.webm", "c.mp4", "a.mp4"]
    assert answer["videos"][0] | {"name": ""} == {
        "number": 0,
        "name": "",
        "count": 2.5,
        "count_rounded": 3,
        "certainty": 0.5,
        "flags": [],
        "review": "The count may be wrong by more than one.",
        "label": None,
    }
    assert served.get("api/videos?order=name").json()["videos"][0]["name"] == "a.mp4"
    assert served.get("api/videos?search=C.MP4").json()["total"] == 1
    assert served.get("api/videos?offset=2").json()["videos"][0]["name"] == "a.mp4"


@pytest.mark.parametrize("query", ["order=size", "offset=-1", "offset=x", "offset=²", "offset=9999999999"])
def test_an_invalid_query_is_refused(served, query):
    assert served.get(f"api/videos?{query}").status_code == 400


def test_a_video_has_its_numbers_and_its_curve(served):
    video = served.get(f"api/videos/{served.number('c.mp4')}").json()
    assert (video["name"], video["problem"], video["has_video"], video["can_label"]) == ("c.mp4", "", True, True)
    assert video["numbers"]["segments"] == [{"start_sec": 2.5, "end_sec": 7.5, "count": 2.5}]
    assert len(video["curve"]["time_sec"]) == len(video["curve"]["count"]) == len(video["curve"]["periodicity"]) == 100


@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [
        (None, 200, CONTENT),
        ("bytes=0-", 206, CONTENT),
        ("bytes=100-199", 206, CONTENT[100:200]),
        ("bytes=255990-", 206, CONTENT[255_990:]),
        ("bytes=-10", 206, CONTENT[-10:]),
        ("bytes=255990-999999", 206, CONTENT[255_990:]),
        ("bytes=256000-", 416, None),
    ],
)
def test_a_browser_gets_the_part_of_a_video_that_it_asks_for(served, wanted, status, content):
    response = served.get(f"video/{served.number('a.mp4')}", headers={"Range": wanted} if wanted else {})
    assert response.status_code == status
    if content is None:
        assert response.headers["content-range"] == "bytes */256000"
    else:
        assert response.content == content
        assert response.headers["accept-ranges"] == "bytes"
        assert response.headers["content-type"] == "video/mp4"


def test_what_is_stored_as_a_video_is_never_a_page_or_a_program(served):
    response = served.get(f"video/{served.number('.webm')}")
    assert response.headers["content-type"] == "video/webm"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_a_changed_file_says_so(served):
    (uri,) = [uri for uri in served.videos.by_uri if uri.endswith("/c.mp4")]
    before = os.stat(uri).st_mtime_ns
    os.utime(uri, ns=(before + 10**9, before + 10**9))
    assert served.get(f"api/videos/{served.number('c.mp4')}").json()["problem"].startswith("The video was changed")
    os.utime(uri, ns=(before, before))
    assert served.get(f"api/videos/{served.number('c.mp4')}").json()["problem"] == ""


def test_a_corrected_count_is_written_where_evaluate_reads_it(served):
    for count in (4, 12.5):
        assert served.save(0, count).json()["label"] == count
    served.save(served.number("a.mp4"), 0)
    found = {label.file: label.true_count for label in read_labels(served.labels.path)}
    assert found == {"sets/<b>&.webm": 12.5, "a.mp4": 0.0}
    assert [video["label"] for video in served.get("api/videos").json()["videos"]] == [12.5, None, 0.0]
    assert served.save(0, None).json()["label"] is None
    assert [label.file for label in read_labels(served.labels.path)] == ["a.mp4"]


def test_an_invalid_correction_is_one_line_and_writes_nothing(served):
    for count in (-1, 10**7, 1e300, "8", True, [1]):
        answer = served.save(0, count)
        assert answer.status_code == 409
        assert "\n" not in answer.json()["error"]
    address = f"{served.root}/{TOKEN}/api/videos/0/label"
    for body in (b"", b"{", b"[" * 999, b"8", b"[]", b'{"count": NaN}', b"\xff", b'{"counts": 1}'):
        assert requests.put(address, data=body, timeout=30).status_code == 409
    assert requests.put(address, data=b" " * 2000, timeout=30).status_code == 413
    assert requests.post(address, json={"count": 1}, timeout=30).status_code == 405
    assert requests.put(f"{served.root}/{TOKEN}/api/videos/3/label", json={"count": 1}, timeout=30).status_code == 404
    assert not os.path.exists(served.labels.path)


def test_labels_that_became_invalid_are_explained(served):
    with open(served.labels.path, "w", encoding="utf-8") as file:
        file.write("nonsense\n")
    for answer in (served.get("api/videos"), served.save(0, 1)):
        assert answer.status_code == 409
        assert answer.json()["error"].startswith("the first line of the labels must name the columns")


def test_the_next_video_is_the_next_without_a_label(served):
    def following(number, query=""):
        return served.get(f"api/videos/{number}/next{query}").json()["number"]

    assert [following(number) for number in range(3)] == [1, 2, 0]
    served.save(1, 5)
    assert [following(number) for number in range(3)] == [2, 2, 0]
    assert following(0, "?search=mp4") == 2
    assert [video["number"] for video in served.get("api/videos?unlabelled=1").json()["videos"]] == [0, 2]
    served.save(0, 5)
    assert following(2) is None


def test_a_hundred_thousand_videos_are_listed_and_searched():
    class Tables:
        def read(self, query, parameters=None):
            number = 100_000
            columns = {
                "video_uri": [f"/v/{index:06d}.mp4" for index in range(number)],
                "video_generation": [1] * number,
                "upload_date": [None] * number,
                "model": ["lite"] * number,
                "options_hash": [""] * number,
                "count": [1.5] * number,
                "count_rounded": [2] * number,
                "certainty": [0.5] * number,
                "flags": [["ROTATED"]] * number,
                "scored_frames": [1] * number,
                "review": pa.nulls(number, pa.string()),
            }
            yield pa.RecordBatch.from_pydict(columns)

    videos = VideoList(Tables())
    assert len(videos.find("99")) == sum("99" in f"{index:06d}" for index in range(100_000))
    assert videos[99_999].video_uri == "/v/099999.mp4"


def test_a_video_on_cloud_storage_plays_through_the_server_by_ranges(cloud_storage, tmp_path):
    cloud_storage.contents["gym/a.mp4"] = CONTENT
    served = Served(tmp_path, make_video_count("gs://gym/a.mp4", 1), make_video_count("gs://gym/gone.mp4", 1))
    number = served.number("a.mp4")
    try:
        cloud_storage.sent_bytes = 0
        part = served.get(f"video/{number}", headers={"Range": "bytes=1000-1999"})
        assert (part.status_code, part.content) == (206, CONTENT[1000:2000])
        assert part.headers["content-range"] == "bytes 1000-1999/256000"
        assert cloud_storage.sent_bytes == 1000
        assert served.get(f"video/{number}").content == CONTENT
        assert served.get(f"video/{number}", headers={"Range": "bytes=256000-"}).status_code == 416
        assert requests.head(f"{served.root}/{TOKEN}/video/{number}", timeout=30).headers["content-length"] == "256000"
        gone = served.get(f"video/{served.number('gone.mp4')}")
        assert (gone.status_code, gone.text[:29]) == (404, "The video is no longer there.")
    finally:
        served.close()


@pytest.mark.parametrize(
    ("wanted", "status", "span"),
    [
        (None, 200, None),
        ("bytes=0-", 206, "bytes 0-9/10"),
        ("bytes=3-5", 206, "bytes 3-5/10"),
        ("bytes=-4", 206, "bytes 6-9/10"),
        ("bytes=-40", 206, "bytes 0-9/10"),
        ("bytes=5-50", 206, "bytes 5-9/10"),
        ("bytes=10-", 416, "bytes */10"),
        ("bytes=-0", 416, "bytes */10"),
        ("bytes=5-3", 416, "bytes */10"),
        ("bytes=1-2,4-5", 200, None),
        ("bytes=-", 200, None),
        ("lines=1-2", 200, None),
    ],
)
def test_ranges_of_remote_objects_follow_the_standard(wanted, status, span):
    response = stream_remote(10, wanted, "video/mp4", lambda start, end: b"x" * (end - start))
    assert response.status_code == status
    assert response.headers.get("content-range") == span


def test_a_large_remote_object_is_read_in_parts():
    asked = []

    def read(start, end):
        asked.append((start, end))
        return b""

    response = stream_remote(2 * STREAM_BYTES + 5, "bytes=3-", "video/mp4", read)
    assert asked == []

    async def consume():
        return [block async for block in response.body_iterator]

    asyncio.run(consume())
    assert asked == [
        (3, STREAM_BYTES + 3),
        (STREAM_BYTES + 3, 2 * STREAM_BYTES + 3),
        (2 * STREAM_BYTES + 3, 2 * STREAM_BYTES + 5),
    ]
