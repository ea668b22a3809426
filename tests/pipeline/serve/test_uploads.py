"""An uploaded video is counted as one by its name, its size is limited while it comes in, and nothing of it stays."""

import contextlib
import json
import os
import socket
import tempfile

import pytest
import requests

from pipeline.serve import uploads
from pipeline.serve.uploads import clean_name
from tests.support.serving import TIMEOUT_SEC, Served, wait_until
from tests.support.videos import draw_video

LIMIT = 200_000
BOUNDARY = "--------------------------x"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
END = f"--{BOUNDARY}--\r\n".encode()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    draw_video(folder / "squats.mp4", 100)
    return folder


@pytest.fixture(scope="module")
def served(videos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("temporary")
    old, tempfile.tempdir = tempfile.tempdir, str(folder)
    with Served(videos, max_upload_bytes=LIMIT) as served:
        served.folder = folder
        yield served
    tempfile.tempdir = old


@pytest.fixture(autouse=True)
def _nothing_stays(served):
    before = open_files()
    yield
    assert list(served.folder.iterdir()) == []
    wait_until(lambda: open_files() <= before)


def open_files():
    """Returns the number of open files that have no name."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return sum("(deleted)" in link and "/temporary" in link for link in links)


def upload(served, content, name="squats.mp4", field="video", **options):
    return served.post("/count", files={field: (name, content)}, **options)


def part(disposition, content=b"", *headers):
    head = "\r\n".join([f"--{BOUNDARY}", f"Content-Disposition: form-data; {disposition}", *headers])
    return head.encode() + b"\r\n\r\n" + content + b"\r\n"


def send(served, *parts, end=END, content_type=FORM):
    """Sends a form as it is written."""
    return served.post("/count", data=b"".join(parts) + end, headers={"content-type": content_type})


def same(record):
    return {name: value for name, value in record.items() if name not in ("wall_sec", "source", "video_uri")}


@pytest.mark.parametrize("curve", [False, True])
def test_an_uploaded_video_has_the_answer_that_its_name_has(served, videos, curve):
    by_name = served.get("/count", params={"name": "squats.mp4", "curve": str(curve).lower()}).json()
    content = (videos / "squats.mp4").read_bytes()
    response = upload(served, content, data={"curve": "true"} if curve else {})
    assert response.status_code == 200
    assert same(response.json()) == same(by_name)
    assert response.json()["video_uri"] == "squats.mp4"
    assert upload(served, content, field="file").json()["count_rounded"] == 5  # whatever the field is called


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\eve\\squats.mp4", "squats.mp4"),
        ("/dev/fd/1", "1"),
        ("..", "upload"),
        (" ", "upload"),
        ("a/", "upload"),
        ("turn\x1b[31mred\u202e.mp4", "turn\ufffd[31mred\ufffd.mp4"),
        ("x" * 300, "x" * 255),
        ("七回 🏋️.mp4", "七回 🏋️.mp4"),
    ],
)
def test_a_name_is_shown_without_folders_and_control_characters(name, shown):
    assert clean_name(name) == shown


def test_the_answer_of_a_video_that_fails_names_it_as_the_client_did(served):
    response = upload(served, b"no video", name="../七.mp4")
    assert response.status_code == 422
    assert (response.json()["video_uri"], response.json()["error"]["code"]) == ("七.mp4", "NOT_A_VIDEO")
    assert "/dev/fd" not in response.text
    assert upload(served, b"").json()["error"]["code"] == "EMPTY_FILE"


def test_a_video_that_says_it_is_too_large_is_refused_before_it_comes_in(served):
    with socket.create_connection(("127.0.0.1", served.port), TIMEOUT_SEC) as connection:
        head = f"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: {10**12}\r\n"
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT + uploads.FORM_BYTES, 20 * LIMIT])
def test_a_video_without_a_length_is_refused_once_it_is_too_large(served, monkeypatch, size):
    most = []
    monkeypatch.setattr(uploads._Form, "_end_header", count_bytes(uploads._Form._end_header, most))

    def blocks():
        yield part('name="video"; filename="a.mp4"')[:-2]
        for first in range(0, size, 10_000):
            yield b"x" * min(10_000, size - first)
        yield f"\r\n--{BOUNDARY}--\r\n".encode()

    try:
        response = served.post("/count", data=blocks(), headers={"content-type": f"multipart/form-data; boundary={BOUNDARY}"})
    except requests.ConnectionError:
        pass  # the server closes the connection while the client still sends
    else:
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "TOO_LARGE"
    assert most
    assert all(form._file_bytes <= LIMIT + 70_000 for form in most)


def count_bytes(method, forms):
    def run(self):
        forms.append(self)
        return method(self)

    return run


def test_the_largest_video_is_taken(served):
    assert upload(served, b"x" * LIMIT).json()["error"]["code"] == "NOT_A_VIDEO"


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [part('name="curve"', b"true")],
        [part('name="video"', b"x")],  # a field, not a file
        [part('name="video"; filename="a.mp4"', b"x")] * 2,
        [part('name="video"; filename="a.mp4"', b"x"), part('name="curve"', b"maybe")],
        [part('name="video"; filename="a.mp4"', b"x"), part('name="other"', b"x")],
        [part('name="video"; filename="a.mp4"', b"x"), *[part('name="curve"', b"true")] * 2],
        [part('name="video"; filename="a.mp4"', b"x"), *[part(f'name="f{number}"', b"x") for number in range(20)]],
        [part('name="video"; filename="a.mp4"', b"x"), part('name="curve"', b"x" * 5_000)],
        [part('name="video"; filename="a.mp4"', b"x", *["X: y"] * 20)],
        [part('name="video"; filename="a.mp4"', b"x", f"X: {'y' * 9_000}")],
        [b"this is no form"],
    ],
)
def test_a_form_that_is_not_one_video_is_400(served, parts):
    response = send(served, *parts)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "INVALID_REQUEST"


def test_many_bytes_beside_the_video_are_refused(served):
    response = send(served, part('name="video"; filename="a.mp4"', b"x"), end=f"--{BOUNDARY}--\r\n".encode() + b"x" * 150_000)
    assert response.status_code in (400, 413)


def test_a_form_that_breaks_off_or_names_no_boundary_is_400(served):
    assert send(served, part('name="video"; filename="a.mp4"', b"x"), end=b"").status_code == 400
    for content_type in ("multipart/form-data", f"multipart/form-data; boundary={'x' * 300}", "multipart/form-data; boundary="):
        assert send(served, content_type=content_type).status_code == 400


@pytest.mark.parametrize(
    ("parts", "end", "content_type", "wanted"),
    [
        ([], END, "multipart/form-data", "the content type must name the boundary of the form"),
        ([b"this is no form"], END, FORM, "each part of the form must begin with the boundary"),
        ([part('name="video"; filename="a.mp4"', b"x", "no colon")], END, FORM, "and with complete headers"),
        ([part('name="video"; filename="a.mp4"', b"x")], b"", FORM, "the form must end with the boundary and --"),
        ([], b"", FORM, "the form must end with the boundary and --"),
        ([part('name="video"', b"x")], END, FORM, "one file, a part with a filename as curl -F video=@squats.mp4 sends it"),
    ],
)
def test_a_form_that_is_refused_gets_one_line_that_says_what_would_be_right(served, parts, end, content_type, wanted):
    message = send(served, *parts, end=end, content_type=content_type).json()["error"]["message"]
    assert wanted in message
    assert "\n" not in message


def test_an_upload_whose_client_goes_away_leaves_nothing(served, videos):
    with socket.create_connection(("127.0.0.1", served.port), TIMEOUT_SEC) as connection:
        head = "POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n".encode())
        connection.sendall(part('name="video"; filename="a.mp4"', b"x" * 50_000))
        wait_until(lambda: open_files() == 1)
    wait_until(lambda: open_files() == 0)


def test_an_upload_that_stops_coming_is_408(served, monkeypatch):
    monkeypatch.setattr(uploads, "BLOCK_SEC", 0.2)
    with socket.create_connection(("127.0.0.1", served.port), TIMEOUT_SEC) as connection:
        head = "POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_all_uploads_together_take_no_more_disk_than_they_may(served, monkeypatch):
    budgets = []

    def take(self, num_bytes, method=uploads.UploadBudget.take):
        budgets.append(self)
        method(self, num_bytes)

    monkeypatch.setattr(uploads.UploadBudget, "take", take)
    upload(served, b"no video")
    budget, whole = budgets[0], 4 * LIMIT
    assert budget.free_bytes == whole
    budget.free_bytes = 5
    response = upload(served, b"no video")
    assert (response.status_code, response.json()["error"]["code"], response.headers["retry-after"]) == (429, "BUSY", "5")
    assert budget.free_bytes == 5
    budget.free_bytes = whole


def test_an_uploaded_video_is_in_no_table(videos):
    asked = []

    class Keeper:
        def find(self, video, *, curve):
            asked.append(video)

        def add(self, outcome):
            asked.append(outcome)

        def close(self):
            pass

    with Served(videos, open_keeper=lambda counter: Keeper()) as served:
        assert upload(served, (videos / "squats.mp4").read_bytes()).status_code == 200
    assert asked == []


def test_a_disk_that_is_full_is_the_fault_of_the_machine(served, monkeypatch):
    def refuse(self, block):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(uploads._Form, "write", refuse)
    response = upload(served, b"x")
    assert response.status_code == 500
    assert json.loads(response.content)["error"]["code"] == "MACHINE_FAULT"
