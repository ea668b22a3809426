"""What a listing leaves out is counted by its reason and told in one line."""

import pytest

from transforms.left_out import MAX_NAMED_LOST, LeftOut, LeftOutAccount, Reason, describe_left_out, left_out_line, lost_objects


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("notes.txt", "SUFFIX_txt"),
        ("day.1/CLIP.H266", "SUFFIX_h266"),
        ("day.1/550e8400-e29b", "SUFFIX_NONE"),
        (".profile", "SUFFIX_NONE"),
        ("ends with a dot.", "SUFFIX_OTHER"),
        ("a.\x1b[2J", "SUFFIX_OTHER"),
        ("a.семь", "SUFFIX_OTHER"),
        (f"a.{'x' * 100}", "SUFFIX_OTHER"),
    ],
)
def test_a_name_is_counted_by_a_suffix_that_is_safe_to_print(name, kind):
    assert LeftOut(f"gs://gym/{name}", Reason.SUFFIX).kind == kind


def test_other_reasons_are_kinds_of_their_own():
    assert LeftOut("a", Reason.COMPANION).kind == "COMPANION"


def test_the_line_says_how_many_and_why():
    kinds = {"SUFFIX_txt": 1200, "SUFFIX_NONE": 1, "SUFFIX_OTHER": 2, "COMPANION": 3, "PLACEHOLDER": 4, "UNREADABLE_FOLDER": 5}
    assert describe_left_out(kinds) == (
        "1,203 without a video's suffix (.txt 1,200, none 1, others 2), 3 companions or trash of an operating system, "
        "4 placeholders of folders, 5 folders that cannot be listed"
    )
    assert left_out_line({"SUFFIX_txt": 1}).endswith("; --suffixes and --all_files take other names")
    assert left_out_line({"COMPANION": 1}) == "left out: 1 companions or trash of an operating system"


def test_a_line_names_the_most_frequent_suffixes_only():
    line = describe_left_out({f"SUFFIX_{letter}": number for number, letter in enumerate("abcdefghij", start=1)})
    assert line == "55 without a video's suffix (.j 10, .i 9, .h 8, .g 7, .f 6, .e 5, .d 4, .c 3, others 3)"


def test_an_account_counts_all_and_names_the_first_that_are_lost():
    account = LeftOutAccount()
    for number in range(MAX_NAMED_LOST + 5):
        account.add(LeftOut(f"/v/{number}.mp4", Reason.UNREADABLE, "Permission denied"))
    account.add(LeftOut("/v/notes.txt", Reason.SUFFIX))
    assert account.numbers == {"UNREADABLE": MAX_NAMED_LOST + 5, "SUFFIX_txt": 1}
    assert lost_objects(account.numbers) == MAX_NAMED_LOST + 5
    assert len(account.lost) == MAX_NAMED_LOST
    assert str(account.lost[0]) == "'/v/0.mp4' cannot be looked at: Permission denied"


def test_names_cannot_command_the_terminal():
    assert "\x1b" not in str(LeftOut("/v/\x1b[2J.mp4", Reason.UNREADABLE, "gone"))
