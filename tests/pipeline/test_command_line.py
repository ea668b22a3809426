"""Options may be spelled with hyphens or underscores, misspelled names get a suggestion, and an error is one line."""

import argparse

import pytest

from pipeline.command_line import CommandParser, natural_number, nearest, number, use_known_spelling


@pytest.fixture
def parser():
    parser = CommandParser(prog="repcount count", examples=["repcount count a.mp4", "repcount count 'b/**'"])
    parser.add_argument("--max_fps", type=number, default=30.0)
    parser.add_argument("--no-cache", action="store_true")
    parser.add_argument("--old_name", help=argparse.SUPPRESS)
    parser.add_argument("--model", choices=("lite", "large"), default="lite")
    return parser


def refused(parser, words, capsys):
    """Returns the one line that refuses a command line."""
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(words)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("words", [["--max-fps", "15"], ["--max_fps", "15"], ["--max-fps=15"], ["--max_fps=15"]])
def test_hyphens_and_underscores_are_alike(parser, words):
    assert parser.parse_args(words).max_fps == 15.0


def test_an_option_that_was_added_with_a_hyphen_is_found_with_an_underscore(parser):
    assert parser.parse_args(["--no_cache"]).no_cache


def test_values_and_what_follows_two_hyphens_stay_as_they_are():
    words = ["--max-fps=a-b_c", "x-y", "--other-option", "--", "--max-fps"]
    assert use_known_spelling(words, ["--max_fps"]) == ["--max_fps=a-b_c", "x-y", "--other-option", "--", "--max-fps"]


def test_a_misspelled_option_gets_a_suggestion(parser, capsys):
    line = refused(parser, ["--max_pfs", "15"], capsys)
    assert line.startswith("repcount count: ")
    assert line.endswith("Did you mean --max_fps instead of --max_pfs?")


def test_an_error_without_a_near_name_points_to_the_help(parser, capsys):
    assert refused(parser, ["--max_fps", "many"], capsys).endswith("Received: 'many'. See repcount count --help.")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["my videos"], "Did you mean --input 'my videos'?"),
        (["--max_fps", "15", "--no-cache", "-v", "a.mp4", "b.mp4"], "Did you mean --input a.mp4?"),
        (["--model=lite", "a.mp4"], "Did you mean --input a.mp4?"),
        (["--inptu", "a.mp4", "b.mp4"], "Did you mean --input instead of --inptu?"),
        (["--max_fps", "15"], "See repcount count --help."),
        (["--for_beam", "a.mp4"], "See repcount count --help."),
    ],
)
def test_a_word_without_its_option_is_named_if_an_option_is_missing(parser, words, hint, capsys):
    parser.add_argument("--input", required=True)
    assert refused(parser, words, capsys).endswith(f"the following arguments are required: --input. {hint}")


@pytest.mark.parametrize(
    ("word", "hint"), [("c.duckdb", "Did you mean --output c.duckdb?"), ("page.html", "See repcount count --help.")]
)
def test_only_what_names_tables_is_proposed_for_the_option_of_the_tables(parser, word, hint, capsys):
    parser.add_argument("--output", required=True)
    assert refused(parser, [word], capsys).endswith(f"the following arguments are required: --output. {hint}")


def test_a_wrong_choice_names_the_choices(parser, capsys):
    line = refused(parser, ["--model", "litte"], capsys)
    assert "must be one of lite, large. Received: 'litte'. Did you mean lite?" in line


def test_hidden_options_are_not_suggested(parser):
    assert parser.suggest("--old_nam") is None
    assert parser.suggest("--max_fp") == "--max_fps"


def test_the_help_ends_with_the_examples_on_lines_of_their_own(parser):
    assert parser.format_help().endswith("examples:\n  repcount count a.mp4\n  repcount count 'b/**'\n")


def test_verbose_and_quiet_exclude_each_other(parser, capsys):
    assert "not allowed with argument" in refused(parser, ["-v", "-q"], capsys)


def test_the_arguments_say_which_program_they_are_for(parser):
    assert parser.parse_args([]).prog == "repcount count"


def test_nothing_is_near_to_another_word():
    assert nearest("cuont", ["count", "run"]) == "count"
    assert nearest("dance", ["count", "run"]) is None


@pytest.mark.parametrize("text", ["", "-1", "1.5", "1_000", "²", "many"])
def test_a_natural_number_has_digits_only(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"whole number of at least 0\. Received: "):
        natural_number(text)


@pytest.mark.parametrize("text", ["", "5%", "0,5", "many"])
def test_what_is_no_number_gets_an_example_of_one(text):
    with pytest.raises(argparse.ArgumentTypeError, match=rf"must be a number such as 0\.5\. Received: '{text}'$"):
        number(text)


@pytest.mark.parametrize(("text", "value"), [("30", 30.0), ("0.5", 0.5), ("-1e3", -1000.0), ("inf", float("inf"))])
def test_a_number_may_have_a_fraction_and_a_sign(text, value):
    assert number(text) == value
