"""How Beam writes our records where it needs the same bytes every time. Importing this module registers the coders."""

from __future__ import annotations

import datetime
import json

from apache_beam import coders

from transforms.records import VideoRef


class VideoRefCoder(coders.Coder):
    """Encodes a `VideoRef` as the same bytes every time, which grouping by it needs.

    ASCII JSON also carries a file name that is not valid UTF-8, which Python holds as lone surrogates.
    """

    def encode(self, value: VideoRef) -> bytes:
        """Returns the fields as a JSON list."""
        return json.dumps([value.uri, value.generation, value.size_bytes, value.updated.isoformat()]).encode("ascii")

    def decode(self, encoded: bytes) -> VideoRef:
        """Returns the video that was encoded."""
        uri, generation, size_bytes, updated = json.loads(encoded)
        return VideoRef(uri, generation, size_bytes, datetime.datetime.fromisoformat(updated))

    def is_deterministic(self) -> bool:
        """Returns True: equal videos have equal bytes."""
        return True

    def to_type_hint(self) -> type[VideoRef]:
        """Returns the type that this coder encodes."""
        return VideoRef


coders.registry.register_coder(VideoRef, VideoRefCoder)
