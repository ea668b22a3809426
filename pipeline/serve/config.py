"""How the server is set up: from its options, and from the variables that Vertex AI and Cloud Run set."""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path

from pipeline.command_line import UsageError
from pipeline.serve.allowed import AllowedPlaces

TOKEN_VARIABLE = "REPCOUNT_TOKEN"
"""Environment variable with the token."""

_TOKEN = re.compile(r"[!-~]{16,1024}")

_ROUTE = re.compile(r"/[\w/.~:-]*")


@dataclasses.dataclass(frozen=True)
class ServeConfig:
    """How the server listens, whom it answers, and what it takes.

    Attributes:
      places: Places whose videos may be read.
      host: Address to listen on.
      port: Port to listen on; 0 for any free one.
      health_route: Path that answers 200 once the model is warm.
      predict_route: Path of predictions in the form of Vertex AI.
      token: Secret that requests must have in the header Authorization; None if none is asked for.
      allow_unauthenticated: Whether the server may listen to other machines without a token.
      max_queue: Most videos that wait while one is counted.
      deadline_sec: Most seconds that an answer may take, from looking for the video to its count. Uploading is not part of it.
      grace_sec: Most seconds for what runs and waits when the server is told to end.
      max_body_bytes: Longest request, apart from uploaded videos.
      max_upload_bytes: Largest video that a request may upload.
    """

    places: AllowedPlaces
    host: str = "127.0.0.1"
    port: int = 8080
    health_route: str = "/health"
    predict_route: str = "/predict"
    token: str | None = dataclasses.field(default=None, repr=False)
    allow_unauthenticated: bool = False
    max_queue: int = 16
    deadline_sec: float = 300.0
    grace_sec: float = 25.0
    max_body_bytes: int = 2_000_000
    max_upload_bytes: int = 512 << 20

    def __post_init__(self) -> None:
        """Raises UsageError for a value out of range, or if strangers could reach the server without a token."""
        if not 0 <= self.port <= 65535:
            raise UsageError(f"--port must be from 0 to 65535. Received: {self.port}")
        if self.max_upload_bytes < 1:
            raise UsageError(f"--max_upload_bytes must be at least 1. Received: {self.max_upload_bytes}")
        for option, sec in (("--deadline_sec", self.deadline_sec), ("--grace_sec", self.grace_sec)):
            if not (sec > 0 and math.isfinite(sec)):
                raise UsageError(f"{option} must be a positive number of seconds. Received: {sec:g}")
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise UsageError("the token must have 16 to 1,024 visible ASCII characters. Received: another one")
        for route in (self.health_route, self.predict_route):
            if not _ROUTE.fullmatch(route):
                raise UsageError(f"AIP_HEALTH_ROUTE and AIP_PREDICT_ROUTE must be paths such as /health. Received: {route!r}")
        if not (self.is_loopback or self.token or self.allow_unauthenticated):
            raise UsageError(
                f"--host {self.host} lets other machines in: give a token with --token_file or {TOKEN_VARIABLE}, or, if the "
                f"platform authenticates, --allow_unauthenticated. Received: neither"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Returns whether a host name or address is this machine's own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def make_config(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> ServeConfig:
    """Returns the configuration; raises UsageError.

    Args:
      args: Options of `repcount serve`.
      environ: Environment variables; AIP_HTTP_PORT or PORT is the default of `--port`.
    """
    return ServeConfig(
        places=AllowedPlaces.parse(args.allow, args.base, args.billing_project),
        host=args.host,
        port=_port(environ) if args.port is None else args.port,
        health_route=environ.get("AIP_HEALTH_ROUTE") or ServeConfig.health_route,
        predict_route=environ.get("AIP_PREDICT_ROUTE") or ServeConfig.predict_route,
        token=_read_token(args.token_file, environ),
        allow_unauthenticated=args.allow_unauthenticated,
        max_queue=args.max_queue,
        deadline_sec=args.deadline_sec,
        grace_sec=args.grace_sec,
        max_upload_bytes=args.max_upload_bytes,
    )


def _port(environ: Mapping[str, str]) -> int:
    for name in ("AIP_HTTP_PORT", "PORT"):
        if text := environ.get(name):
            if not re.fullmatch(r"[0-9]{1,5}", text):
                raise UsageError(f"{name} must be the number of a port. Received: {text!r}")
            return int(text)
    return ServeConfig.port


def _read_token(path: str | None, environ: Mapping[str, str]) -> str | None:
    if path is None:
        return environ.get(TOKEN_VARIABLE) or None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token_file must be a readable text file. Received: {path!r}") from error
