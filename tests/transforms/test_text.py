"""Names of files, which may be hostile, are valid in the tables and safe to print."""

from transforms.text import printable, valid_text


def test_bytes_that_are_no_text_and_commands_are_replaced():
    assert printable("caf\u00e9 \udcff\n\x1b[2J") == "café \\udcff\ufffd\ufffd[2J"


def test_bytes_that_are_not_utf_8_are_escaped_in_the_tables():
    assert valid_text("caf\u00e9 \udcff\n") == "café \\udcff\n"
