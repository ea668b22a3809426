"""Reads the JSON of a request, up to a limit."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from pipeline.serve.errors import InvalidRequestError, RequestError


async def read_json(request: Request, max_bytes: int) -> dict[str, Any]:
    """Returns the object that is a request's body.

    Args:
      request: Request whose body was not read yet.
      max_bytes: Longest body to read.

    Raises:
      InvalidRequestError: The body is no JSON object.
      RequestError: It is longer than that (413).
    """
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > max_bytes:
            raise RequestError(413, "TOO_LARGE", f"a request may have {max_bytes:,} bytes")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError('the request must be JSON such as {"name": "squats.mp4"}') from error
    if not isinstance(value, dict):
        raise InvalidRequestError('the request must be a JSON object such as {"name": "squats.mp4"}')
    return value
