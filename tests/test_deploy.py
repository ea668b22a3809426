"""What starts the service on Google Cloud has only fields that the APIs take, and options that the server takes.

`tests/google_cloud/deployment_fields.json` holds the fields, from Google's discovery documents.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import yaml
from google.auth.exceptions import DefaultCredentialsError

from deploy import vertex
from pipeline.main import parse
from pipeline.serve.config import make_config

ROOT = Path(__file__).parents[1]

FIELDS = json.loads((ROOT / "tests" / "google_cloud" / "deployment_fields.json").read_text())

SETTINGS = {
    "PROJECT": "my-project",
    "REGION": "europe-west4",
    "IMAGE": "europe-west4-docker.pkg.dev/my-project/images/repcount-server:1",
    "SERVICE_ACCOUNT": "repcount-serve@my-project.iam.gserviceaccount.com",
    "BASE": "gs://my-videos",
    "OUTPUT": "bigquery:my-project.gym",
    "TEMP_LOCATION": "gs://my-temp/serve",
}

DEPLOYMENT = [
    *("--project=my-project", "--region=europe-west4", f"--image={SETTINGS['IMAGE']}", "--allow=gs://my-videos"),
    f"--service_account={SETTINGS['SERVICE_ACCOUNT']}",
]


def faults(value, kind, place):
    """Yields what an API would refuse in a value of a type of `deployment_fields.json`."""
    if kind.startswith("*"):
        if not isinstance(value, list):
            yield f"{place} must be a list"
            return
        for index, item in enumerate(value):
            yield from faults(item, kind[1:], f"{place}[{index}]")
    elif kind in FIELDS["types"]:
        for name, item in value.items():
            if name not in FIELDS["types"][kind]:
                yield f"{place} has no field {name}"
            else:
                yield from faults(item, FIELDS["types"][kind][name], f"{place}.{name}")
    elif kind.startswith("enum:"):
        if value not in kind.removeprefix("enum:").split(","):
            yield f"{place} must be one of {kind}"
    else:
        expected = {"string": str, "integer": int, "boolean": bool, "object": dict}[kind]
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            yield f"{place} must be of type {kind}"


def annotation_faults(metadata, resource):
    for name, value in metadata.get("annotations", {}).items():
        if resource not in FIELDS["annotations"].get(name, []):
            yield f"{resource} takes no annotation {name}"
        if not isinstance(value, str):
            yield f"{name} must be text"


def cloud_run(*arguments, path=None, **settings):
    environ = {**os.environ, **SETTINGS, **settings}
    if path:
        environ["PATH"] = f"{path}:{environ['PATH']}"
    command = [str(ROOT / "deploy" / "cloud_run.sh"), *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def service(*arguments, **settings):
    finished = cloud_run("--dry_run", *arguments, **settings)
    assert finished.returncode == 0, finished.stderr
    return yaml.safe_load(finished.stdout)


def options_of(arguments, environ):
    """The configuration that the server takes from its arguments."""
    args = parse(["serve", "--host", "0.0.0.0", *arguments])
    return args, make_config(args, environ)


@pytest.fixture(params=["cpu", "gpu"])
def filled(request):
    return service() if request.param == "cpu" else service("--gpu", MODEL="gs://my-models/repnet-2020.safetensors")


def test_cloud_run_takes_every_field_and_annotation(filled):
    assert list(faults(filled, "Service", "service")) == []
    assert list(annotation_faults(filled["metadata"], "Service")) == []
    assert list(annotation_faults(filled["spec"]["template"]["metadata"], "Revision")) == []


def test_a_field_that_no_api_knows_is_a_fault():
    wrong = {"spec": {"template": {"spec": {"containers": [{"image": 3, "startup_probe": {}}], "timeoutSeconds": "330"}}}}
    assert list(faults(wrong, "Service", "service")) == [
        "service.spec.template.spec.containers[0].image must be of type string",
        "service.spec.template.spec.containers[0] has no field startup_probe",
        "service.spec.template.spec.timeoutSeconds must be of type integer",
    ]
    assert list(annotation_faults({"annotations": {"autoscaling.knative.dev/minScale": 0}}, "Service")) == [
        "Service takes no annotation autoscaling.knative.dev/minScale",
        "autoscaling.knative.dev/minScale must be text",
    ]


def test_cloud_run_starts_the_server_with_options_that_it_takes(filled):
    spec = filled["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    port = container["ports"][0]["containerPort"]
    args, config = options_of(container["args"], {"PORT": str(port)})
    assert config.port == port == container["startupProbe"]["httpGet"]["port"]
    assert config.health_route == container["startupProbe"]["httpGet"]["path"]
    assert config.deadline_sec < spec["timeoutSeconds"]
    assert spec["containerConcurrency"] <= config.max_queue
    assert config.grace_sec < 10
    assert args.require_gpu == ("nvidia.com/gpu" in container["resources"]["limits"])
    assert spec["serviceAccountName"] == SETTINGS["SERVICE_ACCOUNT"]
    assert config.places.places == ("gs://my-videos/",)


def test_the_startup_probe_waits_as_long_as_cloud_run_allows(filled):
    probe = filled["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 240
    assert probe["timeoutSeconds"] < probe["periodSeconds"]


def test_the_service_is_given_to_gcloud(tmp_path):
    gcloud = tmp_path / "gcloud"
    gcloud.write_text('#!/bin/sh\necho "$*"\ncat "$4"\n')
    gcloud.chmod(0o755)
    finished = cloud_run(path=tmp_path)
    assert finished.returncode == 0, finished.stderr
    command, _, given = finished.stdout.partition("\n")
    assert command.startswith("run services replace ")
    assert command.endswith(" --project my-project --region europe-west4")
    assert yaml.safe_load(given) == service()


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ([], {"OUTPUT": "", "BASE": ""}, "missing settings: BASE OUTPUT. Set them in the environment; see --help"),
        (["--gpu"], {"MODEL": ""}, "missing settings: MODEL. Set them in the environment; see --help"),
        ([], {"IMAGE": "a: [b"}, "IMAGE has a character that no such name has. Received: a: [b"),
        (["cpu"], {}, "must be --gpu, --dry_run or --help. Received: cpu"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line_before_anything_starts(arguments, settings, message):
    finished = cloud_run(*arguments, **settings)
    assert finished.returncode == 2
    assert finished.stderr == f"cloud_run.sh: {message}\n"


TABLES = ["--output=bigquery:p.d", "--temp_location=gs://temp/rows"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output=bigquery:p.d"], "--output needs --temp_location"),
        (["--allow=my-bucket"], "--allow must start with gs://. Received: 'my-bucket'"),
        (["--max_replicas=0"], "--max_replicas must be at least 1. Received: 0"),
    ],
)
def test_vertex_ai_is_asked_for_nothing_that_cannot_start(options, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        vertex.parse_args([*DEPLOYMENT, *options])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_vertex_ai_without_credentials_is_one_line(monkeypatch, capsys):
    def refuse(scopes):
        raise DefaultCredentialsError("no credentials\nhere")

    monkeypatch.setattr("google.auth.default", refuse)
    monkeypatch.setattr("sys.argv", ["vertex", *DEPLOYMENT])
    assert vertex.main() == 1
    assert capsys.readouterr().err == "vertex: no credentials here\n"


@pytest.mark.parametrize("options", [[], ["--gpu"], ["--artifact_uri=gs://my-models/lite", *TABLES]])
def test_vertex_ai_takes_every_field(options):
    deployment, _ = vertex.parse_args([*DEPLOYMENT, *options])
    assert list(faults(deployment.model(), "UploadModelRequest", "model")) == []
    assert list(faults(deployment.endpoint(), "Endpoint", "endpoint")) == []
    assert list(faults(deployment.deployed_model("projects/1/locations/r/models/2"), "DeployModelRequest", "deployment")) == []


def test_vertex_ai_starts_the_server_with_options_that_it_takes():
    options = ["--gpu", "--output=bigquery:my-project.gym", "--temp_location=gs://my-temp/serve"]
    deployment, _ = vertex.parse_args([*DEPLOYMENT, *options])
    container = deployment.model()["model"]["containerSpec"]
    environ = {"AIP_HTTP_PORT": "8080", "AIP_HEALTH_ROUTE": "/health", "AIP_PREDICT_ROUTE": "/predict"}
    args, config = options_of(container["args"], environ)
    assert args.require_gpu
    assert args.output == "bigquery:my-project.gym"
    assert container["ports"] == [{"containerPort": config.port}]
    assert (container["healthRoute"], container["predictRoute"]) == (config.health_route, config.predict_route)
    assert config.deadline_sec < deployment.timeout_sec
    assert deployment.endpoint()["dedicatedEndpointEnabled"]


class FakeVertex:
    """A session that answers as Vertex AI does: every request starts an operation, which is done at the second look."""

    def __init__(self, error=None):
        self.error = error
        self.requests = []
        self.responses = {
            "models:upload": {"model": "projects/1/locations/r/models/2"},
            "endpoints": {"name": "projects/1/locations/r/endpoints/3"},
            "endpoints/3:deployModel": {},
        }

    def request(self, method, url, json=None, timeout=None):
        path = url.removeprefix("https://api/v1/")
        self.requests.append((method, path, json))
        return self

    ok, status_code = True, 200

    def json(self):
        method, path, _ = self.requests[-1]
        name = path.split("/", 4)[-1]
        if method == "POST":
            return {"name": f"{path}/operations/1"}
        if not name.endswith("operations/1"):
            return {"name": path, "dedicatedEndpointDns": "3.europe-west4-1.prediction.vertexai.goog"}
        if len(self.requests) > 1 and self.requests[-2][0] == "POST":
            return {"name": path}
        if self.error:
            return {"name": path, "done": True, "error": {"message": self.error}}
        return {"name": path, "done": True, "response": self.responses[name.removesuffix("/operations/1")]}


def test_the_model_is_uploaded_and_deployed_to_a_new_endpoint():
    deployment, _ = vertex.parse_args(DEPLOYMENT)
    session, slept = FakeVertex(), []
    endpoint = vertex.deploy(deployment, session, "https://api/v1", sleep=slept.append)
    posted = [(path, body) for method, path, body in session.requests if method == "POST"]
    assert posted == [
        ("projects/my-project/locations/europe-west4/models:upload", deployment.model()),
        ("projects/my-project/locations/europe-west4/endpoints", deployment.endpoint()),
        ("projects/1/locations/r/endpoints/3:deployModel", deployment.deployed_model("projects/1/locations/r/models/2")),
    ]
    assert len(slept) == 6
    assert endpoint["dedicatedEndpointDns"].endswith("prediction.vertexai.goog")


def test_vertex_ai_is_asked_again_if_it_does_not_answer():
    class Busy(FakeVertex):
        status_code = 200

        def request(self, method, url, json=None, timeout=None):
            super().request(method, url, json, timeout)
            self.status_code = 503 if method == "GET" and len(self.requests) % 2 == 0 else 200
            if method == "GET" and len(self.requests) == 3:
                raise requests.ConnectionError("reset")
            return self

        @property
        def ok(self):
            return self.status_code == 200

    deployment, _ = vertex.parse_args(DEPLOYMENT)
    endpoint = vertex.deploy(deployment, Busy(), "https://api/v1", sleep=lambda _: None)
    assert endpoint["dedicatedEndpointDns"].endswith("prediction.vertexai.goog")


@pytest.mark.parametrize(
    ("status", "text", "told"),
    [
        (503, "try later", r"503: try later\. The deployment may go on and cost money: see projects/1/"),
        (400, "no such machine.", r"400: no such machine\. The model and an endpoint without it remain: see projects/1/"),
    ],
)
def test_it_is_told_what_remains_of_a_deployment(status, text, told):
    class Lost(FakeVertex):
        ok = True

        def __init__(self):
            super().__init__()
            self.status_code, self.text = status, text

        def request(self, method, url, json=None, timeout=None):
            super().request(method, url, json, timeout)
            self.ok = "deployModel" not in url
            return self

    deployment, _ = vertex.parse_args(DEPLOYMENT)
    with pytest.raises(vertex.DeploymentError, match=told):
        vertex.deploy(deployment, Lost(), "https://api/v1", sleep=lambda _: None)


def test_what_vertex_ai_cannot_carry_out_is_told_in_its_words():
    deployment, _ = vertex.parse_args(DEPLOYMENT)
    with pytest.raises(vertex.DeploymentError, match=r"models:upload: no quota for NVIDIA_L4"):
        vertex.deploy(deployment, FakeVertex("no quota for NVIDIA_L4"), "https://api/v1", sleep=lambda _: None)


def test_a_dry_run_prints_the_requests_and_needs_no_credentials():
    command = [sys.executable, "-m", "deploy.vertex", *DEPLOYMENT, "--dry_run"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert '"dedicatedEndpointEnabled": true' in finished.stdout
