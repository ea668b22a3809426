"""The page at `/docs`: the routes of the server with their parameters and answers. It loads nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
from fastapi.responses import HTMLResponse, Response
from markupsafe import Markup

import pipeline

_FOLDERS = (Path(__file__).parent / "templates", Path(pipeline.__file__).parent / "report" / "templates")
"""Folders of the template, and of the style of every page."""

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def docs_page(openapi: Mapping[str, Any]) -> Response:
    """Returns the page that shows an OpenAPI document."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDERS), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = _mark_code
    text = environment.get_template("docs.html.jinja").render(info=openapi["info"], routes=list(_routes(openapi)))
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


def _mark_code(text: str) -> Markup:
    """Returns a text whose parts between backticks are code."""
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


def _pretty(schema: Any) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False)
