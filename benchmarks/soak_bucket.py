"""The bucket of a soak: small videos that arrive and are replaced, some of which cannot be counted."""

from __future__ import annotations

import datetime
import random
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.soak_rows import Key, Version

if TYPE_CHECKING:
    from tests.google_cloud.servers import Cloud

_REPLACED_SHARE = 0.3

_LAST_CONTENTS = ("squats-40.mp4", "text.mp4")
"""Contents uploaded before the last run, one that is counted and one that fails, so that it commits to every table."""


def draw_contents(folder: Path) -> dict[str, bytes]:
    """Returns small videos of several kinds by name, and files that cannot be counted for several reasons."""
    import numpy as np

    from tests.support.videos import draw_video

    contents: dict[str, bytes] = {}
    for suffix, lengths in ((".mp4", (40, 70, 100, 130)), (".mkv", (64, 90)), (".avi", (50, 120)), (".mov", (80,))):
        for length in lengths:
            name = f"squats-{length}{suffix}"
            contents[name] = draw_video(folder / name, length).read_bytes()
    bright = np.full((48, 64, 3), 255, np.uint8)
    contents["bright.mp4"] = draw_video(folder / "bright.mp4", 40, draw=lambda index: bright).read_bytes()
    contents["cut.mp4"] = contents["squats-100.mp4"][:-400]
    contents["empty.mp4"] = b""
    contents["text.mp4"] = b"not a video"
    return contents


class Bucket:
    """The videos of a soak, in a bucket. Uploads bypass the faults.

    Attributes:
      versions: All versions so far.
      uri: URI of the folder of the videos.
    """

    def __init__(self, cloud: Cloud, contents: dict[str, bytes], seed: int) -> None:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        self.versions: dict[Key, Version] = {}
        self.uri = f"gs://{cloud.bucket}/uploads"
        options = {"api_endpoint": f"http://{cloud.storage.upstream}"}
        client = storage.Client(cloud.project, AnonymousCredentials(), client_options=options)
        self._bucket = client.bucket(cloud.bucket)
        self._contents = contents
        self._generations: dict[str, int] = {}
        self._random = random.Random(seed)
        today = datetime.datetime.now(datetime.UTC)
        self._days = [f"{today - datetime.timedelta(days=age):%Y-%m-%d}" for age in range(2)]
        for number, content in enumerate(contents):
            self._upload(f"{self._days[number % 2]}/kept-{content}", content)

    @property
    def current(self) -> set[Key]:
        """The versions that are in the bucket now."""
        return {(f"{self.uri}/{name}", generation) for name, generation in self._generations.items()}

    def change(self) -> None:
        """Adds a video, or replaces one."""
        replaceable = [name for name in self._generations if "/kept-" not in name]
        if replaceable and self._random.random() < _REPLACED_SHARE:
            name = self._random.choice(replaceable)
        else:
            name = f"{self._random.choice(self._days)}/{len(self._generations):05d}.mp4"
        self._upload(name, self._random.choice(list(self._contents)))

    def add_last(self) -> set[datetime.date]:
        """Adds the last videos; returns the days of their uploads."""
        uploaded = [self._upload(f"{self._days[0]}/kept-last-{content}", content) for content in _LAST_CONTENTS]
        return {version.created.date() for version in uploaded}

    def _upload(self, name: str, content: str) -> Version:
        blob = self._bucket.blob(f"uploads/{name}")
        blob.upload_from_string(self._contents[content])
        version = Version(content, blob.time_created)
        self._generations[name] = blob.generation
        self.versions[f"{self.uri}/{name}", self._generations[name]] = version
        return version
