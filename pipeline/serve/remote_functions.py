"""BigQuery's remote functions: `SELECT count_video(uri)` sends batches of names and gets the counts.

BigQuery tries a request again after 408, 429, 500, 503 and 504, and fails the query after any other error. So whatever may end
otherwise later fails the whole request, and what is wrong with one video is that video's reply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from starlette.requests import Request

from pipeline.serve.answers import Answer, error_response, json_response
from pipeline.serve.batches import count_batch, error_record
from pipeline.serve.bodies import read_json
from pipeline.serve.config import ServeConfig
from pipeline.serve.errors import InvalidRequestError, RequestError
from pipeline.serve.schemas import ANY_ANSWER, SCHEMAS, describe_body, describe_responses, list_of, object_of
from pipeline.serve.service import CountingService

ROUTE = "/bigquery"
"""Path of the route."""

FIELDS = (
    "count",
    "count_rounded",
    "confidence",
    "certainty",
    "stride",
    "status",
    "code",
    "message",
    "mean_period_sec",
    "mean_rate_hz",
    "duration_sec",
    "first_frame_sec",
    "fps",
    "width",
    "height",
    "codec",
    "model",
    "source",
)
"""Fields that can be a whole reply, as `user_defined_context = [("field", "count")]` asks for it."""

MAX_CALLS = 1000
"""Most calls in one request."""

_CALLS = [[["squats.mp4"], [None]]]

_BODY = object_of(
    {
        "calls": list_of(list_of({"type": ["string", "null"]}, minItems=1, maxItems=1), maxItems=MAX_CALLS, examples=_CALLS),
        "userDefinedContext": {
            **object_of({"field": {"enum": [None, *FIELDS]}}, optional=("field",)),
            "type": ["object", "null"],
        },
    },
    optional=("userDefinedContext",),
    is_closed=False,
)

_REPLIES = object_of({"replies": list_of({"anyOf": [ANY_ANSWER, {"type": ["string", "number", "null"]}]})})

_ERROR = object_of({"errorMessage": {"type": "string"}, **SCHEMAS["Error"]["properties"]})

_TO_TRY_AGAIN = (408, 429, 500, 503, 504)
"""Statuses after which BigQuery tries again."""

_MAX_MESSAGE_CHARS = 900
"""Longest message, in ASCII; BigQuery takes less than 1 KB."""


def make_router(service: CountingService, config: ServeConfig) -> APIRouter:
    """Returns the route that BigQuery calls."""
    router = APIRouter()

    async def reply(request: Request) -> list[Any]:
        service.check_open()
        body = await read_json(request, config.max_body_bytes)
        field, names = _parse_field(body), _parse_calls(body)
        given = [name for name in names if name is not None]
        answers = dict(zip(given, await count_batch(given, service, config), strict=True)) if given else {}
        for answer in answers.values():
            if isinstance(answer, RequestError) and answer.status in _TO_TRY_AGAIN:
                raise answer
        return [None if name is None else _to_reply(name, answers[name], field) for name in names]

    @router.post(
        ROUTE,
        summary="Count videos for a remote function of BigQuery",
        response_model=None,
        responses={
            **describe_responses(200, 400, 408, 413, 429, 500, 503, 504, answer=_REPLIES, error=_ERROR),
            **describe_responses(401),
        },
        openapi_extra=describe_body({"application/json": _BODY}),
    )
    async def call(request: Request) -> Response:
        """Returns a reply for each call, in their order: JSON, or the one field that userDefinedContext names."""
        try:
            return json_response({"replies": await reply(request)})
        except RequestError as error:
            return error_response(error, errorMessage=f"{error.code}: {error.message}"[:_MAX_MESSAGE_CHARS])

    return router


def _parse_field(body: Mapping[str, Any]) -> str | None:
    """Returns the field that is asked for, None for all; raises InvalidRequestError."""
    context = body.get("userDefinedContext")
    context = {} if context is None else context
    if not isinstance(context, dict) or set(context) - {"field"}:
        raise InvalidRequestError('user_defined_context must be [("field", "count")], or left out')
    field = context.get("field")
    if field is not None and field not in FIELDS:
        raise InvalidRequestError(f"the field in user_defined_context must be one of {', '.join(FIELDS)}")
    return field


def _parse_calls(body: Mapping[str, Any]) -> Sequence[str | None]:
    """Returns the name in each call, None for NULL; raises InvalidRequestError."""
    calls = body.get("calls")
    if not isinstance(calls, list) or len(calls) > MAX_CALLS:
        raise InvalidRequestError(f"calls must be a list of at most {MAX_CALLS:,} calls; set max_batching_rows")
    for call in calls:
        if not isinstance(call, list) or len(call) != 1 or not (call[0] is None or isinstance(call[0], str)):
            raise InvalidRequestError("a call must have one argument, the name of a video as a STRING, which may be NULL")
    return [call[0] for call in calls]


def _to_reply(name: str, answer: Answer | RequestError, field: str | None) -> Any:
    record = answer.to_json() if isinstance(answer, Answer) else error_record(name, answer)
    if field is None:
        return record
    error = record.get("error") or {}
    return record.get(field, error.get(field))  # code and message of an error are fields, too
