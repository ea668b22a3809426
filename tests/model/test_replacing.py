"""A file or folder is written completely or not at all."""

import contextlib
import re

import pytest

from model.replacing import replacing


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "squats.srt"
    path.write_text("old")
    with contextlib.suppress(KeyboardInterrupt), replacing(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("squats.srt", "old")]


def test_a_failed_folder_leaves_nothing(tmp_path):
    with contextlib.suppress(KeyboardInterrupt), replacing(tmp_path / "new" / "model") as partial:
        partial.mkdir()
        (partial / "half").touch()
        raise KeyboardInterrupt
    assert list((tmp_path / "new").iterdir()) == []


def test_a_file_in_a_new_folder_and_a_folder_are_written(tmp_path):
    with replacing(tmp_path / "new" / "squats.srt") as partial:
        partial.write_text("1")
    with replacing(tmp_path / "model") as partial:
        partial.mkdir()
        (partial / "graph").write_text("2")
    written = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {"new/squats.srt": "1", "model/graph": "2"}


def test_a_full_disk_is_told_with_the_file(tmp_path):
    with pytest.raises(OSError, match=re.escape(f"[Errno 28] No space left on device: '{tmp_path}/squats.srt'")):
        write_to_a_full_disk(tmp_path / "squats.srt")
    assert list(tmp_path.iterdir()) == []


def write_to_a_full_disk(path):
    with replacing(path), open("/dev/full", "wb", buffering=0) as full:
        full.write(b"1")


def test_a_link_is_replaced_and_not_followed(tmp_path):
    other = tmp_path / "other"
    other.write_text("precious")
    (tmp_path / "squats.srt").symlink_to(other)
    with replacing(tmp_path / "squats.srt") as partial:
        partial.write_text("1")
    assert (other.read_text(), (tmp_path / "squats.srt").read_text()) == ("precious", "1")
