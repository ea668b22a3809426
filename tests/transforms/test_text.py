"""Names of files, which may be hostile, are valid in the tables and safe to print."""

import pytest

from transforms.text import printable, valid_text, without_secrets


def test_bytes_that_are_no_text_and_commands_are_replaced():
    assert printable("caf\u00e9 \udcff\n\x1b[2J") == "café \\udcff\ufffd\ufffd[2J"


def test_bytes_that_are_not_utf_8_are_escaped_in_the_tables():
    assert valid_text("caf\u00e9 \udcff\n") == "café \\udcff\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Received: 'https://ann:PW@h/v.mp4?Signature=S&token=T'", "Received: 'https://…@h/v.mp4?…'"),
        ("Loading model HTTPS://h/lite?token=T …", "Loading model HTTPS://h/lite?… …"),
        ("not \"ftp://ann:P'W?@h/a?b='S'&c=1\".", 'not "ftp://…@h/a?…".'),
        ("duckdb:s3://KEY:PW@b/c.duckdb, https://h?S=1: refused", "duckdb:s3://…@b/c.duckdb, https://h?…: refused"),
        ("'https://a:P@h,https://b:Q@h' https://h/a#access_token=T", "'https://…@h,https://…@h' https://h/a#…"),
        ("Received: 'https:/h/a?sig=S'", "Received: 'https:/h/a?…'"),
        ("Received: 'https://ann:P/W@h/a@b'", "Received: 'https://…@h/a@b'"),
        ("duckdb:s3://KEY:1P//W/@b/c.duckdb", "duckdb:s3://…@b/c.duckdb"),
    ],
)
def test_passwords_and_signatures_of_urls_are_left_out(text, shown):
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "gs://b/a?.mp4 'GS://b/a?.mp4'",
        "a?.mp4 ann@home/a?.mp4",
        "file:///a?.mp4",
        "https://h/p: what? ann@h",
        "://?a",
        "Did you mean --input s3://b/a?",
        "Received: 's3://b/2025-0?/*.mp4'",
        "Did you mean http://localhost:8080?",
        "C://a?x=1",
        "https://h/a@b https://h:8080/a@b https://h:/a@b https://[::1]:8080/a@b",
        "https://h,https://i/a@b",
        "https://h:x/a ann@h",
    ],
)
def test_names_and_patterns_stay(text):
    assert without_secrets(text) == text
