"""The server is set up from its options and from what the platform sets, and does not let strangers in by mistake."""

import argparse

import pytest

from pipeline.command_line import CommandParser, UsageError
from pipeline.commands import serve
from pipeline.serve.config import is_loopback, make_config


def config(*words, **environ):
    parser = CommandParser(prog="repcount")
    serve.add_parser(parser.add_subparsers())
    args = parser.parse_args(["serve", *words])
    assert isinstance(args, argparse.Namespace)
    return make_config(args, environ)


def test_the_platform_sets_port_and_routes():
    made = config(AIP_HTTP_PORT="8081", PORT="1", AIP_HEALTH_ROUTE="/v1/health", AIP_PREDICT_ROUTE="/v1/m:predict")
    assert (made.port, made.health_route, made.predict_route) == (8081, "/v1/health", "/v1/m:predict")
    assert config(PORT="9000").port == 9000
    assert config("--port", "5", PORT="9000").port == 5
    assert config().port == 8080


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.com", ""])
def test_other_machines_are_let_in_only_with_a_token_or_by_request(host):
    with pytest.raises(UsageError, match="--allow_unauthenticated"):
        config("--host", host)
    assert config("--host", host, "--allow_unauthenticated").allow_unauthenticated
    assert config("--host", host, REPCOUNT_TOKEN="s" * 16).token == "s" * 16


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "::1", "[::1]"])
def test_this_machine_needs_no_token(host):
    assert is_loopback(host)
    assert config("--host", host).token is None


def test_the_token_comes_from_a_file_or_the_environment_and_is_not_shown(tmp_path):
    path = tmp_path / "token"
    path.write_text("a-secret-of-enough-letters\n")
    made = config("--token_file", str(path), REPCOUNT_TOKEN="another-secret-of-letters")
    assert made.token == "a-secret-of-enough-letters"
    assert "secret" not in repr(made)
    with pytest.raises(SystemExit):
        config("--token", "a-secret-of-enough-letters")


@pytest.mark.parametrize("token", ["short", "with space and more letters", "with-ümlaut-and-more-letters", ""])
def test_a_token_is_long_and_plain(tmp_path, token):
    path = tmp_path / "token"
    path.write_text(token)
    with pytest.raises(UsageError, match="16 to 1,024") as error:
        config("--token_file", str(path))
    assert not token or token not in str(error.value)
    with pytest.raises(UsageError, match="--token_file"):
        config("--token_file", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("words", "environ"),
    [
        (["--port", "65536"], {}),
        (["--deadline_sec", "0"], {}),
        (["--grace_sec", "nan"], {}),
        ([], {"AIP_HTTP_PORT": "http"}),
        ([], {"AIP_HEALTH_ROUTE": "health"}),
        ([], {"AIP_PREDICT_ROUTE": "/{x}"}),
        (["--base", "/no/such/folder"], {}),
    ],
)
def test_an_invalid_value_is_one_line(words, environ):
    with pytest.raises(UsageError, match="Received:"):
        config(*words, **environ)
