"""Downloads a published checkpoint and keeps the weights of its network.

The published files are three times as large as the network, since they also hold the optimizer's state. They are downloaded to
a hidden folder, verified, converted to a weights file (see `model.weights_file`) and deleted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
from pathlib import Path

import pooch
import requests
import tenacity
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from model import presets, storage, tensorflow_import, weights_file
from model.errors import WeightsError, one_line
from model.presets import Preset, RemoteFile
from model.replacing import DISK_FULL

URL_VARIABLE = "REPCOUNT_CHECKPOINT_URL"

_ATTEMPTS = 6
_BLOCK_BYTES = 1 << 16
_GOT_HASH = re.compile(r"but got ([0-9a-f]{64})")
"""The hash in pooch's message about a file with another one."""

_PART = re.compile(r"\.(index|data-\d+-of-\d+)$")
"""What a file's name has after the name of its checkpoint."""

_TIMEOUT_SEC = (10, 60)  # to connect, and between two reads
_WAIT = tenacity.wait_exponential_jitter(initial=1, max=30, jitter=1)


class FetchError(WeightsError):
    """A published checkpoint cannot be fetched. No weights file was written."""


@dataclasses.dataclass(frozen=True)
class Fetched:
    """Where a model's weights are.

    Attributes:
      path: Path of the weights file, local or `gs://`.
      was_there: Whether sound weights were there already, so that nothing was downloaded.
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
    """Brings the weights of a published model to a folder, unless sound ones are there already.

    Args:
      preset: A preset with published files.
      destination: Folder, local or `gs://`. Default: the cache folder, where `presets.load_model` looks.
      base_url: URL of a folder that serves the preset's files instead of the public bucket. Default: $REPCOUNT_CHECKPOINT_URL,
        if set.
      console: Where to show progress. Default: standard error.
      wait: tenacity's rule for the seconds between attempts.

    Raises:
      FetchError: The preset has no files, the server refuses or serves other files, or the disk is full. The next call
        keeps the files that are complete.
      WeightsError: The files are not of the preset's network, or the weights cannot be written.
    """
    if not preset.files:
        raise FetchError(f"only published models are fetched; this one comes with the program. Received: {preset.name!r}")
    base_url = base_url or os.environ.get(URL_VARIABLE) or None
    console = console or Console(stderr=True)
    if destination and storage.is_remote(destination):
        return _fetch_to_bucket(preset, destination.rstrip("/"), base_url, console, wait)
    folder = Path(destination) if destination else presets.default_cache_dir()
    path = folder / f"{preset.name}{weights_file.SUFFIX}"
    if _is_current(preset, path):
        return Fetched(str(path), was_there=True)
    old_path = folder / f"{preset.name}{weights_file.OLD_SUFFIX}"
    if _is_current(preset, old_path):
        metadata, arrays = weights_file.read(old_path)
        weights_file.write(path, preset.config, arrays, metadata)
        return Fetched(str(path), was_there=True)
    downloads = folder / f".{preset.name}.download"
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        _check_free_space(preset, downloads)
    except OSError as error:
        raise FetchError(f"the folder cannot be used: {error.strerror}. Received: {str(folder)!r}") from error
    _download_all(preset, downloads, base_url, console, wait)
    _convert(preset, downloads, path)
    shutil.rmtree(downloads)
    return Fetched(str(path), was_there=False)


def _fetch_to_bucket(
    preset: Preset, folder: str, base_url: str | None, console: Console, wait: tenacity.wait.wait_base
) -> Fetched:
    """Uploads the weights from the cache folder, after fetching them there if necessary."""
    uri = f"{folder}/{preset.name}{weights_file.SUFFIX}"
    # The object is labelled with what it was made from, since its own hash is unknown before the download.
    label = {"source_sha256": hashlib.sha256(repr(sorted(_hashes(preset).items())).encode()).hexdigest()}
    if storage.read_label(uri) == label:
        return Fetched(uri, was_there=True)
    local = fetch(preset, base_url=base_url, console=console, wait=wait).path
    storage.upload(Path(local), uri, label)
    return Fetched(uri, was_there=False)


def _is_current(preset: Preset, path: Path) -> bool:
    """Returns whether there is an undamaged weights file that was made from the preset's files."""
    try:
        metadata, _ = weights_file.read(path)
    except WeightsError:
        return False
    made_from: dict[str, str] = metadata.get("source", {}).get("files", {})
    return _hashes(preset).items() <= made_from.items()  # former versions also fetched a file without variables


def _hashes(preset: Preset) -> dict[str, str]:
    return {file.name: file.sha256 for file in preset.files}


def _check_free_space(preset: Preset, folder: Path) -> None:
    """Raises FetchError if the disk has no room for the files and for the weights, which are about a third as large."""
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


class _Meter:
    """Shows the progress of a download, and stops one that is longer than the published file; pooch calls it."""

    def __init__(self, progress: Progress, file: RemoteFile) -> None:
        self.total = file.size_bytes  # set by pooch too
        self._progress = progress
        self._file = file
        self._task = progress.add_task(file.name, total=file.size_bytes)
        self._done_bytes = 0

    def update(self, num_bytes: int) -> None:
        """Adds up to `num_bytes`: pooch counts whole blocks."""
        self._done_bytes += num_bytes
        self._progress.update(self._task, completed=self._done_bytes)
        if self._done_bytes >= self._file.size_bytes + 2 * _BLOCK_BYTES:
            raise ValueError(f"more than {self._file.size_bytes:,} bytes")

    def reset(self) -> None:
        """Starts again from 0: at the end of a download, before pooch fills the bar, and before another attempt."""
        self._done_bytes = 0

    def close(self) -> None:
        """Does nothing; the bars are closed together."""


def _download_all(preset: Preset, folder: Path, base_url: str | None, console: Console, wait: tenacity.wait.wait_base) -> None:
    """Downloads every file of the preset that is not in the folder yet; files get their names once their hashes match."""
    pooch.get_logger().setLevel("WARNING")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        for file in preset.files:
            url = f"{base_url.rstrip('/')}/{file.name}" if base_url else file.url
            _download(file, url, folder, _Meter(progress, file), console, wait)


def _download(file: RemoteFile, url: str, folder: Path, meter: _Meter, console: Console, wait: tenacity.wait.wait_base) -> None:
    """Downloads a file, with retries; raises FetchError with a one-line message if that fails."""

    def before_sleep(state: tenacity.RetryCallState) -> None:
        meter.reset()
        if state.outcome:
            console.print(f"{file.name}: {_describe(state.outcome.exception())}; trying again", markup=False)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_passing),
        wait=wait,
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        before_sleep=before_sleep,
        reraise=True,
    )
    downloader = pooch.HTTPDownloader(progressbar=meter, chunk_size=_BLOCK_BYTES, timeout=_TIMEOUT_SEC)
    try:
        retrying(pooch.retrieve, url, f"sha256:{file.sha256}", fname=file.name, path=folder, downloader=downloader)
    except requests.RequestException as error:
        reason = "the server refuses:" if isinstance(error, requests.HTTPError) else "cannot request the file:"
        if _is_passing(error):
            reason = f"the download failed {_ATTEMPTS} times, at last with"
        raise FetchError(f"{reason} {_describe(error)}. Received: {url}") from error
    except OSError as error:
        reason = "the disk is full" if error.errno in DISK_FULL else f"cannot write to the disk ({error.strerror})"
        raise FetchError(f"{reason}; {file.name} has {file.size_bytes:,} bytes. Received: {str(folder)!r}") from error
    except ValueError as error:
        raise FetchError(
            f"this is not the published file, which has {file.size_bytes:,} bytes and sha256 {file.sha256}. To use a "
            f"checkpoint of your own, download all its files and name them by --model FOLDER/{_PART.sub('', file.name)}. "
            f"Received: {_received(error)} from {url}"
        ) from error


def _received(error: ValueError) -> str:
    """Returns what arrived in place of the published file: its hash, if it was downloaded to its end."""
    found = _GOT_HASH.search(str(error))
    return f"sha256 {found[1]}" if found else str(error)


def _is_passing(error: BaseException) -> bool:
    """Returns whether a later attempt may succeed."""
    if isinstance(error, requests.HTTPError):
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    return isinstance(error, (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError))


def _describe(error: BaseException | None) -> str:
    """Returns in one line what went wrong with a request."""
    if isinstance(error, requests.HTTPError):
        return f"HTTP {error.response.status_code} {error.response.reason}"
    # The cause of a broken connection, such as an unknown host, is several layers down.
    cause = getattr(error.args[0], "reason", error) if error and error.args else error
    return one_line(cause)
