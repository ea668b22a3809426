"""The page at `/docs`: the routes of the server with their parameters and answers. It loads nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse, Response
from markupsafe import Markup, escape

from pipeline.pages import make_environment

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def docs_page(openapi: Mapping[str, Any]) -> Response:
    """Returns the page that shows an OpenAPI document."""
    template = make_environment(Path(__file__).parent / "templates").get_template("docs.html.jinja")
    text = template.render(info=openapi["info"], routes=list(_routes(openapi)))
    return HTMLResponse(text, headers={"content-security-policy": _POLICY})


def _routes(openapi: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields what the page shows of each route."""
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            content = route.get("requestBody", {}).get("content", {})
            yield {
                "method": method.upper(),
                "path": path,
                "anchor": f"{method}{path.replace('/', '-')}",
                "summary": route.get("summary", ""),
                "description": route.get("description", ""),
                "parameters": route.get("parameters", []),
                "bodies": [(media_type, _pretty(body.get("schema", {}))) for media_type, body in content.items()],
                "responses": [(status, response["description"]) for status, response in sorted(route["responses"].items())],
            }


def _pretty(schema: Any) -> Markup:
    """Returns a schema as HTML that keeps its lines."""
    return escape(json.dumps(schema, indent=2, ensure_ascii=False))
