"""What a busy service does to its clients, at random and in bounds: functions for `Proxy.intercept`."""

import collections
import dataclasses
import json
import random
import re
import threading
import time

from tests.google_cloud.proxy import Request, Response

MAX_IN_A_ROW = 3
"""Faults of requests to one path, one after the other, after which one succeeds. Clients that try again get through."""

MAX_LAG_SEC = 20.0
"""Most seconds by which a listing lags behind."""

_FAULTS = ("429", "500", "503", "503 but done", "reset", "reset but done", "reset in the body")

_BUSY = {
    "429": (429, "rateLimitExceeded", "Too many requests"),
    "500": (500, "backendError", "Internal error"),
    "503": (503, "backendError", "Service unavailable"),
    "503 but done": (503, "backendError", "Service unavailable"),
}


class RandomFaults:
    """Makes a share of requests fail, and a share of listings lag behind.

    Attributes:
      numbers: Number of faults so far by kind. A listing counts as stale if it differs from the present one.
    """

    def __init__(self, seed, share, is_listing=lambda request: False, lagging_share=0.0):
        """Takes the share of requests that fail, 0..1, a filter of listings, and the share of these that lag behind."""
        self.numbers = collections.Counter()
        self._random = random.Random(seed)
        self._share = share
        self._is_listing = is_listing
        self._lagging_share = lagging_share
        self._in_a_row = collections.Counter()
        self._listings = collections.defaultdict(collections.deque)
        self._lock = threading.Lock()

    def __call__(self, request, answer):
        kind = self._choose(request)
        if kind in ("429", "500", "503"):
            response = Response.error(*_BUSY[kind])
            return (
                dataclasses.replace(response, headers=[*response.headers, ("Retry-After", "1")]) if kind == "429" else response
            )
        if kind == "reset":
            return None
        response = answer(request)
        if kind is None or response is None:
            return self._lagging(request, response) if response and self._is_listing(request) else response
        if kind == "503 but done":
            return Response.error(*_BUSY[kind])
        if kind == "reset but done":
            return None
        return dataclasses.replace(response, cut_at=len(response.body) // 2)

    def _choose(self, request):
        """Returns the kind of fault that a request meets; None for most."""
        place = (request.method, request.path.partition("?")[0])
        with self._lock:
            if self._random.random() >= self._share or self._in_a_row[place] == MAX_IN_A_ROW:
                self._in_a_row.pop(place, None)
                return None
            self._in_a_row[place] += 1
            kind = self._random.choice(_FAULTS)
            self.numbers[kind] += 1
            return kind

    def _lagging(self, request, response):
        """Returns a listing as it is, or as it was at some time in the last `MAX_LAG_SEC`."""
        now = time.monotonic()
        with self._lock:
            earlier = self._listings[request.path]
            earlier.append((now, response))
            while earlier[0][0] < now - MAX_LAG_SEC:
                earlier.popleft()
            if self._random.random() >= self._lagging_share:
                return response
            _, chosen = self._random.choice(earlier)
            self.numbers["stale listing"] += chosen.body != response.body
            return chosen


class OverlappingMerges:
    """Lets insert-only MERGEs of several runs into one table overlap as in BigQuery, where none sees the rows of another.

    The emulator runs one statement after the other. So a MERGE is held for a moment, and the rows of runs whose MERGEs are
    under way in that time are hidden from it. Statements that update or delete rows are
    left alone, since BigQuery runs these in turn.

    Attributes:
      number: Number of MERGEs so far that overlapped with another.
    """

    def __init__(self, hold):
        """Takes a function that holds a MERGE for a moment."""
        self.number = 0
        self._hold = hold
        self._under_way = collections.defaultdict(dict)
        self._lock = threading.Lock()

    def __call__(self, request, answer):
        job = insert_only_merge(request)
        if job is None:
            return answer(request)
        query = job["configuration"]["query"]
        table, run = query["query"].split("\n", 1)[0], job["configuration"]["labels"]["run"]
        with self._lock:
            under_way = self._under_way[table]
            hidden = set(under_way)
            for others in under_way.values():
                others.add(run)
            under_way[run] = hidden
        try:
            self._hold()
            with self._lock:
                runs = sorted(hidden - {run})
                self.number += bool(runs)
            if runs:
                # Labels and job ids have the run's id in small letters, with _ in place of -.
                names = ", ".join(f"'{name}'" for name in runs)
                unseen = f"\nON LOWER(REPLACE(target.run_id, '-', '_')) NOT IN ({names}) AND "
                query["query"] = query["query"].replace("\nON ", unseen, 1)
                request = Request(request.method, request.path, json.dumps(job).encode())
            return answer(request)
        finally:
            with self._lock:
                under_way.pop(run, None)


def insert_only_merge(request):
    """Returns the job that a request starts if it is a MERGE that only inserts rows of a run with per-video rows; else None."""
    if request.method != "POST" or not re.search(r"/jobs(\?|$)", request.path) or b"MERGE INTO" not in request.body:
        return None
    job = json.loads(request.body)
    text = job["configuration"].get("query", {}).get("query", "")
    is_wanted = text.startswith("MERGE INTO") and "WHEN MATCHED" not in text and "@run_id" not in text
    return job if is_wanted and job["configuration"].get("labels", {}).get("run") else None
