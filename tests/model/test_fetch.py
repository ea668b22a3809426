import dataclasses
import functools
import hashlib
import http.server
import io
import threading
import types
from pathlib import Path

import pytest
import tenacity
from rich.console import Console

from model import checkpoint, fetch, presets, storage
from model.fetch import FetchError
from model.network import RepNet
from model.presets import PRESETS, Preset, RemoteFile
from tests.support import checkpoints


class FileServer:
    """Serves a folder over HTTP, ranges included, and misbehaves as told.

    Attributes:
      faults: {file name: behaviours of the coming requests}; a behaviour is called with the handler and the file's content.
      requests: (file name, Range header or None) of every request.
    """

    def __init__(self, folder):
        self.folder = folder
        self.faults = {}
        self.requests = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/repnet"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def _handler(self):
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rsplit("/", 1)[-1]
                server.requests.append((name, self.headers["Range"]))
                faults = server.faults.get(name)
                behaviour = faults.pop(0) if faults else with_ranges
                behaviour(self, (server.folder / name).read_bytes())

            def log_message(self, *args):
                """Keeps the test's output clean."""

        return Handler


def answer(handler, status, body, headers=None, length=None):
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def with_ranges(handler, content):
    if asked := handler.headers["Range"]:
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            answer(handler, 416, b"")
        else:
            answer(handler, 206, content[start:], {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"})
    else:
        answer(handler, 200, content)


def without_ranges(handler, content):
    answer(handler, 200, content)


def status(code):
    return lambda handler, content: answer(handler, code, b"sorry")


def cut_after(num_bytes):
    """Announces everything, sends the beginning of what was asked for, and closes."""

    def behave(handler, content):
        start = int((handler.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        body = content[start : start + num_bytes]
        answer(handler, 206 if start else 200, body, headers if start else None, length=len(content) - start)
        handler.close_connection = True

    return behave


def cut_without_announcing(handler, content):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.close_connection = True


def reset(handler, content):
    handler.close_connection = True


def serve(changed):
    return lambda handler, content: with_ranges(handler, changed(content))


def another_range(handler, content):
    answer(handler, 206, content[1:], {"Content-Range": f"bytes 1-{len(content) - 1}/{len(content)}"})


INDEX, DATA = "ckpt-7.index", "ckpt-7.data-00000-of-00001"


@pytest.fixture(scope="module")
def arrays():
    return checkpoints.random_arrays(RepNet(checkpoints.TINY))


@pytest.fixture
def server(arrays, tmp_path):
    folder = tmp_path / "served"
    checkpoints.save(arrays, folder / "ckpt-7")
    server = FileServer(folder)
    yield server
    server.close()


def published(folder, names=(INDEX, DATA), url="http://127.0.0.1:9"):
    """Returns the description of files as a preset publishes them."""
    contents = {name: (folder / name).read_bytes() for name in names}
    return tuple(
        RemoteFile(name, f"{url}/{name}", len(content), hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    )


@pytest.fixture
def preset(server):
    return Preset("tiny", checkpoints.TINY, "for tests", (1,), files=published(server.folder, url=server.url))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "_BLOCK_BYTES", 100)
    monkeypatch.setenv("REPCOUNT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("REPCOUNT_CHECKPOINT_URL", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def run(preset, cache):
    """Fetches the preset, without waiting between attempts."""
    return functools.partial(fetch.fetch, preset, console=Console(file=io.StringIO()), wait=tenacity.wait_none())


def files_in(folder):
    """Returns the names of everything below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_fetched_model_loads_by_name(run, preset, arrays, cache, monkeypatch):
    fetched = run()
    assert fetched == fetch.Fetched(str(cache / "tiny.weights.h5"), was_there=False)
    assert files_in(cache) == ["tiny.json", "tiny.weights.h5"]
    monkeypatch.setattr(presets, "PRESETS", {"tiny": preset})
    assert presets.load_model("tiny").sha256 == checkpoint.model_sha256(checkpoints.TINY, arrays)


def test_a_second_fetch_downloads_nothing(run, server):
    run()
    server.requests.clear()
    assert run().was_there
    assert not server.requests


def test_a_second_fetch_mends_damaged_weights(run, server, cache):
    run()
    path = cache / "tiny.weights.h5"
    sound = path.read_bytes()
    path.write_bytes(sound[:1000])
    assert not run().was_there
    assert path.read_bytes() == sound


def test_weights_of_other_published_files_are_replaced(run, preset, cache, server):
    run()
    (server.folder / "checkpoint").write_bytes(b"newer")
    newer = dataclasses.replace(preset, files=published(server.folder, [INDEX, DATA, "checkpoint"], server.url))
    assert not fetch.fetch(newer, console=Console(file=io.StringIO())).was_there


def test_the_weights_go_to_a_folder_of_choice(run, tmp_path, cache):
    assert run(str(tmp_path / "elsewhere")).path == str(tmp_path / "elsewhere" / "tiny.weights.h5")
    assert files_in(tmp_path / "elsewhere") == ["tiny.json", "tiny.weights.h5"]
    assert not cache.exists()


def test_the_weights_go_to_a_bucket(run, cloud_storage, server, arrays):
    assert run("gs://bucket/models/") == fetch.Fetched("gs://bucket/models/tiny.weights.h5", was_there=False)
    assert sorted(cloud_storage.contents) == ["bucket/models/tiny.json", "bucket/models/tiny.weights.h5"]
    assert presets.load_model("gs://bucket/models/tiny.weights.h5").sha256 == checkpoint.model_sha256(checkpoints.TINY, arrays)

    server.requests.clear()
    assert run("gs://bucket/models").was_there
    assert not server.requests

    del cloud_storage.contents["bucket/models/tiny.json"]
    assert not run("gs://bucket/models").was_there
    assert "bucket/models/tiny.json" in cloud_storage.contents


def test_another_server_may_serve_the_files(preset, cache, server, monkeypatch):
    elsewhere = dataclasses.replace(preset, files=published(server.folder, url="http://127.0.0.1:9/nobody"))
    quiet = Console(file=io.StringIO())
    assert fetch.fetch(elsewhere, base_url=server.url + "/", console=quiet).path
    monkeypatch.setenv("REPCOUNT_CACHE", str(cache / "second"))
    monkeypatch.setenv("REPCOUNT_CHECKPOINT_URL", server.url)
    assert fetch.fetch(elsewhere, console=quiet).path


@pytest.mark.parametrize("fault", [status(503), status(500), status(429), status(408), reset, cut_without_announcing])
def test_a_passing_fault_is_tried_again(run, server, fault):
    server.faults = {DATA: [fault, fault]}
    assert not run().was_there
    assert [name for name, _ in server.requests] == [INDEX, DATA, DATA, DATA]


def test_a_cut_connection_is_taken_up_where_it_broke(run, server):
    server.faults = {DATA: [cut_after(1000), cut_after(500)]}
    run()
    assert server.requests == [(INDEX, None), (DATA, None), (DATA, "bytes=1000-"), (DATA, "bytes=1500-")]


def test_an_interrupted_fetch_is_taken_up_by_the_next(run, server, cache):
    server.faults = {DATA: [cut_after(1000), *[reset] * 5]}
    with pytest.raises(FetchError, match=r"the download failed 6 times, at last with .*Received: http://127.0.0.1") as caught:
        run()
    assert "\n" not in str(caught.value)
    assert files_in(cache) == [f".tiny.download/{DATA}.part", f".tiny.download/{INDEX}"]

    server.requests.clear()
    assert not run().was_there
    assert server.requests == [(DATA, "bytes=1000-")]
    assert files_in(cache) == ["tiny.json", "tiny.weights.h5"]


def leave_part(cache, content):
    part = cache / ".tiny.download" / f"{DATA}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content)
    return part


def test_a_server_that_ignores_ranges_starts_over(run, server, cache):
    leave_part(cache, (server.folder / DATA).read_bytes()[:1000])
    server.faults = {DATA: [without_ranges]}
    run()
    assert server.requests[1:] == [(DATA, "bytes=1000-")]


def test_a_server_that_sends_another_range_is_asked_for_everything(run, server, cache):
    leave_part(cache, (server.folder / DATA).read_bytes()[:1000])
    server.faults = {DATA: [another_range]}
    run()
    assert server.requests[1:] == [(DATA, "bytes=1000-"), (DATA, None)]


def test_a_beginning_of_something_else_is_downloaded_anew(run, server, cache):
    leave_part(cache, b"x" * 1000)
    run()
    assert server.requests[1:] == [(DATA, "bytes=1000-"), (DATA, None)]


def test_a_part_longer_than_the_file_is_downloaded_anew(run, server, cache):
    leave_part(cache, b"x" * 1_000_000)
    run()
    assert server.requests[1:] == [(DATA, "bytes=1000000-"), (DATA, None)]


def test_a_whole_part_is_not_downloaded_again(run, server, cache):
    leave_part(cache, (server.folder / DATA).read_bytes())
    run()
    assert [name for name, _ in server.requests] == [INDEX]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (serve(lambda content: content[:-1] + b"?"), "not the published file, which has sha256 "),
        (serve(lambda content: content[:-1]), "not the published file, which has [0-9,]+ bytes"),
        (
            serve(lambda content: b"<html>sign in first</html>"),
            "not the published file, which has [0-9,]+ bytes. Received: 26 from",
        ),
        (status(404), "the server refuses: HTTP 404 Not Found"),
        (status(403), "the server refuses: HTTP 403 Forbidden"),
    ],
)
def test_a_lasting_fault_is_one_clear_line_and_leaves_nothing_of_the_file(run, server, cache, fault, message):
    server.faults = {DATA: [fault]}
    with pytest.raises(FetchError, match=message) as caught:
        run()
    assert "\n" not in str(caught.value)
    assert len(server.requests) == 2
    assert files_in(cache) == [f".tiny.download/{INDEX}"]


def test_a_sign_in_page_does_not_cost_what_was_downloaded(run, server, cache):
    part = leave_part(cache, (server.folder / DATA).read_bytes()[:1000])
    server.faults = {DATA: [lambda handler, content: answer(handler, 200, b"<html>")]}
    with pytest.raises(FetchError, match="not the published file"):
        run()
    assert part.stat().st_size == 1000


def test_an_endless_file_is_not_downloaded_to_its_end(run, server, cache):
    def endless(handler, content):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(50):
            handler.wfile.write(b"x" * (1 << 20))

    server.faults = {DATA: [endless]}
    with pytest.raises(FetchError, match=r"not the published file, which has .* Received: at least "):
        run()
    assert files_in(cache) == [f".tiny.download/{INDEX}"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_full_disk_is_one_clear_line_and_gives_its_room_back(run, cache):
    part = cache / ".tiny.download" / f"{DATA}.part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    with pytest.raises(FetchError, match=r"the disk is full after [0-9,]+ of [0-9,]+ bytes"):
        run()
    assert files_in(cache) == [f".tiny.download/{INDEX}"]


def test_a_disk_without_room_is_found_before_the_first_request(run, server, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: types.SimpleNamespace(free=10))
    with pytest.raises(FetchError, match=r"bytes must be free for tiny. Received: 10 free"):
        run()
    assert not server.requests


def test_a_disk_that_fills_up_while_converting_leaves_no_weights(run, cache, monkeypatch):
    def refuse(path):
        if path.suffix == ".h5":
            raise OSError(28, "No space left on device")
        return hash_of(path)

    hash_of = storage.file_sha256
    monkeypatch.setattr(storage, "file_sha256", refuse)
    with pytest.raises(presets.WeightsError, match="the disk is full"):
        run()
    assert files_in(cache) == [f".tiny.download/{DATA}", f".tiny.download/{INDEX}"]


def test_a_folder_that_is_a_file_is_one_clear_line(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FetchError, match="the folder cannot be used"):
        run(str(tmp_path / "file"))


def test_a_checkpoint_of_another_network_leaves_no_weights(run, server, preset, cache, arrays):
    checkpoints.save({**arrays, "pos_encoding": arrays["pos_encoding"][:, :, :1]}, server.folder / "ckpt-7")
    other = dataclasses.replace(preset, files=published(server.folder, url=server.url))
    with pytest.raises(checkpoint.CheckpointError, match="1 of another shape: pos_encoding"):
        fetch.fetch(other, console=Console(file=io.StringIO()))
    assert "tiny.weights.h5" not in files_in(cache)


def test_a_model_of_our_own_is_not_fetched():
    with pytest.raises(FetchError, match="Received: 'lite'"):
        fetch.fetch(PRESETS["lite"])


@pytest.mark.slow
def test_a_published_checkpoint_is_fetched_whole(standin_2025, cache, monkeypatch):
    """With the layout and the size of the network of the published one, over a connection that breaks."""
    folder = Path(standin_2025).parent
    server = FileServer(folder)
    names = ("ckpt-70.index", "ckpt-70.data-00000-of-00001", "checkpoint")
    preset = dataclasses.replace(PRESETS["repnet-2025"], files=published(folder, names, server.url))
    monkeypatch.setattr(presets, "PRESETS", {preset.name: preset})
    server.faults = {names[1]: [cut_after(60_000_000)]}
    monkeypatch.setattr(fetch, "_BLOCK_BYTES", 1 << 16)
    shown = io.StringIO()
    fetched = fetch.fetch(preset, console=Console(file=shown), wait=tenacity.wait_none())
    server.close()

    taken_up_at = int(server.requests[2][1].removeprefix("bytes=").removesuffix("-"))
    assert 60_000_000 - (1 << 16) <= taken_up_at <= 60_000_000
    assert 103_000_000 < Path(fetched.path).stat().st_size < 104_000_000
    expected = checkpoint.model_sha256(preset.config, checkpoint.read_checkpoint(standin_2025))
    assert presets.load_model("repnet-2025").sha256 == expected
    assert "trying again" in shown.getvalue()
