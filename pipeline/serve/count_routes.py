"""`GET /count?name=…` and `POST /count`: the count of one video, by its name or uploaded."""

from __future__ import annotations

import asyncio
import functools
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from starlette.requests import Request

from pipeline.serve.allowed import MAX_NAME_CHARS
from pipeline.serve.answers import Answer, json_response
from pipeline.serve.bodies import read_json
from pipeline.serve.config import ServeConfig
from pipeline.serve.errors import InvalidRequestError, RequestError
from pipeline.serve.schemas import NAME, describe_body, describe_responses, object_of, reference
from pipeline.serve.service import CountingService
from pipeline.serve.uploads import BUDGET_UPLOADS, MEDIA_TYPE, UploadBudget, count_upload

_MORE_OF_NAME = {name: NAME[name] for name in ("description", "pattern", "examples")}

_NAMED = object_of({"name": NAME, "curve": {"type": "boolean", "default": False}}, optional=("curve",))

_FORM = object_of(
    {
        "video": {"type": "string", "format": "binary", "description": "the file"},
        "curve": {"type": "boolean", "default": False},
    },
    optional=("curve",),
)


def make_router(service: CountingService, config: ServeConfig) -> APIRouter:
    """Returns the routes that count a video by its name."""
    router = APIRouter()
    budget = UploadBudget(BUDGET_UPLOADS * config.max_upload_bytes)
    responses = describe_responses(200, 400, 401, 403, 404, 422, 429, 500, 503, 504, answer=reference("Counted"))

    async def count(name: str, curve: bool) -> Response:
        return await respond(await service.find_and_count(functools.partial(config.places.find, name), curve=curve))

    async def respond(answer: Answer) -> Response:
        if "curve" not in answer.record:
            return json_response(answer.to_json(), answer.status)
        return await asyncio.to_thread(json_response, answer.to_json(), answer.status)

    @router.get("/count", summary="Count a video by its name", response_model=None, responses=responses)
    async def count_named(
        name: Annotated[str, Query(min_length=1, max_length=MAX_NAME_CHARS, json_schema_extra=_MORE_OF_NAME)],
        curve: Annotated[bool, Query(description="whether the answer has the values of each frame")] = False,
    ) -> Response:
        """Returns the count of a video, with the fields of `repcount count --json`."""
        return await count(name, curve)

    @router.post(
        "/count",
        summary="Count a video by its name, or one that is uploaded",
        response_model=None,
        responses={**responses, **describe_responses(408, 413, 415)},
        openapi_extra=describe_body({"application/json": _NAMED, MEDIA_TYPE: _FORM}),
    )
    async def count_posted(request: Request) -> Response:
        """Returns the count of the video that a JSON object names or a form holds: the fields of `repcount count --json`."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == MEDIA_TYPE:
            return await respond(await count_upload(request, service, config, budget))
        if media_type != "application/json":
            raise RequestError(415, "UNSUPPORTED_MEDIA_TYPE", f"the content type must be application/json or {MEDIA_TYPE}")
        fields = await read_json(request, config.max_body_bytes)
        name, curve = fields.pop("name", None), fields.pop("curve", False)
        if not isinstance(name, str) or not isinstance(curve, bool) or fields:
            raise InvalidRequestError('the request must be {"name": "squats.mp4"}, with "curve": true for each frame')
        return await count(name, curve)

    return router
