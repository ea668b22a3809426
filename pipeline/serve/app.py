"""The ASGI application: its routes, its errors in one shape, and its health."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request

from pipeline.serve import count_routes, page, remote_functions, vertex
from pipeline.serve.answers import error_response, json_response
from pipeline.serve.config import ServeConfig
from pipeline.serve.docs_page import docs_page
from pipeline.serve.errors import InvalidRequestError, RequestError, of_the_server
from pipeline.serve.metrics import Metrics
from pipeline.serve.metrics import make_router as make_metrics_router
from pipeline.serve.middleware import Connections, Guard
from pipeline.serve.request_log import ID_HEADER, RequestObserver, current_request_id, log_request
from pipeline.serve.schemas import add_schemas, describe_responses
from pipeline.serve.service import CountingService
from pipeline.web import SafeHeaders
from transforms.machine_faults import MachineFaultError
from transforms.text import printable

_LOGGER = logging.getLogger(__name__)

_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Headers of each response that has no others of these names."""


def make_app(service: CountingService, config: ServeConfig) -> FastAPI:
    """Returns the application.

    Args:
      service: Counts the videos. It is started with the application.
      config: What may be read, by whom, and under which paths.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.close()

    metrics = Metrics(service)
    service.observers.append(metrics.observe_answer)
    app = FastAPI(
        title="repcount",
        summary="Counts repetitions in videos.",
        version=importlib.metadata.version("repcount"),
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        middleware=[
            Middleware(RequestObserver, listeners=(log_request, metrics.observe_request)),  # sees refused requests, too
            Middleware(SafeHeaders, headers=_HEADERS),
            Middleware(Guard, config=config, public=(config.health_route, *page.PUBLIC_PATHS)),
            Middleware(Connections, service=service),
        ],
    )
    add_schemas(app)
    for error_type in (RequestError, RequestValidationError, HTTPException, MachineFaultError, Exception):
        app.add_exception_handler(error_type, _answer_error)
    _add_health(app, service, config)
    app.add_api_route(
        "/docs", lambda: docs_page(app.openapi()), methods=["GET", "HEAD"], include_in_schema=False, response_model=None
    )
    app.include_router(count_routes.make_router(service, config))
    app.include_router(make_metrics_router(metrics))
    app.include_router(vertex.make_router(service, config))
    app.include_router(remote_functions.make_router(service, config))
    app.include_router(page.make_router(config))
    return app


def _add_health(app: FastAPI, service: CountingService, config: ServeConfig) -> None:
    @app.head(config.health_route, include_in_schema=False, response_model=None)  # load balancers use it
    @app.get(
        config.health_route,
        summary="Whether the model is warm",
        response_model=None,
        responses=describe_responses(200, 503),
    )
    async def health() -> Response:
        """Returns 200 when the server counts, and 503 before and after."""
        service.check_open()
        return json_response({"status": "ok"})


async def _answer_error(request: Request, error: Exception) -> Response:
    """Answers with an error as JSON."""
    if isinstance(error, MachineFaultError):
        _LOGGER.error("%s", printable(str(error)))
    response = error_response(_as_request_error(error))
    if isinstance(error, HTTPException):
        response.headers.update(error.headers or {})
    if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (methods := _find_methods(request)):
        response.headers["allow"] = ", ".join(methods)
    if request_id := current_request_id():  # this handler may be outside of the one that names it otherwise
        response.headers[ID_HEADER] = request_id
    return response


def _find_methods(request: Request) -> list[str]:
    """Returns the methods of a documented path, which may have several routes. Starlette names those of the first."""
    path = getattr(request.scope.get("route"), "path", "")
    methods = {method.upper() for method in request.app.openapi()["paths"].get(path, {})}
    if "GET" in methods and "POST" not in methods:  # a GET beside a POST counts a video, for which nobody asks with HEAD
        methods.add("HEAD")
    return sorted(methods)


def _as_request_error(error: Exception) -> RequestError:
    if isinstance(error, RequestError):
        return error
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return InvalidRequestError(printable(f"{where}: {first['msg']}"))
    if isinstance(error, HTTPException):
        return RequestError(error.status_code, HTTPStatus(error.status_code).name, error.detail)
    return of_the_server(error)
