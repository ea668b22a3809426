"""Starts `repcount serve` on Vertex AI: uploads the model, creates a dedicated endpoint and deploys the one to the other.

    .venv/bin/python -m deploy.vertex --project P --region R --image IMAGE --service_account EMAIL --allow gs://BUCKET [--gpu]

`--dry_run` prints the three requests instead. See docs/serving.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import google.auth
import requests
import tenacity
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

NAME = "repcount"
"""Display name of the model and of the endpoint."""

PORT = 8080

_POLL_SEC = 10.0

_REQUEST_SEC = 60

_ATTEMPTS = 6
"""Times that a question is asked before an answer such as 503 counts."""


@dataclasses.dataclass(frozen=True)
class Deployment:
    """What is deployed.

    Attributes:
      project: ID of the project that pays.
      region: Region of the endpoint.
      image: Image of the target `server`, with CUDA if `has_gpu`.
      service_account: E-mail address of the account that the container runs as.
      arguments: Options of `repcount serve` beside those that every deployment has.
      artifact_uri: gs:// folder with one model, which Vertex AI copies; "" for the model that the options name.
      has_gpu: Whether each machine has an L4.
      machine_type: Machine type; None for the usual one.
      max_replicas: Most machines. One always runs: Vertex AI does not scale to none.
      timeout_sec: Longest request. It is longer than the server's own deadline, so that the server's answer arrives.
    """

    project: str
    region: str
    image: str
    service_account: str
    arguments: tuple[str, ...]
    artifact_uri: str = ""
    has_gpu: bool = False
    machine_type: str | None = None
    max_replicas: int = 2
    timeout_sec: int = 330

    def model(self) -> dict[str, Any]:
        """Returns the request that uploads the model."""
        # Vertex AI answers only callers with the right to predict, so the server asks for no token.
        arguments = ["--allow_unauthenticated", *(["--require_gpu"] if self.has_gpu else []), *self.arguments]
        container = {
            "imageUri": self.image,
            "args": arguments,
            "ports": [{"containerPort": PORT}],
            "predictRoute": "/predict",
            "healthRoute": "/health",
        }
        artifact = {"artifactUri": self.artifact_uri} if self.artifact_uri else {}
        return {"model": {"displayName": NAME, "containerSpec": container, **artifact}}

    def endpoint(self) -> dict[str, Any]:
        """Returns the request that creates the endpoint. A shared one ends requests after 60 s, a dedicated one may wait."""
        return {
            "displayName": NAME,
            "dedicatedEndpointEnabled": True,
            "clientConnectionConfig": {"inferenceTimeout": f"{self.timeout_sec}s"},
        }

    def deployed_model(self, model: str) -> dict[str, Any]:
        """Returns the request that deploys a model, which is given by its resource name."""
        machine: dict[str, Any] = {"machineType": self.machine_type or ("g2-standard-8" if self.has_gpu else "e2-standard-4")}
        if self.has_gpu:
            machine |= {"acceleratorType": "NVIDIA_L4", "acceleratorCount": 1}
        deployed = {
            "model": model,
            "displayName": NAME,
            "serviceAccount": self.service_account,
            "dedicatedResources": {"machineSpec": machine, "minReplicaCount": 1, "maxReplicaCount": self.max_replicas},
        }
        return {"deployedModel": deployed, "trafficSplit": {"0": 100}}


class DeploymentError(Exception):
    """Vertex AI has refused a request, or could not carry it out.

    Attributes:
      may_go_on: Whether Vertex AI may be carrying it out nevertheless.
    """

    def __init__(self, message: str, *, may_go_on: bool = False) -> None:
        super().__init__(message)
        self.may_go_on = may_go_on


def deploy(
    deployment: Deployment, session: requests.Session, base_url: str, *, sleep: Callable[[float], None] = time.sleep
) -> dict[str, Any]:
    """Deploys and waits until it is done, which takes minutes; returns the endpoint.

    Args:
      deployment: What to deploy.
      session: Session that adds credentials to requests.
      base_url: URL of the API with its version.
      sleep: Waits for some seconds.

    Raises:
      DeploymentError: Vertex AI has refused a request, or could not carry it out.
    """

    def ask(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = functools.partial(session.request, method, f"{base_url}/{path}", json=body, timeout=_REQUEST_SEC)
        response = again(request) if method == "GET" else request()
        if not response.ok:
            raise DeploymentError(
                f"{path}: HTTP status {response.status_code}: {response.text.strip()}",
                may_go_on=response.status_code == 429 or response.status_code >= 500,
            )
        answer: dict[str, Any] = response.json()
        return answer

    def carry_out(path: str, body: dict[str, Any]) -> dict[str, Any]:
        operation = ask("POST", path, body)
        while not operation.get("done"):
            sleep(_POLL_SEC)
            operation = ask("GET", operation["name"])
        if "error" in operation:
            raise DeploymentError(f"{path}: {operation['error'].get('message', operation['error'])}")
        response: dict[str, Any] = operation["response"]
        return response

    again = tenacity.Retrying(  # a request that changes nothing may be repeated
        retry=tenacity.retry_if_exception_type(requests.ConnectionError)
        | tenacity.retry_if_exception_type(requests.Timeout)
        | tenacity.retry_if_result(lambda response: response.status_code == 429 or response.status_code >= 500),
        wait=tenacity.wait_exponential(multiplier=1, max=_POLL_SEC),
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        sleep=sleep,
    )
    parent = f"projects/{deployment.project}/locations/{deployment.region}"
    model = carry_out(f"{parent}/models:upload", deployment.model())["model"]
    print(f"model: {model}", flush=True)
    endpoint = carry_out(f"{parent}/endpoints", deployment.endpoint())["name"]
    print(f"endpoint: {endpoint}; deploying takes 10 to 20 minutes", flush=True)
    try:
        carry_out(f"{endpoint}:deployModel", deployment.deployed_model(model))
        return ask("GET", endpoint)
    except (DeploymentError, requests.RequestException) as error:
        may_go_on = not isinstance(error, DeploymentError) or error.may_go_on
        what = "The deployment may go on and cost money" if may_go_on else "The model and an endpoint without it remain"
        raise DeploymentError(f"{str(error).rstrip('.')}. {what}: see {endpoint} in the console") from error


def parse_args(argv: list[str]) -> tuple[Deployment, bool]:
    """Returns what to deploy, and whether it is a dry run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", required=True, help="ID of the project that pays")
    parser.add_argument("--region", required=True, help="region of the endpoint, best that of the videos' bucket")
    parser.add_argument("--image", required=True, help="image of the target server, with its tag; with CUDA for --gpu")
    parser.add_argument("--service_account", required=True, help="e-mail address of the account that it runs as")
    parser.add_argument("--allow", required=True, metavar="gs://…", help="bucket or folder whose videos may be read")
    parser.add_argument("--output", metavar="TABLES", help="bigquery:PROJECT.DATASET for answers. Default: none")
    parser.add_argument("--temp_location", metavar="gs://…", help="folder that BigQuery loads rows from")
    parser.add_argument("--artifact_uri", default="", metavar="gs://…", help="folder with one model. Default: none, for lite")
    parser.add_argument("--gpu", action="store_true", help="a machine with an L4. Default: without")
    parser.add_argument("--machine_type", help="default: e2-standard-4, with --gpu g2-standard-8")
    parser.add_argument("--max_replicas", type=int, default=2, metavar="N", help="most machines. Default: %(default)s")
    parser.add_argument("--dry_run", action="store_true", help="print the requests instead of sending them")
    args = parser.parse_args(argv)
    if args.output and not args.temp_location:
        parser.error("--output needs --temp_location, from which BigQuery loads rows. Received: no --temp_location")
    for name in ("allow", "temp_location", "artifact_uri"):
        if (value := getattr(args, name)) and not value.startswith("gs://"):
            parser.error(f"--{name} must start with gs://. Received: {value!r}")
    if args.max_replicas < 1:
        parser.error(f"--max_replicas must be at least 1. Received: {args.max_replicas}")
    options = {"base": args.allow, "output": args.output, "temp_location": args.temp_location}
    deployment = Deployment(
        args.project,
        args.region,
        args.image,
        args.service_account,
        tuple(f"--{name}={value}" for name, value in options.items() if value),
        args.artifact_uri,
        args.gpu,
        args.machine_type,
        args.max_replicas,
    )
    return deployment, args.dry_run


def main() -> int:
    """Deploys, and returns the exit code."""
    deployment, is_dry_run = parse_args(sys.argv[1:])
    if is_dry_run:
        for body in (deployment.model(), deployment.endpoint(), deployment.deployed_model("MODEL")):
            print(json.dumps(body, indent=2))
        return 0
    try:
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        endpoint = deploy(
            deployment, AuthorizedSession(credentials), f"https://{deployment.region}-aiplatform.googleapis.com/v1"
        )
    except (DeploymentError, GoogleAuthError, requests.RequestException) as error:
        print(f"vertex: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(f"requests go to https://{endpoint['dedicatedEndpointDns']}/v1/{endpoint['name']}:predict")
    return 0


if __name__ == "__main__":
    sys.exit(main())
