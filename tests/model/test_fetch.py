import dataclasses
import functools
import hashlib
import http.server
import io
import resource
import shutil
import threading
import types
from pathlib import Path

import pytest
import tenacity
from rich.console import Console

from model import checkpoint, fetch, presets, weights_file
from model.fetch import FetchError
from model.network import RepNet
from model.presets import PRESETS, Preset, RemoteFile
from tests.support import checkpoints


class FileServer:
    """Serves a folder over HTTP, and misbehaves as told.

    Attributes:
      faults: {file name: behaviours of the coming requests}; a behaviour is called with the handler and the file's content.
      requests: the file name of every request.
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
                server.requests.append(name)
                faults = server.faults.get(name)
                behaviour = faults.pop(0) if faults else whole
                behaviour(self, (server.folder / name).read_bytes())

            def log_message(self, *args):
                """Keeps the test's output clean."""

        return Handler


def answer(handler, status, body, length=None):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def whole(handler, content):
    answer(handler, 200, content)


def status(code):
    return lambda handler, content: answer(handler, code, b"sorry")


def cut_after(num_bytes):
    """Announces everything, sends the beginning, and closes."""

    def behave(handler, content):
        answer(handler, 200, content[:num_bytes], length=len(content))
        handler.close_connection = True

    return behave


def reset(handler, content):
    handler.close_connection = True


def serve(changed):
    return lambda handler, content: whole(handler, changed(content))


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
    assert fetched == fetch.Fetched(str(cache / "tiny.safetensors"), was_there=False)
    assert files_in(cache) == ["tiny.safetensors"]
    monkeypatch.setattr(presets, "PRESETS", {"tiny": preset})
    assert presets.load_model("tiny").sha256 == weights_file.model_sha256(checkpoints.TINY, arrays)


def test_a_second_fetch_downloads_nothing(run, server):
    run()
    server.requests.clear()
    assert run().was_there
    assert not server.requests


def test_a_second_fetch_mends_damaged_weights(run, server, cache):
    run()
    path = cache / "tiny.safetensors"
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
    assert run(str(tmp_path / "elsewhere")).path == str(tmp_path / "elsewhere" / "tiny.safetensors")
    assert files_in(tmp_path / "elsewhere") == ["tiny.safetensors"]
    assert not cache.exists()


def test_the_weights_go_to_a_bucket(run, cloud_storage, server, arrays, cache):
    assert run("gs://bucket/models/") == fetch.Fetched("gs://bucket/models/tiny.safetensors", was_there=False)
    assert list(cloud_storage.contents) == ["bucket/models/tiny.safetensors"]
    sha256 = presets.load_model("gs://bucket/models/tiny.safetensors").sha256
    assert sha256 == weights_file.model_sha256(checkpoints.TINY, arrays)

    server.requests.clear()
    shutil.rmtree(cache)
    assert run("gs://bucket/models").was_there
    assert not server.requests

    cloud_storage.metadata["bucket/models/tiny.safetensors"] = {"source_sha256": "of other files"}
    assert not run("gs://bucket/models").was_there


def test_another_server_may_serve_the_files(preset, cache, server, monkeypatch):
    elsewhere = dataclasses.replace(preset, files=published(server.folder, url="http://127.0.0.1:9/nobody"))
    quiet = Console(file=io.StringIO())
    assert fetch.fetch(elsewhere, base_url=server.url + "/", console=quiet).path
    monkeypatch.setenv("REPCOUNT_CACHE", str(cache / "second"))
    monkeypatch.setenv("REPCOUNT_CHECKPOINT_URL", server.url)
    assert fetch.fetch(elsewhere, console=quiet).path


@pytest.mark.parametrize("fault", [status(503), status(500), status(429), status(408), reset, cut_after(1000)])
def test_a_passing_fault_is_tried_again(preset, cache, server, fault):
    server.faults = {DATA: [fault, fault]}
    shown = io.StringIO()
    assert not fetch.fetch(preset, console=Console(file=shown), wait=tenacity.wait_none()).was_there
    assert server.requests == [INDEX, DATA, DATA, DATA]
    assert shown.getvalue().count("trying again") == 2


def test_an_interrupted_fetch_keeps_the_files_that_are_complete(run, server, cache):
    server.faults = {DATA: [cut_after(1000), *[reset] * 5]}
    with pytest.raises(FetchError, match=r"the download failed 6 times, at last with .*Received: http://127.0.0.1") as caught:
        run()
    assert "\n" not in str(caught.value)
    assert files_in(cache) == [f".tiny.download/{INDEX}"]

    server.requests.clear()
    assert not run().was_there
    assert server.requests == [DATA]
    assert files_in(cache) == ["tiny.safetensors"]


def test_weights_of_the_previous_format_are_converted_without_a_download(run, preset, server, cache):
    run()
    metadata, arrays = weights_file.read(cache / "tiny.safetensors")
    (cache / "tiny.safetensors").unlink()
    checkpoints.save_old_weights(cache / "tiny.weights.h5", preset.config, arrays, metadata)
    server.requests.clear()
    assert run() == fetch.Fetched(str(cache / "tiny.safetensors"), was_there=True)
    assert not server.requests
    assert weights_file.read_metadata(cache / "tiny.safetensors") == metadata


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (serve(lambda content: content[:-1] + b"?"), "not the published file, which has [0-9,]+ bytes and sha256 "),
        (serve(lambda content: content[:-1]), "not the published file, which has [0-9,]+ bytes and sha256 "),
        (
            serve(lambda content: b"<html>sign in first</html>"),
            "not the published file, .* Received: sha256 [0-9a-f]{64} from http",
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


def test_an_unexpected_hash_names_both_hashes_and_the_way_on(run, server, preset):
    server.faults = {DATA: [serve(lambda content: b"another checkpoint")]}
    with pytest.raises(FetchError) as caught:
        run()
    assert preset.files[1].sha256 in str(caught.value)
    assert hashlib.sha256(b"another checkpoint").hexdigest() in str(caught.value)
    assert "--model FOLDER/ckpt-7." in str(caught.value)


def test_a_checkpoint_of_ones_own_is_used_without_its_file_named_checkpoint(standin_2025, tmp_path):
    for path in Path(standin_2025).parent.glob("ckpt-70.*"):
        (tmp_path / path.name).symlink_to(path)
    assert presets.load_model(str(tmp_path / "ckpt-70")).preset.config == PRESETS["repnet-2025"].config


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_only_files_with_variables_are_fetched(preset):
    assert all(file.name.startswith(f"{preset.checkpoint_name}.") for file in preset.files)


def test_weights_that_a_former_version_made_with_one_file_more_are_not_fetched_again(run, preset, server, cache):
    (server.folder / "checkpoint").write_bytes(b"names the newest checkpoint")
    former = dataclasses.replace(preset, files=published(server.folder, [INDEX, DATA, "checkpoint"], server.url))
    fetch.fetch(former, console=Console(file=io.StringIO()))
    server.requests.clear()
    assert run().was_there
    assert not server.requests


def test_an_endless_file_is_not_downloaded_to_its_end(run, server, cache):
    def endless(handler, content):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(50):
            handler.wfile.write(b"x" * (1 << 20))

    server.faults = {DATA: [endless]}
    with pytest.raises(FetchError, match="not the published file"):
        run()
    assert files_in(cache) == [f".tiny.download/{INDEX}"]


def test_a_full_disk_is_one_clear_line_and_gives_its_space_back(run, cache):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(FetchError, match=r"the disk is full; ckpt-7.* has [0-9,]+ bytes") as caught:
            run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert DATA not in str(files_in(cache))


def test_a_disk_without_room_is_found_before_the_first_request(run, server, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: types.SimpleNamespace(free=10))
    with pytest.raises(FetchError, match=r"bytes must be free for tiny. Received: 10 free"):
        run()
    assert not server.requests


def test_a_disk_that_fills_up_while_converting_leaves_no_weights(run, cache, monkeypatch):
    def refuse(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
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
    assert "tiny.safetensors" not in files_in(cache)


def test_a_model_of_our_own_is_not_fetched():
    with pytest.raises(FetchError, match="Received: 'lite'"):
        fetch.fetch(PRESETS["lite"])


@pytest.mark.slow
def test_a_published_checkpoint_is_fetched_whole(standin_2025, cache, monkeypatch):
    """With the layout and the size of the network of the published one, over a connection that breaks."""
    folder = Path(standin_2025).parent
    server = FileServer(folder)
    names = ("ckpt-70.index", "ckpt-70.data-00000-of-00001")
    preset = dataclasses.replace(PRESETS["repnet-2025"], files=published(folder, names, server.url))
    monkeypatch.setattr(presets, "PRESETS", {preset.name: preset})
    server.faults = {names[1]: [cut_after(60_000_000)]}
    shown = io.StringIO()
    fetched = fetch.fetch(preset, console=Console(file=shown), wait=tenacity.wait_none())
    server.close()

    assert server.requests == [names[0], names[1], names[1]]
    assert 103_000_000 < Path(fetched.path).stat().st_size < 104_000_000
    expected = weights_file.model_sha256(preset.config, checkpoint.read_checkpoint(standin_2025))
    assert presets.load_model("repnet-2025").sha256 == expected
    assert "trying again" in shown.getvalue()
