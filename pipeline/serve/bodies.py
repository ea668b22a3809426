"""Reads the JSON of a request, up to a limit."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import Request

from pipeline.serve.errors import InvalidRequestError, RequestError

BODY_SEC = 30.0
"""Seconds in which a body must have arrived. A client that sends a byte now and then holds a connection."""


async def read_json(request: Request, max_bytes: int) -> dict[str, Any]:
    """Returns the object that is a request's body.

    Args:
      request: Request whose body was not read yet.
      max_bytes: Longest body to read.

    Raises:
      InvalidRequestError: The body is no JSON object.
      RequestError: It is longer than that (413), or arrives too slowly (408).
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SEC):
            async for block in request.stream():
                body += block
                if len(body) > max_bytes:
                    raise RequestError(413, "TOO_LARGE", f"the request must have at most {max_bytes:,} bytes")
    except TimeoutError as error:
        raise RequestError(408, "TOO_SLOW", f"the request must arrive within {BODY_SEC:g} s") from error
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError('the request must be JSON such as {"name": "squats.mp4"}') from error
    if not isinstance(value, dict):
        raise InvalidRequestError('the request must be a JSON object such as {"name": "squats.mp4"}')
    return value
