"""Downloads a published checkpoint and keeps what its network needs of it.

The published files are three times the network's size, since they hold the optimizer's state too. They are downloaded to a
hidden folder, verified, converted to a weights file of our own format (see `model.presets`) and deleted.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
import tenacity
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from model import presets, storage, tensorflow_import
from model.presets import Preset, RemoteFile

URL_VARIABLE = "REPCOUNT_CHECKPOINT_URL"

_ATTEMPTS = 6
_BLOCK_BYTES = 1 << 16  # a broken connection costs up to a block
_TIMEOUT_SEC = (10, 60)  # to connect; without a byte
_WAIT = tenacity.wait_exponential_jitter(initial=1, max=30, jitter=1)


class FetchError(storage.WeightsError):
    """A published checkpoint could not be had. Nothing that looks like its weights was left behind."""


class _PassingError(Exception):
    """A fault that a later attempt may not meet."""


@dataclasses.dataclass(frozen=True)
class Fetched:
    """Where a model's weights are.

    Attributes:
      path: the weights file, local or `gs://`.
      was_there: nothing was downloaded, since it lay there already and its hashes were right.
    """

    path: str
    was_there: bool


def fetch(
    preset: Preset,
    destination: str | None = None,
    *,
    base_url: str | None = None,
    console: Console | None = None,
    wait: tenacity.wait.wait_base = _WAIT,
) -> Fetched:
    """Brings the weights of a published model to a folder, unless they are there already.

    Args:
      preset: has published files.
      destination: folder, local or `gs://`. Default: the cache folder, where `presets.load_model` looks.
      base_url: folder that serves the preset's files instead of the public bucket. Default: $REPCOUNT_CHECKPOINT_URL if set.
      console: where progress is shown. Default: standard error.
      wait: tenacity's rule for the seconds between attempts.

    Raises:
      FetchError: the preset has no files, the server refuses or serves other files, or the disk is full. The next call takes up
        what is sound of the downloads.
      storage.WeightsError: the files do not hold the preset's network, or the weights cannot be written.
    """
    if not preset.files:
        raise FetchError(f"only published models are fetched; this one comes with the program. Received: {preset.name!r}")
    base_url = base_url or os.environ.get(URL_VARIABLE) or None
    console = console or Console(stderr=True)
    if destination and storage.is_remote(destination):
        return _fetch_to_bucket(preset, destination.rstrip("/"), base_url, console, wait)
    path = Path(destination) / f"{preset.name}{presets.WEIGHTS_SUFFIX}" if destination else presets.weights_path(preset)
    if _is_current(preset, path):
        return Fetched(str(path), was_there=True)
    downloads = path.parent / f".{preset.name}.download"
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        _check_free_space(preset, downloads)
    except OSError as error:
        raise FetchError(f"the folder cannot be used: {error.strerror}. Received: {str(path.parent)!r}") from error
    _download(preset, downloads, base_url, console, wait)
    _convert(preset, downloads, path)
    shutil.rmtree(downloads)
    return Fetched(str(path), was_there=False)


def _fetch_to_bucket(
    preset: Preset, folder: str, base_url: str | None, console: Console, wait: tenacity.wait.wait_base
) -> Fetched:
    """Uploads the weights from the cache folder, after fetching them there if need be."""
    uri = f"{folder}/{preset.name}{presets.WEIGHTS_SUFFIX}"
    sidecar_uri = f"{folder}/{preset.name}.json"
    found = storage.remote_sha256(uri)
    if found and storage.remote_sha256(sidecar_uri):
        with storage.staged(sidecar_uri, lambda rest: not rest) as staged_sidecar:
            sidecar = presets.read_json(staged_sidecar)
        if sidecar.get("sha256") == found and _is_of(preset, sidecar):
            return Fetched(uri, was_there=True)
    local = Path(fetch(preset, base_url=base_url, console=console, wait=wait).path)
    storage.upload(local, uri, storage.file_sha256(local))
    storage.upload(presets.sidecar_path(local), sidecar_uri, storage.file_sha256(presets.sidecar_path(local)))
    return Fetched(uri, was_there=False)


def _is_current(preset: Preset, path: Path) -> bool:
    """Returns whether the weights lie there, undamaged, and come from the preset's files."""
    try:
        sidecar = presets.read_sidecar(path)
        presets.check_weights(path, sidecar)
    except presets.WeightsError:
        return False
    return _is_of(preset, sidecar)


def _is_of(preset: Preset, sidecar: Mapping[str, Any]) -> bool:
    return sidecar.get("source", {}).get("files") == _hashes(preset)


def _hashes(preset: Preset) -> dict[str, str]:
    return {file.name: file.sha256 for file in preset.files}


def _check_free_space(preset: Preset, folder: Path) -> None:
    """Raises FetchError if the disk has no room for the files and for the weights, about a third as large."""
    total = sum(file.size_bytes for file in preset.files)
    there = sum(entry.stat().st_size for entry in folder.iterdir())
    needed = max(0, total - there) + total // 3
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FetchError(f"{needed:,} bytes must be free for {preset.name}. Received: {free:,} free in {str(folder.parent)!r}")


def _convert(preset: Preset, downloads: Path, path: Path) -> None:
    """Writes the weights file from the checkpoint's files."""
    tensorflow_import.import_tensorflow()
    from model import checkpoint
    from model.network import RepNet

    arrays = checkpoint.read_checkpoint(str(downloads / preset.checkpoint_name))
    network = RepNet(preset.config)
    checkpoint.assign(network, arrays, ignore_unexpected=True)
    presets.save_weights(path, network, preset, source={"files": _hashes(preset)})


def _download(preset: Preset, folder: Path, base_url: str | None, console: Console, wait: tenacity.wait.wait_base) -> None:
    """Downloads what is not in the folder yet and verifies all of it."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    shown = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with shown as progress, requests.Session() as session:
        session.headers["Accept-Encoding"] = "identity"  # else Content-Length may count compressed bytes
        for file in preset.files:
            url = f"{base_url.rstrip('/')}/{file.name}" if base_url else file.url
            _Download(file, url, folder, session, progress).run(wait)


class _Download:
    """The download of one file: into NAME.part, which is taken up where it ends, then renamed when its hash is right."""

    def __init__(self, file: RemoteFile, url: str, folder: Path, session: requests.Session, progress: Progress) -> None:
        self._file = file
        self._url = url
        self._target = folder / file.name
        self._part = folder / f"{file.name}.part"
        self._session = session
        self._progress = progress
        self._task = progress.add_task(file.name, total=file.size_bytes)

    def run(self, wait: tenacity.wait.wait_base) -> None:
        """Raises FetchError unless the file is there at the end, of the published hash."""
        if not (self._target.exists() and storage.file_sha256(self._target) == self._file.sha256):
            self._download(wait)
        self._progress.update(self._task, completed=self._file.size_bytes)

    def _download(self, wait: tenacity.wait.wait_base) -> None:
        # What an earlier run left may be the beginning of something else, so a wrong hash is final only for a whole download.
        may_start_over = self._part.exists()
        while True:
            self._attempt_with_retries(wait)
            found = storage.file_sha256(self._part)
            if found == self._file.sha256:
                self._part.replace(self._target)
                return
            self._part.unlink()
            if not may_start_over:
                raise self._wrong_file(f"sha256 {self._file.sha256}", found)
            may_start_over = False

    def _attempt_with_retries(self, wait: tenacity.wait.wait_base) -> None:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_PassingError),
            wait=wait,
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            before_sleep=self._tell,
            reraise=True,
        )
        try:
            retrying(self._attempt)
        except _PassingError as error:
            raise FetchError(f"the download failed {_ATTEMPTS} times, at last with {error}. Received: {self._url}") from error

    def _tell(self, state: tenacity.RetryCallState) -> None:
        if state.outcome:
            self._progress.console.print(f"{self._file.name}: {state.outcome.exception()}; trying again", markup=False)

    def _attempt(self) -> None:
        """Adds what is missing to the part file."""
        offset = self._part.stat().st_size if self._part.exists() else 0
        if offset == self._file.size_bytes:
            return
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            with self._session.get(self._url, headers=headers, stream=True, timeout=_TIMEOUT_SEC) as response:
                self._receive(response, offset)
        except requests.RequestException as error:
            if isinstance(error, (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)):
                # Under several layers lies what went wrong, such as a name that cannot be resolved.
                cause = getattr(error.args[0], "reason", error) if error.args else error
                raise _PassingError(f"a broken connection ({' '.join(str(cause).split())})") from error
            raise FetchError(f"the file cannot be requested: {' '.join(str(error).split())}. Received: {self._url}") from error

    def _receive(self, response: requests.Response, offset: int) -> None:
        status = response.status_code
        if status == 416:  # the part is no beginning of what the server has
            self._part.unlink(missing_ok=True)
        if status in (408, 416, 429) or status >= 500:
            raise _PassingError(f"HTTP {status} {response.reason}")
        if status not in (200, 206):
            raise FetchError(f"the server refuses: HTTP {status} {response.reason}. Received: {self._url}")
        if status == 206 and not re.match(rf"bytes {offset}-", response.headers.get("Content-Range", "")):
            self._part.unlink(missing_ok=True)
            raise _PassingError("another range than was asked for")
        if status == 200:  # the server may not know ranges
            offset = 0
        length = response.headers.get("Content-Length")
        if length is not None and offset + int(length) != self._file.size_bytes:
            raise self._wrong_file(f"{self._file.size_bytes:,} bytes", f"{offset + int(length):,}")
        self._write(response, offset)

    def _write(self, response: requests.Response, offset: int) -> None:
        try:
            with self._part.open("ab" if offset else "wb") as out:
                for block in response.iter_content(_BLOCK_BYTES):
                    out.write(block)
                    offset += len(block)
                    self._progress.update(self._task, completed=offset)
                    if offset > self._file.size_bytes:
                        break
        except requests.RequestException:  # an OSError too, but not the disk's
            raise
        except OSError as error:
            reason = f"the disk refuses ({error.strerror})"
            if error.errno in storage.DISK_FULL:
                reason = "the disk is full"
                self._part.unlink(missing_ok=True)  # gives back the room that others on this disk need
            done = f"after {offset:,} of {self._file.size_bytes:,} bytes"
            raise FetchError(f"{reason} {done}. Received: {str(self._part)!r}") from error
        if offset > self._file.size_bytes:
            self._part.unlink()
            raise self._wrong_file(f"{self._file.size_bytes:,} bytes", f"at least {offset:,}")
        if offset < self._file.size_bytes:
            raise _PassingError(f"only {offset:,} of {self._file.size_bytes:,} bytes")

    def _wrong_file(self, expected: str, found: str) -> FetchError:
        return FetchError(f"this is not the published file, which has {expected}. Received: {found} from {self._url}")
