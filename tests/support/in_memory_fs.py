"""A remote file system in memory."""

import io
from typing import ClassVar

from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem


class InMemoryFileSystem(FileSystem):
    """A store without directories, like Cloud Storage. Importing this module registers `memory://` with Beam.

    Attributes:
      files: {URI: (content, time of the last update in seconds)}. Tests set it with `monkeypatch.setattr`.
    """

    files: ClassVar[dict[str, tuple[bytes, float]]] = {}

    @classmethod
    def scheme(cls):
        return "memory"

    def join(self, basepath, *paths):
        return "/".join([basepath, *paths])

    def split(self, path):
        return tuple(path.rsplit("/", 1))

    def mkdirs(self, path):
        raise NotImplementedError

    def has_dirs(self):
        return False

    def _list(self, dir_or_prefix):
        return (self.metadata(name) for name in self.files if name.startswith(dir_or_prefix))

    def create(self, path, mime_type="", compression_type=""):
        raise NotImplementedError

    def open(self, path, mime_type="", compression_type=""):
        return io.BytesIO(self.files[path][0])

    def copy(self, source_file_names, destination_file_names):
        raise NotImplementedError

    def rename(self, source_file_names, destination_file_names):
        raise NotImplementedError

    def exists(self, path):
        if path.count("/") < 3:
            raise BeamIOError(f"no object: {path}")
        return path in self.files

    def size(self, path):
        return len(self.files[path][0])

    def last_updated(self, path):
        return self.files[path][1]

    def checksum(self, path):
        raise NotImplementedError

    def metadata(self, path):
        return FileMetadata(path, self.size(path), self.last_updated(path))

    def delete(self, paths):
        raise NotImplementedError
