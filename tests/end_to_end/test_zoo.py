"""A run over broken and unusual files of every kind ends by itself, with a count or a failure code for each file."""

import collections
import contextlib
import random
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest

from tests.support.fake_run import run_fake
from tests.support.videos import CODECS, SOUNDS, draw_video, record_silence, set_steps
from transforms.decoding.process import DecoderProcess
from transforms.failure_codes import FailureCode

ODD = Path(__file__).parents[3] / "shared" / "realset" / "odd"

MEMORY_BYTES = 1 << 30

SHARES = (0.01, 0.2, 0.6, 0.9, 0.995)
"""Shares of its bytes that are left of a file."""


def damage(content, seed):
    """Returns a copy of the bytes with one flipped bit per two hundred bytes, at places that the seed decides."""
    chance = random.Random(seed)
    damaged = bytearray(content)
    for _ in range(max(len(content) // 200, 3)):
        damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def draw_zoo(folder):
    """Draws broken and unusual files in every container that OpenCV can encode."""
    for suffix in CODECS:
        whole = draw_video(folder / f"whole{suffix}", 70)
        content = whole.read_bytes()
        for share in SHARES:
            (folder / f"cut{share}{suffix}").write_bytes(content[: int(len(content) * share)])
        for seed in range(3):
            (folder / f"flipped{seed}{suffix}").write_bytes(damage(content, seed))
        half = len(content) // 2
        (folder / f"without_middle{suffix}").write_bytes(content[: half // 2] + content[half:])
        (folder / f"without_head{suffix}").write_bytes(content[200:])
        (folder / f"twice{suffix}").write_bytes(content + content)
    unusual(folder)
    if ODD.exists():
        for path in ODD.iterdir():
            if path.suffix != ".txt":
                shutil.copy(path, folder / f"odd_{path.name}")


def unusual(folder):
    mp4 = (folder / "whole.mp4").read_bytes()
    avi = (folder / "whole.avi").read_bytes()
    (folder / "empty.mp4").touch()
    (folder / "one_byte.mp4").write_bytes(b"\0")
    (folder / "zeros.mkv").write_bytes(bytes(100_000))
    (folder / "noise.webm").write_bytes(random.Random(0).randbytes(100_000))
    # Boxes and chunks that declare a size of 4 GB.
    (folder / "huge_box.mp4").write_bytes(mp4.replace(b"moov", b"moov").replace(mp4[:4], b"\xff\xff\xff\xff", 1))
    (folder / "huge_moov.mp4").write_bytes(declare(mp4, b"moov", 0xFFFFFFFF))
    (folder / "huge_stsz.mp4").write_bytes(set_number_after(mp4, b"stsz", 8, 0x7FFFFFFF))
    (folder / "huge_stco.mp4").write_bytes(set_number_after(mp4, b"stco", 4, 0x7FFFFFFF))
    (folder / "huge_size.mp4").write_bytes(set_number_after(mp4, b"mp4v", 24, 0xFFFFFFFF))
    (folder / "huge_list.avi").write_bytes(avi.replace(avi[4:8], b"\xff\xff\xff\xff", 1))
    # Impossible frame rates and times.
    (folder / "zero_fps.avi").write_bytes(avi.replace(avi[32:36], bytes(4), 1))
    draw_video(folder / "thousand_fps.mp4", 300, fps=1000)
    draw_video(folder / "slow.mp4", 20, fps=1)
    set_steps(draw_video(folder / "frozen_times.mp4", 60), [0.0] * 60)
    set_steps(draw_video(folder / "uneven_times.mp4", 60), [10.0] * 30 + [0.0] * 30)  # times that start over are in twice.ts
    # Extreme sizes.
    draw_video(folder / "smallest.avi", 70, size=(2, 2), draw=lambda index: np.full((2, 2, 3), index, np.uint8))
    draw_video(folder / "8k.avi", 1, size=(7680, 4320), draw=lambda index: np.zeros((4320, 7680, 3), np.uint8))
    draw_video(folder / "too_large.avi", 1, size=(9000, 6000), draw=lambda index: np.zeros((6000, 9000, 3), np.uint8))
    draw_video(folder / "single_frame.mp4", 1)
    draw_video(folder / "narrow.mp4", 70, size=(16, 1024), draw=lambda index: np.full((1024, 16, 3), index, np.uint8))
    # Files that are not videos, with the name of one.
    (folder / "playlist.mp4").write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n")
    (folder / "concat.mp4").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    (folder / "session.mp4").write_text("v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n")
    (folder / "page.mp4").write_text("<!doctype html><title>Sign in</title>")
    for suffix in SOUNDS:
        record_silence(folder / f"sound{suffix}").rename(folder / f"sound{suffix}.mp4")


def declare(content, name, size):
    """Returns an MP4 in which a box declares another size."""
    place = content.index(name) - 4
    return content[:place] + size.to_bytes(4, "big") + content[place + 4 :]


def set_number_after(content, name, offset, number):
    """Returns an MP4 with another number at an offset after a box's name."""
    place = content.index(name) + 4 + offset
    return content[:place] + number.to_bytes(4, "big") + content[place + 4 :]


def watch_decoders(monkeypatch):
    """Returns a list to which each decoder process, when it is closed, adds its peak resident memory in bytes."""
    peaks = []
    close = DecoderProcess.close

    def watch(self):
        if self.pid is not None:
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{self.pid}/status").read_text()
                peaks.extend(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:"))
        close(self)

    monkeypatch.setattr(DecoderProcess, "close", watch)
    return peaks


@pytest.mark.slow
def test_every_file_ends_as_a_count_or_a_coded_failure(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "zoo"
    folder.mkdir()
    draw_zoo(folder)
    peaks = watch_decoders(monkeypatch)
    limits = ["--timeout_sec", "20", "--max_memory_bytes", str(MEMORY_BYTES)]
    arguments = [
        "--input",
        str(folder),
        "--output",
        f"duckdb:{tmp_path}/zoo.duckdb",
        "--strides",
        "1,2",
        "--max_failure_ratio",
        "1",
    ]
    assert run_fake(["run", *arguments, *limits]) == 0
    capsys.readouterr()

    with duckdb.connect(f"{tmp_path}/zoo.duckdb") as database:
        counted = dict(database.execute("SELECT parse_filename(video_uri), flags FROM video_counts").fetchall())
        failed = dict(database.execute("SELECT parse_filename(video_uri), code FROM failures").fetchall())
    files = {path.name for path in folder.iterdir()}
    assert len(files) >= 120
    assert counted.keys() | failed.keys() == files
    assert not counted.keys() & failed.keys()
    assert set(failed.values()) <= {code.value for code in FailureCode}
    for suffix in CODECS:
        assert f"whole{suffix}" in counted
    expected = {
        "empty.mp4": "EMPTY_FILE",
        "noise.webm": "NOT_A_VIDEO",
        "too_large.avi": "TOO_LARGE",
        "playlist.mp4": "NOT_A_VIDEO",
        "concat.mp4": "NOT_A_VIDEO",
        "session.mp4": "NOT_A_VIDEO",
        **{f"sound{suffix}.mp4": "NO_VIDEO_STREAM" for suffix in SOUNDS},
    }
    assert {name: failed.get(name) for name in expected} == expected
    assert {"8k.avi", "smallest.avi", "single_frame.mp4", "thousand_fps.mp4", "slow.mp4"} <= counted.keys()
    peak_bytes = max(peaks)
    assert 0 < peak_bytes < 1.5 * MEMORY_BYTES
    with capsys.disabled():
        codes = ", ".join(f"{number} {code}" for code, number in collections.Counter(failed.values()).most_common())
        print(f"\n{len(files)} files: {len(counted)} counted, {codes}; peak of a decoder {peak_bytes >> 20} MiB")
