"""What OpenAPI says of requests and responses, as JSON schemas. The tests hold every response to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from pipeline.count_formats import CURVE_FIELDS
from pipeline.serve.allowed import MAX_NAME_CHARS
from pipeline.serve.answers import Source
from transforms.failure_codes import FailureCode
from transforms.records import VideoFlag

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_WHOLE: Schema = {"type": "integer"}
_NUMBER_OR_NULL: Schema = {"type": ["number", "null"]}
_NULL: Schema = {"type": "null"}


def list_of(items: Schema, **limits: Any) -> Schema:
    """Returns the schema of a list."""
    return {"type": "array", "items": items, **limits}


def object_of(properties: dict[str, Schema], optional: tuple[str, ...] = (), *, is_closed: bool = True) -> Schema:
    """Returns the schema of an object.

    Args:
      properties: Schemas by name.
      optional: Names of the properties that an object may lack.
      is_closed: Whether there are no other properties.
    """
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": not is_closed,
    }


def reference(name: str) -> Schema:
    """Returns a reference to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


NAME: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_NAME_CHARS,
    "pattern": r"^[^\u0000]+$",
    "description": "name below --base, or a whole path or URI",
    "examples": ["squats.mp4"],
}
"""Name of a video in a request."""

_ERROR = object_of({"code": _TEXT, "message": _TEXT})

_SOURCE: Schema = {"type": "string", "enum": [source.value for source in Source]}

_COUNTED = object_of(
    {
        "video_uri": _TEXT,
        "count": _NUMBER,
        "count_rounded": _WHOLE,
        "confidence": _NUMBER,
        "certainty": _NUMBER_OR_NULL,
        "stride": _WHOLE,
        "status": {"const": "counted"},
        "flags": list_of({"type": "string", "enum": [flag.value for flag in VideoFlag]}),
        "mean_period_sec": _NUMBER_OR_NULL,
        "mean_rate_hz": _NUMBER_OR_NULL,
        "repetition_times_sec": list_of(_NUMBER),
        "segments": list_of(
            object_of(
                dict.fromkeys(("start_sec", "end_sec", "count", "rate_hz", "rate_per_minute"), _NUMBER_OR_NULL),
            )
        ),
        "stride_scores": {"type": "object", "additionalProperties": _NUMBER_OR_NULL},
        "duration_sec": _NUMBER_OR_NULL,
        "first_frame_sec": _NUMBER_OR_NULL,
        "fps": _NUMBER_OR_NULL,
        "width": _WHOLE,
        "height": _WHOLE,
        "codec": _TEXT,
        "model": _TEXT,
        "model_sha256": _TEXT,
        "options": {"type": "object"},
        "wall_sec": _NUMBER_OR_NULL,
        **{name: list_of(_NUMBER_OR_NULL) for name in CURVE_FIELDS},
        "source": _SOURCE,
    },
    optional=CURVE_FIELDS,
)

_FAILED = object_of(
    {
        "error": _ERROR,
        "video_uri": _TEXT,
        **dict.fromkeys(("count", "count_rounded", "confidence", "certainty", "stride"), _NULL),
        "status": {"const": "failed"},
        "code": {"type": "string", "enum": [code.value for code in FailureCode]},
        "message": _TEXT,
        "source": _SOURCE,
    }
)

SCHEMAS: dict[str, Schema] = {
    "Counted": {**_COUNTED, "description": "A video that was counted: the fields of `repcount count --json`, and `source`."},
    "Failed": {**_FAILED, "description": "A video that cannot be counted, with its failure code."},
    "NoAnswer": {
        **object_of({"video_uri": _TEXT, "status": {"const": "failed"}, "error": _ERROR}),
        "description": "A name in a batch for which there is no answer.",
    },
    "Error": {**object_of({"error": _ERROR}), "description": "Why a request has no answer."},
}
"""Schemas by name."""

ANY_ANSWER: Schema = {"anyOf": [reference("Counted"), reference("Failed"), reference("NoAnswer")]}
"""What a batch has for each name."""

_MEANINGS = {
    200: "The answer.",
    400: "The request is invalid.",
    401: "The token is missing or wrong.",
    403: "The place may not be read.",
    404: "There is no such video.",
    408: "The request arrives too slowly.",
    413: "The request is too large.",
    415: "The media type is none that is taken.",
    422: "The video cannot be counted; the code says why.",
    429: "The queue is full, or uploads take all their disk. Retry-After says when to try again.",
    500: "The machine or a store has failed, not the video.",
    503: "The model is not loaded yet, the server is about to end, or it has too many connections.",
    504: "The video was not counted within the deadline.",
}

_RETRY_AFTER: Schema = {
    "retry-after": {"description": "Seconds after which to try again.", "schema": {"type": "string", "pattern": r"^[0-9]+$"}}
}


def describe_responses(
    *statuses: int, answer: Schema | None = None, error: Schema | None = None
) -> dict[int | str, dict[str, Any]]:
    """Returns what OpenAPI says of responses.

    Args:
      *statuses: HTTP statuses.
      answer: Schema of 200. None for any object.
      error: Schema of errors, apart from 422. None for the shape of all errors.
    """
    special: dict[int, Schema] = {200: answer or {"type": "object"}, 422: reference("Failed")}
    return {
        status: {
            "description": _MEANINGS[status],
            "content": {"application/json": {"schema": special.get(status, error or reference("Error"))}},
            **({"headers": _RETRY_AFTER} if status in (429, 503) else {}),
        }
        for status in statuses
    }


def describe_body(schemas: Mapping[str, Schema]) -> dict[str, Any]:
    """Returns what OpenAPI says of a request's body, from its schemas by media type."""
    content = {media_type: {"schema": schema} for media_type, schema in schemas.items()}
    return {"requestBody": {"required": True, "content": content}}


def add_schemas(app: FastAPI) -> None:
    """Adds `SCHEMAS` to the OpenAPI document of an application."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        document.setdefault("components", {}).setdefault("schemas", {}).update(SCHEMAS)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation has it
