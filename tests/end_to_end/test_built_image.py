"""The container image is built for real, and does in a container what it is for: runs, the service, and the sandbox."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import duckdb
import pytest
import requests

from tests.support import images
from tests.support.videos import draw_video

ROOT = Path(__file__).parents[2]

MOST_BYTES = 2_200_000_000
"""Size that the image may have on the stand-in for its base, which has 0.2 GB itself."""

# Debian's base is downloaded and unpacked, then all packages. On a busy machine that takes more than ten minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

ATTACKS = """
import pathlib, sys, tempfile
from transforms.decoding.options import DecodingOptions
from transforms.decoding.process import DecoderProcess
from transforms.decoding.samples import DecodeError
decoder = DecoderProcess("tests.support.hostile_decoder_child")
for attack in sys.argv[1:]:
    with tempfile.NamedTemporaryFile() as file:
        pathlib.Path(file.name).write_text("ATTACK " + attack.replace(" ", chr(10)))
        try:
            list(decoder.read(file, DecodingOptions(require_sandbox=True)))
        except DecodeError as error:
            print(attack, "->", error.message)
decoder.close()
"""


@pytest.fixture(scope="module")
def storage():
    if reason := images.why_not():
        pytest.skip(f"builds no image: {reason}")
    with images.Images() as storage:
        yield storage


@pytest.fixture(scope="module")
def server(storage):
    """Name of the image with the service."""
    return storage.build("server")


@pytest.fixture(scope="module")
def container(storage, server):
    return storage.container(server)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that the image's user may read and write, with a clip of eight repetitions."""
    folder = tmp_path_factory.mktemp("videos")
    draw_video(folder / "clip.mp4", 240, size=(160, 120))
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o777)
    return folder


def run(storage, container, *command, **options):
    """Runs a command in the container; returns the finished process, whose output is text."""
    arguments = storage.command(container, *command, **options)
    return subprocess.run(arguments, env=storage.environ, capture_output=True, text=True, check=False)


@contextlib.contextmanager
def served(storage, container, entrypoint, folder):
    """Starts the image's own entry point as Cloud Run does, and yields its address once it is healthy."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = [*entrypoint, "--allow_unauthenticated", "--base", "/videos"]
    command = storage.command(container, *arguments, volumes=[(folder, "/videos")], environ={"PORT": port})
    with open(folder / "serve.log", "w") as log:
        process = subprocess.Popen(command, env=storage.environ, start_new_session=True, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        while not is_healthy(url):
            assert process.poll() is None, (folder / "serve.log").read_text()
            time.sleep(0.1)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def is_healthy(url):
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(f"{url}/health", timeout=60).ok
    return False


def test_the_image_is_small(storage, server):
    assert storage.size_bytes(server) < MOST_BYTES


def test_the_service_answers_a_request_as_an_ordinary_user(storage, server, container, folder):
    configuration = storage.inspect(server)
    assert configuration["User"] == "10001"
    counted = json.loads(
        run(storage, container, "repcount", "count", "--json", "/videos/clip.mp4", volumes=[(folder, "/videos")]).stdout
    )
    with served(storage, container, configuration["Entrypoint"], folder) as url:
        answer = requests.get(f"{url}/count", params={"name": "clip.mp4"}, timeout=120)
    assert answer.status_code == 200
    assert answer.json()["count"] == pytest.approx(counted["count"], abs=1e-3)
    assert counted["count_rounded"] > 0


def test_a_run_counts_a_clip_into_duckdb_as_an_ordinary_user(storage, container, folder):
    finished = run(
        storage,
        container,
        "repcount",
        "run",
        "--input=/videos/*.mp4",
        "--output=duckdb:/videos/counts.duckdb",
        volumes=[(folder, "/videos")],
    )
    assert finished.returncode == 0, finished.stderr
    with duckdb.connect(str(folder / "counts.duckdb"), read_only=True) as tables:
        assert tables.execute("SELECT video_uri, count_rounded > 0 FROM video_counts").fetchall() == [
            ("/videos/clip.mp4", True)
        ]


@pytest.mark.parametrize("user", ["10001", "root"])
def test_a_decoder_that_a_file_has_taken_over_reaches_nothing(storage, container, tmp_path, user):
    """Root is whom Beam's boot program runs workers as."""
    shutil.copytree(ROOT / "tests" / "support", tmp_path / "tests" / "support")
    (tmp_path / "tests" / "__init__.py").touch()
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    attacks = ["read /etc/passwd", "write /tmp/new", "list /", "connect 80", "run /bin/true", "fork"]
    finished = run(
        storage,
        container,
        "python",
        "-c",
        ATTACKS,
        *attacks,
        volumes=[(tmp_path, "/attack")],
        environ={"PYTHONPATH": "/attack"},
        user=user,
    )
    assert finished.stdout.splitlines() == [f"{attack} -> EPERM" for attack in attacks], finished.stderr


def test_what_starts_in_the_image_need_not_be_compiled_first(storage, container):
    """The service's user could not keep what it compiles."""
    code = (
        "import importlib, sys, os, image.imports; image.imports.main();"
        "print([name for name, module in sorted(sys.modules.items()) if (cached := getattr(module, '__cached__', None))"
        " and cached.startswith('/usr/local') and not os.path.exists(cached)])"
    )
    finished = run(storage, container, "python", "-c", code, environ={"PYTHONPATH": "/repcount"})
    assert finished.stdout == "[]\n", finished.stderr


def test_workers_start_with_beams_boot_program_and_install_nothing(storage, server):
    configuration = storage.inspect(storage.build("worker"))
    assert configuration["Entrypoint"] == ["/opt/apache/beam/boot"]
    assert not configuration.get("User")
    assert "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1" in configuration["Env"]


def test_the_templates_launcher_is_the_same_image(storage, server):
    launcher = storage.build("template", LAUNCHER_IMAGE=storage.save_launcher())
    assert storage.size_bytes(launcher) - storage.size_bytes(server) < 1_000_000
    finished = run(storage, storage.container(launcher), "python", "/repcount/image/template.py", "--output=bigquery:p.d")
    assert finished.returncode == 2
    assert "--input" in finished.stderr
