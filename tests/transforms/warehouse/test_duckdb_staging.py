"""A run's staged files lie beside the database until they are committed, or until the run has written none for a week."""

import logging
import os
import pathlib
import time

from tests.support.samples import make_failure, make_provenance
from tests.support.warehouses import stage
from transforms.warehouse import duckdb_staging
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse


def make_old(folder):
    """Makes a folder and all in it eight days old."""
    eight_days_ago = time.time() - 8 * 24 * 3600
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (eight_days_ago, eight_days_ago))


def test_only_the_folder_of_the_run_is_deleted(warehouse):
    for run_id in ("run-1", "run-2"):
        stage(warehouse, make_provenance(run_id), make_failure())
    warehouse.remove_staging("run-1")
    warehouse.remove_staging("run-1")
    assert [os.path.exists(warehouse.staging_folder(run_id)) for run_id in ("run-1", "run-2")] == [False, True]


def test_preparing_deletes_old_folders_of_killed_runs(warehouse, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger=duckdb_staging.__name__)
    others = DuckDBWarehouse(str(tmp_path / "other.duckdb"))
    folders = {}
    for owner, name in ((warehouse, "old"), (warehouse, "young"), (warehouse, "working"), (others, "theirs")):
        stage(owner, make_provenance(name), make_failure())
        folders[name] = pathlib.Path(owner.staging_folder(name))
    link = pathlib.Path(warehouse.staging_folder("link"))
    link.symlink_to(folders["theirs"])
    file = pathlib.Path(warehouse.staging_folder("file"))
    file.touch()
    for path in (link, file):
        os.utime(path, (0, 0), follow_symlinks=False)
    for name in ("old", "working", "theirs"):
        make_old(folders[name])
    os.utime(next(folders["working"].rglob("*.parquet")))

    warehouse.prepare()
    assert {name: path.exists() for name, path in folders.items()} == {
        "old": False, "young": True, "working": True, "theirs": True,
    }  # fmt: skip
    assert link.is_symlink()
    assert file.exists()
    assert [record.getMessage() for record in caplog.records] == [
        f"Deleted {folders['old']}, the staged files of a run that was killed."
    ]


def test_old_folders_beside_a_file_with_brackets_in_its_name_are_deleted_and_those_of_others_are_not(tmp_path):
    warehouse, other = (DuckDBWarehouse(str(tmp_path / name)) for name in ("counts[1].duckdb", "counts1.duckdb"))
    folders = []
    for owner in (warehouse, other):
        stage(owner, make_provenance(), make_failure())
        folders.append(pathlib.Path(owner.staging_folder("run-1")))
        make_old(folders[-1])
    warehouse.prepare()
    assert [folder.exists() for folder in folders] == [False, True]


def test_a_run_that_goes_on_keeps_its_files(warehouse):
    stage(warehouse, make_provenance(), make_failure())
    folder = pathlib.Path(warehouse.staging_folder("run-1"))
    make_old(folder)
    warehouse.keep_staging("run-1")
    warehouse.keep_staging("run-2")  # it has none
    warehouse.prepare()
    assert folder.exists()


def test_staging_that_cannot_be_kept_is_logged(warehouse, caplog, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(duckdb_staging.os, "utime", refuse)
    warehouse.keep_staging("run-1")
    assert "could not be kept: [Errno 13] Permission denied" in caplog.text


def test_old_staging_that_cannot_be_removed_is_logged(warehouse, caplog, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    warehouse.prepare()
    stage(warehouse, make_provenance(), make_failure())
    monkeypatch.setattr(duckdb_staging, "STAGING_KEPT_SEC", -60.0)
    monkeypatch.setattr(duckdb_staging.shutil, "rmtree", refuse)
    warehouse.prepare()
    assert "could not be deleted: [Errno 13] Permission denied" in caplog.text


def test_a_folder_that_cannot_be_removed_is_logged(warehouse, caplog, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(duckdb_staging.shutil, "rmtree", refuse)
    warehouse.remove_staging("run-1")
    assert "The staged files" in caplog.text
    assert "committed" not in caplog.text  # the run may have failed
