"""Vertex AI's contract for custom containers: the route of predictions, and the model that AIP_STORAGE_URI names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from starlette.requests import Request

from model.presets import DEFAULT_PRESET
from model.storage import is_remote
from model.weights_file import SUFFIX, is_weights_file
from pipeline.command_line import UsageError
from pipeline.serve.answers import Answer, json_list_response
from pipeline.serve.batches import count_batch, error_record
from pipeline.serve.bodies import read_json
from pipeline.serve.config import ServeConfig
from pipeline.serve.errors import InvalidRequestError
from pipeline.serve.schemas import ANY_ANSWER, describe_body, describe_responses, list_of, object_of
from pipeline.serve.service import CountingService

STORAGE_VARIABLE = "AIP_STORAGE_URI"
"""Environment variable with the folder of the model's files."""

MAX_INSTANCES = 1000
"""Most videos in one request."""

MAX_CURVES = 100
"""Most of them if the values of each frame are asked for: a video of ten minutes has a megabyte."""

_INDEX = ".index"
"""End of the name of a TensorFlow 2 checkpoint's index; the rest is the checkpoint's prefix."""

_BODY = object_of(
    {
        "instances": list_of(object_of({"video_uri": {"type": "string", "examples": ["squats.mp4"]}}), maxItems=MAX_INSTANCES),
        "parameters": {
            "description": f"With curve, a request may have {MAX_CURVES} instances.",
            **object_of({"curve": {"type": "boolean", "default": False}}, optional=("curve",)),
            "type": ["object", "null"],
        },
    },
    optional=("parameters",),
)

_FORM = 'the request must be {"instances": [{"video_uri": "gs://bucket/squats.mp4"}, …], "parameters": {"curve": false}}'


def choose_model(model: str, environ: Mapping[str, str]) -> str:
    """Returns the model to load: that of `--model` unless it is the default, else that in the folder of AIP_STORAGE_URI.

    Args:
      model: Value of `--model`.
      environ: Environment variables. Vertex AI sets AIP_STORAGE_URI to "" for a model without files.

    Raises:
      UsageError: The folder has not exactly one model.
      BeamIOError: The folder cannot be listed.
    """
    uri = environ.get(STORAGE_VARIABLE, "")
    if not uri or model != DEFAULT_PRESET:
        return model
    return uri if is_weights_file(uri) else _find_model(uri)


def _find_model(folder: str) -> str:
    from transforms.objects import list_objects

    place = f"{folder.rstrip('/')}/" if is_remote(folder) else folder
    names = sorted(found.uri for found in list_objects(place))
    models = [name for name in names if name.endswith(SUFFIX)]
    models += [name.removesuffix(_INDEX) for name in names if name.endswith(_INDEX)]
    if len(models) != 1:
        raise UsageError(
            f"{STORAGE_VARIABLE} must be a folder with one model: a {SUFFIX} file, or a TensorFlow 2 checkpoint with its "
            f"{_INDEX} file. Received: {len(models)} models in {folder!r}"
        )
    return models[0]


def make_router(service: CountingService, config: ServeConfig) -> APIRouter:
    """Returns the route of predictions."""
    router = APIRouter()

    @router.post(
        config.predict_route,
        summary="Count videos, in the form of Vertex AI",
        response_model=None,
        responses=describe_responses(
            200, 400, 401, 408, 413, 429, 500, 503, answer=object_of({"predictions": list_of(ANY_ANSWER)})
        ),
        openapi_extra=describe_body({"application/json": _BODY}),
    )
    async def predict(request: Request) -> Response:
        """Returns a prediction for each instance, in their order. One that cannot be counted has `error`."""
        service.check_open()
        names, curve = _parse(await read_json(request, config.max_body_bytes))
        answers = await count_batch(names, service, config, curve=curve)
        predictions = (
            answer.to_json() if isinstance(answer, Answer) else error_record(name, answer)
            for name, answer in zip(names, answers, strict=True)
        )
        return json_list_response("predictions", predictions)

    return router


def _parse(body: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Returns the names of the videos, and whether curves are asked for; raises InvalidRequestError."""
    instances, parameters = body.get("instances"), body.get("parameters")
    parameters = {} if parameters is None else parameters
    if not isinstance(instances, list) or not isinstance(parameters, dict) or set(body) - {"instances", "parameters"}:
        raise InvalidRequestError(_FORM)
    curve = parameters.get("curve", False)
    if not isinstance(curve, bool) or set(parameters) - {"curve"}:
        raise InvalidRequestError(_FORM)
    if len(instances) > (MAX_CURVES if curve else MAX_INSTANCES):
        raise InvalidRequestError(f"a request may have {MAX_INSTANCES:,} instances, with curves {MAX_CURVES}")
    for instance in instances:
        if not isinstance(instance, dict) or set(instance) != {"video_uri"} or not isinstance(instance["video_uri"], str):
            raise InvalidRequestError(_FORM)
    return [instance["video_uri"] for instance in instances], curve
