"""True counts are read as people and spreadsheets write them, and an invalid line is named."""

import concurrent.futures
import csv
import errno
import math
import re
from pathlib import Path

import pytest

from pipeline.command_line import UsageError
from pipeline.labels import MAX_TRUE_COUNT, Label, LabelFile, quote, read_labels
from tests.support.samples import HOSTILE_NAMES


@pytest.fixture
def write(tmp_path):
    """Writes labels, which are text or bytes, and returns the path of their file."""

    def write(labels):
        path = tmp_path / "labels.csv"
        path.write_bytes(labels if isinstance(labels, bytes) else labels.encode("utf-8"))
        return str(path)

    return write


def test_labels_are_read_as_people_and_spreadsheets_write_them(write):
    labels = '\ufeffnote, count ,file\r\n"two, and a\r\nhalf",2.5,./sets/lunges.mp4\r\n,,\r\n\r\n, 5,sets/../squats.mp4, ,\r\n'
    assert read_labels(write(labels)) == [Label("sets/lunges.mp4", 2.5), Label("squats.mp4", 5.0)]


def test_a_label_may_be_of_a_part_of_a_video(write):
    labels = read_labels(write("file,start_sec,end_sec,count\na.mp4,1.5,4,3\na.mp4,4,,2\na.mp4,,1,0\na.mp4,,,9\n"))
    assert labels == [
        Label("a.mp4", 3.0, 1.5, 4.0),
        Label("a.mp4", 2.0, start_sec=4.0),
        Label("a.mp4", 0.0, end_sec=1.0),
        Label("a.mp4", 9.0),
    ]
    names = ["a.mp4 (1.5 s to 4 s)", "a.mp4 (4 s to the end)", "a.mp4 (0 s to 1 s)", "a.mp4"]
    assert [label.name for label in labels] == names
    assert Label("a.avi", 3.0, start_frame=2, end_frame=9).name == "a.avi (frames 2 to 8)"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("", "must name the columns file and count, each once, with commas between them. Received: ''"),
        ("file;count\nsquats.mp4;5\n", "with commas between them. Received: 'file;count'"),
        (
            "file,true\nsquats.mp4,5\n",
            "must name the columns file and count, each once, with commas between them. Received: 'fil",
        ),
        (
            "file,start_sec,start_sec,count\nsquats.mp4,1,2,5\n",
            "must name the column start_sec once. Received: 'file,start_",
        ),
        ("file,count,count\nsquats.mp4,5,6\n", "each once, with commas between them. Received: 'file,count,count'"),
        ("file,count\n", "at least one line below the column names. Received: '"),
        (
            "file,count\nsquats.mp4,five\n",
            "line 2 of the labels: the count must be a number from 0 to 1,000,000, such as 8 or 8",
        ),
        ("file,count\nsquats.mp4,five\n", "Received: 'five'"),
        ("file,count\nsquats.mp4,5\nstill.mp4,-1\n", "line 3 of the labels: the count must be a number from 0 to "),
        ("file,count\nsquats.mp4,nan\n", "Received: 'nan'"),
        ("file,count\nsquats.mp4,1_2\n", "Received: '1_2'"),
        (
            "file,count\nsquats.mp4,12,5\n",
            "line 2 of the labels: must have at most 2 cells; put a cell with a comma in quotation marks",
        ),
        ("file,count\nstill.mp4,0\nsquats.mp4,1,000\n", "Received: 'squats.mp4,1,000'"),
        ("file,count\nsquats.mp4,inf\n", "Received: 'inf'"),
        ("file,count\nsquats.mp4,1e300\n", "Received: '1e300'"),
        ("file,count\nsquats.mp4,\n", "Received: ''"),
        ("file,count\nsquats.mp4\n", "line 2 of the labels: the count must be a number"),
        ("count,file\n5\n", "line 2 of the labels: the file must be a path below the folder of the videos. Received: ''"),
        ("file,count\n/videos/squats.mp4,5\n", "must be a path below the folder of the videos. Received: '/videos/squats.mp4'"),
        ("file,count\nsets/../../squats.mp4,5\n", "below the folder of the videos. Received: 'sets/../../squats.mp4'"),
        ("file,count\n..,5\n", "line 2 of the labels: the file must be a path below the folder"),
        ("file,count\nsets/..,5\n", "line 2 of the labels: the file must be a path below the folder"),
        (
            "file,count\nsquats.mp4,5\nsets/../squats.mp4,6\n",
            "line 3 of the labels: must not repeat the file of line 2. Received: 'squats.mp4'",
        ),
        (
            "file,count,start_sec,end_sec\na.mp4,5,1,2\na.mp4,6,1.0,2.0\n",
            "line 3 of the labels: must not repeat the file of line 2. Received: 'a.mp4'",
        ),
        ("file,count,start_sec\na.mp4,5,-1\n", "line 2 of the labels: start_sec must be seconds of at least 0, such as 3.5."),
        ("file,count,end_sec\na.mp4,5,1:30\n", "end_sec must be seconds of at least 0, such as 3.5. Received: '1:30'"),
        ("file,count,end_sec\na.mp4,5,inf\n", "Received: 'inf'"),
        (
            "file,count,start_sec,end_sec\na.mp4,5,3,3\n",
            "line 2 of the labels: the part must end after it starts. Received: 3 s to 3 s",
        ),
        ('file,count\n"squats.mp4,5\nstill.mp4,0\n', "the labels must be CSV, but line 3 is not: "),
        ("file,count\ncafé.mp4,5\n".encode("latin-1"), "the labels must be text in UTF-8: "),
        ("file,count\nsquats.mp4,5\n".encode("utf-16"), "the labels must be text in UTF-8: "),
    ],
)
def test_invalid_labels_are_one_line_that_names_what_is_wrong(write, labels, said):
    with pytest.raises(UsageError) as caught:
        read_labels(write(labels))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_null_byte_in_a_name_is_refused(write):
    with pytest.raises(UsageError, match="line 2 "):  # as CSV or as a path, depending on the version of Python
        read_labels(write("file,count\nsquats\0.mp4,5\n"))


def test_labels_that_cannot_be_read_are_refused(tmp_path):
    for path in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(UsageError, match="the labels must be a readable file: ") as caught:
            read_labels(str(path))
        assert str(caught.value).endswith(f"Received: '{path}'")


def test_a_long_text_is_shortened_in_a_message():
    assert quote("x" * 200) == f"'{'x' * 99}…'"
    assert quote("a\nb") == r"'a\nb'"


@pytest.fixture
def labels(tmp_path):
    """Labels that do not exist yet."""
    return LabelFile(str(tmp_path / "labels.csv"))


def text(labels):
    return Path(labels.path).read_bytes().decode("utf-8")


def test_a_corrected_count_is_read_back_and_each_video_has_one_line(labels):
    assert labels.counts() == {}
    labels.save("a.mp4", 8.0)
    labels.save("sets/b.mp4", 2.5)
    labels.save("a.mp4", 9)
    assert text(labels) == "file,count\na.mp4,9\nsets/b.mp4,2.5\n"
    assert labels.counts() == {"a.mp4": 9.0, "sets/b.mp4": 2.5}
    assert read_labels(labels.path) == [Label("a.mp4", 9.0), Label("sets/b.mp4", 2.5)]


def test_a_deleted_label_leaves_the_other_lines(labels):
    for file in ("a.mp4", "b.mp4"):
        labels.save(file, 1)
    labels.save("a.mp4", None)
    assert text(labels) == "file,count\nb.mp4,1\n"
    labels.save("b.mp4", None)
    labels.save("c.mp4", None)
    assert (text(labels), labels.counts()) == ("file,count\n", {})


def test_a_correction_keeps_all_that_a_person_wrote(write):
    before = (
        '\ufeffnote, count ,file,start_sec\r\n"two, and a\r\nhalf",2.5,./sets/lunges.mp4,\r\n\r\n, 5,a.mp4,3\r\n'
        '"x ""y""",7 ,sets/../a.mp4,\r\nlast,1,b.mp4'
    )
    labels = LabelFile(write(before))
    labels.save("a.mp4", 6)
    assert text(labels) == before.replace('"x ""y""",7 ,', '"x ""y""",6,')
    labels.save("c.mp4", 4)
    assert text(labels).endswith("last,1,b.mp4\r\n,4,c.mp4,\r\n")
    assert labels.counts() == {"sets/lunges.mp4": 2.5, "a.mp4": 6.0, "b.mp4": 1.0, "c.mp4": 4.0}


@pytest.mark.parametrize("columns", ["file,count", "count,file"])
def test_a_correction_finds_quoted_headings_behind_a_byte_order_mark(write, columns):
    first, second = columns.split(",")
    cells = {"file": "squats.mp4", "count": "6"}
    labels = write(f'\ufeff"{first}","{second}"\r\n"{cells[first]}","{cells[second]}"\r\n')
    LabelFile(labels).save("squats.mp4", 7.0)
    assert read_labels(labels) == [Label("squats.mp4", 7.0)]
    assert Path(labels).read_text(encoding="utf-8").startswith("\ufeff")


def test_columns_of_the_same_name_keep_their_cells(write):
    labels = LabelFile(write("file,count,note,note\na.mp4,3,first,second\nb.mp4,1\n"))
    labels.save("a.mp4", 4)
    labels.save("b.mp4", 2)
    assert text(labels) == "file,count,note,note\na.mp4,4,first,second\nb.mp4,2,,\n"


@pytest.mark.parametrize("name", [name for name in HOSTILE_NAMES if name.isascii() or name.isprintable()])
def test_every_name_of_a_file_can_be_labelled(labels, name):
    labels.save(name, 3)
    assert labels.counts() == {name: 3.0}
    labels.save(name, 4)
    assert read_labels(labels.path) == [Label(name, 4.0)]


@pytest.mark.parametrize(
    ("file", "count", "said"),
    [
        ("a.mp4", -1, "the count must be a number from 0 to 1,000,000, such as 8 or 8.5. Received: '-1'"),
        ("a.mp4", math.inf, "Received: 'inf'"),
        ("a.mp4", math.nan, "Received: 'nan'"),
        ("../a.mp4", 1, "the file must be a path below the folder of the videos. Received: '../a.mp4'"),
        ("/a.mp4", 1, "the file must be a path below the folder of the videos"),
        ("b/../a.mp4", 1, "the file must be a path without . and .. in it. Received: 'b/../a.mp4'"),
        ("\udcff.mp4", 1, "the file's name must be valid Unicode. Received: "),
    ],
)
def test_an_invalid_label_is_refused_and_nothing_is_written(labels, file, count, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        labels.save(file, count)
    assert not Path(labels.path).exists()


def test_the_count_of_a_part_is_not_that_of_its_video(write):
    parts = LabelFile(write("file,count,start_sec,end_sec\na.mp4,5,,\na.mp4,2,1.5,\nb.mp4,3,,4\n"))
    assert parts.counts() == {"a.mp4": 5.0}


def test_the_largest_plausible_count_is_one(labels):
    labels.save("a.mp4", MAX_TRUE_COUNT)
    assert labels.counts() == {"a.mp4": MAX_TRUE_COUNT}
    with pytest.raises(UsageError, match="from 0 to 1,000,000"):
        labels.save("a.mp4", MAX_TRUE_COUNT + 1)


def test_labels_that_cannot_be_read_are_never_overwritten(write):
    labels = LabelFile(write("file;count\na.mp4;5\n"))
    with pytest.raises(UsageError, match="the first line of the labels must name the columns"):
        labels.save("a.mp4", 6)
    assert text(labels) == "file;count\na.mp4;5\n"


def test_a_correction_that_could_not_be_read_back_is_refused(labels):
    labels.save("a.mp4", 1)
    name = "b" * (csv.field_size_limit() + 1)
    with pytest.raises(UsageError, match=r"^the label must leave labels that can be read\. Received: 'b{99}…'$"):
        labels.save(name, 2)
    assert text(labels) == "file,count\na.mp4,1\n"
    assert [path.name for path in Path(labels.path).parent.iterdir()] == ["labels.csv"]


def test_a_correction_that_cannot_be_written_leaves_the_former_labels_whole(labels, monkeypatch):
    labels.save("a.mp4", 1)

    def fail(*paths):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipeline.labels.os.replace", fail)
    with pytest.raises(UsageError, match=r"the labels must be a writable file: No space left on device\. Received: "):
        labels.save("a.mp4", 2)
    assert text(labels) == "file,count\na.mp4,1\n"
    assert [path.name for path in Path(labels.path).parent.iterdir()] == ["labels.csv"]


def test_a_link_and_the_permissions_of_labels_stay(labels, tmp_path):
    labels.save("a.mp4", 1)
    Path(labels.path).chmod(0o640)
    link = tmp_path / "link.csv"
    link.symlink_to(labels.path)
    LabelFile(str(link)).save("a.mp4", 2)
    assert link.is_symlink()
    assert text(labels) == "file,count\na.mp4,2\n"
    assert Path(labels.path).stat().st_mode & 0o777 == 0o640


def test_labels_that_a_person_edits_meanwhile_are_read_anew(labels):
    labels.save("a.mp4", 1)
    assert labels.counts() == {"a.mp4": 1.0}
    Path(labels.path).write_text("file,count\na.mp4,1\nb.mp4,12\n", encoding="utf-8")
    labels.save("a.mp4", 3)
    assert labels.counts() == {"a.mp4": 3.0, "b.mp4": 12.0}


def test_corrections_of_several_threads_are_all_written(labels):
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: labels.save(f"{number}.mp4", number), range(40)))
    assert labels.counts() == {f"{number}.mp4": float(number) for number in range(40)}
