"""What a request gets: the JSON of `repcount count --json`, and where the count is from."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from fastapi.responses import Response, StreamingResponse

from pipeline.count_formats import Outcome, json_record
from pipeline.serve.errors import RequestError
from transforms.records import VideoRef


class Source(enum.StrEnum):
    """Where a count is from: counted now, or found in the tables or among the answers that wait to be written to them."""

    COUNTED = "counted"
    TABLES = "tables"


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """The count of a video, or its failure.

    Attributes:
      record: What `repcount count --json` prints for the video.
      source: Where the count is from.
    """

    record: Mapping[str, Any]
    source: Source

    @property
    def is_counted(self) -> bool:
        """Whether the video was counted; else it failed."""
        return self.record["status"] == "counted"

    @property
    def status(self) -> int:
        """HTTP status: 200, or 422 for a video that failed."""
        return 200 if self.is_counted else 422

    def to_json(self) -> dict[str, Any]:
        """Returns the body of the response. Of a failure, it has the shape of all errors, too."""
        error = {} if self.is_counted else {"error": {"code": self.record["code"], "message": self.record["message"]}}
        return {**error, **self.record, "source": self.source.value}


@dataclasses.dataclass(frozen=True)
class StoreFigures:
    """What a keeper of answers has done since it started.

    Attributes:
      found: Number of lookups with an answer, from the tables or from what waits.
      missed: Number of lookups without one.
      unread: Number of lookups that the tables did not answer.
      stored: Number of answers committed.
      lost: Number of answers that were not stored, since too many waited, the server ended or the schema does not allow them.
      failed_commits: Number of attempts at a commit that failed.
      waiting: Number of answers that wait for a commit.
    """

    found: int = 0
    missed: int = 0
    unread: int = 0
    stored: int = 0
    lost: int = 0
    failed_commits: int = 0
    waiting: int = 0


class AnswerKeeper(Protocol):
    """What the service asks of the tables. Any thread may call it, and several at once."""

    @property
    def figures(self) -> StoreFigures:
        """What it has done until now."""

    def find(self, video: VideoRef, *, curve: bool) -> Answer | None:
        """Returns the answer for this version of a video with the service's model and options; None if there is none."""

    def add(self, outcome: Outcome) -> None:
        """Takes a new count or failure, to be written soon. Does not wait for the database."""

    def close(self) -> None:
        """Writes what still waits to be written."""


def make_answer(outcome: Outcome, *, curve: bool) -> Answer:
    """Returns the answer for a video that was counted, or failed, just now."""
    return Answer(json_record(outcome, with_curve=curve), Source.COUNTED)


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Returns a response with JSON in ASCII, since the name of a file may not be valid Unicode."""
    return Response(_to_text(content), status, dict(headers or {}), "application/json")


def json_list_response(name: str, items: Iterable[Any]) -> Response:
    """Returns the same of one field, a list, which threads write item by item: a long one holds up no other request."""

    def write() -> Iterator[str]:
        yield f'{{"{name}":['
        for number, item in enumerate(items):
            yield ("," if number else "") + _to_text(item)
        yield "]}"

    return StreamingResponse(write(), media_type="application/json")


def error_response(error: RequestError, **others: str) -> Response:
    """Returns the response for an error, in the one shape that all errors have, after `others`: fields that a caller needs."""
    headers = {} if error.retry_after_sec is None else {"retry-after": str(error.retry_after_sec)}
    return json_response({**others, "error": {"code": error.code, "message": error.message}}, error.status, headers)


def _to_text(content: Any) -> str:
    return json.dumps(content, allow_nan=False, separators=(",", ":"))
