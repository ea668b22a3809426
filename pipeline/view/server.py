"""The web application of `repcount view`: its routes, and what keeps strangers out.

It listens on 127.0.0.1 only. Every address starts with a random token, so other users of the machine and other web pages cannot
guess one. Requests name videos by their number in the list, so no text from a request is ever used as a path.
"""

from __future__ import annotations

import dataclasses
import functools
import hmac
import json
import math
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from model.errors import UserError, one_line
from pipeline.labels import LabelFile
from pipeline.pages import STATIC, make_environment
from pipeline.view.videos import ORDERS, ListedVideo, VideoList, find_video, path_below
from pipeline.web import SafeHeaders
from transforms.objects import is_local, read_range
from transforms.text import printable

HOST = "127.0.0.1"
"""The server listens on this machine only."""

PAGE_ROWS = 50
"""Videos on a page of the list."""

MAX_BODY_BYTES = 1_000
"""Longest request that is read. The only one with a body has a number in it."""

STREAM_BYTES = 2 << 20
"""Bytes of a remote object that are read at once, while a video plays."""

_MEDIA_TYPES = {".webm": "video/webm", ".mkv": "video/x-matroska", ".ogv": "video/ogg", ".avi": "video/x-msvideo"}
"""Media types by suffix. All others are sent as MP4: browsers look into a file that they play, and never run a video."""

_HERE = Path(__file__).parent

_STATIC = {
    "view.css": (_HERE / "static" / "view.css", "text/css"),
    "view.js": (_HERE / "static" / "view.js", "text/javascript"),
    "plot.js": (STATIC / "plot.js", "text/javascript"),
}
"""File and media type by name below `/static/`."""

_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; media-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclasses.dataclass(frozen=True)
class Viewer:
    """What the page shows and where it writes.

    Attributes:
      title: Where the tables are, for people.
      videos: The counted videos.
      labels: File that corrections are written to.
      folder: Folder or prefix that paths in the labels start below; None if the videos share none.
      billing_project: Project that pays for requests to "requester pays" buckets. None for the bucket's own.
    """

    title: str
    videos: VideoList
    labels: LabelFile
    folder: str | None
    billing_project: str | None = None

    def label_path(self, uri: str) -> str | None:
        """Returns the path that names a video in the labels; None if it has none."""
        return None if self.folder is None else path_below(uri, self.folder)

    def label(self, uri: str) -> float | None:
        """Returns the true count of a video; None if it has no label."""
        path = self.label_path(uri)
        return None if path is None else self.labels.counts().get(path)

    def labelled(self) -> set[int]:
        """Returns the numbers of all videos with a label."""
        start = "" if self.folder is None else self.folder.rstrip("/") + "/"
        paths = () if self.folder is None else self.labels.counts()
        return {self.videos.by_uri[start + path] for path in paths if start + path in self.videos.by_uri}

    def name(self, uri: str) -> str:
        """Returns what the page calls a video: its path below the folder."""
        return printable(self.label_path(uri) or uri)


def make_app(viewer: Viewer, token: str) -> Starlette:
    """Returns the application.

    Args:
      viewer: What it shows.
      token: Secret that every address starts with, of characters that need no escaping in one.
    """
    routes = _Routes(viewer)
    pages = [
        Route("/", routes.page),
        Route("/static/{name}", routes.static),
        Route("/api/videos", routes.list_videos),
        Route("/api/videos/{number}", routes.describe),
        Route("/api/videos/{number}/label", routes.save_label, methods=["PUT"]),
        Route("/api/videos/{number}/next", routes.find_next),
        Route("/video/{number}", routes.play),
    ]
    return Starlette(
        routes=[Mount(f"/{token}", routes=pages)],
        middleware=[
            Middleware(SafeHeaders, headers=_HEADERS),
            Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"], www_redirect=False),
            Middleware(_TokenGuard, token=token),
        ],
        exception_handlers={UserError: _explain, OSError: _explain},
    )


def serve(app: ASGIApp, listener: socket.socket, is_verbose: bool = False) -> None:
    """Answers requests until Ctrl-C, then raises KeyboardInterrupt."""
    config = uvicorn.Config(
        app,
        access_log=False,  # it would contain the token
        log_config=None,
        log_level=None if is_verbose else "critical",
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=0,  # a browser may hold a connection for a video as long as it likes
    )
    uvicorn.Server(config).run(sockets=[listener])


class _TokenGuard:
    """Refuses every request whose path does not start with the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = scope["path"].lstrip("/").partition("/")[0].encode("utf-8", "surrogatepass")
        if hmac.compare_digest(given, self._token):
            await self._app(scope, receive, send)
        else:
            refusal = PlainTextResponse("Open the address that repcount view printed. It changes with every start.\n", 403)
            await refusal(scope, receive, send)


class _Routes:
    """The answer to each address."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._static = {name: (path.read_bytes(), media_type) for name, (path, media_type) in _STATIC.items()}
        template = make_environment(_HERE / "templates").get_template("view.html")
        self._page = template.render(title=viewer.title, labels=viewer.labels.path, folder=viewer.folder)

    def page(self, request: Request) -> Response:
        """The page itself."""
        return HTMLResponse(self._page)

    def static(self, request: Request) -> Response:
        """Its style and its program, which were read when the server started."""
        name = request.path_params["name"]
        if name not in self._static:
            raise HTTPException(404)
        content, media_type = self._static[name]
        return Response(content, media_type=media_type)

    def list_videos(self, request: Request) -> Response:
        """A page of the list."""
        numbers = self._find(request)
        offset = _whole_number(request.query_params.get("offset", "0"), 400)
        videos = [self._viewer.videos[number] for number in numbers[offset : offset + PAGE_ROWS]]
        return _json({"total": len(numbers), "offset": offset, "videos": [self._summary(video) for video in videos]})

    def describe(self, request: Request) -> Response:
        """The numbers and the curve of a video."""
        video = self._video(request)
        numbers = self._viewer.videos.numbers_of(video)
        found, problem = find_video(video, self._viewer.billing_project)
        if numbers is None:
            raise UserError("The tables have changed since repcount view was started. End it and start it again.")
        return _json(
            self._summary(video)
            | {
                "uri": printable(video.video_uri),
                "problem": printable(problem),
                "has_video": found is not None,
                "can_label": self._viewer.label_path(video.video_uri) is not None,
                "numbers": numbers | {"run_started": numbers["run_started"].isoformat()},
                "curve": self._viewer.videos.curve(video),
            }
        )

    def find_next(self, request: Request) -> Response:
        """The next video without a label, in the order of the list; from its start if the end is reached."""
        number, labelled = self._video(request).number, self._viewer.labelled()
        numbers = [found for found in self._find(request) if found == number or found not in labelled]
        at = numbers.index(number) if number in numbers else -1
        following = numbers[at + 1 :] + numbers[: max(at, 0)]
        return _json({"number": following[0] if following else None})

    async def save_label(self, request: Request) -> Response:
        """Writes the true count of a video, or deletes it if the count is null."""
        body = b""
        async for block in request.stream():
            body += block
            if len(body) > MAX_BODY_BYTES:
                raise HTTPException(413)
        try:
            count = json.loads(body)["count"]
            is_number = count is None or (isinstance(count, int | float) and not isinstance(count, bool))
        except (ValueError, TypeError, KeyError, RecursionError):
            is_number = False
        if not is_number:
            raise UserError('The request must be JSON such as {"count": 8}.')
        return await run_in_threadpool(self._save, self._video(request), count)

    def play(self, request: Request) -> Response:
        """The video itself, or the part of it that the browser asks for."""
        listed = self._video(request)
        video, problem = find_video(listed, self._viewer.billing_project)
        if video is None:
            return PlainTextResponse(f"{printable(problem)}\n", 404)
        media_type = _MEDIA_TYPES.get(Path(video.uri).suffix.lower(), "video/mp4")
        if is_local(video.uri):
            return FileResponse(video.uri, media_type=media_type)
        return stream_remote(
            video.size_bytes,
            request.headers.get("range"),
            media_type,
            functools.partial(read_range, video, billing_project=self._viewer.billing_project),
            is_head=request.method == "HEAD",
        )

    def _save(self, video: ListedVideo, count: float | None) -> Response:
        path = self._viewer.label_path(video.video_uri)
        if path is None:
            raise UserError(
                "This video is not below the folder of the labels. Start repcount view with --videos and that folder."
            )
        self._viewer.labels.save(path, count)
        return _json(self._summary(video))

    def _video(self, request: Request) -> ListedVideo:
        try:
            return self._viewer.videos[_whole_number(request.path_params["number"], 404)]
        except IndexError:
            raise HTTPException(404) from None

    def _find(self, request: Request) -> list[int]:
        asked = request.query_params
        order = asked.get("order", ORDERS[0])
        if order not in ORDERS:
            raise HTTPException(400)
        numbers = self._viewer.videos.find(asked.get("search", ""), order)
        if asked.get("unlabelled") == "1":
            labelled = self._viewer.labelled()
            return [number for number in numbers if number not in labelled]
        return numbers

    def _summary(self, video: ListedVideo) -> dict[str, Any]:
        return {
            "number": video.number,
            "name": self._viewer.name(video.video_uri),
            "count": video.count,
            "count_rounded": video.count_rounded,
            "certainty": video.certainty,
            "flags": list(video.flags),
            "review": video.review,
            "label": self._viewer.label(video.video_uri),
        }


def stream_remote(
    size_bytes: int, wanted: str | None, media_type: str, read: Callable[[int, int], bytes], *, is_head: bool = False
) -> Response:
    """Returns the response with the bytes of a remote object that a request asks for.

    Args:
      size_bytes: Bytes of the object.
      wanted: Value of the header Range, None if there is none. More than one range at once is answered with the whole object.
      media_type: Type of the content.
      read: Returns the bytes from a first one to before an end.
      is_head: Whether only the headers are sent.
    """
    part = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", (wanted or "").replace(" ", ""))
    start, end, status = 0, size_bytes, 200
    headers = {"accept-ranges": "bytes"}
    if part and any(part.groups()):
        first, last = part.groups()
        start = int(first) if first else max(0, size_bytes - int(last))
        end = min(size_bytes, int(last) + 1) if first and last else size_bytes
        status = 206
        if start >= end:
            return Response(status_code=416, headers=headers | {"content-range": f"bytes */{size_bytes}"})
        headers["content-range"] = f"bytes {start}-{end - 1}/{size_bytes}"
    headers["content-length"] = str(end - start)
    blocks = (read(at, min(at + STREAM_BYTES, end)) for at in range(start, end, STREAM_BYTES))
    return StreamingResponse(iter(()) if is_head else blocks, status, headers, media_type)


def _whole_number(text: str, status_if_invalid: int) -> int:
    """Returns a number of up to 9 digits. Longer ones name nothing, and Python's `int` fails for those of over 4,300."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise HTTPException(status_if_invalid)
    return int(text)


def _json(value: Any) -> Response:
    return JSONResponse(_finite(value))


def _finite(value: Any) -> Any:
    """Returns a value with None in place of numbers that JSON lacks."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


async def _explain(request: Request, error: Exception) -> Response:
    """Answers with what is wrong, in one line that the page shows."""
    return JSONResponse({"error": printable(one_line(error))}, 409)
