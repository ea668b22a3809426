"""The documentation agrees with the code: links, commands, options, queries and the Python example.

Each collection of things to check must not be empty, so that a pattern that matches nothing fails.
"""

import contextlib
import functools
import io
import os
import re
import shlex
import shutil
from pathlib import Path

import duckdb
import pytest
from apache_beam.options import pipeline_options

from demo.draw_videos import draw_videos
from model.presets import PRESETS
from pipeline.api import count_video
from pipeline.main import main
from tests.support.markdown import table_rows
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")

BANNED = tuple(
    " ".join(words)
    for words in (
        ("cannot", "be", "meant"),
        ("what", "is", "to", "be"),
        ("made", "colours", "of"),
        ("the", "way", "of", "the", "data"),
        ("gives", "way", "first"),
    )
)
"""Phrases that are hard to understand; joined here so that this file does not contain them."""


def _text(page):
    return page.read_text(encoding="utf-8")


def _name(value):
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


def _blocks(page, language=r"\w*"):
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)


def _links():
    """Each link or picture of the documentation: its page and its target."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", _text(page)):
            yield page, target


def _anchors(page):
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", _text(page), flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _queries():
    for page in PAGES:
        for block in _blocks(_text(page), "sql"):
            without_comments = re.sub(r"--.*", "", block)
            yield from (query.strip() for query in without_comments.split(";") if query.strip())


def _commands():
    """Each `repcount` command of the documentation, in a block or in a line of text: its page, subcommands and options."""
    for page in PAGES:
        text = _text(page).replace("\\\n", " ")
        lines = [line for block in _blocks(text) for line in block.splitlines()]
        quoted = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        for line in [*lines, *quoted]:
            found = re.match(r"(?:\S*/)?repcount (.+)", line)
            words = shlex.split(found[1], comments=True) if found else []
            if words and re.fullmatch(r"[a-z]+", words[0]):
                options = tuple(word.split("=")[0] for word in words if word.startswith("--"))
                yield page, tuple(words[: 2 if words[0] == "model" and len(words) > 1 else 1]), options


@functools.cache
def _options_of(subcommands):
    """The options of a command as its parser knows them, hidden ones included, with `-` for `_`."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as exit_info:
        main([*subcommands, "--help"])
    assert exit_info.value.code == 0, subcommands
    return {_spelled(option) for option in re.findall(r"--[\w-]+", output.getvalue())}


def _spelled(option):
    return "--" + option[2:].replace("_", "-")


def _known_options():
    """The options of every command, of Beam, and of the scripts of this repository, with `-` for `_`."""
    of_commands = set().union(*(_options_of(subcommands) for _, subcommands, _ in COMMANDS))
    of_beam = re.findall(r"--[\w-]+", Path(pipeline_options.__file__).read_text(encoding="utf-8"))
    scripts = [ROOT / "run_dataflow.sh", *ROOT.glob("benchmarks/*.py"), *ROOT.glob("deploy/*.*")]
    of_scripts = [option for script in scripts for option in re.findall(r"--[\w-]+", script.read_text(encoding="utf-8"))]
    settings = [
        ROOT / "model" / "training" / "settings.py",
        ROOT / "model" / "config.py",
    ]  # whose fields are options of training
    of_training = [field for file in settings for field in re.findall(r"^    (\w+): ", _text(file), flags=re.MULTILINE)]
    of_training = [f"--{no}{field}" for field in of_training for no in ("", "no-")]
    return of_commands | {_spelled(option) for option in (*of_beam, *of_scripts, *of_training)}


LINKS, QUERIES, COMMANDS = list(_links()), list(_queries()), sorted(set(_commands()))


def test_the_patterns_find_what_they_look_for():
    assert len(PAGES) >= 10
    assert len(LINKS) >= 30
    assert len(QUERIES) >= 12
    assert len(COMMANDS) >= 10
    assert {subcommands[0] for _, subcommands, _ in COMMANDS} >= {"run", "count", "evaluate", "model", "tables", "delete"}
    assert sum(len(options) for _, _, options in COMMANDS) >= 20


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_resolves(page):
    targets = [target for source, target in LINKS if source == page and "://" not in target]
    for target in targets:
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file), target


def test_every_file_that_the_text_names_exists():
    folders = "benchmarks|demo|docs|image|locks|model|pipeline|tests|transforms"
    named = {path for page in PAGES for path in re.findall(rf"`((?:{folders})/[\w./]+)`", _text(page)) if "NAME" not in path}
    made_by_commands = {"demo/counts.duckdb"}
    assert len(named) >= 20
    assert [path for path in sorted(named - made_by_commands) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent == ROOT / "docs"], ids=_name)
def test_every_page_is_linked_from_another(page):
    assert any(source != page and (source.parent / target.split("#")[0]).resolve() == page for source, target in LINKS)


def test_no_page_and_no_source_has_a_banned_phrase():
    files = [path for path in ROOT.rglob("*.*") if path.suffix in (".md", ".py") and not _is_hidden(path)]
    assert len(files) > 100
    found = [
        f"{path.relative_to(ROOT)}: {phrase}"
        for path in files
        for phrase in BANNED
        if phrase in " ".join(path.read_text(encoding="utf-8").lower().replace("#", " ").split())
    ]
    assert found == []


def _is_hidden(path):
    return any(part.startswith(".") or part in ("build", "dist") for part in path.relative_to(ROOT).parts)


def test_the_first_screen_of_the_readme_shows_two_commands_and_nothing_else():
    first_screen = README.split("\n## ")[0]
    (block,) = _blocks(first_screen)
    assert [line.split("#")[0].strip() for line in block.splitlines()] == ["make run", "make test"]
    assert len(first_screen.splitlines()) < 20


def test_the_readme_lists_every_model_in_the_order_of_the_program():
    assert [name.removesuffix("` (default)") for name in table_rows("README.md", "`--model`")] == [*PRESETS, "a path"]


def test_every_target_that_the_documentation_names_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    lines = [
        line
        for page in PAGES
        for block in _blocks(_text(page))
        for line in re.findall(r"^make (.*)", block, flags=re.MULTILINE)
    ]
    named = {word for line in lines for word in shlex.split(line, comments=True) if "=" not in word}
    assert {"run", "test", "lint"} <= named <= targets


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_in_the_documentation_runs(query, tmp_path):
    database = str(tmp_path / "counts.duckdb")
    DuckDBWarehouse(database).prepare()
    with duckdb.connect(database, read_only=True) as connection:
        assert connection.execute(query).fetchall() == []


@pytest.mark.parametrize(("page", "subcommands", "options"), COMMANDS, ids=_name)
def test_every_command_in_the_documentation_has_the_options_that_it_shows(page, subcommands, options):
    beam = {"--temp-location", "--runner"}  # handed on to Beam
    assert {_spelled(option) for option in options} - beam <= _options_of(subcommands)


def test_every_option_that_the_text_names_exists():
    text = re.sub(r"```.*?```", "", "\n".join(map(_text, PAGES)), flags=re.DOTALL)
    named = {_spelled(option) for option in re.findall(r"`(--[a-z][\w-]+)", text)}
    known = _known_options()
    assert len(named) >= 20
    assert named <= known


def test_every_module_that_is_run_exists():
    modules = {name for page in PAGES for name in re.findall(r"python -m ([a-z_.]+[a-z_])\b", _text(page))}
    assert len(modules) >= 5
    paths = [ROOT.joinpath(*name.split(".")) for name in modules if name != "benchmarks"]
    assert [path for path in paths if not (path.with_suffix(".py").exists() or (path / "__main__.py").exists())] == []


def test_every_command_of_run_dataflow_exists():
    script = (ROOT / "run_dataflow.sh").read_text(encoding="utf-8")
    commands = {name for page in PAGES for name in re.findall(r"run_dataflow\.sh ([a-z]+)", _text(page))}
    assert commands >= {"nightly", "backfill", "build", "template", "cost"}
    assert [name for name in commands if not re.search(rf"^  {name}  ", script, flags=re.MULTILINE)] == []


@pytest.fixture(scope="module")
def demo_videos(tmp_path_factory):
    """A folder with the demo videos where the README says that they are."""
    folder = tmp_path_factory.mktemp("checkout")
    draw_videos(folder / "demo" / "videos")
    return folder


@pytest.mark.slow
def test_the_python_example_of_the_readme_runs(demo_videos, monkeypatch, capsys):
    (example,) = _blocks(README, "python")
    assert "from pipeline.api import count_video" in example
    assert len(re.findall(r"^\S", example, flags=re.MULTILINE)) <= 5
    monkeypatch.chdir(demo_videos)
    exec(example, {})
    assert re.match(r"6 6\.\d+ 0\.\d+\n\[", capsys.readouterr().out)


@pytest.mark.slow
def test_the_example_of_a_pipeline_runs(demo_videos, monkeypatch, capsys):
    (example,) = _blocks(_text(ROOT / "docs" / "how_to_add.md"), "python")
    monkeypatch.chdir(demo_videos)
    exec(example, {})
    assert re.fullmatch(r"\S+/demo/videos/squats\.mp4 6\.\d+\n", capsys.readouterr().out)


@pytest.mark.slow
def test_the_commands_of_the_readme_work_on_what_make_run_leaves_behind(demo_videos, tmp_path, monkeypatch):
    for name in ("no_repetition.mp4", "squats.mp4"):  # enough for every command
        (tmp_path / "demo" / "videos").mkdir(parents=True, exist_ok=True)
        shutil.copy(demo_videos / "demo" / "videos" / name, tmp_path / "demo" / "videos")
    (tmp_path / "demo" / "videos" / "truth.csv").write_text("file,count\nno_repetition.mp4,0\nsquats.mp4,6\n")
    monkeypatch.chdir(tmp_path)
    lines = [line for block in _blocks(README) for line in block.splitlines() if "demo/" in line]
    commands = [line.removeprefix(".venv/bin/") for line in lines if re.match(r"\.venv/bin/(?!repcount (serve|view) )", line)]
    assert {"count", "report", "export"} <= {words[1] for words in map(str.split, commands)}
    for command in ["repcount run --input 'demo/videos/*.mp4' --output duckdb:demo/counts.duckdb", *commands]:
        program, *words = shlex.split(command, comments=True)
        target = os.devnull
        if ">" in words:
            target = words[-1]
            words = words[: words.index(">")]
        with open(target, "w", encoding="utf-8") as file, contextlib.redirect_stdout(file):
            if program == "python":
                exec(words[1], {})
            else:
                assert main(words) == 0, command
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert made >= {"counts.csv", "squats.srt", "subtitles/squats.vtt", "squats.png", "pictures/squats.png", "counted.mp4"}
    assert made >= {"annotated/squats.mp4", "report.html", "week.html", "review.csv"}


@pytest.mark.slow
def test_the_readme_shows_what_the_model_counts(demo_videos):
    rows = re.findall(r"^ (\w+\.mp4) +(\d+) +([\d.]+) +([\d.]+) +([\d.]+)(?: +(\S+))?$", README, flags=re.MULTILINE)
    shown = {name: (int(count), *map(float, numbers), remark) for name, count, *numbers, remark in rows}
    assert list(shown) == sorted(path.name for path in demo_videos.glob("demo/videos/*.mp4"))
    for name, (count, exact, confidence, seconds, remark) in shown.items():
        result = count_video(demo_videos / "demo" / "videos" / name)
        assert (count, remark) == (result.count_rounded, " ".join(result.flags)), name
        assert (exact, seconds) == pytest.approx((result.count, result.duration_sec), abs=0.1), name
        assert confidence == pytest.approx(result.confidence, abs=0.02), name
    (picture,) = re.findall(r"^!\[(.*)\]\(docs/images/push_ups\.png\)$", README, flags=re.MULTILINE)
    assert f"rises to {shown['push_ups.mp4'][0]}," in picture


def test_notice_names_the_authors_of_repnet():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for name in ("Dwibedi", "Aytar", "Tompson", "Sermanet", "Zisserman", "Counting Out Time", "CVPR", "Apache License"):
        assert name in notice
