"""A video's labels come from its name by a regular expression that cannot make a worker hang."""

import pytest

from transforms.warehouse.name_labels import NameLabels, check_regex, local_folders

USER = "(?P<user>[^/]+)/(?P<exercise>[^/]+)/"
ANN = [{"name": "user", "value": "ann"}, {"name": "exercise", "value": "squats"}]


def test_an_object_is_labelled_by_its_name_within_the_bucket():
    assert NameLabels(USER).of("gs://gym/ann/squats/1.mp4") == ANN
    assert NameLabels(f"uploads/{USER}").of("gs://gym/uploads/ann/squats/1.mp4") == ANN


def test_a_file_is_labelled_by_its_path_below_the_folder_of_the_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    video = str(tmp_path / "videos" / "ann" / "squats" / "1.mp4")
    for pattern in ("videos/**", "videos/*/*/?.mp4", "videos", "./videos/", str(tmp_path / "videos/**.mp4")):
        assert NameLabels(USER, local_folders([pattern, "gs://gym/**", "elsewhere/**"])).of(video) == ANN
    assert NameLabels(USER, local_folders([video])).of(video) == []
    assert NameLabels("(?P<name>.*)", local_folders([video])).of(video) == [{"name": "name", "value": "1.mp4"}]


def test_an_open_bracket_in_the_name_of_a_folder_is_a_plain_character():
    assert NameLabels(USER, local_folders(["/set[1/**"])).of("/set[1/ann/squats/1.mp4") == ANN


def test_a_name_that_does_not_match_has_no_labels():
    assert NameLabels(USER).of("gs://gym/loose.mp4") == []
    assert NameLabels().of("gs://gym/ann/squats/1.mp4") == []


def test_a_group_that_matches_nothing_gives_no_label():
    assert NameLabels("(?P<user>[^/]*)/(?P<set>set[0-9])?").of("gs://gym/ann/1.mp4") == [{"name": "user", "value": "ann"}]


@pytest.mark.parametrize("name", ["naïve 日本 😀/x y/1.mp4", "'; DROP TABLE runs; --/\n/1.mp4", "\\udcff/a/1.mp4"])
def test_any_name_has_labels(name):
    user, exercise, _ = name.split("/")
    assert [label["value"] for label in NameLabels(USER).of(f"gs://gym/{name}")] == [user, exercise]


def test_an_expression_that_backtracks_elsewhere_takes_no_longer():
    # Python's own matcher would need longer than the age of the universe for this name.
    assert NameLabels("(?P<user>(?:a+)+)$").of(f"gs://gym/{'a' * 1000}b") == []


@pytest.mark.parametrize(
    ("regex", "message"),
    [
        ("(?P<user>", "must be a regular expression in RE2's syntax: .*missing"),
        ("(?P<user>a)(?=b)", "must be a regular expression in RE2's syntax: .*invalid perl operator"),
        ("(?P<user>(a|b)+)", r"write \(\?:…\) for a group without a name"),
        ("[^/]+/", "must have named groups"),
        ("", "must have named groups"),
        ("(?P<a>x)(?P<a>y)", "must have named groups with different names"),
    ],
)
def test_an_expression_that_gives_no_labels_is_refused_in_one_line(regex, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_regex(regex)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(f"Received: {regex!r}")


def test_an_expression_with_named_groups_is_taken():
    assert check_regex(USER) == USER
