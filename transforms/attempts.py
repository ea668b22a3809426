"""Attempts: notes which videos a worker has in flight, so that a video that kills its workers is found. Does not import Beam.

A worker that dies reports no error. Therefore it notes a batch of videos before it reads them, and deletes the note when their
last chunk is done. Notes that are left name the suspects. They are read before each bundle, whoever tries it again: Beam, the
next slice or the next run. What happens to a video then depends on the deaths of its workers so far:

- 1: It is tried alone, so that a death is not blamed on videos beside it.
- 2 (`TRIAL_DEATHS`): It is first tried in a process of its own (`transforms.trial`). If that process dies, too, it fails. If
  not, the workers may have been killed for another reason, and it is tried alone again.
- 3 (`MAX_DEATHS`): It fails.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from model.storage import open_bucket, split_uri
from transforms.machine_faults import machine_faults
from transforms.objects import is_local
from transforms.records import VideoRef

TRIAL_DEATHS = 2
"""Deaths after which a video is tried in a process of its own."""

MAX_DEATHS = 3
"""Deaths after which a video is not tried again. Dataflow ends a job at the fourth."""

LONGEST_SEC = 6 * 3600.0
"""Age in seconds of a note at which its worker is no longer at work on it; see `--element_processing_timeout_minutes`."""

_KEPT_SEC = 30 * 24 * 3600.0
"""Age in seconds at which notes are deleted that no run has deleted."""

_NAME = re.compile(r"(?P<run_id>[A-Za-z0-9_.-]+)~(?P<noted>\d+)~(?P<attempt>\d+)~(?P<videos>[0-9a-f-]+)~[0-9a-f]+")

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Note:
    """A note, which is an empty file with a name that says everything.

    Attributes:
      name: Name of the file.
      run_id: Run of the worker.
      noted_sec: Time of the note, in seconds since 1970.
      attempt: Number of the attempt at its videos, from 1. If the worker dies, it is the number of deaths.
      videos: Hashes of the videos.
    """

    name: str
    run_id: str
    noted_sec: int
    attempt: int
    videos: tuple[str, ...]

    @classmethod
    def parse(cls, name: str) -> _Note | None:
        """Returns the note of this name; None for files that are no notes."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        return cls(name, found["run_id"], int(found["noted"]), int(found["attempt"]), tuple(found["videos"].split("-")))


class Attempts:
    """Notes and reads which videos workers have in flight. Each step of each worker thread has its own."""

    def __init__(
        self, folder: str = "", run_id: str = "", counted_with: str = "", *, clock: Callable[[], float] = time.time
    ) -> None:
        """Stores the arguments.

        Args:
          folder: Folder of the notes of all runs into the same tables, local or `gs://`. "" to note nothing.
          run_id: Id of the run.
          counted_with: Model and options of the run. A video that kills workers of another model is no suspect.
          clock: Returns the time in seconds since 1970.
        """
        self._folder = folder
        self._run_id = run_id
        self._counted_with = counted_with
        self._clock = clock
        self._left: dict[str, list[_Note]] = {}  # by hash of a video, set in read()

    def read(self) -> None:
        """Reads the notes that are left, to call at the start of a bundle; deletes very old ones.

        Raises:
          MachineFaultError: The folder cannot be listed.
        """
        self._left = {}
        for note in self._notes():
            if self._age_sec(note) > _KEPT_SEC:
                self._delete(note)
                continue
            for video in note.videos:
                self._left.setdefault(video, []).append(note)

    def deaths(self, video: VideoRef) -> int:
        """Returns how many workers have died, as far as is known, while they worked on a video.

        A worker of another run may still be alive. Until it cannot be, it is not counted as the third.
        """
        return max((self._deaths(note) for note in self._left.get(self._hash(video), ())), default=0)

    def groups(self, videos: Sequence[VideoRef]) -> list[list[VideoRef]]:
        """Returns the videos in groups to work on together: those without deaths, then each suspect alone."""
        suspects = [video for video in videos if self.deaths(video)]
        others = [video for video in videos if video not in suspects]
        return [group for group in (others, *([video] for video in suspects)) if group]

    @contextlib.contextmanager
    def noted(self, group: Sequence[VideoRef]) -> Iterator[None]:
        """Notes a group of videos as in flight in the body. A suspect waits until nothing else is in flight in this process.

        Raises:
          MachineFaultError: The note cannot be written.
        """
        if not self._folder:
            yield
            return
        attempt = 1 + max(map(self.deaths, group))
        with _IN_FLIGHT.exclusive() if attempt > 1 else _IN_FLIGHT.shared():
            note = self._write(attempt, [self._hash(video) for video in group])
            try:
                yield
            finally:
                self._delete(note)

    def adopt(self, video: VideoRef) -> None:
        """Makes the notes on a video that fails this run's, so that `forget` deletes them once its failure is committed."""
        for note in self._left.get(self._hash(video), ()):
            if note.run_id != self._run_id and len(note.videos) == 1:
                self._write(note.attempt, note.videos)
                self._delete(note)

    def forget(self) -> None:
        """Deletes this run's notes: all its videos have rows, or no worker died. Logs what cannot be deleted."""
        try:
            for note in self._notes():
                if note.run_id == self._run_id:
                    self._delete(note)
            if self._folder and is_local(self._folder):
                with contextlib.suppress(OSError):  # it has notes of other runs, or none were ever written
                    os.rmdir(self._folder)
        except Exception as error:
            _LOGGER.warning("Notes in %s could not be deleted: %s", self._folder, error)

    def _deaths(self, note: _Note) -> int:
        is_over = note.run_id == self._run_id or self._age_sec(note) > LONGEST_SEC
        return note.attempt if is_over else min(note.attempt, TRIAL_DEATHS)

    def _age_sec(self, note: _Note) -> float:
        return self._clock() - note.noted_sec

    def _hash(self, video: VideoRef) -> str:
        return hashlib.sha256(video.identity + f"#{self._counted_with}".encode()).hexdigest()[:16]

    def _notes(self) -> Iterator[_Note]:
        if not self._folder:
            return
        with machine_faults("read which videos were in flight"):
            names = _list_local(self._folder) if is_local(self._folder) else _list_bucket(self._folder)
        yield from filter(None, map(_Note.parse, names))

    def _write(self, attempt: int, videos: Sequence[str]) -> _Note:
        noted = int(self._clock())
        name = f"{self._run_id}~{noted}~{attempt}~{'-'.join(videos)}~{secrets.token_hex(4)}"
        with machine_faults("note which videos are in flight"):
            if is_local(self._folder):
                _create_local(self._folder, name)
            else:
                bucket_name, prefix = split_uri(self._folder)
                open_bucket(bucket_name).blob(f"{prefix}/{name}").upload_from_string(b"")
        return _Note(name, self._run_id, noted, attempt, tuple(videos))

    def _delete(self, note: _Note) -> None:
        """Deletes a note. If that fails, its videos are tried alone when they are next tried, which does no harm."""
        try:
            if is_local(self._folder):
                os.remove(os.path.join(self._folder, note.name))
            else:
                bucket_name, prefix = split_uri(self._folder)
                open_bucket(bucket_name).blob(f"{prefix}/{note.name}").delete()
        except Exception as error:
            _LOGGER.debug("The note %s could not be deleted: %s", note.name, error)


class _SharedLock:
    """A lock that any number of threads share, or a single one has alone. Who waits to be alone is not overtaken."""

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._num_sharing = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Waits while a thread has the lock alone, or waits to."""
        with self._gate, self._changed:
            self._num_sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_sharing -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Waits until no other thread has the lock, and lets none in."""
        with self._gate:
            with self._changed:
                self._changed.wait_for(lambda: self._num_sharing == 0)
            yield


_IN_FLIGHT = _SharedLock()
"""Held by the threads of this process that have videos in flight."""


def _list_local(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _list_bucket(folder: str) -> list[str]:
    bucket_name, prefix = split_uri(f"{folder}/")
    blobs = open_bucket(bucket_name).list_blobs(prefix=prefix, fields="items(name),nextPageToken")
    return [blob.name.removeprefix(prefix) for blob in blobs]


def _create_local(folder: str, name: str) -> None:
    while True:
        os.makedirs(folder, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # a run that ended has just removed the empty folder
            open(os.path.join(folder, name), "x").close()
            return
