"""A listing on this machine loses nothing silently: links are followed once, and what cannot be looked at is reported."""

import errno
import os
import warnings
from types import SimpleNamespace

import pytest

from transforms.decoding.local_copy import open_video
from transforms.left_out import LeftOut, Reason
from transforms.local_files import compile_pattern, file_generation, find_file, scan_files
from transforms.records import VideoRef
from transforms.warehouse.rows import listing_batch


@pytest.fixture
def root(tmp_path):
    """A folder with `a.mp4` and `day/b.mp4`."""
    folder = tmp_path / "videos"
    (folder / "day").mkdir(parents=True)
    for name in ("a.mp4", "day/b.mp4"):
        (folder / name).write_bytes(b"x")
    return folder


def scan(pattern, root):
    """Returns the videos, by their names below a folder, and what is left out, as (name, reason)."""
    found = list(scan_files(str(pattern)))
    videos = [item for item in found if isinstance(item, VideoRef)]
    left_out = [item for item in found if isinstance(item, LeftOut)]
    return (
        sorted(os.path.relpath(video.uri, root) for video in videos),
        sorted((os.path.relpath(item.uri, root), item.reason) for item in left_out),
    )


def fail_for(monkeypatch, function, path, number):
    """Makes `os.FUNCTION` fail for one path."""
    original = getattr(os, function)

    def fail(argument, *args, **kwargs):
        if os.fspath(argument) == str(path):
            raise OSError(number, os.strerror(number), str(path))
        return original(argument, *args, **kwargs)

    monkeypatch.setattr(os, function, fail)


def test_a_linked_folder_is_followed(root, tmp_path):
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep" / "c.mp4").touch()
    (root / "link").symlink_to(tmp_path / "elsewhere")
    expected = (["a.mp4", "day/b.mp4", "link/deep/c.mp4"], [])
    assert scan(root, root) == expected
    assert scan(f"{root}/**", root) == expected
    assert scan(f"{root}/link/*/*.mp4", root) == (["link/deep/c.mp4"], [])


def test_a_linked_file_has_the_name_of_the_link(root):
    (root / "z.mp4").symlink_to(root / "a.mp4")
    assert scan(root, root) == (["a.mp4", "day/b.mp4", "z.mp4"], [])


def test_links_in_a_circle_end_and_list_each_file_once(root):
    (root / "day" / "up").symlink_to(root)
    (root / "again").symlink_to(root / "day")
    (root.parent / "other").mkdir()
    (root.parent / "other" / "c.mp4").touch()
    (root.parent / "other" / "back").symlink_to(root.parent / "other")
    (root / "one").symlink_to(root.parent / "other")
    (root / "two").symlink_to(root.parent / "other")
    assert scan(root, root) == (["a.mp4", "day/b.mp4", "one/c.mp4"], [])


def test_a_link_to_itself_is_reported(root):
    (root / "loop").symlink_to(root / "loop")
    assert scan(root, root)[1] == [("loop", Reason.UNREADABLE)]


@pytest.mark.parametrize("pattern", ["", "**", "*"])
def test_a_link_that_leads_nowhere_is_reported(root, pattern):
    (root / "gone.mp4").symlink_to(root / "nothing")
    (root / "unmounted").symlink_to(root / "nothing")
    _, left_out = scan(os.path.join(root, pattern), root)
    assert left_out == [("gone.mp4", Reason.UNREADABLE), ("unmounted", Reason.UNREADABLE)]
    (found,) = scan_files(str(root / "gone.mp4"))
    assert found == LeftOut(f"{root}/gone.mp4", Reason.UNREADABLE, "the link leads nowhere")


def test_a_link_that_may_have_led_to_a_folder_is_reported_whatever_the_files_names(root):
    (root / "unmounted").symlink_to(root / "nothing")
    assert scan(f"{root}/**.mp4", root) == (["a.mp4", "day/b.mp4"], [("unmounted", Reason.UNREADABLE)])
    assert scan(f"{root}/*.mp4", root) == (["a.mp4"], [])


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("function", ["scandir", "stat"])
def test_a_folder_that_cannot_be_entered_is_reported(root, monkeypatch, function, number):
    fail_for(monkeypatch, function, root / "day", number)
    assert scan(root, root) == (["a.mp4"], [("day", Reason.UNREADABLE_FOLDER)])
    assert scan(f"{root}/*/*.mp4", root) == ([], [("day", Reason.UNREADABLE_FOLDER)])


@pytest.mark.parametrize("pattern", ["*.mp4", "night*/*.mp4"])
def test_a_folder_that_can_contain_no_match_is_not_entered(root, monkeypatch, pattern):
    fail_for(monkeypatch, "scandir", root / "day", errno.EACCES)
    assert scan(f"{root}/{pattern}", root)[1] == []


def test_a_root_that_cannot_be_entered_is_reported(root, monkeypatch):
    fail_for(monkeypatch, "scandir", root, errno.EACCES)
    (found,) = scan_files(f"{root}/*.mp4")
    assert found == LeftOut(str(root), Reason.UNREADABLE_FOLDER, "Permission denied")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("pattern", ["", "**", "*.mp4", "a.mp4"])
def test_a_file_whose_status_is_refused_is_reported(root, monkeypatch, pattern, number):
    fail_for(monkeypatch, "stat", root / "a.mp4", number)
    assert scan(os.path.join(root, pattern), root)[1] == [("a.mp4", Reason.UNREADABLE)]
    with pytest.raises(OSError, match=r"a\.mp4"):
        find_file(str(root / "a.mp4"))


def test_a_file_that_is_deleted_during_the_listing_is_no_error(root):
    found = scan_files(str(root))
    next(found)
    for name in ("a.mp4", "day/b.mp4"):
        (root / name).unlink(missing_ok=True)
    (root / "day").rmdir()
    assert list(found) == []


def test_what_is_no_regular_file_is_reported_as_such(root):
    os.mkfifo(root / "pipe.mp4")
    assert scan(root, root)[1] == [("pipe.mp4", Reason.NOT_A_FILE)]
    assert find_file(str(root / "pipe.mp4")) is None


@pytest.mark.parametrize("pattern", ["missing", "missing/*", "a.mp4/b.mp4", "a.mp4/*", "x" * 300])
def test_what_does_not_exist_is_no_match_and_no_error(root, pattern):
    assert scan(root / pattern, root) == ([], [])
    assert find_file(f"{root}/{pattern}") is None


@pytest.mark.parametrize("pattern", ["z[1none.mp4", "z[1*.mp4", "z[].mp4", "z[!].mp4", "z[1/none.mp4"])
def test_an_open_bracket_is_a_plain_character_so_no_other_folder_is_looked_into(root, pattern):
    (root / "day" / "unmounted").symlink_to(root / "nothing")
    assert scan(f"{root}/{pattern}", root) == ([], [])


@pytest.mark.parametrize("pattern", ["z[1.mp4", "z[*", "*[1.*", "?[1.mp4", "[x-z][1.mp4"])
def test_a_name_with_an_open_bracket_is_found(root, pattern):
    (root / "z[1.mp4").touch()
    assert scan(f"{root}/{pattern}", root) == (["z[1.mp4"], [])


@pytest.mark.parametrize("pattern", ["day[/]b.mp4", "day[!a]b.mp4", "day[]/]b.mp4", "da[x/y]/b.mp4", "[a/d]ay/b.mp4"])
def test_a_class_may_match_a_slash_and_contain_one(root, pattern):
    assert scan(f"{root}/{pattern}", root) == (["day/b.mp4"], [])


def test_a_name_with_a_backslash_is_found(root):
    (root / "a\\b.mp4").write_bytes(b"1")
    for pattern in ("*.mp4", "a*", "**"):
        assert f"{root}/a\\b.mp4" in [found.uri for found in scan_files(f"{root}/{pattern}")]


def test_a_file_of_a_far_time_is_a_video_like_others(root):
    os.utime(root / "a.mp4", ns=(0, 10**19))  # the year 2286; a file system may store an earlier time
    video = find_file(f"{root}/a.mp4")
    assert listing_batch([video])["video_generation"].to_pylist() == [video.generation]
    with open_video(video) as file:
        assert file.read()


@pytest.mark.parametrize(("mtime_ns", "generation"), [(7, 7), (10**19, 2**63 - 1), (-(10**19), 1 - 2**63)])
def test_a_generation_has_64_bits(mtime_ns, generation):
    assert file_generation(SimpleNamespace(st_mtime_ns=mtime_ns)) == generation


def test_listing_stops_at_the_limit(root):
    assert len(list(scan_files(str(root), limit=1))) == 1


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("[[]1].mp4", "[1].mp4", "1.mp4"),
        ("[![]a", "xa", "[a"),
        ("[a||b]x", "|x", "cx"),
        ("[x&&y]", "&", "\\"),
        ("[[-a]", "_", "b"),
        ("\\[[]", "\\[", "[["),
        ("[]~~[]*[^]", "[a^", "xa^"),
        ("[*--]", ",", "."),
        ("[!*--]", ".", ","),
        ("[a-c--9]", ".", "d"),
        ("[#---]", ",", "."),
        ("[]-a]", "_", "b"),
    ],
)
def test_a_class_takes_signs_that_python_warns_about_as_they_are(pattern, matched, others):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        matches = compile_pattern(pattern).match
    assert matches(matched)
    assert not matches(others)
