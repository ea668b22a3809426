"""The page at `/`: a person drops a video or names one, and sees its count, its curve and its repetitions.

The page is the same for everybody and has no secret, so it needs no token; what it asks of the server does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from pipeline.pages import STATIC, make_environment
from pipeline.serve.allowed import MAX_NAME_CHARS
from pipeline.serve.config import ServeConfig
from transforms.failure_codes import EXPLANATIONS, FailureCode
from transforms.records import FLAG_MEANINGS, VideoFlag

_HERE = Path(__file__).parent

_STATIC = {
    "base.css": (STATIC / "base.css", "text/css"),
    "page.css": (_HERE / "static" / "page.css", "text/css"),
    "page.js": (_HERE / "static" / "page.js", "text/javascript"),
    "plot.js": (STATIC / "plot.js", "text/javascript"),
}
"""File and media type by name below `/static/`. The style and the curve are those of the other pages."""

PUBLIC_PATHS = ("/", *(f"/static/{name}" for name in _STATIC))
"""Paths of the page, which are answered without a token."""

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; media-src blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
}

_CONVERT = "Convert the video, for example to H.264 in MP4."
_TELL = "Tell the operator of this server."

ADVICE = {
    FailureCode.EMPTY_FILE: "Copy it again from where it was recorded.",
    FailureCode.NOT_A_VIDEO: "Choose a video, or convert it, for example to H.264 in MP4.",
    FailureCode.NO_VIDEO_STREAM: "Choose the recording with its picture.",
    FailureCode.NO_FRAMES: _CONVERT,
    FailureCode.TOO_LARGE: "Make the video smaller.",
    FailureCode.TOO_LONG: "Cut the video.",
    FailureCode.READ_ERROR: f"Try again. {_TELL}",
    FailureCode.GONE: "Try again.",
    FailureCode.NOT_DELIVERED: "Try again.",
    FailureCode.DECODER_CRASHED: _CONVERT,
    FailureCode.DECODE_TIMEOUT: _CONVERT,
    FailureCode.DECODE_OUT_OF_MEMORY: "Make the picture of the video smaller.",
    FailureCode.WORKER_DIED: _CONVERT,
    FailureCode.SCORING_FAILED: _TELL,
    FailureCode.INCOMPLETE: f"Try again. {_TELL}",
    FailureCode.COUNTING_FAILED: _TELL,
}
"""What the person who has the video can do. The advice of `EXPLANATIONS` is for who runs the pipeline."""

REMARKS = {
    VideoFlag.NOT_PERIODIC: "Nothing repeats in this video.",
    VideoFlag.TRUNCATED: "The file breaks off or is damaged. The count covers the frames that could be read.",
    VideoFlag.TRAILING_DATA: FLAG_MEANINGS[VideoFlag.TRAILING_DATA],
    VideoFlag.TOO_SHORT: "The video is very short, so the count is less sure.",
    VideoFlag.PERIOD_AT_LIMIT: "The repetitions are as slow as the model knows. The true count may be lower.",
    VideoFlag.AMBIGUOUS_STRIDE: "Another speed of the repetitions fits as well, and gives another count.",
    VideoFlag.VARIABLE_FRAME_RATE: FLAG_MEANINGS[VideoFlag.VARIABLE_FRAME_RATE],
    VideoFlag.ROTATED: FLAG_MEANINGS[VideoFlag.ROTATED],
}
"""What a flag means for who has the video, in simpler words where `FLAG_MEANINGS` has terms or limits."""


def make_router(config: ServeConfig) -> APIRouter:
    """Returns the routes of the page. Its files are read now, not by a request.

    Args:
      config: Where names start, the largest upload, and whether there is a token.
    """
    template = make_environment(_HERE / "templates").get_template("page.html.jinja")
    page = template.render(
        max_upload_bytes=config.max_upload_bytes,
        max_name_chars=MAX_NAME_CHARS,
        has_token=config.token is not None,
        has_base=config.places.base is not None,
        has_places=bool(config.places.places),
        explanations={code: _explain(code) for code in FailureCode},
        remarks=REMARKS,
    )
    router = APIRouter(include_in_schema=False)
    _add(router, "/", lambda: HTMLResponse(page, headers=_HEADERS))
    for name, (path, media_type) in _STATIC.items():
        _add(router, f"/static/{name}", functools.partial(Response, path.read_bytes(), media_type=media_type))
    return router


def _add(router: APIRouter, path: str, answer: Callable[[], Response]) -> None:
    async def respond() -> Response:
        return answer()

    router.add_api_route(path, respond, methods=["GET", "HEAD"], response_model=None)


def _explain(code: FailureCode) -> str:
    return f"{EXPLANATIONS[code].meaning} {ADVICE[code]}".replace("`", "")
