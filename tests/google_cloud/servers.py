"""Servers on this machine that speak the protocols of Cloud Storage and BigQuery, for tests with Google's real clients.

They live in a virtual environment of their own, `.venv-servers`, which `make test` installs from `locks/servers.lock`.
"""

import contextlib
import glob
import http.server
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.google_cloud.proxy import StorageProxy
from tests.google_cloud.strict_bigquery import StrictBigQueryProxy

PROJECT = "repcount-test"
ENVIRONMENT = Path(__file__).parents[2] / ".venv-servers"

_START_SEC = 240
"""Seconds that a server may take to start. It takes three, and more on a busy machine."""

_WATCHED = '{ "$@"; kill -KILL 0; } & read -r line; kill -KILL 0'
"""Runs a command until it ends or standard input closes, as when the starting process dies; then kills the process group."""


def is_installed():
    """Returns whether the servers are installed."""
    return (ENVIRONMENT / "complete").exists()


class Servers:
    """Both servers, each behind a proxy; a context manager that stops them at its end.

    Attributes:
      storage: Proxy in front of Cloud Storage.
      bigquery: Proxy in front of BigQuery.
      variables: Environment variables that direct clients to the proxies.
    """

    def __init__(self, folder, objects=None):
        """Takes a folder for the servers' files, and `objects`: {bucket: names of empty objects to start with}."""
        self._folder = Path(folder)
        self._objects = objects or {}
        self._exits = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as exits:
            objects = self._folder / "storage"
            objects.mkdir(parents=True)
            if self._objects:
                _write_objects(objects / ".cloudstorage", self._objects)
            storage = exits.enter_context(self._storage_server(objects))
            bigquery = exits.enter_context(self._bigquery_server(objects))
            tokens = exits.enter_context(_token_server())
            self.storage = StorageProxy(storage)
            self.bigquery = StrictBigQueryProxy(bigquery, objects / ".cloudstorage")
            for proxy in (self.storage, self.bigquery):
                exits.callback(proxy.close)
            credentials = self._folder / "service_account.json"
            credentials.write_text(json.dumps(_service_account(tokens)))
            self.variables = {
                "STORAGE_EMULATOR_HOST": self.storage.url,
                "BIGQUERY_EMULATOR_HOST": self.bigquery.url,
                "GOOGLE_APPLICATION_CREDENTIALS": str(credentials),
                "GOOGLE_CLOUD_PROJECT": PROJECT,
                "NO_GCE_CHECK": "true",
            }
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *exception):
        self._exits.close()

    def _storage_server(self, folder):
        port = _free_port()
        program = str(ENVIRONMENT / "bin" / "gcp-storage-emulator")
        command = [program, "-d", str(folder), "start", "--port", str(port), "-H", "127.0.0.1"]
        return _running(command, port, self._folder / "storage.log", dict(os.environ))

    def _bigquery_server(self, objects):
        home = self._folder / "home"
        extensions = home / ".duckdb" / "extensions" / "v1.5.5" / "linux_amd64"
        extensions.mkdir(parents=True)
        # The server would otherwise download these.
        for path in glob.glob(f"{ENVIRONMENT}/lib/python*/site-packages/duckdb_extension_*/extensions/*/*.duckdb_extension"):
            shutil.copy(path, extensions)
        port = _free_port()
        program = str(ENVIRONMENT / "bin" / "bqemulator")
        command = [program, "start", "--rest-port", str(port), "--grpc-port", str(_free_port()), "--project", PROJECT]
        variables = {**os.environ, "HOME": str(home), "BQEMU_GCS_LOCAL_ROOT": str(objects / ".cloudstorage")}
        return _running(command, port, self._folder / "bigquery.log", variables)


def _write_objects(folder, objects):
    """Writes the storage server's files for buckets and empty objects. Uploading many objects one by one would take minutes."""
    created = "2026-01-01T00:00:00.000000Z"
    described = {"buckets": {}, "objects": {}, "resumable": {}, "bucket_iam_policies": {}, "soft_deleted": {}}
    for bucket, names in objects.items():
        (folder / bucket).mkdir(parents=True)
        described["buckets"][bucket] = {"kind": "storage#bucket", "id": bucket, "name": bucket, "location": "US"}
        described["objects"][bucket] = {
            name: {
                "kind": "storage#object",
                "id": f"{bucket}/{name}/1",
                "name": name,
                "bucket": bucket,
                "generation": "1",
                "size": "0",
                "timeCreated": created,
                "updated": created,
            }
            for name in names
        }
    (folder / ".meta").write_text(json.dumps(described))


@contextlib.contextmanager
def _running(command, port, log, variables):
    """Yields the "host:port" of a server in its own process group, which is killed at the end or when this process dies."""
    with open(log, "wb") as file:
        process = subprocess.Popen(
            ["sh", "-c", _WATCHED, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=variables,
            cwd=log.parent,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _START_SEC
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{command[0]} did not start within {_START_SEC} s; its log ends with:\n{tail}")
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdin.close()


def _answers(port):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _free_port():
    """Returns a free port below those that the system gives to connections, which could take it before the server does."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_768)  # other test processes choose other ports
        with socket.socket() as server, contextlib.suppress(OSError):
            server.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def _token_server():
    """Yields the URL of a server that gives a token to every client."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.dumps({"access_token": "token", "expires_in": 3600, "token_type": "Bearer"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            """Keeps the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/token"
    server.shutdown()
    server.server_close()


def _service_account(token_uri):
    """Returns the key of a service account that does not exist."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "none",
        "private_key": pem,
        "client_email": f"tests@{PROJECT}.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_uri,
    }


class Cloud:
    """A bucket and a data set for one test.

    Attributes:
      project: Project of both.
      bucket: Name of the bucket.
      dataset: ID of the data set.
      variables: Environment variables that direct clients in other processes to the servers.
      storage: Proxy in front of Cloud Storage.
      bigquery: Proxy in front of BigQuery.
    """

    def __init__(self, servers):
        from google.cloud import bigquery

        name = uuid.uuid4().hex[:12]
        self.project = PROJECT
        self.bucket = f"gym-{name}"
        self.dataset = f"counts_{name}"
        self.variables = servers.variables
        self.storage, self.bigquery = servers.storage, servers.bigquery
        self._storage_client().create_bucket(self.bucket)
        dataset = bigquery.Dataset(f"{PROJECT}.{self.dataset}")
        dataset.location = "US"
        self.client().create_dataset(dataset)

    @property
    def output(self):
        """Value of `--output` for the data set."""
        return f"bigquery:{self.project}.{self.dataset}"

    @property
    def temp_location(self):
        return f"gs://{self.bucket}/temp"

    def _storage_client(self):
        from google.cloud import storage

        return storage.Client(project=self.project)

    def client(self):
        """Returns BigQuery's official client."""
        from google.cloud import bigquery

        return bigquery.Client(project=self.project)

    def upload(self, name, content):
        """Uploads an object and returns its URI."""
        self._storage_client().bucket(self.bucket).blob(name).upload_from_string(content)
        return f"gs://{self.bucket}/{name}"

    def objects(self, prefix=""):
        """Returns the names of the objects in the bucket."""
        return [blob.name for blob in self._storage_client().bucket(self.bucket).list_blobs(prefix=prefix)]

    def rows(self, sql):
        """Returns the rows of a query as dicts. Table names refer to the data set."""
        from google.cloud import bigquery

        config = bigquery.QueryJobConfig(default_dataset=f"{self.project}.{self.dataset}")
        return [dict(row) for row in self.client().query(sql, job_config=config).result()]

    def tables(self):
        """Returns the IDs of all tables and views."""
        return sorted(table.table_id for table in self.client().list_tables(f"{self.project}.{self.dataset}"))
