"""An exported model's folder says what it is; only new and empty folders are written to."""

import json

import pytest

from model import exported
from model.errors import WeightsError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / exported.METADATA_PATH).parent.mkdir()
    return tmp_path


def test_a_folder_with_metadata_is_an_exported_model(folder):
    assert not exported.is_exported(folder)
    (folder / exported.METADATA_PATH).write_text(json.dumps({"name": "lite", "layers": {"encoder": [5, 6]}}))
    assert exported.is_exported(folder)
    assert exported.read_metadata(folder)["layers"] == {"encoder": [5, 6]}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"layers": []}', '{"layers": {"encoder": "5"}}', '{"layers": {"dense": []}}']
)
def test_damaged_metadata_is_one_line(folder, text):
    (folder / exported.METADATA_PATH).write_text(text)
    with pytest.raises(WeightsError, match=r"metadata of an exported model must .* Received: "):
        exported.read_metadata(folder)


def test_new_and_empty_folders_can_be_written_to(tmp_path):
    exported.check_folder(tmp_path)
    exported.check_folder(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(WeightsError, match=r"needs a new or empty folder. Received: "):
        exported.check_folder(tmp_path)


@pytest.mark.parametrize("name", ["notes.txt", "notes.txt/below"])
def test_a_file_is_no_folder(tmp_path, name):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(WeightsError, match=r"needs a folder that can be written to. Received: "):
        exported.check_folder(tmp_path / name)
