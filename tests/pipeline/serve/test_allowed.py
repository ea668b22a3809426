"""A request reads what the server was started with, and nothing else."""

import http.server
import os
import threading

import pytest

from pipeline.command_line import UsageError
from pipeline.serve.allowed import AllowedPlaces
from pipeline.serve.errors import ForbiddenPlaceError, InvalidRequestError, NotFoundError
from tests.support.samples import HOSTILE_NAMES
from transforms.decoding.local_copy import open_video
from transforms.decoding.samples import DecodeError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "videos" / "sets").mkdir(parents=True)
    (tmp_path / "videos-of-others").mkdir()
    for name in ("videos/a.mp4", "videos/sets/b.mp4", "videos-of-others/c.mp4", "secret.txt"):
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.fixture
def places(folder):
    return AllowedPlaces.parse(["gs://gym/2026", "gs://open"], str(folder / "videos"))


@pytest.mark.parametrize("name", ["a.mp4", "sets/b.mp4", "sets//b.mp4"])
def test_a_name_starts_from_the_base(places, folder, name):
    found = places.find(name)
    assert found.uri == str(folder / "videos" / name.replace("//", "/"))
    assert found.generation == os.stat(found.uri).st_mtime_ns


def test_a_whole_path_below_an_allowed_folder_is_taken(places, folder):
    assert places.find(str(folder / "videos" / "a.mp4")).uri == str(folder / "videos" / "a.mp4")


@pytest.mark.parametrize("name", ["../secret.txt", "sets/../../secret.txt", "..", ".", "./a.mp4", "sets/../a.mp4"])
def test_path_traversal_is_refused(places, name):
    with pytest.raises(ForbiddenPlaceError):
        places.find(name)


@pytest.mark.parametrize(
    "name", ["secret.txt", "videos-of-others/c.mp4", "videos/../secret.txt", "", "/etc/passwd", "proc/self/mem"]
)
def test_a_path_outside_is_refused(places, folder, name):
    with pytest.raises(ForbiddenPlaceError):
        places.find(os.path.join(folder, name))


@pytest.mark.parametrize("target", ["secret.txt", "videos-of-others/c.mp4", "/etc/passwd", "/proc/self/environ", "/dev/zero"])
def test_a_link_that_leads_out_is_refused(places, folder, target):
    os.symlink(os.path.join(folder, target), folder / "videos" / "link.mp4")
    with pytest.raises(ForbiddenPlaceError):
        places.find("link.mp4")


def test_a_file_in_a_linked_folder_outside_is_refused(places, folder):
    os.symlink(folder / "videos-of-others", folder / "videos" / "more")
    with pytest.raises(ForbiddenPlaceError):
        places.find("more/c.mp4")


def test_a_link_within_the_folder_is_followed_under_its_own_name(places, folder):
    os.symlink("sets/b.mp4", folder / "videos" / "link.mp4")
    assert places.find("link.mp4").uri == str(folder / "videos" / "link.mp4")


def test_an_allowed_folder_may_itself_be_a_link(folder):
    os.symlink(folder / "videos", folder / "current")
    assert AllowedPlaces.parse([], str(folder / "current")).find("a.mp4").uri == str(folder / "current" / "a.mp4")


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        "file:/etc/passwd",
        "FILE:///etc/passwd",
        " file:///etc/passwd",
        "http://127.0.0.1/a.mp4",
        "https://example.com/a.mp4",
        "http://169.254.169.254/computeMetadata/v1/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://[::1]/a.mp4",
        "ftp://example.com/a.mp4",
        "s3://gym/2026/a.mp4",
        "hdfs://gym/a.mp4",
        "concat:/etc/passwd",
        "GS://gym/2026/a.mp4",
        " gs://gym/2026/a.mp4",
    ],
)
def test_another_scheme_is_refused(places, uri):
    with pytest.raises(ForbiddenPlaceError):
        places.find(uri)


@pytest.mark.parametrize("uri", ["gs://gym/2026/a.mp4", "gs://gym/2026/b/c d.mp4", "gs://open/x.mp4"])
def test_a_uri_below_an_allowed_prefix_is_taken(places, uri):
    assert places.resolve(uri) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "gs://gym/2025/a.mp4",
        "gs://gym/2026-private/a.mp4",
        "gs://gym/2026/../2025/a.mp4",
        "gs://gym/2026",
        "gs://gym-2/2026/a.mp4",
        "gs://open.example/x.mp4",
        "gs://user@open/x.mp4",
        "gs:///x.mp4",
        "gs://",
    ],
)
def test_another_bucket_or_folder_is_refused(places, uri):
    with pytest.raises(ForbiddenPlaceError):
        places.resolve(uri)


def test_a_base_in_a_bucket_is_where_names_start():
    places = AllowedPlaces.parse([], "gs://gym/2026")
    assert places.resolve("mon/a.mp4") == "gs://gym/2026/mon/a.mp4"
    with pytest.raises(ForbiddenPlaceError):
        places.resolve("../2025/a.mp4")


@pytest.mark.parametrize("name", ["", "a\0.mp4", "a" * 5000, "\ud800.mp4"])
def test_what_can_be_no_name_is_invalid(places, name):
    with pytest.raises(InvalidRequestError):
        places.find(name)


@pytest.mark.parametrize("name", ["none.mp4", "a.mp4/b.mp4", "sets", "sets/", "x" * 300, "*.mp4", "data:video,x"])
def test_a_name_without_a_file_is_not_found(places, name):
    with pytest.raises(NotFoundError):
        places.find(name)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_no_character_of_a_name_has_a_meaning(places, folder, name):
    (folder / "videos" / name).write_text("x")
    assert places.find(name).uri == str(folder / "videos" / name)


def test_without_a_base_names_are_whole(folder):
    places = AllowedPlaces.parse([str(folder / "videos")], None)
    assert places.find(str(folder / "videos" / "a.mp4"))
    with pytest.raises(InvalidRequestError, match="--base"):
        places.find("a.mp4")


def test_without_any_place_everything_is_refused(folder):
    with pytest.raises(ForbiddenPlaceError):
        AllowedPlaces.parse([], None).find(str(folder / "videos" / "a.mp4"))


@pytest.mark.parametrize("place", ["none", "secret.txt", "s3://gym", "gs://", "gs://gym/*", "file:///tmp"])
def test_a_place_is_a_folder_or_a_prefix(folder, place):
    with pytest.raises(UsageError, match="Received:"):
        AllowedPlaces.parse([], place if "://" in place else str(folder / place))


def test_a_file_that_the_server_may_not_look_at_is_refused_without_details(places, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("pipeline.serve.allowed.find_file", refuse)
    with pytest.raises(ForbiddenPlaceError, match=r"^the server may not read this video$"):
        places.find("a.mp4")


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/", "http://169.254.169.254/", "http://metadata.google.internal/"])
@pytest.mark.parametrize("is_found", [False, True])
def test_a_redirect_is_not_followed(cloud_storage, monkeypatch, target, is_found):
    """Neither that of an object's description, nor that of its content."""

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    asked, sent = [], []
    other = http.server.HTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    handler = cloud_storage._server.RequestHandlerClass
    answer = handler.answer

    def redirect(self, content, status=200, headers=None):
        if is_found and "alt=media" not in self.path:
            answer(self, content, status, headers)
        else:
            sent.append(self.path)
            answer(self, b"", 302, {"Location": target.format(port=other.server_port)})

    monkeypatch.setattr(handler, "answer", redirect)
    cloud_storage.contents["gym/a.mp4"] = b"video"
    places = AllowedPlaces.parse([], "gs://gym")
    places.prepare()
    if is_found:
        with pytest.raises(DecodeError), open_video(places.find("a.mp4")):
            pass
    else:
        with pytest.raises(ForbiddenPlaceError):
            places.find("a.mp4")
    other.shutdown()
    assert len(sent) == 1
    assert asked == []
