"""The documentation tells the truth about the code."""

import re
import shlex
from pathlib import Path

import duckdb
import pytest

from pipeline.main import main
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(page, language=r"\w*"):
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)


def _queries():
    for page in PAGES:
        for block in _blocks(page.read_text(encoding="utf-8"), "sql"):
            without_comments = re.sub(r"--.*", "", block)
            yield from (query.strip() for query in without_comments.split(";") if query.strip())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_the_first_screen_of_the_readme_shows_two_commands_and_nothing_else():
    first_screen = README.split("\n## ")[0]
    (block,) = _blocks(first_screen)
    assert [line.split("#")[0].strip() for line in block.splitlines()] == ["make run", "make test"]
    assert len(first_screen.splitlines()) < 20


def test_every_target_that_the_documentation_names_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for page in PAGES:
        for block in _blocks(page.read_text(encoding="utf-8")):
            for line in re.findall(r"^make (.*)", block, flags=re.MULTILINE):
                words = line.split("#")[0].split()
                assert {word for word in words if "=" not in word and "'" not in word} <= targets, page


@pytest.mark.parametrize("query", list(_queries()))
def test_every_query_in_the_documentation_runs(query, tmp_path):
    database = str(tmp_path / "counts.duckdb")
    DuckDBWarehouse(database).prepare()
    with duckdb.connect(database, read_only=True) as connection:
        assert connection.execute(query).fetchall() == []


def _commands():
    """Each `repcount` command of the documentation: its subcommands and its options."""
    for page in PAGES:
        for block in _blocks(page.read_text(encoding="utf-8")):
            for line in re.findall(r"^(?:\S*/)?repcount (.*)", block, flags=re.MULTILINE):
                words = shlex.split(line, comments=True)
                subcommands = words[: 2 if words[0] == "model" else 1]
                yield subcommands, [word for word in words if word.startswith("--")]


@pytest.mark.parametrize(("subcommands", "options"), list(_commands()), ids=str)
def test_every_command_in_the_documentation_has_the_options_that_it_shows(subcommands, options, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main([*subcommands, "--help"])
    assert exit_info.value.code == 0
    known = re.findall(r"--\w+", capsys.readouterr().out)
    assert set(options) <= set(known)


def test_notice_names_the_authors_of_repnet():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for name in ("Dwibedi", "Aytar", "Tompson", "Sermanet", "Zisserman", "Counting Out Time", "CVPR", "Apache License"):
        assert name in notice
